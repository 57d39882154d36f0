--- A gate makes a job wait for the spec and the spec for the job, without sleeping.
--
--   local gate = require "spec.support.gate"()
--   local future = lease:submit(gate.pass, gate.id, "value")  -- blocks on the worker
--   gate.await(1)                                             -- it has arrived there
--   gate.open()                                               -- it goes on, returns "value"
local testing = require("leasepool.core").testing

local function pass(id, ...)
  require("leasepool.core").testing.gate_pass(id)
  return ...
end

return function()
  local id <const> = testing.gate()
  return {
    id = id,
    pass = pass,
    open = function() testing.gate_open(id) end,
    await = function(count) assert(testing.gate_await(id, count or 1), "nobody came to the gate") end,
  }
end
