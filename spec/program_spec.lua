--- The program `leasepool`, as it is installed: in a prefix of its own, with nothing in the
-- environment that leads to the sources.
local child = require "spec.support.child"

local build <const> = os.getenv "LEASEPOOL_BUILD" or "build"
local UNSET <const> = "env -u LUA_PATH -u LUA_PATH_5_4 -u LUA_CPATH -u LUA_CPATH_5_4 -u LUA_INIT -u LUA_INIT_5_4 "
local quote <const> = child.quote

local directory, program -- where all is that is made here; nil: the program is not built

local function write(name, text)
  local file <close> = assert(io.open(directory .. "/" .. name, "wb"))
  file:write(text)
  return directory .. "/" .. name
end

local function exists(pid)
  local file = io.open(("/proc/%d/stat"):format(pid))
  if file then file:close() end
  return file ~= nil
end

-- As `it`, where there is a program.
local function holds(what, fn)
  it(what, function()
    if not program then return pending(build .. " has no program leasepool: it was not built") end
    fn()
  end)
end

-- Runs the program with arguments for the shell; `before` is put before its name.
local function run(arguments, before)
  return child.shell(UNSET .. (before or "") .. quote(program) .. " " .. arguments)
end

local function run_script(text, arguments, before)
  return run(quote(write("script.lua", text)) .. " " .. (arguments or ""), before)
end

setup(function()
  local _, _, missing = child.shell("test -x " .. quote(build .. "/leasepool"))
  if missing ~= 0 then return end
  directory = child.shell("mktemp -d"):gsub("\n$", "")
  local prefix <const> = directory .. "/prefix"
  local output, errors, status = child.shell(("cmake --install %s --prefix %s"):format(quote(build), quote(prefix)))
  assert.are.equal(0, status, output .. errors)
  program = prefix .. "/bin/leasepool"
end)

teardown(function()
  if directory then child.shell("rm -rf " .. quote(directory)) end
end)

---- As the program `lua` -----------------------------------------------------------

