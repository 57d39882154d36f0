std = "lua54"
max_line_length = 120
files["spec"] = { std = "+busted" }
files["**/*.rockspec"] = { std = "+rockspec" }
exclude_files = { "build" }
for _, name in ipairs { "meta.lua", "meta/*.lua" } do -- annotations, never run
  files["lua/leasepool/" .. name] = { ignore = { "211", "212", "241" } }
end
