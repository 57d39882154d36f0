local leasepool = require "leasepool"

describe("errors", function()
  local classes = {
    "LeasePoolError", "ConfigError", "LeasePoolNotStartedError", "LeaseUnavailableError", "TimeoutError",
    "LeaseExpiredError", "QueueFullError", "TransferError", "JobError", "CancelledError",
    "BrokenExecutorError", "UnsupportedBackendError", "WrongThreadError", "WouldBlockError",
  }

  it("have a class for each kind of trouble", function()
    for _, name in ipairs(classes) do assert.are.equal(name, leasepool.errors[name].__name) end
  end)

  it("print as their message and can be concatenated", function()
    local _, err = pcall(leasepool.manager, {})
    assert.are.equal(err.message, tostring(err))
    assert.are.equal("why: " .. err.message, "why: " .. err)
    assert.are.equal(err.message .. "!", err .. "!")
  end)

  it("say where in the script they were raised", function()
    local function wrong() leasepool.manager { max_pols = 1 } end
    local _, err = pcall(wrong)
    assert.are.equal('unknown option "max_pols"; did you mean "max_pools"?', err.message)
    assert.matches('errors_spec%.lua:%d+: unknown option "max_pols"', tostring(err))
    local function none() leasepool.any {} end -- refused by the half of the module that is Lua
    assert.matches("^[^\n]*errors_spec%.lua:%d+: leasepool.any: got an empty list", tostring(select(2, pcall(none))))
    local function both() leasepool.gather { 3 } end -- the Lua half calls the one that refuses
    assert.matches("^[^\n]*errors_spec%.lua:%d+: leasepool.gather: element 1", tostring(select(2, pcall(both))))
    local output, errors, status = require("spec.support.child").run
      'local leasepool = require "leasepool"\n\nleasepool.manager { max_pools = 1 }:acquire("bob")'
    assert.are.same({ "", 1 }, { output, status })
    assert.matches('^[^\n]*:3: manager:acquire: got "bob", allowed: a table of options\n', errors)
  end)

  it("are recognised by class, and by the class of all", function()
    local _, err = pcall(leasepool.manager, {})
    assert.is_true(leasepool.is_error(err))
    assert.is_true(leasepool.is_error(err, "ConfigError"))
    assert.is_true(leasepool.is_error(err, "LeasePoolError"))
    assert.is_false(leasepool.is_error(err, "TimeoutError"))
    assert.is_false(leasepool.is_error("text", "TimeoutError"))
    assert.is_false(leasepool.is_error({ name = "TimeoutError" }))
  end)

  it("refuse to be asked for a class that does not exist", function()
    local ok, err = pcall(leasepool.is_error, "x", "TimeOutError")
    assert.is_false(ok)
    assert.matches('got "TimeOutError", which is no error class', tostring(err), 1, true)
    assert.is_false((pcall(leasepool.is_error, "x", 3)))
  end)
end)
