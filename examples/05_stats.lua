-- What a manager tells of itself: as a table for programs, and as text for people.

local leasepool = require "leasepool"

leasepool.run(function()
  local manager <close> = leasepool.manager({ max_pools = 2, workers_per_pool = 2 }):start()

  local done = manager:acquire { owner = "report" }
  for i = 1, 100 do done:run(math.sqrt, i) end
  pcall(done.run, done, error, "one that fails")
  done:release()

  local lease <close> = manager:acquire { owner = "upload", lease_seconds = 60 }
  lease:run(function() end)

  local stats = manager:stats()
  print(leasepool.format_stats(stats))

  -- Two equations always hold:
  local c = stats.counters
  print("leases add up: " .. tostring(
    c.acquired == stats.live + c.released + c.expired + c.broken + c.stopped + c.leaked))
  print("jobs add up:   " .. tostring(
    c.jobs == stats.queued + stats.running + c.done + c.failed + c.cancelled))
end)
