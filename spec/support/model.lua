--- A model of a manager: what the contract says, in the plainest words. It knows nothing of how
-- the core does it: no threads, no queues of events. Everything happens at once, and in order.
--
-- It and the real one (model_real.lua) understand the same operations: methods that take an
-- operation, a table with `n` (its number, by which what it makes is called), and what it is
-- about. Each returns what the caller sees: "done", the name of an error, true or false.
--
-- Time is counted in units, of which `UNIT` make a second. Operations come at whole ticks; what
-- changes the number of executors by itself (a size check, an executor idle too long) has phases
-- of its own between two ticks, so that nothing that the contract leaves open happens at once. So,
-- and later in a tick, have the timeouts of jobs and the moments at which they are given up.
local TICK <const> = 16
local Model = { UNIT = 512, TICK = TICK }
Model.__index = Model

local COUNTERS <const> = { "acquired", "released", "expired", "broken", "stopped", "leaked", "timeouts",
  "rejected", "jobs", "done", "failed", "cancelled", "interrupted", "killed", "created" }

local NAMES <const> = require "spec.support.model_names"
local jobs <const> = require "spec.support.model_jobs"
local ends <const> = require "spec.support.model_ends"
local grinder <const> = require "spec.support.model_grinder"
local CALL <const>, LEASE <const>, TOLD <const> = NAMES.call, NAMES.lease, NAMES.told
local LISTED <const>, SOFT <const>, HARD <const> = NAMES.listed, NAMES.soft, NAMES.hard
local QUEUED <const>, RUNNING <const>, GOT <const> = NAMES.queued, NAMES.running, NAMES.got

local remove <const> = jobs.remove

function Model.new(options)
  local counters = {}
  for _, name in ipairs(COUNTERS) do counters[name] = 0 end
  return setmetatable({
    options = options,
    now = 0,
    state = "stopped",
    size = 0,       -- the last good one
    signal = 0,     -- what the size provider answers
    counters = counters,
    available = {}, -- executors, longest idle first
    retiring = {},  -- executors that still run a job, be it given up
    leased = 0,
    waiters = {},   -- operations that wait for a lease, oldest first
    granted = {},   -- leases whose waiter has not been told yet
    got = 0,        -- how many got a lease so far
    leases = {},    -- by number; forgotten when closed and not held
    jobs = {},      -- by number
    timed = {},     -- those that wait, or run and go on, and have a timeout
    asked = {},     -- those that were asked to stop, and cannot
    calls = {},     -- how each call that may wait stands, by number
    news = {},      -- of calls and leases: what nobody has looked at yet
    kinds = {},     -- "job", "stop", or by which way a lease was acquired, by number
    started = 0,    -- jobs
    stops = {},     -- calls that wait for the end of a stop
    grinder = options.grinder and grinder.new_grinder(),
  }, Model)
end

for _, methods in ipairs { jobs, ends, grinder } do
  for name, method in pairs(methods) do Model[name] = method end
end

--- How a call stands from now on.
function Model:set_call(n, status)
  self.calls[n], self.news[CALL[n]] = status, status
end

function Model:count(name)
  self.counters[name] = self.counters[name] + 1
end

-- ---- Executors ---------------------------------------------------------------------

function Model:desired()
  local options = self.options
  local wanted = math.ceil(self.size / options.units_per_pool)
  return math.min(options.max_pools, math.max(options.min_pools, wanted))
end

function Model:total()
  return #self.available + self.leased
end

