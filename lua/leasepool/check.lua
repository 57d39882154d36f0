--- What the Lua half of leasepool says about wrong arguments: what was given, what is allowed.

local core = require "leasepool.core"
core.mine()

local check = {}

--- Raises ConfigError.
function check.invalid(text, ...)
  core.raise("EINVAL", text:format(...))
end

--- How a value is shown in a refusal.
function check.show(value)
  local kind <const> = type(value)
  if kind == "string" then return ("%q"):format(value) end
  if kind == "number" or kind == "boolean" then return tostring(value) end
  return kind
end

--- The options, a table that has no names but those in `allowed`; {} for nil.
function check.options(what, options, allowed)
  if options == nil then return {} end
  if type(options) ~= "table" then
    check.invalid("%s: options: got %s, allowed: a table", what, check.show(options))
  end
  for name in pairs(options) do
    if not allowed[name] then
      local names <const> = {}
      for each in pairs(allowed) do names[#names + 1] = each end
      table.sort(names)
      check.invalid("%s: unknown option %s; allowed: %s", what, check.show(name), table.concat(names, ", "))
    end
  end
  return options
end

--- A value of one type, or nil.
function check.optional(what, name, value, kind, allowed)
  if value ~= nil and type(value) ~= kind then
    check.invalid("%s: %s: got %s, allowed: %s", what, name, check.show(value), allowed)
  end
  return value
end

--- An integer from 1 on, or nil.
function check.count(what, name, value)
  if value ~= nil and (math.type(value) ~= "integer" or value < 1) then
    check.invalid("%s: %s: got %s, allowed: an integer from 1", what, name, check.show(value))
  end
  return value
end

--- The length of a list: its `n`, as table.pack sets it, or what `#` says. What is in no place
-- of the list would be overlooked, so it is refused.
function check.length(what, list)
  local count = rawget(list, "n")
  if count == nil then
    count = rawlen(list)
  elseif math.type(count) ~= "integer" or count < 0 then
    check.invalid("%s: n: got %s, allowed: an integer from 0", what, check.show(count))
  end
  local stray <const> = core.stray_key(list, count)
  if stray ~= nil then
    check.invalid("%s: got the key %s in a list of %d, allowed: a list without holes, or with "
      .. "its length in n", what, tostring(stray), count)
  end
  return count
end

return check
