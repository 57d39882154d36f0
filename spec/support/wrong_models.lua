--- Models that are wrong in one point each, to see that the comparison finds it. Name to model.
local Model = require "spec.support.model"
local CALL <const> = require("spec.support.model_names").call

local wrong = {}

--- A model with some methods of its own.
local function differs(name, methods)
  methods.__index = methods
  function methods.new(options)
    return setmetatable(Model.new(options), methods)
  end
  wrong[name] = setmetatable(methods, { __index = Model })
end

differs("the latest waiter is served first", {
  next_waiter = function(self) return table.remove(self.waiters) end,
})

differs("a late caller overtakes whoever is just being served", {
  try_to_acquire = function(self, op)
    local lease = table.remove(self.granted)
    if not lease then return Model.try_to_acquire(self, op) end
    self.leases[lease.n] = nil
    table.insert(self.waiters, 1, lease.call)
    self.leased, self.counters.acquired = self.leased - 1, self.counters.acquired - 1
    self:grant(op, lease.executor)
    return self:tell_grant(table.remove(self.granted))
  end,
})

differs("a waiter that is over keeps its place", {
  fail_waiter = function(self, op, class)
    op.late_at = nil
    self:set_call(op.n, "failed " .. class)
  end,
})

differs("one waiter more than allowed", {
  try_to_acquire = function(self, op)
    self.options.max_waiters = self.options.max_waiters + 1
    local result = Model.try_to_acquire(self, op)
    self.options.max_waiters = self.options.max_waiters - 1
    return result
  end,
})

differs("the hard expiry returns the executor to the pool", {
  expire = function(self, lease)
    local executor = lease.executor
    Model.expire(self, lease)
    if #executor.running + executor.lost == 0 then self:give(executor) end
  end,
})

differs("a released lease never expires", {
  expiry = function(self, lease)
    if lease.state ~= "DRAINING" then return Model.expiry(self, lease) end
  end,
})

differs("the soft expiry is told twice", {
  expire = function(self, lease)
    if lease.tells and lease.state == "GRACE" then self:tell(lease) end
    Model.expire(self, lease)
  end,
})

differs("a lease is renewed after its hard expiry", {
  renew = function(self, op)
    local lease = self.leases[op.lease]
    if lease.ended == "expired" then return "done" end
    return Model.renew(self, op)
  end,
})

differs("a renewal leaves the hard expiry alone", {
  renew = function(self, op)
    local lease = self.leases[op.lease]
    local hard = lease.hard
    local result = Model.renew(self, op)
    lease.hard = hard
    return result
  end,
})

differs("an executor is idle one step too long", {
  idle_too_long = function(self, executor) return executor.since + self.options.idle < self.now end,
})

differs("what retires takes no place", {
  has_place = function(self) return self:total() < self.options.max_pools end,
})

differs("what retires is made up for only when it has ended", {
  has_place = function(self) return self:total() + #self.retiring < self.options.max_pools end,
})

differs("the latest job starts first", {
  run_jobs = function(self, executor)
    local queue = executor.queue
    if #executor.running < self.options.workers_per_pool and #queue > 1 then
      table.insert(queue, 1, table.remove(queue))
    end
    Model.run_jobs(self, executor)
  end,
})

differs("a job's timeout counts from its start", {
  run_jobs = function(self, executor)
    for _, job in ipairs(executor.queue) do
      job.timeout = job.timeout or job.late_at and job.late_at - self.now
      self.timed[job], job.late_at = nil, nil
    end
    Model.run_jobs(self, executor)
    for _, job in ipairs(executor.running) do
      if job.timeout and not job.late_at and not job.stop then
        self.timed[job], job.late_at = true, self.now + job.timeout
      end
    end
  end,
})

differs("a release cancels what is queued", {
  release = function(self, op)
    local lease = self.leases[op.lease]
    if self:is_open(lease) then
      while lease.executor.queue[1] do self:stop_job(lease.executor.queue[1], "CancelledError") end
    end
    return Model.release(self, op)
  end,
})

differs("a lost lease counts as released", {
  drop = function(self, op)
    self:drain(self.leases[op.lease], "released")
    Model.drop(self, op)
  end,
})

differs("a size that is no number counts as 0", {
  ask_size = function(self)
    if type(self.signal) ~= "number" then self.size = 0 end
    Model.ask_size(self)
  end,
})

