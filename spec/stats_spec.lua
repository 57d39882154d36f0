--- What a manager tells of itself.
local leasepool = require "leasepool"
local backends = require "spec.support.backends"
local equations = require "spec.support.equations"
local gate = require "spec.support.gate"
local timeline = require "spec.support.timeline"

backends.each("statistics", function(backend)
  it("count leases by their first end, and jobs by theirs #threads", function()
    local manager = backend.manager({ max_pools = 4, workers_per_pool = 1 }):start()
    local blocker = gate()
    local kept, leaked = manager:acquire { owner = "kept" }, manager:acquire()
    local released = manager:acquire()
    assert.are.equal("x", released:run(function() return "x" end))
    assert.is_false(pcall(released.run, released, function() error "raised" end))
    released:release()
    local running = kept:submit(blocker.pass, blocker.id)
    blocker.await()
    local queued, cancelled = kept:submit(print), kept:submit(print)
    cancelled:cancel()
    leasepool.sleep(0)
    local s = manager:stats()
    equations(s)
    assert.are.same({ 3, 2, 1 }, { s.counters.acquired, s.live, s.counters.released })
    assert.are.same({ 5, 1, 1, 1, 1, 1 },
      { s.counters.jobs, s.queued, s.running, s.counters.done, s.counters.failed, s.counters.cancelled })
    assert.are.same({ backend.name, 4, 1, 1 }, { s.backend, s.max_pools, s.min_pools, s.workers_per_pool })
    assert.are.equal(2, #s.leases)
    assert.are.equal("kept", s.leases[1].owner)
    assert.are.equal("ACTIVE", s.leases[1].state)
    assert.are.same({ 1, 1 }, { s.leases[1].queued, s.leases[1].running })
    assert.is_true(s.leases[1].seconds_until_soft_expiry > 299 and s.leases[1].seconds_until_soft_expiry <= 300)
    assert.is_true(s.leases[1].seconds_until_hard_expiry > 314)
    blocker.open()
    running:await()
    queued:await()
    assert.is_not_nil(leaked)
    manager:stop()
    s = manager:stats()
    equations(s)
    assert.are.same({ 2, 0, 0 }, { s.counters.stopped, s.live, s.total })
    assert.are.equal(s.counters.created, s.counters.retired)
  end)

  it("tell how long callers waited, leases were held and jobs ran", function()
    local output = timeline([[
      local manager = leasepool.manager({ backend = ..., max_pools = 1, workers_per_pool = 1 }):start()
      local first = manager:acquire()
      leasepool.spawn(function() manager:acquire():release() end)
      at(2)
      first:release()
      at(0)
      local blocker = gate()
      local lease = manager:acquire()
      local running = lease:submit(blocker.pass, blocker.id)
      blocker.await()
      at(3)
      blocker.open()
      running:await()
      lease:release()
      for _, name in ipairs { "wait", "hold", "run" } do
        local t = manager:stats().times[name]
        print(name, t.count, t.mean, t.p50, t.p90, t.p99, t.max)
      end
    ]], backend.name)
    assert.are.equal([[
wait	3	0.666666666	0.0	2.0	2.0	2.0
hold	3	1.666666666	2.0	3.0	3.0	3.0
run	1	3.0	3.0	3.0	3.0	3.0
]], (output:gsub("2%.1%d+", "2.0"):gsub("2%.0%d+", "2.0")))
  end)

  it("count what was refused", function()
    local manager <close> = backend.manager({ max_pools = 1, max_waiters = 1 }):start()
    local lease <close> = manager:acquire()
    assert.is_false(pcall(manager.acquire, manager, { wait = false }))
    assert.is_false(pcall(manager.acquire, manager, { timeout = 0 }))
    assert.is_false(pcall(manager.acquire, manager, { timeout = 0.001 }))
    local waiting = leasepool.spawn(function() manager:acquire():release() end)
    local refused = leasepool.spawn(function() manager:acquire() end)
    assert.are.equal("LeaseUnavailableError", select(2, refused:result()).name)
    local s = manager:stats()
    assert.are.same({ 2, 2, 1 }, { s.counters.timeouts, s.counters.rejected, s.waiters })
    lease:release()
    waiting:await()
    equations(manager:stats())
  end)

  it("are made readable from a table of statistics only", function()
    for _, value in ipairs { "text", {}, 7 } do
      local ok, err = pcall(leasepool.format_stats, value)
      assert.is_false(ok)
      assert.are.equal("ConfigError", err.name)
      assert.are.equal(("leasepool.format_stats: got %s, allowed: what manager:stats() returned"):format(type(value)),
        err.message)
    end
    assert.is_false(pcall(leasepool.format_stats))
  end)

  it("are readable", function()
    local text = timeline([[
      local manager = leasepool.manager({ backend = ..., max_pools = 2, workers_per_pool = 1 }):start()
      local lease = manager:acquire { owner = "report" }
      lease:run(function() end)
      print(leasepool.format_stats(manager:stats()))
    ]], backend.name)
    local lease_id = text:match "\n  (%d+) +report"
    assert.are.equal(([[
%s: 1 of at most 2 executors (1 leased, 0 available, 1 wanted), 1 workers each
  retiring 0, waiters 0, jobs queued 0, running 0
  leases: 1 acquired = 1 live + 0 released + 0 expired + 0 broken + 0 stopped + 0 leaked
  refused: 0 timed out, 0 rejected; executors: 1 created, 0 retired
  jobs: 1 = 0 queued + 0 running + 1 done + 0 failed + 0 cancelled (0 interrupted, 0 killed)
        count  mean  p50  p90  p99  max
  wait      1     0    0    0    0    0
  hold      0     0    0    0    0    0
  run       1     0    0    0    0    0
  lease   owner   state  soft expiry  hard expiry  queued  running
  %-5s  report  ACTIVE      300.0 s      315.0 s       0        0
]]):format(backend.name, lease_id), text)
  end)
end)
