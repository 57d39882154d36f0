--- A table there and back, 100 in flight, two workers: jobs/s. Arguments: shape, count.
local lib = require "bench.lib"

local shapes = {}

function shapes.integers()
  local t = {}
  for i = 1, 100 do t[i] = i end
  return t, 100
end

function shapes.strings()
  local t = {}
  for i = 1, 10 do
    t[i] = {}
    for j = 1, 10 do t[i][j] = ("item-%d-%d"):format(i, j) end
  end
  return t, 10
end

lib.main {
  leasepool = function(shape, count)
    count = tonumber(count)
    local value, length = shapes[shape]()
    lib.with_lease(2, function(leasepool, lease)
      local gate = lib.gate(leasepool)
      local sent, done, sum = 0, 0, 0
      local function back(t) return #t, t end
      local function callback(_, n, t)
        assert(#t == n)
        done, sum = done + 1, sum + n
        if sent < count then
          sent = sent + 1
          lease:post(callback, back, value)
        elseif done == count then
          gate.open()
        end
      end
      local begun = lib.now()
      for _ = 1, 100 do
        sent = sent + 1
        lease:post(callback, back, value)
      end
      gate.wait()
      assert(sum == count * length)
      lib.report(count / ((lib.now() - begun) / 1e9))
    end)
  end,
}
