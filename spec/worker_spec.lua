local leasepool = require "leasepool"
local testing = require("leasepool.core").testing
local worker = require "leasepool.worker"
local backends = require "spec.support.backends"
local child = require "spec.support.child"
local gate = require "spec.support.gate"
local failure = require "spec.support.failure"

local function quiet() end

local function name_of_worker() return require("leasepool.worker").name end

backends.each("the initializer of a manager", function(backend)
  it("runs once in each worker, before its first job, with its arguments #threads", function()
    local function initialize(...) made = (made or 0) + 1 given = table.pack(...) end -- luacheck: ignore
    local manager <close> = backend.manager {
      max_pools = 1, workers_per_pool = 2, initializer = initialize, initargs = { 1, { 2 }, n = 3 },
    }
    manager:start()
    local lease <close> = manager:acquire()
    -- luacheck: push ignore
    local function look(id)
      require("leasepool.core").testing.gate_pass(id)
      return require("leasepool.worker").name, made, given.n, given[1], given[2][1]
    end
    -- luacheck: pop
    local both = gate()
    local a, b = lease:submit(look, both.id), lease:submit(look, both.id)
    both.await(2)
    both.open()
    local name_a, name_b = a:await(), b:await()
    assert.are_not.equal(name_a, name_b)
    assert.are.same({ 1, 3, 1, 2 }, { select(2, a:await()) })
    assert.are.same({ 1, 3, 1, 2 }, { select(2, b:await()) })
    assert.are.equal(1, (select(2, lease:run(look, both.id))))
  end)

  it("gets what its upvalues and arguments were when the manager was made", function()
    local list, factor = { 20 }, 2
    local manager <close> = backend.manager {
      max_pools = 1,
      initializer = function(values) product = values[1] * factor end, -- luacheck: ignore
      initargs = { list },
    }
    list[1], factor = 0, 0
    manager:start()
    local lease <close> = manager:acquire()
    assert.are.equal(40, lease:run(function() return product end)) -- luacheck: ignore
  end)

  it("is refused where it cannot travel, with the path, when the manager is made", function()
    local file <close> = assert(io.open("/dev/null"))
    local err = failure(leasepool.manager, { max_pools = 1, initializer = quiet, initargs = { 1, { log = file } } })
    assert.are.equal("TransferError", err.name)
    assert.are.equal("arg 2.log", err.path)
    assert.matches("^initializer: cannot transfer arg 2.log: userdata", err.message)
    err = failure(leasepool.manager, { max_pools = 1, initializer = function() return file end })
    assert.are.equal("TransferError", err.name)
    assert.matches("^initializer: cannot transfer function: upvalue file: userdata", err.message)
  end)

  it("is a function, and its arguments are a list", function()
    local function refusal(options)
      options.max_pools = 1
      local err = failure(leasepool.manager, options)
      assert.are.equal("ConfigError", err.name)
      return err.message
    end
    assert.matches("^initializer: got 3, allowed: a function", refusal { initializer = 3 })
    assert.matches('^initargs: got "x", allowed: a list', refusal { initializer = quiet, initargs = "x" })
    assert.matches("^initargs: got table, allowed: a list", refusal { initializer = quiet, initargs = { n = -1 } })
    for _, list in ipairs { { n = 1.5 }, { n = "1" }, { 1, name = "x" }, { [0] = 1 }, { "a", "b", n = 1 } } do
      assert.matches("^initargs: got table, allowed: a list", refusal { initializer = quiet, initargs = list })
    end
    assert.matches("^initargs: got a list, allowed: nil without an initializer", refusal { initargs = {} })
  end)

  it("that raises breaks the executor, and its error reaches whoever waits #threads", function()
    local manager <close> = backend.manager {
      max_pools = 1, workers_per_pool = 1, logger = quiet,
      initializer = function(what) error("no " .. what) end, initargs = { "licence" },
    }
    manager:start()
    local lease <close> = manager:acquire()
    local first, second = lease:submit(name_of_worker), lease:submit(name_of_worker)
    for _, future in ipairs { first, second } do
      local err = failure(future.await, future)
      assert.are.equal("BrokenExecutorError", err.name)
      assert.matches("the initializer failed: .*worker_spec.lua:%d+: no licence\nstack traceback:\n", err.message)
      assert.matches("^the initializer failed: .*no licence\nstack traceback:\n", err.reason)
    end
    assert.are.equal("CLOSED", lease.state)
  end)

  it("that raises with prestart breaks the executor when there is no job either", function()
    local all = gate()
    local manager <close> = backend.manager {
      max_pools = 1, workers_per_pool = 2, prestart = true, logger = quiet,
      initializer = function(id)
        require("leasepool.core").testing.gate_pass(id)
        error "early"
      end,
      initargs = { all.id },
    }
    manager:start()
    local lease <close> = manager:acquire()
    all.open()
    local err
    repeat
      local ok
      ok, err = pcall(lease.run, lease, name_of_worker)
      assert.is_false(ok)
    until err.name ~= "BrokenExecutorError" or err.reason
    assert.matches("early", err.message)
  end)

  it("may raise what is no string, and what has no text", function()
    for _, raised in ipairs { "nil", "{}", "setmetatable({}, { __tostring = error })", "42" } do
      local manager <close> = backend.manager {
        max_pools = 1, workers_per_pool = 1, logger = quiet,
        initializer = load("error(" .. raised .. ", 0)"),
      }
      manager:start()
      local lease <close> = manager:acquire()
      local err = failure(lease.run, lease, name_of_worker)
      assert.are.equal("BrokenExecutorError", err.name)
      assert.matches("^the initializer failed", err.reason)
      assert.not_matches("not enough memory", err.reason)
    end
  end)

  it("may use the worker module, but has no lease", function()
    local manager <close> = backend.manager {
      max_pools = 1, workers_per_pool = 1, name_prefix = "init",
      initializer = function()
        seen = { worker.name, worker.lease_id, worker.owner, -- luacheck: ignore
          cancelled = worker.cancelled(), remaining = worker.remaining() }
      end,
    }
    manager:start()
    local lease <close> = manager:acquire { owner = "me" }
    local seen = lease:run(function() return seen end) -- luacheck: ignore
    assert.matches("^init%-%d+%-1$", seen[1])
    assert.are.same({ nil, nil, false, nil }, { seen[2], seen[3], seen.cancelled, seen.remaining })
  end)
end)

