--- Child processes as workers: what is theirs alone. What all backends do alike is elsewhere.
local child = require "spec.support.child"
local failure = require "spec.support.failure"
local gate = require "spec.support.gate"
local leasepool = require "leasepool"
local testing = require("leasepool.core").testing

local function pid_of_worker()
  local file <close> = assert(io.open "/proc/self/stat")
  return file:read "n"
end

local function quiet() end

-- For the shell: a worker's program.
local SERVE <const> = child.lua .. [[ -e 'require "leasepool.child"']]

local function manager_of(options)
  options = options or {}
  options.backend, options.max_pools = "process", options.max_pools or 1
  options.workers_per_pool = options.workers_per_pool or 1
  return leasepool.manager(options):start()
end

local function refusal(options)
  options.backend, options.max_pools = options.backend or "process", 1
  local err = failure(leasepool.manager, options)
  assert.are.equal("ConfigError", err.name)
  return err.message
end

local function send_signal(name, pid)
  assert(os.execute(("kill -%s %d"):format(name, pid)))
end

-- Is there such a process, be it a zombie?
local function exists(pid)
  local file = io.open(("/proc/%d/stat"):format(pid))
  if file then file:close() end
  return file ~= nil
end

local function wait_until(condition, what)
  local start = os.time()
  while not condition() do
    assert(os.time() - start < 20, what)
    leasepool.sleep(0.001)
  end
end

