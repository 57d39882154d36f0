-- A lease that outlives the block in which it was acquired: it is released by hand, by itself or
-- by its number, and says what it thinks of those who use it afterwards.

local leasepool = require "leasepool"

local function square(n)
  return n * n
end

leasepool.run(function()
  local manager <close> = leasepool.manager({ max_pools = 2 }):start()

  local lease = manager:acquire { owner = "by hand" }
  local future = lease:submit(square, 7)
  lease:release() -- what was submitted still finishes ...
  print("result: " .. future:await())
  print("state:  " .. lease.state)

  local ok, err = pcall(lease.submit, lease, square, 8) -- ... but nothing new begins
  print("late:   " .. tostring(ok) .. ", " .. err.name)

  lease:release() -- once more does no harm

  -- By number, for whoever was only told which one it is:
  local other = manager:acquire { owner = "by number" }
  print("found:  " .. tostring(manager:release(other.lease_id)))
  print("again:  " .. tostring(manager:release(other.lease_id)))
  print("free:   " .. manager.available_count .. " of " .. manager.total_count)
end)