backends.each("prestart", function(backend)
  it("starts all workers and runs their initializers before any job #threads", function()
    local came = gate()
    local manager <close> = backend.manager {
      max_pools = 1, workers_per_pool = 3, prestart = true,
      initializer = function(id) require("leasepool.core").testing.gate_pass(id) end, initargs = { came.id },
    }
    manager:start()
    came.await(3)
    came.open()
    local lease <close> = manager:acquire()
    local all, names = gate(), {}
    local futures = {}
    for i = 1, 3 do
      futures[i] = lease:submit(function(id)
        require("leasepool.core").testing.gate_pass(id)
        return require("leasepool.worker").name
      end, all.id)
    end
    all.await(3)
    all.open()
    for i, name in ipairs(leasepool.gather(futures)) do names[i] = name:match "%d+$" end
    table.sort(names)
    assert.are.same({ "1", "2", "3" }, names)
  end)

  it("is not done by default: workers start when jobs need them", function()
    local came = gate()
    local manager <close> = backend.manager {
      max_pools = 1, workers_per_pool = 3,
      initializer = function(id) require("leasepool.core").testing.gate_pass(id) end, initargs = { came.id },
    }
    manager:start()
    local lease <close> = manager:acquire()
    came.open()
    lease:run(quiet)
    lease:run(quiet)
    assert.is_true(testing.gate_await(came.id, 1))
    lease:run(quiet)
    local name = lease:run(name_of_worker)
    assert.matches("%-1$", name)
  end)

  it("goes on with the workers that could be started, and lacks none that ended", function()
    local came, before = gate(), (testing.gate_counts())
    local manager <close> = backend.manager {
      max_pools = 1, workers_per_pool = 2, prestart = true, max_tasks_per_worker = 1,
      initializer = function(id) require("leasepool.core").testing.gate_pass(id) end, initargs = { came.id },
    }
    testing.fail_thread(2)
    manager:start()
    testing.fail_thread(0)
    came.open()
    came.await(1)
    manager:run(quiet)
    local start = os.time()
    while testing.gate_counts() < before + 2 and os.time() - start < 20 do leasepool.sleep(0.001) end
    local started = testing.gate_counts() - before -- with no job in the queue
    assert.is_true(started == 2 or started == 3, started) -- one more, if the job found the first one not ready
  end)

  it("fails the start when not one worker can be started", function()
    local manager <close> = backend.manager { max_pools = 1, workers_per_pool = 1, prestart = true }
    testing.fail_thread(1)
    local ok, err = pcall(manager.start, manager)
    testing.fail_thread(0)
    assert.is_false(ok)
    assert.is_true(leasepool.is_error(err))
    manager:start()
    manager:acquire():release()
  end)
end)

