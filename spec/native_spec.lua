--- Native jobs: C functions of shared libraries, run as jobs and called by Lua code, on every
-- backend. spec/support/natives.c has the functions.
local leasepool = require "leasepool"
local backends = require "spec.support.backends"
local child = require "spec.support.child"
local compiled = require "spec.support.natives"
local failure = require "spec.support.failure"

local natives <const>, missing <const> = compiled()

if not natives then
  describe("native jobs", function()
    it("are tried", function() pending(missing) end)
  end)
  return
end

-- A name for a file that a native makes when it has begun.
local function new_flag()
  local name <const> = os.tmpname()
  os.remove(name)
  return name
end

local function is_there(name)
  local file = io.open(name)
  if file then file:close() end
  return file ~= nil
end

local function await_flag(name)
  repeat leasepool.sleep(0.001) until is_there(name)
  os.remove(name)
end

-- What the native `show` makes of arguments, in Lua.
local function show(depth, ...)
  local put
  local function put_table(list, left)
    local pairs_of = {}
    for key, value in next, list do
      pairs_of[#pairs_of + 1] = put(key, left - 1) .. "=" .. put(value, left - 1)
    end
    table.sort(pairs_of, function(a, b)
      for i = 1, math.min(#a, #b) do -- by bytes, as C compares them
        if a:byte(i) ~= b:byte(i) then return a:byte(i) < b:byte(i) end
      end
      return #a < #b
    end)
    for i, pair in ipairs(pairs_of) do pairs_of[i] = pair .. ";" end
    return "{" .. table.concat(pairs_of) .. "}"
  end
  function put(value, left)
    local kind = math.type(value) or type(value)
    if kind == "integer" then return ("%d"):format(value) end
    if kind == "float" then return ("%a"):format(value) end
    if kind == "string" then return '"' .. value .. '"' end
    if kind == "boolean" or kind == "nil" then return tostring(value) end
    if kind ~= "table" or value == string then return "other" end -- a module travels by name
    return left == 0 and ".." or put_table(value, left)
  end
  local text = ""
  for i = 1, select("#", ...) do text = text .. put((select(i, ...)), depth) .. " " end
  return text
end

describe("native jobs", function()
  teardown(function() os.remove(natives.path) end)

  backends.each("a native job", function(backend)
    local manager, lease

    before_each(function()
      manager = backend.manager({ max_pools = 1, workers_per_pool = 1, logger = function() end,
        interrupt_grace_seconds = 0.01, exit_grace_seconds = 0.01 }):start()
      lease = manager:acquire()
    end)

    after_each(function()
      lease:release()
      manager:stop { timeout = 0 }
    end)

    local function by_lua(fn, ...)
      return lease:run(function(native, ...) return native(...) end, fn, ...)
    end

    -- The same, as a job and called by a job.
    local function each_way(name, suite)
      it(name .. ", as a job", function() suite(function(fn, ...) return lease:run(fn, ...) end) end)
      it(name .. ", called by Lua code", function() suite(by_lua) end)
    end

    each_way("gets arguments and returns results #threads", function(run)
      assert.are.equal(42, run(natives.add, 40, 2))
      assert.are.equal(5, run(natives.measure, "\0four"))
      assert.are.equal(1 << 20, run(natives.measure, ("x"):rep(1 << 20)))
      assert.are.equal(("x"):rep(1 << 20), run(natives.bytes, 1 << 20))
      assert.are.same(table.pack(), table.pack(run(natives.echo)))
    end)

    each_way("is told the type of each argument", function(run)
      assert.are.same({ 9, "nil", "boolean", "integer", "number", "string", "table", "table", "other", "nil" },
        { run(natives.types, nil, true, 1, 1.0, "", {}, { 1, x = 1 }, string, nil) })
      assert.are.same({ 0 }, { run(natives.types) })
    end)

    each_way("returns every kind of value", function(run)
      local results = table.pack(run(natives.values))
      assert.are.same({ n = 10, nil, true, false, math.mininteger, 3.0, -math.huge, "with\0zero", {},
        { "one", { two = 2 }, field = true }, nil }, results)
      assert.are.equal("integer", math.type(results[4]))
      assert.are.equal("float", math.type(results[5]))
    end)

    each_way("gives back what it got", function(run)
      local list, deep = {}, "deep"
      for i = 1, 1000 do list[i] = i * 1.5 end
      for _ = 1, 127 do deep = { deep } end
      local given = table.pack(nil, false, -1, 0.1, "", { 1, 2, x = { y = {} }, [""] = "empty" }, list, deep)
      assert.are.same(given, table.pack(run(natives.echo, table.unpack(given, 1, given.n))))
    end)

    -- Tables and functions that refer to each other, in every way in which they can.
    local function graph(random)
      local function number(n) return random(n) end
      local nodes = {}
      for i = 1, 8 do
        local kind = number(6)
        if kind == 1 then
          local ok, err = pcall(leasepool.sleep, -1) -- one of our errors
          assert(not ok)
          err.where = nil -- names this file
          nodes[i] = err
        elseif kind == 2 and backend.code then
          local a, b = {}, {}
          nodes[i] = function() return a, b, nodes[i] end -- all of them are its upvalues
        elseif kind == 3 then
          nodes[i] = backend.threads and number(2) == 1 and manager or string
        else
          nodes[i] = {}
        end
      end
      for i = 1, 8 do
        if type(nodes[i]) == "table" and nodes[i] ~= string then
          for _ = 1, number(3) do
            local where = number(4)
            local key = where == 1 and nodes[number(8)] or where == 2 and "key" .. number(3) or #nodes[i] + 1
            nodes[i][key] = nodes[number(8)]
          end
        end
      end
      return nodes
    end

    it("sees tables, functions and errors that refer to each other as a Lua job does", function()
      local seed = tonumber(os.getenv "LEASEPOOL_SEED") or 1
      for round = seed, seed + 59 do
        local state = round * 2654435761 % 4294967291
        local function random(n)
          state = (state * 1103515245 + 12345) % 2147483648
          return (state >> 8) % n + 1
        end
        local nodes = graph(random)
        local args = { nodes[random(8)], nodes[random(8)], nodes, nodes[random(8)] }
        assert.are.equal(lease:run(show, 5, table.unpack(args)), lease:run(natives.show, 5, table.unpack(args)),
          "LEASEPOOL_SEED=" .. round)
      end
    end)

    it("fails with the text that it returns, whole", function()
      local err = failure(lease.run, lease, natives.fail, "no\0luck")
      assert.are.same({ "JobError", "no\0luck", "no\0luck", "fail" }, { err.name, err.message, err.cause, err.job })
      assert.matches("^leasepool%-%d+%-1$", err.worker)
      assert.is_nil(err.traceback)
      assert.are.equal("add: two integers expected", failure(lease.run, lease, natives.add, 1, 1.5).cause)
      assert.are.equal("", failure(lease.run, lease, natives.fail).cause)
      local named = lease:with { name = "mine" }
      assert.are.equal("mine", failure(named.run, named, natives.fail, "").job)
    end)

    it("raises its text where Lua code calls it", function()
      assert.are.same({ false, "no luck" }, { lease:run(pcall, natives.fail, "no luck") })
      local err = failure(by_lua, natives.fail, "no luck")
      assert.are.same({ "JobError", "no luck" }, { err.name, err.cause })
      assert.matches("native_spec.lua", err.job)
      assert.matches("stack traceback", err.traceback)
    end)

    each_way("that misuses what it is given fails, and says so", function(run)
      assert.are.equal("the native job end_with returned -7", failure(run, natives.end_with, -7).cause)
      assert.matches("^the native job leave_open built its results wrongly: a table that is open",
        failure(run, natives.leave_open).cause)
      assert.are.equal(42, run(natives.add, 40, 2))
    end)

    it("whose results are too large is told so, whatever it returned", function()
      local err = failure(lease.run, lease, natives.too_much)
      assert.are.equal("TransferError", err.name)
      assert.are.equal("cannot transfer the values take more than 2147483647 bytes", err.message)
      assert.matches("too_much: the value cannot be transferred",
        failure(by_lua, natives.too_much, "an argument").message)
      assert.are.equal("ACTIVE", lease.state)
    end)

    it("runs wherever a function runs", function()
      assert.are.same({ 1, 2, 3, n = 3 }, lease:map(natives.measure, { "a", "bb", "ccc" }))
      assert.are.same({ 1, 2, 3, n = 3 }, lease:map(natives.measure, { "a", "bb", "ccc" }, { chunk = 2 }))
      local lengths = {}
      for length in lease:imap(natives.measure, ("a bb ccc"):gmatch "%a+") do lengths[#lengths + 1] = length end
      assert.are.same({ 1, 2, 3 }, lengths)
      local posted
      lease:post(function(...) posted = { ... } end, natives.add, 1, 2)
      assert.are.equal(3, lease:submit(natives.add, 1, 2):await())
      leasepool.sleep(0)
      assert.are.same({ true, 3 }, posted)
      lease:release()
      assert.are.equal(3, manager:run(natives.add, 1, 2))
      local grinder <close> = leasepool.grinder({ manager = manager, batch_size_threshold = 2 }):start()
      local futures = { grinder:enqueue(natives.add, 1, 2), grinder:enqueue(natives.fail, "no luck") }
      assert.are.equal(3, futures[1]:await())
      assert.are.equal("no luck", select(2, futures[2]:result()).cause)
      lease = manager:acquire()
    end)

    it("is an argument, an upvalue, a field and a key", function()
      local native = natives.add
      assert.are.equal(3, lease:run(function(f) return f(1, 2) end, native))
      assert.are.equal(3, lease:run(function() return native(1, 2) end))
      assert.are.equal(3, lease:run(function(list) return list[1].add(1, 2) end, { { add = native } }))
      assert.is_true(lease:run(function(a, b, list) return a == b and list[a] and a == native end, native, native,
        { [native] = true }))
      assert.are.same({ 2, "other", "other" }, { lease:run(natives.types, native, function() return native end) })
      assert.are.equal(3, lease:run(pcall, native, 1, 2) and lease:run(native, 1, 2))
    end)

    it("initializes workers, in Lua or as it is", function()
      local add = natives.add
      local other <close> = backend.manager({ max_pools = 1, workers_per_pool = 1,
        initializer = function(...) _G.sum = add(...) end, initargs = { 40, 2 } }):start()
      assert.are.equal(42, other:run(function() return _G.sum end))
      local broken <close> = backend.manager({ max_pools = 1, workers_per_pool = 1, initializer = natives.fail,
        initargs = { "no luck" }, logger = function() end }):start()
      assert.matches("the initializer failed: no luck", failure(broken.run, broken, print).message)
    end)

    if backend.code then
      it("is a result, and the function that it was", function()
        assert.are.equal(natives.add, lease:run(function(f) return f end, natives.add))
      end)

      it("runs in jobs that jobs submit", function()
        lease:release()
        local other <close> = backend.manager({ max_pools = 1, workers_per_pool = 1 }):start()
        local grinder <close> = leasepool.grinder({ manager = other, batch_size_threshold = 1 }):start()
        assert.are.equal(3, manager:run(function(handle, add)
          return handle:submit_from_thread(add, 1, 2):await()
        end, grinder, natives.add))
        lease = manager:acquire()
      end)
    else
      it("is refused as a result, like every function", function()
        assert.are.equal("result 1", failure(lease.run, lease, function(f) return f end, natives.add).path)
      end)
    end

    it("may be loaded by a job", function()
      local path = natives.path
      assert.are.equal(3, lease:run(function() return require "leasepool".load_native(path, "add")(1, 2) end))
    end)

    it("of another library is another function, though it has the same name", function()
      local path = assert(compiled.compile_text [[
        #include "leasepool_native.h"
        int add(lp_call_t *call) { return lp_return_string(call, "the other", 9); }
      ]])
      local other = leasepool.load_native(path, "add")
      os.remove(path) -- a child could not load it any more
      assert.are_not.equal(other, natives.add)
      if backend.threads then
        assert.are.same({ "the other", 3 }, { lease:run(other), lease:run(natives.add, 1, 2) })
        assert.are.equal("the other", by_lua(other))
      else
        for _, run in ipairs { function(f) return lease:run(f) end, by_lua } do
          local err = failure(run, other)
          assert.are.equal("TransferError", err.name)
          assert.matches("the native job 'add': .*" .. path:gsub("%p", "%%%0"), err.message)
        end
        assert.are.equal(3, lease:run(natives.add, 1, 2))
      end
    end)

    it("is told to stop by cancel #threads", function()
      local flag = new_flag()
      local future = lease:submit(natives.work, flag)
      await_flag(flag)
      assert.is_true(future:cancel())
      local ok, err = future:result(20)
      assert.are.same({ false, "CancelledError", "cancelled" }, { ok, err.name, future:status() })
      assert.matches("^the job was stopped: it was cancelled", err.message)
      assert.are.equal("work", err.job)
      assert.matches("^leasepool%-", err.worker)
      assert.is_nil(err.still_running)
      assert.are.equal(3, lease:run(function(add) return add(1, 2) end, natives.add)) -- nothing of it is left
    end)

    it("that waits is taken back", function()
      local flag = new_flag()
      local futures = { lease:submit(natives.work, flag), lease:submit(natives.add, 1, 2) }
      await_flag(flag)
      assert.is_true(futures[2]:cancel())
      assert.are.equal("CancelledError", select(2, futures[2]:result(20)).name)
      assert.are.equal("pending", futures[1]:status())
      futures[1]:cancel()
    end)

    it("is told to stop by its timeout", function()
      local err = select(2, lease:with({ timeout = 0.05 }):submit(natives.work, "/"):result(20))
      assert.are.equal("TimeoutError", err.name)
      assert.matches("its timeout of 0.05 seconds was over", err.message)
    end)

    it("is told to stop by hard expiry", function()
      local other <close> = backend.manager({ max_pools = 1, workers_per_pool = 1, lease_grace_seconds = 0,
        on_expiry = "interrupt" }):start()
      local short = other:acquire { lease_seconds = 0.05 }
      local err = select(2, short:submit(natives.work, "/"):result(20))
      assert.are.equal("LeaseExpiredError", err.name)
      assert.matches("^the job was stopped: its lease expired", err.message)
    end)

    it("stops when Lua code calls it, and so does that", function()
      local flag = new_flag()
      local future = lease:submit(function(work, name)
        return "went on after " .. work(name)
      end, natives.work, flag)
      await_flag(flag)
      future:cancel()
      local ok, err = future:result(20)
      assert.are.same({ false, "CancelledError" }, { ok, err.name })
      assert.matches("stack traceback", err.traceback)
    end)

    it("is woken from a system call that blocks #threads", function()
      local flag = new_flag()
      local future = lease:submit(natives.block, flag)
      await_flag(flag)
      future:cancel()
      assert.are.equal("CancelledError", select(2, future:result(20)).name)
    end)

    it("knows how much time it has", function()
      local view = lease:with { timeout = 500 }
      local left = view:run(natives.remaining)
      assert.is_true(left > 100 and left <= 500)
      left = lease:run(natives.remaining) -- of the lease
      assert.is_true(left > 100 and left <= 315)
      left = view:run(function(remaining) return remaining() end, natives.remaining)
      assert.is_true(left > 100 and left <= 315)
    end)

    if backend.threads then
      it("that asks for nothing and ends in spite of a request has ended #threads", function()
        lease:release()
        manager:stop()
        manager = backend.manager({ max_pools = 1, workers_per_pool = 1, exit_grace_seconds = 1000,
          logger = function() end }):start()
        lease = manager:acquire()
        local begun, ends = new_flag(), new_flag()
        local future = lease:submit(natives.ignore, begun, ends)
        await_flag(begun)
        assert.is_true(future:cancel())
        io.open(ends, "w"):close()
        assert.are.same({ true, "done all the same" }, { future:result(20) })
        os.remove(ends)
        assert.are.equal(3, lease:run(function(add) return add(1, 2) end, natives.add))
      end)

      it("that asks for nothing is given up #threads", function()
        local begun, ends = new_flag(), new_flag()
        local future = lease:submit(natives.ignore, begun, ends)
        await_flag(begun)
        future:cancel()
        local ok, err = future:result(20)
        assert.are.same({ false, "CancelledError", true }, { ok, err.name, err.still_running })
        assert.matches("cannot be stopped, and was given up", err.message)
        lease:release()
        io.open(ends, "w"):close()
        repeat leasepool.sleep(0.001) until manager:stats().retiring == 0
        os.remove(ends)
        lease = manager:acquire()
        assert.are.equal(3, lease:run(natives.add, 1, 2))
      end)
    else
      it("that asks for nothing is killed", function()
        local begun = new_flag()
        local future = lease:submit(natives.ignore, begun, new_flag())
        await_flag(begun)
        future:cancel()
        local ok, err = future:result(20)
        assert.are.same({ false, "CancelledError", true }, { ok, err.name, err.killed })
        lease:release()
        lease = manager:acquire()
        assert.are.equal(3, lease:run(natives.add, 1, 2))
      end)

      it("that crashes costs its worker alone", function()
        local ok, err = pcall(lease.run, lease, natives.die)
        assert.are.same({ false, "BrokenExecutorError", 9 }, { ok, err.name, err.signal })
        lease:release()
        lease = manager:acquire()
        assert.are.equal(3, lease:run(natives.add, 1, 2))
      end)
    end
  end)

  describe("a native job", function()
    it("called by the script runs there and then", function()
      assert.are.equal(3, natives.add(1, 2))
      assert.are.same({ false, "add: two integers expected" }, { pcall(natives.add, 1) })
      assert.is_nil(natives.remaining())
      assert.are.equal(show(9, { 1, 2, x = {} }, nil, "text"), natives.show(9, { 1, 2, x = {} }, nil, "text"))
      assert.are.equal(42, coroutine.wrap(function() return natives.add(40, 2) end)())
      assert.are.equal(42, leasepool.run(function() return natives.add(40, 2) end))
      local err = failure(natives.types, 1, io.stdout)
      assert.are.same({ "TransferError", "arg 2" }, { err.name, err.path })
    end)

    it("is loaded once, and found by its name", function()
      assert.are.equal(natives.add, leasepool.load_native(natives.path, "add"))
      assert.are.equal(natives.add, leasepool.native "add")
    end)

    it("has the whole path of its library: children may start elsewhere", function()
      local relative = ("../"):rep(50) .. natives.path:sub(2)
      assert.are.equal(natives.add, leasepool.load_native(relative, "add"))
    end)

    it("that is not there is refused, with the reason", function()
      local err = failure(leasepool.load_native, "/nowhere/lib.so", "add")
      assert.are.equal("ConfigError", err.name)
      assert.matches("^leasepool.load_native: /nowhere/lib.so: ", err.message)
      err = failure(leasepool.load_native, natives.path, "subtract")
      assert.are.equal("ConfigError", err.name)
      assert.matches("subtract", err.message)
      err = failure(leasepool.load_native, "spec/native_spec.lua", "add")
      assert.are.equal("ConfigError", err.name)
      err = failure(leasepool.native, "subtract")
      assert.are.equal("ConfigError", err.name)
      assert.matches('^leasepool.native: got "subtract", allowed: a native job', err.message)
    end)

    it("needs a path and a name", function()
      for _, wrong in ipairs { 1, "", "a\0b", {}, false } do
        assert.matches("^leasepool.load_native: path: got .*, allowed: a string",
          failure(leasepool.load_native, wrong, "add").message)
        assert.matches("^leasepool.load_native: symbol: got .*, allowed: a string",
          failure(leasepool.load_native, natives.path, wrong).message)
        assert.matches("^leasepool.native: name: got .*, allowed: a string", failure(leasepool.native, wrong).message)
      end
      assert.matches("got no value", failure(leasepool.native).message)
    end)

    it("takes no memory with it once it has returned", function()
      local text <const> = ("x"):rep(8 << 20)
      local function peak()
        for line in io.lines "/proc/self/status" do
          local kib = line:match "^VmHWM:%s+(%d+)"
          if kib then return tonumber(kib) end
        end
      end
      if not is_there "/proc/self/status" then pending "there is no /proc" end
      natives.measure(text)
      local before = peak()
      for _ = 1, 120 do natives.measure(text) end
      assert.is_true(peak() - before < 400 << 10, peak() - before .. " KiB more") -- and not 120 texts
    end)

    it("may be called by what ends a script", function()
      local output, errors, status = child.run([[
        local native
        local _ <const> = setmetatable({}, { __gc = function() print(pcall(native, 1, 2)) end }) -- goes last
        local leasepool = require "leasepool"
        native = leasepool.load_native(..., "add")
        local _ <close> = setmetatable({}, { __close = function() print(native(1, 2)) end })
      ]], natives.path)
      assert.are.same({ "3\nfalse\tleasepool: the Lua state is closing\n", "", 0 }, { output, errors, status })
    end)

    it("that a worker has loaded outlives it", function()
      for _, name in ipairs { "thread", "interpreter" } do
        local path <const>, result = natives.path
        do
          local manager <close> = leasepool.manager({ backend = name, max_pools = 1, workers_per_pool = 1 }):start()
          result = manager:run(function() return require "leasepool".load_native(path, "add") end)
          assert.are.equal(3, manager:run(result, 1, 2))
        end
        collectgarbage()
        assert.are.equal(3, result(1, 2))
      end
    end)

    it("stays what it was, though its library's file has changed", function()
      local path = assert(compiled.compile_text [[
        #include "leasepool_native.h"
        int which(lp_call_t *call) { return lp_return_integer(call, 1); }
      ]])
      local first = leasepool.load_native(path, "which")
      os.remove(path)
      local other = assert(compiled.compile_text [[
        #include "leasepool_native.h"
        int padding(lp_call_t *call) { return lp_return_integer(call, 0); }
        int which(lp_call_t *call) { return lp_return_integer(call, 2); }
      ]])
      assert(os.rename(other, path))
      local second = leasepool.load_native(path, "which")
      os.remove(path)
      assert.are.equal(first, second)
      assert.are.equal(1, second())
    end)
  end)
end)
