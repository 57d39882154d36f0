rockspec_format = "3.0"
package = "leasepool"
version = "scm-1"
source = {
  url = "git+https://github.com/leasepool/leasepool.git",
}
description = {
  summary = "Lease bounded pools of worker threads from a libuv loop",
  detailed = [[
    A manager owns a bounded number of executors; a script borrows a whole executor through a
    lease, runs Lua functions on it without blocking, and gives it back.]],
  homepage = "https://github.com/leasepool/leasepool",
  license = "MIT",
  labels = { "threads", "concurrency", "libuv" },
}
dependencies = {
  "lua >= 5.4, < 5.5",
}
external_dependencies = {
  LIBUV = { header = "uv.h", library = "uv" },
}
build = {
  type = "builtin",
  modules = {
    ["leasepool.core"] = {
      sources = {
        "src/backend/thread.c",
        "src/base/alloc.c",
        "src/base/clock.c",
        "src/base/error.c",
        "src/base/heap.c",
        "src/base/histogram.c",
        "src/base/spin.c",
        "src/base/thread.c",
        "src/core/acquire.c",
        "src/core/executor.c",
        "src/core/inbox.c",
        "src/core/job.c",
        "src/core/lease.c",
        "src/core/manager.c",
        "src/core/options.c",
        "src/core/queue.c",
        "src/core/runtime.c",
        "src/core/sizing.c",
        "src/core/stats.c",
        "src/core/stop.c",
        "src/core/worker.c",
        "src/lua/acquire.c",
        "src/lua/anchor.c",
        "src/lua/code.c",
        "src/lua/codec.c",
        "src/lua/codec_testing.c",
        "src/lua/context.c",
        "src/lua/decode.c",
        "src/lua/drive.c",
        "src/lua/encode.c",
        "src/lua/errors.c",
        "src/lua/fiber.c",
        "src/lua/function.c",
        "src/lua/future.c",
        "src/lua/job.c",
        "src/lua/lease.c",
        "src/lua/log.c",
        "src/lua/manager.c",
        "src/lua/module.c",
        "src/lua/modules.c",
        "src/lua/options.c",
        "src/lua/path.c",
        "src/lua/resolve.c",
        "src/lua/run.c",
        "src/lua/seconds.c",
        "src/lua/seen.c",
        "src/lua/state.c",
        "src/lua/stats.c",
        "src/lua/stop.c",
        "src/lua/submit.c",
        "src/lua/testing.c",
        "src/lua/view.c",
        "src/lua/wait.c",
        "src/lua/watcher.c",
        "src/wire/check.c",
        "src/wire/message.c",
        "src/wire/reader.c",
        "src/wire/writer.c",
      },
      defines = { "LP_BUILDING" },
      incdirs = { "src", "$(LIBUV_INCDIR)" },
      libdirs = { "$(LIBUV_LIBDIR)" },
      libraries = { "uv", "pthread" },
    },
    leasepool = "lua/leasepool/init.lua",
  },
}
