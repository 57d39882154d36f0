--- The grinder of the model (model.lua): its jobs wait until a batch of them gets a lease.
--
-- A batch is called -1, -2, ... where leases have the numbers of operations. Its lease is nobody's.
local remove <const> = require("spec.support.model_jobs").remove

local grinder = {}

function grinder.new_grinder()
  return {
    state = "stopped",
    pending = {},  -- jobs, oldest first
    waiting = {},  -- batches that wait for a lease
    running = {},  -- leases of those that have one
    over = {},     -- those of them whose last job has ended, and who have not been told yet
    number = 0,    -- of the latest batch
    stops = {},    -- calls that wait for the end of a stop
    counts = { batches = 0, items = 0, in_flight = 0, done = 0, failed = 0, cancelled = 0 },
  }
end

function grinder:add(name, amount)
  local counts = self.grinder.counts
  counts[name] = counts[name] + (amount or 1)
end

-- ---- When a batch begins ---------------------------------------------------------------

--- When the oldest has waited long enough; nil: there is none.
function grinder:batch_due_at()
  local oldest = self.grinder.pending[1]
  return oldest and (self.grinder.state == "stopping" and self.now or oldest.since + self.options.grinder.max_wait)
end

--- So many batches are to wait for a lease.
function grinder:wanted_batches()
  local full = #self.grinder.pending // self.options.grinder.threshold
  local due_at = self:batch_due_at()
  return full > 0 and full or due_at and due_at <= self.now and 1 or 0
end

