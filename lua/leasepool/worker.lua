--- What a job can ask its worker, and tell it. `require` it inside of the job, or give it to the
-- job as a local of the script: it travels by name.
--
-- Fields (nil outside of a job): `name` of the worker, `lease_id`, `owner`.
--
-- Functions (WrongThreadError outside of a worker): `cancelled()`, `remaining()` (seconds until
-- the earlier of hard expiry and the job's timeout; nil without either), `log(level, message,
-- fields)` with the levels of LuaLogging in any letter case, and `debug`, `info`, `warn`,
-- `error`, which take (message, fields).

---@type leasepool.Worker
local worker = require("leasepool.core").worker

return worker
