--- Resident memory of an idle worker with its state: KiB. Argument: workers.
local lib = require "bench.lib"
local uv = require "luv"

lib.main {
  leasepool = function(count)
    count = tonumber(count)
    lib.with_lease(count, function(leasepool, lease)
      local pipe <const> = assert(uv.pipe())
      local before, futures = lib.status "VmRSS", {}
      for i = 1, count do
        futures[i] = lease:submit(function(path) -- requires nothing, or that would be measured
          local file <close> = assert(io.open(path))
          file:setvbuf "no"
          return assert(file:read(1))
        end, "/dev/fd/" .. pipe.read)
      end
      uv.sleep(300) -- until each thread has a job
      assert(uv.fs_write(pipe.write, ("x"):rep(count)) == count)
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
