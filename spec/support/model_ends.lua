--- How the manager of the model (model.lua) stops.
local ends = {}

function ends:end_stop()
  local report = self.report
  for _, n in ipairs(self.stops) do
    self:set_call(n, ("done %d %d %d %d"):format(report.finished, report.cancelled, report.interrupted,
      report.abandoned))
  end
  self.state, self.stops, self.stop_at, self.is_interrupting = "stopped", {}, nil, nil
end

function ends:end_stop_when_done()
  if self.state == "stopping" and #self.retiring == 0 then self:end_stop() end
end

function ends:begin_stop()
  self.state = "about to stop"
  self.report = { finished = 0, cancelled = 0, interrupted = 0, abandoned = 0 }
  self.check_at = nil
  if self.grinder then self:lose_manager() end
  self.available = {}
  local waiters = self.waiters
  self.waiters = {}
  for _, waiter in ipairs(waiters) do self:fail_waiter(waiter, "LeasePoolNotStartedError") end
  for _, lease in pairs(self.leases) do
    if self:is_open(lease) or lease.state == "DRAINING" then
      self.report.cancelled = self.report.cancelled + #lease.executor.queue
      self:take_away(lease, "stopped", "EXPIRED", "CancelledError")
      self:settle(lease)
    end
  end
  self.state = "stopping"
end

function ends:stop(op)
  self.kinds[op.n] = "stop"
  if self.state == "stopped" then
    self:set_call(op.n, "done 0 0 0 0")
    return
  end
  self:set_call(op.n, "pending")
  table.insert(self.stops, op.n)
  if self.state == "running" then self:begin_stop() end
  if op.timeout and not self.is_interrupting then
    self.stop_at = math.min(self.stop_at or math.huge, self.now + op.timeout)
  end
  self:end_stop_when_done()
end

--- Its time is over: everything is to stop, whatever its lease says. So is what that has: then
-- nobody waits for what goes on.
function ends:stop_is_late()
  local give_up = self.is_interrupting
  self.is_interrupting, self.stop_at = true, self.now + self:patience()
  for _, executor in ipairs { table.unpack(self.retiring) } do
    self:interrupt_all(executor, "CancelledError")
    for _, job in ipairs(give_up and { table.unpack(executor.running) } or {}) do self:give_up(job) end
  end
  if give_up then self:abandon() end
end

function ends:abandon()
  for _, executor in ipairs(self.retiring) do self.report.abandoned = self.report.abandoned + executor.lost end
  self:end_stop()
end

return ends
