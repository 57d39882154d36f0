--- The benchmark: each row beside luv, or beside a floor (bench/floor.c, bench/acquire.c), or
-- both, alternating, in one run.
--
--   lua5.4 bench/run.lua [--build=DIR] [--pairs=N] [--json=FILE] [ROW...]     ROW is a Lua pattern
--
-- Every measurement is a process of its own. What counts is the ratio within a pair: these
-- machines are noisy, and absolute figures drift.

local show = require("bench.document").show

local PAIRS <const> = 10
local LUA <const> = arg[-1]

-- The file in bench/rows and its arguments; then: beside whom (LUV unless it says otherwise), the
-- unit, whether less is better, threads of luv's pool, and what to reach.
local LUV <const>, FLOOR <const>, BOTH <const>, NONE <const> = { "luv" }, { "floor" }, { "luv", "floor" }, {}

local function row(id, file, arguments, unit, options)
  options = options or {}
  return {
    id = id, file = file, arguments = arguments, unit = unit, less = options.less or false,
    threads = options.threads or 1, goal = options.goal, beside = options.beside or LUV, program = options.program,
  }
end

local function fail(...)
  io.stderr:write("bench: ", string.format(...), "\n")
  os.exit(1)
end

local rows = {
  row("roundtrip_hot", "roundtrip", "20000 0", "us",
    { less = true, beside = BOTH, goal = "<= 1/20 of luv" }),
  row("roundtrip_cold", "roundtrip", "200 2", "us", { less = true, beside = BOTH, goal = "<= luv" }),
  row("post_1", "window", "1 post 400000 1000", "jobs/s", { beside = BOTH, goal = ">= 1.8 x luv" }),
  row("post_2", "window", "2 post 400000 1000", "jobs/s",
    { threads = 2, beside = BOTH, goal = ">= 1.5 x luv" }),
  row("post_4", "window", "4 post 400000 1000", "jobs/s",
    { threads = 4, beside = BOTH, goal = ">= 2.2 x luv" }),
  row("submit_1", "window", "1 submit 400000 1000", "jobs/s", { goal = ">= luv" }),
  row("submit_2", "window", "2 submit 400000 1000", "jobs/s", { threads = 2, goal = ">= luv" }),
  row("submit_4", "window", "4 submit 400000 1000", "jobs/s", { threads = 4, goal = ">= luv" }),
  row("coroutine_1", "window", "1 coroutine 200000 1000", "jobs/s", { goal = ">= luv" }),
  row("coroutine_2", "window", "2 coroutine 200000 1000", "jobs/s",
    { threads = 2, goal = ">= luv" }),
  row("queued_post", "window", "1 post 200000 0", "jobs/s", { beside = BOTH, goal = ">= 3 x luv" }),
  row("queued_post_memory", "window", "1 post 200000 0 memory", "MiB",
    { less = true, beside = BOTH, goal = "<= 36 MiB" }),
  row("queued_keep", "window", "1 keep 200000 0", "jobs/s", { goal = ">= 3 x luv" }),
  row("queued_keep_memory", "window", "1 keep 200000 0 memory", "MiB",
    { less = true, goal = "<= 48 MiB" }),
  row("map", "map", "2 1000000 0", "items/s", { beside = FLOOR, goal = ">= 8 M" }),
  row("grinder_1", "grinder", "2 1000000 1", "items/s", { threads = 2 }),
  row("grinder_50", "grinder", "2 1000000 50", "items/s", { threads = 2 }),
  row("grinder_1000", "grinder", "2 1000000 1000", "items/s", { threads = 2, goal = ">= 3 M" }),
  row("grinder_submit", "grinder", "2 1000000 0", "jobs/s", { threads = 2 }),
  row("grinder_late", "grinder", "late 100", "us", { less = true, beside = NONE }),
  row("string_1k", "string", "1 200000", "MB/s", { threads = 2, goal = ">= 1.5 x luv" }),
  row("string_64k", "string", "64 10000", "MB/s", { threads = 2, goal = ">= 1.6 x luv" }),
  row("string_1m", "string", "1024 1000", "MB/s", { threads = 2, goal = ">= 1.3 x luv" }),
  row("table_integers", "table", "integers 100000", "jobs/s", { beside = NONE, goal = ">= 150 k" }),
  row("table_strings", "table", "strings 100000", "jobs/s", { beside = NONE, goal = ">= 80 k" }),
  row("acquire_release", "acquire", "1000000", "ns", { less = true, beside = FLOOR, goal = "<= 400 ns" }),
  row("acquire_release_c", nil, "3000000", "ns",
    { less = true, beside = FLOOR, program = "acquire", goal = "<= 60 ns" }),
  row("primes_2", "primes", "2 100", "x inline", { threads = 2, goal = ">= 1.95" }),
  row("startup", "startup", "200", "us", { less = true, beside = BOTH, goal = "<= 60 us" }),
  row("idle_worker", "idle", "64", "KiB", { less = true, threads = 64, beside = BOTH, goal = "<= 60 KiB" }),
  row("process_roundtrip", "process", "roundtrip 5000", "us", { less = true, goal = "<= 60 us" }),
  row("process_post", "process", "window 300000 1000", "jobs/s", { goal = ">= 0.5 M" }),
  row("process_startup", "process", "startup 50", "us", { less = true, goal = "<= 2000 us" }),
}

