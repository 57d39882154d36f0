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

describe("the rockspec #house", function()
  local rockspec = {}
  assert(loadfile("rockspec/leasepool-scm-1.rockspec", "t", rockspec))()
  local modules = rockspec.build.modules

  it("lists every C file of the module, in order", function()
    local files = sorted_files(
      "find src/base src/wire src/core src/backend src/lua -name '*.c'")
    assert.equal(table.concat(files, "\n"),
      table.concat(modules["leasepool.core"].sources, "\n"))
  end)

  it("lists every Lua file under its name", function()
    local listed, there = {}, {}
    for name, file in pairs(modules) do
      if type(file) == "string" then listed[#listed + 1] = name .. " = " .. file end
    end
    for i, file in ipairs(sorted_files "find lua -name '*.lua'") do
      there[i] = module_name(file) .. " = " .. file
    end
    table.sort(listed)
    table.sort(there)
    assert.equal(table.concat(there, "\n"), table.concat(listed, "\n"))
  end)
end)
