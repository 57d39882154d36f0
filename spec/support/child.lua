--- Runs Lua programs in processes of their own, with the interpreter and paths of this run.
local child = {}

local lua <const> = os.getenv "LEASEPOOL_LUA" or "lua5.4"

local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

local function read(name)
  local file <close> = assert(io.open(name, "rb"))
  return file:read "a"
end

--- Runs a shell command; returns its output, its error output and its exit status (128 + the
-- signal when one ended it). It is killed after `seconds` (60).
function child.shell(command, seconds)
  local out, err = os.tmpname(), os.tmpname()
  local _, how, code = os.execute(("timeout -k 5 %d sh -c %s >%s 2>%s </dev/null"):format(
    seconds or 60, quote(command), out, err))
  if how == "signal" then code = 128 + code end
  local output, errors = read(out), read(err)
  os.remove(out)
  os.remove(err)
  return output, errors, code
end

--- Runs Lua code, with arguments for its `...`.
function child.run(code, ...)
  local name = os.tmpname()
  local file = assert(io.open(name, "wb"))
  file:write(code)
  file:close()
  local command = lua .. " " .. quote(name)
  for _, argument in ipairs { ... } do command = command .. " " .. quote(tostring(argument)) end
  local output, errors, status = child.shell(command)
  os.remove(name)
  return output, errors, status
end

--- Runs a Lua file of the project with a command line of arguments, written for the shell.
function child.file(name, arguments)
  return child.shell(lua .. " " .. name .. " " .. (arguments or ""))
end

child.quote = quote
child.lua = lua
child.root = child.shell("pwd"):gsub("\n$", "") -- of the project: specs run there
return child
