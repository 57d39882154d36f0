--- What time does to a lease.
local backends = require "spec.support.backends"
local timeline = require "spec.support.timeline"

backends.each("a lease", function(backend)
  it("passes its soft expiry, and then its hard one, at their times #threads", function()
    assert.are.equal([[
ACTIVE
ACTIVE
GRACE
told GRACE
ok
GRACE
EXPIRED
LeaseExpiredError
0 leased of 1
CLOSED
late but whole
]], (timeline([[
      local manager = leasepool.manager({ backend = ...,
        max_pools = 1, workers_per_pool = 1, lease_grace_seconds = 5 }):start()
      local lease = manager:acquire { lease_seconds = 10, on_soft_expiry = function(l) print("told " .. l.state) end }
      local blocker = gate()
      print(lease.state)
      at(9.999) print(lease.state)
      testing.clock_advance(0.001) print(lease.state) -- before any turn
      at(0)
      local running = lease:submit(blocker.pass, blocker.id, "late but whole")
      blocker.await()
      print(name_of(pcall(lease.submit, lease, print)))
      at(4.999) print(lease.state)
      at(0.001) print(lease.state)
      print(name_of(pcall(lease.submit, lease, print)))
      print(manager.leased_count .. " leased of " .. manager.total_count)
      blocker.open()
      till(function() return lease.state == "CLOSED" end)
      print(lease.state)
      print(running:await())
    ]], backend.name)))
  end)

  it("refuses work after its hard expiry although no turn has come", function()
    assert.are.equal("LeaseExpiredError\nexpired\nLeaseExpiredError\nnil\tLeaseExpiredError\n", (timeline([[
      local manager = leasepool.manager({ backend = ..., max_pools = 1, lease_grace_seconds = 0 }):start()
      local lease = manager:acquire { lease_seconds = 1 }
      testing.clock_advance(1)
      local ok, err = pcall(lease.submit, lease, print)
      print(name_of(ok, err))
      print(err.message:match "%w+$")
      print(name_of(pcall(lease.renew, lease)))
      local value, failure = lease:try_submit(print)
      print(value, failure.name)
    ]], backend.name)))
  end)

  it("ends queued jobs with LeaseExpiredError and lets the running one finish #threads", function()
    assert.are.equal("LeaseExpiredError\nLeaseExpiredError\nfirst\n", (timeline([[
      local manager = leasepool.manager({ backend = ...,
        max_pools = 1, workers_per_pool = 1, lease_grace_seconds = 0 }):start()
      local lease = manager:acquire { lease_seconds = 1 }
      local blocker = gate()
      local first = lease:submit(blocker.pass, blocker.id, "first")
      blocker.await()
      local second, third = lease:submit(print), lease:submit(print)
      at(1)
      print(name_of(second:result()))
      print(name_of(third:result()))
      blocker.open()
      print(first:await())
    ]], backend.name)))
  end)

  it("frees its place at once: the next borrower does not wait for what still runs #threads", function()
    assert.are.equal("got it\t1 retiring\nserved\n0 retiring\n", (timeline([[
      local manager = leasepool.manager({ backend = ...,
        max_pools = 1, workers_per_pool = 1, lease_grace_seconds = 0 }):start()
      local first = manager:acquire { lease_seconds = 1 }
      local blocker = gate()
      local running = first:submit(blocker.pass, blocker.id)
      blocker.await()
      local second
      leasepool.spawn(function()
        second = manager:acquire()
        print("got it", manager:stats().retiring .. " retiring")
      end)
      at(1)
      print(second:run(function() return "served" end))
      blocker.open()
      running:await()
      till(function() return manager:stats().retiring == 0 end)
      print(manager:stats().retiring .. " retiring")
    ]], backend.name)))
  end)

  it("lets retiring executors beyond max_retiring take places until they end #threads", function()
    assert.are.equal("waits\nserved\n", (timeline([[
      local manager = leasepool.manager({ backend = ..., max_pools = 1, workers_per_pool = 1, max_retiring = 0,
        lease_grace_seconds = 0 }):start()
      local first = manager:acquire { lease_seconds = 1 }
      local blocker = gate()
      first:submit(blocker.pass, blocker.id)
      blocker.await()
      at(1)
      print(manager:try_acquire() and "overbooked" or "waits")
      blocker.open()
      local second = manager:acquire()
      print(second:run(function() return "served" end))
    ]], backend.name)))
  end)

  it("is renewed for its length or another, from ACTIVE and from GRACE", function()
    assert.are.equal([[
20.0 22.0
told
GRACE
ACTIVE 17.0 19.0
ACTIVE 3.0 5.0
told
EXPIRED-or-CLOSED LeaseExpiredError
]], (timeline([[
      local manager = leasepool.manager({ backend = ..., max_pools = 1, lease_grace_seconds = 2 }):start()
      local start = require("leasepool.core").now()
      local lease = manager:acquire { lease_seconds = 10, on_soft_expiry = function() print "told" end }
      local function expiries(from)
        return ("%.1f %.1f"):format(lease.soft_expires_at - from, lease.hard_expires_at - from)
      end
      at(10 - 1e-9)
      lease:renew()
      print(expiries(start))
      at(11)
      print(lease.state)
      local now = require("leasepool.core").now()
      lease:renew(17)
      print(lease.state, expiries(now))
      lease:renew(3)
      print(lease.state, expiries(now))
      at(3)
      at(2)
      print((lease.state == "EXPIRED" or lease.state == "CLOSED") and "EXPIRED-or-CLOSED" or lease.state,
        name_of(pcall(lease.renew, lease, 100)))
    ]], backend.name)):gsub("\t", " "))
  end)

  it("is told of each soft expiry once, and a callback may renew it for ever", function()
    assert.are.equal("told 5 times, ACTIVE\n", (timeline([[
      local manager = leasepool.manager({ backend = ..., max_pools = 1 }):start()
      local told = 0
      local lease = manager:acquire { lease_seconds = 10, on_soft_expiry = function(l)
        told = told + 1
        l:renew()
      end }
      for _ = 1, 50 do at(1) end
      print(("told %d times, %s"):format(told, lease.state))
    ]], backend.name)))
  end)

  it("may be released, or its manager stopped, in its soft-expiry callback", function()
    assert.are.equal("CLOSED\nstopped 0\nCLOSED\n", (timeline([[
      local manager = leasepool.manager({ backend = ..., max_pools = 1 }):start()
      local lease = manager:acquire { lease_seconds = 1, on_soft_expiry = function(l) l:release() end }
      at(1)
      print(lease.state)
      local other = manager:acquire { lease_seconds = 1, on_soft_expiry = function()
        manager:stop { wait = false }:on_done(function(f) print("stopped " .. f:await().finished) end)
      end }
      at(1)
      till(function() return tostring(manager):find "stopped" end)
      at(0)
      print(other.state)
    ]], backend.name)))
  end)

  it("tells the callback it was asked for, whatever happens to the table of options meanwhile", function()
    assert.are.equal("told 1\ntold 2\n", (timeline [[
      local manager = leasepool.manager({ max_pools = 1 }):start()
      local first, second = manager:acquire(), nil
      local options = { lease_seconds = 1, owner = "changes", on_soft_expiry = function() print "told 1" end }
      leasepool.spawn(function() second = manager:acquire(options) end)
      options.on_soft_expiry, options.owner = nil, nil
      first:release()
      at(0) at(1)
      second:release()
      local request = manager:request { lease_seconds = 1, on_soft_expiry = function() print "told 2" end }
      collectgarbage()
      at(0)
      local third = request:await()
      at(1)
      assert(third.state == "GRACE")
    ]]))
  end)

  it("goes on when its soft-expiry callback raises, which is logged with its traceback", function()
    local output, errors = timeline([[
      local manager = leasepool.manager({ backend = ..., max_pools = 1, lease_grace_seconds = 5 }):start()
      local lease = manager:acquire { lease_seconds = 1, on_soft_expiry = function() error "oops" end }
      at(1) print(lease.state)
      at(5) print(lease.state)
    ]], backend.name)
    assert.are.equal("GRACE\nCLOSED\n", output)
    assert.matches("ERROR: on_soft_expiry failed: .*oops\nstack traceback", errors)
  end)

  it("of a request that nobody had asked for is told of its soft expiry when somebody does", function()
    assert.are.equal("told GRACE\n", (timeline([[
      local manager = leasepool.manager({ backend = ..., max_pools = 1 }):start()
      local request = manager:request { lease_seconds = 1, on_soft_expiry = function(l) print("told " .. l.state) end }
      at(2)
      local lease <close> = request:await()
      at(0)
    ]], backend.name)))
  end)

  it("tells in its text how long it has: to the soft expiry, then to the hard one", function()
    assert.are.equal("ACTIVE 10.0s\nACTIVE 0.1s\nGRACE 4.0s\n", (timeline([[
      local manager = leasepool.manager({ backend = ..., max_pools = 1, lease_grace_seconds = 5 }):start()
      local lease <close> = manager:acquire { lease_seconds = 10 }
      local function text() return tostring(lease):match "owner=none (.*)" end
      print(text())
      at(9.9) print(text())
      at(1.1) print(text())
    ]], backend.name)))
  end)

  it("that was released before its soft expiry is not told", function()
    assert.are.equal("", (timeline([[
      local manager = leasepool.manager({ backend = ..., max_pools = 1, workers_per_pool = 1 }):start()
      local lease <close> = manager:acquire { lease_seconds = 1, on_soft_expiry = function() print "told" end }
      local blocker = gate()
      lease:submit(blocker.pass, blocker.id)
      blocker.await()
      lease:release()
      at(1) at(1)
      blocker.open()
    ]], backend.name)))
  end)

  it("expires while it drains: its executor never goes back to the pool #threads", function()
    assert.are.equal("DRAINING\nEXPIRED\nreleased 1, expired 0, retired 1\n", (timeline([[
      local manager = leasepool.manager({ backend = ...,
        max_pools = 1, workers_per_pool = 1, lease_grace_seconds = 1 }):start()
      local lease = manager:acquire { lease_seconds = 1 }
      local blocker = gate()
      local running = lease:submit(blocker.pass, blocker.id)
      blocker.await()
      lease:release()
      print(lease.state)
      at(2) print(lease.state)
      blocker.open()
      running:await()
      local c = manager:stats().counters
      print(("released %d, expired %d, retired %d"):format(c.released, c.expired, c.retired))
    ]], backend.name)))
  end)

  it("that is released after its hard expiry does not give its executor back", function()
    assert.are.equal("expired 1, released 0, retired 1, available 1\n", (timeline([[
      local manager = leasepool.manager({ backend = ..., max_pools = 1, lease_grace_seconds = 0 }):start()
      local lease = manager:acquire { lease_seconds = 1 }
      testing.clock_advance(1)
      lease:release()
      at(0)
      local s = manager:stats()
      print(("expired %d, released %d, retired %d, available %d"):format(s.counters.expired, s.counters.released,
        s.counters.retired, s.available))
    ]], backend.name)))
  end)

  it("expires at its time while a size provider takes its own #threads", function()
    assert.are.equal("at 1.0: GRACE\nat 2.0: expired\n", (timeline([[
      local manager = leasepool.manager({ backend = ..., max_pools = 2, lease_grace_seconds = 1, check_interval = 100,
        size_provider = function() return 1 end }):start()
      local lease = manager:acquire { lease_seconds = 1 }
      at(1) print("at 1.0: " .. lease.state)
      at(1) print("at 2.0: " .. (manager:stats().counters.expired == 1 and "expired" or "not"))
    ]], backend.name)))
  end)

  it("checks its durations", function()
    assert.are.equal([[
manager:acquire: lease_seconds: got 0, allowed: a finite number of seconds > 0
manager:acquire: lease_seconds: got -1, allowed: a finite number of seconds > 0
manager:acquire: lease_seconds: got inf, allowed: a finite number of seconds > 0
manager:acquire: lease_seconds: got nan, allowed: a finite number of seconds > 0
manager:acquire: lease_seconds: got "1", allowed: a finite number of seconds > 0
manager:acquire: on_soft_expiry: got 3, allowed: a function
on_expiry: got "stop", allowed: "leave", "interrupt", "kill"
lease:renew: seconds: got true, allowed: a finite number of seconds > 0
]], (timeline([[
      local manager = leasepool.manager({ backend = ..., max_pools = 1 }):start()
      for _, seconds in ipairs { 0, -1, math.huge, 0 / 0, "1" } do
        local _, err = pcall(manager.acquire, manager, { lease_seconds = seconds })
        print(err.message)
      end
      print(select(2, pcall(manager.acquire, manager, { on_soft_expiry = 3 })).message)
      print(select(2, pcall(manager.acquire, manager, { on_expiry = "stop" })).message)
      local lease = manager:acquire()
      print(select(2, pcall(lease.renew, lease, true)).message)
    ]], backend.name)))
  end)

  it("expires within milliseconds of its time on the real clock, with no call into the library", function()
    local child = require "spec.support.child"
    local output, errors, status = child.run([[
      local leasepool = require "leasepool"
      local manager = leasepool.manager({ backend = ..., max_pools = 100, lease_grace_seconds = 0.5 }):start()
      leasepool.run(function()
        local leases, told, worst = {}, 0, 0
        local now = require("leasepool.core").now
        for i = 1, 100 do
          leases[i] = manager:acquire { lease_seconds = 0.01 + i / 1000, on_soft_expiry = function(l)
            told = told + 1
            worst = math.max(worst, now() - l.soft_expires_at)
          end }
        end
        for _ = 1, 1000 do -- until all are over; nothing else is called
          leasepool.sleep(0.02)
          if told == 100 and manager:stats().counters.expired == 100 then break end
        end
        print(told, manager:stats().counters.expired, worst >= 0 and worst < 5 and "in time" or worst)
      end)
    ]], backend.name)
    assert.are.same({ "100\t100\tin time\n", "", 0 }, { output, errors, status })
  end)
end)
