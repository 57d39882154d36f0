--- A job that runs is made to stop: by cancel, by timeouts, by expiry, by stops; whatever it does.
local leasepool = require "leasepool"
local backends = require "spec.support.backends"
local child = require "spec.support.child"
local gate = require "spec.support.gate"
local testing = require("leasepool.core").testing

-- On the worker: says that it has come so far, by an open gate.
local function arrive(id) require("leasepool.core").testing.gate_pass(id) end

local function begin(id, fn, ...)
  arrive(id)
  return fn(...)
end

local function forever() while true do end end -- luacheck: ignore

-- What does not end by itself, in every way in which Lua code can.
local RUNAWAYS <const> = {
  ["an empty loop"] = forever,
  ["a loop of nested pcalls"] = function() while true do pcall(pcall, pcall, pcall, forever) end end,
  ["a loop of pcalls"] = function() while true do pcall(forever) end end,
  ["a coroutine"] = function() coroutine.wrap(forever)() end,
  ["a nested coroutine that nobody asks for errors"] = function()
    local function nest(depth)
      if depth == 0 then forever() end
      while true do coroutine.resume(coroutine.create(nest), depth - 1) end
    end
    nest(5)
  end,
  ["recursions without end"] = function()
    while true do
      pcall(function()
        local function recurse() recurse() end -- as deep as the stack may be, again and again
        recurse()
      end)
    end
  end,
  ["two coroutines that take turns"] = function()
    local co = coroutine.wrap(function() while true do coroutine.yield() end end)
    while true do co() end
  end,
  ["coroutines that are made, resumed and closed"] = function()
    while true do
      local co = coroutine.create(function()
        local _ <close> = setmetatable({}, { __close = function() for _ = 1, 10 do end end })
        coroutine.yield()
      end)
      coroutine.resume(co)
      coroutine.close(co)
    end
  end,
  ["a <close> of a coroutine"] = function()
    while true do
      local co = coroutine.create(function()
        local _ <close> = setmetatable({}, { __close = forever })
        coroutine.yield()
      end)
      coroutine.resume(co)
      coroutine.close(co)
    end
  end,
  ["a metamethod"] = function() return setmetatable({}, { __index = forever }).x end,
  ["a comparator of table.sort"] = function()
    table.sort({ 3, 1, 2, 5, 4 }, function() while true do end end) -- luacheck: ignore
  end,
  ["a function of gsub"] = function() ("x"):gsub(".", forever) end,
  ["an iterator"] = function() for _ in forever do end end, -- luacheck: ignore
  ["a job that resets its hook"] = function() while true do debug.sethook() end end,
  ["a job that sets hooks of its own"] = function()
    while true do debug.sethook(function() end, "", 1000) end
  end,
  ["a <close> that loops"] = function()
    local _ <close> = setmetatable({}, { __close = forever })
    forever()
  end,
  ["a read that blocks"] = function(fifo)
    local file <close> = assert(io.open(fifo, "r+"))
    return file:read "a"
  end,
}

