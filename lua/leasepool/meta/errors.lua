---@meta _
--- The errors of leasepool for lua-language-server; see ../meta.lua.

---@alias leasepool.ErrorName
---| "LeasePoolError" # every error
---| "ConfigError" # an option or argument is wrong
---| "LeasePoolNotStartedError" # before start, while stopping, after stop
---| "LeaseUnavailableError" # no executor is free, or too many callers wait
---| "TimeoutError" # of acquire, await or a job
---| "LeaseExpiredError" # released, expired, or the manager stopped
---| "QueueFullError" # max_queue jobs wait, or max_pending in a grinder
---| "TransferError" # a value cannot travel
---| "JobError" # the job raised
---| "CancelledError" # somebody cancelled it
---| "BrokenExecutorError" # its workers cannot go on
---| "UnsupportedBackendError" # this build has no such backend
---| "WrongThreadError" # called outside of a worker, or on the thread of the loop
---| "WouldBlockError" # a call that waits, where nothing can wait

--- The classes by their names: the metatables of the errors.
---@class leasepool.Errors
---@field LeasePoolError table
---@field ConfigError table
---@field LeasePoolNotStartedError table
---@field LeaseUnavailableError table
---@field TimeoutError table
---@field LeaseExpiredError table
---@field QueueFullError table
---@field TransferError table
---@field JobError table
---@field CancelledError table
---@field BrokenExecutorError table
---@field UnsupportedBackendError table
---@field WrongThreadError table
---@field WouldBlockError table

--- What is raised. `tostring` gives where it was raised, the message and, if there is one, the
--- traceback; `..` works.
---@class leasepool.LeasePoolError
---@field name leasepool.ErrorName of its class
---@field code string of its class, for programs
---@field message string
---@field where? string "script.lua:5: ", where a call was refused
---@field traceback? string where it was raised, when a worker or `leasepool.run` knows
---@operator concat(any): string

--- code "invalid_option"
---@class leasepool.ConfigError: leasepool.LeasePoolError

--- code "not_started"
---@class leasepool.LeasePoolNotStartedError: leasepool.LeasePoolError

--- code "lease_unavailable"
---@class leasepool.LeaseUnavailableError: leasepool.LeasePoolError

--- code "timeout"
---@class leasepool.TimeoutError: leasepool.LeasePoolError
---@field job? string the name of the job, or where the function of one that ran was defined
---@field worker? string the name of the worker that ran it, whose `traceback` says where it was
---@field still_running? boolean true: it could not be stopped, and was given up
---@field killed? boolean true: it could not be interrupted, and its worker, a process, was killed

--- code "lease_expired"
---@class leasepool.LeaseExpiredError: leasepool.LeasePoolError
---@field job? string the name of the job, or where the function of one that ran was defined
---@field worker? string the name of the worker that ran it, whose `traceback` says where it was
---@field still_running? boolean true: it could not be stopped, and was given up
---@field killed? boolean true: it could not be interrupted, and its worker, a process, was killed

--- code "queue_full"
---@class leasepool.QueueFullError: leasepool.LeasePoolError

--- code "not_transferable"
---@class leasepool.TransferError: leasepool.LeasePoolError
---@field path string which part of which argument or result cannot travel: `arg 1.user.socket`
---@field job? string the name of the job, when it was one with a name

--- code "job_failed"
---@class leasepool.JobError: leasepool.LeasePoolError
---@field cause any what the job raised, copied
---@field traceback? string the worker's
---@field worker? string the name of the worker
---@field job? string the name of the job, or where its function was defined

--- code "cancelled"
---@class leasepool.CancelledError: leasepool.LeasePoolError
---@field job? string the name of the job, or where the function of one that ran was defined
---@field worker? string the name of the worker that ran it, whose `traceback` says where it was
---@field still_running? boolean true: it could not be stopped, and was given up
---@field killed? boolean true: it could not be interrupted, and its worker, a process, was killed

--- code "executor_broken"
---@class leasepool.BrokenExecutorError: leasepool.LeasePoolError
---@field reason? string what broke it
---@field signal? integer that killed the worker, a process
---@field exit_code? integer with which it exited
---@field killed? boolean true: by its manager
---@field job? string the name of the job, when it was one with a name

--- code "unsupported_backend"
---@class leasepool.UnsupportedBackendError: leasepool.LeasePoolError

--- code "wrong_thread"
---@class leasepool.WrongThreadError: leasepool.LeasePoolError

--- code "would_block"
---@class leasepool.WouldBlockError: leasepool.LeasePoolError
