-- Gates, by which other specs wait for jobs: they work across processes, too, and no process
-- that dies at one holds up another.

local child = require "spec.support.child"
local testing = require("leasepool.core").testing

-- A process that tells its number, runs `code` with the id of a gate as its argument, and
-- tells what that returned.
local function process(code, id)
  local program = ([[
    local testing = require("leasepool.core").testing
    local stat = io.open "/proc/self/stat"
    print(stat:read "n")
    io.stdout:flush()
    local ok, result = pcall(function(id) %s end, %q)
    print(ok and tostring(result) or "raised")
  ]]):format(code, id)
  local pipe = assert(io.popen(("exec timeout --foreground 60 %s -e %s"):format(
    child.lua, child.quote(program))))
  local self = { pid = assert(pipe:read "n", "no process") }
  pipe:read "L"
  function self.kill(signal) assert(os.execute(("kill -%s %d"):format(signal, self.pid))) end
  function self.result()
    local line = pipe:read "L"
    pipe:close()
    return line and line:gsub("\n$", "")
  end
  return self
end

local function waiting() return (select(2, testing.gate_counts())) end

local PASS <const> = "return testing.gate_pass(id)"
local PASS_INTERRUPTIBLE <const> = "return testing.gate_pass_interruptible(id)"

-- Are there signals that the process has not seen yet?
local function pending_signals(pid)
  local status <close> = assert(io.open(("/proc/%d/status"):format(pid)))
  return status:read("a"):find "Pnd:\t0*[^0\n]"
end

-- Does the process wait, rather than being about to?
local function sleeps(pid)
  local stat <close> = assert(io.open(("/proc/%d/stat"):format(pid)))
  return stat:read("a"):find "%) S "
end

describe("a gate", function()
  it("is passed by a process that was told its id", function()
    local id, before, waited = testing.gate(), testing.gate_counts(), waiting()
    local other = process(PASS, id)
    assert.is_true(testing.gate_await(id))
    assert.equal(waited + 1, waiting())
    testing.gate_open(id)
    assert.equal(tostring(before + 1), other.result())
    assert.equal(waited, waiting())
    assert.equal(before + 1, (testing.gate_counts()))
    assert.equal(before + 2, testing.gate_pass(id))
  end)

  it("can be opened and awaited by another process than its maker", function()
    local id = testing.gate()
    local other = process("testing.gate_open(id) return testing.gate_await(id, 2)", id)
    testing.gate_pass(id)
    testing.gate_pass(id)
    assert.equal("true", other.result())
  end)

  it("is not held up by a process that is killed while it waits", function()
    local id = testing.gate()
    local first = process(PASS, id)
    assert.is_true(testing.gate_await(id, 1))
    local second = process(PASS, id)
    assert.is_true(testing.gate_await(id, 2))
    first.kill "KILL"
    assert.is_nil(first.result())
    local third = process(PASS, id)
    assert.is_true(testing.gate_await(id, 3))
    testing.gate_open(id)
    assert.matches("^%d+$", second.result())
    assert.matches("^%d+$", third.result())
  end)

  it("keeps a process that a signal comes to", function()
    local id, waited = testing.gate(), waiting()
    local other = process(PASS, id)
    assert.is_true(testing.gate_await(id))
    while not sleeps(other.pid) do testing.give_way() end
    other.kill "INT"
    while pending_signals(other.pid) do testing.give_way() end
    assert.equal(waited + 1, waiting())
    testing.gate_open(id)
    assert.equal("raised", other.result()) -- by the handler of lua, after the gate
  end)

  it("lets go of an interruptible pass that a signal comes to", function()
    local id, waited = testing.gate(), waiting()
    local other = process(PASS_INTERRUPTIBLE, id)
    assert.is_true(testing.gate_await(id))
    while not sleeps(other.pid) do testing.give_way() end
    other.kill "INT"
    assert.equal("raised", other.result()) -- by the handler of lua, at a closed gate
    assert.equal(waited, waiting())
    testing.gate_open(id)
    assert.is_true(testing.gate_pass_interruptible(id) > 0)
  end)

  it("is asked without waiting by 0 seconds", function()
    local id = testing.gate()
    assert.is_false(testing.gate_await(id, 1, 0))
    testing.gate_open(id)
    testing.gate_pass(id)
    assert.is_true(testing.gate_await(id, 1, 0))
  end)

  it("goes with its process and leaves no file", function()
    local other = process("local id = testing.gate() testing.gate_open(id) return id", "")
    local id = other.result()
    assert.matches("^%x+:%d+$", id)
    for _, name in ipairs { "gate_pass", "gate_open", "gate_await" } do
      assert.error_matches(function() testing[name](id) end, "bad argument #1 .*%(no gate any more%)")
    end
    assert.is_nil(io.open("/dev/shm/leasepool-gates-" .. id:match "^%x+"))
  end)

  it("has an id that leads nowhere else", function()
    local own = testing.gate()
    local name = own:match "^%x+"
    for _, id in ipairs { "", "0", "../../etc/passwd:0", name, name .. ":", name .. ":4096", name .. ":0x", "0" .. own,
      "0123456789abcdeg:0" } do
      assert.has_error(function() testing.gate_open(id) end)
    end
  end)
end)