differs("a stop does not wait for what runs", {
  end_stop_when_done = function(self)
    if self.state == "stopping" then self:end_stop() end
  end,
})

-- ---- Stopping what runs ----------------------------------------------------------------

differs("a cancelled job goes on when it runs", {
  cancel = function(self, op)
    local job = self.jobs[op.what]
    return job and job.number and self.calls[op.what] == "pending" or Model.cancel(self, op)
  end,
})

differs("a job's timeout is over once it runs", {
  job_is_late = function(self, job)
    self.timed[job] = nil
    if not job.number then Model.job_is_late(self, job) end
  end,
})

differs("the expiry of a lease leaves what runs", {
  grant = function(self, call, executor)
    Model.grant(self, call, executor)
    self.leases[call.n].on_expiry = "leave"
  end,
})

differs("the expiry of a lease does what its manager does", {
  grant = function(self, call, executor)
    Model.grant(self, call, executor)
    self.leases[call.n].on_expiry = self.options.on_expiry
  end,
})

differs("what runs is stopped at the soft expiry", {
  expiry_is_due = function(self, lease)
    if lease.on_expiry == "interrupt" then self:interrupt_all(lease.executor, "LeaseExpiredError") end
    Model.expiry_is_due(self, lease)
  end,
})

differs("the last reason to stop stands", {
  interrupt = function(self, job, class)
    if job.stop then job.stop = class end
    Model.interrupt(self, job, class)
  end,
})

differs("a job that was asked to stop ends well when it can", {
  open = function(self, op)
    local job = self.jobs[op.job]
    if job.stop and not job.lost then
      job.stop, self.asked[job] = nil, nil
    end
    Model.open(self, op)
  end,
})

differs("what cannot be stopped is never given up", {
  give_up = function(self, job) self.asked[job] = nil end,
})

differs("what cannot be stopped is given up after the second grace alone", {
  patience = function(self) return self.options.exit_grace end,
})

differs("what was given up has been cancelled", {
  end_job = function(self, job, class, lost)
    Model.end_job(self, job, class, lost and class ~= "CancelledError")
  end,
})

differs("what was given up has been interrupted", {
  give_up = function(self, job)
    Model.give_up(self, job)
    self:count "interrupted"
  end,
})

differs("what was stopped is not counted", {
  stopped = function(self, job, executor)
    Model.stopped(self, job, executor)
    self.counters.interrupted = self.counters.interrupted - 1
  end,
})

differs("a worker that was given up is made up for", {
  usable = function(self, executor)
    return executor.lost < self.options.workers_per_pool and self.options.workers_per_pool or 0
  end,
})

differs("a worker that was given up stays away", {
  come_back = function(self, executor)
    if executor.retired then Model.come_back(self, executor) end
  end,
})

differs("a lease without workers goes on", {
  broke = function() end,
})

differs("a lease breaks with its first worker", {
  give_up = function(self, job)
    local lease = job.lease
    Model.give_up(self, job)
    if lease.executor then self:broke(lease) end
    self:settle(lease)
  end,
})

differs("the next lease meets what was given up", {
  take_back = function(self, executor) self:give(executor) end,
})

differs("what was given up takes no place", {
  has_ended = function(_, executor) return executor.retired and #executor.running == 0 end,
})

differs("a stop asks what each lease would do", {
  begin_stop = function(self)
    for _, lease in pairs(self.leases) do
      if lease.executor then lease.executor.on_expiry = lease.on_expiry end
    end
    Model.begin_stop(self)
  end,
  interrupt_all = function(self, executor, class)
    if class == "CancelledError" and executor.on_expiry == "leave" then return end
    Model.interrupt_all(self, executor, class)
  end,
})

differs("a stop gives up at its time", {
  stop_is_late = function(self)
    if not self.is_interrupting then Model.stop_is_late(self) end
    if self.state == "stopping" then Model.stop_is_late(self) end
  end,
})

differs("a stop waits for what was given up", {
  abandon = function(self) self.stop_at = nil end,
})

differs("a stop forgets whom it has given up", {
  abandon = function(self) self:end_stop() end,
})

differs("what was stopped in a stop has finished", {
  stopped = function(self, job, executor)
    if self.state == "stopping" then
      self.report.finished, self.report.interrupted = self.report.finished + 1, self.report.interrupted - 1
    end
    Model.stopped(self, job, executor)
  end,
})

