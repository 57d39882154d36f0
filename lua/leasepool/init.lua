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

local function check_timeout(what, timeout)
  if timeout == nil then return nil end
  if type(timeout) ~= "number" or not (timeout >= 0 and timeout < math.huge) then
    invalid("%s: timeout: got %s, allowed: a finite number of seconds >= 0", what, tostring(timeout))
  end
  return core.now() + timeout
end

local GATHER_OPTIONS <const> = { return_errors = true, timeout = true }

--- Waits for all futures of a list.
-- @tparam table list futures, from 1 on
-- @tparam[opt] table options `return_errors` (put errors in place instead of raising the
--   first of the list after all have ended), `timeout` (seconds for the whole)
-- @treturn table the first result of each, in order, with `n`
-- @raise TimeoutError; the first error of the list
function leasepool.gather(list, options)
  if type(list) ~= "table" then
    invalid("leasepool.gather: got %s, allowed: a list of futures", type(list))
  end
  options = check_options("leasepool.gather", options, GATHER_OPTIONS)
  local deadline = check_timeout("leasepool.gather", options.timeout)
  local count = #list
  for i = 1, count do
    if not core.is_future(list[i]) then
      invalid("leasepool.gather: element %d: got %s, allowed: a future", i, type(list[i]))
    end
  end
  local results, failed, first_error = { n = count }, false, nil
  for i = 1, count do
    local ok, value = list[i]:result(deadline and math.max(0, deadline - core.now()))
    if not ok and list[i]:status() == "pending" then -- the time is over
      core.raise("ETIMEDOUT", ("leasepool.gather: not all ended after %g seconds"):format(options.timeout))
    end
    if not ok and not failed then
      failed, first_error = true, value
    end
    if ok or options.return_errors then results[i] = value end
  end
  if failed and not options.return_errors then error(first_error, 0) end
  return results
end

return leasepool
