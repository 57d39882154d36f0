--- Compares the real manager with the model, in a process of its own, as its clock is stopped.
--
--   lua5.4 spec/support/model_main.lua SEED STEPS [--progress]
--   lua5.4 spec/support/model_main.lua --wrong STEPS
--
-- The first prints "the same in N steps", or a short sequence that shows a difference. SEED is
-- that of the first sequence, the others follow; with 1 step it is the only one. The second
-- prints for each wrong model in how many operations it was caught, and how.
local runner = require "spec.support.model_runner"

local steps <const> = assert(math.tointeger(arg[2]), "usage: model_main.lua SEED STEPS [--progress]")

local function show_progress()
  local start, next_at = os.time(), steps // 20
  return function(count)
    if count < next_at then return end
    next_at = count + steps // 20
    io.stdout:write(("%9d of %d steps, %d s\n"):format(count, steps, os.time() - start)):flush()
  end
end

if arg[1] == "--wrong" then
  for name, model in pairs(require "spec.support.wrong_models") do
    local difference, count = runner.run(1, steps, model)
    print(("%s: %s"):format(name, difference and count .. " operations" or "not caught"))
    if difference then print((difference:gsub("[^\n]+", "    %0"))) end
  end
  return
end

local difference, count = runner.run(assert(math.tointeger(arg[1])), steps, nil,
  arg[3] == "--progress" and show_progress() or nil)
print(difference or ("the same in %d steps"):format(count))
os.exit(not difference, true)
