--- Random operations on the real core and on a model that follows the contract
-- (spec/support/model.lua): both must look the same after each.
local child = require "spec.support.child"

local MAIN <const> = child.lua .. " spec/support/model_main.lua "
local STEPS <const> = os.getenv "LEASEPOOL_SANITIZE" and 2000 or 50000

describe("a manager, in random sequences of everything that it can do,", function()
  local function compare(seed)
    local output, errors, status = child.shell(MAIN .. seed .. " " .. STEPS, 280)
    assert.matches("^the same in %d+ steps\n$", output, output .. errors:sub(-2000))
    assert.are.equal(0, status, errors:sub(-2000))
  end

  it(("does what the model does in %d steps #threads"):format(STEPS), function() compare(1) end)

  it(("does so in %d others each day #threads"):format(STEPS), function()
    compare(os.time() // 86400 * 100000)
  end)
end)

if os.getenv "LEASEPOOL_SANITIZE" then return end

describe("the comparison with a model", function()
  local caught

  setup(function()
    local output, errors, status = child.shell(MAIN .. "--wrong 20000", 200)
    assert(status == 0, errors)
    caught = "\n" .. output .. "the end\n"
  end)

  for name in pairs(require "spec.support.wrong_models") do
    it(("finds in a few operations that in a wrong one %s"):format(name), function()
      local count = caught:match("\n" .. name:gsub("%p", "%%%0") .. ": (%d+) operations\n")
      assert.is_truthy(count, caught)
      assert.is_true(tonumber(count) <= 10, caught)
    end)
  end

  it("shows the seed, what differs, and a script", function()
    local shown = caught:match "\na job's timeout counts from its start: %d+ operations\n(    %-%-.-\n)%S"
    assert.matches("^    %-%- seed %d+: [^\n]+ the core says [^\n]+\n" ..
      "    local manager = leasepool%.manager {[^\n]+}\n    manager:start%(%)\n.*\n    clock_advance%([^\n]+\n$", shown)
  end)
end)
