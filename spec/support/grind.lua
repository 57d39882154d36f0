--- What the specs of grinders share.
--
--   local grind = require "spec.support.grind"
--   after_each(grind.finish)
--   local grinder, manager = grind.begin(backend, { batch_size_threshold = 3 }, { workers_per_pool = 2 })
local leasepool = require "leasepool"

local grind = {}
local manager -- of the spec that runs

--- A grinder that was started with these options, and its manager, made with those: one executor
-- of one worker, where they say nothing else.
function grind.begin(backend, options, of_manager)
  of_manager = of_manager or {}
  of_manager.max_pools = of_manager.max_pools or 1
  of_manager.workers_per_pool = of_manager.workers_per_pool or 1
  manager = backend.manager(of_manager):start()
  options.manager = manager
  return leasepool.grinder(options):start(), manager
end

--- Stops the manager.
function grind.finish()
  if manager then manager:stop() end
  manager = nil
end

--- These of its statistics, as a list.
function grind.counts(grinder, ...)
  local stats, values = grinder:stats(), {}
  for i, name in ipairs { ... } do values[i] = stats[name] end
  return values
end

--- What became of futures: their values, or the names of their errors.
function grind.ends(futures)
  local list = {}
  for i, future in ipairs(futures) do
    local ok, value = future:result()
    list[i] = ok and value or value.name
  end
  return list
end

return grind
