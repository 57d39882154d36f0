---@meta _
--- Grinders for lua-language-server; see ../meta.lua.

--- The options of `leasepool.grinder`. In parentheses: the defaults. docs/configuration.md has them
--- in the words of the program.
---@class leasepool.GrinderOptions
---@field manager leasepool.Manager whose executors it leases (required)
---@field batch_size_threshold? integer so many pending jobs begin a batch, > 0 (20)
---@field max_wait_seconds? number seconds that the oldest may be pending before a batch begins, >= 0 (10)
---@field lease_seconds? number seconds from the hand-over of a batch's lease to its soft expiry, > 0 (60)
---@field owner_prefix? string leases are of `<prefix>-batch-<n>`; 1 to 255 bytes ("work-grinder")
---@field max_pending? integer jobs that wait for a batch, > 0 (65536)
---@field max_batches? integer batches at once, waiting ones included, > 0 (none): the manager's `max_pools`
---@field on_progress? fun(done: integer, total: integer) called when jobs have ended; must not wait (none)

--- What takes small jobs: a grinder, or a view of it.
---@class leasepool.GrinderSubmitter
local GrinderSubmitter = {}

--- Runs a function in a batch, and waits for it: for the batch to begin, for its lease, for a worker.
--- The function, its upvalues and the arguments are copied at the call.
---
--- Raises JobError with the `cause`; TransferError with the `path`; LeasePoolNotStartedError before
--- start, while stopping and after stop, or when the manager is stopped; QueueFullError when
--- `max_pending` jobs are pending; TimeoutError; LeaseExpiredError when the batch's lease expires;
--- LeaseUnavailableError when too many callers wait for one; CancelledError; BrokenExecutorError;
--- ConfigError; WouldBlockError.
---@async
---@param fn fun(...): ... runs on a worker
---@param ... any arguments of `fn`, copied
---@return any ... what `fn` returned, nils included
function GrinderSubmitter:submit(fn, ...) end

--- Gives a job to the grinder, and does not wait. Cancelled while it is pending, it leaves at once
--- and counts no more.
---
--- Raises TransferError; LeasePoolNotStartedError; QueueFullError; ConfigError.
---@param fn fun(...): ... runs on a worker
---@param ... any arguments of `fn`, copied
---@return leasepool.Future future of what `fn` returns
function GrinderSubmitter:enqueue(fn, ...) end

--- Makes a view, whose jobs have an owner, a timeout and a name. A view of a view has the options of
--- both.
---
--- Raises ConfigError; LeasePoolNotStartedError for a grinder that was collected.
---@param options leasepool.GrinderWithOptions
---@return leasepool.GrinderView view
function GrinderSubmitter:with(options) end

---@class leasepool.GrinderWithOptions: leasepool.WithOptions
---@field owner? string of the jobs, which they see as `worker.owner`; without zeros (that of the batch)

--- Collects small jobs and runs them in batches, each on one lease of its manager. As a to-be-closed
--- variable it is stopped at the end of its block, when all that it has taken has ended.
---@class leasepool.Grinder: leasepool.GrinderSubmitter
---@field manager leasepool.Manager
local Grinder = {}

--- Starts it, or does nothing when it is started. A stopped grinder can be started again.
---
--- Raises LeasePoolNotStartedError while it is stopping, and when its manager is not started.
---@return leasepool.Grinder self
function Grinder:start() end

--- Stops it: new jobs are refused, what is pending goes into a last batch. A second stop joins the
--- first; a grinder that is not started has nothing to stop.
---
--- Raises ConfigError.
---@async
---@param options? leasepool.GrinderStopOptions
---@return leasepool.GrinderStopReport | leasepool.Future report; with `wait = false` and in callbacks a future of it
function Grinder:stop(options) end

--- Tells how many jobs and batches there are and were.
---@return leasepool.GrinderStats stats
function Grinder:stats() end