backends.each("a job that runs", function(backend)
  local manager, lease, started, runaways

  before_each(function()
    runaways = 0
    started = gate()
    started.open()
    manager = backend.manager({ max_pools = 1, workers_per_pool = 1, logger = function() end }):start()
    lease = manager:acquire { owner = "runaway" }
  end)

  after_each(function()
    lease:release()
    manager:stop { timeout = 0 }
  end)

  -- A job that has begun.
  local function run_away(on, fn, ...)
    local future = on:submit(begin, started.id, fn, ...)
    runaways = runaways + 1
    started.await(runaways)
    return future
  end

  local function run_to_arrival(fn, ...)
    local future = lease:submit(fn, started.id, ...)
    runaways = runaways + 1
    repeat leasepool.sleep(0.001) until testing.gate_await(started.id, runaways, 0) -- its worker may be replaced first
    return future
  end

  for what, fn in pairs(RUNAWAYS) do
    it("is stopped by cancel in " .. what .. " #threads", function()
      local fifo = os.tmpname()
      os.remove(fifo)
      assert(os.execute("mkfifo " .. fifo))
      local future = run_away(lease, fn, fifo)
      assert.is_true(future:cancel())
      assert.are.equal("pending", future:status())
      local ok, err = future:result(20)
      os.remove(fifo)
      assert.are.same({ false, "CancelledError", "cancelled" }, { ok, err.name, future:status() })
      assert.is_nil(err.still_running)
      assert.are.equal(42, lease:run(function(x) return x + 1 end, 41))
    end)
  end

  it("closes its variables and runs its handlers, once, when it is stopped", function()
    local future = run_to_arrival(function(id)
      local _ <close> = setmetatable({}, { __close = function(_, err) _G.closed = err end })
      local _, err = pcall(function() arrive(id) while true do end end) -- luacheck: ignore
      _G.caught = tostring(err)
      error(err, 0)
    end)
    future:cancel()
    local _, err = future:result(20)
    assert.are.equal("CancelledError", err.name)
    assert.matches("^the job was stopped: it was cancelled", err.message)
    assert.matches("stack traceback:.*interrupt_spec", err.traceback)
    assert.matches("^leasepool%-%d+%-%d+$", err.worker)
    assert.are.equal("the job is to stop: cancelled", lease:run(function() return (_G.caught:gsub("\n.*", "")) end))
    assert.is_true(lease:run(function() return _G.closed ~= nil end))
  end)

  it("that ends in spite of the request has ended: its result came first", function()
    local future = run_to_arrival(function(id)
      local ok = pcall(function() arrive(id) while true do end end) -- luacheck: ignore
      return ok, "and went on"
    end)
    future:cancel()
    assert.are.same({ true, false, "and went on" }, { future:result(20) })
    assert.are.equal("done", future:status())
    assert.is_false(future:cancel())
  end)

  it("sees the request in worker.cancelled(), and may end by itself", function()
    local future = run_to_arrival(function(id)
      local worker = require "leasepool.worker"
      pcall(function() arrive(id) while true do end end) -- luacheck: ignore
      return worker.cancelled()
    end)
    future:cancel()
    assert.are.same({ true, true }, { future:result(20) })
    assert.is_false(lease:run(function() return require("leasepool.worker").cancelled() end))
  end)

  it("is stopped when its timeout is over", function()
    local future = lease:with({ timeout = 0.05 }):submit(forever)
    local _, err = future:result(20)
    assert.are.equal("TimeoutError", err.name)
    assert.matches("^the job was stopped: its timeout of 0.05 seconds was over", err.message)
    assert.are.equal("failed", future:status())
    assert.are.equal("ok", lease:run(function() return "ok" end))
  end)

  it("is stopped by hard expiry where that is asked for, of the manager or the lease, and not else", function()
    for _, of_lease in ipairs { true, false } do
      local other <close> = backend.manager({ max_pools = 2, workers_per_pool = 1, lease_grace_seconds = 0,
        on_expiry = of_lease and "leave" or "interrupt" })
      other:start()
      local short = other:acquire { on_expiry = of_lease and "interrupt" or nil }
      local future = run_away(short, forever)
      short:renew(0.001)
      local _, err = future:result(20)
      assert.are.equal("LeaseExpiredError", err.name)
      assert.matches("^the job was stopped: its lease expired", err.message)
      assert.are.equal("CLOSED", short.state)
      local left = other:acquire { on_expiry = "leave" }
      local blocker = gate()
      local leaving = left:submit(blocker.pass, blocker.id, "left alone")
      blocker.await()
      left:renew(0.001)
      while left.state ~= "EXPIRED" do leasepool.sleep(0.001) end
      blocker.open()
      assert.are.equal("left alone", leaving:await(20))
      assert.are.equal(1, other:stats().counters.interrupted)
    end
  end)

  it("is stopped by a stop whose time is over, which counts it #threads", function()
    local one, two = run_away(lease, forever), lease:submit(forever)
    local report = manager:stop { timeout = 0.01 }
    assert.are.same({ finished = 0, cancelled = 1, interrupted = 1, killed = 0, abandoned = 0 }, report)
    for _, future in ipairs { one, two } do
      assert.are.equal("CancelledError", select(2, future:result()).name)
      assert.are.equal("cancelled", future:status())
    end
    assert.are.equal(1, manager:stats().counters.interrupted)
  end)

  it("is stopped when the coroutine that waits for it in run is cancelled, and not when it only awaits", function()
    local waiting = leasepool.spawn(function() lease:run(begin, started.id, forever) end)
    leasepool.sleep(0)
    started.await()
    waiting:cancel()
    assert.are.equal("CancelledError", select(2, waiting:result(20)).name)
    local blocker = gate()
    local future = lease:submit(blocker.pass, blocker.id, "awaited")
    local awaiting = leasepool.spawn(function() return future:await() end)
    blocker.await()
    awaiting:cancel()
    blocker.open()
    assert.are.equal("awaited", future:await(20))
  end)

  it("is stopped while it waits for a result of its own", function()
    local future = run_away(lease, function()
      local inner = require "leasepool"
      local nested <close> = inner.manager({ max_pools = 1, exit_grace_seconds = 0 }):start()
      nested:run(function() while true do end end) -- luacheck: ignore
    end)
    future:cancel()
    assert.are.equal("CancelledError", select(2, future:result(20)).name)
  end)

  it("is stopped in a coroutine of a leasepool of its own", function()
    local future = run_away(lease, function()
      local inner = require "leasepool"
      inner.run(function()
        inner.spawn(function() while true do end end) -- luacheck: ignore
        inner.sleep(100)
      end)
    end)
    future:cancel()
    assert.are.equal("CancelledError", select(2, future:result(20)).name)
  end)

  it("is stopped in a callback of a leasepool of its own", function()
    for _, way in ipairs { "on_done", "post", "on_soft_expiry", "size_provider" } do
      local future = run_to_arrival(function(id, how)
        local inner = require "leasepool"
        local function loop()
          arrive(id)
          while true do end -- luacheck: ignore
        end
        local nested = inner.manager { max_pools = 1, exit_grace_seconds = 0,
          size_provider = how == "size_provider" and loop or nil }:start()
        local lent = nested:acquire { lease_seconds = 0.01, on_soft_expiry = how == "on_soft_expiry" and loop or nil }
        if how == "on_done" then lent:submit(function() end):on_done(loop) end
        if how == "post" then lent:post(loop, function() end) end
        inner.sleep(100)
      end, way)
      future:cancel()
      local ok, err = future:result(20)
      assert.are.same({ false, "CancelledError", nil }, { ok, err.name, err.still_running }, way)
    end
  end)

  it("never stops another: a thousand runaways and a thousand innocents on one worker #threads", function()
    local rounds <const> = os.getenv "LEASEPOOL_SANITIZE" and 200 or 1000
    local patient <close> = backend.manager({ max_pools = 1, workers_per_pool = 1, interrupt_grace_seconds = 10 })
    local lent <close> = patient:start():acquire()
    local function runaway(id)
      local _ <close> = setmetatable({}, { __close = function() _G.closed = (_G.closed or 0) + 1 end })
      arrive(id)
      while true do end -- luacheck: ignore
    end
    local function innocent(n)
      for _ = 1, 1000 do end
      return _G.closed == n
    end
    for n = 1, rounds do
      local future = lent:submit(runaway, started.id)
      local after = lent:submit(innocent, n)
      started.await(n)
      future:cancel()
      local ok, good = after:result(20)
      assert.is_true(ok and good, n)
      assert.are.equal("cancelled", future:status())
    end
    assert.are.equal(rounds, patient:stats().counters.interrupted)
  end)

  it("that its memory limit refuses again and again ends, also in a loop of pcalls", function()
    local limited <close> = backend.manager({ max_pools = 1, workers_per_pool = 1, memory_limit = 4 << 20 })
    local lent <close> = limited:start():acquire()
    for _, fn in ipairs {
      function()
        while true do
          pcall(function() local t = {} for i = 1, math.huge do t[i] = { i } end return t end)
        end
      end,
      function() while true do pcall(string.rep, "x", 1 << 30) end end,
      function() local t = {} for i = 1, math.huge do t[i] = ("x"):rep(1000) .. i end return t end,
    } do
      local ok, err = lent:submit(fn):result(20)
      assert.is_false(ok)
      assert.are.equal("JobError", err.name)
      assert.matches("not enough memory", err.message)
      assert.are.equal("usable", lent:run(function() return "usable" end))
    end
  end)
end)

