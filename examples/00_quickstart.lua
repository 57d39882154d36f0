-- The main idea in one page: borrow an executor, run work on it, give it back.

local leasepool = require "leasepool"

local function shout(text) -- runs on a worker thread
  return text:upper()
end

leasepool.run(function()
  local manager <close> = leasepool.manager { backend = "thread", max_pools = 2 }
  manager:start()

  do
    local lease <close> = manager:acquire { owner = "quickstart" }
    print("Result: " .. lease:run(shout, "hello leasepool"))
  end -- the lease is released here, also when something raised
end) -- the manager is stopped here
