local leasepool = require "leasepool"
local backends = require "spec.support.backends"
local gate = require "spec.support.gate"

backends.each("a future", function(backend)
  local manager, lease

  before_each(function()
    manager = backend.manager({ max_pools = 1, workers_per_pool = 1 }):start()
    lease = manager:acquire()
  end)

  after_each(function()
    lease:release()
    manager:stop()
  end)

  it("tells its status and awaits all results", function()
    local blocker = gate()
    local future = lease:submit(blocker.pass, blocker.id, 1, nil, 3)
    assert.are.equal("pending", future:status())
    assert.are.equal("future of a job: pending", tostring(future))
    blocker.open()
    assert.are.same({ n = 3, 1, nil, 3 }, table.pack(future:await()))
    assert.are.equal("done", future:status())
    assert.are.same({ n = 4, true, 1, nil, 3 }, table.pack(future:result()))
  end)

  it("raises from await and returns from result", function()
    local future = lease:submit(error, "bad")
    local ok, err = pcall(future.await, future)
    assert.is_false(ok)
    local done, same = future:result()
    assert.is_false(done)
    assert.are.equal(err, same)
    assert.are.equal("bad", same.cause)
    assert.are.equal("failed", future:status())
  end)

  it("gives every awaiter the same tables", function()
    leasepool.run(function()
      local blocker = gate()
      local future = lease:submit(blocker.pass, blocker.id, { 1 })
      local function await() return future:await() end
      local a, b = leasepool.spawn(await), leasepool.spawn(await)
      blocker.open()
      assert.are.equal(a:await(), b:await())
      assert.are.equal(a:await(), (future:await()))
      assert.are.same({ 1 }, (future:await()))
    end)
  end)

  it("times out without touching the job", function()
    local blocker = gate()
    local future = lease:submit(blocker.pass, blocker.id, "late")
    local ok, err = future:result(0.001)
    assert.is_false(ok)
    assert.are.equal("TimeoutError", err.name)
    ok, err = future:result(0)
    assert.is_false(ok)
    assert.are.equal("TimeoutError", err.name)
    ok, err = pcall(future.await, future, 0.001)
    assert.is_false(ok)
    assert.are.equal("TimeoutError", err.name)
    assert.are.equal("pending", future:status())
    blocker.open()
    assert.are.equal("late", future:await(20))
  end)

  it("calls on_done callbacks once, in order, later, also when added after the end", function()
    local order = {}
    local blocker = gate()
    local future = lease:submit(blocker.pass, blocker.id, "v")
    local function note(name)
      return function(f)
        assert.are.equal(future, f)
        order[#order + 1] = name .. select(2, f:result())
      end
    end
    assert.are.equal(future, future:on_done(note "a"))
    future:on_done(note "b")
    blocker.open()
    future:await()
    future:on_done(note "c")
    assert.is_nil(order[3])
    leasepool.sleep(0)
    assert.are.same({ "av", "bv", "cv" }, order)
  end)

  it("survives a callback that raises, and logs it with its traceback", function()
    local output, errors, status = require("spec.support.child").run [[
      local leasepool = require "leasepool"
      local manager <close> = leasepool.manager({ backend = ..., max_pools = 1 }):start()
      local lease <close> = manager:acquire()
      local future = lease:submit(function() end)
      future:on_done(function() error "in callback" end)
      future:on_done(function() print "second" end)
      lease:post(function() error "in post" end, function() end)
      lease:run(function() end)
      leasepool.sleep(0)
    ]]
    assert.are.equal(0, status)
    assert.are.equal("second\n", output)
    assert.matches("on_done failed: .*in callback\nstack traceback:", errors)
    assert.matches("lease:post failed: .*in post\nstack traceback:", errors)
  end)

  it("has its failure logged whole", function()
    local _, errors, status = require("spec.support.child").run [[
      local leasepool = require "leasepool"
      leasepool.spawn(function() error(("x"):rep(20000) .. "end", 0) end)
      collectgarbage()
      collectgarbage()
    ]]
    assert.are.equal(0, status)
    assert.matches(("x"):rep(20000) .. "end", errors, 1, true)
  end)

  it("keeps its job alive when the lease and the manager are forgotten", function()
    local function make()
      local m = backend.manager({ max_pools = 1 }):start()
      local l = m:acquire()
      local f = l:submit(function() return "alive" end)
      l:release()
      return f
    end
    local future = make()
    collectgarbage()
    assert.are.equal("alive", future:await())
  end)

  it("can be forgotten before and after its end", function()
    local blocker = gate()
    lease:submit(blocker.pass, blocker.id)
    collectgarbage()
    blocker.open()
    lease:run(function() end)
    lease:submit(function() return {} end):await()
    collectgarbage()
    assert.are.equal(1, lease:run(function() return 1 end))
  end)

  it("checks what it is given", function()
    local future = lease:submit(function() end)
    for _, timeout in ipairs { -1, 0 / 0, math.huge, "1", true } do
      local ok, err = pcall(future.await, future, timeout)
      assert.is_false(ok)
      assert.matches("future:await: timeout: got", err.message, 1, true)
    end
    local ok, err = pcall(future.on_done, future, 1)
    assert.is_false(ok)
    assert.matches("future:on_done: got number", err.message, 1, true)
    assert.is_false((pcall(future.await, lease)))
  end)
end)