describe("a job that cannot be stopped", function()
  local manager, lease, blocker

  before_each(function()
    blocker = gate()
    manager = leasepool.manager({ max_pools = 2, workers_per_pool = 2, interrupt_grace_seconds = 0.01,
      exit_grace_seconds = 0.01, logger = function() end }):start()
    lease = manager:acquire()
  end)

  after_each(function()
    blocker.open()
    manager:stop()
  end)

  it("is given up: its future ends, its worker is lost, the lease goes on #threads", function()
    local future = lease:submit(blocker.pass, blocker.id)
    blocker.await()
    assert.is_true(future:cancel())
    local ok, err = future:result(20)
    assert.are.same({ false, "CancelledError", true, "failed" },
      { ok, err.name, err.still_running, future:status() })
    assert.matches("^the job cannot be stopped, and was given up: it was cancelled", err.message)
    assert.are.equal("other worker", lease:run(function() return "other worker" end))
    assert.are.equal("ACTIVE", lease.state)
    assert.are.equal(0, manager:stats().counters.interrupted)
  end)

  it("retires its executor at release, and counts as retiring until it is back", function()
    local future = lease:submit(blocker.pass, blocker.id)
    blocker.await()
    future:cancel()
    future:result(20)
    lease:release()
    assert.are.same({ 0, 1, 1 }, { manager.leased_count, manager.available_count, manager:stats().retiring })
    assert.are.equal("next", manager:run(function() return "next" end))
    blocker.open()
    while manager:stats().retiring > 0 do leasepool.sleep(0.001) end
  end)

  it("breaks its lease when no worker is left", function()
    local view = lease:with { timeout = 1 } -- both have begun by then
    local futures = { view:submit(blocker.pass, blocker.id), view:submit(blocker.pass, blocker.id) }
    blocker.await(2)
    for _, future in ipairs(futures) do
      local _, err = future:result(20)
      assert.are.same({ "TimeoutError", true }, { err.name, err.still_running })
    end
    assert.are.same({ "CLOSED", 1 }, { lease.state, manager:stats().counters.broken })
    local _, err = pcall(lease.run, lease, print)
    assert.are.equal("BrokenExecutorError", err.name)
    assert.matches("all of its workers run what cannot be stopped", err.message)
    assert.are.equal("next", manager:run(function() return "next" end))
  end)

  it("does not keep its state from closing, and may come back later or never", function()
    for _, how in ipairs { "os.exit(3, true)", "error 'x'", "" } do
      local output, errors, status = child.run([[
        local leasepool = require "leasepool"
        local testing = require("leasepool.core").testing
        manager = leasepool.manager({ max_pools = 1, exit_grace_seconds = 0.05 }):start()
        lease = manager:acquire()
        local gate = testing.gate()
        future = lease:submit(function(id)
          require("leasepool.core").testing.gate_pass(id)
        end, gate)
        assert(testing.gate_await(gate))
      ]] .. how)
      local expected = how == "" and 0 or how:find "exit" and 3 or 1
      assert.are.same({ "", expected }, { output, status }, errors)
      assert.matches("WARN: worker 1%-1 runs what cannot be stopped, and is given up", errors)
      assert.matches("WARN: 1 jobs were lost", errors)
    end
  end)
end)

