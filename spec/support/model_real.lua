--- The real manager, driven by the operations that the model (model.lua) knows as well. The
-- clock is stopped and moved by `pass` alone; `turn` runs what is due.
--
-- Jobs run on real threads. They are made deterministic by gates: a job passes the gate that is
-- always open, or waits at one of its own, where it can be stopped or not. `settle` waits, turn by
-- turn and without sleeping, until everything has come to rest: each running job stands at its
-- gate, who was asked to stop has, or cannot, each worker that could take a job has one, and
-- threads that end have been joined. Only this may lag behind the model, for which it happens
-- at once.
local leasepool = require "leasepool"
local core = require "leasepool.core"
local Model = require "spec.support.model"
local NAMES <const> = require "spec.support.model_names"
local is_gated <const> = require("spec.support.model_jobs").is_gated

local testing = core.testing
local UNIT <const> = Model.UNIT
local PATIENCE <const> = 20 -- seconds until what does not settle is a difference

local Real = {}
Real.__index = Real

local function seconds(units)
  return units and units / UNIT
end

local function outcome(ok, err)
  if ok then return "done" end
  local class = type(err) == "table" and err.name or tostring(err)
  if type(err) == "table" and err.still_running then return "failed " .. class .. ", still running" end
  return class == "CancelledError" and "cancelled" or "failed " .. class
end

--- The job: returns (or raises) the number of its start.
local function job(gate, pass, fails)
  local number = require("leasepool.core").testing[pass](gate)
  if fails then error(number) end
  return number
end

function Real.new(options)
  local self = setmetatable({ options = options, signal = 0, leases = {}, states = {}, waits = {},
    pending = {}, submitted = {}, news = {}, gates = {}, told = {}, got = 0, consistent = true }, Real)
  testing.clock_advance(0)
  self.open_gate = testing.gate()
  testing.gate_open(self.open_gate)
  self.before = testing.gate_counts()
  self.manager = leasepool.manager {
    max_pools = options.max_pools, min_pools = options.min_pools,
    workers_per_pool = options.workers_per_pool, units_per_pool = options.units_per_pool,
    lease_grace_seconds = seconds(options.grace), idle_seconds = seconds(options.idle),
    max_retiring = options.max_retiring, max_waiters = options.max_waiters,
    max_queue = options.max_queue, check_interval = seconds(options.check_interval),
    default_lease_seconds = seconds(options.default_lease),
    backend = options.backend, on_expiry = options.on_expiry,
    interrupt_grace_seconds = seconds(options.interrupt_grace), exit_grace_seconds = seconds(options.exit_grace),
    prestart = options.prestart, max_tasks_per_worker = options.max_tasks_per_worker,
    size_provider = options.has_provider and function() return self:size() end or nil,
  }
  local grinder = options.grinder
  self.grinder = grinder and leasepool.grinder {
    manager = self.manager, max_pending = grinder.max_pending, max_batches = grinder.max_batches,
    batch_size_threshold = grinder.threshold, max_wait_seconds = seconds(grinder.max_wait),
    lease_seconds = seconds(grinder.lease), owner_prefix = "grinder",
  }
  return self
end

--- What the size provider answers; it looks at the manager that asks.
function Real:size()
  local manager = self.manager
  if manager.available_count + manager.leased_count ~= manager.total_count then self.consistent = false end
  if self.signal == "raise" then error "no size today" end
  return self.signal == "nan" and 0 / 0 or self.signal == "inf" and math.huge or self.signal
end

-- ---- Calls -------------------------------------------------------------------------

--- How a call stands from now on.
function Real:set_call(n, status)
  self.news[NAMES.call[n]] = status
end

--- A call has ended: with the number of a job, with the report of a stop, or with an error.
function Real:ended(n, ok, value)
  local status, number = outcome(ok, value), value
  if not ok then
    number = type(value) == "table" and value.cause
  elseif type(value) == "table" then
    status = value.abandoned
      and ("done %d %d %d %d"):format(value.finished, value.cancelled, value.interrupted, value.abandoned)
      or ("done %d %d"):format(value.finished, value.cancelled)
  end
  self:set_call(n, status)
  if math.type(number) == "integer" and self.options.in_order then self.news[NAMES.number[n]] = number - self.before end
