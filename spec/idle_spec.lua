--- A runtime that has nothing to do costs nothing: counted from outside, in /proc.
local child = require "spec.support.child"
local leasepool = require "leasepool"

local PROGRAM <const> = [[
  local leasepool = require "leasepool"
  local manager = leasepool.manager({ max_pools = 16, min_pools = 16, workers_per_pool = 4, prestart = true,
    size_provider = function() return 160 end }):start()
  leasepool.run(function()
    for _ = 1, 16 do -- every worker has run something, and has spun after it if it ever does
      leasepool.spawn(function()
        local lease <close> = manager:acquire()
        lease:map(function(n) return n end, { 1, 2, 3, 4, 5, 6, 7, 8 }, { chunk = 1 })
      end)
    end
  end)
  local stat <close> = io.open "/proc/self/stat"
  print(stat:read "n")
  io.stdout:flush()
  leasepool.spawn(function() leasepool.sleep(3600) end)
  local request = leasepool.spawn(function() leasepool.sleep(3600) end)
  pcall(request.await, request)
]]

-- Voluntary context switches of each thread, as text.
local function switches(pid)
  local output = child.shell(("grep -h -e ^voluntary -e ^Pid /proc/%d/task/*/status"):format(pid))
  local _, threads = output:gsub("Pid:", "")
  return output, threads
end

describe("an idle runtime", function()
  it("with 64 workers switches to none of its threads", function()
    local name = os.tmpname()
    local file = assert(io.open(name, "w"))
    file:write(PROGRAM)
    file:close()
    local program <close> = assert(io.popen("exec " .. child.lua .. " " .. name, "r"))
    local pid <const> = program:read "n"
    local before, threads, after = nil, nil, nil
    for _ = 1, 5 do -- the last of the workers may still be on their way to sleep
      before, threads = switches(pid)
      leasepool.sleep(1)
      after = switches(pid)
      if before == after then break end
    end
    child.shell("kill -9 " .. pid)
    os.remove(name)
    assert.are.equal(65, threads)
    assert.are.equal(before, after)
  end)
end)