local SHOW <const> = [[
#!/no/such/interpreter
print(..., select("#", ...), #arg)
for i = -9, 9 do if arg[i] then print(i, arg[i]) end end
]]

-- What it does: the arguments, for a shell where $show is the script above; what comes first in the
-- shell's command (variables, a pipe).
local ALIKE <const> = {
  { "gives the script its arguments", "$show a 'b c' '' -e" },
  { "has the options and its own name below the script's", "-W -e 'x = 1' -- $show a" },
  { "has the options in arg without a script", "-e 'print(arg[0], arg[1], arg[2], #arg)' " },
  { "lets a chunk change the arguments", [[-e 'arg[1] = "changed" table.insert(arg, "new")' $show a]] },
  { "refuses an arg that is no table", "-e 'arg = nil' $show" },
  { "runs chunks in order, in one state", "-e 'x = 1' -e'x = x + 1' -e 'print(x)'" },
  { "does not run what follows a chunk that raises", "-e 'print(1)' -e 'error \"no\"' -e 'print(2)' $show" },
  { "does not run what follows a chunk that does not compile", "-e 'print(1)' -e 'x x' $show" },
  { "requires modules into globals", "-l math -lm=string -e 'print(math.pi, m == string)'" },
  { "shows where a module was looked for", "-e 'package.path, package.cpath = \"here/?\", \"there/?\"' -l nowhere" },
  { "turns warnings on", [[-e 'warn "unseen"' -W -e 'warn "seen"']] },
  { "leaves warnings off", [[-e 'warn "unseen"']] },
  { "runs standard input", "", "echo 'print(..., arg[0] ~= nil)' |" },
  { "runs standard input after modules", "-l m=string -W", "echo 'print(m.rep(\"x\", 3), ...)' |" },
  { "runs standard input that is asked for, with arguments", "- a b", "echo 'print(arg[0], ...)' |" },
  { "leaves standard input to a chunk", "-e 'print(io.read())'", "echo 'a line' |" },
  { "leaves standard input to the script", "$show", "echo error |" },
  { "reads all of standard input before it runs that", "-", "printf '# first line\\nprint(io.read())' |" },
  { "takes - for a name after --", "-- -" },
  { "shows a syntax error without a traceback", "$broken" },
  { "shows that a file is missing", "/no/such/file.lua a b" },
  { "shows that a directory is no script", "/" },
  { "shows errors of a script with their traceback", "$deep" },
  { "runs LUA_INIT", "$show a", [[LUA_INIT='print("init", arg[0], arg[1])']] },
  { "runs the file of LUA_INIT", "-e 'print(2)'", "LUA_INIT=@$show" },
  { "prefers the LUA_INIT of its version", "$show", "LUA_INIT='print(1)' LUA_INIT_5_4='print(2)'" },
  { "ends when LUA_INIT raises", "-e 'print(1)'", "LUA_INIT_5_4='error(\"init\")'" },
  { "ends when LUA_INIT does not compile", "-e 'print(1)'", "LUA_INIT='x x'" },
  { "ends when the file of LUA_INIT is missing", "-e 'print(1)'", "LUA_INIT=@/no/such/file" },
  { "does not run LUA_INIT with -E", "-W -E -e 'print(1)'", "LUA_INIT='print(2)' LUA_INIT_5_4='print(3)'" },
  { "looks at LUA_PATH", [[-e 'print(package.path:match("mine.*"), package.cpath)']],
    "LUA_PATH='mine/?.lua;;' LUA_CPATH='mine/?.so'" },
  { "prefers the LUA_PATH of its version", [[-e 'print(package.path:match("mine.*"), package.cpath)']],
    "LUA_PATH='other/?' LUA_PATH_5_4='mine/?.lua' LUA_CPATH='other/?' LUA_CPATH_5_4='mine/?.so'" },
  { "does not look at LUA_PATH with -E", [[-E -e 'print(package.path:match("mine.*"), package.cpath)']],
    "LUA_PATH='mine/?.lua;;' LUA_CPATH='mine/?.so'" },
  { "collects garbage in generations", "-e 'print(collectgarbage \"incremental\")'" },
}

-- Chunks that end the program: what it shows and its exit code.
local ENDS <const> = {
  "error 'text'", "error('text', 0)", "error('two\\nlines')", "error(42)", "error(4.5)", "error()", "error {}",
  "error(print)",
  "error(setmetatable({}, { __tostring = function() return 'shown' end }))",
  "error(setmetatable({}, { __tostring = function() return 1 end }))",
  "error(setmetatable({}, { __name = 'My type' }))",
  "local t = nil; t.x = 1", "string.rep()", "coroutine.wrap(function() error 'in a coroutine' end)()",
  "local _ <close> = setmetatable({}, { __close = function(_, e) print(e ~= nil) error 'closing' end }) error 'first'",
  "string.rep('x', math.maxinteger)",
  "return 3", "os.exit()", "os.exit(true)", "os.exit(false)", "os.exit(7)", "os.exit(7, true)", "os.exit(false, true)",
  "local _ <close> = setmetatable({}, { __close = function() print 'closed' end }) os.exit(6)",
  "local _ <close> = setmetatable({}, { __close = function() os.exit(8, true) end }) error 'x'",
  "coroutine.wrap(function() os.exit(5, true) end)() print 'unseen'", "pcall(os.exit, 3, true) print 'unseen'",
  "io.write 'unflushed' os.exit(0)", "io.write 'unflushed' os.exit(9, true)",
  "setmetatable({}, { __gc = function() print 'collected' end }) os.exit(3, true)",
  "setmetatable({}, { __gc = function() print 'collected' end })",
}

describe("the program leasepool does as lua:", function()
  local has_lua

  setup(function()
    has_lua = select(3, child.shell "command -v lua5.4") == 0
    if not program then return end
    write("show.lua", SHOW)
    write("broken.lua", "print 'unseen'\nlocal x = = 1\n")
    write("deep.lua", "local function f(n)\n  if n == 0 then error 'deep' end\n  f(n - 1)\nend\nf(3)\n")
  end)

  -- The name in messages and in `arg` is argv[0].
  local function compare(arguments, first)
    if not has_lua then return pending "there is no lua5.4 to compare with" end
    local function result(name)
      local environment, input = UNSET .. (first or ""), ""
      if (first or ""):find "|$" then environment, input = UNSET, first end
      local output, errors, status = child.shell(([[
        cd %s; show=show.lua broken=broken.lua deep=deep.lua
        %s %s bash -c 'exec -a leasepool "$0" "$@"' %s %s]]):format(quote(directory), input, environment, quote(name),
        arguments))
      return { output = output, errors = errors:gsub("0x%x+", "0x"), status = status }
    end
    local expected = result "lua5.4"
    assert.are.same(expected, result(program))
  end

  for _, case in ipairs(ALIKE) do
    holds(case[1], function() return compare(case[2], case[3]) end)
  end

  for _, chunk in ipairs(ENDS) do
    holds("it ends with " .. chunk, function() return compare("-e " .. quote(chunk)) end)
  end
end)

---- Its own --------------------------------------------------------------------------

local function expect_usage(errors, first)
  assert.matches("^" .. first .. "usage: leasepool %[options%] %[script %[args%]%]\n.*standard input\n$", errors)
end

describe("the program leasepool", function()
  holds("shows its versions, and then runs what is named, but not standard input", function()
    local output, errors, status = run "-v"
    assert.matches("^leasepool %d+%.%d+%.%d+, Lua 5%.4\n$", output)
    assert.are.same({ "", 0 }, { errors, status })
    output = run "-e 'print(1)' -v"
    assert.matches("^leasepool [^\n]*\n1\n$", output)
  end)

  holds("explains its use", function()
    for _, option in ipairs { "-h", "--help", "-e 'error()' -h" } do
      local output, errors, status = run(option)
      expect_usage(output, "")
      assert.are.same({ "", 0 }, { errors, status })
    end
  end)

  holds("refuses what it does not know, before it runs anything", function()
    for arguments, message in pairs {
      ["-e 'print(1)' -x"] = 'unknown option "%-x"', ["-vv"] = 'unknown option "%-vv"',
      ["-Ex"] = 'unknown option "%-Ex"', ["--stat"] = 'unknown option "%-%-stat"', ["-i"] = 'unknown option "%-i"',
      ["-e"] = "%-e: got nothing, allowed: a chunk", ["-l"] = "%-l: got nothing, allowed: a module",
      ["-e -v"] = "%-e: got %-v, allowed: a chunk", ["-l --stats x"] = "%-l: got %-%-stats, allowed: a module",
    } do
      local output, errors, status = run(arguments)
      expect_usage(errors, "leasepool: " .. message .. "\n")
      assert.are.same({ "", 1 }, { output, status })
    end
  end)

  holds("does not run a terminal", function()
    local output, _, status = child.shell("script -qec " .. quote(UNSET .. program) .. " /dev/null")
    expect_usage(output:gsub("\r", ""), "")
    assert.are.equal(1, status)
  end)

  holds("without its Lua half says where it was looked for", function()
    child.shell(("mkdir %s/alone && cp %s %s/alone"):format(quote(directory), quote(program), quote(directory)))
    local output, errors, status = child.shell(UNSET .. quote(directory .. "/alone/leasepool") .. " -E -e 'print(1)'")
    assert.matches("^leasepool: module 'leasepool.program' not found:\n", errors)
    assert.are.same({ "", 1 }, { output, status })
  end)

  holds("runs the script as a coroutine, and waits for what that has spawned", function()
    local output, errors, status = run_script [[
      local leasepool = require "leasepool"
      print(coroutine.isyieldable(), select(2, coroutine.running()))
      local other = leasepool.spawn(function()
        leasepool.sleep(0.001)
        print "other"
        leasepool.spawn(function()
          leasepool.sleep(0.001)
          print "last"
        end)
        return "result"
      end)
      leasepool.sleep(0)
      print(other:await())
      print(pcall(leasepool.run, function() leasepool.sleep(0) return "inner" end))
      leasepool.spawn(function()
        leasepool.sleep(0.02)
        print "after the end"
      end)
      print "end"
    ]]
    local rest <const>, count = output:gsub("last\n", "")
    assert.are.equal("true\tfalse\nother\nresult\ntrue\tinner\nend\nafter the end\n", rest)
    assert.are.equal(1, count)
    assert.are.same({ "", 0 }, { errors, status })
  end)

  holds("cancels what was spawned when the script fails, and then ends", function()
    local output, errors, status = run_script [[
      local leasepool = require "leasepool"
      leasepool.spawn(function()
        local _ <close> = setmetatable({}, { __close = function()
          leasepool.sleep(0.001)
          print "closed"
        end })
        leasepool.sleep(1000)
      end)
      error "main"
    ]]
    assert.are.same({ "closed\n", 1 }, { output, status })
    assert.matches("^leasepool: [^\n]*script.lua:9: main\nstack traceback:\n\t%[C%]: in function 'error'\n"
      .. "\t[^\n]*script.lua:9: in main chunk\n\t%[C%]: in %?\n$", errors)
  end)

  holds("shows errors of leasepool with what belongs to them", function()
    local _, errors, status = run_script [[
      local leasepool = require "leasepool"
      leasepool.manager { max_pols = 1 }
    ]]
    assert.matches('^leasepool: [^\n]*script.lua:2: unknown option "max_pols"[^\n]*\nstack traceback:\n', errors)
    assert.is_nil(errors:find("program.lua", 1, true))
    assert.are.equal(1, status)
    _, errors, status = run_script [[
      local leasepool = require "leasepool"
      local manager <close> = leasepool.manager({ max_pools = 1 }):start()
      manager:run(function() error "in the job" end)
    ]]
    assert.matches("script.lua:3: in the job\nstack traceback:\n", errors, 1, true)
    assert.is_nil(errors:find("program.lua", 1, true))
    assert.are.equal(1, status)
  end)

  holds("logs the error of a coroutine that nobody looks at", function()
    local output, errors, status = run_script [[
      local leasepool = require "leasepool"
      leasepool.spawn(function() error "unseen" end)
      leasepool.sleep(0)
      print "goes on"
    ]]
    assert.are.same({ "goes on\n", 0 }, { output, status })
    assert.matches("^leasepool: ERROR: a coroutine whose future nobody looked at failed: [^\n]*unseen\n", errors)
  end)

  holds("has its own module and no other, in every state", function()
    write("leasepool.lua", "error 'the wrong one'")
    local output, errors, status = run_script([[
      local leasepool = require "leasepool"
      for _, backend in ipairs(leasepool.backends()) do
        local manager <close> = leasepool.manager({ backend = backend, max_pools = 1, name_prefix = backend }):start()
        print(manager:run(function()
          require "leasepool"
          local name = require("leasepool.worker").name
          return package.searchpath("leasepool.worker", package.path), name
        end))
      end
    ]], "", ("LUA_PATH=%s "):format(quote(directory .. "/?.lua;;")))
    local file <const> = directory .. "/prefix/share/lua/5.4/leasepool/worker.lua\t"
    assert.are.same({ "", 0 }, { errors, status })
    for name, backend in output:gmatch "([^\n]*\t)(%a+)%-%d+%-%d+\n" do
      assert.are.equal(file, name, backend)
    end
    assert.are.equal(3, select(2, output:gsub("\n", "")))
    os.remove(directory .. "/leasepool.lua")
  end)

  holds("is its own worker program, whatever the environment says", function()
    local output, errors, status = run_script([[
      local leasepool = require "leasepool"
      for _, env in ipairs { false, { LUA_PATH = "nowhere", LUA_INIT = "error 'not run'" } } do
        local manager <close> = leasepool.manager({ backend = "process", max_pools = 1, env = env or nil }):start()
        print(manager:run(function(a, b)
          local file <close> = assert(io.open "/proc/self/cmdline", "rb")
          local words = {}
          for word in file:read("a"):gmatch "[^\0]+" do words[#words + 1] = word end
          return a + b, words[2], words[1]
        end, 1, 2))
      end
      print(..., init)
    ]], "a", "LUA_INIT='init = (init or 0) + 1' ")
    local line <const> = "3\t--worker\t" .. program .. "\n"
    assert.are.same({ line .. line .. "a\t1\n", "", 0 }, { output, errors, status })
  end)

  holds("may be moved with what was installed beside it", function()
    local moved <const> = directory .. "/moved"
    child.shell(("cp -R %s/prefix %s && ln -s %s/bin/leasepool %s/link"):format(quote(directory), quote(moved),
      quote(moved), quote(directory)))
    local output, errors, status = child.shell(UNSET .. quote(directory .. "/link") .. " -l leasepool -e " .. quote [[
      print(package.searchpath("leasepool.stats", package.path))
      local manager <close> = leasepool.manager({ backend = "process", max_pools = 1 }):start()
      print(manager:run(string.upper, "worked"))
    ]])
    assert.are.same({ moved .. "/share/lua/5.4/leasepool/stats.lua\nWORKED\n", "", 0 }, { output, errors, status })
  end)
end)

---- --stats ----------------------------------------------------------------------------

describe("the option --stats", function()
  local TWO <const> = [[
    local leasepool = require "leasepool"
    local first <close> = leasepool.manager({ max_pools = 1 }):start()
    local second = leasepool.manager({ max_pools = 2, backend = "process" }):start()
    first:run(function() end)
    for _ = 1, 2 do second:run(function() end) end
  ]]

  for how, case in pairs {
    ["when the script ends"] = { "", 0 }, ["when it fails"] = { "error 'x'", 1 },
    ["when it exits"] = { "os.exit(3)", 3 }, ["when it exits and closes"] = { "os.exit(4, true)", 4 },
  } do
    holds("shows all managers " .. how, function()
      local output, errors, status = run("--stats " .. quote(write("script.lua", TWO .. case[1])))
      assert.are.same({ "", case[2] }, { output, status })
      assert.matches("thread: %d of at most 1 executors.*jobs: 1 = 0 queued %+ 0 running %+ 1 done.*"
        .. "process: %d of at most 2 executors.*jobs: 2 = 0 queued %+ 0 running %+ 2 done", errors)
      assert.are.equal(2, select(2, errors:gsub("of at most", "")))
    end)
  end

  holds("is the script's behind its name, and shows nothing without a manager", function()
    local script <const> = quote(write("script.lua", "print(...)"))
    assert.are.same({ "--stats\n", "", 0 }, { run(script .. " --stats") })
    assert.are.same({ "nil\n", "", 0 }, { run("--stats -e 'print(nil)'") })
  end)

  holds("leaves os.exit to jobs", function()
    local output, _, status = run("--stats -l leasepool -e " .. quote [[
      local manager = leasepool.manager({ backend = "process", max_pools = 1, logger = function() end }):start()
      print(select(2, pcall(manager.run, manager, os.exit, 3)).exit_code)
    ]])
    assert.are.same({ "3\n", 0 }, { output, status })
  end)
end)

---- Signals ------------------------------------------------------------------------------

-- Not for ThreadSanitizer: it holds signals back while Lua code computes.
describe("the program leasepool is stopped", function()
  local HEAD <const> = [[
    local leasepool = require "leasepool"
    local testing = require("leasepool.core").testing
    io.stdout:setvbuf "line"
    local function noted(name, also)
      return setmetatable({}, { __close = function()
        print("closes " .. name)
        if also then also() end
      end })
    end
    local function forever() while true do end end
    local manager
    local _ <close> = noted("all", function()
      if manager then print(("left: %d executors, %d jobs"):format(manager.total_count, manager:stats().running)) end
    end)
    local gate, begun = testing.gate(), 0
    testing.gate_open(gate)
    -- A job that runs, and does not end.
    local function begin(lease)
      begun = begun + 1
      local future = lease:submit(function(id)
        require("leasepool.core").testing.gate_pass(id)
        while true do end
      end, gate)
      repeat leasepool.sleep(0.001) until testing.gate_await(gate, begun, 0)
      return future
    end
    local function start(backend)
      manager = leasepool.manager({ backend = backend, max_pools = 1, workers_per_pool = 2 }):start()
      return manager
    end
    local function show_pids(lease)
      print("pid " .. lease:run(function()
        local file <close> = io.open "/proc/self/stat"
        return file:read "n"
      end))
    end
  ]]

  -- Runs a script, and sends it a signal whenever it prints "ready"; both signals are as they are at
  -- first, which for programs in the background SIGINT is not.
  local function interrupt(signal, text, options)
    local name <const> = write("script.lua", HEAD .. text)
    return child.shell(([[
      pipe=%s/pipe
      rm -f "$pipe"; mkfifo "$pipe"
      %s env --default-signal=INT,TERM %s %s %s >"$pipe" & program=$!
      exec 3<"$pipe"
      while read -r line <&3; do echo "$line"; [ "$line" != ready ] || kill -%s $program; done
      wait $program]]):format(quote(directory), UNSET, quote(program), options or "", quote(name), signal), 30)
  end

  local function expect_left_alone(output)
    for pid in output:gmatch "pid (%d+)" do assert.is_false(exists(pid), output) end
  end

  local CODES <const> = { INT = 130, TERM = 143 }

  -- What the script does when the signal comes, and what it prints after that, as a pattern.
  local STATES <const> = {
    ["while it waits"] = { [[print "ready" leasepool.sleep(1000)]], "closes all\n" },
    ["while it computes"] = { [[print "ready" forever()]], "closes all\n" },
    ["while it computes in a coroutine of its own"] = { [[
      for _ in coroutine.wrap(function() print "ready" forever() end) do forever() end
    ]], "closes all\n" },
    ["while a spawned coroutine computes"] = { [[
      leasepool.spawn(function()
        local _ <close> = noted "spawned"
        leasepool.sleep(0)
        print "ready"
        forever()
      end)
      leasepool.sleep(1000)
    ]], "closes spawned\ncloses all\n" },
    ["while it computes and spawned coroutines wait"] = { [[
      leasepool.spawn(function() local _ <close> = noted "first" leasepool.sleep(1000) end)
      leasepool.spawn(function() local _ <close> = noted "second" leasepool.sleep(1000) end)
      local _ <close> = noted("main", function() leasepool.sleep(0.001) end)
      print "ready"
      forever()
    ]], "closes main\ncloses all\ncloses second\ncloses first\n" },
    ["while it waits and spawned coroutines do"] = { [[
      leasepool.spawn(function() local _ <close> = noted "first" leasepool.sleep(1000) end)
      leasepool.spawn(function()
        local _ <close> = noted("second", function()
          leasepool.sleep(0.001)
          print "has waited"
        end)
        leasepool.sleep(1000)
      end)
      leasepool.spawn(function() leasepool.sleep(0.001) print "ready" end) -- when all the others wait
      leasepool.sleep(1000)
    ]], "closes second\ncloses first\ncloses all\nhas waited\n" },
    ["while the script has ended and a spawned coroutine waits"] = { [[
      leasepool.spawn(function()
        local _ <close> = noted "spawned"
        leasepool.sleep(0.001)
        print "ready"
        leasepool.sleep(1000)
      end)
    ]], "closes spawned\n" },
    ["while a callback computes"] = { [[
      local manager <close> = start "thread"
      local lease <close> = manager:acquire()
      lease:post(function() print "ready" forever() end, function() end)
      leasepool.sleep(1000)
    ]], "closes all\nleft: 0 executors, 0 jobs\n" },
  }
  for _, backend in ipairs { "thread", "interpreter", "process" } do
    STATES["while it waits for a job, on " .. backend] = { ([[
      local manager <close> = start %q
      local lease <close> = manager:acquire()
      show_pids(lease)
      local future = begin(lease)
      print "ready"
      future:await()
    ]]):format(backend), "closes all\nleft: 0 executors, 0 jobs\n" }
    STATES["while it computes and jobs run, on " .. backend] = { ([[
      local manager <close> = start %q
      local lease <close> = manager:acquire()
      show_pids(lease)
      begin(lease) begin(lease)
      local _ <close> = noted "main"
      print "ready"
      forever()
    ]]):format(backend), "closes main\ncloses all\nleft: 0 executors, 0 jobs\n" }
    STATES["while it stops its manager, on " .. backend] = { ([[
      do
        local manager <close> = start %q
        local lease <close> = manager:acquire()
        show_pids(lease)
        begin(lease)
        print "ready"
      end
      print "never"
    ]]):format(backend), "closes all\nleft: [01] executors, [01] jobs\n" }
    STATES["while a job runs and nothing is closed, on " .. backend] = { ([[
      manager = start %q
      lease = manager:acquire()
      show_pids(lease)
      begin(lease)
      print "ready"
      leasepool.sleep(1000)
    ]]):format(backend), "closes all\nleft: 1 executors, 1 jobs\n" }
  end

  for when, state in pairs(STATES) do
    for signal, code in pairs(CODES) do
      holds(("by SIG%s %s"):format(signal, when), function()
        local output, errors, status = interrupt(signal, state[1])
        assert.matches("ready\n" .. state[2] .. "$", output)
        assert.matches("leasepool: [^\n]*interrupted!\n", errors)
        assert.are.equal(code, status, errors)
        expect_left_alone(output)
      end)
    end
  end

  holds("and shows where it was", function()
    for _, what in ipairs { "leasepool.sleep(1000)", "forever()" } do
      local _, errors = interrupt("INT", "\nlocal function deep()\n  print 'ready'\n  " .. what .. "\nend\ndeep()")
      assert.matches("^leasepool: interrupted!\nstack traceback:\n.*script.lua:%d+: in local 'deep'\n"
        .. "\t[^\n]*script.lua:%d+: in main chunk\n\t%[C%]: in %?\n$", errors)
      assert.is_nil(errors:find("program.lua", 1, true))
    end
  end)

  holds("although it catches the error", function()
    local output, _, status = interrupt("INT", [[
      print(pcall(function() print "ready" forever() end))
      leasepool.sleep(1000)
    ]])
    assert.are.same({ "ready\nfalse\tinterrupted!\ncloses all\n", 130 }, { output, status })
  end)

  holds("with its statistics", function()
    local _, errors, status = interrupt("TERM", [[
      local manager <close> = start "thread"
      local lease <close> = manager:acquire()
      begin(lease)
      print "ready"
      leasepool.sleep(1000)
    ]], "--stats")
    assert.matches("jobs: 1 = 0 queued + 0 running + 0 done + 0 failed + 1 cancelled (1 interr", errors, 1, true)
    assert.are.equal(143, status)
  end)

  for signal, code in pairs(CODES) do
    holds(("at once by a second SIG%s, wherever it is"):format(signal), function()
      for first, second in pairs {
        ["leasepool.sleep(1000)"] = "leasepool.sleep(1000)", ["forever()"] = "forever()",
        ["while true do end"] = "testing.gate_pass(testing.gate())",
      } do
        local output, _, status = interrupt(signal, ([[
          local _ <close> = noted("last", function() print "ready" %s end)
          print "ready"
          %s
        ]]):format(second, first))
        assert.are.same({ "ready\ncloses last\nready\n", code }, { output, status })
      end
    end)
  end

  holds("at once, and its worker processes end all the same", function()
    local output, _, status = interrupt("INT", [[
      manager = start "process"
      local lease <close> = manager:acquire()
      show_pids(lease)
      begin(lease)
      local _ <close> = noted("last", function() print "ready" forever() end)
      print "ready"
      forever()
    ]])
    assert.are.equal(130, status)
    local pid <const> = output:match "pid (%d+)"
    local start <const> = os.time()
    while exists(pid) do assert(os.time() - start < 20, "a child is left") end
  end)

  holds("not by a signal that was ignored when it was started, also after the other one", function()
    for ignored, other in pairs { INT = "TERM", TERM = "INT" } do
      local output, _, status = run_script([[
        local function send(name) io.popen("kill -" .. name .. " $PPID"):close() end
        local ignored <const>, other <const> = ...
        local _ <close> = setmetatable({}, { __close = function()
          send(ignored)
          print "closes"
        end })
        send(ignored)
        print "goes on"
        send(other)
        while true do end
      ]], ignored .. " " .. other, ("env --default-signal=%s --ignore-signal=%s "):format(other, ignored))
      assert.are.same({ "goes on\ncloses\n", CODES[other] }, { output, status })
    end
  end)

  holds("not while it closes its state: that is on its way already", function()
    for _, how in ipairs { "os.exit(5, true)", "error 'x'" } do
      local output, _, status = run_script([[
        setmetatable({}, { __gc = function()
          io.popen "kill -INT $PPID":close()
          print "collected"
        end })
      ]] .. how, "", "env --default-signal=INT ")
      assert.are.same({ "collected\n", how:find "error" and 1 or 5 }, { output, status })
    end
  end)
end)