differs("what was given up in a stop is gone after the next start", {
  start = function(self, op)
    if self.state == "stopped" then self.retiring = {} end
    return Model.start(self, op)
  end,
})

-- ---- Grinders --------------------------------------------------------------------------

differs("a batch takes the threshold and no more", {
  share = function(self) return math.min(Model.share(self), self.options.grinder.threshold) end,
})

differs("a batch takes all, though others wait", {
  share = function(self) return #self.grinder.pending end,
})

differs("the latest item is the first in its batch", {
  fill_batch = function(self, lease)
    local pending, turned = self.grinder.pending, {}
    for i = #pending, 1, -1 do turned[#turned + 1] = pending[i] end
    self.grinder.pending = turned
    Model.fill_batch(self, lease)
  end,
})

differs("a batch overtakes whoever waits", {
  begin_batch = function(self)
    local call, waiters = Model.begin_batch(self), self.waiters
    if #waiters > 1 and waiters[#waiters].via == "batch" then table.insert(waiters, 1, table.remove(waiters)) end
    return call
  end,
})

differs("one batch more than allowed", {
  may_begin_batch = function(self)
    local options = self.options.grinder
    options.max_batches = options.max_batches + 1
    local result = Model.may_begin_batch(self)
    options.max_batches = options.max_batches - 1
    return result
  end,
})

differs("one pending item more than allowed", {
  enqueue = function(self, op)
    local options = self.options.grinder
    options.max_pending = options.max_pending + 1
    local result = Model.enqueue(self, op)
    options.max_pending = options.max_pending - 1
    return result
  end,
})

differs("a second batch that would be one waiter too many fails what is pending", {
  may_begin_batch = function(self)
    return #self.grinder.waiting + #self.grinder.running < self.options.grinder.max_batches
  end,
})

differs("a batch waits on when nothing is pending any more", {
  withdraw_needless = function() end,
})

differs("a cancelled pending item stays counted", {
  end_pending = function(self, job, class)
    Model.end_pending(self, job, class)
    if class == "CancelledError" then self:add "items" end
  end,
})

differs("a pending item waits on when it is late", {
  job_is_late = function(self, job)
    self.timed[job] = nil
    if job.lease then Model.job_is_late(self, job) end
  end,
})

differs("an item that its batch could not begin is tried again", {
  end_job = function(self, job, class, lost)
    if job.via ~= "enqueue" or job.number or class ~= "LeaseExpiredError" then
      return Model.end_job(self, job, class, lost)
    end
    self:add("in_flight", -1)
    self:count "failed"
    job.lease = nil
    table.insert(self.grinder.pending, 1, job)
  end,
})

differs("an item is told when its batch is over", {
  end_job = function(self, job, class, lost)
    local executor = job.lease.executor
    Model.end_job(self, job, class, lost)
    local others = executor and #executor.queue + #executor.running or 0
    if job.via == "enqueue" and others > 0 then self.news[CALL[job.n]] = nil end
  end,
})

differs("what is pending is lost when the grinder stops", {
  grind_stop = function(self, op)
    self.grinder.pending = {}
    Model.grind_stop(self, op)
  end,
})

differs("a stop of the grinder that cancels begins what was pending", {
  cancel_all = function(self)
    self:arrange_batches()
    Model.cancel_all(self)
  end,
})

differs("a stop of the grinder that cancels leaves what is in a batch", {
  cancel_all = function(self)
    local running = self.grinder.running
    self.grinder.running = {}
    Model.cancel_all(self)
    self.grinder.running = running
  end,
})

differs("a stop of the grinder does not wait for its batches", {
  end_grinder_stop_when_done = function(self)
    local mill = self.grinder
    local running, waiting = mill.running, mill.waiting
    mill.running, mill.waiting = {}, {}
    Model.end_grinder_stop_when_done(self)
    mill.running, mill.waiting = running, waiting
  end,
})

differs("a stop of the grinder has all the time that it needs", {
  grind_stop = function(self, op)
    Model.grind_stop(self, op)
    self.grinder.stop_at = nil
  end,
})

differs("a stop of the manager leaves what is pending", {
  lose_manager = function() end,
})

differs("a stop of the manager cancels what is pending", {
  begin_stop = function(self)
    if self.grinder then self:fail_pending "CancelledError" end
    Model.begin_stop(self)
  end,
})

return wrong
