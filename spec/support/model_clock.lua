--- When a model will change by itself: where to move the clock, and where it must stop on its way.
local TICK <const> = require("spec.support.model").TICK

local clock = {}

--- All times at which something will happen, or would if nothing changes.
function clock.deadlines(model)
  local times = { model:next_size_event(), model.stop_at }
  for _, lease in pairs(model.leases) do times[#times + 1] = model:expiry(lease) end
  for _, waiter in ipairs(model.waiters) do times[#times + 1] = waiter.late_at end
  for job in pairs(model.timed) do times[#times + 1] = job.late_at end
  return times
end

--- Where time must not pass by: who asks late cannot tell in which order executors were free, and
-- idle too long. A job may be late between two ticks; the executor of one that was the last of its
-- lease is free at the next.
function clock.next_stop(model)
  local at = model:next_size_event()
  for job in pairs(model.timed) do
    local tick = job.lease.state == "DRAINING" and TICK or 1
    at = math.min(at, (job.late_at + tick - 1) // tick * tick)
  end
  return at
end

--- When the first job that runs has to be interrupted.
function clock.next_interrupt(model)
  local at = math.huge
  for _, lease in pairs(model.leases) do
    for _, job in ipairs(lease.executor and lease.executor.running or {}) do at = math.min(at, job.late_at or at) end
  end
  return at
end

--- How many leases expire until then.
function clock.expiries(model, till)
  local count = 0
  for _, lease in pairs(model.leases) do
    if model:expiry(lease) and lease.hard <= till then count = count + 1 end
  end
  return count
end

return clock
