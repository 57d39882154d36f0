--- The equations that the statistics of a manager must meet at any moment.
return function(stats)
  local c = stats.counters
  assert(c.acquired == stats.live + c.released + c.expired + c.broken + c.stopped + c.leaked,
    "acquired = live + released + expired + broken + stopped + leaked does not hold")
  assert(c.jobs == stats.queued + stats.running + c.done + c.failed + c.cancelled,
    "jobs = queued + running + done + failed + cancelled does not hold")
  assert(c.created == stats.total + c.retired, "created = total + retired does not hold")
  assert(stats.total == stats.available + stats.leased, "total = available + leased does not hold")
  assert(stats.total <= stats.max_pools, "more executors than max_pools")
end
