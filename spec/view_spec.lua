--- Submitting with options: lease:with, lease:try_submit, lease.executor, and the names of jobs.
local leasepool = require "leasepool"
local backends = require "spec.support.backends"
local child = require "spec.support.child"
local gate = require "spec.support.gate"
local failure = require "spec.support.failure"

local manager, lease

local function begin(backend)
  manager = backend.manager({ max_pools = 1, workers_per_pool = 1, max_queue = 3 }):start()
  lease = manager:acquire { owner = "spec" }
end

local function finish()
  lease:release()
  manager:stop()
end

backends.each("lease:try_submit", function(backend)
  before_each(function() begin(backend) end)
  after_each(finish)

  it("returns a future, as submit does", function()
    assert.are.same({ "A", n = 1 }, leasepool.gather { lease:try_submit(string.upper, "a") })
  end)

  it("returns nil and the error when the queue is full, and nothing is enqueued", function()
    local blocker = gate()
    local futures = { lease:submit(blocker.pass, blocker.id, 0) }
    blocker.await()
    for i = 1, 3 do futures[i + 1] = lease:try_submit(blocker.pass, blocker.id, i) end
    local none, err = lease:try_submit(print)
    assert.is_nil(none)
    assert.are.equal("QueueFullError", err.name)
    assert.matches("lease:try_submit: 3 jobs wait already", err.message, 1, true)
    blocker.open()
    assert.are.same({ 0, 1, 2, 3, n = 4 }, leasepool.gather(futures))
  end)

  it("returns nil and the error when the lease is released", function()
    lease:release()
    local none, err = lease:try_submit(print)
    assert.are.same({ nil, "LeaseExpiredError" }, { none, err.name })
    assert.matches("released", err.message)
  end)

  it("raises for wrong arguments, on a released lease too", function()
    for _ = 1, 2 do
      assert.are.equal("ConfigError", failure(lease.try_submit, lease, 3).name)
      assert.are.equal("TransferError", failure(lease.try_submit, lease, print, io.stdout).name)
      assert.are.equal("ConfigError", failure(lease.try_submit, manager, print).name)
      lease:release()
    end
  end)
end)

