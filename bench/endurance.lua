--- How the runtime bears large numbers: executors alive at once, callers that wait, leases that
-- come and go, expiries. Prints what it measured; raises when something was lost.
--
--   make endurance
local leasepool = require "leasepool"
local core = require "leasepool.core"

local function status(field)
  for line in io.lines "/proc/self/status" do
    local value = line:match("^" .. field .. ":%s+(%d+)")
    if value then return math.tointeger(value) end
  end
end

local function descriptors()
  local list <close> = assert(io.popen "ls /proc/$PPID/fd | wc -l")
  return (list:read "n")
end

local function measure()
  collectgarbage() collectgarbage()
  return { threads = status "Threads", rss = status "VmRSS" / 1024, fds = descriptors() }
end

local function show(what, text, ...)
  print(("%-28s " .. text):format(what, ...))
end

local function executors(count)
  local function once()
    local manager = leasepool.manager({ max_pools = count, min_pools = 1, workers_per_pool = 1 }):start()
    local gate = core.testing.gate()
    local leases, futures = {}, {}
    for i = 1, count do
      leases[i] = manager:acquire()
      futures[i] = leases[i]:submit(function(id)
        require("leasepool.core").testing.gate_pass(id)
        return 1
      end, gate)
    end
    assert(core.testing.gate_await(gate, count))
    local full = measure()
    core.testing.gate_open(gate)
    local sum = 0
    for i = 1, count do sum = sum + futures[i]:await() end
    assert(sum == count)
    for i = 1, count do leases[i]:release() end
    manager:stop()
    return full
  end
  for _ = 1, 5 do once() end -- what the first rounds take for good (arenas, stacks) is not a leak
  local before = measure()
  local start = core.now()
  local full = once()
  local seconds = core.now() - start
  local after = measure()
  assert(after.threads == before.threads and after.fds == before.fds)
  show(count .. " executors", "%.2f s; threads %d -> %d -> %d, descriptors %d -> %d -> %d", seconds,
    before.threads, full.threads, after.threads, before.fds, full.fds, after.fds)
  show("", "resident %.1f -> %.1f -> %.1f MiB (%+.1f %%)", before.rss, full.rss, after.rss,
    (after.rss / before.rss - 1) * 100)
end

local function waiters(count)
  leasepool.run(function()
    local manager <close> = leasepool.manager({ max_pools = 1, max_waiters = count }):start()
    local lease = manager:acquire()
    local before, served = measure(), 0
    local start = core.now()
    for i = 1, count do
      leasepool.spawn(function()
        local mine = manager:acquire()
        served = served + 1
        assert(served == i, "out of order")
        mine:release()
      end)
    end
    local full, waiting = measure(), core.now()
    lease:release()
    while served < count do leasepool.sleep(0) end
    show(count .. " waiting coroutines", "%.2f s to wait, %.2f s to serve in order; %.0f bytes each",
      waiting - start, core.now() - waiting, (full.rss - before.rss) * 1024 * 1024 / count)
  end)
end

local function pairs_of(count)
  local manager <close> = leasepool.manager({ max_pools = 2 }):start()
  local function some(n) for _ = 1, n do manager:acquire():release() end end
  some(count // 10)
  local before, start = measure(), core.now()
  some(count)
  local seconds, after = core.now() - start, measure()
  show(count .. " acquire and release", "%.0f ns each; resident %.2f -> %.2f MiB", seconds / count * 1e9, before.rss,
    after.rss)
end

local function expiries(count)
  leasepool.run(function()
    local manager <close> = leasepool.manager({ max_pools = count, lease_grace_seconds = 0.1 }):start()
    local worst, told = 0, 0
    local kept <close> = setmetatable({}, { __close = function() end }) -- alive to the end
    for _ = 1, count do
      kept[manager:acquire {
        lease_seconds = 1 + math.random() * 2,
        on_soft_expiry = function(lease)
          told = told + 1
          worst = math.max(worst, core.now() - lease.soft_expires_at)
        end,
      }] = true
    end
    leasepool.sleep(3.3)
    local s = manager:stats()
    assert(next(kept) and told == count and s.counters.expired == count, "an expiry was lost")
    show(count .. " random expiries", "worst lateness %.2f ms", worst * 1e3)
  end)
end

executors(tonumber(arg[1]) or 1000)
waiters(100000)
pairs_of(1000000)
expiries(10000)
