local leasepool = require "leasepool"
local gate = require "spec.support.gate"

describe("leasepool.run", function()
  it("returns what its function returns, nils included", function()
    assert.are.same({ n = 3, 1, nil, nil }, table.pack(leasepool.run(function(...) return ... end, 1, nil, nil)))
  end)

  it("waits for all that was spawned inside", function()
    local order = {}
    leasepool.run(function()
      for i = 3, 1, -1 do
        leasepool.spawn(function()
          leasepool.sleep(i / 1000)
          leasepool.spawn(function() order[#order + 1] = i end)
        end)
      end
    end)
    assert.are.same({ 1, 2, 3 }, order)
  end)

  it("raises the error of its function, with the traceback of where it was", function()
    local function deep() error "here" end
    local ok, err = pcall(leasepool.run, function() deep() end)
    assert.is_false(ok)
    assert.matches("coroutines_spec.lua:%d+: here\nstack traceback:.*deep", err)
    ok, err = pcall(leasepool.run, function() error { 1 } end)
    assert.is_false(ok)
    assert.are.same({ 1 }, err)
    ok, err = pcall(leasepool.run, function() leasepool.manager {} end)
    assert.is_false(ok)
    assert.are.equal("ConfigError", err.name)
    assert.matches("coroutines_spec", err.traceback)
  end)

  it("cancels what was spawned when its function raises, and closes its variables", function()
    local closed = {}
    local ok = pcall(leasepool.run, function()
      for i = 1, 2 do
        leasepool.spawn(function()
          local _ <close> = setmetatable({}, { __close = function() closed[#closed + 1] = i end })
          leasepool.sleep(1000)
        end)
      end
      error "x"
    end)
    assert.is_false(ok)
    assert.are.same({ 2, 1 }, closed) -- as variables are closed: the last first
  end)

  it("can be nested", function()
    assert.are.equal(3, leasepool.run(function()
      return 1 + leasepool.run(function()
        leasepool.sleep(0.001)
        return 2
      end)
    end))
  end)

  it("closes variables on error, which may wait while they are closed", function()
    local manager <close> = leasepool.manager({ max_pools = 1 }):start()
    local seen
    pcall(leasepool.run, function()
      local lease <close> = manager:acquire()
      local _ <close> = setmetatable({}, { __close = function() seen = lease:run(string.upper, "waited") end })
      error "x"
    end)
    assert.are.equal("WAITED", seen)
    assert.are.equal(0, manager.leased_count)
  end)

  it("needs a function", function()
    for _, call in ipairs { leasepool.run, leasepool.spawn } do
      local ok, err = pcall(call, 3)
      assert.is_false(ok)
      assert.matches("argument 1: got number, allowed: a function", err.message, 1, true)
    end
  end)
end)

describe("leasepool.spawn", function()
  it("gives a future of all results, or of the error as it was raised", function()
    local good = leasepool.spawn(function(...) return ... end, 1, nil)
    assert.are.same({ n = 2, 1, nil }, table.pack(good:await()))
    local bad = leasepool.spawn(function() error("as it is", 0) end)
    assert.are.same({ false, "as it is" }, { bad:result() })
    assert.are.equal("future of a coroutine: failed", tostring(bad))
  end)

  it("starts at once and goes on when what it waits for is there", function()
    local log = {}
    local future = leasepool.spawn(function()
      log[#log + 1] = "in"
      leasepool.sleep(0.001)
      log[#log + 1] = "out"
    end)
    assert.are.same({ "in" }, log)
    future:await()
    assert.are.same({ "in", "out" }, log)
  end)

  it("ends as cancelled when somebody closes its coroutine", function()
    local co, closed
    local future = leasepool.spawn(function()
      co = coroutine.running()
      local _ <close> = setmetatable({}, { __close = function() closed = true end })
      leasepool.sleep(1000)
    end)
    assert.is_true(coroutine.close(co))
    assert.is_true(closed)
    assert.are.equal("cancelled", future:status())
    assert.are.equal("CancelledError", select(2, future:result()).name)
  end)

  it("shows __close handlers the error as it was raised", function()
    local seen
    local future = leasepool.spawn(function()
      local _ <close> = setmetatable({}, { __close = function(_, err) seen = err end })
      error("as it was", 0)
    end)
    assert.are.equal("as it was", seen)
    assert.are.equal("as it was", select(2, future:result()))
  end)

  it("nested too deep for Lua fails, and everybody is told", function()
    local function nest() return leasepool.spawn(nest):await() end
    local ok, err = leasepool.spawn(nest):result()
    assert.is_false(ok)
    assert.matches("C stack overflow", tostring(err))
  end)

  it("from a __close handler of a cancelled coroutine belongs to its run", function()
    local done
    leasepool.run(function()
      local future = leasepool.spawn(function()
        local _ <close> = setmetatable({}, { __close = function()
          leasepool.spawn(function()
            leasepool.sleep(0.002)
            done = true
          end)
        end })
        leasepool.sleep(1000)
      end)
      future:cancel()
    end)
    assert.is_true(done)
  end)

  it("in a coroutine of another that has ended belongs to the same run", function()
    local order = {}
    leasepool.run(function()
      leasepool.spawn(function()
        coroutine.wrap(function()
          leasepool.sleep(0.002)
          leasepool.spawn(function()
            leasepool.sleep(0.001)
            order[#order + 1] = "inner"
          end)
        end)()
      end)
      collectgarbage()
      collectgarbage()
      leasepool.sleep(0.004)
    end)
    assert.are.same({ "inner" }, order)
  end)
end)

describe("leasepool.sleep", function()
  it("wakes at its time, not before, on the test-driven clock", function()
    local output, errors, status = require("spec.support.child").run [[
      local leasepool = require "leasepool"
      local testing = require("leasepool.core").testing
      testing.clock_advance(0)
      local woken = {}
      for _, seconds in ipairs { 30, 10, 20, 10 } do
        leasepool.spawn(function()
          leasepool.sleep(seconds)
          woken[#woken + 1] = seconds
        end)
      end
      local function at(step)
        testing.clock_advance(step)
        testing.turn()
        print(table.concat(woken, " "))
      end
      at(0) at(9.999) at(0.001) at(5) at(5) at(10)
    ]]
    assert.are.equal("", errors)
    assert.are.equal(0, status)
    assert.are.equal("\n\n10 10\n10 10\n10 10 20\n10 10 20 30\n", output)
  end)

  it("is on time while many callbacks wait for their turn", function()
    local manager <close> = leasepool.manager({ max_pools = 1 }):start()
    local lease <close> = manager:acquire()
    local ran, at_wake = 0, nil
    for _ = 1, 300 do
      lease:post(function()
        ran = ran + 1
        local stop = os.clock() + 0.001
        while os.clock() < stop do end
      end, function() end)
    end
    leasepool.spawn(function()
      leasepool.sleep(0.02)
      at_wake = ran
    end)
    while ran < 300 do leasepool.sleep(0.001) end
    assert.is_true(at_wake < 300)
  end)

  it("refuses what is no duration", function()
    for _, seconds in ipairs { -1, 0 / 0, math.huge, "1", false } do
      local ok, err = pcall(leasepool.sleep, seconds)
      assert.is_false(ok)
      assert.matches("leasepool.sleep: seconds: got", err.message, 1, true)
    end
    assert.is_false((pcall(leasepool.sleep)))
  end)
end)

describe("leasepool.gather", function()
  local function after(seconds, value, fails)
    return leasepool.spawn(function()
      leasepool.sleep(seconds)
      if fails then error(value, 0) end
      return value
    end)
  end

  it("returns the first results in the order of the list", function()
    assert.are.same({ "a", "b", "c", n = 3 },
      leasepool.gather { after(0.003, "a"), after(0.002, "b"), after(0.001, "c") })
    assert.are.same({ n = 0 }, leasepool.gather {})
  end)

  it("raises the first error of the list after all have ended", function()
    local last = after(0.005, "c")
    local ok, err = pcall(leasepool.gather, { after(0.002, "bad", true), after(0.001, "worse", true), last })
    assert.is_false(ok)
    assert.are.equal("bad", err)
    assert.are.equal("done", last:status())
  end)

  it("puts errors in place when asked to", function()
    assert.are.same({ "a", "bad", n = 2 },
      leasepool.gather({ after(0.001, "a"), after(0, "bad", true) }, { return_errors = true }))
  end)

  it("gives the value of a future that ends in the round in which the time is over", function()
    local output, errors, status = require("spec.support.child").run [[
      local leasepool = require "leasepool"
      local testing = require("leasepool.core").testing
      testing.clock_advance(0)
      local future = leasepool.spawn(function() leasepool.sleep(1) return "value" end)
      local both = leasepool.spawn(function()
        return leasepool.gather({ future }, { timeout = 1, return_errors = true })
      end)
      testing.clock_advance(1)
      testing.turn()
      print(both:await()[1])
    ]]
    assert.are.same({ "value\n", "", 0 }, { output, errors, status })
  end)

  it("times out as a whole", function()
    local slow = after(1000, "never")
    local ok, err = pcall(leasepool.gather, { after(0, 1), slow }, { timeout = 0.01 })
    assert.is_false(ok)
    assert.are.equal("TimeoutError", err.name)
    assert.are.equal("leasepool.gather: not all ended after 0.01 seconds", err.message)
    slow:cancel()
  end)

  it("refuses other lists and options", function()
    assert.is_false((pcall(leasepool.gather, 3)))
    local ok, err = pcall(leasepool.gather, {}, { timeuot = 1 })
    assert.is_false(ok)
    assert.matches('unknown option "timeuot"', err.message, 1, true)
    assert.is_false((pcall(leasepool.gather, {}, 3)))
    ok, err = pcall(leasepool.gather, { 3 })
    assert.is_false(ok)
    assert.matches("leasepool.gather: element 1: got number, allowed: a future", tostring(err), 1, true)
    ok, err = pcall(leasepool.gather, {}, { timeout = "soon" })
    assert.is_false(ok)
    assert.matches("leasepool.gather: timeout: got", tostring(err), 1, true)
  end)
end)

describe("waiting", function()
  local manager, lease

  before_each(function()
    manager = leasepool.manager({ max_pools = 1, workers_per_pool = 1 }):start()
    lease = manager:acquire()
  end)

  after_each(function()
    lease:release()
    manager:stop()
  end)

  it("works on the idle main thread and in any coroutine", function()
    assert.are.equal("MAIN", lease:run(string.upper, "main"))
    local value
    local co = coroutine.wrap(function() value = lease:run(string.upper, "co") end)
    co()
    assert.is_nil(value)
    leasepool.sleep(0.001)
    while not value do leasepool.sleep(0.001) end
    assert.are.equal("CO", value)
  end)

  it("is refused by name where nothing can wait", function()
    local future = lease:submit(function() end)
    local calls = {
      ["lease:run"] = function() lease:run(function() end) end,
      ["leasepool.sleep"] = function() leasepool.sleep(0) end,
      ["future:await"] = function() lease:submit(function() end):await() end,
      ["manager:stop"] = function() manager:stop() end,
      ["leasepool.run"] = function() leasepool.run(function() end) end,
      ["manager:acquire"] = function() manager:acquire() end,
    }
    local refused = {}
    future:on_done(function() -- a callback
      for name, call in pairs(calls) do
        local _, err = pcall(call)
        refused[name] = err
      end
    end)
    future:await()
    leasepool.sleep(0)
    for name in pairs(calls) do
      assert.is_true(leasepool.is_error(refused[name], "WouldBlockError"), name)
      assert.are.equal(1, (refused[name].message:find(name .. ": would have to wait", 1, true)))
    end
    assert.matches("running", tostring(manager))
  end)

  it("is refused in a comparator, a gsub function and a metamethod of a coroutine", function()
    leasepool.run(function()
      local function wait() lease:run(function() end) return "x" end
      local places = {
        function() table.sort({ 3, 2, 1 }, wait) end,
        function() return (("x"):gsub("x", wait)) end,
        function() return #setmetatable({}, { __len = function() table.sort({ 2, 1 }, wait) end }) end,
      }
      for _, place in ipairs(places) do
        local ok, err = pcall(place)
        assert.is_false(ok)
        assert.are.equal("WouldBlockError", err.name)
      end
    end)
    assert.are.equal(1, lease:run(function() return 1 end))
  end)

  it("raises in a coroutine that a stranger resumes, instead of delivering garbage", function()
    local blocker = gate()
    local co = coroutine.create(function() return lease:run(blocker.pass, blocker.id, "r") end)
    assert(coroutine.resume(co))
    local ok, err = coroutine.resume(co, "garbage")
    assert.is_false(ok)
    assert.matches("resumed by something else", err, 1, true)
    blocker.open()
    assert.are.equal(1, lease:run(function() return 1 end))
  end)

  it("goes on in a coroutine that caught a stranger's resume", function()
    local blocker, seen = gate(), nil
    local co = coroutine.create(function()
      pcall(lease.run, lease, blocker.pass, blocker.id)
      seen = lease:run(string.upper, "again")
    end)
    assert(coroutine.resume(co))
    assert(coroutine.resume(co))
    blocker.open()
    while not seen do leasepool.sleep(0.001) end
    assert.are.equal("AGAIN", seen)
  end)

  it("ends when its coroutine is closed: the queued job never runs, the lease goes on", function()
    local blocker = gate()
    local busy = lease:submit(blocker.pass, blocker.id)
    blocker.await()
    local closed
    local co = coroutine.create(function()
      local _ <close> = setmetatable({}, { __close = function() closed = true end })
      lease:run(function() _G.closed_ran = true end)
    end)
    assert(coroutine.resume(co))
    assert.is_true(coroutine.close(co))
    assert.is_true(closed)
    blocker.open()
    busy:await()
    assert.is_nil(lease:run(function() return _G.closed_ran end))
  end)

  it("that has ended gives back what came when its coroutine is closed before it goes on", function()
    leasepool.run(function()
      local waiting = leasepool.spawn(function() manager:acquire() end)
      local running = leasepool.spawn(function() lease:run(function() return {} end) end)
      local done
      local ran = lease:submit(function() end):on_done(function() done = running:cancel() end)
      ran:await()
      lease:release()
      leasepool.spawn(function() waiting:cancel() end) -- handed over, not yet resumed
      leasepool.sleep(0)
      assert.is_not_nil(done)
      assert.are.equal(1, manager.available_count)
    end)
  end)

  it("deep in a coroutine's stack returns what came, also when the stack moves", function()
    local function await(depth, future)
      if depth == 0 then
        local a, b = future:await()
        return a, b
      end
      local a, b = await(depth - 1, future)
      return a, b
    end
    for depth = 0, 60 do
      local future = lease:submit(function() return { 1 }, 2 end)
      local a, b = leasepool.spawn(await, depth, future):await()
      assert.are.same({ 1 }, a)
      assert.are.equal(2, b)
    end
  end)

  it("survives an error object that raises when it is printed", function()
    local _, errors, status = require("spec.support.child").run [[
      local leasepool = require "leasepool"
      coroutine.wrap(function()
        leasepool.sleep(0)
        error(setmetatable({}, { __tostring = function() error "x" end }))
      end)()
      leasepool.sleep(0.001)
      leasepool.sleep(0.001)
    ]]
    assert.are.equal(0, status)
    assert.matches("a coroutine that leasepool resumed failed: table", errors, 1, true)
  end)

  it("takes a stranger's resume that comes after the wake-up, and nothing is left behind", function()
    local co = coroutine.create(function()
      local text = lease:run(string.upper, "woken")
      leasepool.sleep(0.001)
      return text
    end)
    assert(coroutine.resume(co))
    local ended = lease:submit(function() end)
    ended:on_done(function() end)
    ended:await() -- the first job has ended too: its coroutine went on by itself or will
    if coroutine.status(co) == "suspended" then coroutine.resume(co) end
    leasepool.sleep(0.002)
    assert.are.equal("LATER", lease:run(string.upper, "later"))
  end)

  it("with a debug hook on the main thread costs no more than without", function()
    local output, errors, status = require("spec.support.child").run [[
      local leasepool = require "leasepool"
      debug.sethook(function() end, "l")
      leasepool.sleep(0.5)
      print(os.clock() < 0.25)
    ]]
    assert.are.same({ "true\n", "", 0 }, { output, errors, status })
  end)

  it("in acquire ends when its coroutine is closed, also after the hand-over", function()
    local co = coroutine.create(function() return manager:acquire() end)
    assert(coroutine.resume(co))
    assert.is_true(coroutine.close(co))
    local handed = coroutine.create(function() return manager:acquire() end)
    assert(coroutine.resume(handed))
    lease:release() -- handed over, not yet resumed
    assert.is_true(coroutine.close(handed))
    leasepool.sleep(0)
    assert.are.equal(1, manager.available_count)
  end)

  it("may happen in a __close handler of a coroutine that is being closed", function()
    local seen
    local co = coroutine.create(function()
      local _ <close> = setmetatable({}, { __close = function() seen = lease:run(string.upper, "closing") end })
      leasepool.sleep(1000)
    end)
    assert(coroutine.resume(co))
    assert.is_true(coroutine.close(co))
    assert.are.equal("CLOSING", seen)
  end)

  it("leaves a coroutine that is never resumed to the garbage collector", function()
    local weak = setmetatable({}, { __mode = "k" })
    do
      local co = coroutine.create(function() leasepool.sleep(0) error "collected first" end)
      weak[co] = true
      assert(coroutine.resume(co))
      coroutine.close(co)
    end
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(weak))
  end)

  it("holds 2,000 coroutines at once", function()
    leasepool.run(function()
      local futures = {}
      for i = 1, 2000 do futures[i] = leasepool.spawn(function() return lease:run(function(n) return n end, i) end) end
      for i, value in ipairs(leasepool.gather(futures)) do assert.are.equal(i, value) end
    end)
  end)
end)
