/* command.h - how a manager's child processes are started: a copy of what its options say.
 *
 * Made with the manager and freed with it. Loop thread. */
#ifndef LP_CORE_COMMAND_H
#define LP_CORE_COMMAND_H

#include <stdbool.h>

#include "base/process.h"
#include "leasepool.h"

typedef struct {
    char **argv; /* NULL: there are no children */
    char **env;  /* NULL: the parent's */
    char *cwd;   /* NULL: the parent's */
    lp__rlimit_t *limits;
    size_t limit_count;
} lp__command_t;

/* What is wrong with these options for such a backend: LP_EINVAL with the text, or 0. */
int lp__command_check(const lp_manager_options_t *options, bool processes, const char *backend,
                      char *text, size_t size);

/* 0 or LP_ENOMEM; then nothing is left of it. */
int lp__command_copy(lp__command_t *command, const lp_manager_options_t *options);

void lp__command_free(lp__command_t *command);

#endif
