--- Every example runs, and does what it says.
local child = require "spec.support.child"

describe("the example", function()
  it("00_quickstart prints its result", function()
    local output, errors, status = child.file "examples/00_quickstart.lua"
    assert.are.same({ "Result: HELLO LEASEPOOL\n", "", 0 }, { output, errors, status })
  end)

  it("01_lease_scope shows that a lease goes back, after an error too", function()
    local output, errors, status = child.file "examples/01_lease_scope.lua"
    assert.are.same({ "", 0 }, { errors, status })
    assert.are.equal([[
before:  manager thread running: 1 available, 0 leased of 1
inside:  manager thread running: 0 available, 1 leased of 1
owner:   scope
sum:     42
sums:    2 4 6 8
outside: manager thread running: 1 available, 0 leased of 1
failed:  true, JobError
after:   manager thread running: 1 available, 0 leased of 1
]], output)
  end)
end)

--- What each prints; numbers that differ from run to run are replaced by `plain`.
local EXPECTED <const> = {
  ["02_manual_release"] = [[
result: 49
state:  CLOSED
late:   false, LeaseExpiredError
found:  true
again:  false
free:   1 of 1
]],
  ["03_wait_timeout_unavailable"] = [[
not waiting: LeaseUnavailableError
50 ms:       TimeoutError
trying:      nil, lease_unavailable
waiting:     4
cancelled:   3
served:      waiter 1
served:      waiter 2
served:      waiter 3
]],
  ["04_adaptive_sizing"] = [[
nothing to do          wanted 1, there 1
25 units wait          wanted 3, there 3
1000 units wait        wanted 4, there 4
one leased, rest idle  wanted 1, there 1
released               wanted 1, there 1
]],
  ["06_expiry"] = [[
soft expiry: GRACE
renewed:     ACTIVE
soft expiry: GRACE
hard expiry: EXPIRED
submitting:  false, LeaseExpiredError
next lease:  next
the job:     finished all the same
]],
  ["08_grinder_submit"] = [[
pending  0
ada      ADA, on lease 1
bo       JobError: bo is too short
charles  CHARLES, on lease 1
dorothy  DOROTHY, on lease 1
edith    EDITH, on lease 2
5 jobs in 2 batches, 1 failed
]],
  ["09_grinder_enqueue"] = [[
pending:    6
refused:    false, QueueFullError
taken back: true
  shop-batch-1 pays 7
  bob pays 10
  ada pays 2
  bob pays 20
  ada pays 3
  bob pays 30
finished:   6, cancelled: 0
progress:   6 of 6
too late:   false, LeasePoolNotStartedError
]],
  ["10_submit_from_thread"] = [[
10 words, 34 letters, 10 jobs
false	JobError	1	1
false	WrongThreadError
]],
  ["11_errors"] = [[
a job that raises: JobError (job_failed)
  cause:     examples/11_errors.lua:6: not a number: twelve
  raised in: <examples/11_errors.lua:5>
  is it one? true true
a table as error : JobError (job_failed)
  cause:     404 no such page
a bad argument   : TransferError (not_transferable)
  path:      arg 1.user.socket
a bad option     : ConfigError (invalid_option)
  message:   unknown option "max_pols"; did you mean "max_pools"?
no free executor : LeaseUnavailableError (lease_unavailable)
a released lease : LeaseExpiredError (lease_expired)
]],
  ["12_interpreter_isolation"] = [[
thread, the same lease: 2 calls
thread, the next lease: counter 2, config loaded, -"abc" cba
interpreter, the same lease: 2 calls
interpreter, the next lease: counter nil, config none, -"abc" an error
libraries: nil, nil, table
]],
  ["14_walkthrough"] = [[
closed:  not_started
opened:  executors: 1, leased: 0
busy:    executors: 3, leased: 0
lent:    executors: 3, leased: 1
book:    4 pages, the last: book, page 4
first:   leaflet 1, page 1
last:    JobError: out of paper
grinder: batches: 2, done: 12, failed: 1
manager: leases: 3, done: 16, failed: 1
]],
  ["15_stop_runaway_work"] = [[
cancel:   true
  log: tidied up
  false, CancelledError in examples/15_stop_runaway_work.lua:6
  log: tidied up
timeout:  false, TimeoutError
  the worker: goes on
  log: tidied up
expiry:   false, LeaseExpiredError, the lease CLOSED
  log: tidied up
stop:     1 interrupted, 0 abandoned
]],
  ["13_worker_logs"] = [[
INFO  importing a.csv #1 (nightly)
INFO  importing b.tmp #2 (nightly)
WARN  skipped b.tmp (nightly)
ERROR the disk is nearly full (nightly)
imported 2
]],
}

