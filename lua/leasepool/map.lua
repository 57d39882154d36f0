--- lease:map and lease:imap: one function over many values, with few jobs in flight.

local check = require "leasepool.check"
local core = require "leasepool.core"

-- One job of map works through this many elements at most, so that progress is told and all
-- workers have something to do.
local MAX_CHUNK <const> = 1000

-- The view through which the jobs are submitted: errors name the caller's function, not the
-- wrapper around it.
local function named_view(lease, fn)
  if core.type_of(lease) == "view" and lease.name then return lease end
  local where <const> = debug.getinfo(fn, "S")
  local name = where.short_src
  if where.linedefined > 0 then name = name .. ":" .. where.linedefined end
  return lease:with { name = name }
end

local function check_call(what, lease, fn)
  local kind <const> = core.type_of(lease)
  if kind ~= "lease" and kind ~= "view" then
    check.invalid("%s: argument 1: got %s, allowed: a lease (call it with a colon)", what, type(lease))
  end
  if type(fn) ~= "function" then
    check.invalid("%s: argument 1: got %s, allowed: a function", what, check.show(fn))
  end
end

local function cancel_all(futures)
  for _, future in pairs(futures) do future:cancel() end
end

-- Says in one of our errors where it comes from, as the caller sees it.
local function retell(err, pattern, replacement)
  if not core.is_error(err) then return end
  err.message = err.message:gsub(pattern, replacement, 1)
  if err.path then err.path = err.path:gsub(pattern, replacement, 1) end
end

-- Submits; nil when the queue is full and `busy`: there will be room when one of ours has ended.
local function submit(what, busy, method, ...)
  local ok, future, err = pcall(method, ...)
  if future and ok then return future end
  if ok and busy and core.is_error(err, "QueueFullError") then return nil end
  err = ok and err or future
  retell(err, "^lease:try_submit", what)
  error(err, 0)
end

---- map -----------------------------------------------------------------------------

local MAP_OPTIONS <const> = { chunk = true, on_progress = true }

-- The job: a chunk of elements to the list of their first results.
local function work_through(fn)
  return function(elements, count)
    local results = {}
    for i = 1, count do results[i] = (fn(elements[i])) end
    return results
  end
end

-- Submits the next chunk, which begins at `first`; false when it has to wait for room.
local function submit_chunk(call, first)
  local last <const> = math.min(first + call.chunk - 1, call.count)
  local future <const> = submit("lease:map", #call.futures > 0, core.submit_slice, call.view, call.job, call.list,
    first, last - first + 1)
  if not future then return false end
  local place <const> = #call.futures + 1
  call.firsts[place] = first -- without memory for both there must be no future without its place
  call.futures[place] = future
  call.next = last + 1
  return true
end

-- In a refusal the chunk is the job's first argument, and the function an upvalue of the job.
local function retell_chunk(err, first)
  retell(err, "arg 1%[(%d+)%]", function(place) return ("list[%d]"):format(first + place - 1) end)
  retell(err, "function: upvalue fn: function", "function")
end

local function fail(call, first, err)
  if not call.failed or first < call.failed then
    call.failed, call.err = first, err
  end
end

local function fill(call)
  while not call.failed and call.next <= call.count and #call.futures < call.window do
    local ok, submitted = pcall(submit_chunk, call, call.next)
    if not ok then
      retell_chunk(submitted, call.next)
      fail(call, call.next, submitted)
    end
    if not ok or not submitted then return end
  end
end

-- Takes the results of all that have ended.
local function collect(call)
  local futures <const>, firsts <const>, kept = call.futures, call.firsts, 0
  for i = 1, #futures do
    local future <const>, first <const> = futures[i], firsts[i]
    futures[i], firsts[i] = nil, nil
    if future:status() == "pending" then
      kept = kept + 1
      futures[kept], firsts[kept] = future, first
    else
      local ok, results = future:result()
      local size <const> = math.min(call.chunk, call.count - first + 1)
      if ok then
        core.place(results, size, call.results, first)
        call.done = call.done + size
      else
        fail(call, first, results)
      end
    end
  end
end

local close_call <const> = { __close = function(call) cancel_all(call.futures) end }

