--- How fast work that runs is stopped, and what a worker costs, on each backend. Prints what it
-- measured; raises when something did not stop.
--
--   make stopping
local leasepool = require "leasepool"
local core = require "leasepool.core"

local ROUNDS <const> = tonumber(arg and arg[1]) or 1000

local function percentile(list, share)
  table.sort(list)
  return list[math.max(1, math.ceil(#list * share))]
end

local function show(what, text, ...)
  print(("%-44s " .. text):format(what, ...))
end

-- In milliseconds.
local function show_times(what, list)
  show(what, "p50 %.2f  p99 %.2f  max %.2f ms  (%d)", percentile(list, 0.5) * 1e3, percentile(list, 0.99) * 1e3,
    percentile(list, 1) * 1e3, #list)
end

local function arrive(gate)
  require("leasepool.core").testing.gate_pass(gate)
  while true do end -- luacheck: ignore
end

-- A job that burns, and has begun.
local function burn(lease, gate, count)
  local future = lease:submit(arrive, gate)
  repeat leasepool.sleep(0) until core.testing.gate_await(gate, count, 0)
  return future
end

local function new_gate()
  local gate = core.testing.gate()
  core.testing.gate_open(gate)
  return gate
end

--- From cancel() of a busy loop to the place being leased again, released at once.
local function cancelling(backend)
  local manager <close> = leasepool.manager({ backend = backend, max_pools = 1, workers_per_pool = 1 }):start()
  local gate, times = new_gate(), {}
  for i = 1, ROUNDS do
    local lease = manager:acquire()
    local future = burn(lease, gate, i)
    local start = core.now()
    future:cancel()
    lease:release()
    manager:acquire():release()
    times[i] = core.now() - start
    assert(future:status() == "cancelled")
  end
  show_times(backend .. ": cancel to the next lease", times)
end

--- From the hard expiry to the end of the job, and to the next lease.
local function expiring(backend, on_expiry)
  local rounds = ROUNDS // 10
  local manager <close> = leasepool.manager({ backend = backend, max_pools = 1, workers_per_pool = 1,
    lease_grace_seconds = 0, on_expiry = on_expiry }):start()
  local gate, ends, leases = new_gate(), {}, {}
  for i = 1, rounds do
    local lease = manager:acquire()
    local future = burn(lease, gate, i)
    lease:renew(0.005)
    local due = lease.hard_expires_at
    local next = manager:acquire()
    leases[i] = core.now() - due
    assert(not future:result(20))
    ends[i] = core.now() - due
    next:release()
  end
  show_times(("%s: hard expiry (%s) to the next lease"):format(backend, on_expiry), leases)
  show_times(("%s: hard expiry (%s) to the job's end"):format(backend, on_expiry), ends)
end

--- A warm job, and how long a worker takes from its start to a first result.
local function costs(backend)
  local function trivial(x) return x end
  local times = {}
  do
    local manager <close> = leasepool.manager({ backend = backend, max_pools = 1, workers_per_pool = 1 }):start()
    local lease <close> = manager:acquire()
    for i = 1, 2000 do
      local start = core.now()
      lease:run(trivial, i)
      times[i] = core.now() - start
    end
    show(backend .. ": a warm job, one at a time", "p50 %.1f us", percentile(times, 0.5) * 1e6)
  end
  times = {}
  for i = 1, 50 do
    local manager <close> = leasepool.manager({ backend = backend, max_pools = 1, workers_per_pool = 1 }):start()
    local lease <close> = manager:acquire()
    local start = core.now()
    lease:run(trivial, i)
    times[i] = core.now() - start
  end
  show(backend .. ": a worker's start to its first result", "p50 %.0f us", percentile(times, 0.5) * 1e6)
end

local function resident(pid)
  for line in io.lines(("/proc/%s/smaps_rollup"):format(pid)) do
    local kib = line:match "^Private_Dirty:%s+(%d+)"
    if kib then return tonumber(kib) end
  end
end

--- Memory of its own that an idle worker keeps.
local function memory(backend)
  local count <const> = 32
  local function pid() return io.open("/proc/self/stat"):read "n" end
  local manager <close> = leasepool.manager({ backend = backend, max_pools = 1, workers_per_pool = count }):start()
  local lease <close> = manager:acquire()
  collectgarbage()
  local before = resident "self"
  local gate, futures, own = core.testing.gate(), {}, 0
  for i = 1, count do
    futures[i] = lease:submit(function(id)
      require("leasepool.core").testing.gate_pass(id)
      return io.open("/proc/self/stat"):read "n"
    end, gate)
  end
  repeat leasepool.sleep(0.001) until core.testing.gate_await(gate, count, 0)
  core.testing.gate_open(gate)
  for i = 1, count do
    local worker = futures[i]:await()
    if worker ~= pid() then own = own + resident(worker) end
  end
  show(backend .. ": an idle worker", "%.0f KiB of its own", (resident "self" - before + own) / count)
end

for _, backend in ipairs(leasepool.backends()) do
  cancelling(backend)
  expiring(backend, "interrupt")
  if backend == "process" then expiring(backend, "kill") end
  costs(backend)
  memory(backend)
end
