/* child.h - what a parent and a child process say to each other, in frames (frame.h).
 *
 * On the channel the parent sends what the child's main thread does in this order, and the child
 * what it did. On the control socket a second thread of the child hears what concerns work at
 * hand, whatever the main thread runs. Numbers of jobs grow from 1 on, for each child; 0 is its
 * setup. Structs are sent as they lie in memory: both ends are one build, or differ in
 * LP__CHILD_PROTOCOL and in the first frame. Constants and structs only. */
#ifndef LP_WIRE_CHILD_H
#define LP_WIRE_CHILD_H

#include <stdint.h>

#define LP__CHILD_PROTOCOL 1

/* Jobs that a child may have and not have answered: fewer than half of what it can refuse. */
#define LP__CHILD_AHEAD 64

enum {
    /* parent to child, channel */
    LP__CHILD_SETUP = 1, /* id: LP__CHILD_PROTOCOL; the runner's: what a worker is */
    LP__CHILD_CODE,      /* id: of the code; the runner's */
    LP__CHILD_FORGET,    /* all codes so far */
    LP__CHILD_JOB,       /* id: of the job; the runner's */
    LP__CHILD_END,       /* nothing more comes */

    /* parent to child, control */
    LP__CHILD_STOP = 16, /* id: of the job; lp__child_stop_t. Until it has ended, again and again */
    LP__CHILD_WITHDRAW,  /* id: of the first job that shall not begin; uint64_t: of the last */
    LP__CHILD_RENEW,     /* id: of the lease; lp__child_renew_t */

    /* child to parent, channel */
    LP__CHILD_READY = 32, /* id: LP__CHILD_PROTOCOL. It takes jobs */
    LP__CHILD_FAILED,     /* id: the negated code. It takes none, for the reason in the payload */
    LP__CHILD_RESULT,     /* id: of the oldest job that was sent; lp__child_result_t, message */
    LP__CHILD_LINE,       /* the runner's: for the log */

    /* child to parent, control */
    LP__CHILD_WITHDRAWN /* as WITHDRAW, with those that will not begin; none when first > last */
};

typedef struct {
    int32_t why; /* an error code */
    int32_t unused;
} lp__child_stop_t;

typedef struct {
    uint64_t hard_ns; /* when the lease expires */
    uint64_t through; /* jobs up to this one were sent before */
} lp__child_renew_t;

enum {
    LP__RESULT_RAN = 1,    /* the job was begun */
    LP__RESULT_LEAVING = 2 /* it begins no other, and exits */
};

typedef struct {
    int32_t status; /* 0 or an error code */
    uint32_t flags;
    uint64_t run_ns;
} lp__child_result_t;

#endif
