-- A day of a print shop: a manager that grows with the work, a lease for the large order, a grinder
-- for the small ones, statistics at the end.

local leasepool = require "leasepool"

local function print_page(order, page) -- runs on a worker
  if page == 13 then error("out of paper", 0) end
  return ("%s, page %d"):format(order, page)
end

local grinder -- its small orders decide how many executors there are
local manager = leasepool.manager {
  max_pools = 3, workers_per_pool = 2, units_per_pool = 4,
  size_provider = function() return grinder and grinder:stats().pending or 0 end,
}

local function show(what)
  local stats = manager:stats()
  print(("%-8s executors: %d, leased: %d"):format(what, stats.total, stats.leased))
end

leasepool.run(function()
  -- 1. Lifecycle: nothing is lent before start and after stop.
  print("closed:  " .. select(2, manager:try_acquire()).code)
  manager:start()
  grinder = leasepool.grinder({ manager = manager, batch_size_threshold = 12, max_wait_seconds = 60 }):start()
  show "opened:"

  -- 2. Sizing: eleven small orders, four for each executor.
  local orders = {}
  for i = 1, 11 do orders[i] = grinder:enqueue(print_page, "leaflet " .. i, i) end
  manager:notify_scale_changed()
  show "busy:"

  -- 3. A lease: one customer has an executor, and its two workers, alone.
  do
    local lease <close> = manager:acquire { owner = "book" }
    show "lent:"
    local pages = lease:map(function(page) return print_page("book", page) end, { 1, 2, 3, 4 })
    print("book:    " .. pages.n .. " pages, the last: " .. pages[4])
  end

  -- 4. The grinder: the twelfth order begins the batch, the thirteenth goes with the stop.
  orders[12] = grinder:enqueue(print_page, "leaflet 12", 12)
  orders[13] = grinder:enqueue(print_page, "leaflet 13", 13)
  grinder:stop()
  local results = leasepool.gather(orders, { return_errors = true })
  print("first:   " .. results[1])
  print("last:    " .. results[13].name .. ": " .. results[13].cause)

  -- 5. Statistics: of the grinder, and of all that the manager lent.
  local small, all = grinder:stats(), manager:stats().counters
  print(("grinder: batches: %d, done: %d, failed: %d"):format(small.batches, small.done, small.failed))
  print(("manager: leases: %d, done: %d, failed: %d"):format(all.acquired, all.done, all.failed))
  manager:stop()
end)