backends.each("max_tasks_per_worker", function(backend)
  it("replaces a worker after that many jobs, loses none and keeps their order #threads", function()
    local manager <close> = backend.manager { max_pools = 1, workers_per_pool = 1, max_tasks_per_worker = 3 }
    manager:start()
    local lease <close> = manager:acquire()
    local futures, numbers = {}, {}
    for i = 1, 10 do
      futures[i] = lease:submit(function(n)
        count = (count or 0) + 1 -- luacheck: ignore
        return { n, count, tonumber(require("leasepool.worker").name:match "%d+$") } -- luacheck: ignore
      end, i)
    end
    for i, result in ipairs(leasepool.gather(futures)) do numbers[i] = table.concat(result, " ") end
    assert.are.same({ "1 1 1", "2 2 1", "3 3 1", "4 1 2", "5 2 2", "6 3 2", "7 1 3", "8 2 3", "9 3 3", "10 1 4" },
      numbers)
  end)

  -- Not for ThreadSanitizer, whose own allocator gives up at times when so many threads come and
  -- go ("failed to allocate 0x1ec1ffffff000 bytes").
  it("holds with several workers and over several leases", function()
    local manager <close> = backend.manager { max_pools = 1, workers_per_pool = 4, max_tasks_per_worker = 1 }
    manager:start()
    local seen, jobs = {}, 0
    for _ = 1, 3 do
      local lease <close> = manager:acquire()
      local futures = {}
      for i = 1, 12 do futures[i] = lease:submit(name_of_worker) end
      for _, name in ipairs(leasepool.gather(futures)) do
        assert.is_nil(seen[name], name) -- numbers are never used again
        seen[name] = true
        jobs = jobs + 1
      end
    end
    assert.are.equal(36, jobs)
  end)

  it("breaks the executor when no replacement can be started and jobs wait", function()
    local manager <close> = backend.manager {
      max_pools = 1, workers_per_pool = 1, max_tasks_per_worker = 1, logger = quiet,
    }
    manager:start()
    local lease <close> = manager:acquire()
    local first = gate()
    local futures = { lease:submit(first.pass, first.id, "ran") }
    for i = 2, 4 do futures[i] = lease:submit(quiet) end
    first.await()
    testing.fail_thread(1)
    first.open()
    assert.are.equal("ran", futures[1]:await())
    for i = 2, 4 do
      local err = failure(futures[i].await, futures[i])
      assert.are.equal("BrokenExecutorError", err.name)
      assert.matches("no worker could be started", err.reason)
    end
    testing.fail_thread(0)
  end)
end)

