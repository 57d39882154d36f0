-- The house keeps its order: includes point down only, Lua stays above src/lua, and the
-- libraries show what is public and nothing else.

local layers = { "base", "wire", "core", "backend", "lua", "program" }
local rank = {}
for i, layer in ipairs(layers) do rank[layer] = i end

local public_headers = { ["leasepool.h"] = 0, ["leasepool_native.h"] = 0, ["leasepool_lua.h"] = rank.lua }
local lua_headers = {
  ["lua.h"] = true, ["lauxlib.h"] = true, ["lualib.h"] = true, ["luaconf.h"] = true,
  ["lua.hpp"] = true,
}

-- What is wrong with the includes of one file, as a list of sentences.
local function check_includes(path, text)
  local wrong = {}
  local function complain(number, ...)
    wrong[#wrong + 1] = ("%s:%d: %s"):format(path, number, string.format(...))
  end
  local layer = path:match "^src/([^/]+)/"
  local own = rank[layer] or public_headers[path:match "^src/([^/]+)$"]
  if not own then return { path .. ": is in no layer" } end

  local number = 0
  for line in (text .. "\n"):gmatch "(.-)\n" do
    number = number + 1
    local name = line:match '^%s*#%s*include%s*["<]([^">]+)[">]'
    if name and lua_headers[name] then
      if own < rank.lua then complain(number, "includes %s below src/lua", name) end
    elseif line:match '^%s*#%s*include%s*"' then
      local other = rank[name:match "^([^/]+)/[^/]+$"] or public_headers[name]
      if not other then
        complain(number, 'includes "%s", which is no path from src', name)
      elseif other > own then
        complain(number, "includes %s, which is above it", name)
      end
    end
  end
  return wrong
end

local function lines_of(command)
  local pipe = assert(io.popen(command))
  local lines = {}
  for line in pipe:lines() do lines[#lines + 1] = line end
  assert(pipe:close(), command)
  return lines
end

local function read(path)
  local file <close> = assert(io.open(path))
  return file:read "a"
end

describe("the order of the layers #house", function()
  it("holds in every file of src", function()
    local paths = lines_of "find src -name '*.[ch]' | LC_ALL=C sort"
    assert.is_true(#paths > 0)
    local wrong = {}
    for _, path in ipairs(paths) do
      for _, sentence in ipairs(check_includes(path, read(path))) do
        wrong[#wrong + 1] = sentence
      end
    end
    assert.equal("", table.concat(wrong, "\n"))
  end)

  it("is broken by an arrow that points up", function()
    assert.same({ "src/core/x.c:2: includes backend/thread.h, which is above it" },
      check_includes("src/core/x.c", '#include "core/x.h"\n# include "backend/thread.h"\n'))
    assert.same({ "src/base/x.h:1: includes wire/message.h, which is above it" },
      check_includes("src/base/x.h", '#include "wire/message.h"'))
    assert.same({ "src/leasepool.h:1: includes base/list.h, which is above it" },
      check_includes("src/leasepool.h", '#include "base/list.h"'))
  end)

  it("is broken by Lua below src/lua", function()
    assert.same({ "src/backend/x.c:1: includes lua.h below src/lua" },
      check_includes("src/backend/x.c", "#include <lua.h>"))
    assert.same({ "src/core/x.c:1: includes leasepool_lua.h, which is above it" },
      check_includes("src/core/x.c", '#include "leasepool_lua.h"'))
  end)

  it("is broken by a name that says no layer", function()
    assert.same({ 'src/core/x.c:1: includes "x.h", which is no path from src' },
      check_includes("src/core/x.c", '#include "x.h"'))
    assert.same({ "src/x/x.c: is in no layer" }, check_includes("src/x/x.c", ""))
  end)

  it("is kept by an arrow that points down", function()
    assert.same({}, check_includes("src/backend/x.c",
      '#include "core/x.h"\n#include "wire/x.h"\n#include "leasepool.h"\n#include <uv.h>\n'))
    assert.same({}, check_includes("src/lua/x.c",
      '#include <lua.h>\n#include "backend/x.h"\n#include "leasepool_lua.h"\n'))
  end)
end)

describe("the symbols of the libraries #house", function()
  local build = os.getenv "LEASEPOOL_BUILD" or "build"

  local function symbols(options, file)
    local names = {}
    for _, line in ipairs(lines_of(("nm %s '%s/%s'"):format(options, build, file))) do
      names[#names + 1] = line:match " (%S+)$" -- a blank line or a member's name has no space
    end
    return names
  end

  local function only(names, wanted)
    local found = {}
    for _, name in ipairs(names) do
      if wanted(name) then found[#found + 1] = name end
    end
    return table.concat(found, "\n")
  end

  local function is_lua(name)
    return name:find "^lua_" or name:find "^luaL_" or name:find "^luaopen_"
  end

  it("of libleasepool do not mention Lua", function()
    for _, file in ipairs { "libleasepool.a", "libleasepool.so" } do
      local names = symbols(file:find "%.so$" and "-D" or "", file)
      assert.is_true(#names > 0)
      assert.equal("", only(names, is_lua))
    end
  end)

  it("of libleasepool.so are those that leasepool.h declares", function()
    local declared = {}
    local header = read "src/leasepool.h":gsub("\n%s*#[^\n]*", "\n")
    for name in header:gmatch "LP_EXTERN[^;(]-([%w_]+)%(" do
      declared[#declared + 1] = name
    end
    assert.is_true(#declared > 0)
    assert.equal("", only(declared, function(name) return not name:find "^lp_[^_]" end))
    local exported = symbols("-D --defined-only", "libleasepool.so")
    table.sort(declared)
    table.sort(exported)
    assert.equal(table.concat(declared, "\n"), table.concat(exported, "\n"))
  end)

  it("of the Lua module are its entry alone", function()
    assert.same({ "luaopen_leasepool_core" },
      symbols("-D --defined-only", "lua/leasepool/core.so"))
  end)

  it("of the Lua module come from no liblua that it brings", function()
    for _, line in ipairs(lines_of(("readelf -d '%s/lua/leasepool/core.so'"):format(build))) do
      assert.is_nil(line:match "NEEDED.*liblua")
    end
  end)
end)
