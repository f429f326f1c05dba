/* artefact.c - memory and identity of an artefact. */
#include "calibration/artefact.h"

#include <string.h>

void oxp_artefact_init(oxp_artefact *a, oxp_ctx *ctx)
{
    *a = (oxp_artefact){.ctx = ctx};
    oxp_arena_init(&a->arena, ctx);
    a->fisher.estimator = "none";
}

void oxp_artefact_free(oxp_artefact *a)
{
    for (size_t i = 0; a->tensors && i < a->tensor_count; i++) {
        oxp_free(a->tensors[i].seen);
        oxp_free(a->tensors[i].packed);
    }
    for (size_t i = 0; a->layers && i < a->layer_count; i++) {
        oxp_artefact_layer *l = &a->layers[i];
        oxp_free(l->h);
        if (l->mapping)
            oxp_mapping_close(l->mapping);
        else
            oxp_free(l->h_whole);
    }
    oxp_arena_free(&a->arena);
    *a = (oxp_artefact){.ctx = a->ctx};
}

static oxp_status room(void *out_pointer, oxp_arena *arena, size_t rows, size_t columns,
                       size_t size)
{
    size_t count;
    if (!oxp_mul_ok(rows, columns, &count))
        return oxp_fail(arena->ctx, OXP_ELIMIT, "E-LIMIT-MEM", "statistics by sample: too many");
    void *memory = oxp_arena_alloc(arena, count + 1, size);
    if (!memory)
        return OXP_ELIMIT;
    memcpy(out_pointer, &memory, sizeof memory);
    return OXP_OK;
}

oxp_status oxp_artefact_make_room(oxp_artefact *a)
{
    size_t n = a->used;
    for (size_t i = 0; i < a->tensor_count; i++) {
        oxp_artefact_tensor *t = &a->tensors[i];
        OXP_TRY(room(&t->low, &a->arena, n, 1, sizeof *t->low));
        OXP_TRY(room(&t->high, &a->arena, n, 1, sizeof *t->high));
        if (t->is_dynamic)
            OXP_TRY(room(&t->dynamic_errors, &a->arena, n, 1, sizeof *t->dynamic_errors));
    }
    for (size_t i = 0; i < a->layer_count; i++) {
        oxp_artefact_layer *l = &a->layers[i];
        OXP_TRY(room(&l->sums, &a->arena, l->groups, l->columns, sizeof *l->sums));
        OXP_TRY(room(&l->squares, &a->arena, l->groups, l->columns, sizeof *l->squares));
    }
    oxp_artefact_fisher *f = &a->fisher;
    OXP_TRY(room(&f->powers, &a->arena, n, f->output_count, sizeof *f->powers));
    return room(&f->squares, &a->arena, n, f->target_count, sizeof *f->squares);
}

size_t oxp_layer_triangle(const oxp_artefact_layer *l)
{
    size_t square, all;
    if (!oxp_mul_ok(l->columns, l->columns, &square) || !oxp_add_ok(square, l->columns, &square) ||
        !oxp_mul_ok(square / 2, l->groups, &all))
        return SIZE_MAX;
    return all;
}

double oxp_artefact_scale(const oxp_artefact *a)
{
    const oxp_artefact_fisher *f = &a->fisher;
    double power = 0;
    if (!f->is_unscaled)
        return 1;
    for (size_t o = 0; o < f->output_count; o++)
        for (size_t i = 0; f->is_powered[o] && i < a->used; i++)
            power += f->powers[i * f->output_count + o] / (double)a->used;
    return power > 0 ? 1 / power : 0;
}

/* ---- options ---- */

/* The value behind "name=", up to the end of its line. */
static const char *find_option(const char *options, const char *name, size_t name_length,
                               size_t *length)
{
    while (*options) {
        size_t line = strcspn(options, "\n");
        if (line > name_length && strncmp(options, name, name_length) == 0 &&
            options[name_length] == '=') {
            *length = line - name_length - 1;
            return options + name_length + 1;
        }
        options += line + (options[line] == '\n');
    }
    return NULL;
}

const char *oxp_artefact_option(const oxp_artefact *a, const char *name, oxp_arena *arena)
{
    size_t length;
    const char *value = find_option(a->identity.options, name, strlen(name), &length);
    return value ? oxp_arena_printf(arena, "%.*s", (int)length, value) : NULL;
}

oxp_status oxp_artefact_same_options(const oxp_artefact *a, const char *path, const char *options)
{
    for (const char *line = options; *line;) {
        size_t length = strcspn(line, "\n"), name = strcspn(line, "="), found_length = 0;
        const char *found = find_option(a->identity.options, line, name, &found_length);
        size_t value = length - name - 1;
        if (!found || found_length != value || strncmp(found, line + name + 1, value) != 0)
            return oxp_fail(a->ctx, OXP_EDATA, "E-STATS-OPTION",
                            "%s: option %.*s is \"%.*s\" here and \"%.*s\" in the artefact", path,
                            (int)name, line, (int)(value < 100 ? value : 100), line + name + 1,
                            (int)(found_length < 100 ? found_length : 100), found ? found : "");
        line += length + (line[length] == '\n');
    }
    return OXP_OK;
}
