-- A lease expires: softly (somebody is told, work goes on), then hard (no new work, the executor
-- retires and its place is free). Renewing moves both.

local leasepool = require "leasepool"

local function slow(seconds)
  local stop = os.clock() + seconds
  repeat until os.clock() >= stop
  return "finished all the same"
end

leasepool.run(function()
  local manager <close> = leasepool.manager({ max_pools = 1, lease_grace_seconds = 0.05 }):start()

  local renewals = 0
  local lease = manager:acquire {
    owner = "patient",
    lease_seconds = 0.05,
    on_soft_expiry = function(lease)
      print("soft expiry: " .. lease.state)
      if renewals == 0 then
        renewals = 1
        lease:renew()
        print("renewed:     " .. lease.state)
      end
    end,
  }

  local job = lease:submit(slow, 0.4)
  leasepool.sleep(0.2) -- expires for the second time, and now for good
  print("hard expiry: " .. lease.state)

  local ok, err = pcall(lease.submit, lease, slow, 0)
  print("submitting:  " .. tostring(ok) .. ", " .. err.name)

  -- The place is free at once, although the job still runs: its executor retires.
  local other <close> = manager:acquire { owner = "next", timeout = 1 }
  print("next lease:  " .. other.owner)
  print("the job:     " .. job:await())
end)
