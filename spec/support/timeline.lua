--- Programs in which time stands still until they move it: each in a process of its own.
--
-- The program has `leasepool`, `gate` (spec/support/gate.lua) and `at(seconds)`, which moves the
-- clock on by so much and runs what is due then; `at(0)` runs what is due now. When it is
-- through, the statistics of its managers are checked.
local child = require "spec.support.child"

local HEAD <const> = [[
local leasepool = require "leasepool"
local testing = require("leasepool.core").testing
local gate = dofile "spec/support/gate.lua" -- luacheck: ignore
testing.clock_advance(0)
local function at(seconds) -- luacheck: ignore
  testing.clock_advance(seconds)
  while testing.turn() do end
end
-- Runs what workers post, until `condition()`; every wait is for an event of theirs.
local function till(condition) -- luacheck: ignore
  local start = os.time()
  while not condition() do
    while testing.turn() do end
    if os.time() - start > 20 then error("waited in vain", 2) end
  end
end
local function name_of(ok, err) -- luacheck: ignore
  if ok then return "ok" end
  return type(err) == "table" and err.name or tostring(err)
end
local equations, managers = dofile "spec/support/equations.lua", setmetatable({}, { __mode = "k" })
do
  local new_manager = leasepool.manager
  function leasepool.manager(options)
    local manager = new_manager(options)
    managers[manager] = true
    return manager
  end
end
]]

local TAIL <const> = [[

for manager in pairs(managers) do equations(manager:stats()) end
]]

--- Runs the program with arguments for its `...`; returns its output and its error output. It
-- must end well.
return function(program, ...)
  local output, errors, status = child.run(HEAD .. program .. TAIL, ...)
  assert(status == 0, errors)
  return output, errors
end
