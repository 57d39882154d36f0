--- A worker with its Lua state, from start to first result: us, median. Argument: count.
local lib = require "bench.lib"
local uv = require "luv"

lib.main {
  leasepool = function(count)
    local leasepool = require "leasepool"
    local manager = leasepool.manager { max_pools = 1, workers_per_pool = 1 }
    local times = {}
    for i = 1, tonumber(count) do
      manager:start()
      local lease <close> = manager:acquire()
      local begun = lib.now()
      assert(lease:run(function() return 1 end) == 1)
      times[i] = lib.now() - begun
      lease:release()
      manager:stop()
    end
    lib.report(lib.percentile(times, 0.5) / 1e3)
  end,

  luv = function(count)
    local times = {}
    for i = 1, tonumber(count) do
      local begun = lib.now()
      uv.new_thread(function() end):join()
      times[i] = lib.now() - begun
    end
    lib.report(lib.percentile(times, 0.5) / 1e3)
  end,

  floor = function(count)
    local times, sum = {}, 0
    local function callback(result) sum = sum + result end
    for i = 1, tonumber(count) do
      local begun = lib.now()
      lib.with_floor(1, function() return 1 end, false, function(pool)
        pool:send(0)
        pool:drive(callback)
        times[i] = lib.now() - begun
      end)
    end
    assert(sum == #times)
    lib.report(lib.percentile(times, 0.5) / 1e3)
  end,
}
