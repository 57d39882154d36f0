--- How a manager stops, in Lua: its report, its future, where nothing can wait, and again.
local leasepool = require "leasepool"
local backends = require "spec.support.backends"
local child = require "spec.support.child"
local gate = require "spec.support.gate"
local timeline = require "spec.support.timeline"
local failure = require "spec.support.failure"

local function report_of(counts)
  local report = { finished = 0, cancelled = 0, interrupted = 0, killed = 0, abandoned = 0 }
  for name, count in pairs(counts) do report[name] = count end
  return report
end

-- Runs `fn` in a callback, where nothing can wait, and returns what it returns.
local function in_callback(fn)
  local results
  local function callback() results = table.pack(fn()) end
  leasepool.spawn(function() end):on_done(callback)
  while not results do leasepool.sleep(0) end
  return table.unpack(results, 1, results.n)
end

backends.each("a stop", function(backend)
  it("that waits is refused in a callback, and has stopped nothing", function()
    local manager <close> = backend.manager({ max_pools = 1 }):start()
    local err = in_callback(function() return failure(manager.stop, manager) end)
    assert.are.equal("WouldBlockError", err.name)
    assert.matches("^manager:stop: ", err.message)
    assert.matches("running", tostring(manager))
  end)

  it("that does not wait is a future of the report, in a callback too", function()
    local manager = backend.manager({ max_pools = 1, workers_per_pool = 1 }):start()
    local lease = manager:acquire()
    local blocker = gate()
    local running, queued = lease:submit(blocker.pass, blocker.id, "ran"), lease:submit(print)
    blocker.await()
    local stop = in_callback(function() return manager:stop { wait = false } end)
    assert.are.equal("future of a stop: pending", tostring(stop))
    assert.is_false(stop:cancel())
    assert.is_false((stop:result(0)))
    assert.are.equal("CancelledError", select(2, queued:result()).name)
    blocker.open()
    assert.are.same(report_of { finished = 1, cancelled = 1 }, stop:await())
    assert.are.equal(stop:await(), stop:await())
    assert.are.equal("done", stop:status())
    assert.are.equal("ran", running:await())
  end)

  it("joins the one that goes on, and each has a report of its own", function()
    local manager = backend.manager({ max_pools = 1, workers_per_pool = 1 }):start()
    local lease = manager:acquire()
    local blocker = gate()
    lease:submit(blocker.pass, blocker.id)
    blocker.await()
    local first, second = manager:stop { wait = false }, manager:stop { wait = false }
    blocker.open()
    local report = manager:stop()
    assert.are.same(report_of { finished = 1 }, report)
    assert.are.same(report, first:await())
    assert.are.same(report, second:await())
    assert.are.same(report_of {}, manager:stop()) -- there was nothing left for this one
  end)

  it("begins where a manager's block ends in a callback, and goes on by itself", function()
    local manager = backend.manager({ max_pools = 1 }):start()
    local lease = manager:acquire()
    in_callback(function() local _ <close> = manager end)
    assert.are.equal("CLOSED", lease.state)
    manager:stop()
    assert.matches("stopped", tostring(manager))
  end)

  it("can be followed by a start, in its own callback too, again and again #threads", function()
    local manager = backend.manager { max_pools = 2, workers_per_pool = 1 }
    for i = 1, 5 do
      manager:start()
      local lease = manager:acquire()
      assert.are.equal(i, lease:run(function(n) return n end, i))
      local restarted
      manager:stop({ wait = false }):on_done(function()
        restarted = manager:start()
      end)
      while not restarted do leasepool.sleep(0) end
      assert.are.equal("LeaseExpiredError", failure(lease.run, lease, print).name)
      assert.are.equal("fresh", manager:run(function() return "fresh" end))
      manager:stop()
    end
    assert.are.equal(5, manager:stats().counters.stopped)
  end)

  it("refuses a start until it is over", function()
    local manager = backend.manager({ max_pools = 1, workers_per_pool = 1 }):start()
    local lease = manager:acquire()
    local blocker = gate()
    lease:submit(blocker.pass, blocker.id)
    blocker.await()
    local stop = manager:stop { wait = false }
    assert.are.equal("LeasePoolNotStartedError", failure(manager.start, manager).name)
    blocker.open()
    stop:await()
    manager:start()
    manager:stop()
  end)

  it("leaves leases that can be looked at and released, and nothing else", function()
    local manager = backend.manager({ max_pools = 1, workers_per_pool = 1 }):start()
    local lease = manager:acquire { owner = "me" }
    local view, executor, id = lease:with { name = "view" }, lease.executor, lease.lease_id
    manager:stop()
    assert.are.same({ "CLOSED", "me", id }, { lease.state, lease.owner, lease.lease_id })
    assert.matches("CLOSED", tostring(lease))
    for _, call in ipairs { "run", "submit", "map" } do
      assert.are.equal("LeaseExpiredError", failure(lease[call], lease, print, { 1 }).name)
    end
    for _, object in ipairs { view, executor } do
      assert.are.equal("LeaseExpiredError", failure(object.submit, object, print).name)
    end
    assert.are.equal("LeaseExpiredError", failure(lease.renew, lease).name)
    assert.is_false(manager:release(id))
    for _ = 1, 2 do lease:release() end
    do local _ <close> = lease end
    manager:start() -- and the lease is none of the manager's second life
    assert.are.equal("CLOSED", lease.state)
    assert.are.same({ 0, 1 }, { manager.leased_count, manager:stats().counters.stopped })
    manager:stop()
  end)

  if not backend.threads then return end -- what that does not end is killed: see process_spec.lua

  it("with a timeout interrupts what still runs, and gives up what that does not end", function()
    local output, errors = timeline([[
      local manager = leasepool.manager({ backend = ..., max_pools = 1, workers_per_pool = 1,
        interrupt_grace_seconds = 0.5, exit_grace_seconds = 1 })
      manager:start()
      local lease = manager:acquire()
      local blocker = gate()
      local running, queued = lease:submit(blocker.pass, blocker.id, "late"), lease:submit(print)
      blocker.await()
      local stop = manager:stop { wait = false, timeout = 2 }
      print(name_of(queued:result()))
      at(2) at(1.499) print(stop:status(), running:status())
      at(0.001) print(stop:status(), tostring(manager))
      local report = stop:await()
      local _, err = running:result()
      print(report.cancelled, report.interrupted, report.abandoned, running:status(), err.still_running, err.message)
      manager:start()
      print(manager:run(function() return "beside it" end))
      blocker.open()
      manager:stop()
      print(manager:stats().retiring)
    ]], backend.name)
    assert.are.equal([[
CancelledError
pending	pending
done	manager thread stopped: 0 available, 0 leased of 1
1	0	1	failed	true	the job cannot be stopped, and was given up: it was cancelled
beside it
0
]], (output:gsub("manager " .. backend.name, "manager thread")))
    assert.matches("WARN: worker %d+%-%d+ runs what cannot be stopped, and is given up", errors)
    assert.matches("WARN: the stop does not wait for 1 workers that go on", errors)
  end)
end)