backends.each("memory_limit", function(backend)
  local LIMIT <const> = 1 << 20

  local function hoard()
    local kept = {}
    repeat kept[#kept + 1] = ("x"):rep(1000) .. #kept until false
  end

  it("fails the job that passes it, and leaves the worker usable #threads", function()
    local manager <close> = backend.manager { max_pools = 1, workers_per_pool = 1, memory_limit = LIMIT }
    manager:start()
    local lease <close> = manager:acquire()
    for _ = 1, 3 do
      local err = failure(lease.run, lease, hoard)
      assert.are.equal("JobError", err.name)
      assert.are.equal("not enough memory", err.cause)
      assert.matches("%-1$", err.worker)
      assert.are.equal(500000, lease:run(function() return #("x"):rep(500000) end))
    end
    assert.matches("%-1$", lease:run(name_of_worker)) -- the same worker all the time
  end)

  it("leaves the next job its memory, whatever the one before has kept", function()
    local manager <close> = backend.manager { max_pools = 1, workers_per_pool = 1, memory_limit = LIMIT }
    manager:start()
    local lease <close> = manager:acquire()
    local err = failure(lease.run, lease, function()
      _G.hoard = {}
      for i = 1, math.huge do _G.hoard[i] = {} end
    end)
    assert.are.equal("not enough memory", err.cause)
    for _ = 1, 3 do assert.are.equal(500000, lease:run(function() return #("x"):rep(500000) end)) end
  end)

  it("holds for arguments, results and what the job raises", function()
    local manager <close> = backend.manager { max_pools = 1, workers_per_pool = 1, memory_limit = LIMIT }
    manager:start()
    local lease <close> = manager:acquire()
    local err = failure(lease.run, lease, quiet, ("x"):rep(2 * LIMIT))
    assert.are.same({ "JobError", "not enough memory" }, { err.name, err.cause })
    err = failure(lease.run, lease, function() error(("x"):rep(400000)) end)
    assert.are.equal("JobError", err.name)
    assert.are.equal(400000, #lease:run(function() return ("x"):rep(400000) end))
  end)

  it("is told to the job as an error it can catch", function()
    local manager <close> = backend.manager { max_pools = 1, workers_per_pool = 1, memory_limit = LIMIT }
    manager:start()
    local lease <close> = manager:acquire()
    local ok, err = lease:run(function() return pcall(string.rep, "x", 1 << 22) end)
    assert.are.same({ false, "not enough memory" }, { ok, err })
  end)

  it("that a fresh state does not fit in breaks the executor and says so", function()
    local path <const> = package.path
    package.path = path .. ";" .. ("x"):rep(100000)
    local manager <close> = backend.manager { max_pools = 1, memory_limit = 65536, logger = quiet }
    manager:start()
    package.path = path
    local lease <close> = manager:acquire()
    local err = failure(lease.run, lease, quiet)
    assert.are.equal("BrokenExecutorError", err.name)
    assert.are.equal("memory_limit: 65536 bytes are not enough for a worker's Lua state", err.reason)
  end)

  it("holds for the initializer", function()
    local manager <close> = backend.manager {
      max_pools = 1, workers_per_pool = 1, memory_limit = LIMIT, logger = quiet,
      initializer = function() kept = ("x"):rep(1 << 21) end, -- luacheck: ignore
    }
    manager:start()
    local lease <close> = manager:acquire()
    local err = failure(lease.run, lease, quiet)
    assert.are.equal("BrokenExecutorError", err.name)
    assert.matches("the initializer failed: not enough memory", err.reason)
  end)
end)

backends.each("the threads of workers", function(backend)
  if not backend.threads then return end
  local function threads()
    local names = {}
    local stat <close> = assert(io.open "/proc/self/stat")
    for _, path in ipairs { "/proc/" .. stat:read "n" .. "/task" } do
      local pipe <close> = assert(io.popen("cat " .. path .. "/*/comm"))
      for name in pipe:lines() do names[name] = (names[name] or 0) + 1 end
    end
    return names
  end

  it("have names that the system shows, with the numbers whole", function()
    local prefix = "a-prefix-that-is-too-long"
    local manager <close> = backend.manager { max_pools = 1, workers_per_pool = 12, prestart = true,
      name_prefix = prefix }
    local came = gate()
    manager:start()
    local lease <close> = manager:acquire()
    local futures = {}
    for i = 1, 12 do
      futures[i] = lease:submit(function(id)
        require("leasepool.core").testing.gate_pass(id)
        return require("leasepool.worker").name
      end, came.id)
    end
    came.await(12)
    local shown = threads()
    came.open()
    for _, name in ipairs(leasepool.gather(futures)) do
      local numbers = name:match "%-%d+%-%d+$"
      assert.are.equal(prefix .. numbers, name) -- inside it is never cut
      assert.are.equal(1, shown[prefix:sub(1, 15 - #numbers) .. numbers], name)
    end
  end)
end)

backends.each("leasepool.worker", function(backend)
  it("knows the worker, the lease and its owner, job by job", function()
    local manager <close> = backend.manager { max_pools = 1, workers_per_pool = 1, name_prefix = "w" }
    manager:start()
    local function look() return worker.name, worker.lease_id, worker.owner, worker.unknown end
    local names = {}
    for i = 1, 2 do
      local lease <close> = manager:acquire { owner = i == 1 and "first" or nil }
      local name, id, owner, unknown = lease:run(look)
      names[i] = name
      assert.matches("^w%-%d+%-1$", name)
      assert.are.same({ lease.lease_id, lease.owner }, { id, owner })
      assert.is_nil(unknown)
    end
    assert.are.equal(names[1], names[2])
  end)

  it("keeps nothing that a job writes into it for the next one", function()
    local manager <close> = backend.manager({ max_pools = 1, workers_per_pool = 1 }):start()
    local lease <close> = manager:acquire { owner = "mine" }
    local ok, err = pcall(lease.run, lease, function() worker.owner = "other" end)
    assert.is_false(ok)
    assert.matches('leasepool.worker: "owner" cannot be set', err.cause.message, 1, true)
    assert.are.equal("mine", lease:run(function() return worker.owner end))
  end)

  it("knows how much time is left: until the hard expiry", function()
    local manager <close> = backend.manager { max_pools = 1, lease_grace_seconds = 5 }
    manager:start()
    local lease <close> = manager:acquire { lease_seconds = 20 }
    local left = lease:run(worker.remaining)
    assert.is_true(left > 0 and left <= 25, left)
    lease:renew(100)
    assert.is_true(lease:run(worker.remaining) > 25)
  end)

  it("is not cancelled while nobody asked for a stop", function()
    local manager <close> = backend.manager({ max_pools = 1 }):start()
    local lease <close> = manager:acquire()
    assert.is_false(lease:run(worker.cancelled))
  end)

  it("has no worker in the script: its fields are nil and its functions raise", function()
    assert.is_nil(worker.name)
    assert.is_nil(worker.lease_id)
    assert.is_nil(worker.owner)
    for _, name in ipairs { "cancelled", "remaining", "log", "debug", "info", "warn", "error" } do
      local err = failure(worker[name], "INFO", "x")
      assert.are.equal("WrongThreadError", err.name)
      assert.matches("^worker." .. name .. ": there is no worker here", err.message)
    end
  end)

  it("says which argument of a log call was wrong", function()
    local manager <close> = backend.manager { max_pools = 1, logger = quiet }
    manager:start()
    local lease <close> = manager:acquire()
    local function refusal(...)
      local err = failure(lease.run, lease, ...).cause
      assert.are.equal("ConfigError", err.name)
      return err.message
    end
    assert.are.equal('worker.log: level: got "LOUD", allowed: "DEBUG", "INFO", "WARN" or "ERROR"',
      refusal(worker.log, "LOUD", "x"))
    assert.matches("worker.log: level: got 3", refusal(worker.log, 3, "x"))
    assert.matches("worker.log: level: got no value", refusal(worker.log))
    assert.matches("worker.log: message: got no value", refusal(worker.log, "INFO"))
    assert.matches("worker.info: fields: got 3, allowed: a table", refusal(worker.info, "x", 3))
  end)
end)

backends.each("a program with workers", function(backend)
  it("ends in order while initializers run", function()
    local output, errors, status = child.run([[
      local leasepool = require "leasepool"
      local manager = leasepool.manager { backend = ...,
        max_pools = 2, min_pools = 2, workers_per_pool = 4, prestart = true,
        initializer = function() warn "starting" end,
      }
      manager:start()
    ]], backend.name)
    assert.are.same({ "", 0 }, { output, status })
    assert.are.equal("", (errors:gsub("leasepool: WARN: starting[^\n]*\n", "")))
  end)
end)
