-- On the backend "interpreter" each lease has Lua states of its own: what one leaves behind
-- (globals, modules, changed metatables) is never seen by the next. On "thread" it is, which is
-- faster, and often what one wants.

local leasepool = require "leasepool"

local function leave_traces()
  _G.counter = (_G.counter or 0) + 1
  package.loaded.config = { mode = "changed" }
  getmetatable("").__unm = string.reverse -- -"abc" is "cba" now
  return _G.counter
end

local function look()
  return ("counter %s, config %s, -\"abc\" %s"):format(_G.counter, package.loaded.config and "loaded" or "none",
    select(2, pcall(function() return -"abc" end)):match "cba" or "an error")
end

leasepool.run(function()
  for _, backend in ipairs { "thread", "interpreter" } do
    local manager <close> = leasepool.manager { backend = backend, max_pools = 1, workers_per_pool = 1 }
    manager:start()
    do
      local lease <close> = manager:acquire { owner = "first" }
      lease:run(leave_traces)
      print(backend .. ", the same lease: " .. lease:run(leave_traces) .. " calls")
    end
    local lease <close> = manager:acquire { owner = "second" }
    print(backend .. ", the next lease: " .. lease:run(look))
  end

  -- A plug-in that shall not touch files or the system gets no libraries for it.
  local manager <close> = leasepool.manager {
    backend = "interpreter", max_pools = 1, libs = { "base", "string", "table", "math" }, memory_limit = 8 << 20,
  }
  local lease <close> = manager:start():acquire { owner = "plug-in" }
  print("libraries: " .. lease:run(function() return tostring(io) .. ", " .. tostring(os) .. ", " .. type(string) end))
end)
