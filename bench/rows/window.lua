--- Trivial jobs, a window of them in flight: jobs/s. Arguments: workers, form (post, submit,
-- coroutine), count, window (0: all at once), and "memory" for the peak in MiB instead.
local lib = require "bench.lib"
local uv = require "luv"

local function increment(x) return x + 1 end

local function finish(begun, count, sum, what)
  local seconds = (lib.now() - begun) / 1e9
  assert(sum == count * (count + 1) // 2 + count)
  lib.report(what == "memory" and lib.status "VmHWM" / 1024 or count / seconds)
end

local forms = {}

function forms.post(leasepool, lease, count, window)
  local gate = lib.gate(leasepool)
  local sent, done, sum = 0, 0, 0
  local function callback(_, result)
    done, sum = done + 1, sum + result
    if sent < count then
      sent = sent + 1
      lease:post(callback, increment, sent)
    elseif done == count then
      gate.open()
    end
  end
  local begun = lib.now()
  for _ = 1, math.min(window, count) do
    sent = sent + 1
    lease:post(callback, increment, sent)
  end
  gate.wait()
  return begun, sum
end

function forms.submit(leasepool, lease, count, window)
  local gate = lib.gate(leasepool)
  local sent, done, sum = 0, 0, 0
  local function on_done(future)
    done, sum = done + 1, sum + future:await()
    if sent < count then
      sent = sent + 1
      lease:submit(increment, sent):on_done(on_done)
    elseif done == count then
      gate.open()
    end
  end
  local begun = lib.now()
  for _ = 1, math.min(window, count) do
    sent = sent + 1
    lease:submit(increment, sent):on_done(on_done)
  end
  gate.wait()
  return begun, sum
end

-- All futures kept, awaited in order.
function forms.keep(_, lease, count)
  local sum, futures = 0, {}
  local begun = lib.now()
  for i = 1, count do futures[i] = lease:submit(increment, i) end
  for i = 1, count do sum = sum + futures[i]:await() end
  return begun, sum
end

-- Each job awaited by its own coroutine.
function forms.coroutine(leasepool, lease, count, window)
  local sent, sum = 0, 0
  local begun = lib.now()
  leasepool.run(function()
    local function one()
      sent = sent + 1
      local result = lease:run(increment, sent)
      sum = sum + result -- read after the wait: others have added meanwhile
      if sent < count then leasepool.spawn(one) end
    end
    for _ = 1, math.min(window, count) do leasepool.spawn(one) end
  end)
  return begun, sum
end

lib.main {
  leasepool = function(workers, form, count, window, what)
    count, window = tonumber(count), tonumber(window)
    lib.with_lease(tonumber(workers), function(leasepool, lease)
      local begun, sum = forms[form](leasepool, lease, count, window == 0 and count or window)
      finish(begun, count, sum, what)
    end)
  end,

  luv = function(_, form, count, window, what) -- the runner sets UV_THREADPOOL_SIZE
    count, window = tonumber(count), tonumber(window)
    if window == 0 then window = count end
    local sent, sum, work = 0, 0, nil
    local begun = lib.now()
    if form == "coroutine" then
      local waiting = {}
      work = uv.new_work(function(id, x) return id, x + 1 end, function(id, result)
        local co = waiting[id]
        waiting[id] = nil
        assert(coroutine.resume(co, result))
      end)
      local spawn
      local function one()
        sent = sent + 1
        local id = sent
        waiting[id] = coroutine.running()
        work:queue(id, id)
        local result = coroutine.yield()
        sum = sum + result
        if sent < count then spawn() end
      end
      function spawn() assert(coroutine.resume(coroutine.create(one))) end
      for _ = 1, math.min(window, count) do spawn() end
    else
      work = uv.new_work(increment, function(result)
        sum = sum + result
        if sent < count then
          sent = sent + 1
          work:queue(sent)
        end
      end)
      for _ = 1, math.min(window, count) do
        sent = sent + 1
        work:queue(sent)
      end
    end
    uv.run()
    finish(begun, count, sum, what)
  end,

  floor = function(workers, _, count, window, what)
    count, window = tonumber(count), tonumber(window)
    if window == 0 then window = count end
    lib.with_floor(tonumber(workers), increment, true, function(pool)
      local sent, sum = 0, 0
      local function callback(result)
        sum = sum + result
        if sent < count then
          sent = sent + 1
          pool:send(sent)
        end
      end
      local begun = lib.now()
      for _ = 1, math.min(window, count) do
        sent = sent + 1
        pool:send(sent)
      end
      pool:drive(callback)
      finish(begun, count, sum, what)
    end)
  end,
}
