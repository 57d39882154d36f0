--- How the cost of an operation grows: runs bench/growth.c for 10 to 100,000 executors, leases,
-- waiters and queued jobs; draws docs/growth.svg and writes the table in docs/performance.md.
--
--   lua5.4 bench/growth.lua BUILD     (make growth)
--
-- Where valgrind is installed it counts instructions too, which no other process disturbs; an
-- operation that takes more than twice as many at 100,000 as at 10 is a failure.
local document = require "bench.document"

local PROGRAM <const> = arg[1] .. "/bench/growth"
local SERIES <const> = { "leases", "in_order", "expiry", "waiters", "jobs", "timed", "executors" }
local COLOURS <const> = {
  leases = "#2f81d7", expiry = "#d9483b", in_order = "#d9483b", waiters = "#2e9e5b",
  jobs = "#c77d0a", timed = "#8a63d2", executors = "#12939a",
}
local LIMIT <const> = 2

local function run(command)
  local pipe <close> = assert(io.popen(command))
  local output = pipe:read "a"
  assert(pipe:close(), command)
  return output
end

---- Measuring -------------------------------------------------------------------------

-- The lines of one run, in the order of the operations.
local function measure(series, n, rounds, prefix)
  local results = {}
  for line in run(("%s%s %s %d %d"):format(prefix or "", PROGRAM, series, n, rounds)):gmatch "[^\n]+" do
    results[#results + 1] = {
      of = line:match '"of":"(.-)"', operation = line:match '"operation":"(.-)"', fn = line:match '"function":"(.-)"',
      count = tonumber(line:match '"count":(%d+)'), ns = tonumber(line:match '"ns":([%d.]+)'),
    }
  end
  assert(#results > 0)
  return results
end

-- Instructions of one operation each, callees included.
local function count(series, n)
  local file <const> = os.tmpname()
  local results = measure(series, n, 4, ("valgrind --tool=callgrind --log-file=/dev/null --callgrind-out-file=%s ")
    :format(file))
  local listing = run(("callgrind_annotate --inclusive=yes --auto=no --threshold=100 --show-percs=no %s"):format(file))
  os.remove(file)
  for _, result in ipairs(results) do
    local most = 0
    for instructions in listing:gmatch("\n *([%d,]+)[^\n]-:" .. result.fn .. " ") do
      most = math.max(most, tonumber((instructions:gsub(",", ""))))
    end
    assert(most > 0, result.fn)
    result.instructions = most / result.count
  end
  return results
end

local function measure_all()
  local lines = {}
  local has_valgrind = os.execute "command -v valgrind >/dev/null"
  for _, series in ipairs(SERIES) do
    local first = #lines
    local function add(n, what, results)
      for i, result in ipairs(results) do
        local line = lines[first + i]
        if not line then
          line = { series = series, of = result.of, operation = result.operation, ns = {}, instructions = {} }
          lines[first + i] = line
        end
        table.insert(line[what], { n = n, value = result[what] })
      end
    end
    for power = 1, 5 do
      local n <const> = math.tointeger(10 ^ power)
      add(n, "ns", measure(series, n, 40))
      if power < 5 then add(3 * n, "ns", measure(series, 3 * n, 40)) end
      if has_valgrind then add(n, "instructions", count(series, n)) end
    end
  end
  return lines, has_valgrind
end

---- The chart -------------------------------------------------------------------------

-- Two panels, both axes logarithmic. Lines are told apart by colour, and by their names at the
-- right; all of it is legible on white and on black.
local WIDTH <const>, HEIGHT <const>, TOP <const>, BOTTOM <const> = 1000, 460, 40, 410
local PANEL <const>, MARGIN <const> = 275, 60

local svg

local function put(...) svg[#svg + 1] = string.format(...) end

local function log10(x) return math.log(x, 10) end

-- The names, each beside the end of its line and none upon another.
local function place_names(ends)
  local GAP <const> = 14
  table.sort(ends, function(a, b) return a.y < b.y end)
  for i = 2, #ends do ends[i].y = math.max(ends[i].y, ends[i - 1].y + GAP) end
  local over = ends[#ends].y - BOTTOM
  if over > 0 then ends[#ends].y = BOTTOM end
  for i = #ends - 1, 1, -1 do ends[i].y = math.min(ends[i].y, ends[i + 1].y - GAP) end
end

local function draw_panel(left, title, what, lines, low, high)
  local function x(n) return left + (log10(n) - 1) / 4 * PANEL end
  local function y(value) return BOTTOM - (log10(value) - low) / (high - low) * (BOTTOM - TOP) end
  put('<text x="%d" y="%d" class="title">%s</text>', left, TOP - 16, title)
  for power = low, high do
    local label <const> = power < 3 and "%d" or "%d,000"
    put('<path class="grid" d="M%d %.1fH%d"/>', left, y(10 ^ power), left + PANEL)
    put('<text x="%d" y="%.1f" class="end">%s</text>', left - 6, y(10 ^ power) + 4,
      label:format(10 ^ (power < 3 and power or power - 3)))
  end
  for power = 1, 5 do
    local n <const> = 10 ^ power
    put('<path class="grid" d="M%.1f %dV%d"/>', x(n), TOP, BOTTOM)
    put('<text x="%.1f" y="%d" class="middle">%s</text>', x(n), BOTTOM + 18,
      n < 1000 and ("%d"):format(n) or ("%d,000"):format(n / 1000))
  end
  put('<text x="%d" y="%d" class="middle">executors, leases, waiters or queued jobs</text>', left + PANEL // 2,
    BOTTOM + 38)
  local ends = {}
  for _, line in ipairs(lines) do
    local points = {}
    for _, point in ipairs(line[what]) do
      points[#points + 1] = ("%.1f %.1f"):format(x(point.n), y(point.value))
    end
    put('<path class="line %s" stroke="%s" d="M%s"/>', line.series, COLOURS[line.series], table.concat(points, "L"))
    local last <const> = line[what][#line[what]].value
    ends[#ends + 1] = { y = y(last), text = line.operation, colour = COLOURS[line.series] }
  end
  place_names(ends)
  for _, name in ipairs(ends) do
    put('<text x="%d" y="%.1f" fill="%s">%s</text>', left + PANEL + 6, name.y + 4, name.colour, name.text)
  end
end

local function draw(lines, has_instructions)
  svg = {}
  put('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d"', WIDTH, HEIGHT)
  put '  font-family="sans-serif" font-size="12" fill="#888">'
  put [[
<style>
.title { font-weight: bold } .end { text-anchor: end } .middle { text-anchor: middle }
.grid { stroke: #888; stroke-opacity: .3 } .line { fill: none; stroke-width: 2; stroke-linejoin: round }
.in_order { stroke-dasharray: 6 4 }
</style>]]
  draw_panel(MARGIN, "nanoseconds for one operation", "ns", lines, 1, 4)
  if has_instructions then
    draw_panel(WIDTH // 2 + MARGIN, "instructions for one operation", "instructions", lines, 1, 4)
  end
  put "</svg>\n"
  local file <close> = assert(io.open("docs/growth.svg", "w"))
  file:write(table.concat(svg, "\n"))
end

---- The table -------------------------------------------------------------------------

-- At 10, at 100,000 and their ratio.
local function ends_of(points)
  if #points == 0 then return { "", "", "" }, 0 end
  local first <const>, last <const> = points[1].value, points[#points].value
  return { document.show(first), document.show(last), ("%.2f"):format(last / first) }, last / first
end

local function tabulate(lines)
  local rows, failed = {
    "| n | operation | instructions at 10 | at 100,000 | ratio | ns at 10 | at 100,000 | ratio |",
    "|---|---|---|---|---|---|---|---|",
  }, {}
  for _, line in ipairs(lines) do
    local instructions, ratio = ends_of(line.instructions)
    if ratio > LIMIT then failed[#failed + 1] = line.operation end
    rows[#rows + 1] = ("| %s | %s | %s | %s |"):format(line.of, line.operation, table.concat(instructions, " | "),
      table.concat(ends_of(line.ns), " | "))
  end
  return table.concat(rows, "\n") .. "\n", failed
end

local lines <const>, has_valgrind <const> = measure_all()
draw(lines, has_valgrind)
local text <const>, failed <const> = tabulate(lines)
print(text)
document.replace("growth", text)
if #failed > 0 then
  io.stderr:write("growth: more than twice the instructions at 100,000: ", table.concat(failed, ", "), "\n")
  os.exit(1)
end
