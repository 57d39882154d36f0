-- Four ways to ask for an executor when all are leased: not to wait, to wait for some time, to
-- get a future and go on, and to wait as long as it takes (first come, first served).

local leasepool = require "leasepool"

local function name_of(ok, err)
  return ok and "got one" or err.name
end

leasepool.run(function()
  local manager <close> = leasepool.manager({ max_pools = 1 }):start()
  local lease = manager:acquire { owner = "first" }

  print("not waiting: " .. name_of(pcall(manager.acquire, manager, { wait = false })))
  print("50 ms:       " .. name_of(pcall(manager.acquire, manager, { timeout = 0.05 })))

  -- The same without errors: a lease, or nil and why not.
  local none, err = manager:try_acquire()
  print("trying:      " .. tostring(none) .. ", " .. err.code)

  -- Callers are served in the order in which they asked.
  local waiters = {}
  for i = 1, 3 do
    waiters[i] = leasepool.spawn(function()
      local mine <close> = manager:acquire { owner = "waiter " .. i }
      print("served:      " .. mine.owner)
    end)
  end

  -- A future of a lease; cancelled, it leaves the queue without a trace.
  local request = manager:request { owner = "future" }
  print("waiting:     " .. manager:stats().waiters)
  request:cancel()
  print("cancelled:   " .. manager:stats().waiters)

  lease:release()
  leasepool.gather(waiters)
end)
