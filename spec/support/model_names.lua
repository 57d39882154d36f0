--- Names of what the model and the real manager show: names.soft[7] is "soft 7", made once.
return setmetatable({}, { __index = function(names, what)
  names[what] = setmetatable({}, { __index = function(known, n)
    known[n] = what .. " " .. n
    return known[n]
  end })
  return names[what]
end })
