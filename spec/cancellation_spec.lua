--- How coroutines are cancelled: by their future, by the end of a run, by coroutine.close.
local leasepool = require "leasepool"
local backends = require "spec.support.backends"
local child = require "spec.support.child"
local gate = require "spec.support.gate"

local function noted(log, name)
  return setmetatable({}, { __close = function() log[#log + 1] = name end })
end

backends.each("cancelling a coroutine", function(backend)
  local manager, lease

  before_each(function()
    manager = backend.manager({ max_pools = 1, workers_per_pool = 1 }):start()
    lease = manager:acquire()
  end)

  after_each(function()
    lease:release()
    manager:stop()
  end)

  it("raises CancelledError at its current wait, closes its variables, and ends it as cancelled", function()
    local log = {}
    local future = leasepool.spawn(function()
      local _ <close> = noted(log, "closed")
      leasepool.sleep(1000)
      log[#log + 1] = "not reached"
    end)
    assert.is_true(future:cancel())
    local ok, err = future:result()
    assert.is_false(ok)
    assert.are.equal("CancelledError", err.name)
    assert.are.equal("cancelled", future:status())
    assert.are.same({ "closed" }, log)
    assert.is_false(future:cancel())
  end)

  it("shows the error to handlers and to pcall, and to whoever awaits it, as the same object", function()
    local caught, closed
    local future = leasepool.spawn(function()
      local _ <close> = setmetatable({}, { __close = function(_, err) closed = err end })
      local _, err = pcall(leasepool.sleep, 1000)
      caught = err
      error(err, 0)
    end)
    future:cancel()
    local _, seen = future:result()
    assert.are.equal(caught, seen)
    assert.are.equal(caught, closed)
    assert.is_true(leasepool.is_error(caught, "CancelledError"))
  end)

  it("may be caught: it waits again, cleans up, and its results count", function()
    local future = leasepool.spawn(function()
      local ok = pcall(leasepool.sleep, 1000)
      leasepool.sleep(0)
      return ok, lease:run(string.upper, "cleaned")
    end)
    assert.is_true(future:cancel())
    assert.are.same({ false, "CLEANED" }, { future:await() })
    assert.are.equal("done", future:status())
  end)

  it("raises once for each call, wherever it waits then", function()
    local count = 0
    local future = leasepool.spawn(function()
      for _ = 1, 3 do
        if not pcall(leasepool.sleep, 1000) then count = count + 1 end
      end
      return "stubborn"
    end)
    for i = 1, 3 do
      assert.is_true(future:cancel())
      assert.is_true(future:cancel()) -- the same wait: nothing more
      leasepool.sleep(0)
      assert.are.equal(i, count)
    end
    assert.are.equal("stubborn", future:await())
  end)

  it("fails with what it raises instead", function()
    local future = leasepool.spawn(function()
      pcall(leasepool.sleep, 1000)
      error("something else", 0)
    end)
    future:cancel()
    assert.are.same({ false, "something else" }, { future:result() })
    assert.are.equal("failed", future:status())
  end)

  it("that fails with the CancelledError of another is failed, not cancelled", function()
    local inner = leasepool.spawn(function() leasepool.sleep(1000) end)
    local outer = leasepool.spawn(function() inner:await() end)
    inner:cancel()
    local ok, err = outer:result()
    assert.is_false(ok)
    assert.are.equal("CancelledError", err.name)
    assert.are.equal("cancelled", inner:status())
    assert.are.equal("failed", outer:status())
  end)

  it("withdraws the queued job that it waits for in run #threads", function()
    local blocker = gate()
    local busy = lease:submit(blocker.pass, blocker.id)
    blocker.await()
    local future = leasepool.spawn(function() lease:run(function() _G.cancelled_ran = true end) end)
    assert.is_true(future:cancel())
    assert.are.equal("CancelledError", select(2, future:result()).name)
    blocker.open()
    busy:await()
    assert.is_nil(lease:run(function() return _G.cancelled_ran end))
  end)

  it("leaves alone a job that it merely awaits", function()
    local blocker = gate()
    local busy = lease:submit(blocker.pass, blocker.id, 1)
    local queued = lease:submit(function() return 2 end)
    local future = leasepool.spawn(function() return queued:await() end)
    future:cancel()
    assert.is_false((future:result()))
    assert.are.equal("pending", queued:status())
    blocker.open()
    assert.are.same({ 1, 2, n = 2 }, leasepool.gather { busy, queued })
  end)

  it("gives up its place among the waiters of acquire", function()
    local first = leasepool.spawn(function() return manager:acquire() end)
    local second = leasepool.spawn(function() return manager:acquire() end)
    first:cancel()
    lease:release()
    second:await():release()
    assert.are.equal("cancelled", first:status())
    assert.are.equal(1, manager.available_count)
  end)

  it("gives back the executor that was handed to it in the same instant", function()
    leasepool.run(function()
      local first = leasepool.spawn(function() return manager:acquire() end)
      local second = leasepool.spawn(function() return manager:acquire() end)
      lease:release() -- handed to the first, which has not run yet
      assert.is_true(first:cancel())
      second:await():release()
      assert.are.equal("cancelled", first:status())
      assert.are.equal(1, manager.available_count)
    end)
  end)

  it("drops the result of a job that came in the same instant", function()
    leasepool.run(function()
      local cancelled
      local running = leasepool.spawn(function() return lease:run(function() return {} end) end)
      lease:post(function() cancelled = running:cancel() end, function() end)
      local ok, err = running:result()
      if cancelled then
        assert.is_false(ok)
        assert.are.equal("CancelledError", err.name)
      end
      assert.are.equal(1, lease:run(function() return 1 end))
    end)
  end)

  it("lets the stop go on that it waits for", function()
    local blocker = gate()
    lease:submit(blocker.pass, blocker.id)
    blocker.await()
    local stopping = leasepool.spawn(function() manager:stop() end)
    stopping:cancel()
    assert.is_false((stopping:result()))
    assert.matches("stopping", tostring(manager))
    blocker.open()
    manager:stop()
    assert.matches("stopped", tostring(manager))
  end)

  it("does nothing to one that runs or has ended, and says so", function()
    local itself, seen
    itself = leasepool.spawn(function()
      leasepool.sleep(0)
      seen = itself:cancel()
      return "went on"
    end)
    assert.are.equal("went on", itself:await())
    assert.is_false(seen)
    assert.is_false(itself:cancel())
  end)

  it("closes one that has yielded by itself", function()
    local log = {}
    local future = leasepool.spawn(function()
      local _ <close> = noted(log, "closed")
      coroutine.yield()
    end)
    assert.is_true(future:cancel())
    assert.are.same({ "closed" }, log)
    assert.are.equal("cancelled", future:status())
    assert.are.equal("CancelledError", select(2, future:result()).name)
  end)

  it("works in every wait there is, and so does closing it", function()
    local blocker = gate()
    local busy = lease:submit(blocker.pass, blocker.id)
    blocker.await()
    local never = leasepool.spawn(function() leasepool.sleep(1000) end)
    local waits = {
      function() leasepool.sleep(1000) end,
      function() never:await() end,
      function() never:result(1000) end,
      function() busy:await() end,
      function() lease:run(print) end,
      function() manager:acquire() end,
      function() manager:acquire { timeout = 1000 } end,
      function() leasepool.run(function() leasepool.sleep(1000) end) end,
      function() leasepool.gather { never, busy } end,
      function() leasepool.gather({ never, busy }, { timeout = 1000 }) end,
    }
    for _, wait in ipairs(waits) do
      local co
      local future = leasepool.spawn(function()
        co = coroutine.running()
        wait()
      end)
      assert.is_true(future:cancel())
      future:result()
      assert.are.equal("cancelled", future:status())
      future = leasepool.spawn(function()
        co = coroutine.running()
        wait()
      end)
      assert.is_true(coroutine.close(co))
      assert.are.equal("cancelled", future:status())
      collectgarbage()
    end
    never:cancel()
    blocker.open()
    busy:await()
  end)

  it("holds for 2,000 at once", function()
    local futures = {}
    for i = 1, 2000 do futures[i] = leasepool.spawn(leasepool.sleep, 1000) end
    for i = 1, 2000 do assert.is_true(futures[i]:cancel()) end
    local results = leasepool.gather(futures, { return_errors = true })
    for i = 1, 2000 do assert.are.equal("CancelledError", results[i].name) end
  end)
end)

describe("a run whose function raises", function()
  it("cancels the last spawned first and waits for them, handlers that wait included", function()
    local log = {}
    local ok, err = pcall(leasepool.run, function()
      for i = 1, 3 do
        leasepool.spawn(function()
          local _ <close> = setmetatable({}, { __close = function()
            log[#log + 1] = "begins " .. i
            leasepool.sleep(i / 1000)
            log[#log + 1] = "ends " .. i
          end })
          leasepool.sleep(1000)
        end)
      end
      error("main", 0)
    end)
    assert.is_false(ok)
    assert.matches("^main", err)
    assert.are.same({ "begins 3", "begins 2", "begins 1", "ends 1", "ends 2", "ends 3" }, log)
  end)

  it("cancels them also when it has waited before it raises", function()
    local err
    local ok = pcall(leasepool.run, function()
      leasepool.spawn(function() err = select(2, pcall(leasepool.sleep, 5)) end)
      leasepool.sleep(0.001)
      error "main"
    end)
    assert.is_false(ok)
    assert.are.equal("CancelledError", err and err.name)
  end)

  it("waits for what handlers spawn, and does not cancel that", function()
    local log = {}
    pcall(leasepool.run, function()
      leasepool.spawn(function()
        pcall(leasepool.sleep, 1000)
        leasepool.spawn(function()
          leasepool.sleep(0.001)
          log[#log + 1] = "spawned while cancelled"
        end)
      end)
      error "main"
    end)
    assert.are.same({ "spawned while cancelled" }, log)
  end)

  it("closes those that have yielded by themselves", function()
    local log = {}
    pcall(leasepool.run, function()
      for i = 1, 3 do
        leasepool.spawn(function()
          local _ <close> = noted(log, i)
          if i == 2 then leasepool.sleep(1000) else coroutine.yield() end
        end)
      end
      error "main"
    end)
    assert.are.same({ 3, 1, 2 }, log) -- the second goes on from a later step
  end)

  it("leaves other runs alone", function()
    leasepool.run(function()
      local bystander = leasepool.spawn(function()
        leasepool.sleep(0.002)
        return "untouched"
      end)
      pcall(leasepool.run, function()
        leasepool.spawn(leasepool.sleep, 1000)
        error "inner"
      end)
      assert.are.equal("untouched", bystander:await())
    end)
  end)
end)

describe("a nested run", function()
  it("that is cancelled cancels what it started, waits for it, and ends as cancelled", function()
    leasepool.run(function()
      local log = {}
      local outer = leasepool.spawn(function()
        leasepool.run(function()
          leasepool.spawn(function()
            local _ <close> = setmetatable({}, { __close = function()
              leasepool.sleep(0.001)
              log[#log + 1] = "spawned"
            end })
            leasepool.sleep(1000)
          end)
          local _ <close> = noted(log, "main")
          leasepool.sleep(1000)
        end)
      end)
      assert.is_true(outer:cancel())
      assert.are.equal("CancelledError", select(2, outer:result()).name)
      assert.are.equal("cancelled", outer:status())
      assert.are.same({ "main", "spawned" }, log)
    end)
  end)

  it("can be cancelled again while it waits for handlers, which ends theirs", function()
    leasepool.run(function()
      local log = {}
      local outer = leasepool.spawn(function()
        leasepool.run(function()
          log[#log + 1] = tostring(pcall(leasepool.sleep, 1000))
          log[#log + 1] = tostring(pcall(leasepool.sleep, 1000))
        end)
      end)
      outer:cancel()
      leasepool.sleep(0)
      outer:cancel()
      assert.are.equal("CancelledError", select(2, outer:result()).name)
      assert.are.same({ "false", "false" }, log)
    end)
  end)

  it("whose coroutine is closed cancels what it started", function()
    local log, co = {}, nil
    local outer = leasepool.spawn(function()
      co = coroutine.running()
      leasepool.run(function()
        local _ <close> = noted(log, "main")
        leasepool.sleep(1000)
      end)
    end)
    assert.is_true(coroutine.close(co))
    assert.are.equal("cancelled", outer:status())
    leasepool.sleep(0)
    assert.are.same({ "main" }, log)
  end)
end)

backends.each("a wait that would never end", function(backend)
  it("is told of although deadlines remain", function()
    local output, errors, status = child.run([[
      local leasepool = require "leasepool"
      local ok, err = pcall(leasepool.run, function()
        local f
        f = leasepool.spawn(function() leasepool.sleep(0.001) f:await() end)
        f:await()
      end)
      print(ok, err.name)
    ]], backend.name)
    assert.are.same({ "false\tWouldBlockError\n", "", 0 }, { output, errors, status })
  end)

  it("ends coroutines that catch every error, and the run", function()
    local output, errors, status = child.run([[
      local leasepool = require "leasepool"
      local ok, err = pcall(leasepool.run, function()
        local never
        never = leasepool.spawn(function()
          local _ <close> = setmetatable({}, { __close = function() print "closed" end })
          leasepool.sleep(0)
          while true do pcall(never.await, never) end
        end)
      end)
      print(ok, err.name)
    ]], backend.name)
    assert.are.same({ "closed\nfalse\tWouldBlockError\n", "", 0 }, { output, errors, status })
  end)

  it("is not one that has a limit of its own", function()
    local never
    never = leasepool.spawn(function()
      leasepool.sleep(0)
      never:await()
    end)
    assert.are.equal("TimeoutError", select(2, never:result(0.001)).name)
    leasepool.sleep(0.001)
    never:cancel()
    assert.is_false((never:result()))
  end)
end)
