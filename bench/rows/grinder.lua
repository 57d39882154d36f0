--- A grinder and a million trivial items at once, all futures kept and awaited in order: items/s.
-- Arguments: workers, items, threshold (0: plain lease:submit instead).
--
--   late COUNT            a lone item: how much longer than max_wait_seconds it waits, us, median
local lib = require "bench.lib"
local uv = require "luv"

local function increment(x) return x + 1 end

local WAIT <const> = 0.01 -- max_wait_seconds

local function with_grinder(workers, threshold, items, work)
  local leasepool = require "leasepool"
  local manager <close> = leasepool.manager {
    max_pools = 1, workers_per_pool = workers, max_queue = math.max(items, 65536),
  }
  manager:start()
  local grinder <close> = leasepool.grinder {
    manager = manager, batch_size_threshold = threshold, max_wait_seconds = WAIT, max_pending = math.max(items, 65536),
  }
  grinder:start()
  assert(grinder:submit(increment, 1) == 2)
  work(grinder)
  return grinder:stats()
end

local function measure(items, submit)
  local futures = {}
  local begun = lib.now()
  for i = 1, items do futures[i] = submit(i) end
  for i = 1, items do assert(futures[i]:await() == i + 1) end
  lib.report(items / ((lib.now() - begun) / 1e9))
end

local function late(count)
  local times = {}
  with_grinder(1, 1000, 1, function(grinder)
    for i = 1, count do
      local begun = lib.now()
      assert(grinder:submit(increment, i) == i + 1)
      times[i] = (lib.now() - begun) / 1e3 - WAIT * 1e6
    end
  end)
  lib.report(lib.percentile(times, 0.5))
end

lib.main {
  leasepool = function(workers, items, threshold)
    if workers == "late" then return late(tonumber(items)) end
    workers, items, threshold = tonumber(workers), tonumber(items), tonumber(threshold)
    if threshold == 0 then
      lib.with_lease(workers, function(_, lease)
        measure(items, function(i) return lease:submit(increment, i) end)
      end)
      return
    end
    local stats = with_grinder(workers, threshold, items, function(grinder)
      measure(items, function(i) return grinder:enqueue(increment, i) end)
    end)
    assert(stats.done == items + 1 and stats.items == items + 1 and stats.failed == 0)
  end,

  luv = function(_, items)
    items = tonumber(items)
    local sum = 0
    local work = uv.new_work(increment, function(result) sum = sum + result end)
    local begun = lib.now()
    for i = 1, items do work:queue(i) end
    uv.run()
    assert(sum == items * (items + 1) // 2 + items)
    lib.report(items / ((lib.now() - begun) / 1e9))
  end,
}
