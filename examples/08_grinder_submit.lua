-- Many callers, each with one small job: a grinder runs their jobs in batches, each on one lease,
-- so that they share leases instead of taking turns. `submit` waits for the result.

local leasepool = require "leasepool"
local worker = require "leasepool.worker"

local function register(name) -- runs on a worker
  if #name < 3 then error(name .. " is too short", 0) end
  return name:upper(), worker.lease_id
end

leasepool.run(function()
  local manager <close> = leasepool.manager({ max_pools = 1, workers_per_pool = 2 }):start()
  local grinder <close> = leasepool.grinder {
    manager = manager,
    batch_size_threshold = 4, -- so many jobs begin a batch,
    max_wait_seconds = 0.05, -- or when the oldest has waited so long
  }
  grinder:start()

  -- Each caller is a coroutine, as a server has one for each request.
  local function caller(name)
    local ok, result, lease_id = pcall(grinder.submit, grinder, register, name)
    if ok then return ("%-8s %s, on lease %d"):format(name, result, lease_id) end
    return ("%-8s %s: %s"):format(name, result.name, result.cause)
  end

  local callers = {}
  for i, name in ipairs { "ada", "bo", "charles", "dorothy" } do
    callers[i] = leasepool.spawn(caller, name)
  end
  print("pending  " .. grinder:stats().pending) -- none: the fourth filled the batch
  for _, line in ipairs(leasepool.gather(callers)) do print(line) end

  print(caller "edith") -- alone: goes when it has waited long enough

  local stats = grinder:stats()
  print(("%d jobs in %d batches, %d failed"):format(stats.items, stats.batches, stats.failed))
end) -- the grinder is stopped here, then the manager
