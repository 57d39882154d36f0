--- lease:map and lease:imap: one function over many values.
local leasepool = require "leasepool"
local backends = require "spec.support.backends"
local child = require "spec.support.child"
local gate = require "spec.support.gate"
local failure = require "spec.support.failure"

local manager, lease

local function begin(backend)
  manager = backend.manager({ max_pools = 1, workers_per_pool = 2 }):start()
  lease = manager:acquire()
end

local function finish()
  lease:release()
  manager:stop()
end

local function square(x) return x * x end

local function numbers(count)
  local list = {}
  for i = 1, count do list[i] = i end
  return list
end

backends.each("lease:map", function(backend)
  before_each(function() begin(backend) end)
  after_each(finish)

  it("returns the first results in the order of the list, whatever the chunk #threads", function()
    for _, count in ipairs { 0, 1, 2, 15, 16, 17, 333 } do
      for _, chunk in ipairs { 0, 1, 2, 7, 1000 } do
        local results = lease:map(square, numbers(count), chunk > 0 and { chunk = chunk } or nil)
        assert.are.equal(count, results.n)
        assert.are.equal(count, #results)
        for i = 1, count do assert.are.equal(i * i, results[i]) end
      end
    end
    assert.are.same({ "A", "B", n = 2 }, lease:map(string.upper, { "a", "b" }))
  end)

  it("keeps nil results and the holes of a list that tells its n", function()
    local function odd(x) if x and x % 2 == 1 then return x, "more" end end
    for chunk = 1, 4 do
      assert.are.same({ 1, nil, 3, nil, n = 4 }, lease:map(odd, { 1, 2, 3, 4 }, { chunk = chunk }))
      assert.are.same({ nil, nil, 3, nil, n = 4 }, lease:map(odd, table.pack(nil, 2, 3, nil), { chunk = chunk }))
    end
    assert.are.same({ n = 3 }, lease:map(function() end, { n = 3 }))
  end)

  it("works through more chunks than the queue has room for #threads", function()
    local small <close> = backend.manager({ max_pools = 1, workers_per_pool = 2, max_queue = 1 }):start()
    local narrow <close> = small:acquire()
    local results = narrow:map(square, numbers(200), { chunk = 1 })
    for i = 1, 200 do assert.are.equal(i * i, results[i]) end
  end)

  it("has two jobs for each worker in flight at most", function()
    local blocker = gate()
    local mapping = leasepool.spawn(function()
      return lease:map(function(x)
        blocker.pass(blocker.id)
        return x
      end, numbers(100), { chunk = 1 })
    end)
    blocker.await(2)
    local small <close> = backend.manager({ max_pools = 1, workers_per_pool = 1, max_queue = 2 }):start()
    local narrow <close> = small:acquire()
    local other = gate()
    local second = leasepool.spawn(function()
      return narrow:map(function(x)
        other.pass(other.id)
        return x
      end, numbers(10), { chunk = 1 })
    end)
    other.await()
    narrow:submit(square, 1) -- one runs, one waits: there is room for one more
    assert.are.equal("QueueFullError", failure(narrow.submit, narrow, square, 1).name)
    blocker.open()
    other.open()
    assert.are.equal(100, mapping:await().n)
    assert.are.same({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, n = 10 }, second:await())
  end)

  it("tells its progress, up to the whole", function()
    local told = {}
    lease:map(square, numbers(100), { chunk = 10, on_progress = function(done, total)
      assert.are.equal(100, total)
      told[#told + 1] = done
    end })
    for i = 2, #told do assert.is_true(told[i] > told[i - 1]) end
    assert.are.equal(100, told[#told])
  end)

  it("raises the error of the first element that failed, after all that was submitted has ended", function()
    local blocker, both = gate(), gate()
    local mapping = leasepool.spawn(function()
      lease:map(function(x)
        if x == 1 then both.pass(both.id) blocker.pass(blocker.id) error "first" end
        if x == 2 then both.pass(both.id) error "second" end
        _G.mapped = (_G.mapped or 0) + 1
      end, numbers(1000), { chunk = 1 })
    end)
    both.await(2)
    both.open()
    assert.is_false((mapping:result(0.001))) -- the second has failed by now, or will; the first runs
    assert.are.equal("pending", mapping:status())
    blocker.open()
    local ok, err = mapping:result()
    assert.is_false(ok)
    assert.are.equal("JobError", err.name)
    assert.matches("first", err.cause)
    assert.matches("map_spec.lua:%d+$", err.job)
    assert.is_true(2 >= lease:run(function() return _G.mapped or 0 end)) -- those that were submitted
    assert.are.equal(1, lease:run(function() return 1 end))
  end)

  it("uses the options of a view", function()
    local view = lease:with { name = "squares" }
    assert.are.same({ 1, 4, n = 2 }, view:map(square, { 1, 2 }))
    assert.are.equal("squares", failure(view.map, view, error, { 1 }).job)
  end)

  it("cancels what is queued when its coroutine is cancelled or closed, or on_progress raises", function()
    for _, ends in ipairs { "cancel", "close" } do
      local blocker = gate()
      local co
      local mapping = leasepool.spawn(function()
        co = coroutine.running()
        lease:map(function(x)
          blocker.pass(blocker.id)
          _G.passed = (_G.passed or 0) + 1
          return x
        end, numbers(1000), { chunk = 1 })
      end)
      blocker.await(2)
      if ends == "cancel" then mapping:cancel() else coroutine.close(co) end
      assert.are.equal("CancelledError", select(2, mapping:result()).name)
      blocker.open()
    end
    lease:run(function() end)
    local function complain() error("mine", 0) end
    local err = failure(lease.map, lease, square, numbers(1000), { chunk = 1, on_progress = complain })
    assert.are.equal("mine", err)
    assert.are.equal(1, lease:run(function() return 1 end))
  end)

  it("is refused by name where nothing can wait, and submits nothing", function()
    local err
    lease:submit(function() end):on_done(function() err = failure(lease.map, lease, print, { 1 }) end):await()
    leasepool.sleep(0)
    assert.are.equal("WouldBlockError", err.name)
    assert.matches("lease:map: would have to wait", err.message, 1, true)
  end)

  it("says which element cannot travel, and raises after the rest has ended", function()
    local list = numbers(100)
    list[57] = { socket = io.stdout }
    for _, chunk in ipairs { 1, 10 } do
      local err = failure(lease.map, lease, square, list, { chunk = chunk })
      assert.are.equal("TransferError", err.name)
      assert.matches("lease:map: cannot transfer list[57].socket: userdata", err.message, 1, true)
      assert.are.equal("list[57].socket", err.path)
    end
    local file = io.stdout
    assert.matches("lease:map: cannot transfer function: upvalue file: userdata",
      failure(lease.map, lease, function() return file end, { 1 }).message, 1, true)
    lease:release()
    assert.matches("lease:map: lease %d+: released", failure(lease.map, lease, square, { 1 }).message)
    lease = manager:acquire()
  end)

  it("refuses wrong arguments, and says what and why", function()
    for _, case in ipairs {
      { "lease:map: argument 1: got nil, allowed: a function" },
      { 'lease:map: argument 1: got "f", allowed: a function', "f" },
      { "lease:map: list: got nil, allowed: a table", square },
      { "lease:map: got the key x in a list of 0", square, { x = 1 } },
      { "lease:map: got the key n\0 in a list of 0", square, { ["n\0"] = 1 } },
      { "lease:map: n: got 1.5, allowed: an integer from 0", square, { n = 1.5 } },
      { "lease:map: options: got 3, allowed: a table", square, {}, 3 },
      { 'lease:map: unknown option "window"', square, {}, { window = 1 } },
      { "lease:map: chunk: got 0, allowed: an integer from 1", square, {}, { chunk = 0 } },
      { "lease:map: chunk: got 1.0, allowed: an integer from 1", square, {}, { chunk = 1.0 } },
      { 'lease:map: chunk: got "4", allowed: an integer from 1', square, {}, { chunk = "4" } },
      { "lease:map: on_progress: got true, allowed: a function", square, {}, { on_progress = true } },
    } do
      local err = failure(lease.map, lease, table.unpack(case, 2))
      assert.are.equal("ConfigError", err.name)
      assert.matches(case[1], err.message, 1, true)
    end
    assert.matches("lease:map: argument 1: got userdata, allowed: a lease",
      failure(lease.map, manager, square, {}).message, 1, true)
  end)
end)

backends.each("lease:imap", function(backend)
  before_each(function() begin(backend) end)
  after_each(finish)

  local function count_to(count)
    local i = 0
    return function()
      i = i + 1
      return i <= count and i or nil
    end
  end

  it("gives the results in order, all of each #threads", function()
    for _, window in ipairs { 1, 2, 3, 100 } do
      local place = 0
      for result, double in lease:imap(function(x) return x * x, 2 * x end, count_to(50), { window = window }) do
        place = place + 1
        assert.are.equal(place * place, result)
        assert.are.equal(2 * place, double)
      end
      assert.are.equal(50, place)
    end
    for _ in lease:imap(square, count_to(0)) do error "nothing to give" end
  end)

  it("takes what pairs, ipairs and io.lines return, with options behind it", function()
    local seen = {}
    local function join(key, value) return key .. value end
    for pair in lease:imap(join, ipairs { "a", "b" }) do seen[#seen + 1] = pair end
    for pair in lease:imap(join, pairs { c = 3 }) do seen[#seen + 1] = pair end
    local f, s, c = ipairs { "d" }
    for pair in lease:imap(join, f, s, c, { window = 1 }) do seen[#seen + 1] = pair end
    assert.are.same({ "1a", "2b", "c3", "1d" }, seen)
    local name <const> = os.tmpname()
    local file <const> = assert(io.open(name, "w"))
    file:write "x\ny\n"
    file:close()
    local lines = {}
    for line in lease:imap(string.upper, io.lines(name)) do lines[#lines + 1] = line end
    os.remove(name)
    assert.are.same({ "X", "Y" }, lines)
  end)

  it("takes from the iterator only what the window has room for", function()
    local taken = 0
    local function endless()
      taken = taken + 1
      return taken
    end
    local given = 0
    for _ in lease:imap(square, endless, { window = 4 }) do
      given = given + 1
      assert.is_true(taken - given <= 4)
      if given == 20 then break end
    end
    assert.is_true(taken <= 24)
  end)

  it("cancels what is queued and closes the input when the loop is left", function()
    local blocker = gate()
    local closed = 0
    local input = setmetatable({}, { __close = function() closed = closed + 1 end })
    local function job(pass, id, x)
      if x > 1 then
        pass(id)
        _G.imapped = (_G.imapped or 0) + 1
      end
      return x
    end
    local counter = count_to(100)
    for result in lease:imap(job, function()
      local x = counter()
      if x then return blocker.pass, blocker.id, x end
    end, nil, nil, input, { window = 10 }) do
      assert.are.equal(1, result)
      if result == 1 then break end
    end
    assert.are.equal(1, closed)
    while manager:stats().queued > 0 do leasepool.sleep(0.001) end -- children say what they will not begin
    blocker.open()
    lease:run(function() end)
    assert.is_true(lease:run(function() return _G.imapped or 0 end) <= 2)
    for _ in lease:imap(square, count_to(3), nil, nil, input) do _ = nil end
    assert.are.equal(2, closed)
  end)

  it("raises the error of a job in its place, and ends", function()
    local function job(x)
      if x == 3 then error "third" end
      return x
    end
    local seen = {}
    local step, _, _, closing = lease:imap(job, count_to(10))
    local ok, err = pcall(function()
      for result in step, nil, nil, closing do seen[#seen + 1] = result end
    end)
    assert.is_false(ok)
    assert.are.equal("JobError", err.name)
    assert.matches("third", err.cause)
    assert.are.same({ 1, 2 }, seen)
    assert.is_nil(step())
  end)

  it("refuses a nil result, which would end the loop unseen", function()
    local err = failure(function()
      for _ in lease:imap(function(x) if x ~= 2 then return false end end, count_to(3)) do _ = nil end
    end)
    assert.matches("lease:imap: result 2: got nil, which would end the loop", err.message, 1, true)
  end)

  it("passes on what the iterator and on_progress raise", function()
    local calls = 0
    local err = failure(function()
      for _ in lease:imap(square, function()
        calls = calls + 1
        if calls == 3 then error("input", 0) end
        return calls
      end) do _ = nil end
    end)
    assert.are.equal("input", err)
    err = failure(function()
      for _ in lease:imap(square, count_to(3), { on_progress = function() error("progress", 0) end }) do _ = nil end
    end)
    assert.are.equal("progress", err)
    assert.are.equal(1, lease:run(function() return 1 end))
  end)

  it("tells its progress, and the total once that is known", function()
    local told = {}
    for _ in lease:imap(square, count_to(5), { window = 2, on_progress = function(done, total)
      told[#told + 1] = { done, total }
    end }) do _ = nil end
    assert.are.same({ 1 }, told[1])
    assert.are.same({ 5, 5 }, told[5])
  end)

  it("streams through a queue smaller than its window #threads", function()
    local small <close> = backend.manager({ max_pools = 1, workers_per_pool = 2, max_queue = 1 }):start()
    local narrow <close> = small:acquire()
    local sum = 0
    for x in narrow:imap(square, count_to(100), { window = 50 }) do sum = sum + x end
    assert.are.equal(338350, sum)
  end)

  it("lets its input wait, as in a coroutine that reads a lease of its own", function()
    leasepool.run(function()
      local i, seen = 0, {}
      local function input()
        i = i + 1
        if i <= 3 then return lease:run(square, i) end
      end
      for x in lease:imap(square, input) do seen[#seen + 1] = x end
      assert.are.same({ 1, 16, 81 }, seen)
    end)
  end)

  it("in a coroutine that is cancelled or closed cancels what is queued", function()
    for _, ends in ipairs { "cancel", "close" } do
      local blocker = gate()
      local co
      local future = leasepool.spawn(function()
        co = coroutine.running()
        for _ in lease:imap(blocker.pass, function() return blocker.id end) do _ = nil end
      end)
      blocker.await(2)
      if ends == "cancel" then future:cancel() else coroutine.close(co) end
      assert.are.equal("CancelledError", select(2, future:result()).name)
      blocker.open()
      assert.are.equal(1, lease:run(function() return 1 end))
    end
  end)

  it("refuses wrong arguments, and says what and why", function()
    for _, case in ipairs {
      { "lease:imap: argument 1: got nil, allowed: a function" },
      { "lease:imap: iterator: got nil, allowed: a function", square },
      { "lease:imap: iterator: got table, allowed: a function", square, {} },
      { "lease:imap: options: got 3, allowed: a table", square, print, 3 },
      { 'lease:imap: unknown option "chunk"', square, print, { chunk = 1 } },
      { "lease:imap: window: got 0, allowed: an integer from 1", square, print, { window = 0 } },
      { "lease:imap: on_progress: got 1, allowed: a function", square, print, { on_progress = 1 } },
    } do
      local err = failure(lease.imap, lease, table.unpack(case, 2))
      assert.are.equal("ConfigError", err.name)
      assert.matches(case[1], err.message, 1, true)
    end
    local err = failure(function() for _ in lease:imap(square, function() return io.stdout end) do _ = nil end end)
    assert.matches("lease:imap: cannot transfer arg 1: userdata", err.message, 1, true)
  end)
end)

backends.each("a program", function(backend)
  it("that ends in the middle of map and imap ends without a crash", function()
    local output, _, status = child.run([[
      local leasepool = require "leasepool"
      local manager = leasepool.manager({ backend = ..., max_pools = 1, workers_per_pool = 1 }):start()
      local lease = manager:acquire()
      local list = {}
      for i = 1, 100 do list[i] = i end
      kept = { leasepool.spawn(function() lease:map(function(x) return x end, list, { chunk = 1 }) end) }
      step, _, _, closing = lease:imap(function(x) return x end, ipairs(list))
      step()
      lease:release()
    ]], backend.name)
    assert.are.same({ "", 0 }, { output, status })
  end)
end)
