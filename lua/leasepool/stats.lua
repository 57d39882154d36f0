--- Statistics for people: what manager:stats() returns, as text.

local check = require "leasepool.check"

local stats = {}

local UNITS <const> = { { 1, "s" }, { 1e-3, "ms" }, { 1e-6, "us" }, { 1e-9, "ns" } }

local function duration(seconds)
  for _, unit in ipairs(UNITS) do
    if seconds >= unit[1] then return ("%.3g %s"):format(seconds / unit[1], unit[2]) end
  end
  return "0"
end

-- Columns as wide as their widest cell; numbers to the right, as every column but the first.
local function align(rows)
  local widths = {}
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do widths[i] = math.max(widths[i] or 0, utf8.len(cell) or #cell) end
  end
  local lines = {}
  for _, row in ipairs(rows) do
    local cells = {}
    for i, cell in ipairs(row) do
      local space = (" "):rep(widths[i] - (utf8.len(cell) or #cell))
      cells[i] = i == 1 and cell .. space or space .. cell
    end
    lines[#lines + 1] = "  " .. table.concat(cells, "  "):gsub("%s+$", "")
  end
  return table.concat(lines, "\n")
end

local function times(all)
  local rows = { { "", "count", "mean", "p50", "p90", "p99", "max" } }
  for _, name in ipairs { "wait", "hold", "run" } do
    local row, t = { name }, all[name]
    row[2] = ("%d"):format(t.count)
    for i, key in ipairs { "mean", "p50", "p90", "p99", "max" } do row[i + 2] = duration(t[key]) end
    rows[#rows + 1] = row
  end
  return align(rows)
end

local function leases(list)
  local rows = { { "lease", "owner", "state", "soft expiry", "hard expiry", "queued", "running" } }
  for _, lease in ipairs(list) do
    rows[#rows + 1] = {
      ("%d"):format(lease.lease_id), tostring(lease.owner or "-"), lease.state,
      ("%.1f s"):format(lease.seconds_until_soft_expiry), ("%.1f s"):format(lease.seconds_until_hard_expiry),
      ("%d"):format(lease.queued), ("%d"):format(lease.running),
    }
  end
  return align(rows)
end

--- The text for a table that manager:stats() or manager:stats_from_thread() returned.
-- @raise ConfigError
function stats.format(s)
  if type(s) ~= "table" or type(s.counters) ~= "table" then
    check.invalid("leasepool.format_stats: got %s, allowed: what manager:stats() returned", type(s))
  end
  local c = s.counters
  local lines = {
    ("%s: %d of at most %d executors (%d leased, %d available, %d wanted), %d workers each"):format(
      s.backend, s.total, s.max_pools, s.leased, s.available, s.desired, s.workers_per_pool),
    ("  retiring %d, waiters %d, jobs queued %d, running %d"):format(s.retiring, s.waiters, s.queued, s.running),
    ("  leases: %d acquired = %d live + %d released + %d expired + %d broken + %d stopped + %d leaked"):format(
      c.acquired, s.live, c.released, c.expired, c.broken, c.stopped, c.leaked),
    ("  refused: %d timed out, %d rejected; executors: %d created, %d retired"):format(
      c.timeouts, c.rejected, c.created, c.retired),
    ("  jobs: %d = %d queued + %d running + %d done + %d failed + %d cancelled (%d interrupted, %d killed)"):format(
      c.jobs, s.queued, s.running, c.done, c.failed, c.cancelled, c.interrupted, c.killed),
    times(s.times),
  }
  if s.leases and #s.leases > 0 then lines[#lines + 1] = leases(s.leases) end
  return table.concat(lines, "\n")
end

return stats
