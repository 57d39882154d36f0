local leasepool = require "leasepool"
local testing = require("leasepool.core").testing
local worker = require "leasepool.worker"
local backends = require "spec.support.backends"
local child = require "spec.support.child"
local gate = require "spec.support.gate"
local failure = require "spec.support.failure"

-- A logger that remembers, and its lines.
local function recorder()
  local lines = {}
  return function(level, message, fields)
    lines[#lines + 1] = { level = level, message = message, fields = fields }
  end, lines
end

-- A lease of a manager with these options, and the lines logged.
local function lend(backend, options, acquire)
  local logger, lines = recorder()
  options.max_pools = options.max_pools or 1
  options.workers_per_pool = options.workers_per_pool or 1
  if options.logger == nil then options.logger = logger end
  local manager = backend.manager(options):start()
  local lease = manager:acquire(acquire)
  local function finish()
    lease:release()
    manager:stop()
  end
  return setmetatable({ manager = manager, lease = lease, lines = lines, finish = finish }, { __close = finish })
end

local function texts(lines)
  local list = {}
  for i, line in ipairs(lines) do list[i] = line.level .. " " .. line.message end
  return list
end

backends.each("what a job logs", function(backend)
  it("arrives with its level, its fields, the worker, the lease and the owner", function()
    local lent <close> = lend(backend, { name_prefix = "logs" }, { owner = "me" })
    lent.lease:run(function() worker.log("warn", "careful", { number = 1, list = { "a" } }) end)
    assert.are.equal(1, #lent.lines)
    assert.are.same({ "WARN", "careful" }, { lent.lines[1].level, lent.lines[1].message })
    assert.matches("^logs%-%d+%-1$", lent.lines[1].fields.worker)
    lent.lines[1].fields.worker = nil
    assert.are.same({ number = 1, list = { "a" }, lease_id = lent.lease.lease_id, owner = "me" }, lent.lines[1].fields)
  end)

  it("arrives in order, and before the result of the job #threads", function()
    local lent <close> = lend(backend, { workers_per_pool = 3 })
    local futures, seen = {}, {}
    for job = 1, 20 do
      futures[job] = lent.lease:submit(function(n)
        for i = 1, 20 do worker.info(n .. "." .. i, { job = n, i = i }) end
        return n
      end, job)
      futures[job]:on_done(function()
        local count = 0
        for _, line in ipairs(lent.lines) do
          if line.fields.job == job then
            count = count + 1
            assert(line.fields.i == count)
          end
        end
        seen[job] = count
      end)
    end
    leasepool.gather(futures)
    leasepool.sleep(0)
    assert.are.equal(400, #lent.lines)
    for job = 1, 20 do assert.are.equal(20, seen[job]) end
  end)

  it("has a function for each level, which takes any value as message", function()
    local lent <close> = lend(backend, { log_level = "debug" })
    lent.lease:run(function()
      worker.debug("d")
      worker.info(42)
      worker.warn(setmetatable({}, { __tostring = function() return "w" end }))
      worker.error(nil)
      worker.log("Error", "e\0e")
    end)
    assert.are.same({ "DEBUG d", "INFO 42", "WARN w", "ERROR nil", "ERROR e\0e" }, texts(lent.lines))
  end)

  it("reaches the logger although the manager itself was forgotten and collected", function()
    local lines = {}
    local manager = leasepool.manager {
      backend = backend.name, max_pools = 1, logger = function(_, message) lines[#lines + 1] = message end,
    }
    local lease = manager:start():acquire()
    manager = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    lease:run(function() worker.warn("still heard") end)
    lease:release()
    assert.are.same({ "still heard" }, lines)
  end)

  it("is forwarded from log_level on", function()
    for level, count in pairs { DEBUG = 4, Info = 3, WARN = 2, error = 1 } do
      local lent <close> = lend(backend, { log_level = level })
      lent.lease:run(function()
        for _, name in ipairs { "debug", "info", "warn", "error" } do worker[name](name) end
      end)
      assert.are.equal(count, #lent.lines, level)
    end
    local lent <close> = lend(backend, {})
    lent.lease:run(function() worker.debug("no") worker.info("yes") end)
    assert.are.same({ "INFO yes" }, texts(lent.lines))
  end)

  it("is not forwarded when forward_logs is false", function()
    local lent <close> = lend(backend, { forward_logs = false })
    lent.lease:run(function() worker.error("no") warn("no") end)
    assert.are.same({}, lent.lines)
  end)

  it("goes to log_target, and only there", function()
    local target, at_target = recorder()
    local lent <close> = lend(backend, { log_target = target })
    lent.lease:run(function() worker.error("for the target") end)
    assert.are.same({}, lent.lines)
    assert.are.same({ "ERROR for the target" }, texts(at_target))
  end)

  it("may have fields that cannot travel: their text does", function()
    local lent <close> = lend(backend, {})
    lent.lease:run(function()
      local shared = { 1 }
      local fields = {
        thread = coroutine.create(print),
        object = setmetatable({}, { __tostring = function() return "an object" end }),
        broken = setmetatable({}, { __tostring = function() error "no" end }),
        closure = function() return shared, io.stdout end,
        [io.stdout] = "key",
        number = 1, shared = shared, again = { shared },
      }
      fields.self = fields
      worker.info("x", fields)
    end)
    local fields = lent.lines[1].fields
    assert.matches("^thread: ", fields.thread)
    assert.are.equal("an object", fields.object)
    assert.matches("^table: ", fields.broken)
    assert.are.equal(backend.code and "function" or "string", type(fields.closure))
    assert.are.equal(1, fields.number)
    assert.are.equal(fields.shared, fields.again[1])
    local key
    for k, v in pairs(fields) do if v == "key" then key = k end end
    assert.matches("^file %(0x", key)
    assert.are.equal("table", type(fields.self))
  end)

  it("may have fields nested deeper than a message, and ones that change while they are read", function()
    local lent <close> = lend(backend, {})
    lent.lease:run(function()
      local deep = {}
      for _ = 1, 500 do deep = { deep } end
      worker.info("deep", { deep = deep })
      local wild = {}
      wild.bad = setmetatable({}, { __tostring = function()
        for i = 1, 100 do wild["new" .. i] = i end
        wild.bad = nil
        return "bad"
      end })
      worker.info("wild", wild)
    end)
    assert.are.same({ "INFO deep", "INFO wild" }, texts(lent.lines))
  end)

  it("is copied at the call", function()
    local lent <close> = lend(backend, {})
    lent.lease:run(function()
      local fields = { n = 1 }
      worker.info("x", fields)
      fields.n = 2
    end)
    assert.are.equal(1, lent.lines[1].fields.n)
  end)

  if not backend.threads then return end -- a process says what it can: see process_spec.lua

  it("is bounded for each worker, and what was dropped is told #threads", function()
    local lent <close> = lend(backend, {})
    local all = gate()
    local future = lent.lease:submit(function(id)
      for i = 1, 1500 do worker.info("line", { i = i }) end
      require("leasepool.core").testing.gate_pass(id)
      worker.info("after")
    end, all.id)
    all.await() -- nothing was delivered so far: no turn has run
    testing.turn()
    all.open()
    future:await()
    assert.are.equal(1024 + 2, #lent.lines)
    for i = 1, 1024 do assert.are.equal(i, lent.lines[i].fields.i) end
    assert.are.same({ "WARN", "476 lines were dropped" }, { lent.lines[1025].level, lent.lines[1025].message })
    assert.is_string(lent.lines[1025].fields.worker)
    assert.are.equal("after", lent.lines[1026].message)
  end)

  it("is bounded in bytes too, but one line may be of any length", function()
    local lent <close> = lend(backend, {})
    local all = gate()
    local future = lent.lease:submit(function(id)
      worker.info(("x"):rep(3000000))
      worker.info("dropped")
      require("leasepool.core").testing.gate_pass(id)
    end, all.id)
    all.await()
    all.open()
    future:await()
    assert.are.equal(3000000, #lent.lines[1].message)
    assert.are.equal("1 line was dropped", lent.lines[2].message)
    assert.are.equal(2, #lent.lines)
  end)
end)

backends.each("Lua's warn in a job", function(backend)
  it("is forwarded as a warning, its pieces joined", function()
    local lent <close> = lend(backend, {}, { owner = "w" })
    lent.lease:run(function() warn("one") warn("two ", "and", " three") warn("@", "x") end)
    assert.are.same({ "WARN one", "WARN two and three", "WARN @x" }, texts(lent.lines))
    assert.are.same({ lent.lease.lease_id, "w" }, { lent.lines[1].fields.lease_id, lent.lines[1].fields.owner })
  end)

  it("obeys @on and @off until the job ends, and ignores other control messages", function()
    local lent <close> = lend(backend, {})
    lent.lease:run(function() warn("@off") warn("no") warn("@on") warn("yes") warn("@else") warn("@off") end)
    lent.lease:run(function() warn("next job") end)
    assert.are.same({ "WARN yes", "WARN next job" }, texts(lent.lines))
  end)

  it("obeys what the initializer chose, in each job", function()
    local lent <close> = lend(backend, { initializer = function() warn("init") warn("@off") end })
    lent.lease:run(function() warn("no") warn("@on") warn("yes") end)
    lent.lease:run(function() warn("no") end)
    assert.are.same({ "WARN init", "WARN yes" }, texts(lent.lines))
    assert.is_nil(lent.lines[1].fields.lease_id)
  end)

  it("tells of errors in finalizers, when the worker ends too", function()
    local lent = lend(backend, {})
    lent.lease:run(function()
      setmetatable({}, { __gc = function() error "in a finalizer" end })
      collectgarbage()
      kept = setmetatable({}, { __gc = function() warn("the end") end }) -- luacheck: ignore
    end)
    assert.matches("in a finalizer", lent.lines[1].message)
    lent.finish()
    assert.are.equal("WARN the end", texts(lent.lines)[2])
    assert.is_nil(lent.lines[2].fields.lease_id)
  end)
end)

backends.each("the logger of a manager", function(backend)
  local function refusal(options)
    options.max_pools = 1
    local err = failure(leasepool.manager, options)
    assert.are.equal("ConfigError", err.name)
    return err.message
  end

  it("is a function or an object with a method log", function()
    for _, name in ipairs { "logger", "log_target" } do
      for _, value in ipairs { 3, "x", true, {}, { log = 3 }, io.stdout, coroutine.create(print) } do
        assert.matches("^" .. name .. ": got .*, allowed: a function, or an object with a method log",
          refusal { [name] = value })
      end
    end
    assert.are.equal('log_level: got "LOUD", allowed: "DEBUG", "INFO", "WARN" or "ERROR"',
      refusal { log_level = "LOUD" })
    assert.matches("^log_level: got 2", refusal { log_level = 2 })
    assert.matches("^forward_logs: got 1, allowed: true or false", refusal { forward_logs = 1 })
  end)

  it("may be of LuaLogging's shape: fields follow the text", function()
    local object = { lines = {} }
    function object:log(level, message) self.lines[#self.lines + 1] = { self, level, message } end
    local lent <close> = lend(backend, { logger = object, name_prefix = "w" }, { owner = "a b" })
    lent.lease:run(function()
      worker.info("100 %d", { z = 1, a = 'say "x"', t = { 1, { k = "v" } }, e = {}, n = "1\n2" })
    end)
    assert.are.equal(object, object.lines[1][1])
    assert.are.equal("INFO", object.lines[1][2])
    assert.matches("^100 %%d worker=w%-%d+%-1 lease_id=" .. lent.lease.lease_id
      .. ' owner="a b" a="say \\"x\\"" e={} n="1\\n2" t={1, {k=v}} z=1$', object.lines[1][3])
  end)

  it("may be a userdata with such a method", function()
    local methods, seen = getmetatable(io.stdout).__index, {}
    methods.log = function(self, level, message) seen[1] = { self, level, (message:match "^%S+") } end
    do
      local lent <close> = lend(backend, { logger = io.stdout })
      lent.lease:run(function() worker.warn("seen") end)
    end
    methods.log = nil
    assert.are.same({ { io.stdout, "WARN", "seen" } }, seen)
  end)

  it("gets the lease that leaked", function()
    local logger, lines = recorder()
    local manager <close> = backend.manager { max_pools = 1, logger = logger }
    manager:start()
    local id
    do
      local lease = manager:acquire { owner = "careless" }
      id = lease.lease_id
    end
    collectgarbage()
    collectgarbage()
    assert.are.equal(0, #lines) -- a logger is called from a turn, never by a finalizer
    leasepool.sleep(0)
    assert.are.equal(1, #lines)
    assert.are.equal("WARN", lines[1].level)
    assert.matches("lease " .. id .. " %(owner: careless%) was collected unreleased", lines[1].message)
    assert.are.same({ lease_id = id, owner = "careless" }, lines[1].fields)
  end)

  it("gets the failures that nobody looked at, and the errors of callbacks", function()
    local lent <close> = lend(backend, {})
    lent.lease:submit(error, "forgotten")
    lent.lease:post(function() error "in a callback" end, print)
    lent.lease:submit(print):on_done(function() error "once done" end)
    lent.lease:run(function() end)
    collectgarbage()
    collectgarbage()
    leasepool.sleep(0)
    table.sort(lent.lines, function(a, b) return a.message < b.message end)
    assert.are.equal(3, #lent.lines)
    assert.matches("^a callback of lease:post failed: .*in a callback\nstack traceback", lent.lines[1].message)
    assert.matches("^a callback of on_done failed: .*once done\nstack traceback", lent.lines[2].message)
    assert.matches("^a job whose future nobody looked at failed: forgotten", lent.lines[3].message)
    assert.are.same({ "ERROR", "ERROR" }, { lent.lines[1].level, lent.lines[2].level })
  end)

  it("gets what leasepool has to say of its executors", function()
    local lent <close> = lend(backend, { initializer = function() error "no licence" end })
    assert.are.equal("BrokenExecutorError", failure(lent.lease.run, lent.lease, print).name)
    leasepool.sleep(0)
    assert.are.equal("WARN", lent.lines[1].level)
    assert.matches("^executor %d+ broke: the initializer failed: .*no licence", lent.lines[1].message)
  end)

  it("may use leasepool, but not wait", function()
    local seen, lent = {}
    lent = lend(backend, { logger = function(_, message)
      if #seen == 0 then
        seen[1] = lent.manager.leased_count
        lent.lease:post(function(_, value) seen[2] = value end, function() return "posted" end)
        seen[3] = select(2, pcall(lent.lease.run, lent.lease, print)).name
        seen[4] = message
      end
    end })
    lent.lease:run(function() worker.info("go") end)
    lent.lease:run(function() end)
    assert.are.same({ 1, "posted", "WouldBlockError", "go" }, seen)
    lent.finish()
  end)

  it("that raises is replaced by standard error, once", function()
    local output, errors, status = child.run([[
      local leasepool = require "leasepool"
      local worker = require "leasepool.worker"
      local calls = 0
      local manager <close> = leasepool.manager { backend = ...,
        max_pools = 1, workers_per_pool = 1, name_prefix = "w",
        logger = function() calls = calls + 1 error "no disk" end,
      }
      manager:start()
      local lease <close> = manager:acquire()
      lease:run(function() worker.warn("one") worker.info("unseen") worker.error("two") end)
      print(calls)
    ]], backend.name)
    assert.are.same({ "1\n", 0 }, { output, status })
    assert.are.equal(1, select(2, errors:gsub("leasepool: ERROR: the logger, which standard error replaces, failed: "
      .. "[^\n]*no disk\nstack traceback:", "")))
    assert.matches("\nleasepool: WARN: one worker=w%-1%-1 lease_id=%d+\n", errors)
    assert.matches("\nleasepool: ERROR: two worker=w%-1%-1 lease_id=%d+\n$", errors)
    assert.is_nil(errors:find "unseen")
  end)

  it("is standard error by default, for warnings and errors", function()
    local output, errors, status = child.run([[
      local leasepool = require "leasepool"
      local worker = require "leasepool.worker"
      local manager <close> = leasepool.manager { backend = ...,
        max_pools = 1, workers_per_pool = 1, name_prefix = "w" }
      manager:start()
      local lease <close> = manager:acquire { owner = "me" }
      lease:run(function() worker.info("no") warn("yes") worker.error("bad", { why = "x" }) end)
    ]], backend.name)
    assert.are.same({ "", 0 }, { output, status })
    assert.are.equal("leasepool: WARN: yes worker=w-1-1 lease_id=1 owner=me\n"
      .. "leasepool: ERROR: bad worker=w-1-1 lease_id=1 owner=me why=x\n", errors)
  end)

  it("may be needed no more: lines that were not delivered go with the program #threads", function()
    for _, logger in ipairs { "nil", "function() end" } do
      local output, errors, status = child.run([[
        local leasepool = require "leasepool"
        local worker = require "leasepool.worker"
        local testing = require("leasepool.core").testing
        local manager = leasepool.manager { backend = ...,
          max_pools = 1, workers_per_pool = 2, logger = ]] .. logger .. [[ }
        manager:start()
        lease = manager:acquire()
        local id = testing.gate()
        for _ = 1, 2 do
          lease:submit(function()
            for i = 1, 2000 do worker.info("line", { i = i, big = ("x"):rep(100) }) end
            testing.gate_pass(id)
            worker.info("late")
          end)
        end
        testing.gate_await(id, 2)
        testing.gate_open(id)
      ]])
      assert.are.same({ "", 0 }, { output, status })
      assert.are.equal("", (errors:gsub("leasepool: WARN: [^\n]*\n", "")))
    end
  end)

  it("may refer to its manager, and keeps it alive no more than any other value", function()
    local weak = setmetatable({}, { __mode = "k" })
    do
      local manager
      manager = leasepool.manager { backend = backend.name, max_pools = 1, logger = function() return manager end }
      manager:start()
      weak[manager] = true
    end
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(weak))
  end)

  it("outlives its manager's handle", function()
    local logger, lines = recorder()
    local blocker = gate()
    local future
    do
      local manager = leasepool.manager({ backend = backend.name, max_pools = 1, logger = logger }):start()
      local lease = manager:acquire()
      future = lease:submit(function(id)
        require("leasepool.core").testing.gate_pass(id)
        worker.info("still here")
      end, blocker.id)
      lease:release()
    end
    blocker.await()
    collectgarbage()
    collectgarbage()
    blocker.open()
    future:await()
    assert.are.same({ "INFO still here" }, texts(lines))
  end)
end)
