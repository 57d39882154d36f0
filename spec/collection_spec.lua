--- Objects that a script forgets, in every order: each is collected as soon as nobody needs it,
-- and what it stood for ends.
local leasepool = require "leasepool"
local backends = require "spec.support.backends"
local child = require "spec.support.child"
local gate = require "spec.support.gate"

local HEAD <const> = [[
  local backend <const>, stride <const> = ..., tonumber((select(2, ...)))
  local leasepool = require "leasepool"
  local worker = require "leasepool.worker"
  local gate = dofile "spec/support/gate.lua" -- luacheck: ignore
  io.stderr:setvbuf "full"

  local function permutations(list)
    return coroutine.wrap(function()
      local function permute(n)
        if n == 1 then coroutine.yield(list) end
        for i = 1, n > 1 and n or 0 do
          list[i], list[n] = list[n], list[i]
          permute(n - 1)
          list[i], list[n] = list[n], list[i]
        end
      end
      permute(#list)
    end)
  end

  local weak = setmetatable({}, { __mode = "k" })
  local function left()
    local names = {}
    for _, name in pairs(weak) do names[#names + 1] = name end
    table.sort(names)
    return table.concat(names, " ")
  end

  -- Drops what the world holds, one by one in this order, the collector running in between, and
  -- waits until all of it was collected.
  local function forget(world, order, between)
    for name, object in pairs(world) do weak[object] = name end
    for i, name in ipairs(order) do
      world[name] = nil
      collectgarbage()
      if between then between(i) end
    end
    local tries = 0
    while next(weak) do
      leasepool.sleep(0)
      collectgarbage()
      tries = tries + 1
      if tries > 20000 then
        error(("after %s there were left: %s"):format(table.concat(order, ", "), left()))
      end
    end
  end

  -- Everything may refer to everything, from what the manager calls. (Then nothing may be left to
  -- wait for ever: what waits is held, with its manager, and so with all to which that refers.)
  local function new_world(max_pools, all, on_soft_expiry)
    local function refer() return all and 0 end
    local manager = leasepool.manager { backend = backend, max_pools = max_pools, workers_per_pool = 1,
      size_provider = refer, logger = refer, log_target = { log = refer } }
    local lease = manager:start():acquire { owner = "forgotten", on_soft_expiry = on_soft_expiry and refer or nil }
    return {
      manager = manager, lease = lease, view = lease:with { name = "view" }, executor = lease.executor,
      request = manager:request(),
    }
  end
]]

backends.each("what a script forgets", function(backend)
  -- A sanitizer makes the collector slow: then every n-th order must do.
  local stride <const> = os.getenv "LEASEPOOL_SANITIZE" and 12 or 1

  local function run(code)
    local output, errors, status = child.run(HEAD .. code, backend.name, stride)
    errors = errors:gsub("leasepool: WARN: lease %d+ %(owner: [^\n]*\n", "")
      :gsub("leasepool: ERROR: a %l+ whose future nobody looked at failed: [^\n]*is not started[^\n]*\n", "")
      :gsub("stack traceback:\n\t[^\n]*", ""):gsub("\n?\t[^\n]*\n", "")
    assert.are.same({ "", 0 }, { errors, status })
    return output
  end

  it("is collected in all 720 orders of a manager, a lease, a view, an executor, a job and a request", function()
    assert.are.equal("720\n", run [[
      local count = 0
      for order in permutations { "manager", "lease", "view", "executor", "job", "request" } do
        if count % stride == 0 then
          local all = {}
          local world = new_world(2, all, count % 24 == 0)
          world.job = world.view:submit(string.upper, "x")
          world.job:await()
          for name, object in pairs(world) do all[name] = object end
          all = nil
          forget(world, order)
        end
        count = count + 1
      end
      print(count)
    ]])
  end)

  it("ends when its work is done, when that goes on meanwhile #threads", function()
    assert.are.equal("720\n", run [[
      local count = 0
      for order in permutations { "manager", "lease", "view", "executor", "job", "request" } do
        if count % (4 * stride) == 0 then
          local world, blocker = new_world(1), gate()
          local ran = false
          world.job = world.view:submit(function(id)
            require("leasepool.core").testing.gate_pass(id)
            worker.info "still here"
            return { "values" }
          end, blocker.id)
          world.job:on_done(function() ran = true end)
          blocker.await()
          forget(world, order, function(i)
            if i == count % 7 then blocker.open() end
            if i == 6 then blocker.open() end
          end)
          assert(ran)
        end
        count = count + 1
      end
      print(count)
    ]])
  end)

  it("is collected in all orders of a manager, coroutines that wait and have ended, and a stop", function()
    assert.are.equal("120\n", run [[
      local count = 0
      for order in permutations { "manager", "waiting", "ended", "failed", "stop" } do
        if count % stride == 0 then
          local world = new_world(1)
          local manager = world.manager
          local blocker = world.lease:submit(function() end)
          world = { manager = manager }
          world.waiting = leasepool.spawn(function() return manager:acquire() end)
          world.ended = leasepool.spawn(function() return world.manager end)
          world.failed = leasepool.spawn(function() error(setmetatable({ manager }, { __tostring = tostring })) end)
          pcall(world.failed.await, world.failed)
          world.stop = manager:stop { wait = false }
          blocker, manager = nil, nil -- luacheck: ignore
          forget(world, order)
        end
        count = count + 1
      end
      print(count)
    ]])
  end)

  it("is collected in all orders of a manager, a grinder, a view of it, an item and a stop", function()
    assert.are.equal("120\n", run [[
      local count = 0
      for order in permutations { "manager", "grinder", "view", "item", "stop" } do
        if count % stride == 0 then
          local all = {}
          local world = new_world(1, all)
          world = { manager = world.manager }
          world.grinder = leasepool.grinder({ manager = world.manager, batch_size_threshold = 1 + count % 3,
            on_progress = function() return all end }):start()
          world.view = world.grinder:with { owner = "forgotten" }
          world.item = world.view:enqueue(string.upper, "x")
          world.item:on_done(function() return all end)
          world.view:enqueue(string.upper, "y")
          world.stop = count % 5 > 0 and world.grinder:stop { wait = false, cancel_pending = count % 2 == 0 } or {}
          for name, object in pairs(world) do all[name] = object end
          all = nil
          forget(world, order)
        end
        count = count + 1
      end
      print(count)
    ]])
  end)

  it("is collected although results, errors and callbacks refer to it", function()
    assert.are.equal("ok\n", run [[
      for _ = 1, 50 do
        local world = new_world(1)
        local lease = world.lease
        world.job = lease:submit(function() return { {} } end)
        world.job:await()[1].back = world
        world.failed = lease:submit(error, {})
        select(2, world.failed:result()).cause.back = world
        world.coroutine = leasepool.spawn(function() return world end)
        world.job:on_done(function() return world end)
        world.iterator = lease:imap(tostring, function() return world and lease.state end, { window = 1 })
        world.cancelled = leasepool.spawn(function() return world, leasepool.sleep(1000) end)
        world.cancelled:cancel()
        world.cancelled:result()
        lease = nil -- luacheck: ignore
        forget(world, { "manager", "job", "failed", "coroutine", "cancelled", "iterator", "view", "executor",
          "lease", "request" })
      end
      print "ok"
    ]])
  end)
end)

backends.each("a lease", function(backend)
  it("keeps its manager, which goes on and is told what there is to log", function()
    local lines = {}
    local function lend()
      local function logger(_, message) lines[#lines + 1] = message end
      return leasepool.manager({ backend = backend.name, max_pools = 1, logger = logger }):start():acquire()
    end
    local lease <close> = lend()
    for _ = 1, 3 do
      collectgarbage()
      leasepool.sleep(0)
    end
    lease:run(function() warn "heard" end)
    assert.are.same({ "heard" }, lines)
    assert.are.equal("ACTIVE", lease.state)
    assert.are.equal(1, lease:run(function() return 1 end))
  end)

  it("is no reason for its manager to live once its jobs hold both no more", function()
    local weak = setmetatable({}, { __mode = "k" })
    local blocker = gate()
    local future
    do
      local manager = leasepool.manager({ backend = backend.name, max_pools = 1 }):start()
      local lease <close> = manager:acquire()
      weak[manager], weak[lease] = true, true
      future = lease:submit(blocker.pass, blocker.id, "done")
    end
    blocker.await()
    for _ = 1, 3 do collectgarbage() end
    assert.is_nil(next(weak))
    blocker.open()
    assert.are.equal("done", future:await())
  end)
end)
