--- Waiting for several futures at once: any and gather.
local leasepool = require "leasepool"
local backends = require "spec.support.backends"
local child = require "spec.support.child"
local gate = require "spec.support.gate"
local failure = require "spec.support.failure"

local function after(seconds, ...)
  return leasepool.spawn(function(...)
    leasepool.sleep(seconds)
    return ...
  end, ...)
end

backends.each("leasepool.any", function(backend)
  local manager, lease

  before_each(function()
    manager = backend.manager({ max_pools = 1, workers_per_pool = 2 }):start()
    lease = manager:acquire()
  end)

  after_each(function()
    lease:release()
    manager:stop()
  end)

  it("returns the index and the future of the first to end", function()
    local blocker = gate()
    local slow, fast = lease:submit(blocker.pass, blocker.id, "slow"), lease:submit(string.upper, "fast")
    local index, future = leasepool.any { slow, fast }
    assert.are.equal(2, index)
    assert.are.equal(fast, future)
    assert.are.equal("FAST", future:await())
    blocker.open()
    assert.are.equal(1, (leasepool.any { slow }))
  end)

  it("counts a failure and a cancellation as ends", function()
    local never = after(1000)
    local failed = leasepool.spawn(function()
      leasepool.sleep(0)
      error("failed", 0)
    end)
    assert.are.equal(2, (leasepool.any { never, failed }))
    assert.are.equal("failed", select(2, failed:result()))
    local waiting = leasepool.spawn(leasepool.any, { never })
    never:cancel()
    local index, future = waiting:await()
    assert.are.same({ 1, "cancelled" }, { index, future:status() })
  end)

  it("returns the lowest index of those that had ended, where nothing can wait too", function()
    local never, one, two = after(1000), after(0, 1), after(0, 2)
    leasepool.gather { one, two }
    assert.are.equal(2, (leasepool.any { never, two, one }))
    local seen, refused
    one:on_done(function()
      seen = leasepool.any { never, one }
      refused = failure(leasepool.any, { never })
    end)
    leasepool.sleep(0)
    assert.are.equal(2, seen)
    assert.are.equal("WouldBlockError", refused.name)
    assert.matches("leasepool.any: would have to wait", refused.message, 1, true)
    never:cancel()
  end)

  it("lets several wait for the same futures, and one future be in a list twice", function()
    leasepool.run(function()
      local blocker = gate()
      local never, future = after(1000), lease:submit(blocker.pass, blocker.id)
      local waiting = {}
      for i = 1, 10 do
        waiting[i] = leasepool.spawn(function() return (leasepool.any { never, future, future, never }) end)
      end
      blocker.open()
      assert.are.same({ 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, n = 10 }, leasepool.gather(waiting))
      never:cancel()
    end)
  end)

  it("gives all of a list in the order of their ends, when the rest is asked for again", function()
    local output, errors, status = child.run [[
      local leasepool = require "leasepool"
      local testing = require("leasepool.core").testing
      testing.clock_advance(0)
      local left = {}
      for i, seconds in ipairs { 3, 1, 2 } do
        left[i] = leasepool.spawn(function()
          leasepool.sleep(seconds)
          return seconds
        end)
      end
      local taking = leasepool.spawn(function()
        while #left > 0 do
          local index, future = leasepool.any(left)
          print(future:await())
          table.remove(left, index)
        end
      end)
      for _ = 1, 3 do
        testing.clock_advance(1)
        testing.turn()
      end
      taking:await()
    ]]
    assert.are.same({ "1\n2\n3\n", "", 0 }, { output, errors, status })
  end)

  it("times out and leaves the futures alone", function()
    local never = after(1000)
    for _, timeout in ipairs { 0, 0.001 } do
      local err = failure(leasepool.any, { never }, { timeout = timeout })
      assert.are.equal("TimeoutError", err.name)
      assert.matches("leasepool.any: none ended after 0", err.message, 1, true)
    end
    assert.are.equal("pending", never:status())
    never:cancel()
  end)

  it("gives a future that ends in the round in which the time is over", function()
    local output, errors, status = child.run([[
      local leasepool = require "leasepool"
      local testing = require("leasepool.core").testing
      testing.clock_advance(0)
      local future = leasepool.spawn(function() leasepool.sleep(1) end)
      local waiting = leasepool.spawn(function() return (leasepool.any({ future }, { timeout = 1 })) end)
      testing.clock_advance(1)
      testing.turn()
      print(waiting:await())
    ]], backend.name)
    assert.are.same({ "1\n", "", 0 }, { output, errors, status })
  end)

  it("leaves nothing behind at its futures when it is cancelled, closed or over", function()
    leasepool.run(function()
      local never = after(1000)
      for i = 1, 300 do
        local co
        local waiting = leasepool.spawn(function()
          co = coroutine.running()
          leasepool.any { never, after(0), never }
        end)
        if i % 3 == 0 then waiting:cancel() elseif i % 3 == 1 then coroutine.close(co) end
        waiting:result()
      end
      collectgarbage()
      never:cancel()
      assert.is_false((never:result()))
    end)
  end)

  it("holds for a list of 5,000 and for 5,000 that wait for the same future", function()
    local blocker = gate()
    local one, list = lease:submit(blocker.pass, blocker.id), {}
    for i = 1, 5000 do list[i] = after(1000) end
    list[2500] = one
    local waiting = {}
    for i = 1, 5000 do waiting[i] = leasepool.spawn(leasepool.any, { list[1], one }) end
    local whole = leasepool.spawn(leasepool.any, list)
    blocker.open()
    assert.are.equal(2500, (whole:await()))
    local results = leasepool.gather(waiting)
    for i = 1, 5000 do assert.are.equal(2, results[i]) end
    for i = 1, 5000 do list[i]:cancel() end
  end)

  it("is not disturbed by whoever changes the list meanwhile", function()
    local never, soon = after(1000), after(0.001)
    local list = { never, soon }
    local waiting = leasepool.spawn(leasepool.any, list)
    list[1], list[2] = nil, nil
    collectgarbage()
    local index, future = waiting:await()
    assert.are.same({ 2, true }, { index, future == soon })
    never:cancel()
  end)

  it("refuses what is no list of futures, and says what and where", function()
    local future = after(0)
    for _, case in ipairs {
      { "leasepool.any: got nil, allowed: a list of futures" },
      { "leasepool.any: got userdata, allowed: a list of futures", future },
      { "leasepool.any: got an empty list, allowed: one future or more", {} },
      { "leasepool.any: element 2: got number, allowed: a future", { future, 3 } },
      { "leasepool.any: element 2: got userdata, allowed: a future", { future, lease } },
      { "leasepool.any: got the key x in a list of 1", { future, x = 1 } },
      { "leasepool.any: got the key 3 in a list of", { [3] = future } },
      { 'leasepool.any: unknown option "timeuot"', { future }, { timeuot = 1 } },
      { "leasepool.any: timeout: got -1, allowed: a finite number", { future }, { timeout = -1 } },
      { "leasepool.any: options: got 1, allowed: a table", { future }, 1 },
    } do
      local err = failure(leasepool.any, table.unpack(case, 2, 3))
      assert.are.equal("ConfigError", err.name)
      assert.matches(case[1], err.message, 1, true)
    end
  end)
end)

