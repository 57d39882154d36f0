--- Whatever befalls a worker, and in whichever phase: every future ends, its error says what
--- happened, and the pool serves the next lease.
local backends = require "spec.support.backends"
local child = require "spec.support.child"
local leasepool = require "leasepool"

-- What befalls it: as source, for `pid` is the worker's process. `signal` and `exit_code` are
-- what the error tells; only processes survive the others.
local DEEDS <const> = {
  { name = "an error", code = "error 'the deed'" },
  { name = "no memory", code = "local kept = {} repeat kept[#kept + 1] = ('x'):rep(10000) .. #kept until false" },
  { name = "os.exit", code = "os.exit(3)", exit_code = 3, says = "exited with code 3" },
  { name = "abort", code = "os.execute('kill -ABRT ' .. pid)", signal = 6,
    says = "was killed by signal 6 (SIGABRT)" },
  { name = "SIGKILL", code = "os.execute('kill -KILL ' .. pid)", signal = 9,
    says = "was killed by signal 9 (SIGKILL)" },
}
if not os.getenv "LEASEPOOL_SANITIZE" then -- which makes a report of it
  DEEDS[#DEEDS + 1] = { name = "SIGSEGV", code = "os.execute('kill -SEGV ' .. pid)", signal = 11,
    says = "was killed by signal 11 (SIGSEGV)" }
end

-- A module that does the deed when a worker loads it, as long as `flag`, a file, is there. It is
-- there once: what is made in place of the worker is sound.
local MODULE <const> = [[
  local module = { value = "sound" }
  function module.deed(flag)
    local file = io.open(flag)
    if not file then return end
    file:close()
    os.remove(flag)
    local stat <close> = io.open "/proc/self/stat"
    local pid = stat:read "n" -- luacheck: ignore
    %s
  end
  if require("leasepool.worker").name then module.deed "%s" end
  function module.pass(...) return ... end
  return module
]]

local LIMIT <const> = 4 << 20

-- Each phase submits something that the deed befalls, and returns its future. `told` is the class
-- of the error where the deed is an error, or one of memory; then the worker goes on.
local PHASES <const> = {
  { name = "its start", deeds = { "os.exit", "abort", "SIGSEGV", "SIGKILL" }, early = true,
    options = function(deed, flag)
      local death = ({ ["os.exit"] = "exit 3", abort = "kill -ABRT $$", SIGSEGV = "kill -SEGV $$",
        SIGKILL = "kill -KILL $$" })[deed.name]
      return { command = { "sh", "-c", ("[ -e %s ] && rm %s && %s; exec %s -e 'require \"leasepool.child\"'"):format(
        flag, flag, death, child.lua) } }
    end,
    act = function(lease) return lease:submit(function() return "sound" end) end },

  { name = "its initializer", early = true, told = "BrokenExecutorError", memory = "BrokenExecutorError",
    options = function(_, flag, module)
      return { initializer = function(name, path) require(name).deed(path) end, initargs = { module, flag } }
    end,
    act = function(lease) return lease:submit(function() return "sound" end) end },

  { name = "decoding the arguments", told = "TransferError", memory = "JobError",
    act = function(lease, _, module) return lease:submit(require(module).pass, "sound") end },

  { name = "the job", told = "JobError", memory = "JobError",
    act = function(lease, flag, module)
      return lease:submit(function(name, path)
        require(name).deed(path)
        return "sound"
      end, module, flag)
    end },

  -- No code of the worker's runs while it encodes: an error is a value that cannot travel, and a
  -- death comes from outside, while the result is large.
  { name = "encoding the results", told = "TransferError", memory = "JobError",
    deeds = { "an error", "no memory", "SIGKILL" },
    act = function(lease, flag, _, deed)
      return lease:submit(function(name, path)
        local file = io.open(path)
        if not file then return "sound" end
        file:close()
        os.remove(path)
        if name == "an error" then return coroutine.create(print) end
        if name == "no memory" then return ("x"):rep(3 << 20), ("y"):rep(3 << 20) end
        local stat <close> = io.open "/proc/self/stat"
        local large = {}
        for i = 1, 3000000 do large[i] = i end
        os.execute("{ sleep 0.01; kill -KILL " .. stat:read "n" .. "; } >/dev/null 2>&1 &")
        return large, large, { large }
      end, deed.name, flag)
    end },

  { name = "nothing: it is idle", deeds = { "abort", "SIGSEGV", "SIGKILL" }, idle = true,
    act = function(lease, _, _, deed)
      local pid = lease:run(function()
        local stat <close> = io.open "/proc/self/stat"
        return stat:read "n"
      end)
      os.execute(("kill -%s %d"):format(deed.name:gsub("^SIG", ""):gsub("abort", "ABRT"), pid))
      local start = os.time()
      while lease.state ~= "CLOSED" and lease.state ~= "BROKEN" do
        assert(os.time() - start < 20, "nobody has noticed")
        leasepool.sleep(0.001)
      end
      return leasepool.spawn(function() return lease:run(print) end)
    end },
}

