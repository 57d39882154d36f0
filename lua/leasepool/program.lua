--- The program `leasepool`: reads its arguments, runs a script as the main coroutine of a runtime.
-- The other half is src/program/program.c.

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

-- An error as people read it, as the program `lua` shows it.
local function show(err)
  local meta <const> = debug.getmetatable(err)
  if type(err) == "string" or (meta and meta.__tostring) then return tostring(err) end
  return ("(error object is a %s value)"):format(type(err))
end

---- Arguments -----------------------------------------------------------------------

local function version()
  print(("leasepool %s, %s"):format(leasepool.version, _VERSION))
end

-- What -l does.
local function load_module(name)
  local global, module = name:match "^([^=]+)=(.+)$"
  _ENV[global or name:gsub("%-.*", "")] = require(module or name)
end

-- Each takes what follows it when it has `argument`.
local options <const> = {
  ["-e"] = { argument = "a chunk", run = function(chunk) return assert(load(chunk, "=(command line)")) end },
  ["-l"] = { argument = "a module", run = function(name) return function() load_module(name) end end },
  ["-W"] = { run = function() return function() warn "@on" end end },
  ["-v"] = { run = function() return version end },
  ["-E"] = {}, -- the other half has seen it
}

-- Returns what there is to do: a list of functions to run, the place of the script among the
-- arguments, and whether there are to be statistics; or nothing, when the arguments are wrong.
local function parse(arguments)
  local todo = { steps = {}, place = 1, stats = false }
  while true do
    local given <const> = arguments[todo.place]
    if not given or given == "-" or given:sub(1, 1) ~= "-" then return todo end
    todo.place = todo.place + 1
    local name, rest = given:sub(1, 2), given:sub(3)
    local option <const> = options[name]
    if given == "--" then
      return todo
    elseif given == "--stats" then
      todo.stats = true
    elseif given == "-h" or given == "--help" then
      todo.help = true
      return todo
    elseif not option or (rest ~= "" and not option.argument) then
      tell(("unknown option %q"):format(given))
      return nil
    elseif option.argument then
      local value = rest
      if value == "" then
        value = arguments[todo.place]
        todo.place = todo.place + 1
      end
      if not value then
        tell(("%s: got nothing, allowed: %s"):format(name, option.argument))
        return nil
      end
      todo.steps[#todo.steps + 1] = { option.run, value }
    elseif option.run then
      todo.steps[#todo.steps + 1] = { option.run }
    end
  end
end

---- Running ---------------------------------------------------------------------------

-- As the program `lua` does, unless -E is given: LUA_NOENV is in the registry then.
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
    assert(loadfile(init:sub(2)))()
  else
    assert(load(init, "=" .. name))()
  end
end

-- The main coroutine.
local function main(todo, arguments, reads_input)
  run_init()
  for _, step in ipairs(todo.steps) do step[1](step[2])() end
  local script = arguments[todo.place]
  if not script and not reads_input then return end
  if not script or script == "-" then script = nil end
  local chunk, err = loadfile(script)
  if not chunk then error(err, 0) end
  chunk(table.unpack(arguments, todo.place + 1))
end

-- `arg`, with the script at 0.
local function set_arg(arguments, place)
  if not arguments[place] then place = 0 end
  _ENV.arg = {}
  for i, text in pairs(arguments) do _ENV.arg[i - place] = text end
end

-- Has a list of all managers from now on, in the order in which they are made.
local function record_managers()
  local make <const>, made <const> = leasepool.manager, {}
  leasepool.manager = function(given)
    local manager <const> = make(given)
    made[#made + 1] = manager
    return manager
  end
  return made
end

--- Runs the program.
-- @tparam table arguments as C has them, the program's name at 0
-- @tparam boolean at_terminal whether standard input is one
-- @treturn integer the exit code
return function(arguments, at_terminal)
  core.mine()
  local todo <const> = parse(arguments)
  if not todo then
    io.stderr:write(USAGE, "\n")
    return 1
  end
  if todo.help then
    print(USAGE)
    return 0
  end
  local reads_input <const> = #todo.steps == 0 and not arguments[todo.place]
  if reads_input and at_terminal then
    io.stderr:write(USAGE, "\n")
    return 1
  end
  set_arg(arguments, todo.place)
  local managers <const> = todo.stats and record_managers() or {}
  local ok <const>, err = pcall(leasepool.run, main, todo, arguments, reads_input)
  if not ok then tell(show(err)) end
  for _, manager in ipairs(managers) do io.stderr:write(leasepool.format_stats(manager:stats()), "\n") end
  return ok and 0 or 1
end
