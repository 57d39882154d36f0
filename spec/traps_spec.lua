--- What goes wrong around waits: strangers that resume, generators that wait, callbacks that raise,
-- and a collector that runs at every moment. Nothing hangs, and everything works afterwards.
local leasepool = require "leasepool"
local child = require "spec.support.child"
local gate = require "spec.support.gate"

local manager, lease, blocker, busy, never

local function begin()
  manager = leasepool.manager({ max_pools = 1, workers_per_pool = 1 }):start()
  lease = manager:acquire()
  blocker = gate()
  busy = lease:submit(blocker.pass, blocker.id, "busy")
  blocker.await()
  never = leasepool.spawn(leasepool.sleep, 1000)
end

local function finish()
  never:cancel()
  never:result()
  blocker.open()
  busy:await()
  assert.are.equal(1, lease:run(function() return 1 end))
  lease:release()
  repeat -- requests that nobody awaits any more get their lease, and are collected
    leasepool.sleep(0)
    collectgarbage()
    collectgarbage()
  until manager.available_count == 1
  manager:stop()
end

-- Every call that waits, while the one worker is busy and the one executor leased.
local waits <const> = {
  sleep = function() leasepool.sleep(1000) end,
  await = function() busy:await() end,
  result = function() busy:result(1000) end,
  run_job = function() lease:run(print) end,
  run_view = function() lease:with({ timeout = 1000, name = "v" }):run(print) end,
  acquire = function() manager:acquire() end,
  try_acquire = function() manager:try_acquire { timeout = 1000 } end,
  request = function() manager:request({ timeout = 1000 }):await() end,
  manager_run = function() manager:run(print) end,
  gather = function() leasepool.gather { never, busy, never } end,
  any = function() leasepool.any({ never, busy, busy }, { timeout = 1000 }) end,
  map = function() lease:map(print, { 1, 2, 3 }, { chunk = 1 }) end,
  imap = function() for _ in lease:imap(print, ipairs { 1, 2, 3 }) do _ = nil end end,
  run = function()
    leasepool.run(function()
      leasepool.spawn(leasepool.sleep, 1000)
      leasepool.sleep(1000)
    end)
  end,
}

describe("in every call that waits", function()
  before_each(begin)
  after_each(finish)

  for name, wait in pairs(waits) do
    it("a stranger's resume raises, and the wait is withdrawn: " .. name, function()
      local co = coroutine.create(wait)
      assert(coroutine.resume(co))
      assert.are.equal("suspended", coroutine.status(co))
      local ok, err = coroutine.resume(co, "garbage")
      if name == "run" then -- it waits again, for what it has cancelled, and would raise then
        assert.is_true(ok)
      else
        assert.is_false(ok)
        assert.matches("was resumed by something else", err, 1, true)
      end
      coroutine.close(co)
    end)

    it("a coroutine may be closed at once, or cancelled, or cancelled and closed: " .. name, function()
      for way = 1, 3 do
        local co
        local future = leasepool.spawn(function()
          co = coroutine.running()
          wait()
        end)
        if way ~= 1 then assert.is_true(future:cancel()) end
        if way ~= 2 then assert.is_true(coroutine.close(co)) end
        collectgarbage()
        assert.are.equal("CancelledError", select(2, future:result()).name)
        assert.are.equal("cancelled", future:status())
      end
    end)

    it("it is refused in a callback, and leaves nothing: " .. name, function()
      local err
      local ended = leasepool.spawn(function() end)
      ended:on_done(function() err = select(2, pcall(wait)) end)
      leasepool.sleep(0)
      assert.are.equal("WouldBlockError", err.name)
    end)

    it("it may happen in a handler of a coroutine that is cancelled: " .. name, function()
      local future = leasepool.spawn(function()
        local _ <close> = setmetatable({}, { __close = function() wait() end })
        leasepool.sleep(1000)
      end)
      future:cancel()
      leasepool.sleep(0)
      assert.are.equal("pending", future:status())
      future:cancel() -- its second wait
      assert.are.equal("CancelledError", select(2, future:result()).name)
    end)
  end
end)

