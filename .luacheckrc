std = "lua54"
max_line_length = 120
files["spec"] = { std = "+busted" }
files["**/*.rockspec"] = { std = "+rockspec" }
exclude_files = { "build" }
files["lua/leasepool/meta.lua"] = { ignore = { "211", "212", "241" } } -- annotations, never run
