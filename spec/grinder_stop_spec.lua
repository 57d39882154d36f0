--- How a grinder stops: with and without what is pending, where nothing can wait, and again.
local leasepool = require "leasepool"
local backends = require "spec.support.backends"
local gate = require "spec.support.gate"
local grind = require "spec.support.grind"
local timeline = require "spec.support.timeline"

local begin, counts, ends_of = grind.begin, grind.counts, grind.ends

local function nothing() end

-- A job that waits at a gate, where it can be stopped.
local function wait(id) require("leasepool.core").testing.gate_pass_interruptible(id) end

-- Runs `fn` in a callback, where nothing can wait, and returns what it returns.
local function in_callback(fn)
  local results
  local function callback() results = table.pack(fn()) end
  leasepool.spawn(nothing):on_done(callback)
  while not results do leasepool.sleep(0) end
  return table.unpack(results, 1, results.n)
end

backends.each("a stop of a grinder", function(backend)
  after_each(grind.finish)

  it("runs what is pending in a last batch, however little it is, and tells what ended", function()
    local grinder = begin(backend, {})
    local futures = { grinder:enqueue(tostring, 1), grinder:enqueue(error, "x"), grinder:enqueue(tostring, 3) }
    assert.are.same({ finished = 3, cancelled = 0 }, grinder:stop())
    assert.are.same({ "1", "JobError", "3" }, ends_of(futures))
    assert.are.same({ finished = 0, cancelled = 0 }, grinder:stop())
    assert.are.equal(1, grinder:stats().batches)
  end)

  it("waits for a lease, if it must, and for no more batches than are needed", function()
    local grinder, manager = begin(backend, { batch_size_threshold = 1 })
    local lease = manager:acquire()
    local futures = { grinder:enqueue(tostring, 1), grinder:enqueue(tostring, 2) }
    local stop = grinder:stop { wait = false }
    assert.is_false((stop:result(0)))
    assert.is_true(futures[1]:cancel())
    lease:release()
    assert.are.same({ finished = 1, cancelled = 1 }, stop:await())
    assert.are.same({ "CancelledError", "2" }, ends_of(futures))
  end)

  it("is begun in a callback, where nothing can wait, and its future is returned", function()
    local grinder = begin(backend, {})
    local blocker = gate()
    local future = grinder:enqueue(blocker.pass, blocker.id, "ran")
    local stop = in_callback(function() return grinder:stop() end)
    assert.are.equal("future of a stop: pending", tostring(stop))
    assert.is_false(stop:cancel())
    blocker.open()
    assert.are.same({ finished = 1, cancelled = 0 }, stop:await())
    assert.are.equal("ran", future:await())
  end)

  it("in a callback of an item's future cancels the others #threads", function()
    local blocker = gate()
    local grinder = begin(backend, { batch_size_threshold = 3 })
    local stop
    local futures = { grinder:enqueue(tostring, 1) }
    futures[1]:on_done(function() stop = grinder:stop { cancel_pending = true } end)
    for i = 2, 4 do
      futures[i] = grinder:enqueue(wait, blocker.id)
    end
    while not stop do leasepool.sleep(0) end
    local report = stop:await()
    assert.are.equal(3, report.cancelled)
    assert.are.same({ "1", "CancelledError", "CancelledError", "CancelledError" }, ends_of(futures))
    assert.are.same({ 0, 0, false, false }, counts(grinder, "pending", "in_flight", "started", "stopping"))
    grinder:start()
    futures = { grinder:enqueue(tostring, "again") }
    grinder:stop()
    assert.are.equal("again", futures[1]:await())
  end)

  it("is the end of its block, in a callback too, where it goes on by itself", function()
    local grinder, futures = begin(backend, {}), {}
    do
      local closed <close> = grinder
      futures[1] = closed:enqueue(tostring, 1)
    end
    assert.are.equal("done", futures[1]:status())
    grinder:start()
    in_callback(function()
      local closed <close> = grinder
      futures[2] = closed:enqueue(tostring, 2)
    end)
    assert.are.same({ "1", "2" }, ends_of(futures))
    grinder:stop()
    do local _ <close> = grinder end -- which is stopped already
  end)

  it("joins the one that goes on, and may cancel what that would have run", function()
    local blocker = gate()
    local grinder, manager = begin(backend, { batch_size_threshold = 1 })
    local lease = manager:acquire()
    local futures = { grinder:enqueue(blocker.pass, blocker.id), grinder:enqueue(nothing) }
    local stops = { grinder:stop { wait = false }, grinder:stop { wait = false } }
    assert.are.same({ finished = 0, cancelled = 2 }, grinder:stop { cancel_pending = true })
    for _, stop in ipairs(stops) do assert.are.same({ finished = 0, cancelled = 2 }, stop:await()) end
    assert.are.same({ "CancelledError", "CancelledError" }, ends_of(futures))
    assert.are.equal("ACTIVE", lease.state)
    lease:release()
  end)

  it("with a timeout cancels what is left then, and a second one may give it less time #threads", function()
    assert.are.equal([[
1.999 pending 1 1
done 1 3
1 CancelledError CancelledError CancelledError
0.499 pending
done 0 1
2 leased
]], (timeline([[
      local manager = leasepool.manager({ backend = ..., max_pools = 2, workers_per_pool = 1 }):start()
      local grinder = leasepool.grinder({ manager = manager, batch_size_threshold = 3, max_batches = 1 }):start()
      local lease, blocker = manager:acquire { lease_seconds = 1000 }, gate()
      local function wait(id) require("leasepool.core").testing.gate_pass_interruptible(id) end
      local futures = { grinder:enqueue(tostring, 1) }
      for i = 2, 4 do futures[i] = grinder:enqueue(wait, blocker.id) end
      blocker.await()
      till(function() return futures[1]:status() == "done" end)
      local stop = grinder:stop { wait = false, timeout = 2 }
      at(1.999) print("1.999", stop:status(), grinder:stats().pending, manager.leased_count - 1)
      at(0.001)
      local report = stop:await()
      print(stop:status(), report.finished + 1, report.cancelled)
      print(futures[1]:await(), name_of(futures[2]:result()), name_of(futures[3]:result()),
        name_of(futures[4]:result()))
      grinder:start()
      local other = manager:acquire { lease_seconds = 1000 }
      local future = grinder:enqueue(tostring, 5)
      stop = grinder:stop { wait = false }
      grinder:stop { wait = false, timeout = 2 }
      grinder:stop { wait = false, timeout = 0.5 }
      grinder:stop { wait = false, timeout = 1 }
      at(0.499) print("0.499", future:status())
      at(0.001)
      report = stop:await()
      print(future:status() == "cancelled" and stop:status(), report.finished, report.cancelled)
      print(manager.leased_count .. " leased")
      lease:release()
      other:release()
      manager:stop()
    ]], backend.name):gsub("\t", " ")))
  end)

  it("at the end of a block waits no longer than leases could last by then, and its own", function()
    assert.are.equal("pending\nCancelledError\n", (timeline([[
      local manager = leasepool.manager({ backend = ..., max_pools = 1, lease_grace_seconds = 5 }):start()
      local lease, future = manager:acquire { lease_seconds = 20 }, nil
      local closing = leasepool.spawn(function()
        local grinder <close> = leasepool.grinder({ manager = manager, lease_seconds = 40 }):start()
        future = grinder:enqueue(tostring, 1)
      end)
      lease:renew(1000)
      at(69.999) print(closing:status())
      at(0.001) print(name_of(future:result()))
      closing:await()
      lease:release()
      manager:stop()
    ]], backend.name)))
  end)

  it("goes on when the grinder, its manager and the future of the stop are forgotten", function()
    local future
    do
      local lease
      do
        local grinder, manager = begin(backend, { batch_size_threshold = 2 })
        lease = manager:acquire()
        future = grinder:enqueue(tostring, "ran")
        grinder:stop { wait = false }
        manager = nil -- luacheck: ignore
      end
      for _ = 1, 2 do collectgarbage() end
      lease:release()
    end
    assert.are.equal("ran", future:await())
  end)
end)

