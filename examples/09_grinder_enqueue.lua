-- Small jobs whose results are wanted later: `enqueue` returns a future at once. Views give jobs an
-- owner and a timeout; what is pending can be taken back; a stop runs the rest.

local leasepool = require "leasepool"
local worker = require "leasepool.worker"

local function charge(amount) -- runs on a worker
  return ("%s pays %d"):format(worker.owner, amount)
end

local progress = "none"

leasepool.run(function()
  local manager <close> = leasepool.manager({ max_pools = 1, workers_per_pool = 1 }):start()
  local grinder = leasepool.grinder {
    manager = manager,
    batch_size_threshold = 100,
    max_wait_seconds = 60, -- too long for this example: the stop below begins the batch
    max_pending = 6,
    owner_prefix = "shop",
    on_progress = function(done, total) progress = done .. " of " .. total end,
  }
  grinder:start()

  local ada, bob = grinder:with { owner = "ada" }, grinder:with { owner = "bob", timeout = 30 }
  local futures = {}
  for amount = 1, 3 do
    futures[#futures + 1] = ada:enqueue(charge, amount)
    futures[#futures + 1] = bob:enqueue(charge, 10 * amount)
  end
  print("pending:    " .. grinder:stats().pending)

  local ok, err = pcall(grinder.enqueue, grinder, charge, 7) -- one more than max_pending
  print("refused:    " .. tostring(ok) .. ", " .. err.name)

  print("taken back: " .. tostring(futures[1]:cancel())) -- leaves the queue at once
  futures[1] = grinder:enqueue(charge, 7) -- without an owner: its batch is the owner

  local report = grinder:stop() -- takes no more, runs what there is, waits for it
  for _, line in ipairs(leasepool.gather(futures)) do print("  " .. line) end
  print("finished:   " .. report.finished .. ", cancelled: " .. report.cancelled)
  print("progress:   " .. progress)

  ok, err = pcall(bob.enqueue, bob, charge, 1)
  print("too late:   " .. tostring(ok) .. ", " .. err.name)
end)
