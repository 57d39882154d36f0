--- A TCP server of luv's that leases threads for what takes long. One line is one request:
--
--   ping      pong, at once
--   fib 27    the number, from a worker; "busy" when too many wait already
--   quit      orderly: what runs is answered first
--
--   lua5.4 examples/luv_tcp.lua [port]
local uv = require "luv"
local leasepool = require "leasepool"

local MAX_WAITING <const> = 100

local function fib(n)
  if n < 2 then return n end
  return fib(n - 1) + fib(n - 2)
end

require("leasepool.luv").attach(uv)
local manager <const> = leasepool.manager({ max_pools = 1, workers_per_pool = 2, max_queue = MAX_WAITING }):start()
local lease <const> = manager:try_acquire { owner = "tcp", lease_seconds = 3600 }
local server <const>, clients = uv.new_tcp(), {}

local function say(client, text)
  if clients[client] then client:write(text .. "\n") end
end

local function drop(client)
  clients[client] = nil
  if not client:is_closing() then client:close() end
end

local function quit()
  server:close()
  manager:stop { wait = false }:on_done(function() -- what was submitted has been answered, or cancelled
    for client in pairs(clients) do drop(client) end
  end)
end

local function answer(client, line)
  local n <const> = math.tointeger(tonumber(line:match "^fib (%d+)$"))
  if line == "ping" then
    say(client, "pong")
  elseif line == "quit" then
    quit()
  elseif not n then
    say(client, "what?")
  else
    local future <const>, err = lease:try_submit(fib, n)
    if not future then return say(client, err.name == "QueueFullError" and "busy" or tostring(err.message)) end
    future:on_done(function()
      local ok <const>, result = future:result()
      say(client, ok and tostring(result) or "error: " .. result.message)
    end)
  end
end

server:bind("127.0.0.1", tonumber(arg and arg[1]) or 0)
server:listen(128, function()
  local client <const>, rest = uv.new_tcp(), ""
  server:accept(client)
  clients[client] = true
  client:read_start(function(err, data)
    if err or not data then return drop(client) end
    rest = (rest .. data):gsub("([^\n]*)\n", function(line)
      answer(client, line)
      return ""
    end)
  end)
end)
print("listening on port " .. server:getsockname().port)
io.stdout:flush()
uv.run()
