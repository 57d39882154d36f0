--- acquire and release of a free pool, from Lua: ns for a pair. Argument: count.
local lib = require "bench.lib"

lib.main {
  leasepool = function(count)
    count = tonumber(count)
    local leasepool = require "leasepool"
    local manager <close> = leasepool.manager({ max_pools = 4, min_pools = 4 }):start()
    local begun = lib.now()
    for _ = 1, count do manager:acquire():release() end
    local taken = lib.now() - begun
    assert(manager.available_count == 4)
    lib.report(taken / count)
  end,

  floor = function(count)
    count = tonumber(count)
    local holder = require("floor").holder()
    local begun = lib.now()
    for _ = 1, count do holder:acquire():release() end
    lib.report((lib.now() - begun) / count)
  end,
}
