--- Views of a grinder, and whose its items are: for them, for others, and in what they log.
local leasepool = require "leasepool"
local worker = require "leasepool.worker"
local backends = require "spec.support.backends"
local failure = require "spec.support.failure"
local gate = require "spec.support.gate"
local grind = require "spec.support.grind"

local begin = grind.begin

local function nothing() end

backends.each("the owner of an item", function(backend)
  after_each(grind.finish)

  local function owner() return require("leasepool.worker").owner end

  it("is that of its view, else the batch's, also for jobs that follow on the same worker #threads", function()
    local grinder, manager = begin(backend, { batch_size_threshold = 6 })
    local ann, ben = grinder:with { owner = "ann" }, grinder:with({ owner = "ann" }):with { owner = "ben the longest" }
    local futures = {}
    for i, target in ipairs { grinder, ann, grinder, ben, ann, grinder } do futures[i] = target:enqueue(owner) end
    assert.are.same({ "work-grinder-batch-1", "ann", "work-grinder-batch-1", "ben the longest", "ann",
      "work-grinder-batch-1", n = 6 }, leasepool.gather(futures))
    futures = { ann:with({ timeout = 60 }):enqueue(owner), grinder:enqueue(owner) }
    grinder:stop()
    assert.are.same({ "ann", "work-grinder-batch-2", n = 2 }, leasepool.gather(futures))
    local lease <close> = manager:acquire { owner = "an outsider" }
    assert.are.equal("an outsider", lease:run(owner))
    lease:release()
    local unnamed <close> = manager:acquire()
    assert.is_nil(unnamed:run(owner))
  end)

  it("is told in what it logs, beside its lease", function()
    local lines = {}
    local grinder = begin(backend, { batch_size_threshold = 3, owner_prefix = "mill" }, {
      logger = function(_, message, fields)
        lines[#lines + 1] = { message, fields.owner, math.type(fields.lease_id) }
      end,
    })
    grinder:enqueue(worker.warn, "first")
    grinder:with({ owner = "ann" }):enqueue(function()
      require("leasepool.worker").warn "second"
      warn "third" -- luacheck: ignore
    end)
    grinder:enqueue(worker.warn, "fourth")
    grinder:stop()
    leasepool.sleep(0)
    assert.are.same({ { "first", "mill-batch-1", "integer" }, { "second", "ann", "integer" },
      { "third", "ann", "integer" }, { "fourth", "mill-batch-1", "integer" } }, lines)
  end)

  it("can be told of as long as the job runs, and however its view ends", function()
    local grinder = begin(backend, { batch_size_threshold = 1 })
    local blocker = gate()
    local future = grinder:with({ owner = ("o"):rep(10000) }):enqueue(function(pass, id)
      pass(id)
      return require("leasepool.worker").owner
    end, blocker.pass, blocker.id)
    blocker.await()
    for _ = 1, 2 do collectgarbage() end
    blocker.open()
    assert.are.equal(("o"):rep(10000), future:await())
    assert.are.equal("work-grinder-batch-2", grinder:submit(owner))
  end)

  it("of its batch's lease is the batch's, as others see it", function()
    local grinder <close>, manager = begin(backend, { batch_size_threshold = 1, owner_prefix = "mill" })
    local blocker = gate()
    grinder:with({ owner = "ann" }):enqueue(blocker.pass, blocker.id)
    assert.are.equal("mill-batch-1", manager:stats().leases[1].owner)
    blocker.open()
  end)
end)

backends.each("a view of a grinder", function(backend)
  after_each(grind.finish)

  it("tells its options and its grinder, and is a view of a view with all of them", function()
    local grinder = begin(backend, {})
    local view = grinder:with({ owner = "ann", name = "import" }):with { timeout = 2.5 }
    assert.are.same({ "ann", "import", 2.5, grinder }, { view.owner, view.name, view.timeout, view.grinder })
    assert.is_nil(view.no_such_field)
    assert.are.equal("view owner=ann of " .. tostring(grinder), tostring(view))
    assert.are.equal("view owner=none of " .. tostring(grinder), tostring(grinder:with {}))
  end)

  it("names its items in their errors", function()
    local grinder = begin(backend, { batch_size_threshold = 1 })
    local view = grinder:with { name = "import of users" }
    assert.are.equal("import of users", failure(view.submit, view, error, "x").job)
    assert.are.equal("import of users", select(2, view:enqueue(error, "x"):result()).job)
    local blocker = gate()
    grinder:enqueue(blocker.pass, blocker.id)
    local future = view:enqueue(nothing)
    future:cancel()
    assert.are.equal("import of users", select(2, future:result()).job)
    blocker.open()
    grinder:stop()
  end)

  it("keeps its grinder, as long as it is there itself", function()
    local weak = setmetatable({}, { __mode = "k" })
    local view
    do
      local grinder = begin(backend, { batch_size_threshold = 1 })
      weak[grinder] = true
      view = grinder:with { owner = "ann" }
    end
    for _ = 1, 2 do collectgarbage() end
    assert.are.equal("1", view:submit(tostring, 1))
    assert.is_truthy(next(weak))
    view = nil -- luacheck: ignore
    for _ = 1, 2 do collectgarbage() end
    assert.is_nil(next(weak))
  end)
end)
