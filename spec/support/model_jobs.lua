--- The jobs of the model (model.lua): how they wait, start and end.
local NAMES <const> = require "spec.support.model_names"

local function remove(list, value)
  for i, other in ipairs(list) do
    if other == value then return table.remove(list, i) end
  end
end

local jobs = { remove = remove }

--- Those of one executor start in the order in which they were submitted.
function jobs:run_jobs(executor)
  while executor.queue[1] and #executor.running < self.options.workers_per_pool do
    local job = table.remove(executor.queue, 1)
    self.started, self.timed[job] = self.started + 1, nil
    job.number = self.started
    if job.kind == "gate" and not job.open then
      table.insert(executor.running, job)
    else
      self:end_job(job, job.kind == "fail" and "JobError" or nil)
    end
  end
end

function jobs:end_job(job, class)
  self.timed[job] = nil
  local how = class == "CancelledError" and "cancelled" or class and "failed" or "done"
  self:count(how)
  self:set_call(job.n, how == "failed" and "failed " .. class or how)
  self.news[NAMES.number[job.n]] = job.number
  if self.state == "stopping" and how ~= "cancelled" then self.report.finished = self.report.finished + 1 end
end

function jobs:submit(op)
  local lease = self.leases[op.lease]
  if not self:is_open(lease) then return "failed LeaseExpiredError" end
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

--- Opens the gate of a job.
function jobs:open(op)
  local job = self.jobs[op.job]
  local executor = job.lease.executor
  job.open = true
  if not executor or not remove(executor.running, job) then return end
  self:end_job(job)
  self:run_jobs(executor)
  self:settle(job.lease)
end

function jobs:job_is_late(job)
  self:withdraw(job, "TimeoutError")
end

--- Ends a job that has not started.
function jobs:withdraw(job, class)
  remove(job.lease.executor.queue, job)
  self:end_job(job, class)
  self:settle(job.lease)
end

return jobs
