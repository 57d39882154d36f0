--- The operations that the model and the real manager are compared by: how each is chosen (`make`,
-- which sees the model), when it makes sense (`allowed`: asked again when a shorter sequence is
-- tried), and how it is shown.
--
-- An operation is a table: `call` (its name here and the method of both worlds), `n` (its number,
-- the name of what it makes: lease l7, call f7), and what it is about. Times are in units.
local Model = require "spec.support.model"
local clock = require "spec.support.model_clock"
local model_jobs = require "spec.support.model_jobs"

local UNIT <const>, TICK <const> = Model.UNIT, Model.TICK
local random = math.random

local ops = {}

local function seconds(units)
  return ("%.17g"):format(units / UNIT)
end

local function pick(list)
  if #list > 0 then return list[random(#list)] end
end

--- The numbers of what `wanted` accepts, in order: the choice must not depend on a table's.
local function those(map, wanted)
  local found = {}
  for n, value in pairs(map) do
    if wanted(value, n) then found[#found + 1] = n end
  end
  table.sort(found)
  return found
end

local function held(lease) return lease.held and not lease.unasked end

--- Mostly one that is open.
local function pick_lease(model)
  local open = those(model.leases, function(lease) return held(lease) and model:is_open(lease) end)
  return random(5) > 1 and pick(open) or pick(those(model.leases, held))
end

--- Mostly one where jobs run, or were given up, so that others wait there.
local function pick_lease_for_job(model)
  local busy = those(model.leases, function(lease) return held(lease) and model:is_open(lease)
    and #lease.executor.running + lease.executor.lost > 0 end)
  return random(3) > 1 and pick(busy) or pick_lease(model)
end

local function has_lease(model, op)
  local lease = model.leases[op.lease]
  return lease and held(lease) and not model.calls[op.lease]:find "pending"
end

local function pick_length()
  return random(3) > 1 and TICK * random(40) or nil
end

--- To a deadline, or nearly, or a bit, or far.
local function pick_units(model)
  local ticks = random(20) == 1 and random(400) or random(0, 6)
  local at = pick(clock.deadlines(model))
  if at < math.huge and random(3) > 1 then ticks = math.max(0, (at - model.now + TICK - 1) // TICK + random(-1, 1)) end
  return ticks * TICK
end

ops.acquire = {
  weight = 22,
  make = function()
    local via = pick { "try", "try_acquire", "spawn", "spawn", "coroutine", "request", "unasked" }
    local waits = via ~= "try" and via ~= "try_acquire"
    return { via = via, length = pick_length(), tells = via ~= "unasked" and random(3) == 1,
      on_expiry = pick { false, false, "leave", "interrupt" } or nil,
      timeout = waits and random(3) > 1 and TICK * random(0, 30) or nil }
  end,
  show = function(op)
    local parts = {}
    if op.via == "try" then parts[1] = "wait = false" end
    if op.timeout then parts[#parts + 1] = "timeout = " .. seconds(op.timeout) end
    if op.length then parts[#parts + 1] = "lease_seconds = " .. seconds(op.length) end
    if op.tells then parts[#parts + 1] = "on_soft_expiry = told" end
    if op.on_expiry then parts[#parts + 1] = ("on_expiry = %q"):format(op.on_expiry) end
    return (({
      try = "local l# = manager:acquire { % }",
      try_acquire = "local l# = manager:try_acquire { % }",
      spawn = "local l#; local f# = leasepool.spawn(function() l# = manager:acquire { % } end)",
      coroutine = "local l#; local f# = coroutine.create(function() l# = manager:acquire { % } end) "
        .. "coroutine.resume(f#)",
      request = "local l#; local f# = manager:request { % }:on_done(function(f) l# = f:await() end)",
      unasked = "local f# = manager:request { % }",
    })[op.via]):gsub("[#%%]", { ["#"] = op.n, ["%"] = table.concat(parts, ", ") }):gsub("{  }", "{}")
  end,
}

ops.forget_request = {
  weight = 1,
  make = function(model)
    return { what = pick(those(model.leases, function(lease) return lease.unasked and lease.held end)) }
  end,
  allowed = function(model, op)
    local lease = model.leases[op.what]
    return lease and lease.unasked and lease.held and model.calls[op.what] == "done"
  end,
  show = function(op) return ("f%d = nil collectgarbage()"):format(op.what) end,
}

ops.release = {
  weight = 12,
  make = function(model) return { lease = pick_lease(model) } end,
  allowed = has_lease,
  show = function(op) return ("l%d:release()"):format(op.lease) end,
}

ops.release_id = {
  weight = 2,
  make = function(model) return { lease = pick_lease(model) } end,
  allowed = has_lease,
  show = function(op) return ("manager:release(l%d.lease_id)"):format(op.lease) end,
}

ops.renew = {
  weight = 7,
  make = function(model) return { lease = pick_lease(model), length = pick_length() } end,
  allowed = has_lease,
  show = function(op)
    return ("l%d:renew(%s)"):format(op.lease, op.length and seconds(op.length) or "")
  end,
}

--- A coroutine that runs something on it would hold it.
local function can_be_dropped(model, op)
  for n, job in pairs(model.jobs) do
    if job.via == "run" and job.lease.n == op.lease and model.calls[n] == "pending" then return false end
  end
  return has_lease(model, op)
end

ops.drop = {
  weight = 1.5,
  make = function(model) return { lease = pick_lease(model) } end,
  allowed = can_be_dropped,
  show = function(op) return ("l%d = nil collectgarbage() -- and nothing else holds it"):format(op.lease) end,
}

local function show_job(op)
  local job = ({ quick = "quick", fail = "raising", gate = "gated", stubborn = "gated_and_unstoppable" })[op.kind]
  return model_jobs.is_gated(op) and job .. ", gate" .. op.n or job
end

ops.submit = {
  weight = 26,
  make = function(model)
    return { lease = pick_lease_for_job(model), via = pick { "submit", "try_submit", "post", "run" },
      timeout = random(4) == 1 and TICK * random(0, 20) + TICK // 2 + 1 or nil,
      kind = pick { "quick", "fail", "gate", "gate", "gate", "stubborn", "stubborn" } }
  end,
  allowed = has_lease,
  show = function(op)
    local what = show_job(op)
    local lease = "l" .. op.lease .. (op.timeout and (":with { timeout = %s }"):format(seconds(op.timeout)) or "")
    return (({
      submit = "local f%d = %s:submit(%s)",
      try_submit = "local f%d = %s:try_submit(%s)",
      post = "local f%d; %s:post(callback, %s)",
      run = "local f%d = leasepool.spawn(function() return %s:run(%s) end)",
    })[op.via]):format(op.n, lease, what)
  end,
}

ops.open = {
  weight = 14,
  make = function(model)
    local function closed(job) return model_jobs.is_gated(job) and not job.open end
    local running = those(model.jobs, function(job) return closed(job) and job.number end)
    return { job = random(6) > 1 and pick(running) or pick(those(model.jobs, closed)) }
  end,
  allowed = function(model, op) return model.jobs[op.job] and model_jobs.is_gated(model.jobs[op.job]) end,
  show = function(op) return ("gate%d.open()"):format(op.job) end,
}

-- ---- A grinder -------------------------------------------------------------------------

local function has_grinder(model) return model.grinder and true or false end

ops.enqueue = {
  weight = 30,
  make = function(model)
    return model.grinder and { timeout = random(4) == 1 and TICK * random(0, 20) + TICK // 2 or nil,
      kind = pick { "quick", "fail", "gate", "gate", "gate", "stubborn" } }
  end,
  allowed = has_grinder,
  show = function(op)
    return ("local f%d = grinder%s:enqueue(%s)"):format(op.n,
      op.timeout and (":with { timeout = %s }"):format(seconds(op.timeout)) or "", show_job(op))
  end,
}

ops.grind_start = {
  weight = 1,
  make = function(model) return model.grinder and {} end,
  allowed = has_grinder,
  show = function() return "grinder:start()" end,
}

ops.grind_stop = {
  weight = 1.5,
  make = function(model)
    return model.grinder and { timeout = pick { false, 0, TICK * random(0, 20) + TICK // 2 + 4 } or nil }
  end,
  allowed = has_grinder,
  show = function(op)
    return ("local f%d = grinder:stop { wait = false, timeout = %s }"):format(op.n,
      op.timeout and seconds(op.timeout) or "nil")
  end,
}

-- ---- Cancelling, time ------------------------------------------------------------------

local CANCELLABLE <const> = { spawn = true, coroutine = true, request = true, unasked = true }

local function can_be_cancelled(model, op)
  local job = model.jobs[op.what]
  if job then return job.via ~= "post" end
  return CANCELLABLE[model.kinds[op.what]]
end

ops.cancel = {
  weight = 7,
  make = function(model)
    local function pending(_, n) return model.calls[n] == "pending" and can_be_cancelled(model, { what = n }) end
    local function any(_, n) return can_be_cancelled(model, { what = n }) end
    return { what = pick(those(model.calls, random(8) > 1 and pending or any)) }
  end,
  allowed = can_be_cancelled,
  show = function(op) return ("f%d:cancel() -- or coroutine.close"):format(op.what) end,
}

ops.pass = {
  weight = 18,
  make = function(model) return { units = pick_units(model) } end,
  show = function(op) return ("clock_advance(%s) turn()"):format(seconds(op.units)) end,
}

ops.set_signal = {
  weight = 4,
  make = function(model)
    local most = model.options.units_per_pool * (model.options.max_pools + 1)
    return { size = pick { random(0, most), random(0, most), random() * most, -1, "nan", "inf", "raise", "text" } }
  end,
  show = function(op) return ("size = %s"):format(op.size) end,
}

ops.notify = {
  weight = 5,
  make = function() return {} end,
  show = function() return "manager:notify_scale_changed()" end,
}

ops.start = {
  weight = 1,
  make = function(model) return (model.state ~= "running" or random(4) == 1) and {} or nil end,
  allowed = function(model) return not clock.is_open(model, model.now + TICK) end,
  show = function() return "manager:start()" end,
}

ops.stop = {
  weight = 1.5,
  make = function() return { timeout = random(2) == 1 and TICK * random(0, 20) or nil } end,
  show = function(op)
    return ("local f%d = manager:stop { wait = false, timeout = %s }"):format(op.n,
      op.timeout and seconds(op.timeout) or "nil")
  end,
}

-- ---- Two in the same instant ------------------------------------------------------------

--- A lease is released, and before any callback comes something happens to who has got its executor.
ops.handover = {
  weight = 4,
  make = function(model)
    local waiter = model.waiters[1]
    if not waiter then return nil end
    local after = pick { { call = "stop" }, { call = "acquire", via = "try" },
      { call = "cancel", what = waiter.n }, { call = "cancel", what = pick(model.waiters).n },
      model.grinder and { call = "grind_stop", timeout = 0 } }
    return { lease = pick_lease(model), after = after }
  end,
  allowed = function(model, op)
    local lease = has_lease(model, op) and model.leases[op.lease]
    return lease and model:is_open(lease) and #lease.executor.queue + #lease.executor.running == 0
      and #model.waiters > 0 and (op.after.call ~= "cancel" or can_be_cancelled(model, op.after))
  end,
  show = function(op) return ops.release.show(op) .. " " .. ops[op.after.call].show(op.after) end,
}

--- A coroutine whose wait is over, though it has not gone on, is cancelled all the same.
local function is_over(model, n, till)
  for _, waiter in ipairs(model.waiters) do
    if waiter.n == n then return waiter.via ~= "request" and waiter.late_at and waiter.late_at <= till end
  end
  local job = model.jobs[n]
  if not job or job.via ~= "run" then return false end
  local at = math.min(job.late_at or math.huge, job.lease.hard)
  for other in pairs(model.asked) do -- it takes the lease with it, maybe
    if other.lease == job.lease then at = math.min(at, other.lost_at) end
  end
  return at <= till
end

--- Is somebody late by then who keeps a second batch from waiting, too, until a turn comes?
local function keeps_its_place(model, till)
  for _, waiter in ipairs(model.waiters) do
    if waiter.late_at and waiter.late_at <= till then return true end
  end
end

--- The clock moves while the script is busy with something else; the first thing that it does then
-- must already act by the new time. Whoever waits then might have to wait for a thread that ends,
-- unless there is room for all that retire.
ops.late = {
  weight = 6,
  make = function(model)
    local after = { call = pick { "renew", "renew", "release", "release_id", "submit", "drop", "acquire", "cancel",
      model.grinder and "enqueue" } }
    for name, value in pairs(ops[after.call].make(model)) do after[name] = value end
    local at = pick(clock.deadlines(model))
    local lease = model.leases[after.lease]
    if lease and random(2) == 1 then at = lease.hard end
    local ticks = at < math.huge and (at - model.now) // TICK + random(-1, 1) or random(20)
    return { units = math.max(0, ticks) * TICK, after = after }
  end,
  allowed = function(model, op)
    local is_allowed, till = ops[op.after.call].allowed, model.now + op.units
    local room = #model.waiters == 0 and op.after.call ~= "acquire" and op.after.call ~= "enqueue"
      or #model.retiring + clock.expiries(model, till) <= model.options.max_retiring and clock.next_loss(model) > till
    return room and model.state == "running" and clock.next_unsure(model) > till
      and (not is_allowed or is_allowed(model, op.after)) and not is_over(model, op.after.what, till)
      and not (op.after.call == "enqueue" and keeps_its_place(model, till))
  end,
  show = function(op)
    return ("clock_advance(%s) %s"):format(seconds(op.units), ops[op.after.call].show(op.after))
  end,
}

-- ---- Choosing --------------------------------------------------------------------------

local names, total = those(ops, function() return true end), 0
for _, name in ipairs(names) do total = total + ops[name].weight end

local function pick_name()
  local at = random() * total
  for _, name in ipairs(names) do
    at = at - ops[name].weight
    if at <= 0 then return name end
  end
  return names[#names]
end

local function allowed(model, op)
  local kind = ops[op.call]
  return not kind.allowed or kind.allowed(model, op)
end

local function number(op, n)
  op.n = n
  if op.after then op.after.n = n end
  return op
end

--- The operation number `n`, chosen by what the model looks like.
local function choose(model, n)
  while true do
    local name = pick_name()
    if model.state == "stopped" and random(3) == 1 then name = "start" end
    if model.state == "running" and model.grinder and model.grinder.state == "stopped" and random(3) == 1 then
      name = "grind_start"
    end
    if model.state == "stopping" and random(2) == 1 then name = pick { "open", "pass", "pass" } end
    local op = ops[name].make(model)
    if op then
      op.call = name
      if allowed(model, op) then return number(op, n) end
    end
  end
end

--- A batch is due between two ticks, and its lease does not expire when its jobs are late. All that
-- may be pending has room in the queue of one executor: whoever fills that does not see how much of
-- it has been taken meanwhile.
local function choose_grinder(options)
  local max_pending = random(options.max_queue)
  return {
    max_pending = max_pending,
    max_batches = random(options.max_pools),
    threshold = random(max_pending),
    max_wait = TICK * random(0, 20) + TICK // 2 - 2,
    lease = TICK * random(40) + 1,
  }
end

local function choose_options()
  local max_pools = random(4)
  local options = {
    max_pools = max_pools,
    min_pools = random(max_pools),
    workers_per_pool = random(3),
    units_per_pool = random(4),
    grace = TICK * pick { 0, 1, 3, 20 },
    idle = random(4) == 1 and 0 or TICK * pick { 1, 5, 30 } + TICK // 4,
    max_retiring = random(0, 2),
    max_waiters = random(5),
    max_queue = random(5),
    check_interval = TICK * pick { 1, 10, 60 },
    default_lease = TICK * random(40),
    on_expiry = pick { "leave", "interrupt" },
    interrupt_grace = TICK * pick { 0, 1, 3 },
    exit_grace = TICK * pick { 0, 4 } + TICK // 2 + 3,
    has_provider = random(3) > 1,
    backend = random(4) == 1 and "interpreter" or nil, -- these three can be seen in nothing
    prestart = random(8) == 1,
    max_tasks_per_worker = random(8) == 1 and random(3) or nil,
  }
  options.grinder = random(3) == 1 and choose_grinder(options) or nil
  if options.grinder then
    options.max_retiring = 100 -- no batch waits for a thread that ends
    if options.grinder.max_batches > 1 then options.on_expiry = "leave" end -- nor while another is being stopped
  end
  -- A batch begins jobs, maybe, at the moment in which another one begins elsewhere.
  options.in_order = not options.grinder or options.max_pools == 1 and options.workers_per_pool == 1
  return options
end

local function show_grinder(options)
  return (" local grinder = leasepool.grinder { manager = manager, max_pending = %d, max_batches = %d, "
    .. "batch_size_threshold = %d, max_wait_seconds = %s, lease_seconds = %s }"):format(options.max_pending,
    options.max_batches, options.threshold, seconds(options.max_wait), seconds(options.lease))
end

local function show_options(options)
  local parts = {}
  for _, name in ipairs { "max_pools", "min_pools", "workers_per_pool", "units_per_pool", "max_retiring",
    "max_waiters", "max_queue" } do
    parts[#parts + 1] = ("%s = %d"):format(name, options[name])
  end
  for name, key in pairs { lease_grace_seconds = "grace", idle_seconds = "idle", check_interval = "check_interval",
    default_lease_seconds = "default_lease", interrupt_grace_seconds = "interrupt_grace",
    exit_grace_seconds = "exit_grace" } do
    parts[#parts + 1] = ("%s = %s"):format(name, seconds(options[key]))
  end
  for _, name in ipairs { "prestart", "max_tasks_per_worker" } do
    if options[name] then parts[#parts + 1] = ("%s = %s"):format(name, options[name]) end
  end
  parts[#parts + 1] = ("on_expiry = %q"):format(options.on_expiry)
  if options.backend then parts[#parts + 1] = ("backend = %q"):format(options.backend) end
  if options.has_provider then parts[#parts + 1] = "size_provider = function() return size end" end
  return ("local manager = leasepool.manager { %s }"):format(table.concat(parts, ", "))
    .. (options.grinder and show_grinder(options.grinder) or "")
end

return {
  choose = choose,
  choose_options = choose_options,
  allowed = allowed,
  show = function(op) return (ops[op.call].show(op)) end,
  show_options = show_options,
}
