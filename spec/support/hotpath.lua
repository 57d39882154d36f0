--- Walks the binding's hot paths, for spec/support/instructions.sh, which counts their
-- instructions. The one worker stands at a gate, so that the loop meets nobody. Each path begins
-- without garbage of the one before, which it would sweep: 200 instructions of a submission.
local leasepool = require "leasepool"
local gate = dofile "spec/support/gate.lua" ()
local PATHS <const> = 20000

local manager = leasepool.manager({ max_pools = 2, workers_per_pool = 1, max_queue = 3 * PATHS }):start()
local lease = manager:acquire()
local blocker = lease:submit(gate.pass, gate.id)
gate.await()

local function job(n) return n end

for _ = 1, PATHS do manager:acquire():release() end
collectgarbage()

local futures, done = {}, 0
for i = 1, PATHS do futures[i] = lease:submit(job, i) end
collectgarbage()
for i = 1, PATHS do lease:post(function() done = done + 1 end, job, i) end
for i = 1, PATHS do futures[i]:cancel() end
gate.open()
blocker:await()
while done < PATHS do leasepool.sleep(0) end
lease:release()
manager:stop()
