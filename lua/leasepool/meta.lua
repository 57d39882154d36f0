---@meta _
--- leasepool for lua-language-server: what every public name takes, returns and raises. Editors
--- read this file and those in meta/, which have the grinders and the errors; no program requires
--- them. Durations and times are seconds; a spec compares what is here with what is there.

---- The module ------------------------------------------------------------------------

---@class leasepool
---@field version string of the library, "major.minor.patch"
---@field errors leasepool.Errors the classes of errors, by name
local leasepool = {}

--- Makes a manager, which is not started yet.
---
--- Raises ConfigError, which names the option, what was given and what is allowed;
--- UnsupportedBackendError; TransferError for an initializer that cannot travel.
---@param options leasepool.ManagerOptions
---@return leasepool.Manager manager
function leasepool.manager(options) end

--- Makes a grinder, which is not started yet.
---
--- Raises ConfigError, which names the option, what was given and what is allowed.
---@param options leasepool.GrinderOptions
---@return leasepool.Grinder grinder
function leasepool.grinder(options) end

--- Runs `main` as a coroutine until it and all it spawned have ended. If it raises, what it spawned
--- is cancelled and waited for first. Inside of a coroutine it is spawn and await.
---
--- Raises what `main` raised, with its traceback; ConfigError; WouldBlockError where nothing can
--- wait.
---@async
---@param main async fun(...): ... what to run
---@param ... any arguments of `main`
---@return any ... what `main` returned, nils included
function leasepool.run(main, ...) end

--- Starts a coroutine, which goes on at once up to its first wait.
---
--- Raises ConfigError. What `fn` raises is the future's.
---@param fn async fun(...): ... the coroutine's function
---@param ... any arguments of `fn`
---@return leasepool.Future future of the results of `fn`; cancel raises CancelledError where it waits
function leasepool.spawn(fn, ...) end

--- Waits.
---
--- Raises ConfigError; CancelledError in a coroutine that is cancelled; WouldBlockError where nothing
--- can wait.
---@async
---@param seconds number finite, >= 0; 0 lets others go on
function leasepool.sleep(seconds) end

--- The descriptor that is readable when leasepool has something to do, for a loop of your own;
--- `leasepool.luv` does all this for luv's. Valid as long as the Lua state.
---@return integer fd
function leasepool.fd() end

--- How long that loop may wait at most, whatever the descriptor says. To be asked after each step.
---@return number? seconds nil: for ever
function leasepool.timeout() end

--- Does what there is to do, for a few milliseconds at most; callbacks and coroutines run. Waits for
--- nothing.
---
--- Raises WouldBlockError inside of a callback of leasepool's own loop.
function leasepool.step() end

--- Waits for all futures of a list.
---
--- Raises the first error of the list, after all have ended; TimeoutError; ConfigError;
--- WouldBlockError.
---@async
---@param list leasepool.Future[] from 1 on, or with its length in `n`; a future may be in it twice
---@param options? leasepool.GatherOptions
---@return table results the first result of each, in order, with the length in `n`
function leasepool.gather(list, options) end

--- Waits for the first future of a list to end, however it ends. It raises no error of a future.
---
--- Raises TimeoutError; ConfigError, also for an empty list; WouldBlockError.
---@async
---@param list leasepool.Future[] one or more
---@param options? leasepool.AnyOptions
---@return integer index of the future; the lowest of those that had ended before
---@return leasepool.Future future that ended
function leasepool.any(list, options) end

--- Is a value an error of leasepool, of a class or one below it?
---
--- Raises ConfigError for the name of no class.
---@param value any
---@param class? leasepool.ErrorName the default is any class
---@return boolean is_error
function leasepool.is_error(value, class) end

--- A native job by its name: one that the host has registered, else the first of that name that was
--- loaded. It is a function like others: of a job, which then runs no Lua, or called by Lua code.
---
--- Raises ConfigError when there is none.
---@param name string without zeros
---@return fun(...): ... native
function leasepool.native(name) end

--- Loads a native job, a C function (`leasepool_native.h`), from a shared library, which stays
--- loaded. The same path and symbol are the same function.
---
--- Raises ConfigError when the library or the symbol cannot be found, with the system's reason.
---@param path string of the library; without a slash the system looks for it
---@param symbol string the function's name
---@return fun(...): ... native
function leasepool.load_native(path, symbol) end