describe("the example", function()
  for name, expected in pairs(EXPECTED) do
    it(name .. " prints what it says", function()
      local output, errors, status = child.file("examples/" .. name .. ".lua")
      assert.are.same({ expected, "", 0 }, { output, errors, status })
    end)
  end

  it("07_process_cpu counts the same on processes, and goes on after one has died", function()
    local output, errors, status = child.file "examples/07_process_cpu.lua"
    assert.are.same({ "", 0 }, { errors, status })
    assert.are.equal([[
78498 primes, counted inline
78498 primes, counted by 2 processes
speed-up: N
log: executor 1 broke: the worker leasepool-1-N exited with code 3
false	BrokenExecutorError	3
NEXT
]], (output:gsub("speed%-up: [%d.]+", "speed-up: N"):gsub("leasepool%-1%-%d", "leasepool-1-N")))
  end)

  it("05_stats prints statistics that add up", function()
    local output, errors, status = child.file "examples/05_stats.lua"
    assert.are.same({ "", 0 }, { errors, status })
    assert.matches("jobs: 102 = 0 queued + 0 running + 101 done + 1 failed + 0 cancelled", output, 1, true)
    assert.matches("\n  %d+ +upload  ACTIVE +5%d%.%d s +7%d%.%d s +0 +0\n", (output:gsub("60%.0 s", "59.9 s")))
    assert.matches("\nleases add up: true\njobs add up:   true\n$", output)
  end)

  it("is listed in the reading order, and shorter than 60 lines", function()
    local file <close> = assert(io.open "examples/README.md")
    local listed, order = {}, {}
    for name in file:read("a"):gmatch "\n| `([^`]+%.lua)` |" do
      listed[name] = true
      order[#order + 1] = name
    end
    local names <close> = assert(io.popen "ls examples/*.lua")
    for path in names:lines() do
      local name = path:match "[^/]+$"
      assert.is_true(listed[name], name .. " is not in examples/README.md")
      local count = 0
      for _ in io.lines(path) do count = count + 1 end
      if name:match "^%d" then assert.is_true(count < 60, name .. " is too long") end
    end
    local sorted = table.move(order, 1, #order, 1, {})
    table.sort(sorted)
    assert.are.same(sorted, order)
  end)
end)

describe("examples/wc_tree.lua", function()
  local directory

  setup(function()
    directory = child.shell("mktemp -d"):gsub("\n$", "")
  end)

  teardown(function() child.shell("rm -rf " .. child.quote(directory)) end)

  local function write(name, text)
    local file <close> = assert(io.open(directory .. "/" .. name, "wb"))
    file:write(text)
  end

  local function totals_of_wc(where)
    local output = child.shell("find " .. child.quote(where) ..
      " -type f -print0 | LC_ALL=C wc -lwc --files0-from=- | tail -n 1")
    return output:match "(%d+)%s+(%d+)%s+(%d+)"
  end

  local function totals_of_example(output)
    return output:match "(%d+) (%d+) (%d+) total\n$"
  end

  it("counts as wc does: no newline at the end, binary, empty, words across blocks", function()
    write("plain", "one two\nthree")
    write("empty", "")
    write("-dash 'quote' \n newline", "odd name\n")
    write("controls", "\1\2 \127 a\1 \1b \200\201 x\200y\n\v\f\r\t z")
    write("zeros", ("\0"):rep(200000) .. "end")
    write("across", ("a"):rep(65535) .. "b c" .. ("d"):rep(65536 * 2))
    write("across_controls", ("\1"):rep(65536) .. "a" .. ("\1"):rep(65536) .. "b")
    write("spaces", (" "):rep(65536) .. "x" .. (" "):rep(65535) .. "y")
    for i = 1, 300 do write("many" .. i, ("word "):rep(i) .. "\n") end
    local bytes = {}
    for i = 0, 255 do bytes[i + 1] = string.char(i) end
    write("all", table.concat(bytes):rep(1000))
    local output, errors, status = child.file("examples/wc_tree.lua", child.quote(directory))
    assert.are.same({ "", 0 }, { errors, status })
    assert.matches("^309 files", output)
    assert.are.same({ totals_of_wc(directory) }, { totals_of_example(output) })
  end)

  it("tells what it could not read, counts the rest and exits with 1", function()
    -- Nobody can read these, root neither: a directory that does not exist, and a file of the
    -- kernel that refuses to be read.
    local _, errors, status = child.file("examples/wc_tree.lua", "/no/such/directory")
    assert.matches("/no/such/directory", errors, 1, true)
    assert.are.equal(1, status)
    local output
    output, errors, status = child.file("examples/wc_tree.lua", "/proc/self/task")
    assert.matches("wc_tree: /proc/self/task/.*: ", errors)
    assert.matches(" total\n$", output)
    assert.are.equal(1, status)
  end)

  it("takes a link to a directory, and a file, as DIR", function()
    child.shell("ln -s " .. child.quote(directory) .. " " .. child.quote(directory .. ".link"))
    local output = child.file("examples/wc_tree.lua", child.quote(directory .. ".link"))
    assert.are.same({ totals_of_wc(directory) }, { totals_of_example(output) })
    os.remove(directory .. ".link")
    output = child.file("examples/wc_tree.lua", child.quote(directory .. "/plain"))
    assert.are.same({ "1", "3", "13" }, { totals_of_example(output) })
  end)

  it("takes directories whose names look like expressions of find's", function()
    for _, name in ipairs { "!", "(", ")", ",", "-x", "a'b" } do
      local odd = directory .. "/" .. name
      child.shell("mkdir -- " .. child.quote(odd) .. " && echo one word >" .. child.quote(odd .. "/f"))
      local output, errors, status = child.shell("cd " .. child.quote(directory) .. " && " ..
        child.lua .. " " .. child.root .. "/examples/wc_tree.lua " .. child.quote(name))
      assert.are.same({ "1 files on 4 threads\n1 2 9 total\n", "", 0 }, { output, errors, status })
    end
  end)

  it("fails when its output cannot be written", function()
    local _, errors, status = child.file("examples/wc_tree.lua", "spec >/dev/full")
    assert.matches("wc_tree: standard output: ", errors, 1, true)
    assert.are.equal(1, status)
  end)

  it("explains its use", function()
    local _, errors, status = child.file("examples/wc_tree.lua", "a b")
    assert.are.same({ "usage: wc_tree.lua [DIR]\n", 2 }, { errors, status })
  end)

  it("takes 50,000 files with 64 descriptors and little memory", function()
    if os.getenv "LEASEPOOL_SANITIZE" then
      pending "slow with a sanitizer: the plain run covers it"
      return
    end
    local tree = directory .. "/tree"
    local _, _, made = child.shell("mkdir " .. child.quote(tree) .. " && cd " .. child.quote(tree) ..
      " && seq -f 'line %.0f' 50000 | split -l 1 -a 4 -d --additional-suffix=.txt - f || " ..
      "seq -f 'line %.0f' 50000 | split -l 1 -a 5 -d - f")
    assert.are.equal(0, made)
    local output, errors, status = child.shell("ulimit -n 64 && ulimit -v 1000000 && " .. child.lua ..
      " examples/wc_tree.lua " .. child.quote(tree))
    assert.are.same({ "", 0 }, { errors, status })
    assert.are.same({ totals_of_wc(tree) }, { totals_of_example(output) })
  end)

  it("shows its progress on a terminal only", function()
    local output = child.shell("script -qec " .. child.quote(child.lua .. " examples/wc_tree.lua spec") .. " /dev/null")
    assert.matches("\r%d+ files ", output)
    assert.matches("total", output)
    local _, errors = child.file("examples/wc_tree.lua", "spec")
    assert.are.equal("", errors)
  end)
end)
