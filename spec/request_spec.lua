--- Borrowing in other ways than acquire: request, try_acquire, manager:run.
local leasepool = require "leasepool"
local backends = require "spec.support.backends"
local child = require "spec.support.child"
local gate = require "spec.support.gate"
local failure = require "spec.support.failure"

local manager

local function begin(backend) manager = backend.manager({ max_pools = 1, workers_per_pool = 1 }):start() end
local function finish() manager:stop() end

local function collect()
  collectgarbage()
  collectgarbage()
end

backends.each("manager:request", function(backend)
  before_each(function() begin(backend) end)
  after_each(finish)

  it("gives a future of a lease, the same to everybody", function()
    local future = manager:request { owner = "later" }
    assert.are.equal("future of a lease: pending", tostring(future))
    local lease = future:await()
    assert.are.equal("later", lease.owner)
    assert.are.equal(lease, (future:await()))
    assert.are.equal("A", lease:run(string.upper, "a"))
    lease:release()
    assert.are.equal(1, manager.available_count)
  end)

  it("waits in one line with acquire", function()
    leasepool.run(function()
      local order, held = {}, manager:acquire()
      local function note(name)
        return function(lease)
          order[#order + 1] = name
          lease:release()
        end
      end
      local first = manager:request()
      local second = leasepool.spawn(function() note "second"(manager:acquire()) end)
      local third = manager:request()
      first:on_done(function(future) note "first"(future:await()) end)
      third:on_done(function(future) note "third"(future:await()) end)
      held:release()
      leasepool.gather { first, second, third }
      leasepool.sleep(0)
      assert.are.same({ "first", "second", "third" }, order)
    end)
  end)

  it("can be made where nothing can wait, and gathered", function()
    local pair <close> = backend.manager({ max_pools = 2 }):start()
    local futures = {}
    leasepool.spawn(function() end):on_done(function()
      for i = 1, 2 do futures[i] = pair:request { owner = "o" .. i } end
    end)
    leasepool.sleep(0)
    local leases = leasepool.gather(futures)
    assert.are.same({ "o1", "o2" }, { leases[1].owner, leases[2].owner })
    leases[1]:release()
    leases[2]:release()
  end)

  it("leaves the line when it is cancelled", function()
    local held = manager:acquire()
    local first, second = manager:request(), manager:request()
    assert.is_true(first:cancel())
    assert.is_false(first:cancel())
    assert.are.equal("CancelledError", select(2, first:result()).name)
    assert.are.equal("cancelled", first:status())
    held:release()
    second:await():release()
  end)

  it("that is cancelled in the instant of the hand-over passes the executor on", function()
    leasepool.run(function()
      local held = manager:acquire()
      local first = manager:request()
      local second = leasepool.spawn(function() return manager:acquire() end)
      held:release() -- handed to the first, whose future has not ended yet
      assert.are.equal("pending", first:status())
      assert.is_true(first:cancel())
      second:await():release()
      assert.are.equal("cancelled", first:status())
      assert.are.equal(1, manager.available_count)
    end)
  end)

  it("that nobody holds any more leaves the queue when it is collected", function()
    local holder = manager:acquire()
    local waiting = leasepool.spawn(function() return manager:request():await() end)
    waiting:cancel()
    leasepool.sleep(0)
    waiting = nil
    collect()
    assert.are.equal(0, manager:stats().waiters)
    local told
    manager:request():on_done(function(future) told = future:await().owner == nil end) -- held by its callback
    collect()
    assert.are.equal(1, manager:stats().waiters)
    holder:release()
    leasepool.sleep(0)
    assert.is_true(told)
    collect()
    local lease = manager:acquire { wait = false }
    lease:release()
    assert.is_nil(waiting)
  end)

  it("that nobody awaits gives its lease back when it is collected, without a word", function()
    local output, errors, status = child.run([[
      local leasepool = require "leasepool"
      local manager = leasepool.manager({ backend = ..., max_pools = 1 }):start()
      do
        local future = manager:request { owner = "forgotten" }
        leasepool.sleep(0)
        assert(future:status() == "done" and manager.leased_count == 1)
      end
      collectgarbage() collectgarbage()
      print(manager.leased_count, manager.available_count)
      manager:request() -- pending: it leaves the queue when it is collected
      collectgarbage()
      leasepool.sleep(0)
      collectgarbage() collectgarbage()
      print(manager.leased_count, manager.available_count)
      manager:stop()
    ]], backend.name)
    assert.are.same({ "0\t1\n0\t1\n", "", 0 }, { output, errors, status })
  end)

  it("whose lease was awaited and forgotten is a leak like any other", function()
    local _, errors = child.run([[
      local leasepool = require "leasepool"
      local manager <close> = leasepool.manager({ backend = ..., max_pools = 1 }):start()
      manager:request({ owner = "taken" }):await()
      collectgarbage() collectgarbage()
    ]], backend.name)
    assert.matches("owner: taken%) was collected unreleased", errors)
  end)

  it("does not keep the lease of a future that was awaited, and the other way round", function()
    local lease = manager:request():await()
    collect()
    assert.are.equal(1, lease:run(function() return 1 end))
    lease:release()
  end)

  it("fails with what acquire would raise", function()
    local held = manager:acquire()
    local err = select(2, manager:request({ timeout = 0.001 }):result())
    assert.are.equal("TimeoutError", err.name)
    assert.matches("manager:request: no executor became free in time", err.message, 1, true)
    assert.are.equal("LeaseUnavailableError", failure(manager.request, manager, { wait = false }).name)
    local waiting = manager:request()
    held:release()
    waiting:await():release()
    local lease = manager:request({ wait = false }):await()
    local late = manager:request()
    lease:release()
    manager:stop()
    assert.are.equal("LeasePoolNotStartedError", select(2, late:result()).name)
    assert.are.equal("LeasePoolNotStartedError", failure(manager.request, manager).name)
    assert.are.equal("ConfigError", failure(manager.request, manager, { ovner = 1 }).name)
    assert.are.equal("ConfigError", failure(manager.request, 1).name)
  end)

  it("may be pending, done or cancelled when the program ends", function()
    local output, errors, status = child.run([[
      local leasepool = require "leasepool"
      local manager = leasepool.manager({ backend = ..., max_pools = 1 }):start()
      kept = { manager:request(), manager:request(), manager:request() }
      leasepool.sleep(0)
      kept[2]:cancel()
      gone = setmetatable({}, { __gc = function()
        for i = 1, 3 do pcall(kept[i].await, kept[i], 0) tostring(kept[i]) end
        print "ended"
      end })
    ]], backend.name)
    assert.are.same({ "ended\n", "", 0 }, { output, errors, status })
  end)
end)

backends.each("manager:try_acquire", function(backend)
  before_each(function() begin(backend) end)
  after_each(finish)

  it("returns a lease, or nil and the error, and does not wait", function()
    local lease = manager:try_acquire { owner = "quick" }
    assert.are.equal("quick", lease.owner)
    local none, err = manager:try_acquire()
    assert.is_nil(none)
    assert.are.equal("LeaseUnavailableError", err.name)
    assert.matches("manager:try_acquire: all executors are leased", err.message, 1, true)
    none, err = manager:try_acquire { wait = true }
    assert.are.same({ nil, "LeaseUnavailableError" }, { none, err.name })
    lease:release()
    manager:try_acquire():release()
  end)

  it("waits as long as its timeout says", function()
    local lease = manager:acquire()
    for _, timeout in ipairs { 0, 0.001 } do
      local none, err = manager:try_acquire { timeout = timeout }
      assert.are.same({ nil, "TimeoutError" }, { none, err.name })
    end
    local waiting = leasepool.spawn(function() return manager:try_acquire { timeout = 1000 } end)
    lease:release()
    waiting:await():release()
  end)

  it("returns nil and the error when the manager is not started, or stops meanwhile", function()
    local lease = manager:acquire()
    local waiting = leasepool.spawn(function() return manager:try_acquire { timeout = 1000 } end)
    manager:stop()
    local none, err = waiting:await()
    assert.are.same({ nil, "LeasePoolNotStartedError" }, { none, err.name })
    none, err = manager:try_acquire()
    assert.are.same({ nil, "LeasePoolNotStartedError" }, { none, err.name })
    lease:release()
  end)

  it("raises for wrong options, and where it would have to wait and cannot", function()
    assert.are.equal("ConfigError", failure(manager.try_acquire, manager, { timeout = -1 }).name)
    assert.are.equal("ConfigError", failure(manager.try_acquire, manager, 3).name)
    local lease = manager:acquire()
    local err
    leasepool.spawn(function() end):on_done(function()
      err = failure(manager.try_acquire, manager, { timeout = 1 })
    end)
    leasepool.sleep(0)
    assert.are.equal("WouldBlockError", err.name)
    assert.matches("manager:try_acquire: would have to wait", err.message, 1, true)
    lease:release()
  end)
end)

backends.each("manager:run", function(backend)
  before_each(function() begin(backend) end)
  after_each(finish)

  it("acquires, runs, and releases, after an error too", function()
    assert.are.same({ n = 3, 1, nil, 3 }, table.pack(manager:run(function(...) return ... end, 1, nil, 3)))
    assert.are.equal(0, manager.leased_count)
    assert.are.equal("x", failure(manager.run, manager, error, "x").cause)
    assert.are.equal(0, manager.leased_count)
    assert.are.equal("TransferError", failure(manager.run, manager, print, io.stdout).name)
    assert.are.equal(0, manager.leased_count)
  end)

  it("waits for its turn, and gives it up when its coroutine is cancelled", function()
    local blocker = gate()
    local first = leasepool.spawn(function() return manager:run(blocker.pass, blocker.id, 1) end)
    local second = leasepool.spawn(function() return manager:run(print) end)
    local third = leasepool.spawn(function() return manager:run(string.upper, "third") end)
    blocker.await()
    second:cancel()
    blocker.open()
    assert.are.same({ 1, "THIRD" }, { first:await(), (third:await()) })
    assert.are.equal("CancelledError", select(2, second:result()).name)
    leasepool.sleep(0)
    assert.are.equal(0, manager.leased_count)
  end)

  it("says what is wrong before it borrows", function()
    local err = failure(manager.run, manager)
    assert.matches("manager:run: argument 1: got nil, allowed: a function", err.message, 1, true)
    err = failure(manager.run, print)
    assert.matches("manager:run: argument 1: got function, allowed: a manager", err.message, 1, true)
    manager:stop()
    assert.are.equal("LeasePoolNotStartedError", failure(manager.run, manager, print).name)
  end)
end)
