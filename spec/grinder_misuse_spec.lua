--- A grinder that is used wrongly: what it says, and that it has taken nothing.
local leasepool = require "leasepool"
local backends = require "spec.support.backends"
local failure = require "spec.support.failure"
local gate = require "spec.support.gate"
local grind = require "spec.support.grind"

local begin, counts = grind.begin, grind.counts

local function nothing() end

backends.each("a grinder that is used wrongly", function(backend)
  after_each(grind.finish)

  it("refuses wrong options, and says what and why", function()
    local manager = backend.manager({ max_pools = 1 }):start()
    for _, case in ipairs {
      { "leasepool.grinder: got no value, allowed: a table of options" },
      { "leasepool.grinder: got userdata, allowed: a table of options", manager },
      { "manager: got nil, allowed: a manager", {} },
      { "manager: got table, allowed: a manager", { manager = {} } },
      { "manager: got userdata, allowed: a manager", { manager = io.stdout } },
      { 'unknown option "max_batch"; did you mean "max_batches"?', { manager = manager, max_batch = 1 } },
      { 'unknown option "max_wait_secs"; did you mean "max_wait_seconds"?', { manager = manager, max_wait_secs = 1 } },
      { "unknown option 1; allowed: manager, batch_size_threshold", { manager } },
      { "batch_size_threshold: got 0, allowed: an integer from 1", { manager = manager, batch_size_threshold = 0 } },
      { "batch_size_threshold: got 2.0, allowed: an integer", { manager = manager, batch_size_threshold = 2.0 } },
      { 'max_pending: got "2", allowed: an integer from 1', { manager = manager, max_pending = "2" } },
      { "max_pending: got 0, allowed: an integer from 1", { manager = manager, max_pending = 0 } },
      { "max_batches: got 0, allowed: an integer from 1", { manager = manager, max_batches = 0 } },
      { "max_batches: got true, allowed: an integer from 1", { manager = manager, max_batches = true } },
      { "max_wait_seconds: got -1, allowed: a finite number", { manager = manager, max_wait_seconds = -1 } },
      { "max_wait_seconds: got ", { manager = manager, max_wait_seconds = 0 / 0 } },
      { "max_wait_seconds: got inf, allowed: a finite number", { manager = manager, max_wait_seconds = math.huge } },
      { "lease_seconds: got 0, allowed: a finite number", { manager = manager, lease_seconds = 0 } },
      { "owner_prefix: got 3, allowed: ", { manager = manager, owner_prefix = 3 } },
      { "owner_prefix: got 0 bytes, allowed: ", { manager = manager, owner_prefix = "" } },
      { "owner_prefix: got ", { manager = manager, owner_prefix = "a\0b" } },
      { "owner_prefix: got ", { manager = manager, owner_prefix = ("x"):rep(256) } },
      { "on_progress: got 1, allowed: a function", { manager = manager, on_progress = 1 } },
    } do
      local err = failure(leasepool.grinder, table.unpack(case, 2))
      assert.are.equal("ConfigError", err.name)
      assert.matches(case[1], err.message, 1, true)
    end
    leasepool.grinder { manager = manager, owner_prefix = ("x"):rep(255) }
  end)

  it("refuses wrong arguments of its calls, and has taken nothing", function()
    local grinder <close>, manager = begin(backend, {})
    local view = grinder:with {}
    for _, target in ipairs { grinder, view } do
      for _, how in ipairs { "submit", "enqueue" } do
        for _, case in ipairs {
          { "ConfigError", "argument 1: got no value, allowed: a function" },
          { "ConfigError", "argument 1: got string, allowed: a function", "f" },
          { "TransferError", "cannot transfer arg 1: userdata", print, io.stdout },
          { "TransferError", "cannot transfer arg 2", print, 1, coroutine.create(print) },
        } do
          local err = failure(target[how], target, table.unpack(case, 3))
          assert.are.equal(case[1], err.name)
          assert.matches("grinder:" .. how .. ": " .. case[2], err.message, 1, true)
        end
      end
      for _, case in ipairs {
        { "grinder:with: got nil, allowed: a table of options" },
        { "grinder:with: got number, allowed: a table of options", 3 },
        { 'grinder:with: unknown option "own"; allowed: timeout, name, owner', { own = 1 } },
        { "grinder:with: owner: got 1, allowed: a string without zeros", { owner = 1 } },
        { "grinder:with: owner: got ", { owner = "a\0" } },
        { "grinder:with: timeout: got ", { timeout = -1 } },
        { "grinder:with: name: got true, allowed: a string", { name = true } },
      } do
        local err = failure(target.with, target, table.unpack(case, 2))
        assert.are.equal("ConfigError", err.name)
        assert.matches(case[1], err.message, 1, true)
      end
    end
    for _, case in ipairs {
      { "grinder:stop: got 3, allowed: a table of options", 3 },
      { 'grinder:stop: unknown option "time"; allowed: cancel_pending, timeout, wait', { time = 1 } },
      { "grinder:stop: timeout: got -1, allowed: ", { timeout = -1 } },
      { "grinder:stop: cancel_pending: got 1, allowed: true or false", { cancel_pending = 1 } },
      { 'grinder:stop: wait: got "no", allowed: true or false', { wait = "no" } },
    } do
      local err = failure(grinder.stop, grinder, table.unpack(case, 2))
      assert.are.equal("ConfigError", err.name)
      assert.matches(case[1], err.message, 1, true)
    end
    for _, how in ipairs { "start", "stop", "stats", "submit", "enqueue", "with" } do
      for _, stranger in ipairs { manager, io.stdout, 3 } do
        local err = failure(grinder[how], stranger, print)
        assert.are.equal("ConfigError", err.name)
        assert.matches("grinder:" .. how .. ": argument 1: got %w+, allowed: a grinder", err.message)
      end
    end
    for _, how in ipairs { "start", "stop", "stats" } do
      assert.are.equal("ConfigError", failure(grinder[how], view).name)
    end
    assert.are.same({ 0, 0 }, counts(grinder, "pending", "items"))
    assert.is_true(grinder:stats().started)
  end)

  it("takes nothing before its start, while it stops, and after", function()
    local manager = backend.manager { max_pools = 1, workers_per_pool = 1 }
    local grinder = leasepool.grinder { manager = manager, batch_size_threshold = 1 }
    local function refused()
      for _, target in ipairs { grinder, grinder:with {} } do
        for _, how in ipairs { "submit", "enqueue" } do
          local err = failure(target[how], target, print)
          assert.are.equal("LeasePoolNotStartedError", err.name)
          assert.matches("grinder:" .. how .. ": the grinder is not started, or stops", err.message, 1, true)
        end
      end
    end
    refused()
    local err = failure(grinder.start, grinder)
    assert.are.equal("LeasePoolNotStartedError", err.name)
    assert.matches("grinder:start: the manager is not started, or stops", err.message, 1, true)
    assert.are.same({ finished = 0, cancelled = 0 }, grinder:stop())
    manager:start()
    refused()
    assert.are.equal(grinder, grinder:start():start())
    local blocker = gate()
    local future = grinder:enqueue(blocker.pass, blocker.id, "done")
    local stop = grinder:stop { wait = false }
    refused()
    err = failure(grinder.start, grinder)
    assert.are.equal("LeasePoolNotStartedError", err.name)
    assert.matches("grinder:start: the grinder is stopping", err.message, 1, true)
    blocker.open()
    stop:await()
    assert.are.equal("done", future:await())
    refused()
    grinder:start()
    assert.are.equal("1", grinder:submit(tostring, 1))
    grinder:stop()
    assert.are.equal(2, grinder:stats().done)
  end)

  it("refuses to wait in a callback, and has taken nothing", function()
    local grinder <close> = begin(backend, {})
    local err, future
    leasepool.spawn(function() end):on_done(function()
      err = failure(grinder.submit, grinder, nothing)
      future = grinder:enqueue(tostring, 1)
    end)
    while not future do leasepool.sleep(0) end
    assert.are.equal("WouldBlockError", err.name)
    assert.matches("grinder:submit: would have to wait", err.message, 1, true)
    assert.are.equal(1, grinder:stats().items)
    grinder:stop()
    assert.are.equal("1", future:await())
  end)

  it("cannot be used once it was collected, nor can its views", function()
    local manager = backend.manager({ max_pools = 1 }):start()
    local back
    do
      local held = setmetatable({}, { __gc = function(held) back = held end })
      held.grinder = leasepool.grinder({ manager = manager }):start()
      held.view = held.grinder:with { owner = "me" }
    end
    for _ = 1, 2 do collectgarbage() end
    for _, how in ipairs { "start", "stop", "stats", "submit", "enqueue", "with" } do
      local err = failure(back.grinder[how], back.grinder, how ~= "stop" and nothing or nil)
      assert.are.equal("LeasePoolNotStartedError", err.name)
      assert.matches("grinder:" .. how .. ": the grinder was collected", err.message, 1, true)
    end
    for _, how in ipairs { "submit", "enqueue", "with" } do
      assert.matches("the grinder was collected", failure(back.view[how], back.view, nothing).message, 1, true)
    end
    assert.are.equal("grinder closed", tostring(back.grinder))
    assert.matches("the view was collected", failure(tostring, back.view).message, 1, true)
    assert.matches("the view was collected", failure(function() return back.view.owner end).message, 1, true)
  end)
end)
