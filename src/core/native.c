/* native.c - see native.h. */
#include "core/native.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "core/worker.h"

static lp__native_t *native_of(lp__list_t *link)
{
    return LP__CONTAINER(link, lp__native_t, link);
}

static void native_free(lp__shared_t *shared)
{
    lp__free(LP__CONTAINER(shared, lp__native_t, shared));
}

lp__native_t *lp__native_new(const char *path, const char *name, lp_native_cb fn, void *data)
{
    size_t path_size = path ? strlen(path) + 1 : 0, name_size = strlen(name) + 1;
    lp__native_t *native = lp__malloc(LP_MEM_CORE, sizeof *native + path_size + name_size);
    if (!native)
        return NULL;
    lp__shared_init(&native->shared, native_free);
    lp__list_init(&native->link);
    native->fn = fn;
    native->data = data;
    native->name = memcpy(native->text, name, name_size);
    native->path = path ? memcpy(native->text + name_size, path, path_size) : NULL;
    return native;
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

lp__native_t *lp__native_find(const lp_runtime_t *rt, const char *name)
{
    lp__native_t *found = NULL;
    for (lp__list_t *at = rt->natives.next; at != &rt->natives; at = at->next)
        if (strcmp(native_of(at)->name, name) == 0 && (!found || !native_of(at)->path))
            found = native_of(at);
    return found;
}

int lp__native_add(lp_runtime_t *rt, const char *path, const char *name, lp_native_cb fn,
                   void *data, lp__native_t **out)
{
    for (lp__list_t *at = rt->natives.next; at != &rt->natives; at = at->next) {
        lp__native_t *native = native_of(at);
        if (strcmp(native->name, name) != 0 || !same_text(native->path, path))
            continue;
        *out = native;
        return path && native->fn == fn ? 0 : LP_ESTATE;
    }
    *out = lp__native_new(path, name, fn, data);
    if (!*out)
        return LP_ENOMEM;
    lp__list_push_back(&rt->natives, &(*out)->link);
    return 0;
}

int lp_register_native(lp_runtime_t *rt, const char *name, lp_native_cb fn, void *data)
{
    lp__native_t *native;
    int rc = lp__runtime_check_thread(rt);
    if (rc != 0)
        return rc;
    if (!name || !name[0] || !fn)
        return lp__runtime_invalid(rt, "%s: got %s, allowed: %s", fn ? "name" : "fn",
                                   fn && name ? "\"\"" : "NULL",
                                   fn ? "a string of 1 byte or more" : "a pointer");
    return lp__native_add(rt, NULL, name, fn, data, &native);
}

void lp__native_release(lp__native_t *native)
{
    if (native)
        lp__shared_release(&native->shared);
}

void lp__native_release_all(lp_runtime_t *rt)
{
    lp__list_t *link;
    while ((link = lp__list_pop_front(&rt->natives)) != NULL)
        lp__native_release(native_of(link));
}

/* ---- Calling -------------------------------------------------------------------- */

static lp__call_state_t *state_of(lp_call_t *call)
{
    return (lp__call_state_t *)(void *)call;
}

static int cancelled(lp_call_t *call)
{
    const lp__worker_t *worker = state_of(call)->worker;
    int why = worker ? lp__desk_stop_wanted(&worker->desk) : 0;
    if (why != 0)
        state_of(call)->noticed = why;
    return why;
}

static uint64_t remaining_ns(lp_call_t *call)
{
    const lp__worker_t *worker = state_of(call)->worker;
    return worker ? lp__worker_remaining_ns(worker) : LP_FOREVER;
}

static lp_call_api_t api;

static void fill_api(void)
{
    lp__call_fill_api(&api);
    api.cancelled = cancelled;
    api.remaining_ns = remaining_ns;
}

/* Says what one has done that has told nothing. */
static int explain(lp__message_t *results, const char *format, ...)
{
    char text[400]; /* names are cut */
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    lp__message_reset(results);
    int rc = lp__message_reserve(results, (size_t)len);
    if (rc != 0)
        return rc;
    memcpy(results->data, text, (size_t)len);
    results->len = (uint32_t)len;
    return LP_EJOB;
}

int lp__native_call(const lp__native_t *native, const lp__worker_t *worker,
                    const lp__message_t *args, lp__message_t *results)
{
    static uv_once_t once = UV_ONCE_INIT;
    lp__call_state_t state;
    uv_once(&once, fill_api);
    state.call.api = &api;
    state.call.data = native->data;
    state.worker = worker;
    lp__call_begin(&state, args, results);
    int returned = native->fn(&state.call);
    if (state.noticed != 0)
        return state.noticed;
    if (state.failed)
        return state.rc;
    if (returned != 0 && state.rc == 0)
        return explain(results, "the native job %.200s returned %d", native->name, returned);
    int rc = lp__call_end(&state); /* what it has returned is its own affair */
    if (rc != LP_ESTATE)
        return rc;
    return explain(results,
                   "the native job %.200s built its results wrongly: a table that is open or too "
                   "deep, an element behind fields, or a key without a value",
                   native->name);
}
