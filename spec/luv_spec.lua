--- Under luv's loop: what is on it and what leasepool does interleave.
local child = require "spec.support.child"

-- The programs run in processes of their own: what is attached stays so.
local function run(code)
  return child.run([[
    local uv, leasepool = require "luv", require "leasepool"
    local adapter = require "leasepool.luv"
    local function failure(fn, ...)
      local ok, err = pcall(fn, ...)
      assert(not ok, "nothing was raised")
      return err
    end
  ]] .. code)
end

local function prints(expected, code)
  local output, errors, status = run(code)
  assert.are.same({ expected, "", 0 }, { output, errors, status })
end

describe("leasepool on luv's loop", function()
  it("calls callbacks and resumes coroutines, and luv's own go on meanwhile", function()
    prints("posted 42\nspawned job\nplain 7\nslept\ntimer callback 9\nstopped\nticked true\nended\n", [[
      adapter.attach(uv)
      local manager = leasepool.manager({ max_pools = 1, workers_per_pool = 1 }):start()
      local lease <close> = manager:try_acquire()
      local ticks, ticker = 0, uv.new_timer()
      ticker:start(0, 1, function() ticks = ticks + 1 end)
      lease:post(function(_, n) print("posted " .. n) end, function(n) return n + 1 end, 41)
      leasepool.spawn(function() print("spawned " .. lease:run(function() return "job" end)) end)
      coroutine.wrap(function()
        print("plain " .. lease:run(function() return 7 end))
        leasepool.sleep(0.03)
        print "slept"
        local timer = uv.new_timer()
        timer:start(1, 0, function()
          timer:close()
          lease:submit(function() return 9 end):on_done(function(future)
            print("timer callback " .. future:await())
            manager:stop { wait = false }:on_done(function()
              print "stopped"
              ticker:close()
            end)
          end)
        end)
      end)()
      uv.run()
      print("ticked " .. tostring(ticks > 3))
      print "ended"
    ]])
  end)

  it("keeps it alive as long as somebody waits, and no longer", function()
    prints("nothing to wait for\n1\nended\n", [[
      adapter.attach(uv)
      local manager = leasepool.manager({ max_pools = 1 }):start()
      local lease <close> = manager:try_acquire()
      uv.run()
      print "nothing to wait for"
      lease:post(function(_, n) print(n) end, function() return 1 end)
      uv.run()
      print "ended"
    ]])
  end)

  it("is woken for a time that is set while it sleeps", function()
    prints("timeout true\n", [[
      adapter.attach(uv)
      local manager = leasepool.manager({ max_pools = 1 }):start()
      local lease <close> = manager:try_acquire()
      local timer = uv.new_timer()
      local began
      timer:start(20, 0, function()
        timer:close()
        began = uv.hrtime()
        leasepool.spawn(function()
          leasepool.sleep(0.03)
          local seconds = (uv.hrtime() - began) / 1e9
          print("timeout " .. tostring(seconds >= 0.03 and seconds < 5))
        end)
      end)
      local far = uv.new_timer()
      far:start(10000, 0, function() end)
      far:unref()
      uv.run()
    ]])
  end)

  it("refuses to wait on the main thread, which cannot run it", function()
    prints("WouldBlockError\nWouldBlockError\n5\n", [[
      local manager = leasepool.manager({ max_pools = 1 }):start()
      local lease <close> = manager:acquire()
      adapter.attach(uv)
      print(failure(lease.run, lease, print).name)
      local timer = uv.new_timer()
      timer:start(0, 0, function()
        timer:close()
        print(failure(lease.run, lease, print).name)
      end)
      uv.run()
      adapter.detach()
      print(lease:run(function() return 5 end))
    ]])
  end)

  it("can be detached and attached again", function()
    prints("1\n2\n3\n", [[
      local manager = leasepool.manager({ max_pools = 1 }):start()
      local lease <close> = manager:acquire()
      for i = 1, 3 do
        adapter.attach(uv)
        lease:post(function(_, n) print(n) end, function(n) return n end, i)
        uv.run()
        adapter.detach()
      end
    ]])
  end)

  it("says what cannot be attached", function()
    prints("ConfigError ConfigError\n", [[
      local first = failure(adapter.attach, 5)
      adapter.attach(uv)
      print(first.name .. " " .. failure(adapter.attach, uv).name)
    ]])
  end)

  it("costs nothing while there is nothing to do", function()
    prints("quiet\n", [[
      local function switches()
        for line in io.lines "/proc/self/status" do
          local count = line:match "^voluntary_ctxt_switches:%s+(%d+)"
          if count then return tonumber(count) end
        end
      end
      adapter.attach(uv)
      local manager = leasepool.manager({ max_pools = 1 }):start()
      local lease <close> = manager:try_acquire { lease_seconds = 3600 }
      lease:post(function() end, function() end)
      uv.run()
      local timer, before = uv.new_timer()
      timer:start(500, 1500, function() -- two looks, a sleep between them
        if not before then
          before = switches()
          return
        end
        print(switches() - before <= 2 and "quiet" or "woken " .. switches() - before .. " times")
        timer:close()
      end)
      uv.run()
    ]])
  end)

  it("watches a child process that a callback of luv's has started", function()
    prints("7\nended\n", [[
      adapter.attach(uv)
      local manager = leasepool.manager({ backend = "process", max_pools = 1, workers_per_pool = 1 }):start()
      local lease <close> = manager:try_acquire { lease_seconds = 3600 }
      local timer = uv.new_timer()
      timer:start(5, 0, function()
        timer:close()
        lease:post(function(_, n) print(n) end, function() return 7 end)
      end)
      uv.run()
      print "ended"
    ]])
  end)

  it("runs child processes and their deaths", function()
    prints("4\nBrokenExecutorError\n", [[
      adapter.attach(uv)
      leasepool.spawn(function()
        local manager <close> = leasepool.manager({ backend = "process", max_pools = 1, workers_per_pool = 1,
          logger = function() end }):start()
        local lease <close> = manager:acquire()
        print(lease:run(function() return 4 end))
        local _, err = lease:submit(function() os.exit(3) end):result()
        print(err.name)
      end)
      uv.run()
    ]])
  end)
end)

describe("examples/luv_tcp.lua", function()
  it("answers at once what is quick, the rest from workers, and quits in order", function()
    prints("pong\nwhat?\n6765\n196418\nexit 0\n", ([[
      local server, output = nil, uv.new_pipe()
      server = assert(uv.spawn(LUA, { args = { "examples/luv_tcp.lua" }, stdio = { nil, output, 2 } }, function(code)
        print("exit " .. code)
        server:close()
        output:close()
      end))
      local function converse(port)
        local client, rest, seen = uv.new_tcp(), "", 0
        client:connect("127.0.0.1", port, function(err)
          assert(not err, err)
          client:read_start(function(_, data)
            if not data then return client:close() end
            rest = rest .. data
            for line in rest:gmatch "([^\n]*)\n" do
              print(line)
              seen = seen + 1
              if seen == 3 then client:write "fib 27\n" end
              if seen == 4 then client:write "quit\n" end
            end
            rest = rest:match "[^\n]*$"
          end)
          client:write "fib 20\nping\nfib x\n"
        end)
      end
      output:read_start(function(_, data)
        if data then converse(tonumber(data:match "%d+")) end
      end)
      uv.run()
    ]]):gsub("LUA", ("%q"):format(os.getenv "LEASEPOOL_LUA" or "lua5.4")))
  end)
end)
