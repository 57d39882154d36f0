--- leasepool: lease bounded executors, run work there, never block the loop.
--
-- The C half (`leasepool.core`) has managers, leases, futures, `run`, `spawn` and `sleep`;
-- here is what can be said in Lua on top of them.

local check = require "leasepool.check"
local core = require "leasepool.core"
local stats = require "leasepool.stats"
require "leasepool.map"

---@type leasepool
local leasepool = {
  version = core.version,
  errors = core.errors,
  is_error = core.is_error,
  manager = core.manager,
  grinder = core.grinder,
  native = core.native,
  load_native = core.load_native,
  fd = core.fd,
  timeout = core.timeout,
  step = core.step,
  run = core.run,
  spawn = core.spawn,
  sleep = core.sleep,
  backends = core.backends,
  set_interrupt_signal = core.set_interrupt_signal,
  format_stats = stats.format,
}

-- A copy of a list of futures, as others may change it meanwhile, and its length.
local function copy_list(what, list)
  if type(list) ~= "table" then
    check.invalid("%s: got %s, allowed: a list of futures", what, type(list))
  end
  local count <const> = check.length(what, list)
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
  local futures <const>, count <const> = copy_list(what, list)
  options = check.options(what, options, GATHER_OPTIONS)
  local timeout <const> = options.timeout
  local return_errors <const> = check.optional(what, "return_errors", options.return_errors, "boolean",
    "true or false")
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
  local futures <const>, count <const> = copy_list(what, list)
  options = check.options(what, options, ANY_OPTIONS)
  if count == 0 then check.invalid("%s: got an empty list, allowed: one future or more", what) end
  local timeout <const> = options.timeout
  local index <const> = core.wait_some(what, futures, count, 1, timeout)
  if not index then
    core.raise("ETIMEDOUT", ("%s: none ended after %g seconds"):format(what, timeout))
  end
  return index, futures[index]
end

-- Acquires, runs, releases.
core.extend("manager", "run", function(self, fn, ...)
  local what <const> = "manager:run"
  if core.type_of(self) ~= "manager" then
    check.invalid("%s: argument 1: got %s, allowed: a manager (call it with a colon)", what, type(self))
  end
  if type(fn) ~= "function" then
    check.invalid("%s: argument 1: got %s, allowed: a function", what, check.show(fn))
  end
  local lease <close> = self:acquire()
  return lease:run(fn, ...)
end)

return leasepool
