--- The jobs of the model (model.lua): how they wait, start, end and are stopped.
local NAMES <const> = require "spec.support.model_names"

local function remove(list, value)
  for i, other in ipairs(list) do
    if other == value then return table.remove(list, i) end
  end
end

local jobs = { remove = remove }

--- Does it wait at a gate of its own? One of the two kinds that do cannot be stopped.
function jobs.is_gated(job)
  return job.kind == "gate" or job.kind == "stubborn"
end

--- How many workers of an executor run jobs: not those that were given up and are not back.
function jobs:usable(executor)
  return self.options.workers_per_pool - executor.lost
end

--- Why a job that is about to start does not.
function jobs:too_late(job)
  local late_at, hard = job.late_at or math.huge, job.lease.hard
  if math.min(late_at, hard) > self.now then return nil end
  return late_at < hard and "TimeoutError" or "LeaseExpiredError"
end

--- Those of one executor start in the order in which they were submitted.
function jobs:run_jobs(executor)
  while executor.queue[1] and #executor.running < self:usable(executor) do
    local job = table.remove(executor.queue, 1)
    local late = self:too_late(job)
    if late then
      self:end_job(job, late)
    else
      self.started = self.started + 1
      job.number = self.started
      if jobs.is_gated(job) and not job.open then
        table.insert(executor.running, job)
      else
        self:end_job(job, job.kind == "fail" and "JobError" or nil)
      end
    end
  end
end

--- A job ends, with an error of that class or well; `lost`: it was given up, and still runs.
function jobs:end_job(job, class, lost)
  local finished = not class or class == "JobError"
  local how = finished and (class and "failed" or "done") or class == "CancelledError" and not lost and "cancelled"
    or "failed"
  self.timed[job], self.asked[job] = nil, nil
  self:count(how)
  if job.via == "enqueue" then self:item_ended(how) end
  if not job.forgotten then
    self:set_call(job.n, how == "failed" and "failed " .. class .. (lost and ", still running" or "") or how)
    if finished and self.options.in_order then self.news[NAMES.number[job.n]] = job.number end
  end
  if self.state == "stopping" and finished then self.report.finished = self.report.finished + 1 end
end

function jobs:submit(op)
  local lease = self.leases[op.lease]
  if not self:is_open(lease) then
    return lease.ended == "broken" and "failed BrokenExecutorError" or "failed LeaseExpiredError"
  end
  local executor = lease.executor
  if #executor.queue >= self.options.max_queue then return "failed QueueFullError" end
  local job = { n = op.n, via = op.via, kind = op.kind, lease = lease,
    late_at = op.timeout and self.now + op.timeout }
  self.jobs[op.n] = job
  if job.late_at then self.timed[job] = true end
  self.kinds[op.n] = "job"
  self:set_call(op.n, "pending")
  self:count "jobs"
  table.insert(executor.queue, job)
  self:run_jobs(executor)
  return "done"
end

--- A worker is back that was given up.
function jobs:come_back(executor)
  executor.lost = executor.lost - 1
  if self:has_ended(executor) then
    remove(self.retiring, executor)
    self:end_stop_when_done()
    self:arrange()
  else
    self:run_jobs(executor)
  end
end

--- Opens the gate of a job.
function jobs:open(op)
  local job = self.jobs[op.job]
  job.open = true
  if not job.lease then return end -- it is pending in the grinder, or was
  local executor = job.lease.executor
  if job.lost then
    executor, job.lost = job.lost, nil
    self:come_back(executor)
  elseif not executor or not remove(executor.running, job) then
    return
  elseif job.stop then
    self:stopped(job, executor)
  else
    self:end_job(job)
    self:run_jobs(executor)
  end
  self:settle(job.lease)
end

function jobs:job_is_late(job)
  self:stop_job(job, "TimeoutError")
end

--- Ends a job that has not started, or has it stopped.
function jobs:stop_job(job, class)
  self.timed[job] = nil
  if not job.lease then return self:stop_pending(job, class) end
  if job.number then
    self:interrupt(job, class)
  else
    remove(job.lease.executor.queue, job)
    self:end_job(job, class)
  end
  self:settle(job.lease)
end

-- ---- Stopping what runs ----------------------------------------------------------------

--- Whoever cannot stop has so much time.
function jobs:patience()
  return self.options.interrupt_grace + self.options.exit_grace
end

--- A job that runs is to stop. The first reason stands.
function jobs:interrupt(job, class)
  if job.stop then return end
  job.stop = class
  self.timed[job] = nil
  if job.kind == "stubborn" then
    job.lost_at = self.now + self:patience()
    self.asked[job] = true
  else
    remove(job.lease.executor.running, job)
    self:stopped(job, job.lease.executor)
    self:settle(job.lease)
  end
end

function jobs:interrupt_all(executor, class)
  for _, job in ipairs { table.unpack(executor.running) } do self:interrupt(job, class) end
end

--- It has stopped.
function jobs:stopped(job, executor)
  self:count "interrupted"
  if self.state == "stopping" then self.report.interrupted = self.report.interrupted + 1 end
  self:end_job(job, job.stop)
  self:run_jobs(executor)
end

--- It has not: it ends without its worker.
function jobs:give_up(job)
  local lease = job.lease
  local executor = lease.executor
  remove(executor.running, job)
  executor.lost, job.lost = executor.lost + 1, executor
  self:end_job(job, job.stop, true)
  if self:usable(executor) == 0 then self:broke(lease) end
  self:settle(lease)
end

return jobs
