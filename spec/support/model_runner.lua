--- Runs sequences of operations on the real manager and on the model, and compares the two after
-- each. A sequence is chosen from a seed alone, and can be run again, whole or in parts; one that
-- shows a difference is made as short as it gets and shown as lines of a script.
local Model = require "spec.support.model"
local Real = require "spec.support.model_real"
local clock = require "spec.support.model_clock"
local ops = require "spec.support.model_ops"

local TICK <const> = Model.TICK
local STEPS <const> = 120 -- of one sequence

-- ---- Two worlds ------------------------------------------------------------------------

local Pair = {}
Pair.__index = Pair

local function new_pair(options, model)
  return setmetatable({ real = Real.new(options), model = (model or Model).new(options) }, Pair)
end

local function both_names(a, b)
  local names = {}
  for name in pairs(a) do names[name] = true end
  for name in pairs(b) do names[name] = true end
  local list = {}
  for name in pairs(names) do list[#list + 1] = name end
  table.sort(list)
  return list
end

--- Keeps the first difference.
function Pair:differ(text, ...)
  self.difference = self.difference or text:format(...)
end

local function same(a, b)
  for name, value in pairs(a) do
    if b[name] ~= value then return false end
  end
  for name in pairs(b) do
    if a[name] == nil then return false end
  end
  return true
end

--- Lets both come to rest and compares what can be seen.
function Pair:compare()
  self.real:turn()
  self.model:turn()
  local unrest = self.real:settle()
  if unrest then self:differ("never at rest: %s", unrest) end
  local real, model = self.real:look(), self.model:look()
  if same(real, model) then return end
  for _, name in ipairs(both_names(real, model)) do
    if real[name] ~= model[name] then
      self:differ("%s: the core says %s, the model says %s", name, real[name] or "nothing new",
        model[name] or "nothing new")
    end
  end
end

function Pair:call(op)
  local real, model = self.real[op.call](self.real, op), self.model[op.call](self.model, op)
  if real ~= model then
    self:differ("%s: the core says %s, the model says %s", op.call, tostring(real), tostring(model))
  end
end

function Pair:move(units)
  if units <= 0 then return end
  self.real:pass(units)
  self.model:pass(units)
  self:compare()
end

--- Moves the clock, and stops before and at each time that must not be passed by, and for good
-- before a tick of which it is open what happens at it.
function Pair:pass(units)
  local till = self.model.now + units
  while not self.difference do
    local at = clock.next_stop(self.model)
    if at > till or at <= self.model.now then break end
    local before = (at - 1) // TICK * TICK
    self:move(before - self.model.now)
    if self.model.now == before and clock.is_open(self.model, before + TICK) then return end
    self:move(at - self.model.now)
  end
  self:move(till - self.model.now)
end

--- How an operation is done on both; `call` where nothing is said.
local ways = {}

function ways.pass(pair, op) pair:pass(op.units) end

--- Size checks are counted from here, and come between the ticks: so does the start.
function ways.start(pair, op)
  pair:pass(TICK // 8)
  pair:call(op)
  pair:compare()
  pair:pass(TICK - TICK // 8)
end

function ways.handover(pair, op)
  pair:call { call = "release", lease = op.lease }
  pair:call(op.after)
end

function ways.late(pair, op)
  pair.real:pass(op.units)
  pair.model:pass(op.units)
  pair:call(op.after)
end

function Pair:step(op)
  if not ops.allowed(self.model, op) then return end
  local way = ways[op.call] or self.call
  way(self, op)
  self:compare()
end

-- ---- Sequences -------------------------------------------------------------------------

--- Runs a list of operations; returns the first difference, and after how many it came.
local function replay(options, list, model)
  local pair = new_pair(options, model)
  local steps = 0
  for _, op in ipairs(list) do
    steps = steps + 1
    pair:step(op)
    if pair.difference then break end
  end
  if not pair.real:close() then pair:differ "the end never came" end
  return pair.difference, steps
end

--- Chooses and runs a sequence. Returns its options, its operations and the difference, if any.
local function explore(seed, model)
  math.randomseed(seed)
  local options = ops.choose_options()
  local pair = new_pair(options, model)
  local list = { { call = "start", n = 1 } }
  pair:step(list[1])
  while not pair.difference and #list < STEPS do
    local op = ops.choose(pair.model, #list + 1)
    list[#list + 1] = op
    pair:step(op)
  end
  if not pair.real:close() then pair:differ "the end never came" end
  return options, list, pair.difference
end

local function without(list, first, count)
  local rest = {}
  for i, op in ipairs(list) do
    if i < first or i >= first + count then rest[#rest + 1] = op end
  end
  return rest
end

--- With a simpler operation at a place: time that passes while nothing else happens, at one go.
local function with_simpler(list, at)
  local op, later = list[at], list[at + 1]
  local longer = { call = "pass", n = op.n, units = op.units }
  if op.call == "pass" and later and later.call == "pass" then
    longer.units = op.units + later.units
  elseif op.call ~= "late" then
    return nil
  end
  local rest = without(list, at, op.call == "late" and 1 or 2)
  table.insert(rest, at, longer)
  return rest
end

--- Does the shorter list still show some difference? Then its difference, and what led to it.
local function try(options, list, model)
  local difference, steps = replay(options, list, model)
  if difference then return difference, without(list, steps + 1, #list) end
end

--- Leaves out operations, many at first, as long as some difference remains; then tries simpler
-- ones, and to leave out more.
local function shrink(options, list, difference, model)
  local size = #list // 2
  while size >= 1 do
    local changed, at = false, 1
    while at <= #list do
      local still, shorter = try(options, without(list, at, size), model)
      if not still and size == 1 and with_simpler(list, at) then
        still, shorter = try(options, with_simpler(list, at), model)
      end
      if still then
        difference, list, changed = still, shorter, true
      else
        at = at + size
      end
    end
    if size == 1 and changed then
      size = 2 -- once more, as others may be left out now
    end
    size = size // 2
  end
  return list, difference
end

local function show(seed, options, list, difference)
  local lines = { ("-- seed %d: %s"):format(seed, difference), ops.show_options(options) }
  for _, op in ipairs(list) do lines[#lines + 1] = ops.show(op) end
  return table.concat(lines, "\n")
end

--- Runs sequences from `seed` on until so many steps were made. Returns nil and how many; or the
-- shortest sequence with a difference, as text, and its length. `model` replaces the model;
-- `progress` is called after each sequence with the steps so far.
local function run(seed, steps, model, progress)
  local count = 0
  while count < steps do
    local options, list, difference = explore(seed, model)
    count = count + #list
    if difference then
      list, difference = shrink(options, list, difference, model)
      return show(seed, options, list, difference), #list
    end
    if progress then progress(count) end
    seed = seed + 1
  end
  return nil, count
end

return { run = run }
