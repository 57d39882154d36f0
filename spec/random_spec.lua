--- Random sequences of everything a script can do, from coroutines and callbacks alike: no
-- crash, no hang, and at the end every executor is there again. Each seed is a process of its
-- own; a failing one is named and can be run by hand.
local child = require "spec.support.child"

local PROGRAM <const> = [[
  local leasepool = require "leasepool"
  math.randomseed(tonumber((...)))
  local random = math.random
  local managers, leases, futures, coroutines = {}, {}, {}, {}
  local steps, depth, over

  local function pick(list) return list[random(math.max(1, #list))] end
  local function add(list, value) list[#list + 1] = value end
  local function drop(list) if #list > 0 then return table.remove(list, random(#list)) end end

  local jobs = {
    function(x) return x end,
    function() error "raised" end,
    function() error { 1 } end,
    function() local t = {} for i = 1, 2000 do t[i] = i end return t end,
    function() return io.stdout end,
    function() return ("x"):rep(100000) end,
  }

  local actions = {
    function()
      if #managers < 4 then
        add(managers, leasepool.manager({ max_pools = random(2), workers_per_pool = random(2),
          max_queue = random(20) }):start())
      end
    end,
    function() add(leases, pick(managers):acquire { timeout = random() * 0.005 }) end,
    function() add(futures, pick(leases):submit(pick(jobs), random())) end,
    function() pick(leases):run(pick(jobs), { random() }) end,
    function() pick(leases):post(function() steps(3) end, pick(jobs), random()) end,
    function() pick(leases):release() end,
    function() drop(leases):release() end,
    function() pick(futures):await(random() * 0.005) end,
    function() pick(futures):cancel() end,
    function() pick(futures):on_done(function() steps(3) end) end,
    function() drop(futures) end,
    function() add(futures, leasepool.spawn(function() steps(5) return 1 end)) end,
    function()
      add(futures, leasepool.spawn(function()
        local _ <close> = setmetatable({}, { __close = function() steps(2) end })
        steps(5)
        error "raised in a coroutine"
      end))
    end,
    function() leasepool.sleep(random() * 0.002) end,
    function()
      local co = coroutine.create(function() steps(5) end)
      add(coroutines, co)
      coroutine.resume(co)
    end,
    function()
      local co = drop(coroutines)
      if coroutine.status(co) == "suspended" then coroutine.close(co) end
    end,
    function() local co = pick(coroutines) coroutine.resume(co) end,
    function() if #managers > 2 then drop(managers):stop() end end,
    function() if #managers > 2 then drop(managers) end end,
    function() if random(4) == 1 then local m = pick(managers) m:stop() if not over then m:start() end end end,
    function() collectgarbage() end,
    function()
      leasepool.gather({ pick(futures) }, { timeout = random() * 0.005, return_errors = true })
    end,
    function() leasepool.run(function() steps(3) end) end,
    function()
      leasepool.run(function()
        for _ = 1, random(3) do add(futures, leasepool.spawn(function() steps(4) end)) end
        steps(2)
        if random(2) == 1 then error "raised in a run" end
      end)
    end,
    function() leasepool.any({ pick(futures), pick(futures), pick(futures) }, { timeout = random() * 0.005 }) end,
    function() add(futures, pick(managers):request { timeout = random() * 0.005 }) end,
    function() local lease = pick(futures):await(0) lease:release() end,
    function() add(leases, (pick(managers):try_acquire())) end,
    function() local m = pick(managers) if m.available_count > 0 then m:run(pick(jobs), random()) end end,
    function() add(leases, pick(leases):with { name = "view", timeout = random() * 0.005 }) end,
    function() pick(leases):map(pick(jobs), { 1, 2, 3, 4, 5, 6 }, { on_progress = function() steps(1) end }) end,
    function()
      local n = 0
      local function count()
        n = n + 1
        steps(1)
        return n < 6 and n or nil
      end
      for _ in pick(leases):imap(pick(jobs), count) do steps(1) end
    end,
    function() add(futures, (pick(leases):try_submit(pick(jobs), random()))) end,
  }

  depth = 0
  function steps(count)
    for _ = 1, over and 0 or count do
      depth = depth + 1
      if depth < 12 then pcall(pick(actions)) end
      depth = depth - 1
    end
  end

  for _ = 1, 200 do
    steps(2)
    while #futures > 60 do table.remove(futures, 1) end
  end
  over = true -- what still comes back does nothing more
  for _, co in ipairs(coroutines) do
    if coroutine.status(co) == "suspended" then coroutine.close(co) end
  end
  for _, future in ipairs(futures) do future:cancel() end
  for _, lease in ipairs(leases) do (lease.lease or lease):release() end
  for _, manager in ipairs(managers) do
    manager:stop()
    assert(manager.total_count == 0)
    manager:start()
    local lease = manager:acquire()
    assert(lease:run(function() return 7 end) == 7)
    lease:release()
  end
  print "survived"
]]

describe("a random sequence of actions", function()
  local seeds = os.getenv "LEASEPOOL_SANITIZE" and 12 or 40

  it(("survives, with each of %d seeds #threads"):format(seeds), function()
    local first = os.time() // 86400 * 100 -- new ones each day; a failure names its seed
    for seed = first, first + seeds - 1 do
      local output, errors, status = child.run(PROGRAM, seed)
      assert.are.equal("survived\n", output, ("seed %d: %s"):format(seed, errors))
      assert.are.equal(0, status, ("seed %d: %s"):format(seed, errors))
    end
  end)
end)
