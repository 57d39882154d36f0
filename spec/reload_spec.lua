--- The module required again, after it was taken out of package.loaded: both copies work, side by
-- side and with what the other has made.
local backends = require "spec.support.backends"
local child = require "spec.support.child"

local HEAD <const> = [[
  local backend <const> = ...
  local function fresh()
    for name in pairs(package.loaded) do
      if name:find "^leasepool" then package.loaded[name] = nil end
    end
    return require "leasepool"
  end
  local function work_with(leasepool, manager)
    local lease <close> = manager:acquire()
    assert(lease:run(string.upper, "run") == "RUN")
    assert(lease:submit(string.upper, "submit"):await() == "SUBMIT")
    assert(lease:map(string.upper, { "map" })[1] == "MAP")
    assert(lease:with({ name = "view" }):run(string.upper, "view") == "VIEW")
    assert(lease.executor:submit(string.upper, "executor"):await() == "EXECUTOR")
    local ok, err = pcall(lease.run, lease, error, "x")
    assert(not ok and leasepool.is_error(err, "JobError") and err.cause == "x")
    leasepool.format_stats(manager:stats())
  end
]]

backends.each("the module, required again,", function(backend)
  local function run(code)
    local output, errors, status = child.run(HEAD .. code, backend.name)
    assert.are.same({ "", 0 }, { errors, status })
    return output
  end

  it("is another table with the same classes, and each copy works with the objects of the other", function()
    assert.are.equal("done\n", run [[
      local a = fresh()
      local b = fresh()
      assert(a ~= b and a.errors == b.errors and a.manager == b.manager)
      local of_a = a.manager({ backend = backend, max_pools = 2, size_provider = function() return 1 end }):start()
      local of_b = b.manager({ backend = backend, max_pools = 2 }):start()
      for _, leasepool in ipairs { a, b } do
        for _, manager in ipairs { of_a, of_b } do
          work_with(leasepool, manager)
          leasepool.run(work_with, leasepool, manager)
        end
      end
      assert(of_a:desired_executor_count() == 1)
      of_a:stop()
      of_b:stop()
      print "done"
    ]])
  end)

  it("mixes waits: runs, spawned coroutines, any and gather over futures of both", function()
    assert.are.equal("done\n", run [[
      local a = fresh()
      local manager = a.manager({ backend = backend, max_pools = 1 }):start()
      local lease = manager:acquire()
      local futures = { lease:submit(string.upper, "x"), a.spawn(a.sleep, 0), manager:request() }
      local b = fresh()
      futures[4] = b.spawn(function() b.sleep(0) return "y" end)
      lease:release()
      local results = b.gather(futures)
      assert(results[1] == "X" and results[4] == "y" and results[3].state == "ACTIVE")
      assert(a.any { futures[4] } == 1)
      assert(a.run(function()
        return b.spawn(function() return b.run(function() return a.spawn(a.sleep, 0):status() end) end):await()
      end) == "pending")
      assert(not pcall(a.run, function()
        b.spawn(b.sleep, 1000) -- cancelled, though it is the other's
        error "x"
      end))
      manager:stop()
      print "done"
    ]])
  end)

  it("serves what goes on meanwhile: waiters, callbacks, loggers, a stop", function()
    assert.are.equal("told\nposted\nserved\nstopped 1\n", run [[
      local leasepool = fresh()
      local manager = leasepool.manager { backend = backend, max_pools = 1, workers_per_pool = 1,
        logger = function(_, message) print(message) end }
      manager:start()
      local lease = manager:acquire()
      local waiting = leasepool.spawn(function() return manager:acquire() end)
      lease:run(function() require("leasepool.worker").warn "told" end)
      lease:post(function() print "posted" end, function() end)
      lease:release()
      leasepool = fresh()
      collectgarbage()
      local next_one = waiting:await()
      print "served"
      next_one:run(function() end)
      leasepool.sleep(0)
      next_one:release()
      local stop = manager:stop { wait = false }
      leasepool = fresh()
      print("stopped " .. manager:stats().counters.released - stop:await().finished - 1)
    ]])
  end)

  it("may be forgotten whole, over and over, with its managers and without", function()
    assert.are.equal("same\n", run [[
      local stat = io.open "/proc/self/stat"
      local pid = stat:read "n"
      stat:close()
      local function count(what)
        local list <close> = assert(io.popen("ls /proc/" .. pid .. "/" .. what))
        local n = 0
        for _ in list:lines() do n = n + 1 end
        return n
      end
      local function cycle(stops)
        local leasepool = fresh()
        local manager = leasepool.manager({ backend = backend, max_pools = 2 }):start()
        work_with(leasepool, manager)
        if stops then manager:stop() end
      end
      local function all(times)
        for i = 1, times do cycle(i % 2 == 0) end
        for _ = 1, 20 do -- what was forgotten ends while the loop turns
          collectgarbage()
          cycle(true)
        end
        collectgarbage()
        return collectgarbage "count", count "task", count "fd"
      end
      all(200)
      local memory, threads, descriptors = all(20)
      for i = 1, 20 do
        local now_memory, now_threads, now_descriptors = all(200)
        if now_memory < memory + 20 and now_threads <= threads and now_descriptors <= descriptors then
          print "same"
          return
        end
      end
      print(memory, threads, descriptors)
    ]])
  end)

  it("may be taken out of package.loaded inside of a job", function()
    assert.are.equal("INNER\n", run [[
      local leasepool = fresh()
      local manager <close> = leasepool.manager({ backend = backend, max_pools = 1, workers_per_pool = 1 }):start()
      local lease <close> = manager:acquire()
      for _ = 1, 3 do
        lease:run(function()
          for name in pairs(package.loaded) do
            if name:find "^leasepool" then package.loaded[name] = nil end
          end
          assert(require("leasepool.worker").lease_id)
        end)
      end
      print(lease:run(function()
        local inner <close> = require("leasepool").manager({ max_pools = 1 }):start()
        return inner:run(string.upper, "inner")
      end))
    ]])
  end)
end)