--- Where one waits already, another may not be one waiter too many.
function grinder:may_begin_batch()
  local waiting = #self.grinder.waiting
  return (waiting == 0 or #self.waiters < self.options.max_waiters)
    and waiting + #self.grinder.running < self.options.grinder.max_batches
end

--- True when the oldest has waited long enough, and a batch began by that.
function grinder:begin_due_batch()
  local due_at, number = self:batch_due_at(), self.grinder.number
  if due_at and due_at <= self.now and #self.grinder.waiting == 0 then self:arrange_batches() end
  return self.grinder.number > number or #self.grinder.over > 0
end

function grinder:begin_batch()
  local mill = self.grinder
  mill.number = mill.number + 1
  if self.state ~= "running" then return self:fail_pending "LeasePoolNotStartedError" end
  local call = { n = -mill.number, via = "batch", length = self.options.grinder.lease }
  local executor = self:take_free()
  if executor then
    self:grant(call, executor)
    self:fill_batch(table.remove(self.granted))
  elseif #self.waiters >= self.options.max_waiters then
    self:count "rejected"
    return self:fail_pending "LeaseUnavailableError"
  else
    table.insert(self.waiters, call)
    table.insert(mill.waiting, call)
  end
  return true
end

function grinder:arrange_batches()
  local mill = self.grinder
  while self:may_begin_batch() and #mill.waiting < self:wanted_batches() and self:begin_batch() do end -- luacheck: ignore
  self:withdraw_needless()
  self:end_grinder_stop_when_done()
end

--- None waits for a lease when no job is pending.
function grinder:withdraw_needless()
  local mill = self.grinder
  while mill.waiting[1] and #mill.pending == 0 do self:withdraw(mill.waiting[1]) end
end

function grinder:withdraw(call)
  remove(self.grinder.waiting, call)
  remove(self.waiters, call)
  for _, lease in ipairs(self.granted) do -- handed over in the same instant, or refused
    if lease.call == call then
      remove(self.granted, lease)
      if not lease.refused then
        self:drain(lease, "released")
        self:forget(lease)
      end
      return
    end
  end
end

--- A batch that waited gets its lease, be it over by now, or none.
function grinder:tell_batch(lease)
  remove(self.grinder.waiting, lease.call)
  local refused = lease.refused or lease.ended == "stopped" and "LeasePoolNotStartedError"
  if refused then self:fail_pending(refused) else self:fill_batch(lease) end
  self:arrange_batches()
end

-- ---- A batch that runs -----------------------------------------------------------------

--- How many jobs a batch takes: where others wait as well, they have their share.
function grinder:share()
  local batches = #self.grinder.waiting + 1
  return (#self.grinder.pending + batches - 1) // batches
end

function grinder:fill_batch(lease)
  local mill, given = self.grinder, 0
  table.insert(mill.running, lease)
  for _ = 1, self:share() do
    local job = table.remove(mill.pending, 1)
    if self:is_open(lease) then
      given = given + 1
      job.lease = lease
      self:add "in_flight"
      self:count "jobs"
      table.insert(lease.executor.queue, job)
      self:run_jobs(lease.executor)
    else
      self:end_pending(job, "LeaseExpiredError")
    end
  end
  if given > 0 then self:add "batches" end
  lease.filled = true
  if given > 0 then self:settle(lease) else self:end_batch(lease) end
end

--- Its last job has ended: it learns that with the other callbacks.
function grinder:batch_is_over(lease)
  lease.filled = nil
  table.insert(self.grinder.over, lease)
end

function grinder:end_batch(lease)
  lease.filled = nil
  remove(self.grinder.running, lease)
  if not self:drain(lease, "released") then self:settle(lease) end
  self:arrange_batches()
end

function grinder:tell_batches_over()
  while self.grinder.over[1] do self:end_batch(table.remove(self.grinder.over, 1)) end
end

--- A job of a batch has ended.
function grinder:item_ended(how)
  self:add("in_flight", -1)
  self:add(how)
  local report = self.grinder.report
  if self.grinder.state ~= "stopping" then return end
  local name = how == "cancelled" and how or "finished"
  report[name] = report[name] + 1
end

-- ---- Jobs that are pending -------------------------------------------------------------

function grinder:enqueue(op)
  local mill = self.grinder
  if mill.state ~= "running" or self.state ~= "running" then return "failed LeasePoolNotStartedError" end
  if #mill.pending >= self.options.grinder.max_pending then return "failed QueueFullError" end
  local job = { n = op.n, via = "enqueue", kind = op.kind, since = self.now,
    late_at = op.timeout and self.now + op.timeout }
  self.jobs[op.n], self.kinds[op.n] = job, "job"
  if job.late_at then self.timed[job] = true end
  self:set_call(op.n, "pending")
  self:add "items"
  table.insert(mill.pending, job)
  self:arrange_batches()
  return "done"
end

--- One that ends before it is in a batch: cancelled it was never there.
function grinder:end_pending(job, class)
  local cancelled, report = class == "CancelledError", self.grinder.report
  self.timed[job] = nil
  if cancelled then self:add("items", -1) else self:add "failed" end
  self:set_call(job.n, cancelled and "cancelled" or "failed " .. class)
  if self.grinder.state == "stopping" then
    local name = cancelled and "cancelled" or "finished"
    report[name] = report[name] + 1
  end
end

function grinder:fail_pending(class)
  for _, job in ipairs(self.grinder.pending) do self:end_pending(job, class) end
  self.grinder.pending = {}
end

--- Takes one out, which ends.
function grinder:stop_pending(job, class)
  remove(self.grinder.pending, job)
  self:end_pending(job, class)
  self:withdraw_needless()
  self:end_grinder_stop_when_done()
end

--- The manager stops: there is no lease for what is pending.
function grinder:lose_manager()
  self:fail_pending "LeasePoolNotStartedError"
  self:withdraw_needless()
  self:end_grinder_stop_when_done()
end

-- ---- Start, stop -----------------------------------------------------------------------

function grinder:grind_start()
  local mill = self.grinder
  if mill.state == "running" then return "done" end
  if mill.state == "stopping" or self.state ~= "running" then return "failed LeasePoolNotStartedError" end
  mill.state = "running"
  return "done"
end

function grinder:end_grinder_stop_when_done()
  local mill = self.grinder
  if mill.state ~= "stopping" or #mill.pending + #mill.waiting + #mill.running > 0 then return end
  for _, n in ipairs(mill.stops) do
    self:set_call(n, ("done %d %d"):format(mill.report.finished, mill.report.cancelled))
  end
  mill.state, mill.stops, mill.stop_at = "stopped", {}, nil
end

--- What waits is taken back, what is in a batch is stopped.
function grinder:cancel_all()
  local mill = self.grinder
  while mill.waiting[1] do self:withdraw(mill.waiting[1]) end
  self:fail_pending "CancelledError"
  for _, lease in ipairs { table.unpack(mill.running) } do
    local executor = lease.executor
    if executor then -- else it is over already
      local queue = executor.queue
      executor.queue = {}
      for _, job in ipairs(queue) do self:end_job(job, "CancelledError") end
      self:interrupt_all(executor, "CancelledError")
      self:settle(lease)
    end
  end
end

function grinder:grind_stop(op)
  local mill = self.grinder
  self.kinds[op.n] = "stop"
  if mill.state == "stopped" then
    self:set_call(op.n, "done 0 0")
    return
  end
  self:set_call(op.n, "pending")
  table.insert(mill.stops, op.n)
  if mill.state == "running" then
    mill.state = "stopping"
    mill.report = { finished = 0, cancelled = 0 }
  end
  if op.timeout then mill.stop_at = math.min(mill.stop_at or math.huge, self.now + op.timeout) end
  if op.timeout == 0 then self:grinder_stop_is_late() end
  self:arrange_batches()
end

--- Its time is over: what is left is cancelled.
function grinder:grinder_stop_is_late()
  self.grinder.stop_at = nil
  self:cancel_all()
  self:end_grinder_stop_when_done()
end

-- ---- Seen from outside -----------------------------------------------------------------

function grinder:look_at_grinder(seen)
  local mill = self.grinder
  for name, count in pairs(mill.counts) do seen["grinder " .. name] = count end
  seen["grinder state"], seen["grinder pending"] = mill.state, #mill.pending
  seen["grinder waiting"], seen["grinder running"] = #mill.waiting, #mill.running
  seen["grinder oldest"] = mill.pending[1] and self.now - mill.pending[1].since or 0
end

return grinder
