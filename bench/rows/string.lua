--- A string there and back, 16 in flight, two workers: MB/s one way. Arguments: KiB, count.
local lib = require "bench.lib"
local uv = require "luv"

local function back(s) return #s, s end
local WINDOW <const> = 16

local function finish(begun, count, sum, size)
  assert(sum == 2 * count * size)
  lib.report(count * size / ((lib.now() - begun) / 1e9) / 1e6)
end

lib.main {
  leasepool = function(kib, count)
    count = tonumber(count)
    local text = ("x"):rep(tonumber(kib) * 1024)
    lib.with_lease(2, function(leasepool, lease)
      local gate = lib.gate(leasepool)
      local sent, done, sum = 0, 0, 0
      local function callback(_, length, s)
        done, sum = done + 1, sum + length + #s
        if sent < count then
          sent = sent + 1
          lease:post(callback, back, text)
        elseif done == count then
          gate.open()
        end
      end
      local begun = lib.now()
      for _ = 1, math.min(WINDOW, count) do
        sent = sent + 1
        lease:post(callback, back, text)
      end
      gate.wait()
      finish(begun, count, sum, #text)
    end)
  end,

  luv = function(kib, count)
    count = tonumber(count)
    local text = ("x"):rep(tonumber(kib) * 1024)
    local sent, sum, work = 0, 0, nil
    work = uv.new_work(back, function(length, s)
      sum = sum + length + #s
      if sent < count then
        sent = sent + 1
        work:queue(text)
      end
    end)
    local begun = lib.now()
    for _ = 1, math.min(WINDOW, count) do
      sent = sent + 1
      work:queue(text)
    end
    uv.run()
    finish(begun, count, sum, #text)
  end,
}
