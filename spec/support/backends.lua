--- The backends, and how a behaviour that holds for all of them is written once.
--
--   backends.each("lease:map", function(backend)
--     it("keeps order", function()
--       local manager <close> = backend.manager({ max_pools = 1 }):start()
--
-- makes a `describe` for each row. A manager from `backend.manager` is of that backend, and its
-- statistics are checked after each spec: as the spec left it, and again when the suite's own
-- after_each (which may stop it) has run. A program in a process of its own gets `backend.name`
-- as its argument. A suite that must not keep its managers alive calls leasepool.manager with
-- `backend = backend.name`.
local busted = require "busted"
local leasepool = require "leasepool"
local equations = require "spec.support.equations"

-- A row is what `options.backend` takes and what differs:
--   warm    globals and modules of a worker stay from lease to lease
--   code    a function may be a result: the manager takes code from its workers
--   threads a worker is a thread of this program: it has a name there, may not end the program or
--           change its locale, and cannot be killed
local rows <const> = {
  { name = "thread", warm = true, code = true, threads = true },
  { name = "interpreter", warm = false, code = true, threads = true },
  { name = "process", warm = true, code = false, threads = false },
}

local backends = { rows = rows }

--- Runs `suite(backend)` in a describe of its own for each row; `backend` has the row's fields.
function backends.each(title, suite)
  for _, row in ipairs(rows) do
    local made = {}
    local function check()
      for _, manager in ipairs(made) do equations(manager:stats()) end
    end
    local backend = setmetatable({}, { __index = row })

    function backend.manager(options)
      options.backend = row.name
      local manager = leasepool.manager(options)
      made[#made + 1] = manager
      return manager
    end

    busted.describe(title, function()
      busted.after_each(function()
        check()
        made = {}
      end)
      busted.describe("on the " .. row.name .. " backend", function()
        busted.after_each(check)
        suite(backend)
      end)
    end)
  end
end

return backends
