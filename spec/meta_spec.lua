--- lua/leasepool/meta.lua and the files in meta/ say what is there: nothing is missing in them, and
-- nothing made up.
local core = require "leasepool.core"
local leasepool = require "leasepool"
local worker = require "leasepool.worker"

local function read_text()
  local texts = {}
  local names <close> = assert(io.popen "ls lua/leasepool/meta.lua lua/leasepool/meta/*.lua")
  for name in names:lines() do
    local file <close> = assert(io.open(name))
    texts[#texts + 1] = file:read "a"
  end
  return table.concat(texts, "\n")
end

local text = read_text()

-- Reads the text: classes by name, each with its fields (name to { optional, text }), the names
-- of its functions and its parent; functions in order, each with what stands above it.
local function read_meta()
  local classes, functions, block, current = {}, {}, {}, nil
  local owner = {} -- of a local variable: its class
  for line in text:gmatch "([^\n]*)\n" do
    local comment = line:match "^%-%-%-(.*)"
    local class, parent = line:match "^%-%-%-@class ([%w_.]+):? ?(.*)$"
    local variable = line:match "^local (%w+) = {}$"
    local object, name, parameters = line:match "^function (%w+)[.:]([%w_]+)(%b()) end$"
    if class then
      assert(not classes[class], class .. " is there twice")
      current = { name = class, parent = parent, fields = {}, functions = {}, above = block }
      classes[class] = current
    elseif line:match "^%-%-%-@field" then
      local field, optional, rest = line:match "^%-%-%-@field ([%w_]+)(%??) (.+)$"
      assert(field and current and not current.fields[field], line)
      current.fields[field] = { optional = optional == "?", text = rest }
    elseif variable then
      owner[variable] = current
    elseif object then
      local this = { class = owner[object], name = name, parameters = parameters, above = block }
      this.label = this.class.name .. "." .. name
      this.class.functions[name] = true
      functions[#functions + 1] = this
    end
    if comment then
      block[#block + 1] = comment
    else
      block = {}
      if not variable then current = nil end
    end
  end
  return classes, functions
end

local classes, functions = read_meta()

local function sorted(set)
  local names = {}
  for name in pairs(set) do names[#names + 1] = name end
  table.sort(names)
  return names
end

-- The names of a class and of what it inherits.
local function names_of(class, kind)
  local names, at = {}, classes[class]
  while at do
    for name in pairs(at[kind]) do names[name] = true end
    at = classes[at.parent]
  end
  return names
end

local function same_names(expected, class, kind)
  assert.are.same(sorted(expected), sorted(names_of(class, kind)))
end

-- The methods that the metatable of an object has.
local function methods_of(object)
  local index = debug.getmetatable(object).__index
  if type(index) == "table" then return index end
  return select(2, debug.getupvalue(index, 2))
end

-- What a call allows, as its refusal of an unknown option says.
local function allowed(call, ...)
  local ok, err = pcall(call, ...)
  assert(not ok, "the unknown option was not refused")
  local names = {}
  for name in err.message:match "allowed: (.*)":gmatch "[%w_]+" do names[name] = true end
  return names
end

local UNKNOWN <const> = { no_such_option = true }

describe("the annotations", function()
  local manager, lease, view, grinder, grinder_view

  setup(function()
    manager = leasepool.manager({ max_pools = 2 }):start()
    lease = manager:acquire { owner = "meta" }
    view = lease:with { name = "x", timeout = 10 }
    grinder = leasepool.grinder({ manager = manager }):start()
    grinder_view = grinder:with { owner = "meta", name = "x", timeout = 10 }
  end)

  teardown(function() manager:stop() end)

  it("have all of the module", function()
    local there = {}
    for name in pairs(leasepool) do there[name] = true end
    local annotated = names_of("leasepool", "functions")
    for name in pairs(annotated) do assert.are.equal("function", type(leasepool[name]), name) end
    for name in pairs(names_of("leasepool", "fields")) do annotated[name] = true end
    assert.are.same(sorted(there), sorted(annotated))
  end)

  it("have all methods of the objects", function()
    same_names(methods_of(manager), "leasepool.Manager", "functions")
    same_names(methods_of(view), "leasepool.View", "functions")
    same_names(methods_of(lease.executor), "leasepool.Executor", "functions")
    same_names(methods_of(lease:submit(print)), "leasepool.Future", "functions")
    same_names(methods_of(lease), "leasepool.Lease", "functions")
    same_names(methods_of(grinder), "leasepool.Grinder", "functions")
    same_names(methods_of(grinder_view), "leasepool.GrinderView", "functions")
  end)

  it("have all methods of what a job has instead of them", function()
    local names = { lease:run(function(for_manager, for_grinder)
      local function methods(object)
        local list = {}
        for name in pairs(debug.getmetatable(object).__index) do list[name] = true end
        return list
      end
      local future = for_grinder:submit_from_thread(print)
      future:cancel()
      return methods(for_manager), methods(for_grinder), methods(future), for_manager:stats_from_thread(10),
        for_grinder:stats_from_thread(10)
    end, manager, grinder) }
    same_names(names[1], "leasepool.ManagerHandle", "functions")
    same_names(names[2], "leasepool.GrinderHandle", "functions")
    same_names(names[3], "leasepool.ThreadFuture", "functions")
    same_names(names[4], "leasepool.ThreadStats", "fields")
    same_names(names[5], "leasepool.GrinderStats", "fields")
  end)

  it("have no field that objects do not have", function()
    local objects = {
      Manager = manager, Lease = lease, View = view, Grinder = grinder, GrinderView = grinder_view,
    }
    for class, object in pairs(objects) do
      for name in pairs(names_of("leasepool." .. class, "fields")) do
        assert.is_not_nil(object[name], class .. "." .. name)
      end
    end
  end)

  local function same_options(kind, class)
    local there, fields = {}, classes[class].fields
    for _, row in ipairs(core.option_rows(kind)) do
      there[row.name] = true
      local field = assert(fields[row.name], row.name)
      assert.are.equal(row.default ~= "required", field.optional, row.name)
      assert.is_truthy(field.text:find("(" .. row.default .. ")", 1, true), row.name .. ": " .. row.default)
      if row.unit == "seconds" or row.unit == "bytes" then assert.matches(row.unit, field.text) end
    end
    same_names(there, class, "fields")
  end

  it("have all options of a manager and of a grinder, with their defaults", function()
    same_options("manager", "leasepool.ManagerOptions")
    same_options("grinder", "leasepool.GrinderOptions")
  end)

  it("have all options of the calls", function()
    local same = {
      AcquireOptions = allowed(manager.acquire, manager, UNKNOWN),
      StopOptions = allowed(manager.stop, manager, UNKNOWN),
      WithOptions = allowed(lease.with, lease, UNKNOWN),
      GrinderWithOptions = allowed(grinder.with, grinder, UNKNOWN),
      GrinderStopOptions = allowed(grinder.stop, grinder, UNKNOWN),
      MapOptions = allowed(lease.map, lease, print, {}, UNKNOWN),
      ImapOptions = allowed(lease.imap, lease, print, print, UNKNOWN),
      GatherOptions = allowed(leasepool.gather, {}, UNKNOWN),
      AnyOptions = allowed(leasepool.any, {}, UNKNOWN),
    }
    for class, names in pairs(same) do same_names(names, "leasepool." .. class, "fields") end
  end)

  it("have all of the statistics and of the report of a stop", function()
    local stats = manager:stats()
    same_names(stats, "leasepool.Stats", "fields")
    same_names(stats.counters, "leasepool.Counters", "fields")
    same_names(stats.times, "leasepool.Times", "fields")
    same_names(stats.times.wait, "leasepool.Durations", "fields")
    same_names(stats.leases[1], "leasepool.LeaseStats", "fields")
    local other = leasepool.manager({ max_pools = 1 }):start()
    same_names(other:stop(), "leasepool.StopReport", "fields")
    same_names(grinder:stats(), "leasepool.GrinderStats", "fields")
    same_names(grinder:stop(), "leasepool.GrinderStopReport", "fields")
  end)

  it("have all classes of errors, each with its code, and so has the README", function()
    local file <close> = assert(io.open "README.md")
    local readme = file:read "a"
    same_names(leasepool.errors, "leasepool.Errors", "fields")
    for name, class in pairs(leasepool.errors) do
      local parent = class.base and "leasepool." .. class.base.name or ""
      assert.are.equal(parent, assert(classes["leasepool." .. name], name).parent)
    end
    for _, code in ipairs {
      "EINVAL", "ENOTSTARTED", "EUNAVAILABLE", "ETIMEDOUT", "EEXPIRED", "EQUEUEFULL", "ETRANSFER", "EJOB",
      "ECANCELLED", "EBROKEN", "ENOTSUP", "EWRONGTHREAD", "EWOULDBLOCK",
    } do
      local _, err = pcall(core.raise, code, "")
      assert.are.equal((' code "%s"'):format(err.code), classes["leasepool." .. err.name].above[1])
      local row = ("| %s | `%s` |"):format(err.name, err.code)
      assert.is_truthy(readme:find(row, 1, true), "no row in the README: " .. row)
    end
  end)

  it("have all of the worker module", function()
    same_names(worker, "leasepool.Worker", "functions")
    local there = {}
    for _, name in ipairs(lease:run(function()
      local here, names = require "leasepool.worker", {}
      for _, field in ipairs { "name", "lease_id", "owner" } do
        if here[field] then names[#names + 1] = field end
      end
      return names
    end)) do there[name] = true end
    same_names(there, "leasepool.Worker", "fields")
  end)

  it("say what each function does, takes and raises", function()
    assert.is_true(#functions > 40)
    for _, this in ipairs(functions) do
      local above, documented = table.concat(this.above, "\n"), {}
      assert.matches("^ %u", above, this.label)
      for name in above:gmatch "@param ([%w_.]+)" do documented[#documented + 1] = name end
      assert.are.equal(this.parameters, "(" .. table.concat(documented, ", ") .. ")", this.label)
      for name in above:gmatch "%f[%w]%u%w+Error%f[%W]" do
        assert.is_not_nil(leasepool.errors[name], this.label .. ": " .. name)
      end
    end
  end)

  it("name no class that is not there", function()
    for name in text:gmatch "leasepool%.%u%w+" do
      local known = classes[name] or text:find("@alias " .. name, 1, true)
      assert.is_truthy(known, name)
    end
  end)

  it("are for editors: no program loads them", function()
    for name in pairs(package.loaded) do
      if type(name) == "string" then assert.is_nil(name:find "^leasepool%.meta", name) end
    end
    for _, name in ipairs { "init", "check", "map", "stats", "worker" } do
      local file <close> = assert(io.open("lua/leasepool/" .. name .. ".lua"))
      assert.is_nil(file:read "a":find "leasepool%.meta", name)
    end
  end)
end)
