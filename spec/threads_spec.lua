--- Managers and grinders inside of jobs: what jobs submit from their threads, and what they ask.
local leasepool = require "leasepool"
local backends = require "spec.support.backends"
local child = require "spec.support.child"
local failure = require "spec.support.failure"
local gate = require "spec.support.gate"
local testing = require("leasepool.core").testing

local function nothing() end

backends.each("inside a job", function(backend)
  if not backend.threads then return end
  local manager, served, grinder, lease

  before_each(function()
    manager = backend.manager({ max_pools = 1, workers_per_pool = 2, logger = function() end }):start()
    served = backend.manager({ max_pools = 2, workers_per_pool = 2, logger = function() end }):start()
    grinder = leasepool.grinder({ manager = served, batch_size_threshold = 1 }):start()
    lease = manager:acquire()
  end)

  after_each(function()
    if grinder then grinder:stop { cancel_pending = true } end
    lease:release()
    manager:stop { timeout = 0 }
    served:stop { timeout = 0 }
  end)

  -- A grinder that keeps what it gets.
  local function keeper(options)
    local made = { manager = served, batch_size_threshold = 1000, max_wait_seconds = 1000 }
    for name, value in pairs(options or {}) do made[name] = value end
    return leasepool.grinder(made):start()
  end

  -- Runs in the job `fn(handle, ...)`, which has begun.
  local function begin(fn, ...)
    local begun = gate()
    begun.open()
    local future = lease:submit(function(id, body, ...)
      require("leasepool.core").testing.gate_pass(id)
      return body(...)
    end, begun.id, fn, ...)
    repeat leasepool.sleep(0.001) until testing.gate_await(begun.id, 1, 0)
    return future
  end

  describe("a grinder", function()
    it("runs functions with arguments and results of all kinds #threads", function()
      local shared = { "shared" }
      local back = table.pack(lease:run(function(g, ...)
        local future = g:submit_from_thread(function(...)
          local a, b = select(4, ...)
          return a == b.list, select("#", ...), ...
        end, ...)
        return future:await()
      end, grinder, nil, 1, 2.5, shared, { list = shared, [2.5] = true, "x" }, "zero\0byte", math.mininteger, nil))
      assert.are.same({ n = 10, true, 8, nil, 1, 2.5, shared, { list = shared, [2.5] = true, "x" },
        "zero\0byte", math.mininteger, nil }, back)
      assert.are.equal(back[6], back[7].list)
    end)

    it("runs functions with upvalues, of modules, and takes functions as arguments and results", function()
      local seven, up, made, odd = lease:run(function(g)
        local offset = 4
        local make = g:submit_from_thread(function(n) return function(x) return x + n end end, 10)
        return g:submit_from_thread(function(x) return x + offset end, 3):await(),
          g:submit_from_thread(string.upper, "up"):await(),
          make:await()(5),
          g:submit_from_thread(function(fn) return fn(1) end, function(n) return n % 2 == 1 end):await()
      end, grinder)
      assert.are.same({ 7, "UP", 15, true }, { seven, up, made, odd })
    end)

    it("tells of errors with their fields", function()
      local status, ok, name, message, code, traceback, worker, job = lease:run(function(g)
        local future = g:submit_from_thread(function()
          error { code = 7, list = { 1 } }
        end)
        local done, err = future:result()
        return future:status(), done, err.name, err.message, err.cause.code, err.traceback, err.worker, err.job
      end, grinder)
      assert.are.same({ "failed", false, "JobError", 7 }, { status, ok, name, code })
      assert.matches("^table: ", message)
      assert.matches("stack traceback:.*threads_spec", traceback)
      assert.matches("^leasepool%-%d+%-%d+$", worker)
      assert.matches("threads_spec%.lua:%d+$", job)
      assert.matches("threads_spec%.lua:%d+: boom$", select(2, lease:run(function(g)
        return pcall(function() g:submit_from_thread(function() error "boom" end):await() end)
      end, grinder)).message)
    end)

    it("gives the same objects each time, nils included", function()
      assert.is_true(lease:run(function(g)
        local good = g:submit_from_thread(function() return nil, { 1 }, nil, function() end, nil end)
        local bad = g:submit_from_thread(function() error { "bad" } end)
        local none = g:submit_from_thread(function() end)
        local first, second = table.pack(good:result()), table.pack(good:result(0))
        local third = table.pack(good:await(5))
        assert(first.n == 6 and second.n == 6 and third.n == 5 and first[1] and first[3][1] == 1)
        for i = 1, 6 do assert(rawequal(first[i], second[i])) end
        for i = 1, 5 do assert(rawequal(first[i + 1], third[i])) end
        local _, one = bad:result()
        local _, two = bad:result()
        local _, three = pcall(bad.await, bad)
        assert(rawequal(one, two) and rawequal(one, three) and one.cause[1] == "bad")
        for _ = 1, 3 do assert(select("#", none:result()) == 1 and select("#", none:await()) == 0) end
        return true
      end, grinder))
    end)

    it("gives thousands of results, more than once", function()
      assert.are.same({ 20001, 20001, 20000 }, { lease:run(function(g)
        local future = g:submit_from_thread(function() return table.unpack({}, 1, 20000) end)
        return select("#", future:result()), select("#", future:result()), select("#", future:await())
      end, grinder) })
    end)

    it("takes jobs of jobs that it runs", function()
      local function nest(g, self, n)
        return n == 0 and "bottom" or g:submit_from_thread(self, g, self, n - 1):await()
      end
      assert.are.equal("bottom", lease:run(nest, grinder, nest, 2)) -- as many as it has batches
    end)

    it("takes what eight jobs submit at once, and loses nothing #threads", function()
      local each <const> = os.getenv "LEASEPOOL_SANITIZE" and 100 or 500
      local wide <close> = backend.manager({ max_pools = 1, workers_per_pool = 8 }):start()
      local lent <close> = wide:acquire()
      local futures = {}
      for i = 1, 8 do
        futures[i] = lent:submit(function(g, first, count)
          local list, sum = {}, 0
          for k = 1, count do list[k] = g:submit_from_thread(function(x) return x end, first + k) end
          for k = 1, count do sum = sum + list[k]:await() end
          return sum
        end, grinder, i * each, each)
      end
      local sum, expected = 0, 0
      for i = 1, 8 do
        sum = sum + futures[i]:await()
        for k = 1, each do expected = expected + i * each + k end
      end
      assert.are.equal(expected, sum)
      local stats = grinder:stats()
      assert.are.same({ 8 * each, 8 * each, 0, 0 }, { stats.items, stats.done, stats.pending, stats.in_flight })
    end)

    it("names what cannot travel, both ways", function()
      local path, message, back, words = lease:run(function(g)
        local ok, err = pcall(g.submit_from_thread, g, print, 1, { { io.stdout } })
        local future = g:submit_from_thread(function() return 1, { x = io.stdout } end)
        local done, other = future:result()
        assert(not ok and err.name == "TransferError" and not done and other.name == "TransferError")
        return err.path, err.message, other.path, other.message
      end, grinder)
      assert.are.same({ "arg 2[1][1]", "result 2.x" }, { path, back })
      assert.matches("^grinder:submit_from_thread: cannot transfer arg 2%[1%]%[1%]: userdata %(FILE%*%)", message)
      assert.matches("^cannot transfer result 2%.x: userdata %(FILE%*%)$", words)
      assert.matches("thread_future", lease:run(function(g)
        local future = g:submit_from_thread(function() end)
        return select(2, pcall(g.submit_from_thread, g, print, future)).message
      end, grinder))
    end)

    it("refuses what is no function, and no time", function()
      local seen = lease:run(function(g)
        local list = {}
        local future = g:submit_from_thread(function() end)
        for _, attempt in ipairs {
          function() g:submit_from_thread() end,
          function() g:submit_from_thread(5) end,
          function() g:submit_from_thread({}, 1) end,
          function() future:result(-1) end,
          function() future:result "soon" end,
          function() future:result(0 / 0) end,
          function() future:await(math.huge) end,
          function() g:stats_from_thread {} end,
        } do
          local _, err = pcall(attempt)
          list[#list + 1] = err.name .. ": " .. err.message:gsub("^.-%.lua:%d+: ", "")
        end
        return list
      end, grinder)
      assert.are.same({
        "ConfigError: grinder:submit_from_thread: argument 1: got no value, allowed: a function",
        "ConfigError: grinder:submit_from_thread: argument 1: got number, allowed: a function",
        "ConfigError: grinder:submit_from_thread: argument 1: got table, allowed: a function",
        "ConfigError: future:result: timeout: got -1, allowed: a finite number of seconds >= 0",
        "ConfigError: future:result: timeout: got \"soon\", allowed: a finite number of seconds >= 0",
        "ConfigError: future:result: timeout: got nan, allowed: a finite number of seconds >= 0",
        "ConfigError: future:await: timeout: got inf, allowed: a finite number of seconds >= 0",
      }, { table.unpack(seen, 1, 7) })
      assert.matches("^ConfigError: grinder:stats_from_thread: timeout: got ", seen[8])
    end)

    it("ends the futures of what it does not take", function()
      local few = keeper { max_pending = 2 }
      local states = lease:run(function(g)
        local kept = { g:submit_from_thread(nothing), g:submit_from_thread(nothing) }
        local ok, err = g:submit_from_thread(nothing):result()
        local refused = g:submit_from_thread(nothing)
        local raised = select(2, pcall(refused.await, refused))
        return { ok, err.name, err.message, refused:status(), raised.name, kept[1]:status(), kept[1]:cancel(),
          refused:cancel(), select(2, kept[1]:result()).name }
      end, few)
      assert.are.same({ false, "QueueFullError",
        "grinder:submit_from_thread: too many jobs are pending already (max_pending)", "failed",
        "QueueFullError", "pending", true, false, "CancelledError" }, states)
      few:stop { cancel_pending = true }
      local ended = lease:run(function(g)
        local future = g:submit_from_thread(nothing)
        local ok, err = future:result()
        return { ok, err.name, err.message, future:status(), g:stats_from_thread().started }
      end, few)
      assert.are.same({ false, "LeasePoolNotStartedError",
        "grinder:submit_from_thread: the grinder, or its manager, is not started, or stops", "failed", false }, ended)
      few:start()
      assert.are.equal("pending", lease:run(function(g) return g:submit_from_thread(nothing):status() end, few))
      few:stop { cancel_pending = true }
    end)

    it("raises once it was collected", function()
      local blocker = gate()
      local future = lease:submit(function(g, id)
        local early = g:submit_from_thread(function() return "early" end)
        require("leasepool.core").testing.gate_pass(id)
        local _, err = pcall(g.submit_from_thread, g, nothing)
        local _, other = pcall(g.stats_from_thread, g)
        return early:await(), err.name, err.message, other.name, early:cancel(), tostring(g)
      end, grinder, blocker.id)
      repeat leasepool.sleep(0.001) until testing.gate_await(blocker.id, 1, 0)
      while grinder:stats().done < 1 do leasepool.sleep(0.001) end
      grinder = nil
      collectgarbage()
      collectgarbage()
      leasepool.sleep(0)
      blocker.open()
      assert.are.same({ "early", "LeasePoolNotStartedError", "grinder:submit_from_thread: the grinder has ended",
        "LeasePoolNotStartedError", false, "handle of a grinder" }, { future:await() })
    end)

    it("tells why the worker of a batch broke", function()
      local broken <close> = backend.manager({ max_pools = 1, workers_per_pool = 1, logger = nothing,
        initializer = function() error("no luck", 0) end }):start()
      local unlucky <close> = leasepool.grinder({ manager = broken, batch_size_threshold = 1 }):start()
      local name, reason, message = lease:run(function(g)
        local _, err = g:submit_from_thread(nothing):result()
        return err.name, err.reason, err.message
      end, unlucky)
      assert.are.equal("BrokenExecutorError", name)
      assert.matches("no luck", reason)
      assert.matches("no luck", message)
    end)
  end)

  describe("a future", function()
    it("waits no longer than it was told, and goes on", function()
      local blocker = gate()
      local future = begin(function(g, id)
        local inner = g:submit_from_thread(function(gate_id)
          require("leasepool.core").testing.gate_pass(gate_id)
          return "late"
        end, id)
        local results = {}
        for _, seconds in ipairs { 0, 0.002 } do
          local ok, err = inner:result(seconds)
          local raised = select(2, pcall(inner.await, inner, seconds))
          results[#results + 1] = { ok, err.name, err.message, raised.name, inner:status(), tostring(inner) }
        end
        require("leasepool.core").testing.gate_open(id)
        return results, inner:await(60), inner:status(), tostring(inner)
      end, grinder, blocker.id)
      local results, value, status, text = future:await()
      assert.are.same({
        { false, "TimeoutError", "future:result: not ended after 0.0 seconds", "TimeoutError", "pending",
          "future of a job: pending" },
        { false, "TimeoutError", "future:result: not ended after 0.002 seconds", "TimeoutError", "pending",
          "future of a job: pending" },
      }, results)
      assert.are.same({ "late", "done", "future of a job: done" }, { value, status, text })
    end)

    it("cancels a pending job, and asks one that runs to stop #threads", function()
      local slow <close> = keeper()
      local states = lease:run(function(g)
        local future = g:submit_from_thread(nothing)
        local told = future:cancel()
        local ok, err = future:result()
        return { told, ok, err.name, err.message, future:status(), future:cancel() }
      end, slow)
      assert.are.same({ true, false, "CancelledError", "the job was not run: it was cancelled", "cancelled", false },
        states)
      local running = gate()
      running.open()
      states = lease:run(function(g, id)
        local test = require("leasepool.core").testing
        local future = g:submit_from_thread(function(gate_id)
          require("leasepool.core").testing.gate_pass(gate_id)
          while true do end -- luacheck: ignore
        end, id)
        assert(test.gate_await(id, 1))
        local told = future:cancel()
        local ok, err = future:result()
        return { told, ok, err.name, err.message, err.still_running or "no", future:status() }
      end, grinder, running.id)
      assert.are.same({ true, false, "CancelledError", "the job was stopped: it was cancelled", "no", "cancelled" },
        states)
    end)

    it("tells of a job that was given up", function()
      local hasty <close> = backend.manager({ max_pools = 1, workers_per_pool = 1, logger = nothing,
        interrupt_grace_seconds = 0.01, exit_grace_seconds = 0.01 }):start()
      local of_hasty <close> = leasepool.grinder({ manager = hasty, batch_size_threshold = 1 }):start()
      local blocker = gate()
      local states = lease:run(function(g, id)
        local future = g:submit_from_thread(function(gate_id)
          require("leasepool.core").testing.gate_pass(gate_id)
        end, id)
        assert(require("leasepool.core").testing.gate_await(id, 1))
        future:cancel()
        local ok, err = future:result()
        return { ok, err.name, err.still_running, future:status() }
      end, of_hasty, blocker.id)
      blocker.open()
      assert.are.same({ false, "CancelledError", true, "failed" }, states)
    end)

    it("never says done of a job that failed #threads", function()
      assert.are.equal(0, lease:run(function(g)
        local lies = 0
        for i = 1, 500 do
          local future = g:submit_from_thread(i % 2 == 0 and function() error "odd" end or function() end)
          local status
          repeat status = future:status() until status ~= "pending"
          if status ~= (i % 2 == 0 and "failed" or "done") then lies = lies + 1 end
        end
        return lies
      end, grinder))
    end)

    it("may be dropped unread, by the thousand #threads", function()
      local count <const> = os.getenv "LEASEPOOL_SANITIZE" and 500 or 5000
      lease:run(function(g, n)
        for i = 1, n do
          local future = g:submit_from_thread(function(list) return list, g end, { i, g, ("x"):rep(100) })
          if i % 7 == 0 then future:cancel() end
          if i % 100 == 0 then collectgarbage() end
        end
        collectgarbage()
      end, grinder, count)
      local stats
      repeat
        leasepool.sleep(0.001)
        stats = grinder:stats()
      until stats.pending + stats.in_flight == 0
      assert.is_true(stats.done >= count - count // 7)
    end)

    it("outlives its grinder, its job, and what it was made in", function()
      _G.kept = nil -- luacheck: ignore
      local blocker = gate()
      local slow = keeper()
      local future = begin(function(g, id)
        local inner = g:submit_from_thread(nothing)
        g = nil -- luacheck: ignore
        collectgarbage()
        require("leasepool.core").testing.gate_pass(id)
        local _, err = inner:result(30)
        return err.name, inner:status(), inner:cancel()
      end, slow, blocker.id)
      repeat leasepool.sleep(0.001) until testing.gate_await(blocker.id, 1, 0)
      slow:stop { cancel_pending = true }
      slow = nil -- luacheck: ignore
      collectgarbage()
      blocker.open()
      assert.are.same({ "CancelledError", "cancelled", false }, { future:await() })
    end)

    it("left to a finalizer neither hangs nor crashes", function()
      local slow <close> = keeper()
      for _ = 1, 3 do
        lease:run(function(g)
          local future = g:submit_from_thread(nothing)
          local rest = setmetatable({ future, g }, { __gc = function(list)
            pcall(list[1].status, list[1])
            pcall(list[1].result, list[1], 0)
            pcall(list[1].cancel, list[1])
            pcall(list[2].submit_from_thread, list[2], nothing)
            pcall(list[2].stats_from_thread, list[2], 0)
          end })
          _G.rest = { rest } -- until the state closes
          collectgarbage()
        end, slow)
      end
      lease:release()
      manager:stop()
    end)
  end)

  describe("a handle", function()
    it("travels in tables, as an upvalue, from job to job and back", function()
      local direct, deep, up = lease:run(function(g, list, m)
        local held = g
        return list.deep[1] == g and list[g] == nil and list.m == m and m ~= g,
          g:submit_from_thread(function(t) return t.g end, { g = g }):await() == g,
          g:submit_from_thread(function() return held end):await() == held
      end, grinder, { deep = { grinder }, m = manager }, manager)
      assert.are.same({ true, true, true }, { direct, deep, up })
      assert.are.equal("handle of a grinder", lease:run(function() return tostring(grinder) end))
      assert.are.equal("handle of a manager", lease:run(function(t) return tostring(t[1]) end, { manager }))
      local back, m = lease:run(function(...) return ... end, grinder, manager)
      assert.are.equal("userdata", type(back))
      assert.are_not.equal(grinder, back)
      assert.are.equal(back, (lease:run(function(...) return ... end, back)))
      assert.are_not.equal(back, m)
      assert.are.equal("ran", lease:run(function(g)
        return g:submit_from_thread(function() return "ran" end):await()
      end, back))
    end)

    it("is equal to those of the same object, and to nothing else", function()
      assert.are.same({ true, false, false, false, false }, { lease:run(function(a, b, m, n)
        return a == b, a == m, m == n, a == io.stdout, a == 1
      end, grinder, grinder, manager, served) })
    end)

    it("has no more than its methods, and hides its metatable", function()
      assert.are.same({ nil, nil, false, "userdata" }, { lease:run(function(g)
        local ok = pcall(function() g.x = 1 end)
        return g.submit, g[1], getmetatable(g) or ok, type(g)
      end, grinder) })
      assert.is_nil(lease:run(function(m) return m.submit_from_thread end, manager))
    end)

    it("travels in initargs, and serves all jobs there #threads", function()
      local with_args <close> = backend.manager({ max_pools = 1, workers_per_pool = 1,
        initargs = { grinder, { manager } }, initializer = function(g, list)
          _G.grinder, _G.first = g, g:submit_from_thread(function() return "at first" end):await()
          _G.text = tostring(list[1])
        end })
      with_args:start()
      local other <close> = with_args:acquire()
      assert.are.same({ "at first", "handle of a manager", "later" }, { other:run(function()
        return _G.first, _G.text, _G.grinder:submit_from_thread(function() return "later" end):await()
      end) })
    end)

    it("asks for the statistics that the object itself gives #threads", function()
      local function kinds(t, like) -- of the keys of `like`
        local out = {}
        for key, sample in pairs(like) do
          local value = t[key]
          out[key] = type(sample) == "table" and kinds(value, sample) or math.type(value) or type(value)
        end
        return out
      end
      local of_grinder, of_manager = lease:run(function(g, m)
        g:submit_from_thread(function() end):await()
        return g:stats_from_thread(), m:stats_from_thread(30)
      end, grinder, served)
      assert.are.same(kinds(grinder:stats(), grinder:stats()), kinds(of_grinder, grinder:stats()))
      assert.are.same(kinds(served:stats(), of_manager), kinds(of_manager, of_manager))
      assert.are.same({ 1, 1, 1 }, { of_grinder.items, of_grinder.done, of_manager.counters.jobs })
    end)

    it("travels in the fields of a line", function()
      local line
      local telling <close> = backend.manager({ max_pools = 1, log_level = "INFO",
        logger = function(_, _, fields) line = fields end })
      telling:start():run(function(g)
        require("leasepool.worker").log("INFO", "a line", { g = g, list = { g } })
      end, grinder)
      while not line do leasepool.sleep(0.001) end
      assert.are.equal(line.g, line.list[1])
      assert.are.equal("handle of a grinder", tostring(line.g))
    end)

    it("is refused by a grinder of child processes, and only there", function()
      local processes <close> = leasepool.manager({ max_pools = 1, backend = "process" }):start()
      local remote <close> = leasepool.grinder({ manager = processes, batch_size_threshold = 1 }):start()
      local value, path, message, back = lease:run(function(g, far)
        local value = far:submit_from_thread(function(x) return x * 2 end, 21):await()
        local ok, err = pcall(far.submit_from_thread, far, nothing, { g })
        assert(not ok)
        return value, err.path, err.message, g
      end, grinder, remote)
      assert.are.same({ 42, "arg 1[1]" }, { value, path })
      assert.matches("arg 1%[1%]: grinder, which a child process cannot have$", message)
      assert.are.equal("handle of a grinder", tostring(back))
    end)

    it("means the same in a leasepool of the job's own", function()
      assert.are.same({ 5, "handle of a grinder" }, { lease:run(function(g)
        local inner = require "leasepool"
        local own <close> = inner.manager({ max_pools = 2 }):start()
        local nested <close> = inner.grinder({ manager = own, batch_size_threshold = 1 }):start()
        return own:run(function(outer, of_own)
          return outer:submit_from_thread(function() return 2 end):await()
            + of_own:submit_from_thread(function() return 3 end):await(), tostring(outer)
        end, g, nested)
      end, grinder) })
    end)
  end)

  describe("what is called wrongly", function()
    it("is refused with the reason on the loop's own thread", function()
      local handle, of_manager = lease:run(function(...) return ... end, grinder, manager)
      for what, fn in pairs {
        ["grinder:submit_from_thread"] = function() grinder:submit_from_thread(nothing) end,
        ["grinder:stats_from_thread"] = function() grinder:stats_from_thread() end,
        ["manager:stats_from_thread"] = function() manager:stats_from_thread(1) end,
      } do
        local err = failure(fn)
        assert.are.equal("WrongThreadError", err.name)
        assert.matches(what .. ": called on the loop's own thread, which would wait for itself; use "
          .. what:match "^%a+" .. ":", err.message)
      end
      for _, fn in ipairs {
        function() handle:submit_from_thread(nothing) end,
        function() handle:stats_from_thread(0) end,
        function() of_manager:stats_from_thread(0) end,
      } do
        local err = failure(fn)
        assert.are.equal("WrongThreadError", err.name)
        assert.matches("would wait for itself", err.message)
      end
    end)

    it("does not crash, whatever self is", function()
      local count = lease:run(function(g, m)
        local future = g:submit_from_thread(function() end)
        local methods = { g.submit_from_thread, g.stats_from_thread, m.stats_from_thread, future.result, future.await,
          future.status, future.cancel }
        local own = { { [1] = true, [2] = true }, { [3] = true }, { [4] = true, [5] = true, [6] = true, [7] = true } }
        local refused = 0
        for number, method in ipairs(methods) do
          for _, wrong in ipairs { false, 1, "text", {}, print, io.stdout, coroutine.create(print), g, m, future } do
            local of = rawequal(wrong, g) and own[1] or rawequal(wrong, m) and own[2]
              or rawequal(wrong, future) and own[3]
            if not (of and of[number]) then
              local ok, err = pcall(method, wrong)
              assert(not ok and err.name == "ConfigError" and err.message:find "call it with a colon", err)
              refused = refused + 1
            end
          end
          local ok, err = pcall(method)
          assert(not ok and err.name == "ConfigError")
        end
        return refused
      end, grinder, manager)
      assert.are.equal(7 * 10 - 7, count)
    end)
  end)

  describe("a wait", function()
    local slow

    before_each(function() slow = keeper() end)
    after_each(function() slow:stop { cancel_pending = true } end)

    -- Never ends by itself, in each way in which a job can wait.
    local WAITS <const> = {
      ["result"] = function(g) return g:submit_from_thread(nothing):result() end,
      ["result with a limit"] = function(g) return g:submit_from_thread(nothing):result(1000) end,
      ["await"] = function(g) return g:submit_from_thread(nothing):await() end,
      ["await with a limit"] = function(g) return g:submit_from_thread(nothing):await(1000) end,
      ["result, in a coroutine"] = function(g)
        return coroutine.wrap(function() return g:submit_from_thread(nothing):result() end)()
      end,
      ["results, whatever they are"] = function(g)
        local future = g:submit_from_thread(nothing)
        while true do pcall(future.result, future, 1000) end
      end,
      ["results, for a short time each"] = function(g)
        local future = g:submit_from_thread(nothing)
        repeat local ok = future:result(0.001) until ok
      end,
    }

    for what, fn in pairs(WAITS) do
      it("for " .. what .. " is stopped by cancel #threads", function()
        local future = begin(fn, slow)
        future:cancel()
        local ok, err = future:result(30)
        assert.are.same({ false, "CancelledError", "the job was stopped: it was cancelled", "cancelled" },
          { ok, err.name, err.message, future:status() })
        assert.is_nil(err.still_running)
        assert.are.equal("usable", lease:run(function() return "usable" end))
      end)
    end

    it("is stopped by the timeout of its job, by expiry and by a stop", function()
      local _, err = lease:with({ timeout = 0.02 }):submit(WAITS.result, slow):result(30)
      assert.are.same({ "TimeoutError", "the job was stopped: its timeout of 0.02 seconds was over" },
        { err.name, err.message })
      _, err = lease:with({ timeout = 0.02 }):submit(WAITS["result with a limit"], slow):result(30)
      assert.are.same({ "TimeoutError", "the job was stopped: its timeout of 0.02 seconds was over" },
        { err.name, err.message })
      local short <close> = backend.manager({ max_pools = 1, lease_grace_seconds = 0, on_expiry = "interrupt",
        logger = nothing })
      local expiring = short:start():acquire()
      local future = expiring:submit(WAITS.result, slow)
      expiring:renew(0.02)
      _, err = future:result(30)
      assert.are.equal("LeaseExpiredError", err.name)
      future = begin(WAITS.await, slow)
      manager:stop { timeout = 0 }
      assert.are.equal("CancelledError", select(2, future:result()).name)
      manager:start()
      lease = manager:acquire()
    end)

    it("closes variables and may be caught once, and then the job has ended", function()
      local inside = gate()
      inside.open()
      local future = lease:submit(function(g, id)
        local waiting = g:submit_from_thread(nothing)
        local closed
        local ok, err = pcall(function()
          local _ <close> = setmetatable({}, { __close = function() closed = true end })
          require("leasepool.core").testing.gate_pass(id)
          return waiting:result()
        end)
        return ok, err.name, err.message, closed, waiting:status()
      end, slow, inside.id)
      repeat leasepool.sleep(0.001) until testing.gate_await(inside.id, 1, 0)
      future:cancel()
      assert.are.same({ true, false, "CancelledError", "the job is to stop: cancelled", true, "pending" },
        { future:result(30) })
    end)

    it("for statistics is stopped when nobody runs that loop", function()
      local blocker = gate()
      local future = begin(function(id)
        local inner = require "leasepool"
        local own = inner.manager({ max_pools = 1, workers_per_pool = 1, exit_grace_seconds = 0 }):start()
        local lent <close> = own:acquire()
        local other = lent:submit(function(m, gate_id)
          local _, err = pcall(m.stats_from_thread, m, 0.001)
          require("leasepool.core").testing.gate_pass(gate_id)
          m:stats_from_thread()
          return err
        end, own, id)
        assert(require("leasepool.core").testing.gate_await(id, 1)) -- does not run the loop
        local open = require("leasepool.core").testing.gate_open
        open(id)
        other:cancel()
        local _, err = other:result()
        return err.name
      end, blocker.id)
      assert.are.equal("CancelledError", future:await(30))
    end)
  end)
end)

describe("handles and child processes", function()
  local manager, grinder

  before_each(function()
    manager = leasepool.manager({ max_pools = 1, workers_per_pool = 1, backend = "process", logger = nothing }):start()
    grinder = leasepool.grinder({ manager = manager, batch_size_threshold = 1 }):start()
  end)

  after_each(function()
    grinder:stop()
    manager:stop()
  end)

  it("do not go together: each way in names the place", function()
    local lease <close> = manager:acquire()
    local list = { x = { grinder } }
    local function upvalue() return list end
    for expected, fn in pairs {
      ["arg 1"] = function() lease:submit(nothing, grinder) end,
      ["arg 2.m"] = function() lease:run(nothing, 1, { m = manager }) end,
      ["function: upvalue list.x[1]"] = function() lease:submit(upvalue) end,
      ["arg 1.x[1]"] = function() lease:post(nothing, nothing, list) end,
      ["arg 1[1]"] = function() grinder:enqueue(nothing, { grinder }) end,
      ["arg 2"] = function() grinder:submit(nothing, 1, manager) end,
      ["list[2][2]"] = function() lease:map(nothing, { 1, { 0, grinder } }) end,
      ["arg 3"] = function()
        leasepool.manager { max_pools = 1, backend = "process", initializer = nothing, initargs = { 1, 2, manager } }
      end,
    } do
      local err = failure(fn)
      assert.are.same({ "TransferError", expected }, { err.name, err.path })
      assert.matches("which a child process cannot have$", err.message)
    end
    assert.are.equal("usable", lease:run(function() return "usable" end))
  end)

  it("do not go together on the way back, whatever the job has submitted before", function()
    local lease <close> = manager:acquire()
    for _ = 1, 2 do
      local ok, err = lease:submit(function()
        local inner = require "leasepool"
        local own <close> = inner.manager({ max_pools = 1 }):start()
        own:run(function(m) return tostring(m) end, own)
        return 1, { own }
      end):result()
      assert.are.same({ false, "TransferError", "result 2[1]" }, { ok, err.name, err.path })
      assert.are.equal("usable", lease:run(function() return "usable" end))
    end
  end)

  it("do not go together in an error and in a line", function()
    local line
    local telling <close> = leasepool.manager({ max_pools = 1, backend = "process", log_level = "INFO",
      logger = function(_, _, fields) line = fields end })
    local lease <close> = telling:start():acquire()
    local _, err = lease:submit(function()
      local inner = require "leasepool"
      local own <close> = inner.manager({ max_pools = 1 }):start()
      own:run(function(m) return tostring(m) end, own)
      require("leasepool.worker").log("INFO", "a line", { m = own })
      error(own)
    end):result()
    assert.are.equal("JobError", err.name)
    assert.matches("^manager thread", err.message)
    while not line do leasepool.sleep(0.001) end
    assert.matches("^manager thread", line.m)
  end)

  it("go together inside of one: threads of the child have them", function()
    assert.are.equal(6, manager:run(function()
      local inner = require "leasepool"
      local own <close> = inner.manager({ max_pools = 2 }):start()
      local of_own <close> = inner.grinder({ manager = own, batch_size_threshold = 1 }):start()
      return own:run(function(g) return g:submit_from_thread(function(x) return x * 2 end, 3):await() end, of_own)
    end))
  end)
end)

describe("a state that closes", function()
  local PROGRAM <const> = [[
    local leasepool = require "leasepool"
    local testing = require("leasepool.core").testing
    local how, waits = ...
    local function nothing() end
    manager = leasepool.manager({ max_pools = 1, workers_per_pool = 4, logger = function() end }):start()
    served = leasepool.manager({ max_pools = 1, logger = function() end }):start()
    grinder = leasepool.grinder({ manager = served, batch_size_threshold = 1000, max_wait_seconds = 1000 }):start()
    lease = manager:acquire()
    local gate = testing.gate()
    testing.gate_open(gate)
    for _ = 1, 4 do
      lease:submit(function(g, id, ways)
        local future = g:submit_from_thread(nothing)
        require("leasepool.core").testing.gate_pass(id)
        if ways == "result" then return future:result() end
        if ways == "await" then return future:await() end
        if ways == "flood" then
          while true do g:submit_from_thread(nothing) end
        end
        while true do -- whatever it is
          pcall(future.result, future)
          pcall(g.stats_from_thread, g)
          pcall(g.submit_from_thread, g, nothing)
        end
      end, grinder, gate, waits)
    end
    while not testing.gate_await(gate, 4, 0) do leasepool.sleep(0.001) end
    if how == "exit" then os.exit(3, true) end
    if how == "raise" then error "raised" end
    if how == "callback" then
      leasepool.spawn(function() os.exit(4, true) end)
      leasepool.sleep(10)
    end
  ]]

  for how, expected in pairs { ["end"] = 0, exit = 3, raise = 1, callback = 4 } do
    for _, ways in ipairs { "result", "await", "stubborn", "flood" } do
      it(("does not wait for jobs that wait: by %s, in %s #threads"):format(how, ways), function()
        local output, messages, status = child.run(PROGRAM, how, ways)
        assert.are.same({ "", expected }, { output, status }, messages)
      end)
    end
  end

  it("stops waiting jobs without a signal too", function()
    local output, messages, status = child.run [[
      local leasepool = require "leasepool"
      local function nothing() end
      leasepool.set_interrupt_signal(false)
      manager = leasepool.manager({ max_pools = 1, workers_per_pool = 1 }):start()
      grinder = leasepool.grinder({ manager = manager, batch_size_threshold = 1000, max_wait_seconds = 1000 }):start()
      lease = manager:acquire()
      for _, seconds in ipairs { 1000, false } do
        local future = lease:with({ timeout = 0.02 }):submit(function(g, limit)
          return g:submit_from_thread(nothing):result(limit or nil)
        end, grinder, seconds)
        local _, err = future:result(20)
        print(err.name, err.message, err.still_running)
      end
      lease:release()
      grinder:stop { cancel_pending = true }
    ]]
    local line <const> = "TimeoutError\tthe job was stopped: its timeout of 0.02 seconds was over\tnil\n"
    assert.are.same({ line .. line, "", 0 }, { output, messages, status })
  end)

  it("ends a thread's wait for a loop that is gone", function()
    local output, messages, status = child.run [[
      local leasepool = require "leasepool"
      local function nothing() end
      manager = leasepool.manager({ max_pools = 1, workers_per_pool = 1 }):start()
      lease = manager:acquire()
      -- a grinder of a job's own leasepool, whose job ends, and with it the state
      local short = leasepool.manager({ max_pools = 1, backend = "interpreter" }):start()
      local handle = short:run(function()
        local inner = require "leasepool"
        own = inner.manager({ max_pools = 1 }):start()
        of_own = inner.grinder({ manager = own, batch_size_threshold = 1 }):start()
        return of_own
      end)
      local future = lease:submit(function(g)
        local ok, err = pcall(g.stats_from_thread, g)
        local again, why = pcall(g.submit_from_thread, g, nothing)
        return ok, err.name, again, why.name
      end, handle)
      short:run(function() end) -- a state for the next lease: the one before has closed, or does soon
      print(future:await(20))
      lease:release()
    ]]
    local expected = "false\tLeasePoolNotStartedError\tfalse\tLeasePoolNotStartedError\n"
    assert.are.same({ expected, "", 0 }, { output, messages, status })
  end)
end)
