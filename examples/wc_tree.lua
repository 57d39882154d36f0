-- wc_tree.lua [DIR]: counts the lines, words and bytes of every regular file below DIR, as
-- `LC_ALL=C wc -lwc` does, on leased threads. The last line of the output is the total.
--
-- The script's own thread reads no file: `find` is read by the one worker of a lease of its
-- own, the files are counted by the workers of another, and never more than IN_FLIGHT
-- batches are on their way, however large the tree is.
--
-- Exit status: 0; 1 when something could not be read (a message says what); 2: wrong use.

local leasepool = require "leasepool"

local WORKERS <const> = 4
local IN_FLIGHT <const> = 8
local BATCH <const> = 64 -- files in one job

if #arg > 1 then
  io.stderr:write("usage: wc_tree.lua [DIR]\n")
  os.exit(2)
end
local directory = arg[1] or "."

-- ---- On the workers -------------------------------------------------------------------

-- Returns the next `limit` names, or nil and whether find was content. Its executor has one
-- worker, so the open pipe lasts in that worker's globals from job to job.
local function next_names(dir, limit)
  local state = _G.listing
  if not state then
    if dir:find("^[-!(),]") then dir = "./" .. dir end -- else an expression of find's
    local command = "find -H '" .. dir:gsub("'", "'\\''") .. "' -type f -print0"
    state = { pipe = assert(io.popen(command, "r")), rest = "" }
    _G.listing = state
  end
  local names = {}
  while #names < limit do
    local from, to = 1, state.rest:find("\0", 1, true)
    while to and #names < limit do
      names[#names + 1] = state.rest:sub(from, to - 1)
      from = to + 1
      to = state.rest:find("\0", from, true)
    end
    state.rest = state.rest:sub(from)
    if #names < limit then
      local block = state.pipe and state.pipe:read(16384)
      if not block then break end
      state.rest = state.rest .. block
    end
  end
  if #names > 0 then return names end
  if state.pipe then
    state.content = state.pipe:close() == true
    state.pipe = nil
  end
  return nil, state.content
end

-- Counts a batch of files. A word is a run of bytes that are not white space, at least one
-- of which is printable: so what is neither is taken out first.
local function count_files(names)
  local lines, words, bytes, troubles = 0, 0, 0, {}
  for _, name in ipairs(names) do
    local file, trouble = io.open(name, "rb")
    local in_word = false
    while file do
      local block, read_trouble = file:read(65536)
      if not block then
        if read_trouble then trouble = name .. ": " .. read_trouble end
        file:close()
        break
      end
      bytes = bytes + #block
      lines = lines + select(2, block:gsub("\n", ""))
      local visible = block:gsub("[^%s%g]+", "")
      words = words + select(2, visible:gsub("%S+", ""))
      if visible ~= "" then
        if in_word and visible:find("^%S") then words = words - 1 end -- goes on from the last block
        in_word = visible:find("^%S", -1) ~= nil
      end
    end
    if trouble then troubles[#troubles + 1] = trouble end
  end
  return lines, words, bytes, troubles
end

-- ---- On the script's thread -----------------------------------------------------------

local show_progress = os.execute("test -t 2") == true

local function main()
  local listers <close> = leasepool.manager { max_pools = 1, workers_per_pool = 1 }
  local counters <close> = leasepool.manager { max_pools = 1, workers_per_pool = WORKERS }
  local lister <close> = listers:start():acquire { owner = "find" }
  local counter <close> = counters:start():acquire { owner = "count" }
  local files, lines, words, bytes, failed = 0, 0, 0, 0, false

  local function count_batches()
    while true do
      local names, content = lister:run(next_names, directory, BATCH)
      if not names then
        failed = failed or not content
        return
      end
      local l, w, b, troubles = counter:run(count_files, names)
      files, lines, words, bytes = files + #names, lines + l, words + w, bytes + b
      if show_progress then io.stderr:write("\r", files, " files ") end
      for _, trouble in ipairs(troubles) do
        io.stderr:write(show_progress and "\r" or "", "wc_tree: ", trouble, "\n")
        failed = true
      end
    end
  end

  local batches = {}
  for i = 1, IN_FLIGHT do batches[i] = leasepool.spawn(count_batches) end
  leasepool.gather(batches)
  if show_progress then io.stderr:write("\r\27[K") end
  io.stdout:write(("%d files on %d threads\n%d %d %d total\n"):format(
    files, WORKERS, lines, words, bytes))
  local written, trouble = io.stdout:flush()
  if not written then io.stderr:write("wc_tree: standard output: ", trouble, "\n") end
  return (failed or not written) and 1 or 0
end

os.exit(leasepool.run(main), true)