end

--- A call has begun; what comes of its future is seen by `look_at_calls`.
function Real:begun(n, future)
  self.waits[n], self.pending[n] = future, future
  self:set_call(n, "pending")
end

function Real:look_at_calls()
  for n, future in pairs(self.pending) do
    if future:status() ~= "pending" then
      self.pending[n] = nil
      self:ended(n, future:result())
      if self.submitted[n] and not self.news[NAMES.call[n]]:find("^" .. future:status()) then
        self.news[NAMES.call[n]] = "a future that is " .. future:status()
      end
    end
  end
end

-- ---- Acquire -----------------------------------------------------------------------

function Real:got_lease(n, lease)
  self.leases[n] = lease
  self.got = self.got + 1
  self.news[NAMES.got[n]] = self.got
end

local ways = {}

local function acquire(self, n, options)
  self:got_lease(n, self.manager:acquire(options))
end

local function try_acquire(self, n, options)
  local lease, err = self.manager:try_acquire(options)
  if not lease then error(err, 0) end
  self:got_lease(n, lease)
end

function ways.try(self, n, options)
  options.wait = false
  self:ended(n, pcall(acquire, self, n, options))
end

function ways.try_acquire(self, n, options)
  self:ended(n, pcall(try_acquire, self, n, options))
end

function ways.spawn(self, n, options)
  self:begun(n, leasepool.spawn(options.timeout and n % 2 == 0 and try_acquire or acquire, self, n, options))
end

function ways.coroutine(self, n, options)
  local co = coroutine.create(function() self:ended(n, pcall(acquire, self, n, options)) end)
  self:set_call(n, "pending")
  self.waits[n] = co
  assert(coroutine.resume(co))
end

function ways.request(self, n, options)
  local ok, future = pcall(self.manager.request, self.manager, options)
  if not ok then return self:ended(n, ok, future) end
  self.waits[n] = future
  self:set_call(n, "pending")
  future:on_done(function(ended)
    local done, lease = ended:result()
    if done then
      self.waits[n] = nil -- it holds the lease as well
      self:got_lease(n, lease)
    end
    self:ended(n, done, not done and lease or nil)
  end)
end

--- Nobody asks for the lease. A callback keeps no future alive once it has been called.
function ways.unasked(self, n, options)
  local ok, future = pcall(self.manager.request, self.manager, options)
  if not ok then return self:ended(n, ok, future) end
  self.waits[n] = future
  self:set_call(n, "pending")
  future:on_done(function(ended)
    if ended:status() ~= "done" then return self:ended(n, ended:result()) end
    self:set_call(n, "done")
    self.got = self.got + 1
    self.news[NAMES.got[n]] = self.got
  end)
end

function Real:acquire(op)
  local n = op.n
  ways[op.via](self, n, {
    owner = tostring(n),
    timeout = seconds(op.timeout),
    lease_seconds = seconds(op.length),
    on_expiry = op.on_expiry,
    on_soft_expiry = op.tells and function()
      self.told[n] = (self.told[n] or 0) + 1
      self.news[NAMES.told[n]] = self.told[n]
    end or nil,
  })
end

--- The future of a request that nobody has asked goes, and the lease goes back.
function Real:forget_request(op)
  self.waits[op.what] = nil
  collectgarbage()
end

-- ---- Leases ------------------------------------------------------------------------

function Real:release(op)
  return outcome(pcall(self.leases[op.lease].release, self.leases[op.lease]))
end

function Real:release_id(op)
  return self.manager:release(self.leases[op.lease].lease_id)
end

function Real:renew(op)
  local lease = self.leases[op.lease]
  return outcome(pcall(lease.renew, lease, seconds(op.length)))
end

function Real:drop(op)
  self.leases[op.lease] = nil
  collectgarbage()
end

-- ---- Jobs --------------------------------------------------------------------------

