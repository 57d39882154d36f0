--- Child processes that are killed at random moments, while they start, work, read, write or idle:
-- whatever happens, every future ends, and nothing is left behind. Prints what it counted; raises
-- when something was lost.
--
--   make crashes [KILLS=10000]
local leasepool = require "leasepool"
local core = require "leasepool.core"
local uv = require "luv"

local KILLS <const> = math.tointeger(arg and arg[1]) or 10000
local POOLS <const>, WORKERS <const> = 2, 2

local self_pid <const> = uv.os_getpid()
-- That live, or were not reaped.
local function children()
  local file <close> = assert(io.open(("/proc/%d/task/%d/children"):format(self_pid, self_pid)))
  local list = {}
  for pid in file:read("a"):gmatch "%d+" do list[#list + 1] = math.tointeger(pid) end
  return list
end

local function descriptors()
  local list, count = assert(uv.fs_scandir "/proc/self/fd"), 0
  while uv.fs_scandir_next(list) do count = count + 1 end
  return count
end

local function work(text, loops)
  local n = 0
  for i = 1, loops do n = n + i % 3 end
  return #text, n, text
end

local count = { submitted = 0, done = 0, broken = 0, cancelled = 0, refused = 0, killed = 0 }

local function note(ok, err)
  if ok then
    count.done = count.done + 1
  elseif leasepool.is_error(err, "BrokenExecutorError") then
    count.broken = count.broken + 1
  else -- by the stop at the end
    assert(leasepool.is_error(err, "CancelledError"), err)
    count.cancelled = count.cancelled + 1
  end
end

-- Borrows and submits until enough was killed.
local function customer(manager)
  while count.killed < KILLS do
    local lease <close> = manager:acquire()
    for _ = 1, math.random(1, 10) do
      local text = ("x"):rep(math.random() < 0.1 and 1 << 20 or math.random(0, 5000))
      local future, err = lease:try_submit(work, text, math.random(0, 100000))
      if future then
        count.submitted = count.submitted + 1
        future:on_done(function(ended) note(ended:result()) end)
      else
        assert(leasepool.is_error(err, "BrokenExecutorError") or leasepool.is_error(err, "LeaseExpiredError"), err)
        count.refused = count.refused + 1
        break
      end
      if math.random() < 0.3 then future:result() end
    end
  end
end

local function killer()
  while count.killed < KILLS do
    leasepool.sleep(math.random() * 0.004)
    local list = children()
    if #list > 0 and uv.kill(list[math.random(#list)], "sigkill") == 0 then count.killed = count.killed + 1 end
  end
end

local function storm()
  local manager <close> = leasepool.manager {
    backend = "process", max_pools = POOLS, workers_per_pool = WORKERS, logger = function() end,
  }
  manager:start()
  local all = { leasepool.spawn(killer) }
  for i = 1, POOLS * 2 do all[i + 1] = leasepool.spawn(customer, manager) end
  leasepool.gather(all)
end

leasepool.run(function() -- what the first run makes for good is not a leak
  leasepool.manager({ backend = "process", max_pools = 1 }):start():stop()
  leasepool.sleep(0.01)
end)
local before <const>, start <const> = descriptors(), core.now()
leasepool.run(storm)
local function ended() return count.done + count.broken + count.cancelled end
for _ = 1, 1000 do
  if ended() < count.submitted then leasepool.sleep(0.001) end
end
print(("%d children killed in %.0f s: %d jobs = %d done + %d broken + %d cancelled at the end; %d not taken"):format(
  count.killed, core.now() - start, count.submitted, count.done, count.broken, count.cancelled, count.refused))
print(("left: futures %d, descriptors %d, children and zombies %d"):format(count.submitted - ended(),
  descriptors() - before, #children()))
assert(ended() == count.submitted and descriptors() == before and #children() == 0)
