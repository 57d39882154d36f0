--- A child process that adds one. Beside luv: the same by hand, lines over pipes, without leases,
-- errors, limits or values other than numbers.
--
--   roundtrip COUNT       one job in flight, hot: us, median
--   window COUNT WINDOW   posted jobs in a window: jobs/s
--   startup COUNT         from start to first result: us, median
local lib = require "bench.lib"
local uv = require "luv"

local function with_lease(work)
  local leasepool = require "leasepool"
  local manager <close> = leasepool.manager { backend = "process", max_pools = 1, workers_per_pool = 1 }
  manager:start()
  local lease <close> = manager:acquire { owner = "bench" }
  work(leasepool, lease, manager)
end

local function add(x) return x + 1 end

-- A child of luv's that adds one to each line and flushes at an empty one.
local CHILD <const> = [[
  io.stdout:setvbuf("full", 1 << 16)
  for line in io.lines() do
    if line == "" then io.flush() else io.write(math.tointeger(line) + 1, "\n") end
  end
]]

-- `each(number)` is called for each line that comes back.
local function spawn(each)
  local input, output, rest = uv.new_pipe(), uv.new_pipe(), ""
  local process = assert(uv.spawn("lua5.4", { args = { "-e", CHILD }, stdio = { input, output, 2 } }, function() end))
  output:read_start(function(err, data)
    assert(not err, err)
    if not data then return end
    data = rest .. data
    local from = 1
    while true do
      local stop = data:find("\n", from, true)
      if not stop then break end
      each(math.tointeger(data:sub(from, stop - 1)))
      from = stop + 1
    end
    rest = data:sub(from)
  end)
  return {
    write = function(text) input:write(text) end,
    close = function()
      input:close()
      output:close()
      process:close()
    end,
  }
end

local leasepool_of, luv_of = {}, {}

function leasepool_of.roundtrip(count)
  local times = {}
  with_lease(function(_, lease)
    for i = 1, count do
      local begun = lib.now()
      assert(lease:run(add, i) == i + 1)
      times[i] = lib.now() - begun
    end
  end)
  lib.report(lib.percentile(times, 0.5) / 1e3)
end

function luv_of.roundtrip(count)
  local times, i, begun, child = {}, 1, nil, nil
  local function go()
    begun = lib.now()
    child.write(i .. "\n\n")
  end
  child = spawn(function(number)
    times[i] = lib.now() - begun
    assert(number == i + 1)
    i = i + 1
    if i <= count then go() else child.close() end
  end)
  go()
  uv.run()
  assert(#times == count)
  lib.report(lib.percentile(times, 0.5) / 1e3)
end

function leasepool_of.window(count, window)
  with_lease(function(leasepool, lease)
    assert(lease:run(add, 1) == 2)
    local gate, sent, sum = lib.gate(leasepool), 0, 0
    local begun = lib.now()
    local done = 0
    local function callback(ok, number)
      assert(ok)
      sum, done = sum + number, done + 1
      if sent < count then
        sent = sent + 1
        lease:post(callback, add, sent)
      elseif done == count then
        gate.open()
      end
    end
    for _ = 1, window do
      sent = sent + 1
      lease:post(callback, add, sent)
    end
    gate.wait()
    local seconds = (lib.now() - begun) / 1e9
    assert(sum == count * (count + 1) // 2 + count)
    lib.report(count / seconds)
  end)
end

function luv_of.window(count, window)
  local done, sum, sent, begun, child = 0, 0, 0, nil, nil
  local function go()
    local lines = {}
    for i = 1, window do
      sent = sent + 1
      lines[i] = sent .. "\n"
    end
    child.write(table.concat(lines) .. "\n")
  end
  child = spawn(function(number)
    if not begun then -- it has started
      begun = lib.now()
      go()
      return
    end
    sum, done = sum + number, done + 1
    if done == count then child.close() elseif done == sent then go() end
  end)
  child.write("1\n\n")
  uv.run()
  assert(sum == count * (count + 1) // 2 + count)
  lib.report(count / ((lib.now() - begun) / 1e9))
end

function leasepool_of.startup(count)
  local leasepool = require "leasepool"
  local manager = leasepool.manager { backend = "process", max_pools = 1, workers_per_pool = 1 }
  local times = {}
  for i = 1, count do
    manager:start()
    local lease <close> = manager:acquire()
    local begun = lib.now()
    assert(lease:run(add, 1) == 2)
    times[i] = lib.now() - begun
    lease:release()
    manager:stop()
  end
  lib.report(lib.percentile(times, 0.5) / 1e3)
end

function luv_of.startup(count)
  local times = {}
  for i = 1, count do
    local begun = lib.now()
    local child
    child = spawn(function(number)
      assert(number == 2)
      times[i] = lib.now() - begun
      child.close()
    end)
    child.write "1\n\n"
    uv.run()
  end
  lib.report(lib.percentile(times, 0.5) / 1e3)
end

local function choose(sides)
  return function(what, count, window)
    sides[what](math.tointeger(count), window and math.tointeger(window))
  end
end

lib.main { leasepool = choose(leasepool_of), luv = choose(luv_of) }