local function has(list, name)
  for _, other in ipairs(list or { name }) do if other == name then return true end end
  return false
end

backends.each("a worker", function(backend)
  local flag, path, module, folder
  local number = 0

  before_each(function()
    number = number + 1
    flag = os.tmpname()
    module = ("broken_spec_module_%s_%d"):format(backend.name, number)
    folder = flag .. ".d"
    os.execute("mkdir " .. folder)
    path = package.path
    package.path = folder .. "/?.lua;" .. path
  end)

  after_each(function()
    package.path = path
    package.loaded[module] = nil
    os.remove(flag)
    os.execute("rm -r " .. folder)
  end)

  local function check(err, phase, deed)
    local text = phase.name .. ", " .. deed.name .. ": " .. tostring(err)
    if deed.name == "an error" or deed.name == "no memory" then
      local wanted <const> = deed.name == "an error" and phase.told or phase.memory
      assert.are.equal(wanted, err.name, text)
      return wanted == "BrokenExecutorError"
    end
    assert.are.equal("BrokenExecutorError", err.name, text)
    assert.are.same({ deed.signal, deed.exit_code }, { err.signal, err.exit_code }, text)
    assert.is_nil(err.killed, text)
    assert.matches(("the worker %%S+%%-1 %s%s$"):format(deed.says:gsub("%p", "%%%0"),
      phase.early and " before it was ready" or ""), err.reason)
    return true
  end

  for _, phase in ipairs(PHASES) do
    for _, deed in ipairs(DEEDS) do
      local survivable <const> = not deed.says and phase.name ~= "its start"
      if has(phase.deeds, deed.name) and (not backend.threads or survivable) then
        it(("that meets %s in %s ends every future, and is replaced"):format(deed.name, phase.name), function()
          local file <close> = assert(io.open(folder .. "/" .. module .. ".lua", "w"))
          file:write(MODULE:format(deed.code, flag))
          file:close()
          local options = phase.options and phase.options(deed, flag, module) or {}
          options.max_pools, options.workers_per_pool, options.logger = 1, 1, function() end
          options.memory_limit = deed.name == "no memory" and LIMIT or nil
          local manager <close> = backend.manager(options):start()
          local lease <close> = manager:acquire()
          local future = phase.act(lease, flag, module, deed)
          local next_one
          future:on_done(function() -- from inside a callback the pool serves as well
            next_one = leasepool.spawn(function()
              lease:release()
              return manager:run(function() return "next" end)
            end)
          end)
          local waiting = not phase.idle and lease:submit(function() return "waited" end)
          local ok, err = future:result()
          assert.is_false(ok, phase.name .. ", " .. deed.name)
          local broken = check(err, phase, deed)
          if waiting then -- it ends, too: in the queue of what broke, or after what failed
            local done, value = waiting:result()
            assert.are.same({ not broken, broken and "BrokenExecutorError" or "waited" },
              { done, done and value or value.name })
          end
          while not next_one do leasepool.sleep(0.001) end
          assert.are.equal("next", next_one:await())
          assert.are.equal(broken and 1 or 0, manager:stats().counters.broken)
        end)
      end
    end
  end
end)
