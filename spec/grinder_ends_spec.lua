--- How items of a grinder end before their time: cancelled, late, without a lease or with one that
-- expires or breaks.
local leasepool = require "leasepool"
local testing = require("leasepool.core").testing
local backends = require "spec.support.backends"
local failure = require "spec.support.failure"
local gate = require "spec.support.gate"
local grind = require "spec.support.grind"
local timeline = require "spec.support.timeline"

local begin, counts, ends_of = grind.begin, grind.counts, grind.ends

local function nothing() end

-- A job that waits at a gate, where it can be stopped.
local function wait(id) require("leasepool.core").testing.gate_pass_interruptible(id) end

backends.each("an item that is cancelled", function(backend)
  after_each(grind.finish)

  it("while it is pending leaves at once, is not counted, and never runs", function()
    local grinder, manager = begin(backend, { batch_size_threshold = 3 })
    local futures = {}
    for i = 1, 2 do futures[i] = grinder:enqueue(tostring, i) end
    local gone = futures[1]
    assert.is_true(gone:cancel())
    assert.are.same({ 1, 1, 0 }, counts(grinder, "pending", "items", "cancelled"))
    assert.is_false(gone:cancel())
    for i = 3, 4 do futures[i] = grinder:enqueue(tostring, i) end -- only now there are three
    assert.are.same({ "CancelledError", "2", "3", "4" }, ends_of(futures))
    assert.are.equal("cancelled", gone:status())
    assert.are.same({ 3, 3, 0, 0, 1 }, counts(grinder, "items", "done", "failed", "cancelled", "batches"))
    assert.are.equal(0, manager:stats().counters.cancelled)
    grinder:stop()
  end)

  it("in its batch, waiting or running, does not hold up the others #threads", function()
    local blocker, other = gate(), gate()
    local grinder = begin(backend, { batch_size_threshold = 4 })
    local futures = { grinder:enqueue(wait, blocker.id), grinder:enqueue(nothing), grinder:enqueue(error, "x"),
      grinder:enqueue(other.pass, other.id, "last") }
    blocker.await()
    assert.is_true(futures[2]:cancel())
    assert.is_true(futures[1]:cancel())
    other.await()
    assert.are.equal("JobError", select(2, futures[3]:result()).name)
    assert.are.same({ "cancelled", "cancelled", "pending" },
      { futures[1]:status(), futures[2]:status(), futures[4]:status() })
    other.open()
    assert.are.equal("last", futures[4]:await())
    grinder:stop()
    assert.are.same({ 4, 1, 1, 2 }, counts(grinder, "items", "done", "failed", "cancelled"))
  end)

  it("with its coroutine, whether it is pending, in its batch or running #threads", function()
    for _, ends in ipairs { "cancel", "close" } do
      local blocker = gate()
      local grinder = begin(backend, { batch_size_threshold = 2 })
      local waits, threads = {}, {}
      local function submit(...)
        waits[#waits + 1] = leasepool.spawn(function(...)
          threads[#threads + 1] = coroutine.running()
          return grinder:submit(...)
        end, ...)
      end
      submit(wait, blocker.id)
      submit(tostring, 2)
      submit(tostring, 3)
      blocker.await()
      assert.are.same({ 1, 2 }, counts(grinder, "pending", "in_flight"))
      for i = 3, 1, -1 do
        if ends == "cancel" then waits[i]:cancel() else coroutine.close(threads[i]) end
      end
      assert.are.same({ "CancelledError", "CancelledError", "CancelledError" }, ends_of(waits))
      grinder:stop()
      assert.are.same({ 0, 0, 2, 2 }, counts(grinder, "pending", "in_flight", "items", "cancelled"))
      grind.finish()
    end
  end)

  it("with the run that its coroutine is of", function()
    local grinder = begin(backend, {})
    local err = failure(leasepool.run, function()
      leasepool.spawn(function() grinder:submit(nothing) end)
      leasepool.sleep(0)
      error("enough", 0)
    end)
    assert.matches("^enough", err)
    assert.are.same({ 0, 0 }, counts(grinder, "pending", "items"))
    grinder:stop()
  end)
end)

backends.each("the timeout of an item", function(backend)
  it("counts from its submission, and ends it wherever it is #threads", function()
    assert.are.equal([[
pending 1, in flight 0
never TimeoutError failed
running TimeoutError, queued TimeoutError, patient in time
items 4, done 1, failed 3
]], (timeline([[
      local manager = leasepool.manager({ backend = ..., max_pools = 1, workers_per_pool = 1 }):start()
      local grinder = leasepool.grinder({ manager = manager, batch_size_threshold = 3 }):start()
      local view = grinder:with { timeout = 2 }
      local never = view:enqueue(tostring, 1)
      at(1.999)
      print(("pending %d, in flight %d"):format(grinder:stats().pending, grinder:stats().in_flight))
      at(0.001)
      print("never " .. name_of(never:result()) .. " " .. never:status())
      local blocker = gate()
      local running = view:enqueue(function(id)
        require("leasepool.core").testing.gate_pass_interruptible(id)
      end, blocker.id)
      local queued, patient = view:enqueue(tostring, 2), grinder:with({ timeout = 100 }):enqueue(tostring, "in time")
      blocker.await()
      at(2)
      print(("running %s, queued %s, patient %s"):format(name_of(running:result()), name_of(queued:result()),
        patient:await()))
      grinder:stop()
      local stats = grinder:stats()
      print(("items %d, done %d, failed %d"):format(stats.items, stats.done, stats.failed))
      manager:stop()
    ]], backend.name)))
  end)

  it("of none at all ends it before it begins, also where a batch would begin with it", function()
    local grinder = begin(backend, { batch_size_threshold = 2 })
    local none = grinder:with { timeout = 0 }
    local futures = { none:enqueue(tostring, 1), none:enqueue(tostring, 2), grinder:enqueue(tostring, 3) }
    local err = select(2, futures[1]:result())
    assert.matches("^the job was not run: its timeout of 0%.0 seconds was over", err.message)
    grinder:stop()
    assert.are.same({ "TimeoutError", "TimeoutError", "3" }, ends_of(futures))
    assert.are.equal("TimeoutError", failure(function()
      grinder:start()
      none:submit(nothing)
    end).name)
    grinder:stop()
  end)
end)

-- ---- Without a lease -------------------------------------------------------------------

backends.each("a grinder without a lease", function(backend)
  after_each(grind.finish)

  it("has as many batches wait as the manager lets, and loses nothing by that", function()
    local grinder, manager = begin(backend, { batch_size_threshold = 1 }, { max_pools = 2, max_waiters = 1 })
    local leases = { manager:acquire(), manager:acquire() }
    local futures = {}
    for i = 1, 5 do futures[i] = grinder:enqueue(tostring, i) end
    assert.are.same({ 1, 5 }, { grinder:stats().waiting, grinder:stats().pending })
    leases[1]:release()
    assert.are.same({ "1", "2", "3", "4", "5", n = 5 }, leasepool.gather(futures))
    leases[2]:release()
    grinder:stop()
    assert.are.equal(0, manager:stats().counters.rejected)
  end)

  it("waits for none when nothing is pending any more, and can be stopped", function()
    local grinder, manager = begin(backend, { batch_size_threshold = 1 })
    local lease = manager:acquire()
    local future, late = grinder:enqueue(nothing), grinder:with({ timeout = 0.001 }):enqueue(nothing)
    assert.are.equal(1, manager:stats().waiters)
    assert.is_true(future:cancel())
    assert.are.equal("TimeoutError", select(2, late:result()).name)
    assert.are.same({ 0, 0 }, { grinder:stats().waiting, manager:stats().waiters })
    assert.are.same({ finished = 0, cancelled = 0 }, grinder:stop())
    assert.are.equal("ACTIVE", lease.state)
    lease:release()
  end)

  it("fails what is pending when too many others wait for one", function()
    local grinder, manager = begin(backend, { batch_size_threshold = 2 }, { max_waiters = 1 })
    local lease, other = manager:acquire(), manager:request()
    local futures = { grinder:enqueue(nothing), grinder:enqueue(nothing) }
    local err = select(2, futures[1]:result())
    assert.are.equal("LeaseUnavailableError", err.name)
    assert.matches("its batch got no lease: too many wait for one (max_waiters)", err.message, 1, true)
    assert.are.same({ 0, 2, 0, 0 }, counts(grinder, "pending", "failed", "waiting", "batches"))
    assert.are.equal("failed", futures[2]:status())
    futures[2]:result()
    lease:release()
    other:await():release()
    grinder:stop()
  end)

  it("fails what is pending when its manager stops, and takes up work when that starts again", function()
    local grinder, manager = begin(backend, { batch_size_threshold = 3 })
    local blocker = gate()
    local futures = {}
    for i = 1, 7 do futures[i] = grinder:enqueue(blocker.pass, blocker.id, i) end
    blocker.await()
    assert.are.same({ 3, 4, 0 }, counts(grinder, "in_flight", "pending", "waiting"))
    local stop = manager:stop { wait = false }
    blocker.open()
    assert.are.equal(2, stop:await().cancelled)
    assert.are.same({ 1, "CancelledError", "CancelledError", "LeasePoolNotStartedError", "LeasePoolNotStartedError",
      "LeasePoolNotStartedError", "LeasePoolNotStartedError" }, ends_of(futures))
    assert.matches("its batch got no lease, as the manager is not started, or stops",
      select(2, futures[7]:result()).message, 1, true)
    assert.are.same({ 1, 4, 2, 7 }, counts(grinder, "done", "failed", "cancelled", "items"))
    manager:start()
    local late = grinder:enqueue(tostring, "in time")
    grinder:stop()
    assert.are.equal("in time", late:await())
  end)

  it("fails a batch that waits for one when its manager stops", function()
    local grinder, manager = begin(backend, { batch_size_threshold = 1 })
    local lease = manager:acquire()
    local future = grinder:enqueue(nothing)
    manager:stop()
    assert.are.equal("LeasePoolNotStartedError", select(2, future:result()).name)
    assert.are.equal("CLOSED", lease.state)
    assert.are.same({ finished = 0, cancelled = 0 }, grinder:stop())
  end)

  it("refuses what it is given while its manager stops, and until that is started again", function()
    local grinder, manager = begin(backend, { batch_size_threshold = 1 })
    local lease = manager:acquire()
    local blocker = gate()
    lease:submit(blocker.pass, blocker.id)
    blocker.await()
    local stop = manager:stop { wait = false }
    local function refused()
      for _, how in ipairs { "submit", "enqueue" } do
        local err = failure(grinder[how], grinder, nothing)
        assert.are.equal("LeasePoolNotStartedError", err.name)
        assert.matches("grinder:" .. how .. ": the manager is not started, or stops", err.message, 1, true)
      end
    end
    refused()
    blocker.open()
    stop:await()
    refused()
    manager:start()
    local future = grinder:enqueue(tostring, 1)
    grinder:stop()
    assert.are.equal("1", future:await())
  end)
end)

-- ---- A lease that ends early -----------------------------------------------------------

backends.each("a batch", function(backend)
  after_each(grind.finish)

  it("whose lease expires delivers what runs, and fails what has not begun #threads", function()
    assert.are.equal([[
pending pending
late LeaseExpiredError LeaseExpiredError next
1 batches with 3 of 4, done 2, failed 2
]], (timeline([[
      local manager = leasepool.manager({ backend = ..., max_pools = 1, workers_per_pool = 1,
        lease_grace_seconds = 5 }):start()
      local grinder = leasepool.grinder({ manager = manager, batch_size_threshold = 3, lease_seconds = 10,
        max_wait_seconds = 1000 }):start()
      local blocker = gate()
      local futures = { grinder:enqueue(blocker.pass, blocker.id, "late") }
      for i = 2, 4 do futures[i] = grinder:enqueue(tostring, i == 4 and "next" or i) end
      blocker.await()
      at(14.999)
      print(futures[1]:status(), futures[2]:status())
      at(0.001)
      local names = { "", name_of(futures[2]:result()), name_of(futures[3]:result()) }
      local batches, given = grinder:stats().batches, grinder:stats().items - grinder:stats().pending
      blocker.open()
      names[1] = futures[1]:await()
      grinder:stop()
      names[4] = futures[4]:await()
      print(table.concat(names, " "))
      local stats = grinder:stats()
      print(("%d batches with %d of %d, done %d, failed %d"):format(batches, given, stats.items, stats.done,
        stats.failed))
      manager:stop()
    ]], backend.name):gsub("\t", " ")))
  end)

  it("whose lease expires stops what runs where the manager says so #threads", function()
    assert.are.equal("LeaseExpiredError\n2\n", (timeline([[
      local manager = leasepool.manager({ backend = ..., max_pools = 1, workers_per_pool = 1, lease_grace_seconds = 0,
        on_expiry = "interrupt" }):start()
      local grinder = leasepool.grinder({ manager = manager, batch_size_threshold = 1, lease_seconds = 10 }):start()
      local blocker = gate()
      local first = grinder:enqueue(function(id)
        require("leasepool.core").testing.gate_pass_interruptible(id)
      end, blocker.id)
      blocker.await()
      local second = grinder:enqueue(tostring, 2)
      at(10)
      print(name_of(first:result()))
      print(second:await())
      grinder:stop()
      manager:stop()
    ]], backend.name)))
  end)

  it("that is granted its lease too late fails with it, and the grinder goes on", function()
    assert.are.equal("LeaseExpiredError\nthe next\n", (timeline([[
      local manager = leasepool.manager({ backend = ..., max_pools = 1, lease_grace_seconds = 0 }):start()
      local grinder = leasepool.grinder({ manager = manager, batch_size_threshold = 1, lease_seconds = 1 }):start()
      local lease = manager:acquire()
      local future = grinder:enqueue(tostring, 1)
      lease:release()
      testing.clock_advance(1) -- and only now the turn that tells it
      print(name_of(future:result()))
      print(grinder:submit(tostring, "the next"))
      grinder:stop()
      manager:stop()
    ]], backend.name)))
  end)

  it("whose lease somebody releases by its number finishes what it has", function()
    local blocker = gate()
    local grinder, manager = begin(backend, { batch_size_threshold = 2 })
    local futures = { grinder:enqueue(blocker.pass, blocker.id, 1), grinder:enqueue(tostring, 2) }
    assert.is_true(manager:release(manager:stats().leases[1].lease_id))
    blocker.open()
    assert.are.same({ 1, "2" }, ends_of(futures))
    grinder:stop()
    assert.are.equal(1, manager.available_count)
  end)

  it("whose executor is broken by its initializer fails, with the reason, and the next has its chance", function()
    local name = os.tmpname()
    local grinder = begin(backend, { batch_size_threshold = 2 }, {
      initializer = function(path)
        if os.remove(path) then error("no start today", 0) end
      end,
      initargs = { name }, logger = nothing,
    })
    local futures = { grinder:enqueue(nothing), grinder:enqueue(nothing) }
    for _, future in ipairs(futures) do
      local err = select(2, future:result())
      assert.are.equal("BrokenExecutorError", err.name)
      assert.matches("no start today", err.reason, 1, true)
    end
    local future = grinder:enqueue(tostring, 1)
    grinder:stop()
    assert.are.equal("1", future:await())
    assert.are.same({ 1, 2 }, counts(grinder, "done", "failed"))
  end)

  it("whose executor breaks when it is given the first fails, with the reason, and the next has its chance", function()
    local grinder = begin(backend, { batch_size_threshold = 3 }, { logger = nothing })
    testing.fail_thread(1)
    local futures = {}
    for i = 1, 3 do futures[i] = grinder:enqueue(nothing) end
    testing.fail_thread(0)
    for _, future in ipairs(futures) do
      local err = select(2, future:result())
      assert.are.equal("BrokenExecutorError", err.name)
      assert.matches("no worker could be started", err.reason, 1, true)
    end
    assert.are.same({ 0, 3, 0, 0 }, counts(grinder, "pending", "failed", "batches", "running"))
    local future = grinder:enqueue(tostring, 1)
    grinder:stop()
    assert.are.equal("1", future:await())
  end)

  if backend.threads then return end

  it("whose executor breaks as it runs keeps the results that were there, and fails the rest", function()
    local grinder = begin(backend, { batch_size_threshold = 4 }, { logger = nothing })
    local futures = { grinder:enqueue(tostring, 1), grinder:enqueue(os.exit, 3) }
    for i = 3, 5 do futures[i] = grinder:enqueue(tostring, i) end
    assert.are.same({ "1", "BrokenExecutorError", "BrokenExecutorError", "BrokenExecutorError" },
      ends_of { table.unpack(futures, 1, 4) })
    assert.are.equal(3, select(2, futures[4]:result()).exit_code)
    grinder:stop()
    assert.are.equal("5", futures[5]:await())
    assert.are.same({ 2, 3, 2 }, counts(grinder, "done", "failed", "batches"))
  end)

  it("fails its items alone when one worker of several dies", function()
    local grinder = begin(backend, { batch_size_threshold = 2 }, { workers_per_pool = 2, logger = nothing })
    local came, blocker = gate(), gate()
    local futures = {
      grinder:enqueue(function(pass, first, second)
        pass(first)
        return pass(second, "survives")
      end, gate().pass, came.id, blocker.id),
      grinder:enqueue(function(pass, id)
        pass(id)
        os.exit(3)
      end, gate().pass, came.id),
    }
    came.await(2)
    came.open()
    assert.are.equal("BrokenExecutorError", select(2, futures[2]:result()).name)
    blocker.open()
    assert.are.equal("survives", futures[1]:await())
    grinder:stop()
  end)
end)

-- ---- A bounded queue -------------------------------------------------------------------

describe("a bounded queue", function()
  it("has room for what comes after one that is late, although no turn has come", function()
    assert.are.equal("QueueFullError\nok\nTimeoutError\n", (timeline [[
      local manager = leasepool.manager({ max_pools = 1 }):start()
      local grinder = leasepool.grinder({ manager = manager, max_pending = 1 }):start()
      local late = grinder:with({ timeout = 1 }):enqueue(print)
      print(name_of(pcall(grinder.enqueue, grinder, print)))
      testing.clock_advance(1)
      print(name_of(pcall(grinder.enqueue, grinder, print)))
      print(name_of(late:result()))
      grinder:stop { cancel_pending = true }
      manager:stop()
    ]]))
  end)
end)