--- Statistics for people.
---
--- Raises ConfigError.
---@param stats leasepool.Stats what `manager:stats()` returned
---@return string text of several lines
function leasepool.format_stats(stats) end

--- The backends that this build has.
---@return leasepool.Backend[] names
function leasepool.backends() end

--- Sets the signal by which running jobs are interrupted, for the whole process, before the first
--- worker starts: SIGURG unless this is called. Without one Lua code cannot be interrupted.
---
--- Raises ConfigError, also when it is too late.
---@param signal integer|false its number; false: none
function leasepool.set_interrupt_signal(signal) end

---@class leasepool.GatherOptions
---@field return_errors? boolean puts errors in their places instead of raising the first (false)
---@field timeout? number seconds for the whole, finite, >= 0 (none)

---@class leasepool.AnyOptions
---@field timeout? number seconds, finite, >= 0 (none)

---- Managers ----------------------------------------------------------------------------

---@alias leasepool.Level "DEBUG" | "INFO" | "WARN" | "ERROR"

--- Gets a line; it may use leasepool, but not wait. Or an object of LuaLogging's shape, whose method
--- `log(self, level, message)` gets the fields at the end of the message.
---@alias leasepool.Logger
---| fun(level: leasepool.Level, message: string, fields: leasepool.LogFields)
---| table
---| userdata

--- What is known of a line, and the fields that the job gave with it.
---@class leasepool.LogFields: { [any]: any }
---@field worker? string the name of the worker that wrote it
---@field lease_id? integer the lease of the job, or the one that the line is about
---@field owner? string of that lease

--- They finish and deliver, they are stopped, or their worker is killed too (processes only).
---@alias leasepool.OnExpiry "leave" | "interrupt" | "kill"

---@alias leasepool.Backend "thread" | "interpreter" | "process"

