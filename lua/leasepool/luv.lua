--- Leasepool under a loop that luv runs.
--
--   local uv, leasepool = require "luv", require "leasepool"
--   require("leasepool.luv").attach(uv)
--   ... managers, leases, jobs; then, as ever:
--   uv.run()
--
-- Callbacks (`post`, `on_done`, size providers) and coroutines that wait then run from callbacks of
-- luv's loop, which stays alive as long as somebody waits for a job, a lease or a timer. It is
-- watched through a descriptor; no call is made on luv's copy of libuv but luv's own.

local check = require "leasepool.check"
local core = require "leasepool.core"

local adapter = {}

local attached -- { poll = , timer = , step = }; nil: nothing is
local kept = {} -- those of earlier times, by the module: luv crashes at its end where a handle was
                -- closed and its loop has not run since

-- For the next moment at which there is something to do. Luv counts whole milliseconds: none is
-- waited for too little.
local function arm()
  local seconds <const> = core.timeout()
  if not seconds then
    attached.timer:stop()
  else
    attached.timer:start(math.ceil(math.min(seconds, 1e9) * 1000), 0, attached.step)
  end
end

-- Errors of callbacks are logged, so this raises none; a callback may have detached.
local function step()
  core.step()
  if attached then arm() end
end

local function keep_alive(alive)
  for _, handle in ipairs { attached.poll, attached.timer } do
    if alive then handle:ref() else handle:unref() end
  end
end

--- Lets luv's loop run leasepool's. Not from one of leasepool's callbacks.
-- @param uv the module: require "luv"
-- @raise ConfigError, WouldBlockError
function adapter.attach(uv)
  local what <const> = "leasepool.luv.attach"
  if type(uv) ~= "table" or type(uv.new_poll) ~= "function" then
    check.invalid("%s: got %s, allowed: the module luv", what, check.show(uv))
  end
  if attached then check.invalid("%s: a loop is attached already; detach it first", what) end
  kept[uv] = kept[uv] or { poll = assert(uv.new_poll(core.fd())), timer = uv.new_timer(), step = step }
  attached = kept[uv]
  local ok <const>, alive = pcall(core.attach, keep_alive)
  if not ok then
    attached = nil
    error(alive, 0)
  end
  attached.poll:start("r", step)
  arm()
  keep_alive(alive)
end

--- Takes it back: from here on leasepool's loop is run by whoever waits on the main thread.
function adapter.detach()
  if not attached then return end
  core.detach()
  keep_alive(false)
  attached.poll:stop()
  attached.timer:stop()
  attached = nil
end

return adapter
