local core = require("leasepool.core")
local codec = core.testing.codec
local errors = core.errors

local transfer, transfer_call = codec.transfer, codec.transfer_call

--- The error that `fn(...)` raises, as a string.
local function message_of(fn, ...)
  local ok, message = pcall(fn, ...)
  assert.is_false(ok, "it should have been refused")
  return tostring(message)
end

local function refused(expected, ...)
  assert.equal(expected, message_of(transfer, ...))
end

--- A list of `...` with its length, so that nils count.
local function roundtrip(...)
  return table.pack(transfer(...))
end

describe("values", function()
  it("arrive as they were", function()
    for _, value in ipairs { true, false, "", "text", 0, 1, -1, 0.5, -2.25 } do
      local back = transfer(value)
      assert.equal(value, back)
      assert.equal(math.type(value), math.type(back))
    end
    assert.is_nil((transfer(nil)))
  end)

  it("keep integers integers at every width", function()
    local integers = { 0, math.maxinteger, math.mininteger }
    for bits = 0, 62 do
      for _, offset in ipairs { -1, 0, 1 } do
        integers[#integers + 1] = (1 << bits) + offset
        integers[#integers + 1] = -(1 << bits) + offset
      end
    end
    for _, value in ipairs(integers) do
      local back = transfer(value)
      assert.equal(value, back)
      assert.equal("integer", math.type(back))
    end
    assert.same(integers, (transfer(integers)))
  end)

  it("keep floats floats, to the bit", function()
    local floats = { 0.0, -0.0, 1.0, 2.0 ^ 53, 1e308, 5e-324, math.huge, -math.huge, 0.1 }
    for _, value in ipairs(floats) do
      local back = transfer(value)
      assert.equal("float", math.type(back))
      assert.equal(("%a"):format(value), ("%a"):format(back))
    end
    local nan = transfer(0 / 0)
    assert.is_true(nan ~= nan)
  end)

  it("keep zeros and every other byte in strings", function()
    local bytes = {}
    for i = 0, 255 do bytes[#bytes + 1] = string.char(i) end
    local all = table.concat(bytes)
    assert.equal(all, (transfer(all)))
    assert.equal("\0", (transfer("\0")))
  end)

  it("keep strings at the edges of every length field", function()
    for _, len in ipairs { 0, 31, 32, 255, 256, 65535, 65536, 200000 } do
      local text = ("s"):rep(len)
      assert.equal(text, (transfer(text)))
    end
  end)

  it("include a string of 64 MiB", function()
    local text = ("0123456789abcdef"):rep(4 << 20)
    local back = transfer(text)
    assert.equal(#text, #back)
    assert.is_true(text == back)
  end)

  it("keep nils in the middle and at the end", function()
    assert.same({ nil, 1, nil, nil, n = 4 }, roundtrip(nil, 1, nil, nil))
    assert.equal(0, roundtrip().n)
    assert.equal(1, roundtrip(nil).n)
  end)

  it("travel in any number", function()
    for _, count in ipairs { 127, 128, 249, 250, 300, 5000 } do
      local values = {}
      for i = 1, count do values[i] = i end
      local back = roundtrip(table.unpack(values))
      assert.equal(count, back.n)
      for i = 1, count do assert.equal(i, back[i]) end
    end
  end)
end)

describe("tables", function()
  it("keep sequences, fields and both together", function()
    for _, value in ipairs {
      {}, { 1 }, { 1, 2, 3 }, { "a", true, 2.5 }, { x = 1 }, { x = 1, y = { z = "deep" } },
      { 1, 2, 3, x = 4, y = 5 }, { { 1, a = 2 }, { {} }, b = { 3 } },
      { [0] = 0, 1, 2 }, { [-1] = "a", [1000000] = "b" }, { nil, nil, 3 }, { 1, nil, 3, x = 1 },
      { [1.5] = 1, [true] = 2, [false] = 3 },
    } do
      assert.same(value, (transfer(value)))
    end
  end)

  it("keep sequences whatever the order they were filled in", function()
    local backwards = {}
    for i = 100, 1, -1 do backwards[i] = i end
    local grown = { x = 0 }
    for i = 1, 100 do grown[i] = i end
    for i = 50, 100 do grown[i] = nil end
    for i = 1, 20 do grown["k" .. i] = i end
    assert.same(backwards, (transfer(backwards)))
    assert.same(grown, (transfer(grown)))
    assert.equal(100, #transfer(backwards))
  end)

  it("keep what was left after fields were removed", function()
    local t = {}
    for i = 1, 64 do t[i], t["k" .. i] = i, i end
    for i = 1, 64, 3 do t[i], t["k" .. i] = nil, nil end
    assert.same(t, (transfer(t)))
  end)

  it("find a float key that is an integer under that integer", function()
    local t = transfer { [2.0 ^ 53] = "big", [3.0] = "small" }
    assert.equal("big", t[1 << 53])
    assert.equal("small", t[3])
    assert.equal("integer", math.type((next(transfer { [2.0 ^ 53] = 1 }))))
  end)

  it("may be keys", function()
    local key = { "key" }
    local t, k = transfer({ [key] = "value" }, key)
    assert.equal("value", t[k])
  end)

  it("are copied raw, without a look at anybody's metamethods", function()
    local class = setmetatable({}, { __index = function() error("ran") end })
    local back = transfer { rawget(class, "x"), 1 }
    assert.is_nil(back[3])
  end)

  it("keep their shape when they are shared", function()
    local shared = { "s" }
    local a, b, c = transfer({ shared, shared, x = shared }, shared, { { shared } })
    assert.equal(a[1], a[2])
    assert.equal(a[1], a.x)
    assert.equal(a[1], b)
    assert.equal(a[1], c[1][1])
    assert.equal("s", b[1])
  end)

  it("stay apart when they are equal but not the same", function()
    local a = transfer { { 1 }, { 1 }, {}, {} }
    assert.are_not.equal(a[1], a[2])
    assert.are_not.equal(a[3], a[4])
  end)

  it("may contain themselves", function()
    local loop = { name = "loop" }
    loop.self, loop[1], loop[loop] = loop, loop, loop
    local back = transfer(loop)
    assert.equal(back, back.self)
    assert.equal(back, back[1])
    assert.equal(back, back[back])
    local a, b = {}, {}
    a.b, b.a = b, a
    local c, d = transfer(a, b)
    assert.equal(d, c.b)
    assert.equal(c, d.a)
  end)

  it("keep the numbers of shared ones beyond 255", function()
    local t = {}
    for i = 1, 70000 do t[i] = { i } end
    for i = 1, 70000, 7 do t[70000 + i] = t[i] end
    local back = transfer(t)
    for i = 1, 70000, 7 do
      assert(back[i] == back[70000 + i] and back[i][1] == i)
    end
  end)

  it("may be nested 128 deep, and no deeper", function()
    local function nest(levels)
      local t = {}
      for _ = 2, levels do t = { t } end
      return t
    end
    assert.same(nest(128), (transfer(nest(128))))
    refused("arg 1" .. ("[1]"):rep(128) .. ": nested more than 128 levels deep", nest(129))
    local mixed = { x = 1, "leaf" }
    for _ = 2, 128 do mixed = { "first", x = mixed } end
    assert.same(mixed, (transfer(mixed)))
    assert.matches("%.x%.x%.x: nested more than 128 levels deep$",
      message_of(transfer, { x = mixed }))
  end)

  it("are encoded once however deeply mixed tables nest", function()
    local t = { 1, x = 1 }
    for _ = 1, 100 do t = { t, x = 2 } end
    assert.is_true(#codec.encode(t) < 101 * 40)
  end)
end)

describe("functions", function()
  it("run with their arguments", function()
    assert.equal(7, transfer_call(function(a, b) return a + b end, 3, 4))
    local function echo(...) return ... end
    assert.same({ n = 3, nil, 2, nil }, table.pack(transfer_call(echo, nil, 2, nil)))
  end)

  it("see the worker's globals, not the sender's", function()
    local mine = "a global of this spec"
    rawset(_G, "codec_spec_global", mine)
    local theirs, kind = transfer_call(function() return codec_spec_global, type(print) end) -- luacheck: ignore
    rawset(_G, "codec_spec_global", nil)
    assert.is_nil(theirs)
    assert.equal("function", kind)
  end)

  it("are recognised in busted, whose _ENV is its own", function()
    assert.are_not.equal(_G, _ENV)
    assert.equal("code", (codec.call_kind(function() return print end)))
    assert.equal("table", transfer_call(function() return type(_ENV) end))
  end)

  it("find their globals where `_ENV` is not the first upvalue", function()
    local offset = 5
    local function f(x) local sum = offset + x return tostring(sum) end
    assert.equal("_ENV", (debug.getupvalue(f, 2)))
    assert.equal("12", transfer_call(f, 7))
  end)

  it("take their upvalues along by value", function()
    local number, text, list = 1, "two", { 3 }
    local function f() number = number + 1 return number, text, list[1] end
    assert.same({ 2, "two", 3 }, { transfer_call(f) })
    assert.equal(1, number)
    number = 10
    assert.equal(11, (transfer_call(f)))
  end)

  it("leave nothing of one submission to the next", function()
    local call = codec.session()
    local count = 0
    local function bump() count = count + 1 return count end
    assert.equal(1, call(bump))
    assert.equal(1, call(bump))
    local function spoil() local before = tag _ENV = { tag = "mine" } return before, tag end -- luacheck: ignore
    assert.same({ n = 2, nil, "mine" }, table.pack(call(spoil)))
    assert.same({ n = 2, nil, "mine" }, table.pack(call(spoil)))
  end)

  it("may be recursive", function()
    local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end
    assert.equal(55, transfer_call(fib, 10))
  end)

  it("may be mutually recursive", function()
    local odd
    local function even(n) if n == 0 then return true end return odd(n - 1) end
    function odd(n) if n == 0 then return false end return even(n - 1) end
    assert.is_true(transfer_call(even, 10))
    assert.is_false(transfer_call(odd, 10))
    local e, o = transfer(even, odd)
    assert.is_true(e(4))
    assert.is_false(o(4))
  end)

  it("share the upvalues they shared", function()
    local count = 0
    local function up() count = count + 1 return count end
    local function get() return count end
    assert.same({ 2, 2 }, { transfer_call(function(a, b) a() return a(), b() end, up, get) })
    local up2, get2 = transfer(up, get)
    up2() up2()
    assert.equal(2, get2())
    assert.equal(0, count)
    assert.equal(debug.upvalueid(up2, 1), debug.upvalueid(get2, 1))
  end)

  it("do not share upvalues that are only equal", function()
    local function counter() local n = 0 return function() n = n + 1 return n end end
    local a, b = transfer(counter(), counter())
    a() a()
    assert.equal(1, b())
  end)

  it("share an upvalue with the called function", function()
    local count = 0
    local function up() count = count + 1 end
    assert.equal(2, transfer_call(function(f) f() f() return count end, up))
  end)

  it("may be upvalues of each other, in tables, and in cycles", function()
    local handlers = {}
    function handlers.twice(n) return n * 2 end
    function handlers.run(n) return handlers.twice(n) + 1 end
    assert.equal(9, transfer_call(handlers.run, 4))
    local back = transfer(handlers)
    assert.equal(9, back.run(4))
    back.twice = function() return 0 end
    assert.equal(1, back.run(4))
  end)

  it("keep their identity within a message", function()
    local n = 0
    local function f() n = n + 1 end
    local a, b, c = transfer(f, f, { f })
    assert.equal(a, b)
    assert.equal(a, c[1])
  end)

  it("work stripped of their debug information", function()
    local stripped = load(string.dump(function(n) return tostring(n) .. type(print) end, true))
    assert.equal("(no name)", (debug.getupvalue(stripped, 1)))
    assert.equal("5function", transfer_call(stripped, 5))
    assert.equal("code", (codec.call_kind(stripped)))
  end)

  it("work stripped when an upvalue is a value", function()
    local tag = nil -- luacheck: ignore
    local stripped = load(string.dump(function() return tag end, true))
    debug.setupvalue(stripped, 1, "tagged")
    assert.equal("tagged", transfer_call(stripped))
    debug.setupvalue(stripped, 1, "again")
    assert.equal("again", transfer_call(stripped))
    debug.setupvalue(stripped, 1, _G)
    assert.equal("table", transfer_call(function(f) return type(f()) end, stripped))
  end)

  it("work stripped when the globals are put in an upvalue's place, and taken out", function()
    local tag = nil -- luacheck: ignore
    local stripped = load(string.dump(function() return tag end, true))
    assert.equal("code", (codec.call_kind(stripped))) -- load has put the globals there
    debug.setupvalue(stripped, 1, "tagged")
    assert.equal("message", (codec.call_kind(stripped)))
    assert.equal("tagged", transfer_call(stripped))
    debug.setupvalue(stripped, 1, _G)
    assert.equal("code", (codec.call_kind(stripped)))
  end)

  it("tell the line in their errors", function()
    local line = debug.getinfo(1, "l").currentline + 1
    local message = message_of(transfer_call, function() error("boom") end)
    assert.matches("codec_spec%.lua:" .. line .. ": boom", message)
  end)

  it("need no message of their own when they take no value along", function()
    local upvalue = 1
    local function plain(x) return x, print end
    local kind, bytes, inline, id = codec.call_kind(plain, 42)
    assert.same({ "code", 3, true }, { kind, bytes, inline })
    assert.equal(id, select(4, codec.call_kind(plain, 1)))
    assert.equal("message", (codec.call_kind(function() return upvalue end)))
    kind, bytes, inline = codec.call_kind(string.upper, "hello")
    assert.same({ "reference", 8, true }, { kind, bytes, inline })
  end)

  it("of the same code are one code, however many closures there are", function()
    local function make() return function(x) return x * 2 end end
    local first = select(4, codec.call_kind(make()))
    for _ = 1, 100 do assert.equal(first, (select(4, codec.call_kind(make())))) end
    local other = select(4, codec.call_kind(function(x) return x * 3 end))
    assert.are_not.equal(first, other)
  end)

  it("keep working after thousands of others pushed them out of the caches", function()
    local call = codec.session()
    local function keep(x) return x + 1 end
    local upvalue = 10
    local function closure(x) return x + upvalue end
    local function rare(x) return x * 100 end
    assert.equal(300, call(rare, 3))
    for i = 1, 3000 do
      assert.equal(i, call(assert(load("return " .. i))))
      if i % 500 == 0 then
        assert.equal(2, call(keep, 1))
        assert.equal(11, call(closure, 1))
      end
    end
    assert.equal(400, call(rare, 4))
  end)

  it("may have more than a hundred upvalues", function()
    local lines, uses = {}, {}
    for i = 1, 180 do
      lines[i] = ("local v%d = %d"):format(i, i)
      uses[i] = "v" .. i
    end
    lines[#lines + 1] = "return function() return " .. table.concat(uses, "+") .. " end"
    local f = load(table.concat(lines, "\n"))()
    assert.equal(180 * 181 // 2, transfer_call(f))
  end)

  it("nest no deeper than tables do", function()
    local function chain(n)
      local f = function() return 0 end
      for _ = 2, n do
        local inner = f
        f = function() return inner() + 1 end
      end
      return f
    end
    assert.equal(127, transfer(chain(128))())
    assert.matches("nested more than 128 levels deep$", message_of(transfer, chain(129)))
  end)
end)

describe("modules", function()
  it("of the standard library are the worker's own", function()
    local upper, p, s, m = transfer(string.upper, print, string, math.floor)
    assert.equal(string.upper, upper)
    assert.equal(print, p)
    assert.equal(string, s)
    assert.equal(math.floor, m)
    assert.equal("HELLO", transfer_call(string.upper, "hello"))
    local function same(f, t) return f == print and t == string end
    assert.is_true(transfer_call(same, print, string))
  end)

  it("written in C work as upvalues, fields and functions", function()
    local json = require("cjson")
    assert.equal("[1,2]", transfer_call(function(t) return json.encode(t) end, { 1, 2 }))
    assert.equal("[1,2]", transfer_call(json.encode, { 1, 2 }))
    assert.equal(json, (transfer(json)))
    assert.equal("reference", (codec.call_kind(json.encode)))
  end)

  it("written in Lua are required there, not copied", function()
    local say = require("say")
    assert.equal(say, (transfer(say)))
    assert.is_true(transfer_call(function(m) return m == require("say") end, say))
  end)

  it("that were loaded after the first message are found", function()
    transfer { warm = true }
    package.preload["codec_spec_late"] = function() return { f = function() return 1 end } end
    local late = require("codec_spec_late")
    assert.equal("reference", (codec.call_kind(late.f)))
    package.loaded["codec_spec_late"], package.preload["codec_spec_late"] = nil, nil
    codec.call_kind(print) -- the last function is taken for what it was
    assert.equal("code", (codec.call_kind(late.f)))
  end)

  it("that are gone are no longer referred to", function()
    local gone = { f = function() return "travels" end }
    package.loaded["codec_spec_gone"] = gone
    assert.equal("reference", (codec.call_kind(gone.f)))
    package.loaded["codec_spec_gone"] = nil
    local back = transfer(gone)
    assert.are_not.equal(gone, back)
  end)

  it("may be the globals", function()
    assert.equal(_G, (transfer(_G)))
    assert.is_true(transfer_call(function(g) return g == _G end, _G))
  end)

  it("do not include the script's global functions, which travel as code", function()
    rawset(_G, "codec_spec_helper", function() return "helped" end)
    package.loaded["codec_spec_new"] = {} -- so that the index is made again
    local helper = rawget(_G, "codec_spec_helper")
    local kind, result = codec.call_kind(helper), transfer_call(helper)
    rawset(_G, "codec_spec_helper", nil)
    package.loaded["codec_spec_new"] = nil
    assert.equal("code", kind)
    assert.equal("helped", result)
  end)

  it("do not take the standard functions over that they hold too", function()
    package.loaded["m"] = { print = print, upper = string.upper, string = string }
    transfer { made = "anew" }
    local p, u, s = transfer(print, string.upper, string)
    package.loaded["m"] = nil
    assert.equal(print, p)
    assert.equal(string.upper, u)
    assert.equal(string, s)
  end)

  it("that only the script has are named in the error", function()
    package.loaded["codec_spec_mine"] = { f = function() end }
    local message = message_of(transfer_call, package.loaded["codec_spec_mine"].f)
    package.loaded["codec_spec_mine"] = nil
    assert.matches("^module 'codec_spec_mine' could not be required by the worker", message)
    assert.matches("package.preload or package.loaded", message, 1, true)
    assert.matches("no field package.preload['codec_spec_mine']", message, 1, true)
  end)

  it("may be called when they can be", function()
    local say = require("say")
    assert.is_function(getmetatable(say).__call)
    assert.equal("table", type(say))
    assert.is_nil((transfer_call(say, "no such key")))
    local both = transfer { say, say }
    assert.equal(say, both[2])
  end)

  it("leave lists as data, even a module's", function()
    local list = { 1, 2, 3 }
    package.loaded["codec_spec_list"] = { list = list }
    local back = transfer(list)
    package.loaded["codec_spec_list"] = nil
    assert.are_not.equal(list, back)
    assert.same(list, back)
  end)
end)

describe("errors of leasepool", function()
  it("keep their class and their fields", function()
    local detail = { 1, 2 }
    local e = setmetatable({ message = "late", detail = detail, again = detail }, errors.TimeoutError)
    local back, same = transfer(e, e)
    assert.equal(errors.TimeoutError, getmetatable(back))
    assert.equal("late", back.message)
    assert.equal(back.detail, back.again)
    assert.same({ 1, 2 }, back.detail)
    assert.equal(back, same)
  end)

  it("may be empty, and contain themselves", function()
    local e = setmetatable({}, errors.JobError)
    assert.equal(errors.JobError, getmetatable((transfer(e))))
    e.cause = e
    local back = transfer { e }
    assert.equal(back[1], back[1].cause)
  end)

  it("name the field that cannot travel", function()
    refused("arg 1.socket: userdata (FILE*)", setmetatable({ socket = io.stdout }, errors.JobError))
  end)
end)

describe("managers and grinders", function()
  local leasepool = require "leasepool"
  local manager = leasepool.manager { max_pools = 1 }
  local grinder = leasepool.grinder { manager = manager }

  it("become handles, the same one each time, and stay so", function()
    local m, g, list, f = transfer(manager, grinder, { grinder, m = manager }, function() return grinder end)
    assert.same({ "handle of a manager", "handle of a grinder" }, { tostring(m), tostring(g) })
    assert.equal(g, list[1])
    assert.equal(m, list.m)
    assert.equal(g, f())
    assert.are_not.equal(m, g)
    assert.are_not.equal(grinder, g)
    assert.equal(g, (transfer(g)))
    assert.equal(g, (transfer(grinder)))
  end)

  it("travel beside codes, in any number", function()
    local list, handles = {}, {}
    for i = 1, 300 do
      local made = leasepool.grinder { manager = manager }
      list[2 * i - 1], list[2 * i] = made, assert(load("return " .. i))
      handles[i] = transfer(made)
    end
    local back = transfer(list)
    for i = 1, 300 do
      assert.equal(handles[i], back[2 * i - 1])
      assert.equal(i, back[2 * i]())
    end
  end)

  it("are numbers of what is attached", function()
    assert.equal("\x01\x03\xd4\x07\x00\xd4\x07\x01\xd4\x07\x00", codec.encode(manager, grinder, manager))
    assert.equal((transfer(manager)), (codec.decode("\x01\x01\xd4\x07\x00", manager)))
    assert.equal((transfer(grinder)), (codec.decode("\x01\x01\xd4\x07\x01", manager, grinder)))
  end)

  it("are refused where codes belong, and codes where they do", function()
    local function code() return 1 end
    for name, malformed in pairs {
      ["a code for a handle"] = { "\x01\x01\xd4\x07\x00", code },
      ["a handle for a code"] = { "\x01\x01\xd4\x03\x00", manager },
      ["the other way round"] = { "\x01\x02\xd4\x03\x01\xd4\x07\x00", code, manager },
      ["a number too large"] = { "\x01\x01\xd4\x07\x02", code, manager },
      ["a negative number"] = { "\x01\x01\xd4\x07\xff", manager },
      ["no number"] = { "\x01\x01\xd4\x07\xc0", manager },
      ["two numbers"] = { "\x01\x01\xd5\x07\x00\x00", manager },
      ["a text"] = { "\x01\x01\xd5\x07\xa1\x00", manager },
      ["nothing"] = { "\x01\x01\xc7\x00\x07", manager },
      ["one in a code's number"] = { "\x01\x01\xc7\x03\x03\xd4\x07\x00", manager, code },
      ["one as a cell"] = { "\x21\x01\xc7\x04\x03\x00\xd4\x04\x00", manager, code },
      ["one as an object"] = { "\x11\x02\xd4\x07\x00\xd4\x01\x00", manager },
      ["one as a tail"] = { "\x01\x01\x91\xc7\x03\x02\xd4\x07\x00", manager },
      ["one as a module's name"] = { "\x01\x01\xc7\x04\x05\xd4\x07\x00\xc0", manager },
      ["one as an error's fields"] = { "\x01\x01\xc7\x0c\x06\xa8JobError\xd4\x07\x00", manager },
    } do
      local value, message = codec.decode(table.unpack(malformed))
      assert.is_nil(value, name)
      assert.matches("^malformed message: ", message, nil, nil, name)
    end
  end)

  it("may be keys, and lie in errors", function()
    local t, g = transfer({ [grinder] = 1 }, grinder)
    assert.equal(g, (next(t)))
    local e = transfer(setmetatable({ message = "m", grinder = grinder }, errors.JobError))
    assert.equal(g, e.grinder)
  end)

  it("are nothing once they are gone", function()
    local output, _, status = require("spec.support.child").run [[
      local leasepool = require "leasepool"
      local codec = require("leasepool.core").testing.codec
      local kept = {}
      setmetatable(kept, { __gc = function() -- after both
        print(pcall(codec.transfer, kept.manager))
        print(pcall(codec.transfer, kept.grinder))
      end })
      kept.manager = leasepool.manager { max_pools = 1 }
      kept.grinder = leasepool.grinder { manager = kept.manager }
    ]]
    assert.equal("false\targ 1: userdata (leasepool.manager)\nfalse\targ 1: userdata (leasepool.grinder)\n", output)
    assert.equal(0, status)
  end)

  it("survive damage", function()
    local function f() return grinder, f end
    for _, values in ipairs { { manager, grinder }, { f, { grinder, [manager] = f } }, { { f }, grinder, f } } do
      local report = codec.check_damage(table.unpack(values))
      assert.same({ 0, 0, 0 }, { report.accepted_prefixes, report.raised, report.disagreed })
    end
  end)

  for _, kind in ipairs { "wire", "binding", "lua" } do
    it("fail cleanly without memory (" .. kind .. ")", function()
      local expected = kind == "lua" and 1 or 0
      assert.is_true(codec.check_memory(kind, manager, { grinder, { grinder } }) >= expected)
      assert.is_true(codec.check_memory(kind, { function() return manager end }, { grinder }) >= expected)
    end)
  end
end)

describe("what cannot travel", function()
  local thread = coroutine.create(function() end)

  it("is refused with its path", function()
    refused("arg 1: coroutine", thread)
    refused("arg 2.user.socket: userdata (FILE*)", 1, { user = { socket = io.stdout } })
    refused("arg 1[3]: coroutine", { 1, 2, thread })
    refused("arg 1[\"a b\"]: coroutine", { ["a b"] = thread })
    refused("arg 1[\"a\\\"\\010\"].x: coroutine", { ["a\"\n"] = { x = thread } })
    refused("arg 3[true][1.5][-1]: coroutine", 1, 2, { [true] = { [1.5] = { [-1] = thread } } })
    refused("arg 1[2].x: coroutine", { 1, { 5, x = thread } })
  end)

  it("is refused on the way back with the result's number", function()
    local function f() return 1, { 1, 2, coroutine.create(print) } end
    assert.equal("result 2[3]: coroutine", message_of(transfer_call, f))
  end)

  it("includes light userdata", function()
    refused("arg 1: light userdata", require("cjson").null)
  end)

  it("includes tables with metatables, named if they have a name", function()
    refused("arg 1: table with a metatable", setmetatable({}, {}))
    refused("arg 1.account: table with a metatable (Account)",
      { account = setmetatable({}, { __name = "Account" }) })
  end)

  it("includes C functions that no module holds", function()
    refused("arg 1: C function that no module holds", (string.gmatch("a", "a")))
    refused("arg 1.next: C function that no module holds", { next = coroutine.wrap(print) })
  end)

  it("includes keys", function()
    refused("arg 1: key: coroutine", { [thread] = 1 })
    refused("arg 1.a: key.b: coroutine", { a = { [{ b = thread }] = 1 } })
  end)

  it("includes upvalues, by name", function()
    local conn = io.stdout
    local function f() return conn end
    refused("arg 1: function: upvalue conn: userdata (FILE*)", f)
    refused("arg 1.f: function: upvalue conn: userdata (FILE*)", { f = f })
    assert.equal("function: upvalue conn: userdata (FILE*)", message_of(transfer_call, f))
    local state = { deep = { thread } }
    assert.equal("function: upvalue state.deep[1]: coroutine",
      message_of(transfer_call, function() return state end))
    assert.equal("function: upvalue f: function: upvalue conn: userdata (FILE*)",
      message_of(transfer_call, function() return f end))
  end)

  it("includes the called value", function()
    assert.equal("function: coroutine", message_of(transfer_call, thread))
    assert.equal("function: C function that no module holds",
      message_of(transfer_call, coroutine.wrap(print)))
    assert.equal("arg 1: coroutine", message_of(transfer_call, print, thread))
  end)

  it("leaves the codec as it was", function()
    for _ = 1, 50 do
      pcall(transfer, { { thread } })
      local shared = {}
      local a = transfer { shared, shared }
      assert.equal(a[1], a[2])
    end
  end)

  it("has a path of any length", function()
    local key = ("k"):rep(3000)
    local message = message_of(transfer, { [key] = { [key] = thread } })
    assert.is_true(#message < 4200)
    assert.matches("coroutine$", message)
  end)
end)

describe("a message", function()
  it("is MessagePack", function()
    assert.equal("\x01\x03\x01\xa1a\xc0", codec.encode(1, "a", nil))
    assert.equal("\x01\x01\x90", codec.encode {})
    assert.equal("\x01\x01\xdd\0\0\0\x02\x05\xc3", codec.encode { 5, true })
    assert.equal("\x01\x01\xdf\0\0\0\x01\xa1x\xd1\xff\x00", codec.encode { x = -256 })
    assert.equal("\x11\x02\x90\xd4\x01\x00", codec.encode((function(t) return t, t end)({})))
  end)

  it("may come from another MessagePack encoder", function()
    assert.same({ 1, 2, 3 }, (codec.decode("\x01\x01\x93\x01\x02\x03")))
    assert.same({ a = 1 }, (codec.decode("\x01\x01\x81\xa1a\x01")))
    assert.equal("bin", (codec.decode("\x01\x01\xc4\x03bin")))
    assert.equal(0.5, (codec.decode("\x01\x01\xca\x3f\0\0\0")))
    assert.equal(math.maxinteger, (codec.decode("\x01\x01\xcf\x7f" .. ("\xff"):rep(7))))
  end)

  it("is refused when it is malformed", function()
    for name, bytes in pairs {
      ["empty"] = "",
      ["no count"] = "\x01",
      ["wrong version"] = "\x02\x00",
      ["unknown flag"] = "\x41\x00",
      ["missing value"] = "\x01\x01",
      ["bytes behind"] = "\x01\x01\xc0\xc0",
      ["unused byte"] = "\x01\x01\xc1",
      ["negative count"] = "\x01\xff",
      ["large unsigned"] = "\x01\x01\xcf" .. ("\xff"):rep(8),
      ["unknown extension"] = "\x01\x01\xd4\x63\x00",
      ["short string"] = "\x01\x01\xa5abc",
      ["nil key"] = "\x01\x01\x81\xc0\x01",
      ["NaN key"] = "\x01\x01\x81\xcb\x7f\xf8" .. ("\0"):rep(6) .. "\x01",
      ["reference unannounced"] = "\x01\x02\x90\xd4\x01\x00",
      ["reference to nothing"] = "\x11\x02\x90\xd4\x01\x01",
      ["code that is not there"] = "\x01\x01\xd4\x03\x00",
      ["cell outside"] = "\x21\x01\xd4\x04\x00",
      ["tail outside"] = "\x01\x01\xd4\x02\x80",
      ["tail in the middle"] = "\x01\x01\x92\xd4\x02\x80\x01",
      ["unknown class"] = "\x01\x01\xc7\x05\x06\xa3Foo\x80",
      ["class of zeros"] = "\x01\x01\xc7\x03\x06\xa1\0\x80",
      ["handle that is not there"] = "\x01\x01\xd4\x07\x00",
      ["handle without a number"] = "\x01\x01\xc7\x00\x07",
    } do
      local value, message = codec.decode(bytes)
      assert.is_nil(value, name)
      assert.matches("^malformed message: ", message, nil, nil, name)
      if name ~= "unknown class" and name ~= "class of zeros" then
        assert.is_false(codec.check(bytes), name)
      end
    end
  end)

  it("that promises more than it holds costs the receiver nothing", function()
    for _, bytes in ipairs {
      "\x01\xce\xff\xff\xff\xff", "\x01\x01\xdd\xff\xff\xff\xff", "\x01\x01\xdf\xff\xff\xff\xff",
      "\x01\x01\xdb\xff\xff\xff\xff", "\x01\x01\xc9\xff\xff\xff\xff\x01",
      "\x01\x01" .. ("\xdd\x0f\xff\xff\xff"):rep(100),
    } do
      local grown, accepted = codec.decode_memory(bytes)
      assert.is_false(accepted)
      assert.is_true(grown < 20000, "it grew by " .. grown)
    end
  end)

  it("cannot nest its promises to multiply them", function()
    local size = 65536
    local function be32(n) return string.pack(">I4", n) end
    local parts, left = { "\x01\x01" }, size
    for _ = 1, 120 do
      parts[#parts + 1] = "\xdd" .. be32(left - 700)
    end
    parts[#parts + 1] = ("\xc0"):rep(size)
    local grown, accepted = codec.decode_memory(table.concat(parts))
    assert.is_false(accepted)
    assert.is_true(grown < size * 40, "it grew by " .. grown)
  end)

  it("nested too deeply is refused", function()
    local deep = "\x01\x01" .. ("\x91"):rep(5000) .. "\xc0"
    assert.matches("nested too deeply", (select(2, codec.decode(deep))))
    assert.is_false(codec.check(deep))
    assert.is_true(codec.check("\x01\x01" .. ("\x91"):rep(128) .. "\xc0"))
    assert.is_false(codec.check("\x01\x01" .. ("\x91"):rep(129) .. "\xc0"))
  end)

  --- Every prefix is refused; every flipped bit is refused or harmless.
  local function survives_damage(...)
    local report = codec.check_damage(...)
    assert.equal(0, report.accepted_prefixes)
    assert.equal(0, report.raised)
    assert.equal(0, report.disagreed)
    assert.equal(report.bytes * 9, report.accepted + report.refused)
    assert.is_true(report.refused > report.bytes)
    return report
  end

  it("survives damage to every bit and at every length", function()
    local shared = { "s", 2 }
    survives_damage(nil, true, false, 0, -1, 300, -70000, 1 << 40, 2.5, "text", ("long"):rep(20))
    survives_damage({}, { 1, 2, 3 }, { x = 1, y = { z = "w" } },
      { 1, "two", x = { 3 }, [2.5] = false })
    survives_damage({ shared, shared, { shared } }, shared)
    survives_damage(setmetatable({ message = "m", code = "c", list = { 1 } }, errors.TimeoutError))
  end)

  it("with functions survives damage", function()
    local count, odd = 0, nil
    local function up() count = count + 1 return count end
    local function get() return count end
    local function even(n) return n == 0 or odd(n - 1) end
    function odd(n) return n ~= 0 and even(n - 1) end
    survives_damage(up, get, { up, get }, function() end)
    survives_damage(even, odd)
    survives_damage(string.upper, { print, math })
  end)

  it("makes a receiver allocate in proportion to its length", function()
    local t = {}
    for i = 1, 40 do t[i] = { i, "value " .. i, x = { i } } end
    local report = survives_damage(t)
    assert.is_true(report.peak - report.base < 256 * 1024 + report.bytes * 64)
  end)
end)

describe("without memory", function()
  local count = 0
  local function f(x) count = count + 1 return f, x end
  local function plain(x) return x, print end
  local shared = { "shared", 1, x = { 2 } }
  local e = setmetatable({ message = "m" }, errors.JobError)
  local rest = { 1, { 2, y = 3 }, shared, shared, string.upper, e, ("s"):rep(100), [2.5] = math }

  for _, kind in ipairs { "wire", "binding", "lua" } do
    it("at any moment, values fail cleanly and the codec goes on (" .. kind .. ")", function()
      assert.is_true(codec.check_memory(kind, rest, f, plain) > 0)
    end)

    it("at any moment, a call fails cleanly and the codec goes on (" .. kind .. ")", function()
      assert.is_true(codec.check_memory(kind, plain, rest, f) > 0)
      assert.is_true(codec.check_memory(kind, f, rest, plain) > 0)
    end)
  end
end)
