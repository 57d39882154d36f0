-- The rockspec lists its files by name; files come and go.

local function sorted_files(command)
  local pipe = assert(io.popen(command .. " | LC_ALL=C sort"))
  local files = {}
  for line in pipe:lines() do files[#files + 1] = line end
  assert(pipe:close())
  return files
end

local function module_name(path)
  return (path:gsub("^lua/", ""):gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", "."))
end

-- The lines to take out of the rockspec and to put in.
local function difference(listed, there)
  local counts, result = {}, { superfluous = {}, missing = {} }
  for _, name in ipairs(listed) do counts[name] = (counts[name] or 0) + 1 end
  for _, name in ipairs(there) do counts[name] = (counts[name] or 0) - 1 end
  for name, n in pairs(counts) do
    if n > 0 then table.insert(result.superfluous, name) end
    if n < 0 then table.insert(result.missing, name) end
  end
  return result
end

describe("the rockspec #house", function()
  local nothing = { superfluous = {}, missing = {} }
  local rockspec = {}
  assert(loadfile("rockspec/leasepool-scm-1.rockspec", "t", rockspec))()
  local modules = rockspec.build.modules

  it("lists every C file of the module, in order", function()
    local sources = modules["leasepool.core"].sources
    local there = sorted_files(
      "find src/base src/wire src/core src/backend src/lua -name '*.c'")
    assert.same(nothing, difference(sources, there))
    assert.same(there, sources)
  end)

  it("lists every Lua file under its name", function()
    local listed, there = {}, {}
    for name, file in pairs(modules) do
      if type(file) == "string" then listed[#listed + 1] = name .. " = " .. file end
    end
    for i, file in ipairs(sorted_files "find lua -name '*.lua'") do
      there[i] = module_name(file) .. " = " .. file
    end
    assert.same(nothing, difference(listed, there))
  end)
end)