describe("the signal of interrupts", function()
  local HEAD <const> = [[
    local leasepool = require "leasepool"
    local function go(seconds)
      manager = leasepool.manager({ max_pools = 1, workers_per_pool = 1, exit_grace_seconds = seconds }):start()
      lease = manager:acquire()
      local future = lease:with({ timeout = 0.05 }):submit(function() while true do end end)
      local _, err = future:result(20)
      print(err.name, err.still_running)
      lease:release()
    end
  ]]

  it("may be another one", function()
    local output, errors, status = child.run(HEAD .. "leasepool.set_interrupt_signal(31) go(20)")
    assert.are.same({ "TimeoutError\tnil\n", "", 0 }, { output, errors, status })
  end)

  it("may be none: then Lua code is given up like other code", function()
    local output, errors, status = child.run(HEAD .. "leasepool.set_interrupt_signal(false) go(0.01)")
    assert.are.same({ "TimeoutError\ttrue\n", 0 }, { output, status })
    assert.matches("runs what cannot be stopped", errors)
  end)

  it("is refused when it is none, and when a worker has been started", function()
    local output = child.run(HEAD .. [[
      for _, wrong in ipairs { 9, 19, -1, 1000, "USR1", 1.5, true } do
        print(select(2, pcall(leasepool.set_interrupt_signal, wrong)).name)
      end
      go(20)
      print(select(2, pcall(leasepool.set_interrupt_signal, 31)).message)
    ]])
    assert.are.equal(("ConfigError\n"):rep(7) .. "TimeoutError\tnil\n"
      .. "leasepool.set_interrupt_signal: a worker has been started already\n", output)
  end)
end)