local submits = {}

function submits.submit(self, n, lease, ...)
  self:begun(n, lease:submit(job, ...))
  self.submitted[n] = true
end

function submits.try_submit(self, n, lease, ...)
  local future, err = lease:try_submit(job, ...)
  if not future then error(err, 0) end
  self:begun(n, future)
  self.submitted[n] = true
end

function submits.post(self, n, lease, ...)
  lease:post(function(ok, value) self:ended(n, ok, value) end, job, ...)
  self:set_call(n, "pending")
end

function submits.run(self, n, lease, ...)
  local refused
  local future = leasepool.spawn(function(...)
    local ok, value = pcall(lease.run, lease, job, ...)
    if ok then return value end
    refused = value
    error(value, 0)
  end, ...)
  if refused then
    future:result()
    error(refused, 0)
  end
  self:begun(n, future)
end

function submits.enqueue(self, n, grinder, ...)
  self:begun(n, grinder:enqueue(job, ...))
  self.submitted[n] = true
end

function Real:submit_to(target, via, op)
  local gate = self.open_gate
  if is_gated(op) then
    gate = testing.gate()
    self.gates[op.n] = gate
  end
  if op.timeout then target = target:with { timeout = seconds(op.timeout) } end
  return outcome(pcall(submits[via], self, op.n, target, gate,
    op.kind == "gate" and "gate_pass_interruptible" or "gate_pass", op.kind == "fail"))
end

function Real:submit(op)
  return self:submit_to(self.leases[op.lease], op.via, op)
end

function Real:enqueue(op)
  return self:submit_to(self.grinder, "enqueue", op)
end

function Real:open(op)
  testing.gate_open(self.gates[op.job])
end

function Real:cancel(op)
  local wait = self.waits[op.what]
  if not wait then return false end
  if type(wait) ~= "thread" then return wait:cancel() end
  if coroutine.status(wait) ~= "suspended" then return false end
  self:set_call(op.what, "cancelled")
  return coroutine.close(wait)
end

-- ---- Start, stop, size ---------------------------------------------------------------

function Real:set_signal(op)
  self.signal = op.size
end

function Real:notify()
  self.manager:notify_scale_changed()
end

function Real:start()
  return outcome(pcall(self.manager.start, self.manager))
end

function Real:stop(op)
  self:begun(op.n, self.manager:stop { wait = false, timeout = seconds(op.timeout) })
end

function Real:grind_start()
  return outcome(pcall(self.grinder.start, self.grinder))
end

function Real:grind_stop(op)
  self:begun(op.n, self.grinder:stop { wait = false, timeout = seconds(op.timeout) })
end

-- ---- Time --------------------------------------------------------------------------

function Real:pass(units) -- luacheck: no self
  testing.clock_advance(seconds(units))
end

function Real:turn() -- luacheck: no self
  testing.turn()
end

--- Has everything come to rest? Returns what has not. Who was asked to stop was counted first, then
-- who stands at a gate, then the statistics were made: so whoever has gone meanwhile is missed.
function Real:unrest()
  local asked, lost, leaving, taking = testing.unrest()
  local _, at_gates, cannot_stop = testing.gate_counts()
  local stats, queued = self.manager:stats(), 0
  self.stats = stats
  for _, lease in ipairs(stats.leases) do queued = queued + lease.queued end
  if stats.running + lost ~= at_gates then
    return ("%d jobs run, and %d that were given up, %d are at a gate"):format(stats.running, lost, at_gates)
  elseif asked + lost ~= cannot_stop then
    return ("%d jobs were asked to stop, %d cannot"):format(asked + lost, cannot_stop)
  elseif stats.queued ~= queued then
    return "a worker takes jobs just now"
  elseif taking > 0 then
    return ("%d executors have jobs that wait, and free workers"):format(taking)
  elseif leaving > 0 then
    return ("%d executors have nothing to do, and do not end"):format(leaving)
  end
end