--- For jobs: a grinder that is passed to a job is a `leasepool.GrinderHandle` there, with a method
--- of this name. On the thread of the loop use `enqueue`.
---
--- Raises WrongThreadError.
---@param fn fun(...): ... runs on a worker
---@param ... any arguments of `fn`
---@return leasepool.ThreadFuture future
function Grinder:submit_from_thread(fn, ...) end

--- For jobs, as `submit_from_thread`. On the thread of the loop use `stats`.
---
--- Raises WrongThreadError.
---@param timeout? number seconds
---@return leasepool.GrinderStats stats
function Grinder:stats_from_thread(timeout) end

---@class leasepool.GrinderStopOptions
---@field timeout? number seconds after which what is left is cancelled: what is pending, and what is in a batch (none)
---@field cancel_pending? boolean the same at once (false)
---@field wait? boolean false: return a future of the report (true)

--- What became of the jobs that were there when a stop began.
---@class leasepool.GrinderStopReport
---@field finished integer ran to their end, or failed
---@field cancelled integer were cancelled, running ones included

--- A grinder whose jobs have an owner, a timeout and a name.
---@class leasepool.GrinderView: leasepool.GrinderSubmitter
---@field grinder leasepool.Grinder
---@field owner? string of the jobs
---@field name? string of the jobs
---@field timeout? number seconds from submission
local GrinderView = {}

--- What `grinder:stats()` returns. Always: items = pending + in_flight + done + failed + cancelled.
---@class leasepool.GrinderStats
---@field started boolean
---@field stopping boolean
---@field batch_size_threshold integer the option
---@field max_wait_seconds number seconds, the option
---@field lease_seconds number seconds, the option
---@field pending integer jobs that wait for a batch
---@field in_flight integer jobs in a batch
---@field oldest_wait_seconds number seconds that the oldest pending job has waited; 0 without one
---@field waiting integer batches that wait for a lease
---@field running integer batches that have one
---@field batches integer that got jobs, so far
---@field items integer jobs so far, without those that were cancelled while they were pending
---@field done integer jobs that returned
---@field failed integer jobs that raised, expired, came too late or were lost
---@field cancelled integer jobs that were cancelled in a batch

---- Inside of a job -----------------------------------------------------------------------

--- A grinder inside of a job that it was passed to, on `thread` and `interpreter`. There are handles
--- of managers too.
---@class leasepool.GrinderHandle
local GrinderHandle = {}

--- Gives a job to the grinder, from the worker's thread. What the grinder refuses is the future's.
---
--- Raises TransferError; LeasePoolNotStartedError for a grinder that is gone; ConfigError.
---@param fn fun(...): ... runs on a worker
---@param ... any arguments of `fn`, copied
---@return leasepool.ThreadFuture future of what `fn` returns
function GrinderHandle:submit_from_thread(fn, ...) end

--- Asks the loop for what `grinder:stats()` tells. It blocks the worker.
---
--- Raises TimeoutError; LeasePoolNotStartedError for a grinder that is gone; ConfigError; CancelledError
--- when the job is to stop.
---@param timeout? number seconds, finite, >= 0 (none)
---@return leasepool.GrinderStats stats
function GrinderHandle:stats_from_thread(timeout) end

--- What will be, on the thread of the worker that submitted it.
---@class leasepool.ThreadFuture
local ThreadFuture = {}

--- Waits for the end, and blocks the worker. A timeout leaves the job alone.
---
--- Raises the error it ended with; TimeoutError; CancelledError when the job that waits is to stop;
--- ConfigError.
---@param timeout? number seconds, finite, >= 0 (none)
---@return any ... all results, the same each time
function ThreadFuture:await(timeout) end

--- Waits for the end, and returns failures.
---
--- Raises CancelledError when the job that waits is to stop; ConfigError.
---@param timeout? number seconds, finite, >= 0 (none)
---@return boolean ok
---@return any ... all results, or the error
function ThreadFuture:result(timeout) end

--- Asks for what `future:cancel` does.
---@return boolean requested false: it has ended
function ThreadFuture:cancel() end

--- Tells how far it is.
---@return "pending" | "done" | "failed" | "cancelled" status
function ThreadFuture:status() end
