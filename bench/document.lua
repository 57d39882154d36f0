--- docs/performance.md: what stands between a pair of markers there is written by the benchmarks.
--
--   lua5.4 bench/document.lua FILE.json     the table, from what `make bench JSON=FILE.json` wrote
local PATH <const> = "docs/performance.md"

local document = {}

local function find(text, what)
  local first, last = text:find(("<!-- %s: "):format(what), 1, true)
  assert(first, PATH .. " has no marker for " .. what)
  local _, open = text:find("-->\n", last, true)
  local close = text:find(("<!-- end of %s -->"):format(what), open, true)
  return open, assert(close)
end

--- Puts `body` between the markers `<!-- WHAT: ... -->` and `<!-- end of WHAT -->`.
function document.replace(what, body)
  local file <close> = assert(io.open(PATH))
  local text = file:read "a"
  local open, close = find(text, what)
  local out <close> = assert(io.open(PATH, "w"))
  out:write(text:sub(1, open), "\n", body, "\n", text:sub(close))
end

local SUFFIXES <const> = { { 1e6, " M" }, { 1e4, " k", 1e3 } }

--- A number in three digits, for people.
function document.show(value)
  for _, suffix in ipairs(SUFFIXES) do
    if value >= suffix[1] then return ("%.3g%s"):format(value / (suffix[3] or suffix[1]), suffix[2]) end
  end
  return value >= 1000 and ("%.0f"):format(value) or ("%.3g"):format(value)
end

local function range(summary)
  local show = document.show
  return ("%s (%s .. %s)"):format(show(summary.median), show(summary.min), show(summary.max))
end

local function beside(row, side)
  local other <const> = row.beside[side]
  if not other then return "|" end
  return ("%s | %.3g (%.3g .. %.3g)"):format(document.show(other.value.median), other.ratio.median, other.ratio.min,
    other.ratio.max)
end

local function table_of(results)
  local m <const> = results.machine
  local lines = {
    ("%s: %d CPUs (%s), %s, %s, %s, libuv %s, leasepool %s; medians of %d rounds, load before: %s."):format(m.date,
      m.cpus, m.cpu, m.memory, m.system, m.lua, m.libuv, m.leasepool, results.pairs, m.load_before), "",
    "| row | unit | leasepool | luv | x luv | floor | x floor | to reach |", "|---|---|---|---|---|---|---|---|",
  }
  for _, row in ipairs(results.rows) do
    lines[#lines + 1] = ("| `%s` | %s | %s | %s | %s | %s |"):format(row.id, row.unit, range(row.leasepool),
      beside(row, "luv"), beside(row, "floor"), row.goal or "")
  end
  return table.concat(lines, "\n") .. "\n"
end

if arg and arg[0] and arg[0]:match "bench/document%.lua$" then
  local file <close> = assert(io.open(arg[1]))
  document.replace("table", table_of(require("cjson").decode(file:read "a")))
end

return document