describe("a worker process", function()
  describe("is started with", function()
    it("the environment that is given, and nothing else", function()
      local manager <close> = manager_of { env = { ONLY = "this one", EMPTY = "" } }
      local lease <close> = manager:acquire()
      assert.are.same({ "this one", "", n = 3 }, table.pack(lease:run(function()
        return os.getenv "ONLY", os.getenv "EMPTY", os.getenv "PATH"
      end)))
    end)

    it("the script's environment otherwise", function()
      local manager <close> = manager_of()
      assert.are.equal(os.getenv "PATH", manager:run(os.getenv, "PATH"))
    end)

    it("the directory that is given", function()
      local manager <close> = manager_of { cwd = "/proc" }
      assert.is_true(manager:run(function() return io.open("self/status") ~= nil end))
    end)

    it("its limits", function()
      local manager <close> = manager_of { rlimits = { nofile = 40, core = 0 } }
      local opened, limits = manager:run(function()
        local files = {}
        for i = 1, 100 do files[i] = io.open "/dev/null" end
        for _, file in ipairs(files) do file:close() end
        local file <close> = assert(io.open "/proc/self/limits")
        return #files, file:read "a"
      end)
      assert.is_true(opened < 40)
      assert.matches("Max core file size +0 +0", limits)
    end)

    it("no descriptor of the script", function()
      local name = os.tmpname()
      local file <close> = assert(io.open(name)) -- which is not close-on-exec
      local manager <close> = manager_of()
      local shown = manager:run(function()
        local pipe <close> = assert(io.popen "ls -l /proc/$PPID/fd")
        return pipe:read "a"
      end)
      assert.is_truthy(file)
      os.remove(name)
      assert.is_nil(shown:find(name, 1, true), shown)
      for fd, what in shown:gmatch "(%d+) %-> ([^\n]*)" do -- those of `ls` may be there, too
        assert.is_true(tonumber(fd) <= 4 or what:find "^pipe:" ~= nil, shown)
      end
      assert.is_nil(shown:find(" 0 -> /dev/pts", 1, true))
    end)

    it("a program of one's own that does require \"leasepool.child\"", function()
      local manager <close> = manager_of {
        command = { "sh", "-c", "MINE=yes exec " .. SERVE },
      }
      assert.are.same({ "yes", 3 }, { manager:run(function(a, b) return os.getenv "MINE", a + b end, 1, 2) })
    end)

    it("the script's paths, whatever its environment is", function()
      local manager <close> = manager_of { env = { LUA_PATH = "nowhere", LUA_INIT = "error 'not run'" } }
      assert.are.equal(package.path, manager:run(function() return package.path end))
    end)
  end)

  it("has options that are refused where they are wrong, and elsewhere", function()
    assert.matches("command: got a?.*allowed: a list of strings", refusal { command = "lua" })
    assert.matches("command: got table, allowed: a list", refusal { command = {} })
    assert.matches("command: got 1 at 2, allowed: a string", refusal { command = { "lua", 1 } })
    assert.matches("env: A: got 1, allowed: a string", refusal { env = { A = 1 } })
    assert.matches("env: got the name \"A=B\", allowed:", refusal { env = { ["A=B"] = "" } })
    assert.matches("cwd: got \"\", allowed: a string", refusal { cwd = "" })
    assert.matches("rlimits: got \"files\", allowed: as, core, cpu, ", refusal { rlimits = { files = 1 } })
    assert.matches("rlimits: nofile: got 1.5, allowed: an integer", refusal { rlimits = { nofile = 1.5 } })
    for _, backend in ipairs { "thread", "interpreter" } do
      for name, value in pairs { command = { "lua" }, env = {}, cwd = "/", rlimits = {} } do
        assert.matches(name .. ": got [^,]+, allowed: nil on the backend " .. backend,
          refusal { backend = backend, [name] = value })
      end
    end
  end)

  it("needs a command where no stand-alone interpreter runs the script", function()
    local text = child.run [[
      arg = nil
      print(pcall(require("leasepool").manager, { backend = "process", max_pools = 1 }))
    ]]
    assert.matches("command: got nil, allowed: a list of strings", text)
    assert.matches('require "leasepool.child"', text, 1, true)
  end)

  it("that is no child of a manager says so", function()
    local _, errors, status = child.shell(SERVE .. " 3<&- 4<&-")
    assert.matches("for child processes that a manager", errors)
    assert.are_not.equal(0, status)
  end)

  it("sees how long its job may take, also after its lease was renewed", function()
    local manager <close> = manager_of()
    local lease <close> = manager:acquire { lease_seconds = 1000 }
    local first, second = gate(), gate()
    local future = lease:submit(function(a, b)
      local worker, seams = require "leasepool.worker", require("leasepool.core").testing
      local before = worker.remaining()
      seams.gate_pass(a)
      seams.gate_pass(b)
      local start = os.time()
      while worker.remaining() < 4000 and os.time() - start < 20 do end
      return before, worker.remaining()
    end, first.id, second.id)
    first.await()
    lease:renew(5000)
    first.open()
    second.open()
    local before, after = future:await()
    assert.is_true(before > 900 and before <= 1015, before)
    assert.is_true(after > 4900 and after <= 5015, after)
  end)

  it("writes to standard error: the logger gets its lines, also the unfinished one", function()
    local lines = {}
    local manager = manager_of { logger = function(level, message, fields)
      lines[#lines + 1] = { level, message, fields.worker }
    end }
    do
      local lease <close> = manager:acquire()
      lease:run(function()
        io.stderr:write("one\ntwo\r\n\n", ("x"):rep(5000), "\n", "three")
      end)
    end
    manager:stop()
    for _, line in ipairs(lines) do
      assert.are.equal("WARN", line[1])
      assert.matches("^leasepool%-%d+%-1$", line[3])
    end
    assert.are.same({ "one", "two" }, { lines[1][2], lines[2][2] })
    assert.are.equal(("x"):rep(5000), lines[3][2] .. lines[4][2])
    assert.are.equal("three", lines[5][2])
    assert.are.equal(5, #lines)
  end)

  it("logs no more than there is room for while nobody listens, and is not held up", function()
    local lines, dropped, last = 0, 0, nil
    local manager <close> = manager_of { logger = function(_, message)
      local count = tonumber(message:match "^(%d+) lines? w")
      if count then dropped = dropped + count else lines = lines + 1 end
      last = message
    end }
    local lease <close> = manager:acquire()
    local done = os.tmpname()
    os.remove(done)
    lease:run(quiet)
    local future = lease:submit(function(name)
      local worker = require "leasepool.worker"
      for i = 1, 50000 do worker.info("line", { i = i, text = ("x"):rep(50) }) end
      io.open(name, "w"):close()
    end, done)
    local start = os.time()
    repeat -- the loop does not run
      local file = io.open(done)
    until file or os.time() - start > 20
    os.remove(done)
    future:await()
    lease:run(function() require("leasepool.worker").info "last" end)
    assert.are.equal("last", last)
    assert.is_true(dropped > 0, lines .. " lines")
    assert.are.equal(50001, lines + dropped)
  end)

  it("gets no job that waits for a slow one while another worker is idle", function()
    local manager <close> = manager_of { workers_per_pool = 2 }
    local lease <close> = manager:acquire()
    local futures, blocker = {}, gate()
    for i = 1, 2000 do futures[i] = lease:submit(quiet) end -- short ones: several are sent at once
    leasepool.gather(futures)
    local slow = lease:submit(blocker.pass, blocker.id)
    for i = 1, 200 do futures[i] = lease:submit(function(n) return n end, i) end
    for i = 1, 200 do assert.are.equal(i, (futures[i]:await())) end
    assert.are.equal("pending", slow:status())
    blocker.open()
    slow:await()
  end)

  it("runs each of many jobs once, whatever is taken back or cancelled", function()
    local manager <close> = manager_of { workers_per_pool = 3 }
    local lease <close> = manager:acquire()
    local name = os.tmpname()
    local function append(path, n, slow)
      local file <close> = assert(io.open(path, "a"))
      file:write(n, "\n")
      if slow then
        local until_ = os.clock() + 0.003
        while os.clock() < until_ do end
      end
      return n
    end
    local futures, cancelled = {}, {}
    for i = 1, 3000 do
      futures[i] = lease:submit(append, name, i, i % 97 == 0)
      if i % 7 == 0 then
        local victim = math.random(i)
        futures[victim]:cancel()
      end
      if i % 50 == 0 then leasepool.sleep(0) end
    end
    for i, future in ipairs(futures) do
      local ok, value = future:result()
      if ok then assert.are.equal(i, value) else cancelled[i] = value.name end
    end
    local ran = {}
    for line in io.lines(name) do
      local n = math.tointeger(tonumber(line))
      assert.is_nil(ran[n], n)
      ran[n] = true
    end
    os.remove(name)
    for i = 1, 3000 do
      if not cancelled[i] then assert.is_true(ran[i], i) else assert.are.equal("CancelledError", cancelled[i]) end
    end
  end)

  it("loses jobs that expire or time out before it begins them", function()
    local manager <close> = manager_of { lease_grace_seconds = 0 }
    local lease = manager:acquire { lease_seconds = 0.3 }
    local futures, blocker = {}, gate()
    for i = 1, 500 do futures[i] = lease:submit(quiet) end
    leasepool.gather(futures)
    local running = lease:submit(blocker.pass, blocker.id, "late")
    local timed = lease:with({ timeout = 0.05 }):submit(quiet)
    local expired = lease:submit(quiet)
    assert.are.equal("TimeoutError", failure(timed.await, timed).name)
    assert.are.equal("LeaseExpiredError", failure(expired.await, expired).name)
    blocker.open()
    assert.are.equal("late", running:await())
  end)
end)

describe("a worker process that is killed", function()
  -- Waits for ever in C code that goes on after signals.
  local function stuck(id) require("leasepool.core").testing.gate_pass(id) end

  it("after it could not be interrupted takes its job with it, and nothing else", function()
    local manager <close> = manager_of { workers_per_pool = 2, interrupt_grace_seconds = 0.01 }
    local lease <close> = manager:acquire()
    local came, beside = gate(), gate()
    local victim = lease:submit(stuck, came.id)
    local sibling = lease:submit(beside.pass, beside.id, "whole")
    came.await()
    beside.await()
    assert.is_true(victim:cancel())
    local err = failure(victim.await, victim)
    assert.are.equal("CancelledError", err.name)
    assert.is_nil(err.still_running)
    assert.are.equal("cancelled", victim:status())
    beside.open()
    assert.are.equal("whole", sibling:await())
    assert.are.equal("ACTIVE", lease.state)
    assert.are.equal("replaced", lease:run(function() return "replaced" end))
    assert.are.equal(1, manager:stats().counters.killed)
  end)

  it("by force when it ignores SIGTERM", function()
    local manager <close> = manager_of {
      command = { "sh", "-c", "trap '' TERM; exec " .. SERVE },
      interrupt_grace_seconds = 0.01, kill_grace_seconds = 0.05,
    }
    local lease <close> = manager:acquire()
    local pid = lease:run(pid_of_worker)
    send_signal("TERM", pid)
    local came = gate()
    local victim = lease:with({ timeout = 0.2 }):submit(stuck, came.id)
    assert.are.equal("TimeoutError", failure(victim.await, victim).name)
    assert.is_false(exists(pid))
    assert.are_not.equal(pid, lease:run(pid_of_worker))
  end)

  it("at the hard expiry of its lease frees the place", function()
    local manager <close> = manager_of {
      on_expiry = "kill", lease_grace_seconds = 0, interrupt_grace_seconds = 0.01, max_retiring = 0,
    }
    local lease = manager:acquire { lease_seconds = 0.2 }
    local came = gate()
    local victim = lease:submit(stuck, came.id)
    local err = failure(victim.await, victim)
    assert.are.same({ "LeaseExpiredError", true }, { err.name, err.killed })
    assert.are.equal("the job was stopped by killing its worker: its lease expired", err.message)
    assert.are.equal("next", manager:run(function() return "next" end))
  end)

  it("by a stop leaves neither a process nor a descriptor behind", function()
    local function descriptors() -- sockets and pidfds; pipes come and go with popen
      local pipe <close> = assert(io.popen "ls -l /proc/$PPID/fd")
      local text = pipe:read "a"
      return select(2, text:gsub("socket:", "")) + select(2, text:gsub("pidfd", "")), text
    end
    local before, shown = descriptors()
    local manager = manager_of { workers_per_pool = 3, interrupt_grace_seconds = 0.01, exit_grace_seconds = 0.1 }
    local lease = manager:acquire()
    local came = gate()
    local pid = lease:run(pid_of_worker)
    for _ = 1, 3 do lease:post(quiet, stuck, came.id) end
    came.await(3)
    local report = manager:stop { timeout = 0 }
    assert.are.equal(3, report.killed)
    assert.is_false(exists(pid))
    leasepool.sleep(0.001) -- libuv lets go of what was closed
    local after, still = descriptors()
    assert.are.equal(before, after, shown .. still)
  end)

  it("while it stands still holds up neither its jobs nor a stop", function()
    local manager = manager_of { workers_per_pool = 2, logger = quiet }
    local lease = manager:acquire()
    local both, pids = gate(), {}
    local function pid_at_gate(id)
      local file <close> = assert(io.open "/proc/self/stat")
      require("leasepool.core").testing.gate_pass(id)
      return file:read "n"
    end
    for i = 1, 2 do pids[i] = lease:submit(pid_at_gate, both.id) end
    both.await(2)
    both.open()
    for i = 1, 2 do pids[i] = pids[i]:await() end
    local futures = {}
    for i = 1, 2000 do futures[i] = lease:submit(quiet) end -- short ones: several are sent at once
    leasepool.gather(futures)
    send_signal("STOP", pids[1])
    for i = 1, 200 do futures[i] = lease:submit(quiet) end
    leasepool.sleep(0.05) -- the other one has done what it could
    send_signal("KILL", pids[1])
    manager:stop { timeout = 2 }
    for i = 1, 200 do
      assert.are_not.equal("pending", futures[i]:status())
      futures[i]:result()
    end
    assert.are.same({ false, false }, { exists(pids[1]), exists(pids[2]) })
  end)

  it("while much is being written to it ends no program, with SIGPIPE at its default", function()
    local output, errors, status = child.run([[
      local leasepool = require "leasepool"
      local manager = leasepool.manager({ backend = "process", max_pools = 1, workers_per_pool = 1,
        logger = function() end }):start()
      for _ = 1, 20 do
        local lease <close> = manager:acquire()
        local pid = lease:run(function()
          local file <close> = io.open "/proc/self/stat"
          return file:read "n"
        end)
        os.execute("kill -STOP " .. pid)
        local future = lease:submit(function(s) return #s end, ("x"):rep(1 << 20))
        os.execute("kill -KILL " .. pid)
        local ok, err = future:result()
        assert(not ok and err.name == "BrokenExecutorError" and err.signal == 9, tostring(err))
      end
      print(manager:run(function(s) return #s end, ("x"):rep(1 << 20)))
      manager:stop()
    ]])
    assert.are.same({ tostring(1 << 20) .. "\n", "", 0 }, { output, errors, status })
  end)
end)

describe("a program with worker processes", function()
  it("that is killed leaves none behind, even where jobs never end", function()
    local output, _, status = child.run [[
      local leasepool = require "leasepool"
      local manager = leasepool.manager({ backend = "process", max_pools = 1, workers_per_pool = 2 }):start()
      local lease = manager:acquire()
      local name = os.tmpname()
      for i = 1, 2 do
        lease:submit(function(path)
          local stat <close> = io.open "/proc/self/stat"
          local file = io.open(path, "a")
          file:write(stat:read "n", "\n")
          file:close()
          while true do end
        end, name)
      end
      local text
      repeat
        leasepool.sleep(0.001)
        local file <close> = io.open(name)
        text = file:read "a"
      until select(2, text:gsub("\n", "")) == 2
      os.remove(name)
      io.write(text)
      io.stdout:flush()
      local stat <close> = io.open "/proc/self/stat"
      os.execute("kill -KILL " .. stat:read "n")
    ]]
    assert.are.equal(137, status)
    local pids = {}
    for pid in output:gmatch "%d+" do pids[#pids + 1] = math.tointeger(tonumber(pid)) end
    assert.are.equal(2, #pids)
    wait_until(function() return not exists(pids[1]) and not exists(pids[2]) end, "a child is left")
  end)

  it("waits for children of its own as ever", function()
    local manager <close> = manager_of { workers_per_pool = 2 }
    local lease <close> = manager:acquire()
    for i = 1, 10 do
      local future = lease:submit(function() return 1 end)
      assert.are.same({ nil, "exit", i }, { os.execute("exit " .. i) })
      local pipe = io.popen("exit " .. i)
      assert.are.same({ nil, "exit", i }, { pipe:close() })
      assert.are.equal(1, future:await())
    end
  end)

  local has_luv, luv = pcall(require, "luv")
  if not has_luv then luv = nil end
  it("may have a second libuv, which spawns and reaps its own", function()
    assert.is_truthy(luv, "lua-luv is not installed")
    local output, errors, status = child.run [[
      local uv, leasepool = require "luv", require "leasepool"
      local manager = leasepool.manager({ backend = "process", max_pools = 1, workers_per_pool = 2 }):start()
      local lease = manager:acquire()
      local ended = 0
      for i = 1, 20 do
        local future = lease:submit(function(n) return n end, i)
        local handle
        handle = uv.spawn("sh", { args = { "-c", "exit " .. i } }, function(code)
          assert(code == i)
          ended = ended + 1
          handle:close()
        end)
        assert(future:await() == i)
      end
      uv.run()
      print(ended)
      manager:stop()
    ]]
    assert.are.same({ "20\n", "", 0 }, { output, errors, status })
  end)

  it("that is interrupted decides itself what becomes of its jobs", function()
    local manager <close> = manager_of()
    local lease <close> = manager:acquire()
    local pid = lease:run(pid_of_worker)
    local blocker = gate()
    local future = lease:submit(blocker.pass, blocker.id, "went on")
    blocker.await()
    send_signal("INT", pid) -- Ctrl-C is for the whole group
    blocker.open()
    assert.are.equal("went on", future:await())
    assert.are.equal(pid, lease:run(pid_of_worker))
  end)
end)

describe("a child process that is no worker", function()
  local function bytes(format, ...)
    return (string.pack(format, ...):gsub(".", function(c) return ("\\%03o"):format(c:byte()) end))
  end
  local function frame(kind, id, payload)
    return bytes("<I4I4I8", #payload, kind, id) .. bytes("c" .. #payload, payload)
  end
  local READY <const>, RESULT <const>, LINE <const>, WITHDRAWN <const> = 32, 34, 35, 36
  local ready <const> = frame(READY, 1, "")
  local function result(id, status, message)
    return frame(RESULT, id, string.pack("<i4I4I8", status, 1, 0) .. message)
  end
  local nothing <const> = "\1\0" -- a message without values

  local function shell(...)
    local script = {}
    for i, step in ipairs { ... } do script[i] = step end
    return { "sh", "-c", table.concat(script, "; ") }
  end
  local function say(text) return "printf '" .. text .. "' >&3" end

  local HOSTILE <const> = {
    { "garbage", shell("printf 'this is no frame at all, but long enough' >&3", "exec sleep 100"),
      "sent what no worker sends" },
    { "half a frame", shell(say(ready:sub(1, 40))), "ended in the middle of a message" },
    { "a frame of 4 GiB", shell(say(bytes("<I4I4I8", 0xffffffff, RESULT, 1)), "exec sleep 100"),
      "sent what no worker sends" },
    { "another protocol", shell(say(frame(READY, 99, "")), "exec sleep 100"), "sent what no worker sends" },
    { "a result before it is ready", shell(say(result(1, 0, nothing)), "exec sleep 100"), "sent what no worker sends" },
    { "a result of a job that it has not got", shell(say(ready .. result(7, 0, nothing)), "exec sleep 100"),
      "sent what no worker sends" },
    { "a result twice", shell(say(ready), "sleep 0.3", say(result(1, 0, nothing):rep(2)), "exec sleep 100"),
      "sent what no worker sends" },
    { "a result that is no message", shell(say(ready), "sleep 0.3", say(result(1, 0, "\1\5\xc1")), "exec sleep 100"),
      "sent what no worker sends" },
    { "a status that there is not", shell(say(ready), "sleep 0.3", say(result(1, -12345, nothing)), "exec sleep 100"),
      "sent what no worker sends" },
    { "a function", shell(say(ready), "sleep 0.3", say(result(1, 0, "\1\1\xd4\3\0")), "exec sleep 100"),
      "sent what no worker sends" },
    { "a line for the log that is none", shell(say(ready .. frame(LINE, 0, ("\255"):rep(40))), "exec sleep 100"),
      "sent what no worker sends" },
    { "a closed channel", shell("exec 3>&-", "exec sleep 100"), "closed its channel" },
    { "nothing, and exits", shell "exit 3", "exited with code 3 before it was ready" },
    { "nothing, and dies", shell "kill -SEGV $$", "was killed by signal 11 %(SIGSEGV%) before it was ready" },
  }

  for _, hostile in ipairs(HOSTILE) do
    it("says " .. hostile[1] .. ": its executor breaks, and nothing else", function()
      local sound <close> = manager_of()
      local lease <close> = sound:acquire()
      assert.are.equal(1, lease:run(function() return 1 end))
      local manager = manager_of { command = hostile[2], logger = quiet, exit_grace_seconds = 0 }
      local bad = manager:acquire()
      local first, second = bad:submit(quiet, 1), bad:submit(quiet, 2)
      local ok, err = first:result()
      if ok then ok, err = second:result() end -- the first answer was one
      assert.is_false(ok)
      assert.are.equal("BrokenExecutorError", err.name)
      assert.matches("^the worker leasepool%-%d+%-1 " .. hostile[3], err.reason)
      assert.is_false((second:result()))
      assert.are.equal("CLOSED", bad.state)
      assert.are.equal(2, lease:run(function() return 2 end))
      manager:stop()
    end)
  end

  it("may answer a job before it tells that it passed over the one before: there are two ways out", function()
    local names = { os.tmpname(), os.tmpname() }
    local function await_file(n) return "until [ -s " .. names[n] .. " ]; do sleep 0.01; done" end
    local function give_file(n) io.open(names[n], "w"):write("now"):close() end
    local manager = manager_of { exit_grace_seconds = 0, command = shell(say(ready), await_file(1),
      say(result(1, 0, nothing)), "head -c 24 <&4 >/dev/null", say(result(2, 0, nothing) .. result(4, 0, nothing)),
      await_file(2), "printf '" .. frame(WITHDRAWN, 3, string.pack("<I8", 3)) .. "' >&4",
      say(result(5, 0, nothing)), "exec sleep 100") }
    local lease, futures = manager:acquire(), {}
    for i = 1, 5 do futures[i] = lease:submit(quiet) end
    wait_until(function() return manager:stats().running == 1 end, "the first job is not sent")
    give_file(1)
    futures[1]:await() -- the others have been sent
    assert.is_true(futures[3]:cancel())
    for _, i in ipairs { 2, 4 } do assert.is_true((futures[i]:result())) end
    assert.are.equal("CancelledError", select(2, futures[3]:result()).name)
    give_file(2)
    assert.is_true((futures[5]:result()))
    manager:stop()
    for _, name in ipairs(names) do os.remove(name) end
  end)

  it("says nothing at all: jobs time out, and a stop ends it", function()
    local manager = manager_of { command = { "sleep", "1000" }, exit_grace_seconds = 0.01,
      interrupt_grace_seconds = 0.01, logger = quiet }
    local lease = manager:acquire()
    local future = lease:with({ timeout = 0.05 }):submit(quiet)
    assert.are.equal("TimeoutError", failure(future.await, future).name)
    manager:stop()
    assert.are.equal(0, manager.total_count)
  end)

  it("cannot be started: the error says so", function()
    local manager <close> = manager_of { command = { "/no/such/program" }, logger = quiet }
    local lease <close> = manager:acquire()
    local err = failure(lease.submit, lease, quiet)
    assert.are.equal("BrokenExecutorError", err.name)
    assert.matches('the program "/no/such/program" cannot be started: no such file or directory', err.message, 1, true)
  end)

  it("dies again and again at its start: the pauses grow", function()
    local manager = manager_of { command = { "false" }, logger = quiet }
    local start, waited = leasepool.errors and testing and os.time(), {}
    for i = 1, 4 do
      local before = require("leasepool.core").now()
      local lease = manager:acquire()
      waited[i] = require("leasepool.core").now() - before
      local future = lease:submit(quiet)
      assert.are.equal("BrokenExecutorError", failure(future.await, future).name)
    end
    assert.is_true(waited[4] > 0.03, waited[4])
    assert.is_true(os.time() - start < 10)
    manager:stop()
  end)
end)
