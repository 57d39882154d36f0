--- The program `leasepool`: reads its arguments, runs a script as the main coroutine of a runtime.
-- The other half is src/program/program.c.
--
-- What the program `lua` does too is done as there: LUA_INIT, `arg`, the order of things, errors.

local core = require "leasepool.core"
local leasepool = require "leasepool"

local USAGE <const> = [=[
usage: leasepool [options] [script [args]]
Runs a Lua script as the main coroutine of a leasepool runtime.
  -e chunk   run the chunk
  -l module  require the module, into a global of its name; -l global=module
  -E         look at no environment variables
  -W         turn warnings on
  -v         show the versions
  -h         show this
  --stats    at the end, print the statistics of all managers to standard error
  --         no more options
  -          run standard input]=]

local function tell(text)
  io.stderr:write("leasepool: ", text, "\n")
end

---- Errors ------------------------------------------------------------------------

-- The last error that came out of the script: `err`, its `text` and the `traceback` for it, or "".
local failure
local failing -- the other half wants to know of it

local function fail(text)
  failure = { err = text, text = text, traceback = "" }
  error(text, 0)
end

-- The text of an error, and whether a traceback belongs to it.
local function describe(err)
  if type(err) == "string" or type(err) == "number" then return tostring(err), true end
  local meta <const> = debug.getmetatable(err)
  if meta and meta.__tostring then
    local ok <const>, text = pcall(meta.__tostring, err)
    if type(text) == "string" then return text, not ok or (leasepool.is_error(err) and not err.traceback) end
  end
  return ("(error object is a %s value)"):format(type(err)), true
end

local function count_lines(text)
  return select(2, text:gsub("\n", ""))
end

-- Calls what belongs to the script; the traceback of an error is that of the program `lua`, without
-- lines of this file.
local function call(fn, ...)
  local ours <const> = count_lines(debug.traceback()) + 1 -- xpcall
  local results <const> = table.pack(xpcall(fn, function(err)
    local text, traced = describe(err)
    local traceback = ""
    if traced then
      traceback = debug.traceback("", 2)
      for _ = 1, ours do traceback = traceback:gsub("\n[^\n]*$", "") end
      traceback = traceback .. "\n\t[C]: in ?"
    end
    failure = { err = err, text = text, traceback = traceback }
    failing()
    return err
  end, ...))
  if results[1] then return table.unpack(results, 2, results.n) end
  error(results[2], 0)
end

