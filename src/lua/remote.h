/* remote.h - how what a child process needs of Lua travels there, and what it says comes back.
 *
 * The parent's side of it: part of the runner's table. The structs lie at the beginning of frames
 * (wire/child.h), texts and messages behind them in the order of their lengths. What a child sends
 * is looked at before it is believed. Loop thread. */
#ifndef LP_LUA_REMOTE_H
#define LP_LUA_REMOTE_H

#include "core/runner.h"
#include "lua/code.h"

/* LP__CHILD_SETUP. Behind it: the name, the paths, the numbers of the codes that the message has
 * attached, the message with the initializer's arguments. */
typedef struct {
    uint64_t memory_limit; /* 0: none */
    uint64_t interrupt_grace_ns;
    uint64_t code; /* of the initializer; 0: it is the message's first value, or there is none */
    uint32_t name_len, path_len, cpath_len;
    uint32_t attached;
    int32_t signal; /* that interrupts; 0: none */
    uint8_t forwarded;
    uint8_t has_initializer, has_path, has_cpath;
} lp__remote_setup_t;

/* LP__CHILD_CODE. Behind it: the bytecode, or module and key. */
typedef struct {
    uint32_t kind; /* lp__code_kind_t */
    uint32_t len;  /* of the bytecode, or the module */
    uint32_t key_len;
    uint8_t has_key, unnamed, upvalues, travelling;
    uint8_t globals[32];
} lp__remote_code_t;

/* LP__CHILD_JOB. Behind it: the owner, the numbers of the codes that the message has attached,
 * the message. */
typedef struct {
    uint64_t lease_id, hard_ns, timeout_at_ns;
    uint64_t manual_ns; /* a test's clock; 0: the system's */
    uint64_t code;      /* 0: the function is the message's first value */
    uint32_t owner_len, attached;
    uint32_t has_owner, unused;
} lp__remote_job_t;

/* The functions of the runner's table. */
int lp__remote_setup(void *data, lp__worker_t *worker, const char *name, lp__frames_t *out,
                     void **state);
int lp__remote_pack(void *state, lp_job_t *job, uint64_t id, lp__frames_t *out);
int lp__remote_unpack(lp_job_t *job, const uint8_t *bytes, size_t len);
int lp__remote_line(void *state, const uint8_t *bytes, size_t len);
void lp__remote_wrote(void *state, const char *text, size_t len);
void lp__remote_forget(void *state);

#endif
