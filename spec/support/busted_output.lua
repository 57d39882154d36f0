-- busted's plain output, and beside it the file that LEASEPOOL_TOTALS names: "passed failed
-- skipped" once all is done. FILE.current holds the spec that runs, for when it never ends.
local new_plain = require "busted.outputHandlers.plainTerminal"

local function write(path, text)
  local file <close> = assert(io.open(path, "w"))
  file:write(text, "\n")
end

return function(options)
  local busted = require "busted"
  local handler = new_plain(options)
  local path = assert(os.getenv "LEASEPOOL_TOTALS", "LEASEPOOL_TOTALS names no file")

  busted.subscribe({ "file", "start" }, function(file)
    write(path .. ".current", file.name)
    return nil, true
  end)
  busted.subscribe({ "test", "start" }, function(element)
    write(path .. ".current", handler.getFullName(element))
    return nil, true
  end)
  busted.subscribe({ "exit" }, function()
    write(path, string.format("%d %d %d", handler.successesCount,
      handler.failuresCount + handler.errorsCount, handler.pendingsCount))
    return nil, true
  end, { priority = 1 })
  return handler
end