backends.each("a view of a lease", function(backend)
  before_each(function() begin(backend) end)
  after_each(finish)

  it("runs, submits and posts as the lease does", function()
    local view = lease:with {}
    assert.are.equal("A", view:run(string.upper, "a"))
    assert.are.equal("B", view:submit(string.upper, "b"):await())
    assert.are.equal("C", view:try_submit(string.upper, "c"):await())
    local seen
    view:post(function(...) seen = table.pack(...) end, string.upper, "d")
    view:run(function() end)
    leasepool.sleep(0)
    assert.are.same({ true, "D", n = 2 }, seen)
  end)

  it("tells its options and its lease, and is a view of a view with both options", function()
    local view = lease:with({ name = "import" }):with { timeout = 2.5 }
    assert.are.same({ "import", 2.5, lease }, { view.name, view.timeout, view.lease })
    local other = view:with { name = "other" }
    assert.are.same({ "other", 2.5 }, { other.name, other.timeout })
    assert.are.equal("view name=import timeout=2.5 of " .. tostring(lease), tostring(view))
    assert.is_nil(view.no_such_field)
  end)

  it("keeps its lease alive, and may be kept longer than that is open", function()
    local view = manager and lease:with { name = "kept" }
    lease:release()
    lease = manager:acquire()
    collectgarbage()
    collectgarbage()
    assert.are.equal("LeaseExpiredError", failure(view.run, view, print).name)
    local other = lease:with { name = "only" }
    local owner = lease.lease_id
    lease = setmetatable({}, { __index = { release = function() end } })
    collectgarbage()
    collectgarbage()
    assert.are.equal(owner, other.lease.lease_id)
    assert.are.equal(1, other:run(function() return 1 end))
    lease = other.lease
  end)

  it("names its jobs in their errors, whatever ended them", function()
    local view = lease:with { name = "import of users" }
    assert.are.equal("import of users", failure(view.run, view, error, "x").job)
    assert.are.equal("import of users", select(2, view:submit(error, "x"):result()).job)
    local refused = select(2, view:submit(function() return io.stdout end):result())
    assert.are.same({ "TransferError", "import of users" }, { refused.name, refused.job })
    local blocker = gate()
    local busy = lease:submit(blocker.pass, blocker.id)
    blocker.await()
    local future, posted = view:submit(print), nil
    view:post(function(_, err) posted = err end, error, "x")
    future:cancel()
    local cancelled = select(2, future:result())
    assert.are.same({ "CancelledError", "import of users" }, { cancelled.name, cancelled.job })
    blocker.open()
    busy:await()
    lease:run(function() end)
    leasepool.sleep(0)
    assert.are.equal("import of users", posted.job)
  end)

  it("ends a queued job whose time is over, which never runs", function()
    local output, errors, status = child.run([[
      local leasepool = require "leasepool"
      local testing = require("leasepool.core").testing
      local gate = require "spec.support.gate"
      testing.clock_advance(0)
      local manager = leasepool.manager({ backend = ..., max_pools = 1, workers_per_pool = 1 }):start()
      local lease = manager:acquire()
      local blocker = gate()
      local busy = lease:submit(blocker.pass, blocker.id)
      blocker.await()
      local view = lease:with { timeout = 1, name = "late" }
      local future = view:submit(function() _G.ran = true end)
      local waiting = leasepool.spawn(function() view:run(function() _G.ran = true end) end)
      local posted
      view:post(function(ok, err) posted = err end, function() _G.ran = true end)
      local patient = lease:with({ timeout = 100 }):submit(string.upper, "in time")
      testing.clock_advance(0.999)
      testing.turn()
      print(future:status())
      testing.clock_advance(0.001)
      testing.turn()
      for _, err in ipairs { select(2, future:result()), select(2, waiting:result()), posted } do
        print(err.name, err.job, err.message)
      end
      blocker.open()
      busy:await()
      print(patient:await(), lease:run(function() return _G.ran end))
      lease:release()
      manager:stop()
    ]], backend.name)
    local late <const> = "TimeoutError\tlate\tthe job was not run: its timeout of 1.0 seconds was over\n"
    assert.are.same({ "pending\n" .. late:rep(3) .. "IN TIME\tnil\n", "", 0 }, { output, errors, status })
  end)

  it("with a timeout lets go of it when the job ends in time, and when it is cancelled", function()
    local view = lease:with { timeout = 1000 }
    for i = 1, 100 do assert.are.equal(i, view:run(function() return i end)) end
    local blocker = gate()
    local busy = lease:submit(blocker.pass, blocker.id)
    blocker.await()
    local future = view:submit(print)
    assert.is_true(future:cancel())
    blocker.open()
    busy:await()
    assert.are.equal("CancelledError", select(2, future:result()).name)
  end)

  it("does not name the jobs of its lease", function()
    local view = lease:with { name = "named" }
    pcall(view.run, view, error, "x")
    assert.are_not.equal("named", failure(lease.run, lease, error, "x").job)
  end)

  it("can be forgotten before its jobs end", function()
    local blocker = gate()
    local futures = {}
    for i = 1, 3 do
      futures[i] = lease:with({ name = "job " .. i }):submit(function(pass, id)
        pass(id)
        error "x"
      end, blocker.pass, blocker.id)
    end
    collectgarbage()
    blocker.open()
    for i = 1, 3 do assert.are.equal("job " .. i, select(2, futures[i]:result()).job) end
  end)

  it("checks its options and says what is wrong", function()
    for _, case in ipairs {
      { "lease:with: got no value, allowed: a table of options" },
      { "lease:with: got number, allowed: a table of options", 3 },
      { 'lease:with: unknown option "timeuot"; allowed: timeout, name', { timeuot = 1 } },
      { "lease:with: timeout: got -1, allowed: a finite number of seconds >= 0", { timeout = -1 } },
      { 'lease:with: timeout: got "1", allowed', { timeout = "1" } },
      { "lease:with: name: got 3, allowed: a string", { name = 3 } },
    } do
      local err = failure(lease.with, lease, table.unpack(case, 2))
      assert.are.equal("ConfigError", err.name)
      assert.matches(case[1], err.message, 1, true)
    end
    assert.matches("lease:with: argument 1: got userdata, allowed: a lease", failure(lease.with, manager, {}).message,
      1, true)
  end)

  it("gets an error, no crash, once it was finalised", function()
    local output, errors, status = child.run([[
      local leasepool = require "leasepool"
      local o = setmetatable({}, { __gc = function(o)
        for _, call in ipairs { "run", "submit", "try_submit", "with" } do pcall(o.view[call], o.view, print) end
        pcall(function() return o.view.name, tostring(o.view), o.view:with {} end)
        pcall(function() return o.executor:submit(print), tostring(o.executor) end)
        print(select(2, pcall(o.executor.submit, o.executor, print)).name)
      end })
      local manager = leasepool.manager({ backend = ..., max_pools = 1 }):start()
      local lease = manager:acquire()
      o.view = lease:with { name = "x", timeout = 3 }
      o.executor = lease.executor
      o.future = o.view:submit(error, "seen")
      o.future:result()
      lease:release()
    ]], backend.name)
    assert.are.same({ "LeaseExpiredError\n", "", 0 }, { output, errors, status })
  end)

  it("leaves no trace of its jobs in a program that ends while they are queued", function()
    local output, errors, status = child.run([[
      local leasepool = require "leasepool"
      local manager = leasepool.manager({ backend = ..., max_pools = 1, workers_per_pool = 1 }):start()
      local lease = manager:acquire()
      local view = lease:with { name = "left" }
      kept = {}
      for i = 1, 100 do kept[i] = view:submit(function() end) end
      for _ = 1, 100 do view:post(print, function() end) end
      coroutine.wrap(function() view:run(function() end) end)()
      lease:release()
    ]], backend.name)
    assert.are.same({ "", 0 }, { output, status })
    assert.matches("jobs were lost", errors)
  end)
end)