--- Calls a function for each element of a list, on the workers, and waits for all.
-- @tparam function fn gets one element; its first result counts
-- @tparam table list elements from 1 on; with `n` it may have holes
-- @tparam[opt] table options `chunk` (elements for each job; the default gives each worker
--   several jobs), `on_progress` (called with the number of elements done and of all)
-- @treturn table the results in order, with `n`
-- @raise the error of the first element that failed, after all that was submitted has ended
local function map(self, fn, list, options)
  local what <const> = "lease:map"
  check_call(what, self, fn)
  if type(list) ~= "table" then
    check.invalid("%s: list: got %s, allowed: a table", what, check.show(list))
  end
  options = check.options(what, options, MAP_OPTIONS)
  local on_progress <const> = check.optional(what, "on_progress", options.on_progress, "function", "a function")
  local count <const> = check.length(what, list)
  local workers <const> = core.worker_count(self)
  local chunk = check.count(what, "chunk", options.chunk)
  chunk = chunk or math.max(1, math.min(MAX_CHUNK, count // (8 * workers)))
  core.check_wait(what)
  local call <close> = setmetatable({
    view = named_view(self, fn), job = work_through(fn), list = list, count = count, chunk = chunk,
    window = 2 * workers, next = 1, done = 0, futures = {}, firsts = {}, results = core.list(count),
  }, close_call)
  fill(call)
  while #call.futures > 0 do
    core.wait_some(what, call.futures, #call.futures, 1)
    local before <const> = call.done
    collect(call)
    fill(call) -- before user code: the workers go on meanwhile
    if on_progress and call.done > before then on_progress(call.done, count) end
  end
  if call.failed then error(call.err, 0) end
  return call.results
end

---- imap ----------------------------------------------------------------------------

local IMAP_OPTIONS <const> = { window = true, on_progress = true }

-- The arguments behind the function: an iterator and options, or all that pairs, ipairs and
-- io.lines return, and options.
local function parse_input(...)
  local given <const> = select("#", ...)
  if given <= 2 then
    local iterator, options = ...
    return { iterator = iterator }, options
  end
  local iterator, state, control, closing, options = ...
  if given == 4 and type(closing) == "table" and not getmetatable(closing) then
    closing, options = nil, closing
  end
  return { iterator = iterator, state = state, control = control, closing = closing }, options
end

-- The next values of the input, as table.pack gives them; nil at its end.
local function pull(call)
  local input <const> = call.input
  if call.held then
    local held <const> = call.held
    call.held = nil
    return held
  end
  local values <const> = table.pack(input.iterator(input.state, input.control))
  input.control = values[1]
  return values[1] ~= nil and values or nil
end

local function end_input(call)
  if call.over then return end
  call.over = true
  local _ <close> = call.input.closing
end

-- Fills the window once it is half empty: one at a time would wait for each result.
local function feed(call)
  if 2 * call.flying > call.window then return end
  while not call.over and call.flying < call.window do
    local values <const> = pull(call)
    if not values then
      end_input(call)
      return
    end
    local future <const> = submit("lease:imap", call.flying > 0, call.view.try_submit, call.view, call.fn,
      table.unpack(values, 1, values.n))
    if not future then
      call.held = values
      return
    end
    call.flying = call.flying + 1
    call.last = call.last + 1
    call.futures[call.last] = future
  end
end

local function stop(call)
  local futures <const> = call.futures
  call.futures, call.held = {}, nil
  cancel_all(futures)
  end_input(call)
end

local function next_result(call)
  feed(call)
  local place <const>, future <const> = call.first, call.futures[call.first]
  if not future then return nil end
  call.first = place + 1
  local values <const> = table.pack(future:result())
  call.futures[place] = nil
  call.flying = call.flying - 1
  if not values[1] then error(values[2], 0) end
  if values[2] == nil then
    check.invalid("lease:imap: result %d: got nil, which would end the loop; allowed: any other "
      .. "first result", place)
  end
  call.done = call.done + 1
  if call.on_progress then call.on_progress(call.done, call.over and call.last or nil) end
  return values
end

local close_input <const> = { __close = stop }

--- Calls a function for what an iterator returns, on the workers, and gives the results in the
-- same order, as an iterator: `for result in lease:imap(fn, io.lines(name)) do`. Leaving the loop
-- cancels what is queued.
-- @tparam function fn gets all values of one step
-- @param ... an iterator, or all that `pairs`, `ipairs` or `io.lines` return; then, optionally, a
--   table of options: `window` (jobs in flight; two for each worker), `on_progress` (called with
--   the number of results given, and of all once that is known)
-- @return what a generic `for` takes
local function imap(self, fn, ...)
  local what <const> = "lease:imap"
  check_call(what, self, fn)
  local input <const>, options = parse_input(...)
  if type(input.iterator) ~= "function" then
    check.invalid("%s: iterator: got %s, allowed: a function", what, check.show(input.iterator))
  end
  options = check.options(what, options, IMAP_OPTIONS)
  local workers <const> = core.worker_count(self)
  local call <const> = setmetatable({
    view = self, fn = fn, input = input, futures = {}, first = 1, last = 0,
    flying = 0, done = 0, over = false,
    window = check.count(what, "window", options.window) or 2 * workers,
    on_progress = check.optional(what, "on_progress", options.on_progress, "function", "a function"),
  }, close_input)
  local function step()
    local ok <const>, values = pcall(next_result, call)
    if not ok then
      stop(call)
      error(values, 0)
    end
    if values then return table.unpack(values, 2, values.n) end
  end
  return step, nil, nil, call
end

for _, kind in ipairs { "lease", "view" } do
  core.extend(kind, "map", map)
  core.extend(kind, "imap", imap)
end