backends.each("stop { cancel_pending = true }", function(backend)
  after_each(grind.finish)

  it("begins none of what was pending", function()
    local grinder, manager = begin(backend, {})
    local futures = {}
    for i = 1, 5 do futures[i] = grinder:enqueue(nothing) end
    assert.are.same({ finished = 0, cancelled = 5 }, grinder:stop { cancel_pending = true })
    for _, future in ipairs(futures) do assert.are.equal("cancelled", future:status()) end
    assert.are.same({ 0, 0, 0 }, counts(grinder, "batches", "items", "cancelled"))
    assert.are.equal(0, manager:stats().counters.acquired)
  end)

  it("takes back the batch that waits for a lease, and leaves the others that wait", function()
    local grinder, manager = begin(backend, { batch_size_threshold = 1 })
    local lease = manager:acquire()
    local future, other = grinder:enqueue(nothing), manager:request()
    assert.are.equal(2, manager:stats().waiters)
    assert.are.same({ finished = 0, cancelled = 1 }, grinder:stop { cancel_pending = true })
    assert.are.equal("cancelled", future:status())
    assert.are.same({ 0, 1 }, { grinder:stats().waiting, manager:stats().waiters })
    lease:release()
    other:await():release()
    assert.are.equal(2, manager:stats().counters.acquired)
  end)

  it("gives on the lease that its batch has just been granted", function()
    local grinder, manager = begin(backend, { batch_size_threshold = 1 })
    local lease = manager:acquire()
    local future, other = grinder:enqueue(nothing), manager:request()
    local stop
    in_callback(function()
      lease:release() -- to the batch, which hears of it in the next turn
      stop = grinder:stop { cancel_pending = true }
    end)
    other:await():release()
    assert.are.same({ finished = 0, cancelled = 1 }, stop:await())
    assert.are.equal("cancelled", future:status())
    assert.are.equal(0, grinder:stats().batches)
  end)

  it("cancels what is in flight, the running item too, and returns #threads", function()
    local blocker = gate()
    local grinder, manager = begin(backend, { batch_size_threshold = 4 })
    local futures = {}
    for i = 1, 6 do
      futures[i] = grinder:enqueue(wait, blocker.id)
    end
    blocker.await()
    assert.are.same({ 4, 2 }, counts(grinder, "in_flight", "pending"))
    assert.are.same({ finished = 0, cancelled = 6 }, grinder:stop { cancel_pending = true })
    for _, future in ipairs(futures) do assert.are.equal("cancelled", future:status()) end
    assert.are.same({ 4, 4, 0 }, counts(grinder, "items", "cancelled", "in_flight"))
    assert.are.equal(1, manager.available_count)
    assert.are.equal(1, manager:run(function() return 1 end))
  end)

  it("cancels several batches at once #threads", function()
    local blocker = gate()
    local grinder = begin(backend, { batch_size_threshold = 2 }, { max_pools = 3 })
    local futures = {}
    for i = 1, 9 do
      futures[i] = grinder:enqueue(wait, blocker.id)
    end
    blocker.await(3)
    assert.are.same({ 3, 3 }, counts(grinder, "running", "pending"))
    assert.are.same({ finished = 0, cancelled = 9 }, grinder:stop { cancel_pending = true })
    for _, future in ipairs(futures) do assert.are.equal("cancelled", future:status()) end
  end)
end)

if not os.getenv "LEASEPOOL_SANITIZE" then
  describe("an item that cannot be stopped", function()
    it("is given up, and a stop that cancels does not wait for it", function()
      local output, errors = timeline [[
        local manager = leasepool.manager({ max_pools = 1, workers_per_pool = 1, interrupt_grace_seconds = 0.5,
          exit_grace_seconds = 1 }):start()
        local grinder = leasepool.grinder({ manager = manager, batch_size_threshold = 1 }):start()
        local blocker = gate()
        local running = grinder:enqueue(blocker.pass, blocker.id)
        blocker.await()
        local stop = grinder:stop { wait = false, cancel_pending = true }
        at(1.499) print(stop:status())
        at(0.001) print(stop:status())
        print(select(2, running:result()).still_running, grinder:stats().failed, manager:stats().retiring)
        blocker.open()
        manager:stop()
      ]]
      assert.are.equal("pending\ndone\ntrue\t1\t1\n", output)
      assert.matches("WARN: worker %d+%-%d+ runs what cannot be stopped, and is given up", errors)
    end)
  end)
end
