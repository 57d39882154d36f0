--- How programs end: each runs in a process of its own, checked from outside.
local backends = require "spec.support.backends"
local child = require "spec.support.child"

local LOST <const> = "leasepool: WARN: %d jobs were lost: they had not ended when the state closed\n"

backends.each("a program", function(backend)
  local function run(code)
    local output, errors, status = child.run(code, backend.name)
    return { output = output, errors = errors, status = status }
  end

  it("that never stops its manager ends by itself", function()
    assert.are.same({ output = "1\n", errors = "", status = 0 }, run [[
      local leasepool = require "leasepool"
      local manager = leasepool.manager({ backend = ..., max_pools = 2, workers_per_pool = 3 }):start()
      local lease = manager:acquire()
      print(lease:run(function() return 1 end))
      lease:release()
    ]])
  end)

  it("that ends with jobs queued and running ends without a crash #threads", function()
    for _ = 1, 5 do
      local result = run [[
        local leasepool = require "leasepool"
        local manager = leasepool.manager({ backend = ..., max_pools = 1, workers_per_pool = 2 }):start()
        lease = manager:acquire() -- a global: reachable to the end
        kept = {}
        for i = 1, 100 do
          kept[i] = lease:submit(function(n) local s = 0 for k = 1, n do s = s + k end return s end, 10000)
        end
        lease:post(function() error "never called while the state closes" end, function() end)
        lease:release()
      ]]
      assert.are.same({ "", 0 }, { result.output, result.status })
      assert.are.equal(LOST:format(101), result.errors) -- one warning, whatever was lost
    end
  end)

  it("that ends with coroutines waiting everywhere ends without a crash", function()
    assert.are.same({ output = "", errors = LOST:format(2), status = 0 }, run [[
      local leasepool = require "leasepool"
      local manager = leasepool.manager({ backend = ..., max_pools = 1, workers_per_pool = 1 }):start()
      lease = manager:acquire()
      futures = {}
      local function go(fn) futures[#futures + 1] = leasepool.spawn(fn) end
      go(function() leasepool.sleep(1000) end)
      go(function() manager:acquire() end)
      go(function() lease:run(function() end) end)
      go(function() lease:submit(function() end):await() end)
      go(function() leasepool.gather { futures[1], futures[2] } end)
      go(function() leasepool.any({ futures[1], futures[1] }, { timeout = 1000 }) end)
      go(function() leasepool.run(function() leasepool.spawn(leasepool.sleep, 1000) leasepool.sleep(1000) end) end)
      go(function() local _ <close> = setmetatable({}, { __close = leasepool.sleep }) leasepool.sleep(1000) end)
      futures[#futures + 1] = manager:request()
      go(function() futures[#futures - 1]:await() end)
      for _, future in ipairs(futures) do future:on_done(print) end
      futures[1]:cancel() -- ordered, and never raised
      go(function() manager:stop() end)
      lease:release()
    ]])
  end)

  it("that calls os.exit with true closes its state in order", function()
    assert.are.same({ output = "", errors = LOST:format(10), status = 3 }, run [[
      local leasepool = require "leasepool"
      local manager = leasepool.manager({ backend = ..., max_pools = 1 }):start()
      local lease <close> = manager:acquire()
      for _ = 1, 10 do lease:post(print, function() end) end
      lease:release()
      os.exit(3, true)
    ]])
  end)

  it("that raises outside of everything shows the worker's traceback", function()
    local result = run [[
      local leasepool = require "leasepool"
      leasepool.run(function(...)
        local manager <close> = leasepool.manager({ backend = ..., max_pools = 1 }):start()
        local lease <close> = manager:acquire()
        lease:run(function() error "deep in the worker" end)
      end, ...)
    ]]
    assert.are.equal(1, result.status)
    assert.matches("deep in the worker\nstack traceback:\n", result.errors)
  end)

  it("may use leasepool in finalizers that run while its state closes", function()
    assert.are.same({ output = "late\n", errors = "", status = 0 }, run [[
      keep = setmetatable({}, { __gc = function()
        local leasepool = require "leasepool"
        assert(not pcall(leasepool.manager, { max_pools = 1 }))
        assert(not pcall(leasepool.sleep, 0))
        assert(not pcall(lease.run, lease, print))
        assert(not pcall(future.await, future))
        lease:release()
        tostring(lease) tostring(manager) tostring(future)
        print "late"
      end })
      local leasepool = require "leasepool"
      manager = leasepool.manager({ backend = ..., max_pools = 1 }):start()
      lease = manager:acquire()
      future = lease:submit(function() end)
      future:await()
      lease:release()
    ]])
  end)

  it("keeps no thread, no descriptor and no child after a stop", function()
    assert.are.same({ output = "same\n", errors = "", status = 0 }, run [[
      local leasepool = require "leasepool"
      local stat = io.open "/proc/self/stat"
      local pid = stat:read "n"
      stat:close()
      local function count(what)
        local list <close> = assert(io.popen("ls /proc/" .. pid .. "/" .. what))
        local n = 0
        for _ in list:lines() do n = n + 1 end
        return n
      end
      local backend <const> = ...
      local function cycle()
        local manager <close> = leasepool.manager({ backend = backend, max_pools = 8, workers_per_pool = 4 }):start()
        local leases = {}
        for i = 1, 8 do
          leases[i] = manager:acquire()
          local futures = {}
          for k = 1, 8 do futures[k] = leases[i]:submit(function() return k end) end
          leasepool.gather(futures)
        end
        for i = 1, 8 do leases[i]:release() end
      end
      -- A joined thread is listed a moment longer, and so is the end of the pipe from ls.
      local function fewest(what)
        local least = count(what)
        for _ = 1, 20 do least = math.min(least, count(what)) end
        return least
      end
      cycle()
      collectgarbage()
      local threads, descriptors = fewest "task", fewest "fd"
      for _ = 1, 10 do cycle() end
      collectgarbage()
      assert(threads == fewest "task")
      assert(descriptors == fewest "fd")
      print "same"
    ]])
  end)

  it("may call os.exit from a callback while a manager stops", function()
    local result = run [[
      local leasepool = require "leasepool"
      local testing = require("leasepool.core").testing
      local manager = leasepool.manager({ backend = ..., max_pools = 1, workers_per_pool = 1 }):start()
      local lease = manager:acquire()
      local first = testing.gate()
      lease:post(function() os.exit(0, true) end, function() end)
      lease:post(print, function(id) require("leasepool.core").testing.gate_pass(id) end, first)
      testing.gate_await(first) -- the first job is done and waits to be delivered
      coroutine.wrap(function() manager:stop() end)()
      testing.gate_open(first)
      leasepool.sleep(20)
      print "not reached"
    ]]
    assert.are.same({ "", 0 }, { result.output, result.status })
  end)

  it("works with its standard descriptors closed", function()
    for _, closed in ipairs { "<&-", ">&-", "2>&-", "<&- >&- 2>&-" } do
      local _, errors, status = child.shell(child.lua .. " examples/00_quickstart.lua " .. closed)
      assert.are.same({ "", 0 }, { errors, status })
    end
  end)

  it("gets errors, not crashes, from objects that were finalised before", function()
    for _, use in ipairs { "o.future:status()", "tostring(o.future)", "o.future:cancel()",
      "o.future:await()", "o.lease.state", "o.lease:run(print)", "tostring(o.lease)",
      "o.lease:release()", "o.manager:acquire()", "o.manager:stop()", "o.manager:start()",
      "tostring(o.manager)", "o.manager.available_count" } do
      local result = run([[
        local leasepool = require "leasepool"
        local o = setmetatable({}, { __gc = function(o)
          pcall(function() return ]] .. use .. [[ end)
          do local _ <close> = o.manager end
          print "finalised"
        end })
        o.manager = leasepool.manager({ backend = ..., max_pools = 1 }):start()
        o.lease = o.manager:acquire()
        o.future = o.lease:submit(function() end)
        o.future:await()
        o.lease:release()
      ]])
      assert.are.same({ "finalised\n", "", 0 }, { result.output, result.errors, result.status })
    end
  end)

  it("may run and spawn in a finalizer while its state closes", function()
    assert.are.same({ output = "1\n", errors = "", status = 0 }, run [[
      local leasepool = require "leasepool"
      leasepool.sleep(0)
      kept = setmetatable({}, { __gc = function()
        print(leasepool.run(function()
          leasepool.spawn(leasepool.sleep, 0.001)
          leasepool.sleep(0)
          return 1
        end))
        leasepool.spawn(leasepool.sleep, 1000)
      end })
    ]])
  end)

  it("is told of failures that nobody looked at, once each", function()
    local result = run [[
      local leasepool = require "leasepool"
      local manager <close> = leasepool.manager({ backend = ..., max_pools = 1, workers_per_pool = 1 }):start()
      local lease <close> = manager:acquire()
      lease:submit(error, "forgotten job")
      leasepool.spawn(function() error "forgotten coroutine" end)
      local seen = lease:submit(error, "seen")
      seen:result()
      seen = nil
      lease:run(function() end)
      for _ = 1, 3 do collectgarbage() end
    ]]
    assert.are.same({ "", 0 }, { result.output, result.status })
    assert.matches("ERROR: a job whose future nobody looked at failed: forgotten job", result.errors)
    assert.matches("ERROR: a coroutine whose future nobody looked at failed: [^\n]*forgotten coroutine" ..
      "\nstack traceback:\n", result.errors)
    assert.are.equal(2, select(2, result.errors:gsub("ERROR", "")))
  end)

  it("is told that a wait would never end", function()
    for _, wait in ipairs { "leasepool.run(coroutine.yield)",
      "local f f = leasepool.spawn(function() leasepool.sleep(0) f:await() end) f:await()" } do
      local result = run("local leasepool = require 'leasepool' " .. wait)
      assert.are.equal(1, result.status)
      assert.matches("this wait would never end", result.errors, 1, true)
    end
  end)

  it("does nothing in a state that only requires the module", function()
    assert.are.same({ output = "0.1.0\n", errors = "", status = 0 }, run [[print(require("leasepool").version)]])
  end)

  it("may run managers inside of jobs, which end with their worker", function()
    assert.are.same({ output = "INNER\n", errors = "", status = 0 }, run [[
      local leasepool = require "leasepool"
      local manager <close> = leasepool.manager({ backend = ..., max_pools = 1 }):start()
      local lease <close> = manager:acquire()
      print(lease:run(function(text)
        local leasepool = require "leasepool"
        inner = leasepool.manager({ max_pools = 1 }):start()
        inner_lease = inner:acquire()
        local result = inner_lease:run(string.upper, text)
        inner_lease:release()
        return result
      end, "inner"))
    ]])
  end)
end)

describe("Ctrl-C", function()
  -- Sends SIGINT to a program as soon as it has printed "ready".
  local function interrupt(code)
    local name = os.tmpname()
    local file = assert(io.open(name, "wb"))
    file:write("io.stdout:setvbuf 'no'\n", code)
    file:close()
    local output, errors, status = child.shell(([[
      pipe=$(mktemp -u) && mkfifo "$pipe"
      %s %s >"$pipe" & program=$!
      exec 3<"$pipe"
      while read -r line <&3; do echo "$line"; [ "$line" = ready ] && kill -INT $program; done
      wait $program; status=$?
      rm -f "$pipe"
      exit $status]]):format("trap - INT; " .. child.lua, child.quote(name)), 30)
    os.remove(name)
    return output, errors, status
  end

  -- The shell gives background programs an ignored SIGINT; lua5.4 sets its own handler anyway.
  it("ends a wait on the main thread, closing what is open", function()
    for _, wait in ipairs { "leasepool.sleep(1000)", "manager:acquire()", "never:await()", "manager:request():await()",
      "leasepool.gather { never, never }", "leasepool.any({ never }, { timeout = 1000 })", "manager:run(print)",
      "leasepool.run(leasepool.run, leasepool.sleep, 1000)" } do
      local output, errors, status = interrupt([[
        local leasepool = require "leasepool"
        local testing = require("leasepool.core").testing
        local gate = testing.gate()
        local manager = leasepool.manager({ max_pools = 1, workers_per_pool = 1 }):start()
        local lease = manager:acquire()
        local never = leasepool.spawn(function() leasepool.sleep(1000) end)
        local _ <close> = setmetatable({}, { __close = function() print "closed" end })
        print "ready"
        ]] .. wait)
      assert.are.equal("ready\nclosed\n", output)
      assert.matches("interrupted!", errors, 1, true)
      assert.are.equal(1, status)
    end
  end)

  it("ends leasepool.run, closing the variables of its coroutines", function()
    local output, errors, status = interrupt [[
      local leasepool = require "leasepool"
      local function noted(name) return setmetatable({}, { __close = function() print(name) end }) end
      leasepool.run(function()
        local manager <close> = leasepool.manager({ max_pools = 1 }):start()
        local lease <close> = manager:acquire()
        local _ <close> = noted "main"
        leasepool.spawn(function()
          local _ <close> = noted "spawned"
          leasepool.sleep(1000)
        end)
        print "ready"
        leasepool.sleep(1000)
      end)
    ]]
    assert.matches("interrupted!", errors, 1, true)
    assert.are.equal("ready\nspawned\nmain\n", output) -- what was spawned before what it may use
    assert.are.equal(1, status)
  end)

  it("during a callback ends the wait of the main thread, not the callback", function()
    local output, errors, status = interrupt [[
      local leasepool = require "leasepool"
      local manager = leasepool.manager({ max_pools = 1 }):start()
      local lease = manager:acquire()
      local ready = false
      local function again()
        if not ready then print "ready" end -- once: a second signal would end the program
        ready = true
        local stop = os.clock() + 0.05 -- busy: the signal comes while this runs
        while os.clock() < stop do end
        lease:post(again, function() end)
      end
      lease:post(again, function() end)
      leasepool.sleep(1000)
    ]]
    assert.matches("interrupted!", errors, 1, true)
    assert.is_nil(errors:find("callback", 1, true))
    assert.matches("^ready\n", output)
    assert.are.equal(1, status)
  end)

  it("comes between two callbacks of many that wait", function()
    local output, _, status = interrupt [[
      local leasepool = require "leasepool"
      local manager = leasepool.manager({ max_pools = 1 }):start()
      local lease = manager:acquire()
      local ran = 0
      for _ = 1, 2000 do
        lease:post(function()
          ran = ran + 1
          if ran == 1 then print "ready" end
          local stop = os.clock() + 0.005
          while os.clock() < stop do end
        end, function() end)
      end
      pcall(leasepool.sleep, 1000)
      print(ran < 1000)
      os.exit(3, true)
    ]]
    assert.are.same({ "ready\ntrue\n", 3 }, { output, status })
  end)

  it("ends a wait in a __close handler of a coroutine that is being closed", function()
    local _, errors, status = interrupt [[
      local leasepool = require "leasepool"
      local co = coroutine.create(function()
        local _ <close> = setmetatable({}, { __close = function()
          print "ready"
          leasepool.sleep(1000)
        end })
        leasepool.sleep(1000)
      end)
      coroutine.resume(co)
      error(select(2, coroutine.close(co)), 0)
    ]]
    assert.matches("interrupted!", errors, 1, true)
    assert.are.equal(1, status)
  end)

  it("ends a busy coroutine inside of leasepool.run when that next waits", function()
    local _, errors, status = interrupt [[
      local leasepool = require "leasepool"
      leasepool.run(function()
        print "ready"
        while true do leasepool.sleep(0) end
      end)
    ]]
    assert.matches("interrupted!", errors, 1, true)
    assert.are.equal(1, status)
  end)
end)
