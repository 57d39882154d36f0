--- Compiles C code for native jobs.
--
--   local natives, reason = require "spec.support.natives"()
--   if natives then natives.add(1, 2) end     -- from spec/support/natives.c
--   natives.path                              -- of the library
local child = require "spec.support.child"
local leasepool = require "leasepool"

local natives = {}

local compiler <const> = os.getenv "CC" or "cc"

--- Compiles a C file as a library; its path, or nil and the reason. Remove it when it is done with.
function natives.compile(source, flags)
  local path <const> = os.tmpname()
  local command <const> = ("%s %s -Wall -Wextra -Wpedantic -Werror -shared -fPIC -I src -o %s %s"):format(compiler,
    flags or "-std=gnu11", child.quote(path), child.quote(source))
  local _, errors, status = child.shell(command)
  if status == 0 then return path end
  os.remove(path)
  return nil, errors
end

--- The same of code; `language` is "c" or "c++".
function natives.compile_text(code, language, flags)
  local source <const> = os.tmpname()
  local file = assert(io.open(source, "wb"))
  file:write(code)
  file:close()
  local path, reason = natives.compile(source, ("%s -x %s"):format(flags or "", language or "c"))
  os.remove(source)
  return path, reason
end

--- Is there a compiler? Then nil, else why not.
function natives.missing()
  local _, _, status = child.shell(compiler .. " --version")
  return status ~= 0 and ("there is no C compiler '%s'"):format(compiler) or nil
end

--- A table whose fields are the functions of natives.c, loaded when they are first looked at.
setmetatable(natives, {
  __call = function()
    local missing <const> = natives.missing()
    if missing then return nil, missing end
    local path <const> = assert(natives.compile "spec/support/natives.c")
    return setmetatable({ path = path }, {
      __index = function(self, name)
        local fn = leasepool.load_native(self.path, name)
        rawset(self, name, fn)
        return fn
      end,
    })
  end,
})

return natives
