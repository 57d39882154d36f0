--- lease:map over a list of integers: items/s. Arguments: workers, items, chunk (0: the default).
local lib = require "bench.lib"

local function increment(x) return x + 1 end

local function list_of(count)
  local list = {}
  for i = 1, count do list[i] = i end
  return list
end

local ROUNDS <const> = 3 -- of which the first warms up

local function measure(count, map)
  local list, begun = list_of(count), nil
  for round = 1, ROUNDS do
    if round == 2 then begun = lib.now() end
    local results = map(list)
    assert(#results == count)
    for i = 1, count, count // 100 do assert(results[i] == i + 1) end
  end
  lib.report((ROUNDS - 1) * count / ((lib.now() - begun) / 1e9))
end

lib.main {
  leasepool = function(workers, count, chunk)
    chunk = tonumber(chunk)
    lib.with_lease(tonumber(workers), function(_, lease)
      measure(tonumber(count), function(list)
        return lease:map(increment, list, { chunk = chunk > 0 and chunk or nil })
      end)
    end)
  end,

  floor = function(workers, count, chunk)
    count, chunk = tonumber(count), math.max(tonumber(chunk), 1000)
    lib.with_floor(tonumber(workers), increment, true, function(pool)
      measure(count, function(list)
        local results = table.move(list, 1, count, 1, {}) -- has its size, as the results of map have in the end
        for i = 1, count, chunk do pool:send_items(list, i, math.min(i + chunk - 1, count)) end
        pool:drive_items(results)
        return results
      end)
    end)
  end,
}
