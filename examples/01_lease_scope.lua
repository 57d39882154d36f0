-- A lease is a to-be-closed variable: it is given back at the end of its block, whatever
-- happens inside. This is the safest way to use one.

local leasepool = require "leasepool"

local function add(left, right)
  return left + right
end

local function fail()
  error("the work failed")
end

leasepool.run(function()
  local manager <close> = leasepool.manager { max_pools = 1, workers_per_pool = 2 }
  manager:start()
  print("before:  " .. tostring(manager))

  do
    local lease <close> = manager:acquire { owner = "scope" }
    print("inside:  " .. tostring(manager))
    print("owner:   " .. lease.owner)

    -- One result after the other ...
    print("sum:     " .. lease:run(add, 20, 22))

    -- ... or several at once: submit returns a future at once.
    local futures = {}
    for i = 1, 4 do futures[i] = lease:submit(add, i, i) end
    print("sums:    " .. table.concat(leasepool.gather(futures), " "))
  end
  print("outside: " .. tostring(manager))

  -- Also when the block is left by an error:
  local ok, err = pcall(function()
    local lease <close> = manager:acquire { owner = "fails" }
    lease:run(fail)
  end)
  print("failed:  " .. tostring(not ok) .. ", " .. err.name)
  print("after:   " .. tostring(manager))
end)
