--- Every allocation and every thread fails to come once: a clean error or success, and everything
-- works afterwards.
--
-- A scenario (spec/support/scenarios.lua) runs in a process of its own, as a broken one may take
-- the process along. Lua's own memory, in the script's state, is the business of
-- spec/c/test_lua_memory.c.
local child = require "spec.support.child"

local PRELUDE <const> = [[
  local scenario, component, role = ...
  local leasepool = require "leasepool"
  local testing = require("leasepool.core").testing
  scenario = dofile("spec/support/scenarios.lua")[scenario]

  local function list(what)
    local entries = {}
    local stat <close> = assert(io.open "/proc/self/stat")
    local pipe <close> = assert(io.popen("ls /proc/" .. stat:read "n" .. "/" .. what))
    for entry in pipe:lines() do entries[#entries + 1] = entry end
    return #entries
  end

  -- Errors tell what was lacking, be it directly or as what broke an executor.
  local function attempt()
    local ok, err = pcall(scenario)
    if ok then return true end
    local text = tostring(err)
    assert(leasepool.is_error(err) or text:find "memory" or text:find "thread", text)
    return false
  end

  scenario()
  local threads, descriptors = list "task", list "fd"

  -- What a failure has left to the collector ends while the loop turns.
  local function check_all_is_well()
    local rounds = 0
    repeat
      collectgarbage()
      scenario()
      rounds = rounds + 1
      assert(rounds < 1000, "a thread or a descriptor was left behind")
    until list "task" <= threads and list "fd" <= descriptors
  end
]]

local ALLOCATIONS <const> = [[
  local failures, n = 0, 0
  repeat
    n = n + 1
    testing.fail_allocation(component, role, n)
    local ok = attempt()
    local seen = testing.allocations_seen()
    testing.fail_allocation(component, role, 0)
    if not ok then failures = failures + 1 end
    if n % 8 == 0 then scenario() end
  until seen < n or n > 5000
  assert(n <= 5000, "the scenario never ran through")
  check_all_is_well()
  print(n - 1, failures)
]]

local THREADS <const> = [[
  local failures = 0
  for n = 1, 10 do
    testing.fail_thread(n)
    if not attempt() then failures = failures + 1 end
    testing.fail_thread(0)
    scenario()
  end
  check_all_is_well()
  print(10, failures)
]]

-- What is logged while something is lacking, beside the lack itself: what there is no memory to
-- give to the logger, what a scenario left behind, what broke.
local NOISE <const> = {
  "ERROR: [^\n]*not enough memory", "ERROR: [^\n]*out of memory",
  "ERROR: a callback of lease:post failed: [^\n]*in a callback", "ERROR: [^\n]*failed: forgotten",
  "ERROR: a request whose future nobody looked at failed: manager:request: the manager is not started",
  "WARN: lease %d+ %(owner: ", "WARN: executor %d+ broke: no worker could be started",
}

local function run(scenario, program, ...)
  local output, errors, status = child.run(PRELUDE .. program, scenario, ...)
  errors = errors:gsub("\nstack traceback:\n\t[^\n]*", ""):gsub("\n\t[^\n]*", "")
  for _, noise in ipairs(NOISE) do errors = errors:gsub("leasepool: " .. noise .. "[^\n]*\n", "") end
  assert.are.same({ "", 0 }, { errors, status })
  local tried, failures = output:match "(%d+)\t(%d+)"
  return tonumber(tried), tonumber(failures)
end

local SCENARIOS <const> = { "leases", "workers and logs", "waiters and several futures", "a grinder", "expiry" }

describe("when an allocation fails", function()
  local places = {
    { "core", "loop" }, { "wire", "loop" }, { "binding", "loop" },
    { "wire", "worker" }, { "binding", "worker" }, { "state", "worker" },
  }
  for _, name in ipairs(SCENARIOS) do
    for _, place in ipairs(places) do
      it(("of the %s on a %s thread, the scenario of %s fails cleanly or succeeds"):format(place[1], place[2], name),
        function()
          assert.is_true(run(name, ALLOCATIONS, place[1], place[2]) > 0, "no allocation was made to fail")
        end)
    end
  end
end)

describe("when a thread cannot be started", function()
  for _, name in ipairs(SCENARIOS) do
    it(("the scenario of %s fails cleanly or succeeds"):format(name), function()
      assert.is_true(select(2, run(name, THREADS)) > 0, "no thread was made to fail")
    end)
  end
end)
