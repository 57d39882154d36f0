--- The benchmark: each row beside luv, alternating, in one run.
--
--   lua5.4 bench/run.lua [--pairs=N] [--json=FILE] [ROW...]     ROW is a Lua pattern
--
-- Every measurement is a process of its own. What counts is the ratio within a pair: these
-- machines are noisy, and absolute figures drift.

local PAIRS <const> = 10

-- file, arguments, unit, whether less is better, threads of luv's pool, and what to reach.
local function row(id, file, arguments, unit, options)
  options = options or {}
  return {
    id = id, file = file, arguments = arguments, unit = unit, less = options.less,
    threads = options.threads or 1, goal = options.goal, alone = options.alone,
  }
end

local rows = {
  row("roundtrip_hot", "roundtrip", "20000 0", "us",
    { less = true, goal = "<= 1/20 of luv" }),
  row("roundtrip_cold", "roundtrip", "200 2", "us", { less = true, goal = "<= luv" }),
  row("post_1", "window", "1 post 400000 1000", "jobs/s", { goal = ">= 1.8 x luv" }),
  row("post_2", "window", "2 post 400000 1000", "jobs/s", { threads = 2, goal = ">= 1.5 x luv" }),
  row("post_4", "window", "4 post 400000 1000", "jobs/s", { threads = 4, goal = ">= 2.2 x luv" }),
  row("submit_1", "window", "1 submit 400000 1000", "jobs/s", { goal = ">= luv" }),
  row("submit_2", "window", "2 submit 400000 1000", "jobs/s", { threads = 2, goal = ">= luv" }),
  row("submit_4", "window", "4 submit 400000 1000", "jobs/s", { threads = 4, goal = ">= luv" }),
  row("coroutine_1", "window", "1 coroutine 200000 1000", "jobs/s", { goal = ">= luv" }),
  row("coroutine_2", "window", "2 coroutine 200000 1000", "jobs/s",
    { threads = 2, goal = ">= luv" }),
  row("queued_post", "window", "1 post 200000 0", "jobs/s", { goal = ">= 3 x luv" }),
  row("queued_post_memory", "window", "1 post 200000 0 memory", "MiB",
    { less = true, goal = "<= 36 MiB" }),
  row("queued_keep", "window", "1 keep 200000 0", "jobs/s", { goal = ">= 3 x luv" }),
  row("queued_keep_memory", "window", "1 keep 200000 0 memory", "MiB",
    { less = true, goal = "<= 48 MiB" }),
  row("string_1k", "string", "1 200000", "MB/s", { threads = 2, goal = ">= 1.5 x luv" }),
  row("string_64k", "string", "64 10000", "MB/s", { threads = 2, goal = ">= 1.6 x luv" }),
  row("string_1m", "string", "1024 1000", "MB/s", { threads = 2, goal = ">= 1.3 x luv" }),
  row("table_integers", "table", "integers 100000", "jobs/s", { alone = true, goal = ">= 150 k" }),
  row("table_strings", "table", "strings 100000", "jobs/s", { alone = true, goal = ">= 80 k" }),
  row("acquire_release", "acquire", "1000000", "ns", { less = true, alone = true, goal = "<= 400 ns" }),
  row("primes_2", "primes", "2 100", "x inline", { threads = 2, goal = ">= 1.95" }),
  row("startup", "startup", "200", "us", { less = true, goal = "<= 60 us" }),
  row("idle_worker", "idle", "64", "KiB", { less = true, threads = 64, goal = "<= 60 KiB" }),
}

local function fail(...)
  io.stderr:write("bench: ", string.format(...), "\n")
  os.exit(1)
end

local function measure(one, side)
  local command = ("UV_THREADPOOL_SIZE=%d lua5.4 bench/rows/%s.lua %s %s"):format(
    one.threads, one.file, side, one.arguments)
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

local function machine()
  local pipe <close> = assert(io.popen [[
    nproc; sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1; uname -sr; lua5.4 -v]])
  local lines = {}
  for line in pipe:lines() do lines[#lines + 1] = line end
  return ("%s CPUs, %s, %s, %s, libuv %s"):format(lines[1], lines[2] or "?", lines[3] or "?",
    (lines[4] or "?"):match "^(Lua [%d.]+)" or "?", require("luv").version_string())
end

local function show(value)
  if value >= 1e6 then return ("%.2f M"):format(value / 1e6) end
  if value >= 1e4 then return ("%.1f k"):format(value / 1e3) end
  return ("%.3g"):format(value)
end

local pairs_wanted, json_file, wanted = PAIRS, nil, {}
for _, argument in ipairs(arg) do
  if argument:match "^%-%-pairs=%d+$" then
    pairs_wanted = tonumber(argument:match "%d+")
  elseif argument:match "^%-%-json=." then
    json_file = argument:match "^%-%-json=(.+)$"
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

print(machine())
print(("%-20s %12s %21s %10s %12s %19s  %s"):format("row", "leasepool", "range", "luv", "ratio",
  "range of the ratio", "to reach"))

local results = {}
for _, one in ipairs(rows) do
  if is_wanted(one.id) then
    local ours, theirs, ratios = {}, {}, {}
    for i = 1, pairs_wanted do
      ours[i] = measure(one, "leasepool")
      if not one.alone then
        theirs[i] = measure(one, "luv")
        ratios[i] = ours[i] / theirs[i]
      end
    end
    local o = summary(ours)
    local t = not one.alone and summary(theirs)
    local r = not one.alone and summary(ratios)
    print(("%-20s %12s %21s %10s %12s %19s  %s"):format(
      one.id, show(o.median) .. " " .. one.unit, show(o.min) .. " .. " .. show(o.max),
      t and show(t.median) or "-", r and ("%.3g x"):format(r.median) or "-",
      r and ("%.3g .. %.3g"):format(r.min, r.max) or "-", one.goal or ""))
    io.stdout:flush()
    results[#results + 1] = {
      id = one.id, unit = one.unit, less_is_better = one.less or false, goal = one.goal,
      leasepool = o, luv = t or nil, ratio = r or nil,
    }
  end
end
if #results == 0 then fail("no such row") end

if json_file then
  local file <close> = assert(io.open(json_file, "w"))
  file:write(require("cjson").encode { machine = machine(), pairs = pairs_wanted, rows = results }, "\n")
end
