/* notes.c - what preparation did, in words and names, for the report. Everything is copied into
 * the result. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "prepare/pass.h"

#define NOTE_MAX 2048

oxp_status oxp_prepare_note(oxp_prepare_result *r, size_t step, oxp_prepare_kind kind,
                            const char *value, const char *text)
{
    oxp_ctx *ctx = r->arena.ctx;
    OXP_TRY(oxp_grow(&r->entries, &r->entry_capacity, ctx, r->entry_count + 1, sizeof *r->entries));
    oxp_prepare_entry *e = &r->entries[r->entry_count];
    *e = (oxp_prepare_entry){.step = r->steps[step].name,
                             .kind = kind,
                             .value = oxp_arena_strdup(&r->arena, value),
                             .text = oxp_arena_strdup(&r->arena, text)};
    if (!e->value || !e->text)
        return ctx->status;
    r->entry_count++;
    size_t *count[] = {[OXP_PREPARE_CHANGED] = &r->steps[step].changed,
                       [OXP_PREPARE_LEFT] = &r->steps[step].left,
                       [OXP_PREPARE_UNDONE] = &r->steps[step].undone};
    ++*count[kind];
    return OXP_OK;
}

__attribute__((format(printf, 4, 0))) static oxp_status
note(oxp_pass *p, oxp_prepare_kind kind, const char *value, const char *format, va_list arguments)
{
    char text[NOTE_MAX];
    vsnprintf(text, sizeof text, format, arguments);
    return oxp_prepare_note(p->result, p->step, kind, value, text);
}

oxp_status oxp_pass_changed(oxp_pass *p, const char *value, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    oxp_status status = note(p, OXP_PREPARE_CHANGED, value, format, arguments);
    va_end(arguments);
    if (status == OXP_OK)
        status = oxp_map_put(&p->changed, p->result->entries[p->result->entry_count - 1].value, 0);
    return status;
}

/* What this step has put into its form itself is not left. */
oxp_status oxp_pass_left(oxp_pass *p, const char *value, const char *format, ...)
{
    va_list arguments;
    if (oxp_map_get(&p->changed, value) != OXP_MAP_NONE)
        return OXP_OK;
    va_start(arguments, format);
    oxp_status status = note(p, OXP_PREPARE_LEFT, value, format, arguments);
    va_end(arguments);
    return status;
}

oxp_status oxp_pass_note_tensor(oxp_pass *p, const char *name)
{
    oxp_prepare_result *r = p->result;
    OXP_TRY(oxp_grow(&r->tensors, &r->tensor_capacity, p->ctx, r->tensor_count + 1,
                     sizeof *r->tensors));
    r->tensors[r->tensor_count] = oxp_arena_strdup(&r->arena, name);
    return r->tensors[r->tensor_count++] ? OXP_OK : p->ctx->status;
}

void oxp_prepare_release(oxp_prepare_result *r)
{
    oxp_free(r->entries);
    oxp_free(r->tensors);
    if (r->arena.ctx)
        oxp_arena_free(&r->arena);
    *r = (oxp_prepare_result){0};
}
