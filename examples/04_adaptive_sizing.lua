-- A manager that follows a signal: one executor for each ten units of work that wait. It grows
-- as soon as it looks, and shrinks when executors have been idle for a while.

local leasepool = require "leasepool"

local backlog = 0 -- what a queue, a load balancer or a gauge would tell

local manager = leasepool.manager {
  max_pools = 4,
  units_per_pool = 10,
  size_provider = function() return backlog end,
  check_interval = 60, -- looks by itself this often ...
  idle_seconds = 0.05,
}

local function show(what)
  print(("%-22s wanted %d, there %d"):format(what, manager:desired_executor_count(), manager.total_count))
end

leasepool.run(function()
  manager:start()
  show "nothing to do"

  backlog = 25
  manager:notify_scale_changed() -- ... and at once when it is told
  show "25 units wait"

  backlog = 1000
  manager:notify_scale_changed()
  show "1000 units wait"

  -- Leased executors never end, however small the signal becomes.
  local lease = manager:acquire()
  backlog = 0
  manager:notify_scale_changed()
  leasepool.sleep(0.1)
  show "one leased, rest idle"

  lease:release()
  show "released"
  manager:stop()
end)