describe("leasepool.gather", function()
  it("keeps nil results and their places", function()
    assert.are.same({ nil, 2, nil, n = 3 }, leasepool.gather { after(0), after(0, 2), after(0.001, nil, 3) })
  end)

  it("takes the same future several times", function()
    local future = after(0.001, "same")
    assert.are.same({ "same", "same", "same", n = 3 }, leasepool.gather { future, future, future })
  end)

  it("puts errors in place, of jobs, coroutines and cancelled ones alike", function()
    local cancelled = after(1000)
    cancelled:cancel()
    local results = leasepool.gather({
      leasepool.spawn(error, "raised", 0), cancelled, after(0, "fine"),
    }, { return_errors = true })
    assert.are.equal("raised", results[1])
    assert.are.equal("CancelledError", results[2].name)
    assert.are.equal("fine", results[3])
  end)

  it("raises a failure whose error is nil", function()
    assert.are.same({ n = 2, false, nil }, table.pack(pcall(leasepool.gather, { leasepool.spawn(error) })))
  end)

  it("refuses a list with a hole, and options of the wrong type", function()
    local future = after(0)
    assert.matches("leasepool.gather: ", failure(leasepool.gather, { future, nil, future }).message, 1, true)
    assert.matches("return_errors: got 1, allowed: true or false",
      failure(leasepool.gather, { future }, { return_errors = 1 }).message, 1, true)
  end)
end)
