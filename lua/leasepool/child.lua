--- The program of a child process, for a `command` of one's own:
--
--   command = { "/usr/bin/lua5.4", "-l", "leasepool.child" }
--   command = { "sh", "-c", "umask 077; exec lua5.4 -l leasepool.child" }
--
-- Whatever is started so must find this module (LUA_PATH, LUA_CPATH), and leave the descriptors 3
-- and 4 to it. It does not return: the process exits when its manager says so.
require("leasepool.core").serve()
