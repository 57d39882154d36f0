/* command.c - see command.h. */
#include "core/command.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

/* ---- Checking ----------------------------------------------------------------- */

static int refuse(char *text, size_t size, const char *option, const char *given,
                  const char *allowed)
{
    snprintf(text, size, "%s: got %s, allowed: %s", option, given, allowed);
    return LP_EINVAL;
}

static int check_limits(const lp_manager_options_t *options, char *text, size_t size)
{
    char given[96];
    for (size_t i = 0; i < options->rlimit_count; i++) {
        const char *name = options->rlimits[i].name;
        if (name && lp__rlimit_find(name) >= 0)
            continue;
        snprintf(given, sizeof given, name ? "\"%.64s\"" : "NULL", name);
        return refuse(text, size, "rlimits", given, lp__rlimit_names());
    }
    return 0;
}

int lp__command_check(const lp_manager_options_t *options, bool processes, const char *backend,
                      char *text, size_t size)
{
    char allowed[64];
    const char *given = options->command ? "command" : options->env ? "env" : NULL;
    if (!given)
        given = options->cwd ? "cwd" : options->rlimit_count > 0 ? "rlimits" : NULL;
    if (!processes && given) {
        snprintf(allowed, sizeof allowed, "none on the backend %s", backend);
        return refuse(text, size, given, "a value", allowed);
    }
    if (!processes)
        return 0;
    if (!options->command || !options->command[0] || !options->command[0][0])
        return refuse(text, size, "command", "none", "a program and its arguments");
    return check_limits(options, text, size);
}

/* ---- Copying ------------------------------------------------------------------ */

static char *copy_text(const char *text)
{
    size_t length = strlen(text) + 1;
    char *copy = lp__malloc(LP_MEM_CORE, length);
    return copy ? memcpy(copy, text, length) : NULL;
}

static void free_list(char **list)
{
    for (char **at = list; at && *at; at++)
        lp__free(*at);
    lp__free(list);
}

/* NULL: no memory. */
static char **copy_list(const char *const *list)
{
    size_t count = 0;
    while (list[count])
        count++;
    char **copy = lp__calloc(LP_MEM_CORE, (count + 1) * sizeof *copy);
    for (size_t i = 0; copy && i < count; i++) {
        copy[i] = copy_text(list[i]);
        if (!copy[i]) {
            free_list(copy);
            return NULL;
        }
    }
    return copy;
}

static lp__rlimit_t *copy_limits(const lp_manager_options_t *options)
{
    size_t count = options->rlimit_count;
    lp__rlimit_t *limits = lp__malloc(LP_MEM_CORE, (count + 1) * sizeof *limits);
    for (size_t i = 0; limits && i < count; i++) {
        limits[i].resource = lp__rlimit_find(options->rlimits[i].name);
        limits[i].value = options->rlimits[i].value;
    }
    return limits;
}

int lp__command_copy(lp__command_t *command, const lp_manager_options_t *options)
{
    memset(command, 0, sizeof *command);
    if (!options->command)
        return 0;
    command->argv = copy_list(options->command);
    command->env = options->env ? copy_list(options->env) : NULL;
    command->cwd = options->cwd ? copy_text(options->cwd) : NULL;
    command->limits = copy_limits(options);
    command->limit_count = options->rlimit_count;
    if (command->argv && command->limits && !command->env == !options->env &&
        !command->cwd == !options->cwd)
        return 0;
    lp__command_free(command);
    return LP_ENOMEM;
}

void lp__command_free(lp__command_t *command)
{
    free_list(command->argv);
    free_list(command->env);
    lp__free(command->cwd);
    lp__free(command->limits);
    memset(command, 0, sizeof *command);
}