--- The options of `leasepool.manager`. In parentheses: the defaults. docs/configuration.md has them
--- in the words of the program.
---@class leasepool.ManagerOptions
---@field backend? leasepool.Backend what a worker is; any letter case ("thread")
---@field max_pools integer executors available or leased at once, > 0 (required)
---@field min_pools? integer executors kept ready, > 0, at most `max_pools` (1)
---@field workers_per_pool? integer workers of each executor, > 0 (4)
---@field units_per_pool? integer how much of the size one executor serves, > 0 (10)
---@field size_provider? fun(): number the size: how much there is to do (none)
---@field check_interval? number seconds between two size checks, > 0 (120)
---@field default_lease_seconds? number seconds from the hand-over to soft expiry, > 0 (300)
---@field lease_grace_seconds? number seconds from soft to hard expiry, >= 0 (15)
---@field on_expiry? leasepool.OnExpiry what hard expiry does to running jobs ("leave")
---@field interrupt_grace_seconds? number seconds that an interrupted job may take to tidy up, >= 0 (0.05)
---@field kill_grace_seconds? number seconds from SIGTERM to SIGKILL, >= 0 (3)
---@field exit_grace_seconds? number seconds before what cannot be stopped is given up, >= 0 (1)
---@field idle_seconds? number seconds that an idle executor above the target is kept, >= 0 (10)
---@field max_queue? integer jobs waiting in one executor, > 0 (65536)
---@field max_waiters? integer callers waiting in `acquire`, > 0 (65536)
---@field max_retiring? integer retiring executors beside `max_pools`, >= 0 (1)
---@field max_tasks_per_worker? integer jobs after which a worker is replaced, > 0 (none)
---@field memory_limit? integer bytes for each worker's Lua state, >= 65536 (none)
---@field initializer? fun(...) run once in each new worker, before its first job (none)
---@field initargs? any[] arguments of `initializer`, copied when the manager is made (none)
---@field libs? string[] on `interpreter`: the standard libraries that jobs get (all)
---@field prestart? boolean start all workers of an executor when it is made (false)
---@field name_prefix? string workers are named `<prefix>-<executor>-<worker>`, 1 to 255 bytes ("leasepool")
---@field command? string[] on `process`: program and arguments (the interpreter that runs the script)
---@field env? { [string]: string } on `process`: replaces the environment (the script's)
---@field cwd? string on `process`: where children start (the script's)
---@field rlimits? { [string]: integer } on `process`: limits, by ulimit's names: nofile, as, cpu (the script's)
---@field leak_traceback? boolean remember where each lease was acquired, for when it leaks (false)
---@field logger? leasepool.Logger where lines go (warnings to standard error)
---@field forward_logs? boolean whether what workers log is heard (true)
---@field log_level? leasepool.Level the least level that workers forward, any letter case ("INFO")
---@field log_target? leasepool.Logger where the lines of workers go, and only there (the logger)

--- The options of `acquire`, `try_acquire` and `request`.
---@class leasepool.AcquireOptions
---@field owner? string who borrows, for logs and statistics; without zeros (none)
---@field lease_seconds? number seconds until soft expiry, > 0 (the manager's `default_lease_seconds`)
---@field wait? boolean whether to wait for an executor (true; `try_acquire`: only with a `timeout`)
---@field timeout? number seconds to wait, >= 0; 0 is one attempt (none)
---@field on_expiry? leasepool.OnExpiry what hard expiry does to running jobs (the manager's)
---@field on_soft_expiry? fun(lease: leasepool.Lease) called at soft expiry, again after `renew` (none)

---@class leasepool.StopOptions
---@field timeout? number seconds to wait for running jobs, >= 0 (none: without end)
---@field wait? boolean false: return a future of the report, also in a callback (true)

--- What became of the jobs that were there when a stop began.
---@class leasepool.StopReport
---@field finished integer ran to their end
---@field cancelled integer were queued, and never ran
---@field interrupted integer were stopped
---@field killed integer processes that were killed
---@field abandoned integer still ran when the stop gave up waiting

--- Owns executors and lends them out, first come, first served. As a to-be-closed variable it is
--- stopped at the end of its block, with the latest hard expiry of its leases as the timeout.
---@class leasepool.Manager
---@field backend leasepool.Backend
---@field available_count integer executors that nobody has leased
---@field leased_count integer executors that are leased or draining
---@field total_count integer the sum of both
local Manager = {}

--- Starts it, or does nothing when it is started. A stopped manager can be started again.
---
--- Raises LeasePoolNotStartedError while it is stopping; LeasePoolError when no thread can be started.
---@return leasepool.Manager self
function Manager:start() end

--- Stops it: waiters fail, queued jobs are cancelled, running ones are waited for. A second stop
--- joins the first; a manager that is not started has nothing to stop.
---
--- Raises ConfigError; WouldBlockError where nothing can wait, unless `wait = false`.
---@async
---@param options? leasepool.StopOptions
---@return leasepool.StopReport | leasepool.Future report or, with `wait = false`, a future of it
function Manager:stop(options) end

--- Leases an executor; waits for its turn.
---
--- Raises LeasePoolNotStartedError; TimeoutError; LeaseUnavailableError with `wait = false`, or when
--- `max_waiters` wait; CancelledError; ConfigError; WouldBlockError.
---@async
---@param options? leasepool.AcquireOptions
---@return leasepool.Lease lease
function Manager:acquire(options) end

--- Leases an executor, and returns failures. It waits only with a `timeout`.
---
--- Raises ConfigError; WouldBlockError where it would have to wait and cannot.
---@param options? leasepool.AcquireOptions
---@return leasepool.Lease? lease
---@return leasepool.LeasePoolError? err LeaseUnavailableError, TimeoutError or LeasePoolNotStartedError
function Manager:try_acquire(options) end

--- Asks for an executor. Cancelled, or collected before anybody awaited it, the lease goes back.
---
--- Raises LeasePoolNotStartedError; LeaseUnavailableError with `wait = false`, or when `max_waiters`
--- wait; ConfigError.
---@param options? leasepool.AcquireOptions
---@return leasepool.Future future of a `leasepool.Lease`
function Manager:request(options) end

--- Acquires, runs one job, releases.
---
--- Raises what `acquire` and `lease:run` raise.
---@async
---@param fn fun(...): ... runs on a worker
---@param ... any arguments of `fn`, copied
---@return any ... what `fn` returned
function Manager:run(fn, ...) end

--- Releases a lease by its number.
---
--- Raises ConfigError.
---@param lease_id integer
---@return boolean released false: there is no such lease, or it was not open
function Manager:release(lease_id) end

--- Tells how many executors, leases, callers and jobs there are and were.
---@return leasepool.Stats stats
function Manager:stats() end

--- For jobs: a manager that is passed to a job is a `leasepool.ManagerHandle` there, with a method
--- of this name. On the thread of the loop it would wait for itself.
---
--- Raises WrongThreadError.
---@param timeout? number seconds
---@return leasepool.ThreadStats stats
function Manager:stats_from_thread(timeout) end

--- Asks the size provider and follows at once. Does nothing before start.
function Manager:notify_scale_changed() end

--- Asks for nothing new: it tells the target of the last size check.
---@return integer count of executors that the size asks for
function Manager:desired_executor_count() end

--- A manager inside of a job that it was passed to, on `thread` and `interpreter`.
---@class leasepool.ManagerHandle
local ManagerHandle = {}

--- Asks the loop for what `manager:stats()` tells, without options and leases. It blocks the worker.
---
--- Raises TimeoutError; LeasePoolNotStartedError for a manager that is gone; ConfigError; CancelledError
--- when the job is to stop.
---@param timeout? number seconds, finite, >= 0 (none)
---@return leasepool.ThreadStats stats
function ManagerHandle:stats_from_thread(timeout) end

---- Statistics ----------------------------------------------------------------------------

--- What `manager:stats()` returns. Always: counters.acquired = live + released + expired + broken +
--- stopped + leaked, and counters.jobs = queued + running + done + failed + cancelled.
---@class leasepool.Stats: leasepool.ThreadStats
---@field leases leasepool.LeaseStats[] those that are not CLOSED

--- What `manager:stats_from_thread()` returns inside of a job.
---@class leasepool.ThreadStats
---@field backend string
---@field max_pools integer the option
---@field min_pools integer the option
---@field workers_per_pool integer the option
---@field desired integer executors that the size asks for
---@field available integer executors that nobody has leased
---@field leased integer executors that are leased or draining
---@field total integer the sum of both
---@field retiring integer executors that end once their jobs have
---@field waiters integer callers waiting for an executor
---@field live integer leases that have not ended in any way
---@field queued integer jobs that wait
---@field running integer jobs that run
---@field counters leasepool.Counters
---@field times leasepool.Times

--- Since the manager was made.
---@class leasepool.Counters
---@field acquired integer leases
---@field released integer leases whose first end was a release
---@field expired integer leases whose first end was hard expiry
---@field broken integer leases whose executor broke
---@field stopped integer leases that were open when the manager stopped
---@field leaked integer leases that were collected unreleased
---@field timeouts integer callers whose timeout was over
---@field rejected integer callers that were refused at once
---@field jobs integer submitted
---@field done integer jobs that returned
---@field failed integer jobs that raised, expired or were lost
---@field cancelled integer jobs
---@field interrupted integer some of those that failed or were cancelled: they ran, and were stopped
---@field killed integer some of those that failed or were cancelled: their worker was killed for it
---@field created integer executors
---@field retired integer executors that ended

---@class leasepool.Times
---@field wait leasepool.Durations from the request to the lease
---@field hold leasepool.Durations from the lease to its end
---@field run leasepool.Durations of jobs, on their workers

---@class leasepool.Durations
---@field count integer
---@field mean number seconds
---@field p50 number seconds
---@field p90 number seconds
---@field p99 number seconds
---@field max number seconds

---@class leasepool.LeaseStats
---@field lease_id integer
---@field owner? string
---@field state leasepool.LeaseState
---@field seconds_until_soft_expiry number negative once it is over
---@field seconds_until_hard_expiry number negative once it is over
---@field queued integer jobs of it that wait
---@field running integer jobs of it that run

---- Leases ----------------------------------------------------------------------------

---@alias leasepool.LeaseState "ACTIVE" | "GRACE" | "DRAINING" | "EXPIRED" | "BROKEN" | "CLOSED"

--- What takes jobs: a lease, or a view of it.
---@class leasepool.Submitter
local Submitter = {}

--- Runs a function on a worker and waits for it. The function, its upvalues and the arguments are
--- copied at the call.
---
--- Raises JobError with the `cause`; TransferError with the `path`; LeaseExpiredError; QueueFullError;
--- TimeoutError; CancelledError; BrokenExecutorError; ConfigError; WouldBlockError.
---@async
---@param fn fun(...): ... runs on a worker
---@param ... any arguments of `fn`, copied
---@return any ... what `fn` returned, nils included
function Submitter:run(fn, ...) end

--- Submits a job.
---
--- Raises TransferError; LeaseExpiredError; QueueFullError; BrokenExecutorError; ConfigError.
---@param fn fun(...): ... runs on a worker
---@param ... any arguments of `fn`, copied
---@return leasepool.Future future of what `fn` returns
function Submitter:submit(fn, ...) end

--- Submits a job, and returns failures.
---
--- Raises ConfigError and TransferError for wrong arguments.
---@param fn fun(...): ... runs on a worker
---@param ... any arguments of `fn`, copied
---@return leasepool.Future? future of what `fn` returns
---@return leasepool.LeasePoolError? err QueueFullError, LeaseExpiredError or BrokenExecutorError
function Submitter:try_submit(fn, ...) end

--- Submits a job whose end is told to a callback, which must not wait. There is no future.
---
--- Raises what `submit` raises.
---@param callback fun(ok: boolean, ...: any) gets true and the results, or false and the error
---@param fn fun(...): ... runs on a worker
---@param ... any arguments of `fn`, copied
function Submitter:post(callback, fn, ...) end

--- Calls a function for each element of a list, on the workers, and waits for all.
---
--- Raises the error of the first element that failed, after all that was submitted has ended; what
--- `run` raises.
---@async
---@param fn fun(element: any): any runs on a worker; its first result counts
---@param list any[] from 1 on, or with its length in `n`
---@param options? leasepool.MapOptions
---@return table results in order, with the length in `n`
function Submitter:map(fn, list, options) end

--- Calls a function for what an iterator returns, on the workers, and gives the results in order:
--- `for result in lease:imap(fn, io.lines(name)) do`. Leaving the loop cancels what is queued.
---
--- The loop raises the error of a job in its place, what the iterator raises, and ConfigError for a
--- first result of nil; the call itself ConfigError.
---@param fn fun(...): ... runs on a worker; gets all values of one step
---@param iterator function or all that `pairs`, `ipairs` and `io.lines` return
---@param ... any the rest of it, and last, if wanted, a `leasepool.ImapOptions`
---@return fun(): ... step for a generic `for`
---@return nil
---@return nil
---@return table closing ends the input when the loop is left
function Submitter:imap(fn, iterator, ...) end

--- Makes a view, whose calls have a timeout and a name. A view of a view has the options of both.
---
--- Raises ConfigError; LeaseExpiredError for a lease that was collected.
---@param options leasepool.WithOptions
---@return leasepool.View view
function Submitter:with(options) end

---@class leasepool.WithOptions
---@field timeout? number seconds from submission, >= 0, after which a job does not run, or is stopped (none)
---@field name? string of the jobs, in their errors (none)

---@class leasepool.MapOptions
---@field chunk? integer elements in one job, > 0 (each worker gets several jobs)
---@field on_progress? fun(done: integer, total: integer) called as elements are done (none)

---@class leasepool.ImapOptions
---@field window? integer jobs in flight, > 0 (two for each worker)
---@field on_progress? fun(done: integer, total: integer?) called for each result; the total once known (none)

--- The right to submit to one executor. As a to-be-closed variable it is released at the end of its
--- block. Times are those of the monotonic clock.
---@class leasepool.Lease: leasepool.Submitter
---@field lease_id integer unique in the process
---@field owner? string as `acquire` was told
---@field state leasepool.LeaseState
---@field lease_seconds number its length at first, which `renew` takes by default
---@field grace_seconds number from soft to hard expiry
---@field leased_at number seconds on the monotonic clock
---@field soft_expires_at number seconds on the monotonic clock
---@field hard_expires_at number seconds on the monotonic clock
---@field executor leasepool.Executor
local Lease = {}

--- Moves both expiries: soft expiry is that far from now.
---
--- Raises LeaseExpiredError when it is not ACTIVE or in GRACE; ConfigError.
---@param seconds? number finite, > 0; the default is the length it had at first
function Lease:renew(seconds) end

--- Ends the right to submit; what was submitted finishes, then the executor goes to the next caller.
--- Once is as good as twice.
function Lease:release() end

--- A lease whose calls have a timeout and a name.
---@class leasepool.View: leasepool.Submitter
---@field lease leasepool.Lease
---@field name? string of the jobs
---@field timeout? number seconds from submission
local View = {}

--- The executor as the borrower sees it.
---@class leasepool.Executor
local Executor = {}

--- As `lease:submit`.
---
--- Raises what that raises.
---@param fn fun(...): ... runs on a worker
---@param ... any arguments of `fn`, copied
---@return leasepool.Future future of what `fn` returns
function Executor:submit(fn, ...) end

--- Raises ConfigError: the executor is the manager's; release the lease.
---@deprecated
function Executor:shutdown() end

---- Futures ----------------------------------------------------------------------------

--- What will be: the results of a job or of a coroutine, a lease, the report of a stop.
---@class leasepool.Future
local Future = {}

--- Waits for the end. A timeout leaves the job alone.
---
--- Raises the error it ended with; TimeoutError; CancelledError; ConfigError; WouldBlockError.
---@async
---@param timeout? number seconds, finite, >= 0 (none)
---@return any ... all results, the same to everybody
function Future:await(timeout) end

--- Waits for the end, and returns failures.
---
--- Raises ConfigError; CancelledError in a coroutine that is cancelled; WouldBlockError.
---@async
---@param timeout? number seconds, finite, >= 0 (none)
---@return boolean ok
---@return any ... all results, or the error
function Future:result(timeout) end

--- Takes back a queued job or a request, stops a job that runs, raises CancelledError in a coroutine
--- where it waits. The future ends when it has stopped; a result that comes first wins.
---@return boolean requested whether there was something to stop
function Future:cancel() end

--- Tells how far it is.
---@return "pending" | "done" | "failed" | "cancelled" status
function Future:status() end

--- Calls a function at the end, from the loop, in the order of registration; also when it has ended.
--- The function must not wait; what it raises is logged.
---
--- Raises ConfigError.
---@param fn fun(future: leasepool.Future)
---@return leasepool.Future self
function Future:on_done(fn) end

---- Inside of a job ---------------------------------------------------------------------------

--- `require "leasepool.worker"`: what a job can ask its worker, and tell it. Its functions raise
--- WrongThreadError outside of a worker.
---@class leasepool.Worker
---@field name? string `<prefix>-<executor>-<worker>`; nil outside of a worker
---@field lease_id? integer of the lease that the job is of
---@field owner? string of that lease, or the one that a view of a grinder gave to the job
local worker = {}

--- Was the job asked to stop?
---@return boolean cancelled
function worker.cancelled() end

--- Tells how much time the job has left.
---@return number? seconds until the earlier of hard expiry and the job's timeout; nil without either
function worker.remaining() end

--- Writes a line to the manager's `log_target`; it arrives before the result of the job.
---
--- Raises ConfigError for another level, or fields that are no table.
---@param level leasepool.Level in any letter case
---@param message any what `tostring` makes a text of
---@param fields? table more to say, copied
function worker.log(level, message, fields) end

--- As `log("DEBUG", message, fields)`.
---@param message any what `tostring` makes a text of
---@param fields? table more to say, copied
function worker.debug(message, fields) end

--- As `log("INFO", message, fields)`.
---@param message any what `tostring` makes a text of
---@param fields? table more to say, copied
function worker.info(message, fields) end

--- As `log("WARN", message, fields)`.
---@param message any what `tostring` makes a text of
---@param fields? table more to say, copied
function worker.warn(message, fields) end

--- As `log("ERROR", message, fields)`.
---@param message any what `tostring` makes a text of
---@param fields? table more to say, copied
function worker.error(message, fields) end
