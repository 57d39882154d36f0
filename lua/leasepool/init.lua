--- leasepool: lease bounded executors, run work there, never block the loop.
--
-- The C half (`leasepool.core`) has managers, leases, futures, `run`, `spawn` and `sleep`;
-- here is what can be said in Lua on top of them.

local core = require "leasepool.core"
local stats = require "leasepool.stats"

local leasepool = {
  version = core.version,
  errors = core.errors,
  is_error = core.is_error,
  manager = core.manager,
  run = core.run,
  spawn = core.spawn,
  sleep = core.sleep,
  format_stats = stats.format,
}

local function invalid(text, ...)
  core.raise("EINVAL", text:format(...))
end

local function check_options(what, options, allowed)
  if options == nil then return {} end
  if type(options) ~= "table" then
    invalid("%s: options: got %s, allowed: a table", what, type(options))
  end
  for name in pairs(options) do
    if not allowed[name] then invalid('%s: unknown option "%s"', what, tostring(name)) end
  end
  return options
end

-- A copy of a list of futures, as others may change it meanwhile, and its length. What is in no
-- place of a list would be overlooked.
local function check_list(what, list)
  if type(list) ~= "table" then
    invalid("%s: got %s, allowed: a list of futures", what, type(list))
  end
  local count <const> = #list
  for key in next, list do
    if (math.type(key) ~= "integer" or key < 1 or key > count) and key ~= "n" then
      invalid("%s: got the key %s in a list of %d, allowed: a list without holes", what,
        tostring(key), count)
    end
  end
  return table.move(list, 1, count, 1, {}), count
end

local GATHER_OPTIONS <const> = { return_errors = true, timeout = true }

--- Waits for all futures of a list.
-- @tparam table list futures, from 1 on; one may be in it several times
-- @tparam[opt] table options `return_errors` (put errors in place instead of raising the
--   first of the list after all have ended), `timeout` (seconds for the whole)
-- @treturn table the first result of each, in order, with `n`
-- @raise TimeoutError; the first error of the list
function leasepool.gather(list, options)
  local what <const> = "leasepool.gather"
  local futures <const>, count <const> = check_list(what, list)
  options = check_options(what, options, GATHER_OPTIONS)
  local return_errors <const>, timeout <const> = options.return_errors, options.timeout
  if return_errors ~= nil and type(return_errors) ~= "boolean" then
    invalid("%s: return_errors: got %s, allowed: true or false", what, tostring(return_errors))
  end
  if not core.wait_some(what, futures, count, count, timeout) and count > 0 then
    core.raise("ETIMEDOUT", ("%s: not all ended after %g seconds"):format(what, timeout))
  end
  local results, failed, first_error = { n = count }, false, nil
  for i = 1, count do
    local ok, value = futures[i]:result()
    if ok or return_errors then
      results[i] = value
    elseif not failed then
      failed, first_error = true, value
    end
  end
  if failed then error(first_error, 0) end
  return results
end

local ANY_OPTIONS <const> = { timeout = true }

--- Waits for the first future of a list to end, however it ends.
-- @tparam table list futures, from 1 on, at least one
-- @tparam[opt] table options `timeout` (seconds)
-- @treturn integer its index; of several that had ended before, the lowest
-- @treturn future itself
-- @raise TimeoutError
function leasepool.any(list, options)
  local what <const> = "leasepool.any"
  local futures <const>, count <const> = check_list(what, list)
  options = check_options(what, options, ANY_OPTIONS)
  if count == 0 then invalid("%s: got an empty list, allowed: one future or more", what) end
  local timeout <const> = options.timeout
  local index <const> = core.wait_some(what, futures, count, 1, timeout)
  if not index then
    core.raise("ETIMEDOUT", ("%s: none ended after %g seconds"):format(what, timeout))
  end
  return index, futures[index]
end

return leasepool
