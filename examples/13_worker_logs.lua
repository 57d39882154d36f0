-- What jobs log arrives at the manager's logger, in order for each worker, and before the result
-- of the job that wrote it.

local leasepool = require "leasepool"

local function import(files)
  local worker = require "leasepool.worker"
  for i, file in ipairs(files) do
    worker.debug("looking at " .. file) -- below the level: it never leaves the worker
    worker.info("importing " .. file, { file = i })
    if file:match "%.tmp$" then warn("skipped ", file) end -- Lua's own warn is heard too
  end
  worker.log("ERROR", "the disk is nearly full")
  return #files
end

leasepool.run(function()
  local manager <close> = leasepool.manager {
    max_pools = 1,
    workers_per_pool = 1,
    log_level = "INFO",
    logger = function(level, message, fields)
      print(("%-5s %s%s (%s)"):format(level, message, fields.file and " #" .. fields.file or "", fields.owner))
    end,
  }
  manager:start()
  local lease <close> = manager:acquire { owner = "nightly" }
  print("imported " .. lease:run(import, { "a.csv", "b.tmp" }))
end)
