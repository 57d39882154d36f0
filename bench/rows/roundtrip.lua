--- Round trip of a trivial job, one in flight: p50 in us. Arguments: count, pause in ms before
-- each (0: hot).
local lib = require "bench.lib"
local uv = require "luv"

local function increment(x) return x + 1 end

lib.main {
  leasepool = function(count, pause)
    lib.with_lease(1, function(_, lease)
      local times = {}
      for i = 1, tonumber(count) do
        if pause ~= "0" then uv.sleep(tonumber(pause)) end
        local begun = lib.now()
        assert(lease:run(increment, i) == i + 1)
        times[i] = lib.now() - begun
      end
      lib.report(lib.percentile(times, 0.5) / 1e3)
    end)
  end,

  luv = function(count, pause)
    count = tonumber(count)
    local times, i, begun, work = {}, 0, nil, nil
    local function send()
      if pause ~= "0" then uv.sleep(tonumber(pause)) end
      i = i + 1
      begun = lib.now()
      work:queue(i)
    end
    work = uv.new_work(increment, function(result)
      times[i] = lib.now() - begun
      assert(result == i + 1)
      if i < count then send() end
    end)
    send()
    uv.run()
    lib.report(lib.percentile(times, 0.5) / 1e3)
  end,

  floor = function(count, pause)
    lib.with_floor(1, increment, pause == "0", function(pool)
      local times = {}
      local i
      local function callback(result) assert(result == i + 1) end
      for trip = 1, tonumber(count) do
        i = trip
        if pause ~= "0" then uv.sleep(tonumber(pause)) end
        local begun = lib.now()
        pool:send(i)
        pool:drive(callback)
        times[i] = lib.now() - begun
      end
      lib.report(lib.percentile(times, 0.5) / 1e3)
    end)
  end,
}
