--- Calls a function that must raise; returns what it raised.
local assert = require "luassert"

return function(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok, "it should have raised")
  return err
end
