--- What the rows share. A row runs in a process of its own as `lua5.4 FILE SIDE ARGS...`, does
-- its work for one side ("leasepool", "luv", "floor"), checks the result and prints one number.
local uv = require "luv"

local lib = { side = arg[1], now = uv.hrtime }

--- The field of /proc/self/status, in KiB.
function lib.status(field)
  for line in io.lines "/proc/self/status" do
    local value = line:match("^" .. field .. ":%s+(%d+)")
    if value then return tonumber(value) end
  end
end

--- Prints the measured value, the last act of a row.
function lib.report(value)
  print(("%.6g"):format(value))
end

--- The value below which the given part of a list lies; the first 2 % are warm-up.
function lib.percentile(list, part)
  local kept = table.move(list, #list // 50 + 1, #list, 1, {})
  table.sort(kept)
  return kept[math.max(1, math.floor(#kept * part))]
end

--- Runs `work(leasepool, lease, manager)` with one lease of `workers` workers.
function lib.with_lease(workers, work)
  local leasepool = require "leasepool"
  local manager <close> = leasepool.manager {
    max_pools = 1, workers_per_pool = workers, max_queue = 1000000,
  }
  manager:start()
  local lease <close> = manager:acquire { owner = "bench" }
  work(leasepool, lease, manager)
end

--- Runs `work(pool)` with a pool of bench/floor.c whose threads run `fn`. Looking for work before
-- sleeping pays (`spins`) where there is always some, and makes what is sporadic slower.
function lib.with_floor(workers, fn, spins, work)
  local pool = require("floor").pool(workers, string.dump(fn, true), spins)
  work(pool)
  pool:close()
end

--- A future that `open()` ends, for callbacks to tell that the last of them ran.
function lib.gate(leasepool)
  local co
  local future = leasepool.spawn(function()
    co = coroutine.running()
    leasepool.sleep(3600)
  end)
  return {
    open = function() future:cancel() end,
    wait = function()
      future:result()
      assert(coroutine.status(co) == "dead")
    end,
  }
end

--- The sides choose what to run: lib.main { leasepool = function, luv = function, ... }.
function lib.main(sides)
  local side = sides[lib.side]
  if not side then
    io.stderr:write("unknown side: ", tostring(lib.side), "\n")
    os.exit(2)
  end
  side(table.unpack(arg, 2))
end

return lib
