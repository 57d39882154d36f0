-- Work that comes up inside of a job goes to a grinder, too: a grinder that is passed to a job is a
-- handle there, which submits from the worker's own thread.

local leasepool = require "leasepool"

local function weigh(word) -- runs in a batch
  if word == "" then error("no word", 0) end
  return #word
end

local function survey(grinder, text) -- runs on a worker: splits the work, and collects the results
  local futures, sum = {}, 0
  for word in text:gmatch "%a+" do futures[#futures + 1] = grinder:submit_from_thread(weigh, word) end
  for _, future in ipairs(futures) do sum = sum + future:await(10) end -- the worker waits, not the loop
  return #futures, sum
end

local function inspect(manager, grinder) -- runs on a worker, too
  local ok, err = grinder:submit_from_thread(weigh, ""):result(10)
  local pools = manager:stats_from_thread(10)
  return ok, err.name, pools.leased, grinder:stats_from_thread(10).failed
end

leasepool.run(function()
  -- Two executors: while a job waits for a batch it keeps its own.
  local manager <close> = leasepool.manager({ max_pools = 2, workers_per_pool = 1 }):start()
  local grinder <close> = leasepool.grinder {
    manager = manager, batch_size_threshold = 4, max_wait_seconds = 0.02, max_batches = 1,
  }
  grinder:start()
  do
    local lease <close> = manager:acquire { owner = "survey" }
    local words, letters = lease:run(survey, grinder, "many a small job comes out of one large job")
    print(("%d words, %d letters, %d jobs"):format(words, letters, grinder:stats().done))
    print(lease:run(inspect, manager, grinder))
  end

  -- On the loop's own thread they would wait for themselves.
  local ok, err = pcall(grinder.submit_from_thread, grinder, weigh, "word")
  print(ok, err.name)
end)
