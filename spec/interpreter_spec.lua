--- The interpreter backend: each lease has Lua states of its own, with the libraries that it may use.
local leasepool = require "leasepool"
local gate = require "spec.support.gate"
local failure = require "spec.support.failure"

local function manager_of(options)
  options.backend, options.max_pools = "interpreter", 1
  options.workers_per_pool = options.workers_per_pool or 1
  return leasepool.manager(options):start()
end

describe("a lease of the interpreter backend", function()
  it("sees its own globals, modules and metatables, and none of the lease before", function()
    local manager <close> = manager_of {}
    local function leave()
      local found = {}
      for _, place in ipairs { _G, package.loaded, require "string", debug.getregistry(), getmetatable("") } do
        found[#found + 1] = rawget(place, "left")
        rawset(place, "left", #found + 1)
      end
      return found
    end
    local function count()
      _G.calls = (_G.calls or 0) + 1
      return _G.calls
    end
    for _ = 1, 3 do
      local lease <close> = manager:acquire()
      assert.are.same({}, lease:run(leave))
      assert.are.equal(5, #lease:run(leave)) -- the same lease finds what it left
      assert.are.same({ n = 3, 1, 2, 3 }, lease:map(count, { 0, 0, 0 }))
    end
  end)

  it("loads modules anew", function()
    local manager <close> = manager_of {}
    local function load()
      local cjson = require "cjson"
      local old = cjson.mark
      cjson.mark = "changed"
      return old
    end
    for _ = 1, 3 do
      local lease <close> = manager:acquire()
      assert.is_nil(lease:run(load))
      assert.are.equal("changed", lease:run(load))
    end
  end)

  it("finds its states ready: they are made while their workers are idle", function()
    local made = gate()
    made.open()
    local manager <close> = manager_of {
      workers_per_pool = 2, prestart = true,
      initializer = function(id) require("leasepool.core").testing.gate_pass(id) end, initargs = { made.id },
    }
    made.await(2)
    local used = gate()
    do
      local lease <close> = manager:acquire()
      local both = { lease:submit(used.pass, used.id), lease:submit(used.pass, used.id) }
      used.await(2)
      used.open()
      leasepool.gather(both)
    end
    made.await(4) -- and there is no next lease yet
    manager:acquire():release()
    manager:run(function() end)
    made.await(5) -- of the worker that was used; the other one's was not
  end)

  it("has the whole of its memory limit", function()
    local manager <close> = manager_of { memory_limit = 2 << 20 }
    local function fill() _G.kept = ("x"):rep(900 << 10) return #_G.kept end
    for _ = 1, 3 do
      local lease <close> = manager:acquire()
      assert.are.equal(900 << 10, lease:run(fill))
      assert.matches("not enough memory", failure(lease.run, lease, function() return ("y"):rep(900 << 10) end).message)
    end
  end)

  it("runs finalizers of the one before, in that one's state", function()
    local lines = {}
    local manager <close> = manager_of { logger = function(_, message) lines[#lines + 1] = message end }
    manager:run(function()
      _G.mark = "first"
      _G.kept = setmetatable({}, { __gc = function() warn(tostring(_G.mark)) end })
    end)
    manager:run(function() _G.mark = "second" end)
    manager:stop()
    assert.are.same({ "first" }, lines)
  end)
end)

describe("a finalizer that does not end", function()
  local stuck

  -- Not a busy loop: its thread would take a CPU from all the specs that follow.
  local function leave_behind(id)
    local testing = require("leasepool.core").testing
    _G.kept = setmetatable({}, { __gc = function() testing.gate_pass(id) end })
  end

  before_each(function() stuck = gate() end)
  after_each(function() stuck.open() end)

  for _, workers in ipairs { 1, 2 } do
    it("of one lease costs the next one no more than the graces, with workers: " .. workers, function()
      local manager <close> = leasepool.manager { backend = "interpreter", max_pools = 1, workers_per_pool = workers,
        interrupt_grace_seconds = 0.01, exit_grace_seconds = 0.1, logger = function() end }
      manager:start():run(leave_behind, stuck.id)
      local function try()
        local lease <close> = manager:acquire()
        return pcall(lease.run, lease, function() return "usable" end)
      end
      local ok, result = try()
      if not ok then
        assert.are.equal("BrokenExecutorError", result.name)
        ok, result = try()
      end
      assert.are.same({ true, "usable" }, { ok, result })
    end)
  end

  it("retires its executor where nobody has leased it: what is free has all of its workers", function()
    local manager <close> = leasepool.manager { backend = "interpreter", max_pools = 1, workers_per_pool = 2,
      interrupt_grace_seconds = 0.01, exit_grace_seconds = 0.05, logger = function() end }
    manager:start():run(leave_behind, stuck.id)
    while manager:stats().retiring == 0 do leasepool.sleep(0.001) end
    assert.are.same({ 1, 0 }, { manager.available_count, manager:stats().counters.broken })
    for _ = 1, 3 do assert.are.equal("usable", manager:run(function() return "usable" end)) end
  end)

  it("is not taken for an initializer that takes its time, which is let be", function()
    local made = gate()
    made.open()
    local manager <close> = leasepool.manager { backend = "interpreter", max_pools = 1, workers_per_pool = 1,
      interrupt_grace_seconds = 0, exit_grace_seconds = 0.02, initargs = { made.id },
      initializer = function(id)
        require("leasepool.core").testing.gate_pass(id)
        local stop = os.clock() + 0.1
        repeat until os.clock() >= stop
      end }
    manager:start()
    for lease = 1, 4 do
      assert.are.equal(lease, manager:run(function(n) return n end, lease))
      leasepool.sleep(0.05) -- the next state is being made, and the loop hears of it
    end
    manager:stop()
    assert.is_true(require("leasepool.core").testing.gate_await(made.id, 4, 0))
    assert.is_false(require("leasepool.core").testing.gate_await(made.id, 6, 0))
  end)

  it("of a worker that is replaced is given up, too", function()
    local manager <close> = leasepool.manager { max_pools = 1, workers_per_pool = 1, max_tasks_per_worker = 1,
      interrupt_grace_seconds = 0.01, exit_grace_seconds = 0.1, logger = function() end }
    manager:start():run(leave_behind, stuck.id)
    local ok, err = pcall(manager.run, manager, function() end)
    assert.is_true(ok or err.name == "BrokenExecutorError")
    assert.are.equal("usable", manager:run(function() return "usable" end))
  end)
end)

describe("states that follow each other", function()
  it("do not repeat their random numbers", function()
    local manager <close> = manager_of {}
    local seen = {}
    for _ = 1, 20 do
      local number = manager:run(math.random, 0)
      assert.is_nil(seen[number])
      seen[number] = true
    end
  end)
end)

describe("the option libs", function()
  local function libraries(list)
    local manager <close> = manager_of { libs = list }
    return manager:run(function()
      local found = {}
      for _, name in ipairs { "coroutine", "debug", "io", "math", "os", "package", "string", "table", "utf8" } do
        found[#found + 1] = _G[name] and name or nil
      end
      return found
    end)
  end

  it("gives jobs these standard libraries and no others", function()
    assert.are.same({}, libraries { "base" })
    assert.are.same({ "math", "string" }, libraries { "string", "base", "math" })
    assert.are.same({ "coroutine", "debug", "io", "math", "os", "package", "string", "table", "utf8" }, libraries(nil))
    local manager <close> = manager_of { libs = {} }
    assert.are.equal(42, manager:run(function(x) return x + 1 end, 41))
    assert.matches("nil value %(global 'pairs'%)", failure(manager.run, manager, function() pairs {} end).message)
  end)

  it("leaves coroutines that can be stopped, and refuses functions of modules that are not there", function()
    local manager <close> = manager_of { libs = { "base", "coroutine" } }
    local lease <close> = manager:acquire()
    local _, err = lease:with({ timeout = 0.05 }):submit(function()
      while true do coroutine.wrap(function() end)() end
    end):result()
    assert.are.equal("TimeoutError", err.name)
    assert.is_nil(err.still_running)
    err = failure(lease.run, lease, string.rep, "x", 3)
    assert.are.equal("TransferError", err.name)
    assert.matches("module 'string'", err.message, 1, true)
    assert.are.equal("fine", lease:run(function() return "fine" end))
  end)

  it("is refused when it is wrong, and on other backends", function()
    local function refusal(options)
      local err = failure(leasepool.manager, options)
      assert.are.equal("ConfigError", err.name)
      return err.message
    end
    local names <const> = '"base", "coroutine", "debug", "io", "math", "os", "package", "string", "table", "utf8"'
    local function of(libs) return { backend = "interpreter", max_pools = 1, libs = libs } end
    assert.are.equal('libs: got "strings", allowed: ' .. names, refusal(of { "base", "strings" }))
    assert.are.equal("libs: got 1, allowed: " .. names, refusal(of { 1 }))
    assert.matches('^libs: got "base", allowed: a list', refusal(of "base"))
    assert.matches("^libs: got table, allowed: a list", refusal(of { x = 1 }))
    assert.are.equal("libs: got table, allowed: nil on the backend thread",
      refusal { max_pools = 1, libs = { "base" } })
  end)
end)
