--- Every allocation fails once: a clean error or success, and everything works afterwards.
--
-- The scenario runs in a process of its own, as a broken one may take the process along.
local child = require "spec.support.child"

local LEASES <const> = [[
  local function scenario()
    local manager <close> = leasepool.manager { max_pools = 2, workers_per_pool = 2 }
    manager:start()
    leasepool.run(function()
      local lease <close> = manager:acquire { owner = "memory" }
      local offset = { by = 1 }
      local function add(x) return x + offset.by, { x }, function() return offset end end
      local futures = {}
      for i = 1, 3 do futures[i] = lease:submit(add, i) end
      lease:post(function() end, add, 4)
      leasepool.gather(futures)
      leasepool.spawn(function() manager:acquire():release() end)
      leasepool.spawn(function() leasepool.sleep(0) end)
      lease:run(string.rep, "long", 1000)
      assert(not pcall(lease.run, lease, error, "x"))
      local view = lease:with { name = "view", timeout = 100 }
      leasepool.any { view:submit(add, 1), futures[1] }
      assert(not pcall(view.run, view, error, "x"))
      assert(view:map(tostring, { 1, 2, 3 }, { chunk = 2 }).n == 3)
      for text in lease:imap(tostring, ipairs { 1, 2 }) do assert(text) end
      manager:request():await():release()
      local cancelled = leasepool.spawn(leasepool.sleep, 1000)
      cancelled:cancel()
      assert(not cancelled:result())
      assert(not pcall(leasepool.run, function()
        leasepool.spawn(leasepool.sleep, 1000)
        error "main"
      end))
    end)
  end
]]

local WORKERS <const> = [[
  local worker = require "leasepool.worker"

  local function scenario()
    local lines, base = {}, 40
    local manager <close> = leasepool.manager {
      max_pools = 1, workers_per_pool = 2, prestart = true, max_tasks_per_worker = 2, memory_limit = 1 << 22,
      initializer = function(list) ready = base + list[1] end, initargs = { { 2 } },
      logger = function(_, message, fields) lines[message] = fields end,
    }
    manager:start()
    leasepool.run(function()
      local lease <close> = manager:acquire { owner = "memory" }
      local function work(n)
        worker.info("from a job", { n = n, list = { n }, out = io.stdout })
        warn("in ", "pieces")
        return ready + n
      end
      local futures = {}
      for i = 1, 5 do futures[i] = lease:submit(work, i) end
      lease:post(function() error "in a callback" end, work, 6)
      leasepool.gather(futures)
      lease:submit(error, "forgotten")
      lease:run(work, 7)
      futures = nil
      collectgarbage()
    end)
  end
]]

local ALL_PLACES <const> = [[
  scenario()
  local failures, n = 0, 0
  repeat
    n = n + 1
    testing.fail_allocation(component, role, n)
    local ok, err = pcall(scenario)
    local seen = testing.allocations_seen()
    testing.fail_allocation(component, role, 0)
    if not ok then
      failures = failures + 1
      assert(type(err) == "string" or leasepool.is_error(err), tostring(err))
    end
    scenario() -- all is well again
  until seen < n or n > 5000
  assert(n <= 5000, "the scenario never ran through")
  print(component, role, n - 1, failures)
]]

local PRELUDE <const> = [[
  local component, role = ...
  local leasepool = require "leasepool"
  local testing = require("leasepool.core").testing
]]

describe("when an allocation fails", function()
  local places = {
    { "core", "loop" }, { "wire", "loop" }, { "binding", "loop" },
    { "wire", "worker" }, { "binding", "worker" }, { "state", "worker" },
  }
  for name, scenario in pairs { leases = LEASES, ["workers and logs"] = WORKERS } do
    for _, place in ipairs(places) do
      it(("of the %s on a %s thread, the scenario of %s fails cleanly or succeeds"):format(place[1], place[2], name),
        function()
          local output, errors, status = child.run(PRELUDE .. scenario .. ALL_PLACES, place[1], place[2])
          errors = errors:gsub("\nstack traceback:\n\t[^\n]*", ""):gsub("\n\t[^\n]*", "")
          assert.are.equal("", (errors:gsub("leasepool: ERROR: [^\n]*not enough memory[^\n]*\n", "")
            :gsub("leasepool: ERROR: [^\n]*out of memory[^\n]*\n", "")
            :gsub("leasepool: ERROR: a callback of lease:post failed: [^\n]*in a callback\n", "") -- no memory ...
            :gsub("leasepool: ERROR: [^\n]*failed: forgotten\n", "") -- ... to give it to the logger
            :gsub("leasepool: WARN: lease %d+ [^\n]*\n", "")))
          assert.are.equal(0, status)
          local tried = tonumber(output:match "%a+\t%a+\t(%d+)")
          assert.is_true(tried > 0, "no allocation was made to fail: " .. output)
        end)
    end
  end
end)
