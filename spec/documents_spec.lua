--- Code in the documents runs. A ```lua block is a program of its own; a ```text block right
-- after it is what it prints. A ```c block that begins with its name, `/* NAME.c`, is a library for
-- native jobs, which the programs after it load as "./NAME.so".
local child = require "spec.support.child"
local compiled = require "spec.support.natives"

local function blocks_of(name)
  local file <close> = assert(io.open(name))
  local blocks, libraries, current, previous = {}, {}, nil, nil
  for line in file:lines() do
    local language = line:match "^```(%w*)$"
    if current then
      if line == "```" then
        if current.language == "lua" then
          current.libraries = libraries
          blocks[#blocks + 1] = current
        elseif current.language == "c" then
          local title <const> = assert(current.lines[1]:match "^/%* (%w+)%.c")
          libraries["./" .. title .. ".so"] = table.concat(current.lines, "\n") .. "\n"
        elseif current.language == "text" and previous then
          previous.output = table.concat(current.lines, "\n") .. "\n"
        end
        previous, current = current.language == "lua" and current or nil, nil
      else
        table.insert(current.lines, line)
      end
    elseif language and language ~= "" then
      current = { language = language, lines = {} }
    elseif line ~= "" then
      previous = nil
    end
  end
  return blocks
end

local function documents()
  local list <close> = assert(io.popen "ls README.md CONTRIBUTING.md docs/*.md 2>/dev/null")
  local names = {}
  for name in list:lines() do names[#names + 1] = name end
  return names
end

-- The program as it can be run: what it loads lies elsewhere.
local function program_of(block)
  local text, paths = table.concat(block.lines, "\n"), {}
  for name, code in pairs(block.libraries) do
    if text:find(name, 1, true) then
      local missing <const> = compiled.missing()
      if missing then return nil, missing end
      paths[#paths + 1] = assert(compiled.compile_text(code))
      text = text:gsub(name:gsub("%p", "%%%0"), paths[#paths])
    end
  end
  return text, paths
end

for _, name in ipairs(documents()) do
  for number, block in ipairs(blocks_of(name)) do
    it(("program %d of %s runs as it says"):format(number, name), function()
      local program, libraries = program_of(block)
      if not program then pending(libraries) end
      local output, errors, status = child.run(program)
      for _, path in ipairs(libraries) do os.remove(path) end
      assert.are.same({ "", 0 }, { errors, status })
      if block.output then assert.are.equal(block.output, output) end
    end)
  end
end

describe("docs/configuration.md", function()
  it("is what the tables of options say: `make docs` writes it", function()
    local file <close> = assert(io.open "docs/configuration.md")
    assert.are.equal(dofile "docs/generate.lua" (), file:read "a")
  end)
end)

describe("the README", function()
  it("has programs and what they print", function()
    local with_output = 0
    for _, block in ipairs(blocks_of "README.md") do
      if block.output then with_output = with_output + 1 end
    end
    assert.are.equal(3, with_output)
  end)

  it("shows the quickstart as it is in the examples", function()
    local file <close> = assert(io.open "examples/00_quickstart.lua")
    local program = file:read("a"):gsub("^%-%-[^\n]*\n\n", "")
    assert.are.equal(program, table.concat(blocks_of("README.md")[1].lines, "\n") .. "\n")
  end)
end)

describe("docs/leasepool.1", function()
  it("is a man page without faults, as mandoc or man sees it", function()
    local output, errors, status = child.shell [[
      if command -v mandoc >/dev/null; then mandoc -Tlint -W warning docs/leasepool.1
      elif man --version 2>/dev/null | grep -q '^man '; then
        man --warnings -E UTF-8 -l -Tutf8 -Z docs/leasepool.1 >/dev/null
      else exit 77; fi]]
    if status == 77 then return pending "neither mandoc nor man-db is installed" end
    assert.are.same({ "", "", 0 }, { output, errors, status })
  end)

  it("has the options that the program shows", function()
    local page <close> = assert(io.open "docs/leasepool.1")
    local program <close> = assert(io.open "lua/leasepool/program.lua")
    local text, usage = page:read "a", program:read("a"):match "%[=%[(.-)%]=%]"
    local count = 0
    for option in usage:gmatch "\n  %-(%S*)" do
      assert.matches("\n.It Fl" .. (option == "" and "" or " " .. option), text, 1, true)
      count = count + 1
    end
    assert.are.equal(9, count)
  end)
end)
