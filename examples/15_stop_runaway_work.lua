-- Work that runs can be stopped: by cancel, by its timeout, by the expiry of its lease, by a stop
-- of the manager. Its <close> variables run, its worker goes on with the next job.

local leasepool = require "leasepool"

local function endless()
  local _ <close> = setmetatable({}, { __close = function() require("leasepool.worker").warn "tidied up" end })
  local n = 0
  while true do n = n + 1 end
end

-- pcall does not help it: an interrupt that was swallowed comes again, at every instruction.
local function stubborn()
  while true do pcall(endless) end
end

leasepool.run(function()
  local manager <close> = leasepool.manager {
    max_pools = 1, workers_per_pool = 1, lease_grace_seconds = 0,
    logger = function(_, message) print("  log: " .. message) end,
  }
  local lease = manager:start():acquire { owner = "careless", on_expiry = "interrupt" }

  local job = lease:submit(endless)
  leasepool.sleep(0.1) -- it runs
  print("cancel:   " .. tostring(job:cancel()))
  local ok, err = job:result()
  print("  " .. tostring(ok) .. ", " .. err.name .. " in " .. err.traceback:match "in function <([^>]*)>")

  ok, err = lease:with({ timeout = 0.1 }):submit(stubborn):result()
  print("timeout:  " .. tostring(ok) .. ", " .. err.name)
  print("  the worker: " .. lease:run(function() return "goes on" end))

  job = lease:submit(endless)
  lease:renew(0.1)
  ok, err = job:result()
  print("expiry:   " .. tostring(ok) .. ", " .. err.name .. ", the lease " .. lease.state)

  lease = manager:acquire { owner = "next" }
  lease:submit(endless)
  leasepool.sleep(0.1)
  local report = manager:stop { timeout = 0.1 }
  print("stop:     " .. report.interrupted .. " interrupted, " .. report.abandoned .. " abandoned")
end)
