--- Grinders: many small jobs from many callers, run in batches.
local leasepool = require "leasepool"
local backends = require "spec.support.backends"
local failure = require "spec.support.failure"
local gate = require "spec.support.gate"
local grind = require "spec.support.grind"
local timeline = require "spec.support.timeline"

local begin, counts = grind.begin, grind.counts

local function nothing() end

backends.each("a grinder", function(backend)
  after_each(grind.finish)

  it("returns all values of an item, nils included, and gives futures of them #threads", function()
    local grinder <close> = begin(backend, { batch_size_threshold = 1 })
    local function echo(...) return ... end
    assert.are.same({ n = 4, 1, nil, "x", nil }, table.pack(grinder:submit(echo, 1, nil, "x", nil)))
    assert.are.equal(0, select("#", grinder:submit(echo)))
    assert.are.equal("A", grinder:enqueue(string.upper, "a"):await())
    assert.are.equal("B", grinder:with({}):submit(string.upper, "b"))
    assert.are.equal("C", grinder:with({}):enqueue(string.upper, "c"):await())
  end)

  it("begins a batch when so many are pending, and none before", function()
    local grinder <close>, manager = begin(backend, { batch_size_threshold = 3 })
    local futures = {}
    for i = 1, 2 do futures[i] = grinder:enqueue(tostring, i) end
    assert.are.same({ 2, 0, 0 }, counts(grinder, "pending", "in_flight", "running"))
    assert.are.equal(0, manager:stats().counters.acquired)
    futures[3] = grinder:enqueue(tostring, 3)
    assert.are.same({ "1", "2", "3", n = 3 }, leasepool.gather(futures))
    assert.are.same({ 0, 1, 3, 3 }, counts(grinder, "pending", "batches", "items", "done"))
    assert.are.equal(1, manager:stats().counters.acquired)
  end)

  it("begins one when the oldest has waited long enough #threads", function()
    assert.are.equal("3 pending after 9.999\n1\n2\n3\n1 batch\n", (timeline([[
      local manager = leasepool.manager({ backend = ..., max_pools = 1 }):start()
      local grinder = leasepool.grinder({ manager = manager }):start()
      local futures = { grinder:enqueue(tostring, 1) }
      at(5)
      futures[2] = grinder:enqueue(tostring, 2)
      at(4.999)
      futures[3] = grinder:enqueue(tostring, 3)
      at(0)
      print(grinder:stats().pending .. " pending after 9.999")
      at(0.001)
      for _, future in ipairs(futures) do print(future:await()) end
      print(grinder:stats().batches .. " batch")
      grinder:stop()
      manager:stop()
    ]], backend.name)))
  end)

  it("that lets nothing wait begins a batch for each, and for all that came meanwhile", function()
    local grinder <close> = begin(backend, { max_wait_seconds = 0 })
    local blocker = gate()
    local first = grinder:enqueue(blocker.pass, blocker.id, "0")
    assert.are.same({ 1, 0 }, counts(grinder, "in_flight", "pending"))
    local futures = {}
    for i = 1, 3 do futures[i] = grinder:enqueue(tostring, i) end
    assert.are.same({ 1, 3 }, counts(grinder, "in_flight", "pending"))
    blocker.open()
    assert.are.same({ "1", "2", "3", n = 3 }, leasepool.gather(futures))
    assert.are.equal("0", first:await())
    assert.are.equal(2, grinder:stats().batches)
  end)

  it("counts from the oldest that is left when others were cancelled", function()
    assert.are.equal("pending pending\ndone pending\n", (timeline([[
      local manager = leasepool.manager({ backend = ..., max_pools = 1 }):start()
      local grinder = leasepool.grinder({ manager = manager, max_wait_seconds = 5 }):start()
      local first = grinder:enqueue(tostring, 1)
      at(3)
      local second = grinder:enqueue(tostring, 2)
      at(1)
      assert(first:cancel())
      at(3.999)
      local third = function() return "nothing is pending" end
      io.write(second:status(), " ")
      at(0)
      print(second:status())
      at(0.001)
      till(function() return second:status() ~= "pending" end)
      third = grinder:enqueue(third)
      at(4.999)
      print(second:status(), third:status())
      grinder:stop()
      manager:stop()
    ]], backend.name):gsub("\t", " ")))
  end)

  it("has batches side by side, up to max_batches #threads", function()
    local blocker = gate()
    local grinder <close>, manager = begin(backend, { batch_size_threshold = 1, max_batches = 2 }, { max_pools = 3 })
    local futures = {}
    for i = 1, 4 do futures[i] = grinder:enqueue(blocker.pass, blocker.id, i) end
    blocker.await(2)
    assert.are.same({ 2, 2, 2, 0 }, counts(grinder, "running", "in_flight", "pending", "waiting"))
    assert.are.equal(2, manager.leased_count)
    blocker.open()
    assert.are.same({ 1, 2, 3, 4, n = 4 }, leasepool.gather(futures))
  end)

  it("has as many at once as its manager has executors, when nothing else is said", function()
    local blocker = gate()
    local grinder <close> = begin(backend, { batch_size_threshold = 1 }, { max_pools = 3 })
    for _ = 1, 4 do grinder:enqueue(blocker.pass, blocker.id) end
    blocker.await(3)
    assert.are.same({ 3, 0, 1 }, counts(grinder, "running", "waiting", "pending"))
    blocker.open()
  end)

  it("delivers the first of a slow batch before the last has begun #threads", function()
    local gates = { gate(), gate(), gate() }
    local grinder <close> = begin(backend, { batch_size_threshold = 3 })
    local futures = {}
    for i, blocker in ipairs(gates) do futures[i] = grinder:enqueue(blocker.pass, blocker.id, i) end
    gates[1].await()
    gates[1].open()
    assert.are.equal(1, futures[1]:await())
    gates[2].await()
    assert.are.same({ "pending", "pending" }, { futures[2]:status(), futures[3]:status() })
    assert.are.same({ 2, 1, 1 }, counts(grinder, "in_flight", "done", "running"))
    gates[3].open()
    gates[2].open()
    assert.are.same({ 2, 3 }, { futures[2]:await(), (futures[3]:await()) })
  end)

  it("has idle workers share a batch #threads", function()
    local blocker = gate()
    local grinder <close> = begin(backend, { batch_size_threshold = 3 }, { workers_per_pool = 3 })
    local futures = {}
    for i = 1, 3 do futures[i] = grinder:enqueue(blocker.pass, blocker.id, i) end
    blocker.await(3)
    assert.are.same({ 1, 3 }, counts(grinder, "running", "in_flight"))
    blocker.open()
    leasepool.gather(futures)
  end)

  it("takes into a batch all that came while it waited for its lease", function()
    local grinder <close>, manager = begin(backend, { batch_size_threshold = 2 })
    local lease = manager:acquire()
    local futures = {}
    for i = 1, 7 do futures[i] = grinder:enqueue(tostring, i) end
    assert.are.same({ 7, 1, 0 }, counts(grinder, "pending", "waiting", "batches"))
    lease:release()
    assert.are.equal(7, leasepool.gather(futures).n)
    assert.are.same({ 0, 1 }, counts(grinder, "waiting", "batches"))
  end)

  it("leaves a batch that waits as well its share", function()
    local grinder <close>, manager = begin(backend, { batch_size_threshold = 2 }, { max_pools = 2 })
    local leases = { manager:acquire(), manager:acquire() }
    local blocker = gate()
    for _ = 1, 7 do grinder:enqueue(blocker.pass, blocker.id) end
    assert.are.equal(2, grinder:stats().waiting)
    leases[1]:release()
    while grinder:stats().waiting == 2 do leasepool.sleep(0) end
    assert.are.same({ 4, 3 }, counts(grinder, "in_flight", "pending"))
    leases[2]:release()
    while grinder:stats().waiting == 1 do leasepool.sleep(0) end
    assert.are.same({ 7, 0, 2 }, counts(grinder, "in_flight", "pending", "running"))
    blocker.open()
  end)

  it("gives a lease no more than its queue has room for, and the rest to the next", function()
    local grinder = begin(backend, { batch_size_threshold = 50 }, { max_queue = 2 })
    local futures = {}
    for i = 1, 50 do futures[i] = grinder:enqueue(tostring, i) end
    assert.are.same({ finished = 50, cancelled = 0 }, grinder:stop())
    for i = 1, 50 do assert.are.equal(tostring(i), futures[i]:await()) end
    assert.is_true(grinder:stats().batches > 1)
  end)

  it("begins items in the order in which they came", function()
    local grinder <close> = begin(backend, { batch_size_threshold = 7 })
    local futures = {}
    for i = 1, 21 do
      futures[i] = grinder:enqueue(function()
        local seen = package.loaded.items_seen or 0
        package.loaded.items_seen = seen + 1
        return seen
      end)
    end
    for i = 1, 21 do -- in two batches, as none ends while others come
      assert.are.equal(backend.warm and i - 1 or i <= 7 and i - 1 or i - 8, (futures[i]:await()))
    end
  end)

  it("loses nothing and runs nothing twice, many callers, batches and restarts later #threads", function()
    local name = os.tmpname()
    local grinder <const> = begin(backend, { batch_size_threshold = 7, max_wait_seconds = 0.001, max_batches = 2 },
      { max_pools = 3, workers_per_pool = 2, max_queue = 5 })
    local function note(path, id)
      local file = assert(io.open(path, "a"))
      file:write(id, "\n")
      file:close()
      if id % 10 == 0 then error(id) end
      return id
    end
    local callers = {}
    for caller = 1, 10 do
      callers[caller] = leasepool.spawn(function()
        local ended = 0
        for i = 1, 30 do
          local id = caller * 1000 + i
          local ok, value
          repeat
            local taken = pcall(function()
              if i % 3 > 0 then
                ok, value = pcall(grinder.submit, grinder, note, name, id)
                if not ok and value.name == "LeasePoolNotStartedError" then error(value) end
              else
                ok, value = grinder:enqueue(note, name, id):result()
              end
            end)
            if not taken then leasepool.sleep(0) end -- it stops just now
          until taken
          assert(ok == (id % 10 > 0), tostring(value))
          assert((ok and value or value.cause) == id)
          ended = ended + 1
        end
        return ended
      end)
    end
    for _ = 1, 3 do
      leasepool.sleep(0.002)
      grinder:stop()
      grinder:start()
    end
    for _, caller in ipairs(callers) do assert.are.equal(30, (caller:await())) end
    grinder:stop()
    local times, total = {}, 0
    for line in io.lines(name) do
      assert.is_nil(times[line], line)
      times[line], total = true, total + 1
    end
    os.remove(name)
    assert.are.equal(300, total)
    assert.are.same({ 300, 270, 30, 0, 0, 0 },
      counts(grinder, "items", "done", "failed", "cancelled", "pending", "in_flight"))
  end)

  it("gives an item's error to its caller alone", function()
    local grinder = begin(backend, { batch_size_threshold = 3 })
    local futures = { grinder:enqueue(tostring, 1), grinder:enqueue(error, { code = 7 }), grinder:enqueue(tostring, 3) }
    assert.are.same({ "1", "3" }, { futures[1]:await(), (futures[3]:await()) })
    local err = select(2, futures[2]:result())
    assert.are.same({ "JobError", { code = 7 } }, { err.name, err.cause })
    local waiting = leasepool.spawn(function() return failure(grinder.submit, grinder, error, "mine") end)
    for _ = 1, 2 do grinder:enqueue(nothing) end
    assert.matches("^mine", tostring(waiting:await()))
    grinder:stop()
    assert.are.same({ 4, 2 }, counts(grinder, "done", "failed"))
  end)

  it("refuses one more than max_pending, and nothing is enqueued", function()
    local grinder = begin(backend, { max_pending = 2 })
    local futures = { grinder:enqueue(tostring, 1), grinder:enqueue(tostring, 2) }
    for _, how in ipairs { "enqueue", "submit" } do
      local err = failure(grinder[how], grinder, tostring, 3)
      assert.are.equal("QueueFullError", err.name)
      assert.matches(("grinder:%s: 2 jobs are pending already (max_pending)"):format(how), err.message, 1, true)
    end
    assert.are.same({ 2, 2 }, counts(grinder, "pending", "items"))
    assert.is_true(futures[1]:cancel())
    futures[3] = grinder:enqueue(tostring, 3)
    grinder:stop()
    assert.are.same({ "2", "3" }, { futures[2]:await(), (futures[3]:await()) })
  end)

  it("takes its arguments when they are given", function()
    local grinder <close> = begin(backend, { batch_size_threshold = 2 })
    local list = { "then" }
    local future = grinder:enqueue(table.concat, list)
    list[1] = "now"
    grinder:enqueue(nothing)
    assert.are.equal("then", future:await())
  end)

  it("tells its progress, once for all that ended at the same time", function()
    local told = {}
    local grinder = begin(backend, { batch_size_threshold = 4, on_progress = function(done, total)
      told[#told + 1] = { done, total }
    end })
    for i = 1, 10 do grinder:enqueue(tostring, i) end
    grinder:stop()
    leasepool.sleep(0)
    assert.is_true(#told <= 10)
    for i, pair in ipairs(told) do assert.is_true(pair[2] == 10 and (i == 1 or pair[1] > told[i - 1][1])) end
    assert.are.same({ 10, 10 }, told[#told])
  end)

  it("logs what on_progress raises, and goes on", function()
    local lines = {}
    local grinder = begin(backend, { batch_size_threshold = 1, on_progress = function() error "no progress" end },
      { logger = function(level, message) lines[#lines + 1] = level .. " " .. message end })
    assert.are.equal("1", grinder:submit(tostring, 1))
    assert.are.equal("2", grinder:submit(tostring, 2))
    grinder:stop()
    leasepool.sleep(0)
    assert.matches("^ERROR on_progress failed: .*no progress\nstack traceback", lines[1])
  end)

  it("may be stopped and started in on_progress", function()
    local grinder, stops = nil, {}
    grinder = begin(backend, { batch_size_threshold = 2, on_progress = function()
      stops[#stops + 1] = grinder:stop { wait = false }
    end })
    grinder:enqueue(nothing)
    grinder:enqueue(nothing):await()
    while not stops[1] do leasepool.sleep(0) end
    stops[1]:await()
    grinder:start()
    grinder:enqueue(nothing)
    grinder:stop()
    assert.are.equal(3, grinder:stats().done)
  end)

  it("tells in its text and its statistics how it stands", function()
    local grinder, manager = begin(backend, { batch_size_threshold = 3, max_wait_seconds = 7.5, lease_seconds = 2 })
    assert.are.equal("grinder running: 0 pending, 0 in flight", tostring(grinder))
    local stats = grinder:stats()
    assert.are.same({ started = true, stopping = false, pending = 0, in_flight = 0, batch_size_threshold = 3,
      max_wait_seconds = 7.5, lease_seconds = 2.0, oldest_wait_seconds = 0.0, running = 0, waiting = 0, batches = 0,
      items = 0, done = 0, failed = 0, cancelled = 0 }, stats)
    local blocker = gate()
    for _ = 1, 4 do grinder:enqueue(blocker.pass, blocker.id) end
    assert.are.equal("grinder running: 1 pending, 3 in flight", tostring(grinder))
    assert.are.equal(manager, grinder.manager)
    assert.is_nil(grinder.no_such_field)
    local stop = grinder:stop { wait = false }
    assert.matches("^grinder stopping: ", tostring(grinder))
    assert.are.same({ false, true }, counts(grinder, "started", "stopping"))
    blocker.open()
    assert.are.same({ finished = 4, cancelled = 0 }, stop:await())
    assert.are.equal("grinder stopped: 0 pending, 0 in flight", tostring(grinder))
    assert.are.same({ false, false }, counts(grinder, "started", "stopping"))
  end)
end)

describe("the statistics of a grinder", function()
  it("tell how long the oldest has waited, to the moment", function()
    assert.are.equal("0.0\n0.0\n2.5\n2.5\n1.0\n0.0\n", (timeline [[
      local manager = leasepool.manager({ max_pools = 1 }):start()
      local grinder = leasepool.grinder({ manager = manager }):start()
      local function show() print(grinder:stats().oldest_wait_seconds) end
      show()
      local first = grinder:enqueue(tostring)
      show()
      at(1.5)
      local second = grinder:enqueue(tostring)
      testing.clock_advance(1)
      show()
      at(0)
      show()
      first:cancel()
      show()
      second:cancel()
      show()
      grinder:stop()
      manager:stop()
    ]]))
  end)
end)
