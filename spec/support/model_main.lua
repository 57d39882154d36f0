--- Compares the real manager with the model, in a process of its own, as the clock stops.
--
--   lua5.4 spec/support/model_main.lua SEED STEPS [wrong-model | --progress]
--
-- Prints "same STEPS", or a short sequence that shows a difference.
local runner = require "spec.support.model_runner"

local seed, steps, extra = math.tointeger(arg[1]), math.tointeger(arg[2]), arg[3]
local model, progress

if extra == "--progress" then
  local next_at = 0
  function progress(count)
    if count < next_at then return end
    next_at = count + steps // 20
    io.stderr:write(("%d of %d steps, %.0f s\n"):format(count, steps, os.clock()))
  end
elseif extra then
  model = assert(require("spec.support.wrong_models")[extra], "no such model: " .. extra)
end

local difference, count = runner.run(seed, steps, model, progress)
print(difference or "same")
print(count)