---- Measuring -------------------------------------------------------------------------

local pairs_wanted, json_file, build, wanted = PAIRS, nil, "build", {}

local function measure(one, side)
  local program <const> = one.program and ("%s/bench/%s"):format(build, one.program)
    or ("%s bench/rows/%s.lua"):format(LUA, one.file)
  local command <const> = ("UV_THREADPOOL_SIZE=%d %s %s %s"):format(one.threads, program, side, one.arguments)
  local pipe <close> = assert(io.popen(command))
  local output = pipe:read "a"
  local value = tonumber(output)
  if not value then fail("%s gave no number but: %s", command, output) end
  return value
end

local function summary(values)
  local sorted = table.move(values, 1, #values, 1, {})
  table.sort(sorted)
  local middle = (#sorted + 1) // 2
  return {
    median = #sorted % 2 == 1 and sorted[middle] or (sorted[middle] + sorted[middle + 1]) / 2,
    min = sorted[1], max = sorted[#sorted],
  }
end

-- Every second round in the other order, as the machine may drift.
local function measure_row(one)
  local values = { leasepool = {}, luv = {}, floor = {} }
  for round = 1, pairs_wanted do
    local sides = table.move(one.beside, 1, #one.beside, 2, { "leasepool" })
    for i = 1, #sides do
      local side <const> = sides[round % 2 == 1 and i or #sides + 1 - i]
      values[side][round] = measure(one, side)
    end
  end
  local result = {
    id = one.id, unit = one.unit, less_is_better = one.less, goal = one.goal, leasepool = summary(values.leasepool),
    beside = {},
  }
  for _, side in ipairs(one.beside) do
    local ratios = {}
    for i, value in ipairs(values[side]) do ratios[i] = values.leasepool[i] / value end
    result.beside[side] = { value = summary(values[side]), ratio = summary(ratios) }
  end
  return result
end

local function machine()
  local pipe <close> = assert(io.popen(([[
    nproc; sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1; uname -sr; %s -v 2>&1
    sed -n 's/^MemTotal: *//p' /proc/meminfo; uptime | sed 's/.*average: //']]):format(LUA)))
  local lines = {}
  for line in pipe:lines() do lines[#lines + 1] = line end
  return {
    cpus = tonumber(lines[1]), cpu = lines[2], system = lines[3], lua = lines[4]:match "^(Lua [%d.]+)",
    memory = lines[5], load_before = lines[6], libuv = require("luv").version_string(),
    leasepool = require("leasepool").version, date = os.date "!%Y-%m-%d %H:%M UTC",
  }
end

---- Telling -----------------------------------------------------------------------------

local LINE <const> = "%-19s %15s %16s %7s %22s %7s %22s  %s"

local function print_row(result)
  local columns = {
    result.id, show(result.leasepool.median) .. " " .. result.unit,
    show(result.leasepool.min) .. " .. " .. show(result.leasepool.max),
  }
  for _, side in ipairs { "luv", "floor" } do
    local other <const> = result.beside[side]
    columns[#columns + 1] = other and show(other.value.median) or "-"
    columns[#columns + 1] = other and ("%.3g (%.3g .. %.3g)"):format(other.ratio.median, other.ratio.min,
      other.ratio.max) or "-"
  end
  columns[#columns + 1] = result.goal or ""
  print(LINE:format(table.unpack(columns)))
  io.stdout:flush()
end

for _, argument in ipairs(arg) do
  if argument:match "^%-%-pairs=%d+$" then
    pairs_wanted = tonumber(argument:match "%d+")
  elseif argument:match "^%-%-json=." then
    json_file = argument:match "^%-%-json=(.+)$"
  elseif argument:match "^%-%-build=." then
    build = argument:match "^%-%-build=(.+)$"
  elseif argument:match "^%-" then
    fail("unknown option: %s", argument)
  else
    wanted[#wanted + 1] = argument
  end
end

local function is_wanted(id)
  for _, pattern in ipairs(wanted) do
    if id:match(pattern) then return true end
  end
  return #wanted == 0
end

local here <const> = machine()
print(("%s CPUs, %s, %s, %s, libuv %s, leasepool %s"):format(here.cpus, here.cpu, here.system, here.lua, here.libuv,
  here.leasepool))
print(LINE:format("row", "leasepool", "range", "luv", "x luv", "floor", "x floor", "to reach"))

local results = {}
for _, one in ipairs(rows) do
  if is_wanted(one.id) then
    results[#results + 1] = measure_row(one)
    print_row(results[#results])
  end
end
if #results == 0 then fail("no such row") end

if json_file then
  local file <close> = assert(io.open(json_file, "w"))
  file:write(require("cjson").encode { machine = here, pairs = pairs_wanted, rows = results }, "\n")
end
