local leasepool = require "leasepool"
local backends = require "spec.support.backends"
local gate = require "spec.support.gate"
local failure = require "spec.support.failure"

local function report_of(counts)
  local report = { finished = 0, cancelled = 0, interrupted = 0, killed = 0, abandoned = 0 }
  for name, count in pairs(counts) do report[name] = count end
  return report
end

backends.each("a manager", function(backend)
  it("refuses to lend before it was started and after it was stopped", function()
    local manager = backend.manager { max_pools = 1 }
    assert.are.equal("LeasePoolNotStartedError", failure(manager.acquire, manager).name)
    manager:start()
    manager:acquire():release()
    manager:stop()
    assert.are.equal("LeasePoolNotStartedError", failure(manager.acquire, manager).name)
  end)

  it("starts once, returns itself, and can be started again after a stop", function()
    local manager = backend.manager { max_pools = 3, min_pools = 2 }
    assert.are.equal(manager, manager:start())
    assert.are.equal(manager, manager:start())
    assert.are.equal(2, manager.total_count)
    manager:stop()
    assert.are.equal(0, manager.total_count)
    manager:start()
    local lease <close> = manager:acquire()
    assert.are.equal(3, lease:run(function() return 3 end))
    lease:release()
    manager:stop()
  end)

  it("does nothing on a stop before the start, and on a second stop", function()
    local manager = backend.manager { max_pools = 1 }
    assert.are.same(report_of { finished = 0, cancelled = 0 }, manager:stop())
    manager:start()
    manager:stop()
    assert.are.same(report_of { finished = 0, cancelled = 0 }, manager:stop())
  end)

  it("makes executors on demand up to max_pools and counts them", function()
    local manager <close> = backend.manager({ max_pools = 3 }):start()
    assert.are.same({ 1, 0, 1 }, { manager.available_count, manager.leased_count, manager.total_count })
    local a, b, c = manager:acquire(), manager:acquire(), manager:acquire()
    assert.are.same({ 0, 3, 3 }, { manager.available_count, manager.leased_count, manager.total_count })
    assert.are.equal("LeaseUnavailableError", failure(manager.acquire, manager, { wait = false }).name)
    b:release()
    assert.are.same({ 1, 2, 3 }, { manager.available_count, manager.leased_count, manager.total_count })
    a:release()
    c:release()
  end)

  it("stops at the end of its block, after an error too", function()
    local seen
    pcall(function()
      local manager <close> = backend.manager({ max_pools = 1 }):start()
      seen = manager
      error "x"
    end)
    assert.matches("stopped", tostring(seen))
  end)

  it("waits at the end of its block for what runs, until the latest hard expiry of its leases", function()
    for _, seconds in ipairs { 300, 0.001 } do
      local blocker = gate()
      local future
      do
        local manager <close> = backend.manager {
          max_pools = 2, lease_grace_seconds = 0, interrupt_grace_seconds = 0, exit_grace_seconds = 0,
          logger = function() end,
        }
        local short, lease = manager:start():acquire(), manager:acquire()
        future = lease:submit(blocker.pass, blocker.id, "whole")
        blocker.await()
        short:renew(0.001)
        lease:renew(seconds)
        if seconds > 1 then leasepool.spawn(function() leasepool.sleep(0.05) blocker.open() end) end
      end
      blocker.open()
      local ok, result = future:result()
      local stopped <const> = backend.threads and "failed" or "cancelled" -- given up, or killed
      assert.are.same({ seconds > 1, seconds > 1 and "done" or stopped }, { ok, future:status() })
      if ok then
        assert.are.equal("whole", result)
      else
        assert.are.equal(backend.threads or nil, result.still_running)
      end
    end
  end)

  it("cancels queued jobs, lets the running one finish, and reports both when it stops #threads", function()
    local manager = backend.manager({ max_pools = 1, workers_per_pool = 1 }):start()
    local lease = manager:acquire()
    local blocker = gate()
    local running = lease:submit(blocker.pass, blocker.id, "ran")
    blocker.await()
    local queued = {}
    for i = 1, 5 do queued[i] = lease:submit(function() return "never" end) end
    local report
    local stopping = leasepool.spawn(function() report = manager:stop() end)
    assert.matches("stopping", tostring(manager))
    assert.are.equal("EXPIRED", lease.state)
    assert.are.equal("LeasePoolNotStartedError", failure(manager.start, manager).name)
    local expired = failure(lease.run, lease, function() end)
    assert.are.equal("LeaseExpiredError", expired.name)
    assert.matches("the manager stopped", expired.message)
    blocker.open()
    assert.are.equal("ran", running:await())
    for i = 1, 5 do
      assert.are.equal("CancelledError", failure(queued[i].await, queued[i]).name)
      assert.are.equal("cancelled", queued[i]:status())
    end
    stopping:await()
    assert.are.same(report_of { finished = 1, cancelled = 5 }, report)
    assert.are.equal("CLOSED", lease.state)
  end)

  it("is what ended a lease that nothing ran on, too", function()
    local manager = backend.manager({ max_pools = 1 }):start()
    local lease = manager:acquire()
    manager:stop()
    assert.are.equal("CLOSED", lease.state)
    local err = failure(lease.submit, lease, print)
    assert.are.equal("LeaseExpiredError", err.name)
    assert.matches("the manager stopped", err.message)
  end)

  it("fails every waiter when it stops", function()
    local manager = backend.manager({ max_pools = 1 }):start()
    local lease = manager:acquire()
    local waiters = {}
    for i = 1, 3 do waiters[i] = leasepool.spawn(function() return manager:acquire() end) end
    manager:stop()
    for i = 1, 3 do
      local ok, err = waiters[i]:result()
      assert.is_false(ok)
      assert.are.equal("LeasePoolNotStartedError", err.name)
    end
    lease:release()
  end)

  it("lets two stops wait for the same end", function()
    local manager = backend.manager({ max_pools = 1, workers_per_pool = 1 }):start()
    local lease = manager:acquire()
    local blocker = gate()
    lease:submit(blocker.pass, blocker.id)
    blocker.await()
    local first = leasepool.spawn(function() return manager:stop() end)
    local second = leasepool.spawn(function() return manager:stop() end)
    assert.are.equal("pending", first:status())
    assert.are.equal("pending", second:status())
    blocker.open()
    assert.are.same(report_of { finished = 1, cancelled = 0 }, first:await())
    assert.are.same(report_of { finished = 1, cancelled = 0 }, second:await())
  end)

  if backend.threads then
  it("names its worker threads <prefix>-<executor>-<worker>, shortening the prefix only", function()
    local manager <close> = backend.manager({ max_pools = 1, name_prefix = "a-very-long-prefix" }):start()
    local lease <close> = manager:acquire()
    local name = lease:run(function()
      local file <close> = assert(io.open("/proc/thread-self/comm"))
      return (file:read "l")
    end)
    assert.are.equal(15, #name)
    assert.matches("^a%-very%-lo.*%-%d+%-1$", name)
  end)
  end

  it("that is forgotten while its jobs run lets them end first", function()
    local blocker = gate()
    local future
    do
      local manager = leasepool.manager({ backend = backend.name, max_pools = 1 }):start()
      local lease = manager:acquire()
      future = lease:submit(blocker.pass, blocker.id, "kept")
      lease:release()
    end
    blocker.await()
    collectgarbage()
    collectgarbage()
    blocker.open()
    assert.are.equal("kept", future:await())
  end)
end)

backends.each("acquire", function(backend)
  it("serves waiters strictly in the order in which they came #threads", function()
    leasepool.run(function()
      local manager <close> = backend.manager({ max_pools = 1 }):start()
      local first = manager:acquire()
      local order, waiters = {}, {}
      for i = 1, 50 do
        waiters[i] = leasepool.spawn(function()
          local lease <close> = manager:acquire { owner = "w" .. i }
          order[#order + 1] = i
          lease:run(function() end)
        end)
      end
      first:release()
      leasepool.gather(waiters)
      for i = 1, 50 do assert.are.equal(i, order[i]) end
    end)
  end)

  it("never lets a late caller overtake a waiter", function()
    leasepool.run(function()
      local manager <close> = backend.manager({ max_pools = 1 }):start()
      local held = manager:acquire()
      local waiter = leasepool.spawn(function() return manager:acquire() end)
      held:release() -- handed to the waiter at once, though it has not run yet
      local ok, err = pcall(manager.acquire, manager, { wait = false })
      assert.is_false(ok)
      assert.are.equal("LeaseUnavailableError", err.name)
      waiter:await():release()
      manager:acquire({ wait = false }):release()
    end)
  end)

  it("times out, leaves no trace, and the next in line is served", function()
    local manager <close> = backend.manager({ max_pools = 1 }):start()
    local held = manager:acquire()
    local ok, err = pcall(manager.acquire, manager, { timeout = 0.001 })
    assert.is_false(ok)
    assert.are.equal("TimeoutError", err.name)
    ok, err = pcall(manager.acquire, manager, { timeout = 0 })
    assert.is_false(ok)
    assert.are.equal("TimeoutError", err.name)
    local waiter = leasepool.spawn(function() return manager:acquire() end)
    held:release()
    assert.are.equal("ACTIVE", waiter:await().state)
  end)

  it("refuses more waiters than max_waiters", function()
    leasepool.run(function()
      local manager <close> = backend.manager({ max_pools = 1, max_waiters = 2 }):start()
      local held = manager:acquire()
      local a = leasepool.spawn(function() manager:acquire():release() end)
      local b = leasepool.spawn(function() manager:acquire():release() end)
      local ok, err = pcall(manager.acquire, manager)
      assert.is_false(ok)
      assert.are.equal("LeaseUnavailableError", err.name)
      assert.matches("2 callers wait already", err.message)
      held:release()
      leasepool.gather { a, b }
    end)
  end)
end)
