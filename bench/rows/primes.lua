--- Counting primes: how many times faster than inline. Arguments: workers, jobs.
local lib = require "bench.lib"
local uv = require "luv"

local function count_primes(limit)
  local count = 0
  for i = 2, limit do
    local prime, j = true, 2
    while j * j <= i do
      if i % j == 0 then
        prime = false
        break
      end
      j = j + 1
    end
    if prime then count = count + 1 end
  end
  return count
end

local LIMIT <const>, PRIMES <const> = 20000, 2262

local function inline(jobs)
  local begun = lib.now()
  for _ = 1, jobs do assert(count_primes(LIMIT) == PRIMES) end
  return lib.now() - begun
end

lib.main {
  leasepool = function(workers, jobs)
    jobs = tonumber(jobs)
    local alone = inline(jobs)
    lib.with_lease(tonumber(workers), function(leasepool, lease)
      local futures = {}
      local begun = lib.now()
      for i = 1, jobs do futures[i] = lease:submit(count_primes, LIMIT) end
      for _, count in ipairs(leasepool.gather(futures)) do assert(count == PRIMES) end
      lib.report(alone / (lib.now() - begun))
    end)
  end,

  luv = function(_, jobs)
    jobs = tonumber(jobs)
    local alone = inline(jobs)
    local done = 0
    local work = uv.new_work(count_primes, function(count)
      assert(count == PRIMES)
      done = done + 1
    end)
    local begun = lib.now()
    for _ = 1, jobs do work:queue(LIMIT) end
    uv.run()
    assert(done == jobs)
    lib.report(alone / (lib.now() - begun))
  end,
}
