--- Writes docs/configuration.md from the tables of options in src/core/options.c.
-- Run by `make docs`; a spec compares the committed file with what this returns.
local core = require "leasepool.core"

local HEAD <const> = [[
# Configuration

The options of `leasepool.manager{...}` and of `leasepool.grinder{...}`. This page is written from
the tables in `src/core/options.c`, which also check them and word the refusals (`make docs`).

Integers are Lua integers: `1.0`, `"4"` and `true` are refused. Durations are finite numbers of
seconds. An option that is unknown is refused with the nearest name that is known; every refusal is
a ConfigError and says what was given and what is allowed.
]]

local SECTION <const> = [[

## %s

| option | default | allowed |
|---|---|---|
]]

local function escape(text) return (text:gsub("|", "\\|")) end

local function section(title, kind)
  local rows, details = {}, {}
  for _, row in ipairs(core.option_rows(kind)) do
    local plain = row.default == "required" or row.default == "none" or row.default:find " "
    local default = plain and row.default or "`" .. row.default .. "`"
    rows[#rows + 1] = ("| [`%s`](#%s) | %s | %s |\n"):format(row.name, row.name, default, escape(row.allowed))
    local unit = row.unit ~= "" and row.unit ~= "bytes" and " Unit: " .. row.unit .. "." or ""
    details[#details + 1] = ("\n### %s\n\n%s%s\n"):format(row.name, row.doc, unit)
  end
  return SECTION:format(title) .. table.concat(rows) .. table.concat(details)
end

local function document()
  return HEAD .. section("Managers", "manager") .. section("Grinders", "grinder")
end

if arg and arg[0] and arg[0]:match "docs/generate%.lua$" then
  local file <close> = assert(io.open("docs/configuration.md", "w"))
  file:write(document())
end

return document
