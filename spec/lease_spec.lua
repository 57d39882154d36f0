local leasepool = require "leasepool"
local backends = require "spec.support.backends"
local gate = require "spec.support.gate"
local failure = require "spec.support.failure"

backends.each("a lease", function(backend)
  local manager

  before_each(function() manager = backend.manager({ max_pools = 1, workers_per_pool = 2 }):start() end)
  after_each(function() manager:stop() end)

  it("knows its id, its owner and its state", function()
    local a = manager:acquire { owner = "me" }
    assert.are.equal("integer", math.type(a.lease_id))
    assert.are.equal("me", a.owner)
    assert.are.equal("ACTIVE", a.state)
    assert.matches("^lease %d+ owner=me ACTIVE 299%.%ds$", tostring(a))
    a:release()
    assert.are.equal("CLOSED", a.state)
    local b = manager:acquire()
    assert.is_nil(b.owner)
    assert.are_not.equal(a.lease_id, b.lease_id)
    assert.is_nil(b.no_such_field)
    b:release()
  end)

  it("is released at the end of its block, after an error too", function()
    pcall(function()
      local lease <close> = manager:acquire()
      assert.are.equal(1, manager.leased_count)
      lease:run(error, "x")
    end)
    assert.are.equal(0, manager.leased_count)
  end)

  it("can be released again and again", function()
    local lease = manager:acquire()
    for _ = 1, 3 do lease:release() end
    assert.are.equal(1, manager.available_count)
  end)

  it("takes no job after its release, and says why", function()
    local lease = manager:acquire()
    lease:release()
    for _, method in ipairs { "run", "submit" } do
      local err = failure(lease[method], lease, function() end)
      assert.are.equal("LeaseExpiredError", err.name)
      assert.are.equal("lease_expired", err.code)
      assert.matches("lease:" .. method .. ": lease %d+: released", err.message)
    end
    assert.are.equal("LeaseExpiredError", failure(lease.post, lease, print, print).name)
  end)

  it("lets submitted jobs finish after its release, and lends the executor only then #threads", function()
    leasepool.run(function()
      local lease = manager:acquire()
      local blocker = gate()
      local job = lease:submit(blocker.pass, blocker.id, "late")
      blocker.await()
      lease:release()
      assert.are.equal("DRAINING", lease.state)
      assert.are.equal(1, manager.leased_count)
      assert.are.equal("LeaseUnavailableError", failure(manager.acquire, manager, { wait = false }).name)
      local next_one = leasepool.spawn(function() return manager:acquire() end)
      assert.are.equal("pending", next_one:status())
      blocker.open()
      local following = next_one:await()
      assert.are.equal("done", job:status())
      assert.are.equal("late", job:await())
      assert.are.equal("CLOSED", lease.state)
      following:release()
    end)
  end)

  it("lets a run that waits return normally after its release", function()
    leasepool.run(function()
      local lease = manager:acquire()
      local blocker = gate()
      local waiting = leasepool.spawn(function() return lease:run(blocker.pass, blocker.id, "fine") end)
      blocker.await()
      lease:release()
      blocker.open()
      assert.are.equal("fine", waiting:await())
    end)
  end)

  it("refuses a job when max_queue jobs wait, and enqueues nothing", function()
    local small <close> = backend.manager({ max_pools = 1, workers_per_pool = 1, max_queue = 2 }):start()
    local lease = small:acquire()
    local blocker = gate()
    local running = lease:submit(blocker.pass, blocker.id, 0)
    blocker.await()
    local a, b = lease:submit(blocker.pass, blocker.id, 1), lease:submit(blocker.pass, blocker.id, 2)
    local err = failure(lease.submit, lease, function() end)
    assert.are.equal("QueueFullError", err.name)
    assert.matches("2 jobs wait already", err.message)
    assert.are.equal("QueueFullError", failure(lease.run, lease, function() end).name)
    assert.are.equal("QueueFullError", failure(lease.post, lease, print, function() end).name)
    blocker.open()
    assert.are.same({ 0, 1, 2, n = 3 }, leasepool.gather { running, a, b })
    lease:release()
  end)

  it("that is collected unreleased goes back, with a warning that names its owner", function()
    local output, errors, status = require("spec.support.child").run [[
      local leasepool = require "leasepool"
      local manager = leasepool.manager({ backend = ..., max_pools = 1 }):start()
      manager:acquire { owner = "forgetful" }
      collectgarbage()
      print(manager.available_count)
      manager:stop()
    ]]
    assert.are.equal(0, status)
    assert.are.equal("1\n", output)
    assert.matches("WARN: lease %d+ %(owner: forgetful%) was collected unreleased", errors)
  end)

  it("says what it is when it is used as something else", function()
    local lease <close> = manager:acquire()
    local err = failure(lease.run, manager, function() end)
    assert.are.equal("ConfigError", err.name)
    assert.matches("lease:run: argument 1: got userdata, allowed: a lease", err.message, 1, true)
    assert.matches("got nil", failure(lease.run, nil).message)
    assert.matches("lease:run: argument 1: got no value, allowed: a function",
      failure(lease.run, lease).message, 1, true)
    assert.matches("lease:submit: argument 1: got number", failure(lease.submit, lease, 4).message, 1, true)
    assert.matches("lease:post: callback: got no value", failure(lease.post, lease).message, 1, true)
    assert.matches("lease:post: argument 1: got no value", failure(lease.post, lease, print).message, 1, true)
  end)

  it("does not start when no thread can be started, and works when one can again", function()
    local quiet <close> = leasepool.manager({ max_pools = 1, logger = function() end }):start()
    local lease <close> = quiet:acquire()
    local testing = require("leasepool.core").testing
    testing.fail_thread(1)
    local err = failure(lease.run, lease, function() end)
    assert.are.equal("BrokenExecutorError", err.name)
    assert.are.equal("no worker could be started", err.reason)
    assert.are.equal("CLOSED", lease.state)
    assert.are.equal("BrokenExecutorError", failure(lease.run, lease, function() end).name)
    local next_lease <close> = quiet:acquire() -- on an executor of its own, after a pause
    assert.are.equal("ok", next_lease:run(function() return "ok" end))
  end)
end)
