--- What the specs of memory run while allocations fail: between them they use every call.
--
-- Each is a function that begins with nothing and leaves nothing. They are run many times, so
-- they are short, and they go on for ever only when something was lost.
local leasepool = require "leasepool"
local worker = require "leasepool.worker"
local testing = require("leasepool.core").testing

local scenarios = {}

function scenarios.leases()
  local manager <close> = leasepool.manager { max_pools = 2, workers_per_pool = 2 }
  manager:start()
  leasepool.run(function()
    local lease <close> = manager:acquire { owner = "memory" }
    local offset = { by = 1 }
    local function add(x) return x + offset.by, { x }, function() return offset end end
    local futures = {}
    for i = 1, 3 do futures[i] = lease:submit(add, i) end
    lease:post(function() end, add, 4)
    leasepool.gather(futures)
    leasepool.spawn(function() manager:acquire():release() end)
    leasepool.spawn(function() leasepool.sleep(0) end)
    lease:run(string.rep, "long", 1000)
    assert(not pcall(lease.run, lease, error, "x"))
  end)
end

scenarios["workers and logs"] = function()
  local base = 40
  local manager <close> = leasepool.manager {
    max_pools = 1, workers_per_pool = 2, prestart = true, max_tasks_per_worker = 2, memory_limit = 1 << 22,
    initializer = function(list) ready = base + list[1] end, initargs = { { 2 } }, -- luacheck: ignore
    logger = function(level, message, fields) assert(level and message and fields) end,
  }
  manager:start()
  leasepool.run(function()
    local lease <close> = manager:acquire { owner = "memory" }
    local function work(n)
      worker.info("from a job", { n = n, list = { n }, out = io.stdout })
      warn("in ", "pieces")
      return ready + n -- luacheck: ignore
    end
    local futures = {}
    for i = 1, 5 do futures[i] = lease:submit(work, i) end
    lease:post(function() error "in a callback" end, work, 6)
    leasepool.gather(futures)
    lease:submit(error, "forgotten")
    lease:run(work, 7)
    futures = nil -- luacheck: ignore
    collectgarbage()
  end)
end

-- Waiters of every kind, several futures at once, views, statistics, a stop that is not awaited.
scenarios["waiters and several futures"] = function()
  local size = 0
  local manager <close> = leasepool.manager {
    max_pools = 2, workers_per_pool = 1, size_provider = function() return size end,
    logger = { log = function() end }, leak_traceback = true,
  }
  manager:start()
  leasepool.run(function()
    size = 11
    manager:notify_scale_changed()
    local lease <close> = assert(manager:try_acquire { owner = "first" })
    local other <close> = manager:acquire { wait = false }
    local request = manager:request { owner = "waiting", timeout = 0.5 }
    local given_up = manager:request { timeout = 0.5 }
    local attempt = leasepool.spawn(function() return manager:try_acquire { timeout = 0.5 } end)
    local ended = leasepool.spawn(leasepool.sleep, 0.5)
    assert(not manager:try_acquire())
    given_up:cancel()
    ended:on_done(function() end)
    ended:cancel()
    leasepool.gather({ ended, given_up }, { return_errors = true })
    local view = lease:with { timeout = 60, name = "named" }
    assert(view:map(string.upper, { "a", "b", "c" }, { chunk = 1 })[3] == "C")
    local left = 3
    local function count_down() left = left - 1 return left > 0 and left or nil end
    for value in lease:imap(tostring, count_down, { window = 2 }) do
      if value then break end
    end
    assert(select(2, leasepool.any { view:submit(string.upper, "x"), ended }))
    assert(assert(view:try_submit(error, "x")):result() == false)
    leasepool.format_stats(manager:stats())
    other:release()
    request:await():release()
    assert(attempt:await()):release()
    assert(manager:run(string.upper, "y") == "Y")
    local stop = manager:stop { wait = false, timeout = 60 }
    assert(stop:await().abandoned == 0)
    manager:start()
  end)
end

scenarios["a grinder"] = function()
  local manager <close> = leasepool.manager { max_pools = 2, workers_per_pool = 1, logger = function() end }
  manager:start()
  leasepool.run(function()
    local told = 0
    local grinder <close> = leasepool.grinder {
      manager = manager, batch_size_threshold = 2, max_wait_seconds = 0.001, owner_prefix = "memory",
      on_progress = function() told = told + 1 end,
    }
    grinder:start()
    local view = grinder:with { owner = "somebody", name = "named", timeout = 60 }
    local first <close> = manager:acquire()
    local second <close> = manager:acquire()
    local futures = {}
    for i = 1, 3 do futures[i] = view:enqueue(function(n) return n, worker.owner end, i) end
    local cancelled = grinder:enqueue(string.upper, "x")
    futures[4] = leasepool.spawn(function() return grinder:submit(string.upper, "y") end)
    cancelled:cancel()
    first:release()
    second:release()
    leasepool.gather(futures)
    assert(futures[1]:await() == 1)
    assert(not pcall(grinder.submit, grinder, error, "x"))
    grinder:enqueue(string.upper, "z")
    assert(grinder:stop({ wait = false, cancel_pending = true }):await().cancelled <= 2)
    grinder:start()
    grinder:enqueue(string.upper, "last")
  end)
end

-- The clock of this state stands still from here on.
function scenarios.expiry()
  testing.clock_advance(0)
  local manager <close> = leasepool.manager {
    max_pools = 2, workers_per_pool = 1, lease_grace_seconds = 5, idle_seconds = 1, check_interval = 10,
    size_provider = function() return 20 end, logger = function() end,
  }
  manager:start()
  local soft <close> = manager:acquire { lease_seconds = 10, on_soft_expiry = function() end }
  local hard <close> = manager:acquire { lease_seconds = 10 }
  local waiting = manager:request { timeout = 3 }
  hard:run(string.rep, ("a"):rep(1000), 8)
  testing.clock_advance(4)
  while testing.turn() do end
  waiting:result()
  soft:renew(20)
  testing.clock_advance(11)
  while testing.turn() do end
  assert(not pcall(hard.renew, hard))
  local late = soft:with({ timeout = 1 }):submit(string.upper, "b")
  late:result()
  testing.clock_advance(20)
  while testing.turn() do end
  manager:stop()
end

return scenarios
