--- Models that are wrong in one point each, to see that the comparison finds it. Name to model.
local Model = require "spec.support.model"

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
    self:take_away(lease, "expired", "LeaseExpiredError")
    if #executor.running == 0 then self:give(executor) end
    self:arrange()
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
    for _, job in ipairs(executor.queue) do self.timed[job] = nil end
    Model.run_jobs(self, executor)
  end,
})

differs("a release cancels what is queued", {
  release = function(self, op)
    local lease = self.leases[op.lease]
    if self:is_open(lease) then
      while lease.executor.queue[1] do self:withdraw(lease.executor.queue[1], "CancelledError") end
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

return wrong