-- What people read of the error that ended the run: the script's own with its traceback, or an
-- interrupted wait, with the place where that cancelled the main coroutine.
local function show(err)
  local text <const> = describe(err)
  if not failure then return text end
  local same = rawequal(err, failure.err)
    or (type(err) == "string" and type(failure.err) == "string" and err:sub(1, #failure.err) == failure.err)
  if same then return failure.text .. failure.traceback end
  return leasepool.is_error(failure.err, "CancelledError") and text .. failure.traceback or text
end

-- Calls what a function that loads has returned.
local function call_loaded(chunk, err, ...)
  if not chunk then fail(err) end
  call(chunk, ...)
end

---- Arguments -----------------------------------------------------------------------

-- What -l does.
local function load_module(name)
  local global, module = name:match "^([^=]+)=(.+)$"
  _ENV[global or name:gsub("%-.*", "")] = call(require, module or name)
end

local function run_text(text)
  call_loaded(load(text, "=(command line)"))
end

-- Each takes what follows it when it has `argument`; `run` is for the main coroutine.
local options <const> = {
  ["-e"] = { argument = "a chunk", run = run_text, alone = true },
  ["-l"] = { argument = "a module", run = load_module },
  ["-W"] = { run = function() warn "@on" end },
  ["-v"] = { set = "version", alone = true },
  ["-h"] = { set = "help" },
  ["--help"] = { set = "help" },
  ["--stats"] = { set = "stats" },
  ["-E"] = {}, -- the other half has seen it
}

-- Returns what there is to do: a list of steps, the place of the script among the arguments, and
-- what was set; or nothing, when the arguments are wrong. Without a script, standard input is run
-- unless an option stands `alone`.
local function parse(arguments)
  local todo <const> = { steps = {}, place = 1 }
  while true do
    local given <const> = arguments[todo.place]
    if not given or given == "-" or given:sub(1, 1) ~= "-" then return todo end
    todo.place = todo.place + 1
    if given == "--" then return todo end
    local option, value = options[given], nil
    if not option then
      option, value = options[given:sub(1, 2)], given:sub(3)
      if not option or not option.argument then
        tell(("unknown option %q"):format(given))
        return nil
      end
    elseif option.argument then
      value = arguments[todo.place]
      todo.place = todo.place + 1
      if not value or value:sub(1, 1) == "-" then
        tell(("%s: got %s, allowed: %s"):format(given, value or "nothing", option.argument))
        return nil
      end
    end
    if option.run then todo.steps[#todo.steps + 1] = { option.run, value } end
    if option.set then todo[option.set] = true end
    todo.alone = todo.alone or option.alone
  end
end

---- Running ---------------------------------------------------------------------------

-- Unless -E is given: LUA_NOENV is in the registry then.
local function run_init()
  if debug.getregistry().LUA_NOENV then return end
  local name = "LUA_INIT" .. _VERSION:gsub("^Lua (%d+)%.(%d+)$", "_%1_%2")
  local init = os.getenv(name)
  if not init then
    name = "LUA_INIT"
    init = os.getenv(name)
  end
  if not init then return end
  if init:sub(1, 1) == "@" then
    call_loaded(loadfile(init:sub(2)))
  else
    call_loaded(load(init, "=" .. name))
  end
end

-- The main coroutine.
local function main(todo, arguments)
  run_init()
  for _, step in ipairs(todo.steps) do step[1](step[2]) end
  local script = arguments[todo.place]
  if not script then
    if not todo.alone then call_loaded(loadfile()) end
    return
  end
  if script == "-" and arguments[todo.place - 1] ~= "--" then script = nil end
  local given <const> = _ENV.arg -- a chunk may have changed it
  if type(given) ~= "table" then fail "'arg' is not a table" end
  local chunk, err = loadfile(script)
  call_loaded(chunk, err, table.unpack(given))
end

-- `arg`, with the script at 0.
local function set_arg(arguments, place)
  if not arguments[place] then place = 0 end
  _ENV.arg = {}
  for i, text in pairs(arguments) do _ENV.arg[i - place] = text end
end

-- Returns a function that shows the statistics of all managers that are made from now on, which is
-- called before os.exit too.
local function record_managers()
  local make <const>, exit <const>, made <const> = leasepool.manager, os.exit, {}
  local function report()
    for _, manager in ipairs(made) do
      io.stderr:write(leasepool.format_stats(manager:stats()), "\n")
    end
  end
  function leasepool.manager(given)
    local manager <const> = make(given)
    made[#made + 1] = manager
    return manager
  end
  function os.exit(...) -- luacheck: ignore
    report()
    exit(...)
  end
  return report
end

--- Runs the program.
-- @tparam table arguments as C has them, the program's name at 0
-- @tparam boolean at_terminal whether standard input is one
-- @tparam function on_failing called when the main coroutine fails, before it is unwound
-- @treturn integer the exit code
return function(arguments, at_terminal, on_failing)
  core.mine()
  failing = on_failing
  collectgarbage "generational"
  local todo <const> = parse(arguments)
  if not todo then
    io.stderr:write(USAGE, "\n")
    return 1
  end
  if todo.help then
    print(USAGE)
    return 0
  end
  if todo.version then print(("leasepool %s, %s"):format(leasepool.version, _VERSION)) end
  if at_terminal and not todo.alone and not arguments[todo.place] then
    io.stderr:write(USAGE, "\n")
    return 1
  end
  set_arg(arguments, todo.place)
  local report <const> = todo.stats and record_managers()
  local ok <const>, err = pcall(leasepool.run, main, todo, arguments)
  if not ok then tell(show(err)) end
  if report then report() end
  return ok and 0 or 1
end
