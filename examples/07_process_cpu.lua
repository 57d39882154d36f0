-- Counts primes inline, then on child processes: the same function, the same result, as many times
-- faster as there are CPUs. A process costs more than a thread, and a crash in it (in a C library,
-- or because the system killed it) costs that worker alone.

local leasepool = require "leasepool"

local function count_primes(from, to)
  local count = 0
  for n = math.max(from, 2), to do
    local prime = true
    for divisor = 2, math.floor(n ^ 0.5) do
      if n % divisor == 0 then
        prime = false
        break
      end
    end
    if prime then count = count + 1 end
  end
  return count
end

local function clock() -- seconds that have gone by, not those of one CPU
  local file <close> = assert(io.open "/proc/uptime")
  return (file:read "n")
end

local WORKERS <const>, PARTS <const>, LIMIT <const> = 2, 20, 1000000

local start = clock()
print(count_primes(1, LIMIT) .. " primes, counted inline")
local inline = clock() - start

leasepool.run(function()
  local manager <close> = leasepool.manager {
    backend = "process", max_pools = 1, workers_per_pool = WORKERS, prestart = true,
    logger = function(_, message) print("log: " .. message) end,
  }
  local lease <close> = manager:start():acquire { owner = "primes" }

  start = clock()
  local futures = {}
  for part = 1, PARTS do
    futures[part] = lease:submit(count_primes, LIMIT // PARTS * (part - 1) + 1, LIMIT // PARTS * part)
  end
  local sum = 0
  for _, count in ipairs(leasepool.gather(futures)) do sum = sum + count end
  print(sum .. " primes, counted by " .. WORKERS .. " processes")
  print(("speed-up: %.1f"):format(inline / (clock() - start)))

  -- A worker that dies breaks its executor; the manager makes another one.
  local ok, err = pcall(lease.run, lease, os.exit, 3)
  print(ok, err.name, err.exit_code)
  print(manager:run(string.upper, "next"))
end)