backends.each("the job of a JobError without a name", function(backend)
  before_each(function() begin(backend) end)
  after_each(finish)

  it("is where its function was defined", function()
    local line = debug.getinfo(1, "l").currentline + 1
    local function fails(depth) if depth > 0 then fails(depth - 1) end error "x" end
    assert.matches("view_spec.lua:" .. line .. "$", failure(lease.run, lease, fails, 0).job)
    assert.matches("view_spec.lua:" .. line .. "$", failure(lease.run, lease, fails, 150).job)
    local function tail() return error "x" end
    assert.matches("view_spec.lua:" .. line + 3 .. "$", failure(lease.run, lease, tail).job)
    local function within() coroutine.wrap(function() error "x" end)() end
    assert.matches("view_spec.lua:" .. line + 5 .. "$", failure(lease.run, lease, within).job)
  end)

  it("is known for a function that overflows the stack, and for one of C", function()
    local function endless() return 1 + endless() end
    assert.matches("view_spec.lua:%d+$", failure(lease.run, lease, endless).job)
    assert.are.equal("[C]", failure(lease.run, lease, error, "x").job)
  end)
end)

backends.each("the executor of a lease", function(backend)
  before_each(function() begin(backend) end)
  after_each(finish)

  it("is one object that takes jobs", function()
    assert.are.equal(lease.executor, lease.executor)
    assert.are.equal("A", lease.executor:submit(string.upper, "a"):await())
    assert.are.equal("executor of " .. tostring(lease), tostring(lease.executor))
  end)

  it("refuses a shutdown, and says to release the lease", function()
    local executor = lease.executor
    assert.matches("release the lease instead", failure(executor.shutdown, executor).message, 1, true)
    assert.are.equal(1, lease:run(function() return 1 end))
  end)

  it("takes no job once the lease is released, and does not keep it from being collected", function()
    local executor = lease.executor
    lease:release()
    assert.are.equal("LeaseExpiredError", failure(executor.submit, executor, print).name)
    local weak = setmetatable({ manager:acquire() }, { __mode = "v" })
    weak[2] = weak[1].executor
    weak[1]:release()
    collectgarbage()
    collectgarbage()
    assert.is_nil(weak[1])
    lease = manager:acquire()
  end)
end)
