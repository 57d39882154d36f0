local leasepool = require "leasepool"

describe("the options of a manager", function()
  local function refusal(options)
    local ok, err = pcall(leasepool.manager, options)
    assert.is_false(ok)
    assert.is_true(leasepool.is_error(err, "ConfigError"))
    assert.are.equal("invalid_option", err.code)
    return err.message
  end

  it("need a table", function()
    assert.matches("leasepool.manager: got nil, allowed: a table of options", refusal(nil), 1, true)
    assert.matches("got number", refusal(4))
  end)

  it("need max_pools", function()
    assert.matches("max_pools: got nil, allowed: an integer from 1", refusal {}, 1, true)
  end)

  it("take Lua integers only, within their range", function()
    local values = { 1.0, "4", true, 0, -1, 0 / 0, math.huge, math.maxinteger, {} }
    for _, name in ipairs { "max_pools", "min_pools", "workers_per_pool", "max_queue", "max_waiters" } do
      for _, value in ipairs(values) do
        local options = { max_pools = 2 }
        options[name] = value
        local message = refusal(options)
        assert.matches("^" .. name .. ": got .+, allowed: an integer from 1 to %d+$", message)
      end
    end
  end)

  it("show what was given", function()
    assert.matches("got 1.0,", refusal { max_pools = 1.0 }, 1, true)
    assert.matches('got "4",', refusal { max_pools = "4" }, 1, true)
    assert.matches("got true,", refusal { max_pools = true }, 1, true)
    assert.matches("got table,", refusal { max_pools = {} }, 1, true)
    assert.matches('got "a\\0b",', refusal { max_pools = "a\0b" }, 1, true)
    assert.matches('got "' .. ("x"):rep(80) .. '"...,', refusal { max_pools = ("x"):rep(81) }, 1, true)
  end)

  it("refuse more min_pools than max_pools", function()
    assert.are.equal("min_pools: got 3, allowed: an integer from 1 to max_pools (2)",
      refusal { max_pools = 2, min_pools = 3 })
  end)

  it("name the nearest known option for an unknown one", function()
    assert.are.equal('unknown option "max_pool"; did you mean "max_pools"?', refusal { max_pool = 2 })
    assert.are.equal('unknown option "worker_per_pools"; did you mean "workers_per_pool"?',
      refusal { max_pools = 1, worker_per_pools = 2 })
    local function lists(option, text)
      assert.matches("unknown option " .. option .. "; allowed: backend, max_pools, min_pools, ", text, 1, true)
    end
    lists('"max_pools\\0"', refusal { max_pools = 1, ["max_pools\0"] = 2 })
    lists('"zzz"', refusal { max_pools = 1, zzz = 2 })
    lists("1", refusal { 2 })
  end)

  it("know the backends in any letter case, and list them for an unknown one", function()
    assert.are.equal("thread", leasepool.manager({ max_pools = 1, backend = "Thread" }).backend)
    assert.are.equal('backend: got "threads", allowed: "thread", "interpreter", "process"',
      refusal { max_pools = 1, backend = "threads" })
    assert.matches("backend: got 3, allowed:", refusal { max_pools = 1, backend = 3 }, 1, true)
  end)

  it("know no backend whose name goes on after a zero", function()
    assert.matches("backend: got", refusal { max_pools = 1, backend = "thread\0" }, 1, true)
  end)

  it("kill only where workers can be killed", function()
    for _, backend in ipairs { "thread", "interpreter" } do
      local allowed = ('on_expiry: got "kill", allowed: "leave", "interrupt" on the backend %s, whose workers '
        .. "cannot be killed"):format(backend)
      assert.are.equal(allowed, refusal { max_pools = 1, backend = backend, on_expiry = "kill" })
      local manager <close> = leasepool.manager({ max_pools = 1, backend = backend }):start()
      local ok, err = pcall(manager.acquire, manager, { on_expiry = "kill" })
      assert.are.same({ false, "ConfigError", "manager:acquire: " .. allowed }, { ok, err.name, err.message })
      assert.are.equal(0, manager.leased_count)
    end
  end)

  it("take a name prefix without zero bytes", function()
    assert.matches("^name_prefix: got", refusal { max_pools = 1, name_prefix = "a\0b" })
    assert.matches("^name_prefix: got", refusal { max_pools = 1, name_prefix = "" })
    assert.matches("^name_prefix: got 3", refusal { max_pools = 1, name_prefix = 3 })
  end)
end)

describe("manager:stop", function()
  it("checks its options by name and type", function()
    local manager = leasepool.manager { max_pools = 1 }
    for _, case in ipairs {
      { 3, "manager:stop: got 3, allowed: a table of options" },
      { { timeout = -1 }, "manager:stop: timeout: got -1, allowed: a finite number of seconds >= 0" },
      { { wait = 1 }, "manager:stop: wait: got 1, allowed: true or false" },
      { { force = true }, 'manager:stop: unknown option "force"; allowed: timeout, wait' },
    } do
      local ok, err = pcall(manager.stop, manager, case[1])
      assert.is_false(ok)
      assert.are.equal(case[2], err.message)
    end
  end)
end)

describe("the options of acquire", function()
  local manager

  before_each(function() manager = leasepool.manager({ max_pools = 1 }):start() end)
  after_each(function() manager:stop() end)

  local function refusal(options)
    local ok, err = pcall(manager.acquire, manager, options)
    assert.is_false(ok)
    assert.is_true(leasepool.is_error(err, "ConfigError"))
    return err.message
  end

  it("are checked by name and type", function()
    assert.matches("allowed: a table of options", refusal "x", 1, true)
    assert.matches('unknown option "ownr"; allowed: lease_seconds, on_expiry, on_soft_expiry, owner, timeout, wait',
      refusal { ownr = "x" }, 1, true)
    assert.matches('unknown option "owner\\0"', refusal { ["owner\0"] = "x" }, 1, true)
    assert.matches("owner: got 3", refusal { owner = 3 }, 1, true)
    assert.matches("wait: got 1, allowed: true or false", refusal { wait = 1 }, 1, true)
    for _, timeout in ipairs { -1, 0 / 0, math.huge, "1", true } do
      assert.matches("timeout: got .*, allowed: a finite number of seconds >= 0", refusal { timeout = timeout })
    end
    assert.are.equal(0, manager.leased_count)
  end)
end)
