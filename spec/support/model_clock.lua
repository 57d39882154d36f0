--- When a model will change by itself: where to move the clock, and where it must stop on its way.
local TICK <const> = require("spec.support.model").TICK

local clock = {}

--- All times at which something will happen, or would if nothing changes.
function clock.deadlines(model)
  local times = { model:next_size_event(), model.stop_at }
  if model.grinder then
    times[#times + 1] = model:batch_due_at()
    times[#times + 1] = model.grinder.stop_at
  end
  for _, lease in pairs(model.leases) do times[#times + 1] = model:expiry(lease) end
  for _, waiter in ipairs(model.waiters) do times[#times + 1] = waiter.late_at end
  for job in pairs(model.timed) do times[#times + 1] = job.late_at end
  for job in pairs(model.asked) do times[#times + 1] = job.lost_at end
  return times
end

local function next_tick(at)
  return (at + TICK - 1) // TICK * TICK
end

--- When jobs that run are asked to stop: calls `each` with the time and the job.
local function each_interrupt(model, each)
  for job in pairs(model.timed) do
    if job.number then each(job.late_at, job) end
  end
  for _, lease in pairs(model.leases) do
    if lease.on_expiry == "interrupt" and model:expiry(lease) then
      for _, job in ipairs(lease.executor.running) do each(lease.hard, job) end
    end
  end
end

--- When the number of executors changes by itself, a batch is due or a
-- grinder gives up, or a job is late that waits.
local function next_change(model)
  local at = model:next_size_event()
  local due_at = model.grinder and model:batch_due_at() or 0
  if due_at > model.now then at = math.min(at, due_at) end
  if model.grinder and model.grinder.stop_at then at = math.min(at, model.grinder.stop_at) end
  for job in pairs(model.timed) do
    if not job.number then
      local draining = job.lease and job.lease.state == "DRAINING"
      at = math.min(at, draining and next_tick(job.late_at) or job.late_at)
    end
  end
  return at
end

--- Where time must not pass by: who asks late cannot tell in which order executors were free, and
-- idle too long; nor when a job was asked to stop. A job may be late between two ticks; an
-- executor that is free by that is so at the next; but the end of a batch is told at once.
function clock.next_stop(model)
  local at = next_change(model)
  local function stop(time) at = math.min(at, next_tick(time)) end
  each_interrupt(model, function(time, job)
    if job.via == "enqueue" then at = math.min(at, time) else stop(time) end
  end)
  for job in pairs(model.asked) do stop(job.lost_at) end
  if model.stop_at then stop(model.stop_at) end
  return at
end

--- Until when nothing happens that a busy script may see otherwise: jobs stop when threads have
-- time, and what is given up is told in a turn.
function clock.next_unsure(model)
  local at = next_change(model)
  each_interrupt(model, function(time, job)
    if job.kind ~= "stubborn" then at = math.min(at, time) end
  end)
  for job in pairs(model.asked) do
    if job.lease.state == "DRAINING" then at = math.min(at, job.lost_at) end
  end
  return at
end

--- Is it open what happens at this tick? An executor of a lease that was released comes back when
-- its last job has stopped: before another one retires or ends, or after.
function clock.is_open(model, tick)
  local comes_back, goes = false, clock.expiries(model, tick) > 0 or clock.next_loss(model) <= tick
  for job in pairs(model.timed) do
    if job.number and job.late_at <= tick then
      comes_back = comes_back or job.lease.state == "DRAINING"
      goes = goes or job.lease.executor.retired
    end
  end
  return comes_back and goes
end

--- When the next job is given up.
function clock.next_loss(model)
  local at = math.huge
  for job in pairs(model.asked) do at = math.min(at, job.lost_at) end
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
