--- What a job does, written once and run against every backend.
local leasepool = require "leasepool"
local backends = require "spec.support.backends"
local gate = require "spec.support.gate"

backends.each("a job", function(backend)
  local manager, lease

  before_each(function()
    manager = backend.manager({ max_pools = 1, workers_per_pool = 2 }):start()
    lease = manager:acquire { owner = "conformance" }
  end)

  after_each(function()
    lease:release()
    manager:stop()
  end)

  local function failure(fn, ...)
    local ok, err = pcall(lease.run, lease, fn, ...)
    assert.is_false(ok)
    return err
  end

  it("returns all of its values, nils in the middle and at the end included", function()
    local function echo(...) return ... end
    local function count(...) return select("#", ...) end
    assert.are.same({ n = 5, 1, nil, "x", nil, nil }, table.pack(lease:run(echo, 1, nil, "x", nil, nil)))
    assert.are.equal(0, select("#", lease:run(echo)))
    assert.are.equal(3, lease:run(count, nil, nil, nil))
  end)

  it("keeps integers and floats apart", function()
    local values = { 0, 0.0, 1, 1.0, math.maxinteger, math.mininteger, 2 ^ 53, math.huge, -math.huge }
    local function echo(list) return list end
    local back = lease:run(echo, values)
    for i, value in ipairs(values) do
      assert.are.equal(value, back[i])
      assert.are.equal(math.type(value), math.type(back[i]))
    end
    local nan = lease:run(function() return 0 / 0 end)
    assert.is_true(nan ~= nan)
    assert.are.equal(-math.huge, 1 / lease:run(function() return -0.0 end))
  end)

  it("takes a string of 64 MiB there and back", function()
    local text = ("0123456789abcdef"):rep(4 << 20)
    local function check(s) return #s, s end
    local length, back = lease:run(check, text)
    assert.are.equal(64 << 20, length)
    assert.is_true(back == text)
  end)

  it("keeps the shape of shared and cyclic tables", function()
    local shared = { "s" }
    local cyclic = { a = shared, b = shared }
    cyclic.self = cyclic
    local back = lease:run(function(t)
      assert(t.a == t.b and t.self == t)
      return t
    end, cyclic)
    assert.are.equal(back.a, back.b)
    assert.are.equal(back, back.self)
    assert.are.equal("s", back.a[1])
  end)

  it("has copies: later changes by the caller are not seen", function()
    local blocker = gate()
    local list = { 1 }
    local future = lease:submit(blocker.pass, blocker.id, list)
    list[1] = 2
    blocker.open()
    assert.are.same({ 1 }, future:await())
  end)

  it("sees the values of its upvalues at the moment of its submission", function()
    local counter = 0
    local function read() return counter end
    assert.are.equal(0, lease:run(read))
    counter = 7
    assert.are.equal(7, lease:run(read))
    local function write() counter = counter + 1 return counter end
    assert.are.equal(8, lease:run(write))
    assert.are.equal(8, lease:run(write))
    assert.are.equal(7, counter)
  end)

  it("runs recursive, mutually recursive and shared-upvalue functions", function()
    local function fib(n) return n < 2 and n or fib(n - 1) + fib(n - 2) end
    assert.are.equal(55, lease:run(fib, 10))
    local even, odd
    function even(n) return n == 0 or odd(n - 1) end
    function odd(n) return n ~= 0 and even(n - 1) end
    assert.is_true(lease:run(even, 10))
    local n = 0
    local function bump() n = n + 1 end
    local function get() return n end
    assert.are.equal(3, lease:run(function() bump() bump() bump() return get() end))
  end)

  it("has its worker's globals, also when the spec's own environment is another", function()
    assert.are.equal("function", lease:run(function() return type(print) end))
    assert.is_nil(lease:run(function() return describe end)) -- luacheck: ignore
  end)

  it("resolves modules and their functions by name, be they Lua or C", function()
    local cjson = require "cjson"
    local upper, concat = string.upper, table.concat
    assert.are.equal('{"a":1}', lease:run(function(t) return cjson.encode(t) end, { a = 1 }))
    assert.are.equal("A,B", lease:run(function() return upper(concat({ "a", "b" }, ",")) end))
    assert.are.equal("HI", lease:run(string.upper, "hi"))
    assert.is_true(lease:run(function(m) return m == require "string" end, string))
  end)

  it("says so when a module exists only in the script", function()
    package.loaded["only.here"] = { answer = function() return 42 end }
    local err = failure(package.loaded["only.here"].answer)
    package.loaded["only.here"] = nil
    assert.are.equal("TransferError", err.name)
    assert.matches("only.here", err.message, 1, true)
  end)

  it("finds what the lease before left in its worker only where workers stay warm", function()
    local one <close> = backend.manager({ max_pools = 1, workers_per_pool = 1 }):start()
    local function remember(value)
      local old = _G.remembered
      _G.remembered = value
      return old
    end
    local first = one:acquire()
    assert.is_nil(first:run(remember, "x"))
    first:release()
    local second = one:acquire()
    assert.are.equal(backend.warm and "x" or nil, second:run(remember))
    second:release()
  end)

  it("that raises gives a JobError with the cause and the worker's traceback", function()
    local function inner() error({ code = 7 }) end
    local err = failure(function() inner() end)
    assert.is_true(leasepool.is_error(err, "JobError"))
    assert.are.equal("job_failed", err.code)
    assert.are.same({ code = 7 }, err.cause)
    assert.matches("stack traceback:.*conformance_spec", err.traceback)
    assert.matches("^leasepool%-%d+%-%d+$", err.worker)
    err = failure(function() error("boom", 0) end)
    assert.are.equal("boom", err.cause)
    assert.matches("^boom\nstack traceback:\n", tostring(err))
    assert.is_nil(failure(function() error() end).cause)
  end)

  it("tells its worker's whole name and the whole message, however long and with zeros", function()
    local prefix = ("p"):rep(255)
    local long <close> = backend.manager({ max_pools = 1, name_prefix = prefix })
    local other <close> = long:start():acquire()
    local ok, err = pcall(other.run, other, function() error(("m"):rep(10000) .. "\0end", 0) end)
    assert.is_false(ok)
    assert.matches("^" .. prefix .. "%-%d+%-1$", err.worker)
    assert.are.equal(("m"):rep(10000) .. "\0end", err.message)
  end)

  it("that raises does not harm its executor", function()
    for _ = 1, 20 do failure(error, "x") end
    assert.are.equal(1, lease:run(function() return 1 end))
  end)

  it("tells what the cause was when the cause itself cannot travel", function()
    local err = failure(function() error(setmetatable({}, { __tostring = function() return "odd" end })) end)
    assert.are.equal("odd", err.cause)
    assert.matches("^file %(", failure(function() error(io.stdout) end).cause)
  end)

  it("that raises what raises when it is printed is a failed job like others", function()
    local err = failure(function()
      error(setmetatable({}, { __tostring = function() error "no text" end }))
    end)
    assert.are.equal("JobError", err.name)
    assert.matches("^table: ", err.cause)
    assert.matches("stack traceback:", err.traceback)
  end)

  it("leaves no debug hook to the next one", function()
    local one <close> = backend.manager({ max_pools = 1, workers_per_pool = 1 })
    local single <close> = one:start():acquire()
    single:run(function() debug.sethook(function() error "left behind" end, "l") end)
    assert.are.equal("innocent", single:run(function()
      local word = "innocent"
      return word
    end))
  end)

  it("that raises one of leasepool's errors keeps its class as the cause", function()
    local err = failure(function()
      require("leasepool").manager {}
    end)
    assert.are.equal("JobError", err.name)
    assert.is_true(leasepool.is_error(err.cause, "ConfigError"))
    assert.matches("max_pools", err.cause.message)
  end)

  it("explains a nil global", function()
    local err = failure(function() return helper() end) -- luacheck: ignore
    assert.matches("global 'helper'", err.cause, 1, true)
    assert.matches("a global of the script is not a global of the worker", err.cause, 1, true)
  end)

  it("refuses arguments and results that cannot travel, with their path", function()
    local err = failure(function() end, 1, { user = { socket = io.stdout } })
    assert.are.equal("TransferError", err.name)
    assert.matches("arg 2.user.socket: userdata", err.message, 1, true)
    assert.are.equal("arg 2.user.socket", err.path)
    assert.are.equal("result 1", failure(function() return io.stdout end).path)
    assert.matches("arg 1: .*coroutine", failure(function() end, coroutine.create(print)).message)
    assert.matches("result 2%[3%]: userdata", failure(function() return 1, { 1, 2, io.stdout } end).message)
    assert.matches("metatable", failure(function() end, setmetatable({}, {})).message)
    assert.are.equal(1, lease:run(function() return 1 end))
  end)

  it("may return functions, but not where its worker is not trusted with code", function()
    local function adder(n) return function(x) return x + n end end
    if backend.code then
      assert.are.equal(42, lease:run(adder, 2)(40))
    else
      assert.are.equal("TransferError", failure(adder, 2).name)
    end
  end)

  it("may not end the program or change its locale, unless that is its own", function()
    if not backend.threads then
      assert.are.equal("C", lease:run(function() return os.setlocale "C" end))
      local err = failure(function() os.exit(3) end)
      assert.are.same({ "BrokenExecutorError", 3 }, { err.name, err.exit_code })
      return
    end
    assert.matches("os.exit: not allowed in a job", failure(function() os.exit(3) end).cause, 1, true)
    assert.matches("os.setlocale: not allowed", failure(function() os.setlocale "C" end).cause, 1, true)
  end)

  it("takes many arguments and gives many results", function()
    local many = {}
    for i = 1, 250 do many[i] = i end
    local back = table.pack(lease:run(function(...) return ... end, table.unpack(many)))
    assert.are.same(many, { table.unpack(back, 1, 250) })
    assert.are.equal(250, back.n)
    assert.are.equal(5000, select("#", lease:run(function() return table.unpack({}, 1, 5000) end)))
  end)

  it("starts in the order of submission", function()
    local one <close> = backend.manager({ max_pools = 1, workers_per_pool = 1 }):start()
    local order = one:acquire()
    local futures = {}
    for i = 1, 200 do
      futures[i] = order:submit(function(n)
        _G.started = (_G.started or 0) + 1
        return _G.started == n
      end, i)
    end
    for i, in_order in ipairs(leasepool.gather(futures)) do assert.is_true(in_order, "job " .. i) end
    order:release()
  end)

  it("runs beside the others of its executor, on as many workers as that has", function()
    local blocker = gate()
    local a = lease:submit(blocker.pass, blocker.id, "a")
    local b = lease:submit(blocker.pass, blocker.id, "b")
    blocker.await(2)
    blocker.open()
    assert.are.same({ "a", "b", n = 2 }, leasepool.gather { a, b })
  end)

  it("can be cancelled while it waits, and never runs then", function()
    local blocker = gate()
    for _ = 1, 2 do lease:submit(blocker.pass, blocker.id) end
    blocker.await(2)
    local victim = lease:submit(function() _G.victim_ran = true end)
    local after = lease:submit(function() return _G.victim_ran == nil end)
    assert.is_true(victim:cancel())
    blocker.open()
    local ok, err = victim:result()
    assert.is_false(ok)
    assert.are.equal("CancelledError", err.name)
    assert.are.equal("cancelled", victim:status())
    assert.is_false(victim:cancel())
    assert.is_true(after:await())
  end)

  it("that posts calls its callback once, with true and the results or false and the error", function()
    local seen = {}
    local function callback(...) seen[#seen + 1] = table.pack(...) end
    lease:post(callback, function(a, b) return a + b, nil end, 1, 2)
    while #seen < 1 do leasepool.sleep(0.001) end -- jobs start in order, they may end in another
    lease:post(callback, error, "bad")
    while #seen < 2 do leasepool.sleep(0.001) end
    assert.are.same({ n = 3, true, 3, nil }, seen[1])
    assert.is_false(seen[2][1])
    assert.are.equal("bad", seen[2][2].cause)
  end)

  it("of 20,000 at once runs exactly once each #threads", function()
    local count = os.getenv "LEASEPOOL_SANITIZE" and 2000 or 20000
    local sum, done = 0, 0
    local function callback(ok, value)
      assert(ok)
      sum, done = sum + value, done + 1
    end
    for i = 1, count do lease:post(callback, function(x) return x end, i) end
    while done < count do leasepool.sleep(0.001) end
    assert.are.equal(count * (count + 1) // 2, sum)
  end)
end)
