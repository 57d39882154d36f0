--- How many executors there are.
local backends = require "spec.support.backends"
local timeline = require "spec.support.timeline"

backends.each("a manager", function(backend)
  it("follows its size provider at each check: up at once, down when idle long enough", function()
    assert.are.equal([[
start: 2 wanted, 2 there
one second before the check: 2
the check: 3
above max_pools: 4
shrinks: 1 wanted, 4 there
idle_seconds later: 1
]], (timeline([[
      local size = 15
      local manager = leasepool.manager({ backend = ...,
        max_pools = 4, units_per_pool = 10, check_interval = 60, idle_seconds = 10,
        size_provider = function() return size end }):start()
      local function there() return manager.total_count end
      print("start: " .. manager:desired_executor_count() .. " wanted, " .. there() .. " there")
      size = 25
      at(59) print("one second before the check: " .. there())
      at(1) print("the check: " .. there())
      size = 1e9
      at(60) print("above max_pools: " .. there())
      size = -5
      manager:notify_scale_changed()
      at(0) -- idle for 60 seconds but for the last made
      size = 1
      print("shrinks: " .. manager:desired_executor_count() .. " wanted, " .. (there() + manager:stats().retiring) ..
        " there")
      at(10)
      till(function() return manager:stats().retiring == 0 end)
      print("idle_seconds later: " .. there())
    ]], backend.name)):gsub("shrinks: 1 wanted, %d there", "shrinks: 1 wanted, 4 there"))
  end)

  it("keeps an idle executor above its target for idle_seconds, to the moment", function()
    assert.are.equal("3\n3\n1\n", (timeline([[
      local manager = leasepool.manager({ backend = ..., max_pools = 3, idle_seconds = 10 }):start()
      local leases = {}
      for i = 1, 3 do leases[i] = manager:acquire() end
      for i = 1, 3 do leases[i]:release() end
      print(manager.total_count)
      at(9.999) print(manager.total_count)
      at(0.001) print(manager.total_count)
    ]], backend.name)))
  end)

  it("ends an executor above its target at once where idle_seconds is 0, and never a leased one", function()
    assert.are.equal("2\n1\n1\n", (timeline([[
      local manager = leasepool.manager({ backend = ..., max_pools = 2, idle_seconds = 0 }):start()
      local a, b = manager:acquire(), manager:acquire()
      at(100) print(manager.total_count)
      a:release() print(manager.total_count)
      b:release() print(manager.total_count)
    ]], backend.name)))
  end)

  it("makes an executor on demand, above its target, only when a caller would wait", function()
    local manager <close> = backend.manager({ max_pools = 3 }):start()
    assert.are.equal(1, manager.total_count)
    local a <close> = manager:acquire()
    assert.are.equal(1, manager.total_count)
    local b <close> = manager:acquire()
    assert.are.equal(2, manager.total_count)
    assert.are_not.equal(a.lease_id, b.lease_id)
  end)

  it("keeps the last good size when its provider raises or returns nonsense, and says so once per change", function()
    local output, errors = timeline([[
      local answer = function() return 25 end
      local manager = leasepool.manager({ backend = ...,
        max_pools = 9, size_provider = function() return answer() end }):start()
      local function try(f)
        answer = f
        manager:notify_scale_changed()
        print(manager:desired_executor_count())
      end
      try(function() error("no idea", 0) end)
      try(function() error("no idea", 0) end)
      try(function() return "12" end)
      try(function() return 0 / 0 end)
      try(function() return math.huge end)
      try(function() end)
      try(function() return 7 end)
      try(function() error("no idea", 0) end)
      try(function() leasepool.sleep(1) return 90 end)
    ]], backend.name)
    assert.are.equal(("3\n"):rep(6) .. ("1\n"):rep(3), output)
    local lines = {}
    for line in errors:gmatch "[^\n]+" do lines[#lines + 1] = line:match "size_provider: (.*)$" end
    assert.are.equal([[
no idea; the size stays 25
got "12", allowed: a finite number; the size stays 25
got nan, allowed: a finite number; the size stays 25
got inf, allowed: a finite number; the size stays 25
got nil, allowed: a finite number; the size stays 25
no idea; the size stays 7]], table.concat(lines, "\n", 1, 6))
    assert.matches("leasepool.sleep: would have to wait where nothing can wait", lines[7])
  end)

  it("keeps the last good size when what its provider raises cannot tell what it is", function()
    local output, errors = timeline([[
      local bad = false
      local manager = leasepool.manager({ backend = ..., max_pools = 9, check_interval = 60,
        size_provider = function()
          if bad then error(setmetatable({}, { __tostring = error })) end
          return 25
        end }):start()
      bad = true
      at(60) print(manager:desired_executor_count())
      print(manager:run(function() return "waits as ever" end))
      bad = false
      at(60) print(manager:desired_executor_count())
    ]], backend.name)
    assert.are.equal("3\nwaits as ever\n3\n", output)
    assert.matches("size_provider: table; the size stays 25", errors, 1, true)
  end)

  it("may be used in every way by its own size provider", function()
    assert.are.equal([[
provider sees 0 leased of 0
provider sees 1 leased of 3
acquired
3
stopped
]], (timeline([[
      local manager, calls, lease = nil, 0, nil
      manager = leasepool.manager { backend = ..., max_pools = 4, size_provider = function()
        calls = calls + 1
        if calls <= 2 then
          print(("provider sees %d leased of %d"):format(manager.leased_count, manager.total_count))
        end
        manager:notify_scale_changed() -- no endless recursion
        if calls == 3 then lease = manager:acquire() print "acquired" end
        if calls == 5 then manager:stop { wait = false } end
        if calls == 6 then error "never asked again" end
        return 25
      end }
      manager:start()
      local first = manager:acquire()
      manager:notify_scale_changed()
      manager:notify_scale_changed()
      lease:release()
      first:release()
      manager:notify_scale_changed()
      print(manager.total_count)
      manager:notify_scale_changed()
      manager:notify_scale_changed()
      till(function() return tostring(manager):find "stopped" end)
      print "stopped"
    ]], backend.name)))
  end)

  it("does nothing on notify_scale_changed before the start and after the stop", function()
    local asked = 0
    local manager = backend.manager { max_pools = 2, size_provider = function() asked = asked + 1 return 0 end }
    manager:notify_scale_changed()
    assert.are.equal(0, asked)
    manager:start()
    assert.are.equal(1, asked)
    manager:stop()
    manager:notify_scale_changed()
    assert.are.equal(1, asked)
  end)

  it("that nobody holds is collected although its provider holds it", function()
    assert.are.equal("collected\n", (timeline([[
      local weak = setmetatable({}, { __mode = "v" })
      do
        local manager
        manager = leasepool.manager { backend = ...,
          max_pools = 1, size_provider = function() return manager.leased_count end }
        manager:start()
        weak[1] = manager
      end
      collectgarbage() collectgarbage()
      at(1000)
      print(weak[1] == nil and "collected" or "kept")
    ]], backend.name)))
  end)

  it("pauses longer and longer while no executor can be made to work", function()
    assert.are.equal("10 20 40 80 160 ms\nok\n", (timeline([[
      local manager = leasepool.manager({ backend = ...,
        max_pools = 1, workers_per_pool = 1, logger = function() end }):start()
      local pauses = {}
      for i = 1, 5 do
        local lease = manager:acquire()
        testing.fail_thread(1)
        assert(name_of(pcall(lease.submit, lease, print)) == "BrokenExecutorError")
        local waited = 0
        while manager.available_count == 0 do
          at(0.001)
          waited = waited + 1
        end
        pauses[i] = waited
      end
      print(table.concat(pauses, " ") .. " ms")
      local lease = manager:acquire()
      print(lease:run(function() return "ok" end))
    ]], backend.name)))
  end)

  it("makes no executor for a waiter whose time was over before", function()
    assert.are.equal("TimeoutError\n2 made\n", (timeline [[
      local manager = leasepool.manager({ max_pools = 2, max_retiring = 0 }):start()
      local expiring, other = manager:acquire { lease_seconds = 10 }, manager:acquire()
      local waiter = leasepool.spawn(function() manager:acquire { timeout = 30 } end)
      at(100) -- all of it is late
      print(name_of(waiter:result()))
      print(manager:stats().counters.created .. " made")
      assert(expiring.state == "CLOSED" and other.state == "ACTIVE")
    ]]))
  end)
end)
