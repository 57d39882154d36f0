--- Resident memory of an idle worker with its state: KiB. Argument: workers.
local lib = require "bench.lib"
local uv = require "luv"

lib.main {
  leasepool = function(count)
    count = tonumber(count)
    lib.with_lease(count, function(leasepool, lease)
      local barrier = require("leasepool.core").testing
      local gate = barrier.gate()
      local before, futures = lib.status "VmRSS", {}
      for i = 1, count do
        futures[i] = lease:submit(function(id)
          require("leasepool.core").testing.gate_pass(id)
        end, gate)
      end
      barrier.gate_await(gate, count)
      barrier.gate_open(gate)
      leasepool.gather(futures)
      lib.report((lib.status "VmRSS" - before) / count)
    end)
  end,

  luv = function(count) -- the runner sets UV_THREADPOOL_SIZE
    count = tonumber(count)
    local before, done = lib.status "VmRSS", 0
    local work = uv.new_work(function()
      require("luv").sleep(300) -- keeps each thread busy until all have one
      return 1
    end, function() done = done + 1 end)
    for _ = 1, count do work:queue() end
    uv.run()
    assert(done == count)
    lib.report((lib.status "VmRSS" - before) / count)
  end,

  floor = function(count)
    count = tonumber(count)
    local before = lib.status "VmRSS"
    lib.with_floor(count, function() return 1 end, false, function()
      uv.sleep(300) -- until each thread has its state
      lib.report((lib.status "VmRSS" - before) / count)
    end)
  end,
}
