--- Programs that end with work of every kind in flight, in every way in which programs end.
local backends = require "spec.support.backends"
local child = require "spec.support.child"

local HEAD <const> = [[
  local backend <const> = ...
  local leasepool = require "leasepool"
  local worker = require "leasepool.worker"
  local testing = require("leasepool.core").testing
  manager = leasepool.manager { backend = backend, max_pools = 1, workers_per_pool = 1 }
  manager:start()
  lease = manager:acquire { owner = "unfinished" }
  kept = {}
  local function keep(object) kept[#kept + 1] = object return object end
  local function spin(n) local s = 0 for i = 1, n do s = s + i end return s end
  local function grind(size)
    return keep(leasepool.grinder { manager = manager, batch_size_threshold = size, on_progress = spin }):start()
  end
  local function go(fn) return keep(leasepool.spawn(fn)) end
]]

-- What is in flight, and how many jobs are lost with it at most: some may have ended.
local WORK <const> = {
  { "a job that runs and ends", "local id = testing.gate() keep(lease:submit(function(gate) "
    .. "require('leasepool.core').testing.gate_pass(gate) local s = 0 for i = 1, 1e6 do s = s + i end end, id)) "
    .. "testing.gate_await(id) testing.gate_open(id)", 1 },
  { "queued jobs", "for i = 1, 100 do keep(lease:submit(spin, 1e4)) end", 100 },
  { "posted jobs", "for i = 1, 100 do lease:post(function() end, spin, 1e4) end", 100 },
  { "jobs of a view with a timeout", "for i = 1, 10 do keep(lease:with({ timeout = 100 }):submit(spin, 1e4)) end", 10 },
  { "jobs whose lease was released", "for i = 1, 10 do keep(lease:submit(spin, 1e4)) end lease:release()", 10 },
  { "jobs whose future was collected", "for i = 1, 10 do lease:submit(spin, 1e4) end collectgarbage()", 10 },
  { "jobs that log", "for i = 1, 10 do keep(lease:submit(function() worker.info 'x' end)) end", 10 },
  { "waiters of acquire", "for _ = 1, 5 do go(function() manager:acquire() end) end", 0 },
  { "waiters with a timeout", "go(function() manager:acquire { timeout = 100 } end) "
    .. "go(function() manager:try_acquire { timeout = 100 } end)", 0 },
  { "requests", "for _ = 1, 5 do keep(manager:request()) end manager:request { timeout = 100 }", 0 },
  { "a request that was granted", "keep(manager:request()) lease:release()", 0 },
  { "sleeping coroutines", "for _ = 1, 5 do go(function() leasepool.sleep(100) end) end", 0 },
  { "coroutines that wait for jobs", "go(function() lease:run(spin, 1e5) end) "
    .. "go(function() lease:submit(spin, 1e5):await() end) go(function() lease:map(spin, { 1, 2, 3 }) end)", 5 },
  { "coroutines that wait for each other", "local a = go(function() leasepool.sleep(100) end) "
    .. "go(function() leasepool.gather { a } end) go(function() leasepool.any { a } end) "
    .. "go(function() leasepool.run(function() a:await() end) end)", 0 },
  { "a coroutine with handlers that wait", "go(function() local _ <close> = setmetatable({}, "
    .. "{ __close = function() leasepool.sleep(100) end }) leasepool.sleep(100) end)", 0 },
  { "a cancellation that was ordered", "go(function() leasepool.sleep(100) end):cancel()", 0 },
  { "callbacks that were ordered", "local ended = leasepool.spawn(function() end) "
    .. "ended:on_done(function() return kept end)", 0 },
  { "an iterator in the middle", "iterate = lease:imap(spin, coroutine.wrap(function() "
    .. "for i = 1, 100 do coroutine.yield(1e4) end end)) iterate()", 8 },
  { "a pending stop", "for _ = 1, 10 do keep(lease:submit(spin, 1e5)) end keep(manager:stop { wait = false })", 10 },
  { "a stop that somebody waits for", "for _ = 1, 10 do keep(lease:submit(spin, 1e5)) end "
    .. "go(function() manager:stop() end)", 10 },
  { "pending items of a grinder", "local grinder = grind(20) for _ = 1, 10 do keep(grinder:enqueue(spin, 1e4)) end "
    .. "keep(grinder:with({ timeout = 100, owner = 'me' }):enqueue(spin, 1e4))", 11 },
  { "a batch that waits for its lease", "local grinder = grind(1) "
    .. "for _ = 1, 10 do keep(grinder:enqueue(spin, 1e4)) end", 10 },
  { "a batch that runs", "lease:release() local grinder = grind(5) "
    .. "for _ = 1, 12 do keep(grinder:enqueue(spin, 1e4)) end", 12 },
  { "a coroutine that waits in a grinder", "local grinder = grind(2) go(function() grinder:submit(spin, 1e4) end)", 1 },
  { "a grinder that was forgotten", "grind(2):enqueue(spin, 1e4) kept = {} collectgarbage() collectgarbage()", 1 },
  { "a grinder that stops", "local grinder = grind(20) for _ = 1, 10 do keep(grinder:enqueue(spin, 1e5)) end "
    .. "keep(grinder:stop { wait = false })", 10 },
  { "a grinder that stops and cancels", "lease:release() local grinder = grind(5) for _ = 1, 12 do "
    .. "keep(grinder:enqueue(spin, 1e5)) end keep(grinder:stop { wait = false, cancel_pending = true })", 12 },
  { "a manager in a job", "lease:run(function() inner = require('leasepool').manager({ max_pools = 1 }):start() "
    .. "inner_lease = inner:acquire() for _ = 1, 10 do inner_lease:post(print, spin, 1e4) end end)", 10 },
}

-- How a program ends, and with which status.
local ENDS <const> = {
  { "its script ends", "", 0 },
  { "its script raises", "error 'raised'", 1 },
  { "it calls os.exit", "os.exit(7, true)", 7 },
  { "it calls os.exit in a coroutine", "coroutine.wrap(function() os.exit(7, true) end)()", 7 },
  { "it calls os.exit in a callback",
    "leasepool.spawn(function() end):on_done(function() os.exit(7, true) end) leasepool.sleep(100)", 7 },
}
if not os.getenv "LEASEPOOL_SANITIZE" then -- LeakSanitizer stumbles over threads that run at exit
  ENDS[#ENDS + 1] = { "it leaves without closing its state", "os.exit(7)", 7 }
end

backends.each("a program that ends", function(backend)
  for _, work in ipairs(WORK) do
    it("with " .. work[1] .. " in flight ends well, in every way", function()
      for _, how in ipairs(ENDS) do
        local output, errors, status = child.run(HEAD .. work[2] .. "\n" .. how[2], backend.name)
        local what = how[1] .. ": " .. errors
        assert.are.same({ "", how[3] }, { output, status }, what)
        errors = errors:gsub("leasepool: WARN: leasepool: ", "leasepool: ") -- of a manager in a child
        local lost = tonumber(errors:match "WARN: (%d+) jobs were lost" or 0)
        assert.is_true(lost <= work[3], what)
        errors = errors:gsub("leasepool: WARN: %d+ jobs were lost[^\n]*\n", "", 1)
          :gsub("leasepool: WARN: lease %d %(owner: [^\n]*\n", "", 2)
        if how[3] == 1 then errors = errors:gsub("^[^\n]*: raised\n.*", "") end
        assert.are.equal("", errors, what)
      end
    end)
  end

  it("with all of that in flight ends well, in every way #threads", function()
    local all = {}
    for _, work in ipairs(WORK) do
      if not work[2]:find("release()", 1, true) and not work[2]:find("stop", 1, true) then
        all[#all + 1] = "do " .. work[2] .. " end"
      end
    end
    for _, how in ipairs(ENDS) do
      local output, errors, status = child.run(HEAD .. table.concat(all, "\n") .. "\n" .. how[2], backend.name)
      assert.are.same({ "", how[3] }, { output, status }, how[1] .. ": " .. errors)
    end
  end)
end)