--- Waits for rest; returns what was never at rest, if so.
function Real:settle()
  local until_time
  while true do
    local unrest = self:unrest()
    if not unrest then return end
    until_time = until_time or os.time() + PATIENCE
    if os.time() > until_time then return unrest end
    testing.give_way()
    testing.turn()
  end
end

-- ---- Seen from outside -----------------------------------------------------------------

local function round(value)
  return math.floor(value * UNIT + 0.5)
end

--- As Model:look. After `settle`.
function Real:look()
  self:look_at_calls()
  local stats, seen = self.stats, self.news
  self.news = {}
  for name, count in pairs(stats.counters) do seen[name] = count end
  for _, lease in ipairs(stats.leases) do
    local n = lease.owner:gsub("^grinder%-batch", "")
    seen[NAMES.listed[n]], seen[NAMES.queued[n]], seen[NAMES.running[n]] = lease.state, lease.queued, lease.running
    seen[NAMES.soft[n]] = round(lease.seconds_until_soft_expiry)
    seen[NAMES.hard[n]] = round(lease.seconds_until_hard_expiry)
  end
  for n, lease in pairs(self.leases) do
    local state = self.states[n] ~= "CLOSED" and lease.state
    if state and state ~= self.states[n] then self.states[n], seen[NAMES.lease[n]] = state, state end
  end
  seen.desired, seen.available, seen.leased, seen.total = stats.desired, stats.available, stats.leased, stats.total
  seen.retiring, seen.waiters, seen.live = stats.retiring, stats.waiters, stats.live
  seen.queued, seen.running = stats.queued, stats.running
  seen.started = testing.gate_counts() - self.before
  if self.grinder then self:look_at_grinder(seen) end
  seen.broken_rule = seen.broken_rule or self:broken_rule(stats, self.manager)
  return seen
end

function Real:look_at_grinder(seen)
  local stats = self.grinder:stats()
  for _, name in ipairs { "pending", "in_flight", "waiting", "running", "batches", "items", "done", "failed",
    "cancelled" } do
    seen["grinder " .. name] = stats[name]
  end
  seen["grinder state"] = stats.started and "running" or stats.stopping and "stopping" or "stopped"
  seen["grinder oldest"] = round(stats.oldest_wait_seconds)
  if stats.items ~= stats.pending + stats.in_flight + stats.done + stats.failed + stats.cancelled then
    seen.broken_rule = "items = pending + in_flight + done + failed + cancelled"
  end
end

--- What must hold at all times, whatever happened.
function Real:broken_rule(stats, manager)
  local counters = stats.counters
  if counters.acquired ~= stats.live + counters.released + counters.expired + counters.broken
      + counters.stopped + counters.leaked then
    return "acquired = live + released + expired + broken + stopped + leaked"
  elseif counters.jobs ~= stats.queued + stats.running + counters.done + counters.failed
      + counters.cancelled then
    return "jobs = queued + running + done + failed + cancelled"
  elseif not self.consistent or manager.available_count + manager.leased_count ~= manager.total_count then
    return "available_count + leased_count = total_count"
  elseif manager.available_count ~= stats.available or manager.leased_count ~= stats.leased
      or manager:desired_executor_count() ~= stats.desired then
    return "the fields of a manager are those of its statistics"
  elseif stats.times.wait.count ~= counters.acquired then
    return "the wait of each lease is measured"
  elseif stats.times.hold.count ~= counters.acquired - stats.live then
    return "the hold of each lease that ended is measured"
  end
end

--- Ends everything, whatever state it is in; false when it does not end.
function Real:close()
  for _, gate in pairs(self.gates) do testing.gate_open(gate) end
  for n in pairs(self.waits) do self:cancel { what = n } end
  for _, lease in pairs(self.leases) do lease:release() end
  if self.grinder then self.grinder:stop { wait = false, cancel_pending = true } end
  local stopping = self.manager:stop { wait = false }
  local until_time = os.time() + PATIENCE
  repeat
    testing.turn()
    if os.time() > until_time then return false end
  until stopping:status() == "done" and self.manager:stats().retiring == 0
  return true
end

return Real