--- May one more be made? Each that retires beyond `max_retiring` takes a place.
function Model:has_place()
  local beyond = math.max(0, #self.retiring - self.options.max_retiring)
  return self:total() + beyond < self.options.max_pools
end

function Model:make()
  self:count "created"
  return { queue = {}, running = {}, lost = 0 }
end

--- Has an executor that retires nothing to do any more?
function Model:has_ended(executor) -- luacheck: no self
  return executor.retired and #executor.running + executor.lost == 0
end

function Model:retire(executor)
  executor.retired = true
  if not self:has_ended(executor) then table.insert(self.retiring, executor) end
end

function Model:idle_too_long(executor)
  return executor.since + self.options.idle <= self.now
end

function Model:next_waiter()
  return table.remove(self.waiters, 1)
end

--- An executor is free: for the oldest waiter, or available.
function Model:give(executor)
  if #self.waiters > 0 then
    self:grant(self:next_waiter(), executor)
  else
    executor.since = self.now
    table.insert(self.available, executor)
  end
end

--- Serves waiters, makes what is missing, ends what is too much and idle too long.
function Model:arrange()
  if self.state ~= "running" then return end
  while #self.waiters > 0 and self:has_place() do self:give(self:make()) end
  while self:total() < self:desired() and self:has_place() do self:give(self:make()) end
  while self:total() > self:desired() and self.available[1] and self:idle_too_long(self.available[1]) do
    table.remove(self.available, 1)
  end
end

-- ---- Acquire -----------------------------------------------------------------------

function Model:grant(call, executor)
  local lease = { n = call.n, call = call, executor = executor, state = "ACTIVE", held = call.via ~= "batch",
    unasked = call.via == "unasked", on_expiry = call.on_expiry or self.options.on_expiry,
    length = call.length or self.options.default_lease, tells = call.tells, told = 0 }
  self:set_expiries(lease, lease.length)
  self:count "acquired"
  self.leased = self.leased + 1
  self.leases[call.n] = lease
  table.insert(self.granted, lease)
end

--- Whoever gets a lease learns that; or that it was taken away meanwhile.
function Model:tell_grant(lease)
  if lease.ended == "stopped" then
    self:forget(lease)
    return "failed LeasePoolNotStartedError"
  end
  self.got = self.got + 1
  self.news[GOT[lease.n]] = self.got
  return "done"
end

function Model:refuse(counter, class)
  self:count(counter)
  return "failed " .. class
end

--- An executor for a late caller, who does not overtake whoever waits.
function Model:take_free()
  if #self.waiters > 0 then return nil end
  return table.remove(self.available) or self:has_place() and self:make()
end

function Model:try_to_acquire(op)
  if self.state ~= "running" then return "failed LeasePoolNotStartedError" end
  local executor = self:take_free()
  if executor then
    self:grant(op, executor)
    if op.via == "request" or op.via == "unasked" then return "pending" end -- told with the others
    return self:tell_grant(table.remove(self.granted))
  elseif op.via == "try" or op.via == "try_acquire" then
    return self:refuse("rejected", "LeaseUnavailableError")
  elseif op.timeout == 0 then
    return self:refuse("timeouts", "TimeoutError")
  elseif #self.waiters >= self.options.max_waiters then
    return self:refuse("rejected", "LeaseUnavailableError")
  end
  op.late_at = op.timeout and self.now + op.timeout
  table.insert(self.waiters, op)
  return "pending"
end

function Model:acquire(op)
  self.kinds[op.n] = op.via
  self:set_call(op.n, self:try_to_acquire(op))
end

function Model:fail_waiter(op, class)
  remove(self.waiters, op)
  if op.via == "batch" then
    table.insert(self.granted, { call = op, refused = class }) -- told with the others
    return
  end
  self:set_call(op.n, "failed " .. class)
end

-- ---- Leases ------------------------------------------------------------------------

function Model:set_expiries(lease, length)
  lease.soft = self.now + length
  lease.hard = lease.soft + self.options.grace
  lease.state = "ACTIVE"
  lease.untold = false
end

function Model:is_open(lease) -- luacheck: no self
  return lease.state == "ACTIVE" or lease.state == "GRACE"
end

--- Counts a lease by what ended it first.
function Model:count_end(lease, by)
  if lease.ended then return end
  lease.ended = by
  self:count(by)
end

--- Nobody holds it any more: it is gone when it is closed.
function Model:forget(lease)
  lease.held = false
  if lease.state == "CLOSED" then self.leases[lease.n] = nil end
end

--- Closes a lease that is over when its last job has gone.
function Model:settle(lease)
  local executor = lease.executor
  if lease.state == "CLOSED" or #executor.queue + #executor.running > 0 then return end
  if lease.filled then self:batch_is_over(lease) end
  if self:is_open(lease) then return end
  local drained = lease.state == "DRAINING"
  lease.state, lease.executor = "CLOSED", nil
  if not lease.held then self:forget(lease) end
  if drained then
    self.leased = self.leased - 1
    self:take_back(executor)
  elseif self:has_ended(executor) then
    remove(self.retiring, executor)
    self:end_stop_when_done()
  end
  self:arrange()
end

--- The executor of a lease that was released; what was given up may not meet the next one.
function Model:take_back(executor)
  if executor.lost > 0 then
    self:retire(executor)
  else
    self:give(executor)
  end
end

function Model:drain(lease, by)
  if not self:is_open(lease) then return false end
  self:count_end(lease, by)
  lease.state = "DRAINING"
  self:settle(lease)
  return true
end

--- Takes the executor away: queued jobs end with an error, running ones go on.
function Model:take_away(lease, by, state, class)
  self:count_end(lease, by)
  local executor = lease.executor
  for _, job in ipairs(executor.queue) do self:end_job(job, class) end
  executor.queue = {}
  lease.state = state
  self.leased = self.leased - 1
  self:retire(executor)
end

function Model:expire(lease)
  local executor = lease.executor
  self:take_away(lease, "expired", "EXPIRED", "LeaseExpiredError")
  if lease.on_expiry == "interrupt" then self:interrupt_all(executor, "LeaseExpiredError") end
  self:settle(lease)
  self:arrange()
end

--- All workers of its executor were given up.
function Model:broke(lease)
  if self:is_open(lease) or lease.state == "DRAINING" then
    self:take_away(lease, "broken", "BROKEN", "BrokenExecutorError")
    self:arrange()
  end
end

function Model:release(op)
  self:drain(self.leases[op.lease], "released")
  return "done"
end

function Model:release_id(op)
  return self:drain(self.leases[op.lease], "released")
end

function Model:renew(op)
  local lease = self.leases[op.lease]
  if not self:is_open(lease) then return "failed LeaseExpiredError" end
  self:set_expiries(lease, op.length or lease.length)
  return "done"
end

function Model:forget_request(op)
  local lease = self.leases[op.what]
  self:drain(lease, "released")
  self:forget(lease)
end

function Model:drop(op)
  local lease = self.leases[op.lease]
  self:drain(lease, "leaked")
  self:forget(lease)
end

-- ---- Cancelling ------------------------------------------------------------------------

--- Cancels a job that has not ended, or whoever waits for a lease.
function Model:cancel(op)
  local n = op.what
  local lease = self.leases[n]
  if self.jobs[n] and self.calls[n] == "pending" then
    self:cancel_job(self.jobs[n])
  elseif lease and remove(self.granted, lease) then -- handed over in the same instant
    self:set_call(n, "cancelled")
    self:drain(lease, "released")
    self:forget(lease)
  elseif self.calls[n] == "pending" then
    for _, waiter in ipairs(self.waiters) do
      if waiter.n == n then remove(self.waiters, waiter) end
    end
    self:set_call(n, "cancelled")
  else
    return false
  end
  return true
end

--- Whoever waits for it in `run` does not wait until it has stopped.
function Model:cancel_job(job)
  if job.via == "run" then
    job.forgotten = true
    self:set_call(job.n, "cancelled")
  end
  self:stop_job(job, "CancelledError")
end

-- ---- Start, size ---------------------------------------------------------------------

--- Asks the size provider; nonsense keeps the last good size.
function Model:ask_size()
  local size = self.signal
  if self.options.has_provider and type(size) == "number" then self.size = math.max(0, size) end
end

function Model:set_signal(op)
  self.signal = op.size
end

function Model:notify()
  if self.state ~= "running" then return end
  self:ask_size()
  self:arrange()
end

function Model:check_size()
  self.check_at = self.now + self.options.check_interval
  self:notify()
end

function Model:start()
  if self.state == "stopping" then return "failed LeasePoolNotStartedError" end
  if self.state == "stopped" then
    self.state = "running"
    self:check_size()
  end
  return "done"
end

-- ---- Time --------------------------------------------------------------------------

--- The next expiry of a lease: nil when there is none.
function Model:expiry(lease) -- luacheck: no self
  if lease.state == "ACTIVE" then return lease.soft end
  if lease.state == "GRACE" or lease.state == "DRAINING" then return lease.hard end
end

function Model:expiry_is_due(lease)
  if lease.state == "ACTIVE" and lease.soft < lease.hard then
    lease.state = "GRACE"
    lease.untold = true
  else
    self:expire(lease)
  end
end

--- When executors will change by themselves: an idle one ends, the size is checked.
function Model:next_size_event()
  local at = self.options.has_provider and self.check_at or math.huge
  if self.state == "running" and self:total() > self:desired() and self.available[1] then
    at = math.min(at, self.available[1].since + self.options.idle)
  end
  return at
end

--- Does what is due next; false when nothing is due by now.
function Model:do_next()
  local first, act, what = self.now
  local function offer(at, fn, of)
    if at and (at < first or at == first and not act) then first, act, what = at, fn, of end
  end
  for _, lease in pairs(self.leases) do offer(self:expiry(lease), self.expiry_is_due, lease) end
  for job in pairs(self.timed) do offer(job.late_at, self.job_is_late, job) end
  if self.options.has_provider then offer(self.check_at, self.check_size) end
  for job in pairs(self.asked) do offer(job.lost_at, self.give_up, job) end
  offer(self.stop_at, self.stop_is_late)
  if self.grinder then offer(self.grinder.stop_at, self.grinder_stop_is_late) end
  if act then act(self, what) end
  return act
end

--- What is due happens. Whoever has waited too long by now gets nothing that becomes free only now.
function Model:catch_up()
  for i = #self.waiters, 1, -1 do
    local waiter = self.waiters[i]
    if waiter.late_at and waiter.late_at <= self.now then
      self:count "timeouts"
      self:fail_waiter(waiter, "TimeoutError")
    end
  end
  while self:do_next() do end
  self:arrange()
end

--- Time goes on.
function Model:pass(units)
  self.now = self.now + units
  self:catch_up()
end

function Model:tell(lease)
  lease.told = lease.told + 1
  self.news[TOLD[lease.n]] = lease.told
end

function Model:tell_granted()
  while self.granted[1] do
    local lease = table.remove(self.granted, 1)
    if lease.call.via == "batch" then
      self:tell_batch(lease)
    else
      self:set_call(lease.n, self:tell_grant(lease))
    end
  end
end

--- Callbacks come.
function Model:turn()
  self:catch_up()
  repeat
    if self.grinder then self:tell_batches_over() end
    self:tell_granted()
  until not (self.grinder and self:begin_due_batch()) and #self.granted == 0
  for _, lease in pairs(self.leases) do
    if lease.untold and lease.tells and lease.state == "GRACE" then self:tell(lease) end
    lease.untold = false
  end
end

-- ---- Seen from outside -----------------------------------------------------------------

--- Everything that can be seen, as a flat table of names and values. Of calls and of leases that
-- are held it has what has changed since the last look.
function Model:look()
  local seen = self.news
  self.news = {}
  for name, count in pairs(self.counters) do seen[name] = count end
  local live, all_queued, all_running = 0, 0, 0
  for n, lease in pairs(self.leases) do
    local executor = lease.executor
    if not lease.ended then live = live + 1 end
    if executor then
      local queued, running = #executor.queue, #executor.running
      all_queued, all_running = all_queued + queued, all_running + running
      seen[LISTED[n]], seen[QUEUED[n]], seen[RUNNING[n]] = lease.state, queued, running
      seen[SOFT[n]], seen[HARD[n]] = lease.soft - self.now, lease.hard - self.now
    end
    if lease.held and not lease.unasked and lease.seen ~= lease.state then
      lease.seen = lease.state
      seen[LEASE[n]] = lease.state
    end
  end
  seen.desired, seen.available, seen.leased, seen.total = self:desired(), #self.available, self.leased, self:total()
  seen.retiring, seen.retired, seen.waiters = #self.retiring, self.counters.created - self:total(), #self.waiters
  seen.live, seen.queued, seen.running, seen.started = live, all_queued, all_running, self.started
  if self.grinder then self:look_at_grinder(seen) end
  return seen
end

return Model
