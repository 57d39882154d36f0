-- What goes wrong arrives as an object: with a class, a code, a message and fields of its own.

local leasepool = require "leasepool"

local function parse(text)
  return assert(tonumber(text), "not a number: " .. text)
end

local function refuse()
  error { status = 404, reason = "no such page" } -- any value can be raised
end

leasepool.run(function()
  local manager <close> = leasepool.manager({ max_pools = 1 }):start()
  local lease <close> = manager:acquire()

  local function try(what, ...)
    local ok, err = pcall(...)
    print(what .. ": " .. (ok and "ok" or err.name .. " (" .. err.code .. ")"))
    return err
  end

  local err = try("a job that raises", lease.run, lease, parse, "twelve")
  print("  cause:     " .. err.cause)
  print("  raised in: " .. err.traceback:match "11_errors%.lua:%d+: in function '?([^'\n]*)")
  print("  is it one? " .. tostring(leasepool.is_error(err, "JobError"))
    .. " " .. tostring(leasepool.is_error(err, "LeasePoolError")))

  err = try("a table as error ", lease.run, lease, refuse)
  print("  cause:     " .. err.cause.status .. " " .. err.cause.reason)

  err = try("a bad argument   ", lease.run, lease, parse, { user = { socket = io.stdout } })
  print("  path:      " .. err.path)

  err = try("a bad option     ", leasepool.manager, { max_pols = 1 })
  print("  message:   " .. err.message)

  try("no free executor ", manager.acquire, manager, { wait = false })
  lease:release()
  try("a released lease ", lease.run, lease, parse, "1")
end)