backends.each("a lease that is collected unreleased", function(backend)
  -- What a program logs that runs this with a manager of such options.
  local function logged(options, body)
    local output, errors, status = child.run(([[
      local leasepool = require "leasepool"
      local manager = leasepool.manager({ backend = ..., max_pools = 2, %s }):start()
      local function borrow(...) return manager:acquire(...) end
      local function body() %s end
      body()
      for _ = 1, 4 do
        collectgarbage()
        leasepool.sleep(0)
      end
      print(manager.leased_count)
      manager:stop()
    ]]):format(options, body), backend.name)
    assert.are.same({ "0\n", 0 }, { output, status })
    return errors
  end

  it("is told with its owner, and with where it was acquired when the manager remembers that", function()
    local leak = 'borrow { owner = "careless" }'
    local text = logged("leak_traceback = true", leak)
    assert.matches("WARN: lease %d+ %(owner: careless%) was collected unreleased", text)
    assert.matches("acquired at: stack traceback:\n[^\n]*in [^\n]*'borrow'", text)
    text = logged("", leak)
    assert.matches("WARN: lease %d+ %(owner: careless%) was collected unreleased", text)
    assert.is_nil(text:find("acquired at", 1, true))
  end)

  it("is told whatever was waiting for it: a view, an executor, a request", function()
    for _, leak in ipairs {
      'local view = borrow():with { name = "v" } view = nil', "local executor = borrow().executor executor = nil",
      "manager:request():await()", "leasepool.spawn(function() borrow() end)",
      "coroutine.wrap(function() local lease = borrow() coroutine.yield(lease.state) end)()",
      "assert(manager:try_acquire())",
    } do
      local _, count = logged("leak_traceback = true", leak):gsub("was collected unreleased", "")
      assert.are.equal(1, count, leak)
    end
  end)

  it("is not told when it was released, has ended otherwise, or was never taken", function()
    for _, innocent in ipairs {
      "borrow():release()", "borrow() manager:stop() manager:start()", "manager:request()",
      "manager:release(borrow().lease_id)", "do local lease <close> = borrow() end",
    } do
      assert.are.equal("", logged("leak_traceback = true", innocent), innocent)
    end
  end)
end)