describe("a generator that waits", function()
  before_each(begin)
  after_each(finish)

  it("ends its loop early and is resumed without harm, whatever it yields then", function()
    local log = {}
    for value in coroutine.wrap(function()
      coroutine.yield(1)
      log[#log + 1] = "waits"
      leasepool.sleep(0) -- yields to the loop, which takes it for the end
      log[#log + 1] = "resumed"
      coroutine.yield(2)
      log[#log + 1] = "never"
    end) do
      log[#log + 1] = value
    end
    assert.are.same({ 1, "waits" }, log)
    leasepool.sleep(0)
    leasepool.sleep(0)
    assert.are.same({ 1, "waits", "resumed" }, log)
  end)

  it("that raises after its wait is told to people", function()
    local _, errors, status = child.run [[
      local leasepool = require "leasepool"
      for _ in coroutine.wrap(function() leasepool.sleep(0) error "lost" end) do end
      leasepool.sleep(0)
      leasepool.sleep(0)
    ]]
    assert.are.equal(0, status)
    assert.matches("a coroutine that leasepool resumed failed: .*lost", errors)
  end)

  it("is no trap for imap, whose input may wait", function()
    leasepool.run(function()
      local function input()
        leasepool.sleep(0)
        return nil
      end
      for _ in lease:imap(print, input) do error "nothing to give" end
    end)
  end)
end)

describe("futures", function()
  before_each(begin)
  after_each(finish)

  it("serve awaiters of every kind at once, in the order in which they came", function()
    leasepool.run(function()
      local order = {}
      local function note(name, fn, ...)
        leasepool.spawn(function(...)
          fn(...)
          order[#order + 1] = name
        end, ...)
      end
      note("await", busy.await, busy)
      note("any", leasepool.any, { never, busy })
      busy:on_done(function() order[#order + 1] = "callback" end)
      note("gather", leasepool.gather, { busy, busy })
      note("result", busy.result, busy, 1000)
      blocker.open()
      busy:await()
      leasepool.sleep(0)
      assert.are.same({ "await", "any", "callback", "gather", "result" }, order)
    end)
  end)

  it("go on with the others when one awaiter is cancelled, one closed, and one raises", function()
    leasepool.run(function()
      local co
      local cancelled = leasepool.spawn(function() busy:await() end)
      local closed = leasepool.spawn(function()
        co = coroutine.running()
        leasepool.gather { busy, never }
      end)
      local raises = leasepool.spawn(function() error(busy:await(), 0) end)
      local good = leasepool.spawn(function() return (leasepool.any { never, busy }) end)
      cancelled:cancel()
      coroutine.close(co)
      blocker.open()
      assert.are.same({ false, "busy" }, { raises:result() })
      assert.are.equal(2, good:await())
      assert.are.same({ "cancelled", "cancelled" }, { cancelled:status(), closed:status() })
    end)
  end)

  it("may be cancelled by their own callbacks and awaiters", function()
    local seen = {}
    never:on_done(function(future)
      seen[#seen + 1] = future:cancel()
      future:on_done(function(again) seen[#seen + 1] = again:status() end)
    end)
    never:cancel()
    leasepool.spawn(function()
      pcall(never.await, never)
      seen[#seen + 1] = never:cancel()
    end):await()
    leasepool.sleep(0)
    assert.are.same({ false, false, "cancelled" }, { seen[1], seen[2], seen[3] })
  end)
end)

describe("the collector", function()
  it("may run at every allocation of everything that waits", function()
    local output, errors, status = child.run [[
      local leasepool = require "leasepool"
      collectgarbage "generational"
      collectgarbage("incremental", 0, 1000, 0)
      local function everything()
        local manager <close> = leasepool.manager({ max_pools = 2, workers_per_pool = 2 }):start()
        leasepool.run(function()
          local lease <close> = manager:request({ owner = "o" }):await()
          local view = lease:with { name = "v", timeout = 100 }
          local futures = {}
          for i = 1, 5 do
            futures[i] = view:submit(function(x) return { x } end, i)
            futures[i]:on_done(function() collectgarbage() end)
          end
          assert(leasepool.gather(futures)[5][1] == 5)
          assert(leasepool.any(futures) == 1)
          assert(lease:map(function(x) return x end, { 1, 2, 3 }).n == 3)
          for x in view:imap(function(x) return x end, ipairs { 1, 2, 3 }) do assert(x) end
          assert(manager:run(function() return 1 end) == 1)
          local cancelled = leasepool.spawn(function() leasepool.sleep(1000) end)
          cancelled:cancel()
          assert(not cancelled:result())
          assert(not pcall(view.run, view, error, "x"))
          pcall(leasepool.run, function()
            leasepool.spawn(function() leasepool.sleep(1000) end)
            error "main"
          end)
          lease:try_submit(function() end)
          lease.executor:submit(function() end):await()
        end)
      end
      for _ = 1, 20 do everything() end
      print "ok"
    ]]
    assert.are.same({ "ok\n", "", 0 }, { output, errors, status })
  end)
end)
