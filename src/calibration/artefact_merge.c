/* artefact_merge.c - two artefacts of disjoint samples into one: counts and sums add, what stands
 * by sample stands behind one another. */
#include <stdlib.h>
#include <string.h>

#include "calibration/artefact.h"
#include "util/map.h"

typedef struct merge {
    oxp_artefact *a;
    const oxp_artefact *b;
    const char *a_path, *b_path;
} merge;

static oxp_status differ(const merge *m, const char *code, const char *what)
{
    return oxp_fail(m->a->ctx, OXP_EDATA, code, "%s and %s: %s", m->a_path, m->b_path, what);
}

/* ---- may they? ---- */

static oxp_status check_identity(const merge *m)
{
    const oxp_artefact_identity *a = &m->a->identity, *b = &m->b->identity;
    char x[17], y[17];
    oxp_hash_hex(x, a->model_hash);
    oxp_hash_hex(y, b->model_hash);
    if (a->model_hash != b->model_hash || a->model_bytes != b->model_bytes)
        return oxp_fail(m->a->ctx, OXP_EDATA, "E-STATS-MODEL",
                        "%s is of the model with xxh3 %s, %s of that with %s", m->a_path, x,
                        m->b_path, y);
    OXP_TRY(oxp_artefact_same_options(m->a, m->a_path, b->options));
    if (a->prepared_hash != b->prepared_hash || m->a->moments != m->b->moments)
        return differ(m, "E-STATS-MODEL", "the model was prepared in different ways");
    return OXP_OK;
}

static int by_value(const void *x, const void *y)
{
    uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;
    return (a > b) - (a < b);
}

/* A sample may stand in one data set twice, not in both: it would count as two draws. */
static oxp_status check_overlap(const merge *m, uint64_t *sorted)
{
    size_t n = m->a->sample_count, common = 0, first = 0;
    memcpy(sorted, m->a->hashes, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_value);
    for (size_t i = m->b->sample_count; i-- > 0;)
        if (bsearch(&m->b->hashes[i], sorted, n, sizeof *sorted, by_value)) {
            common++;
            first = i;
        }
    if (common == 0)
        return OXP_OK;
    char hex[17];
    oxp_hash_hex(hex, m->b->hashes[first]);
    return oxp_fail(m->a->ctx, OXP_EDATA, "E-STATS-OVERLAP",
                    "%s and %s have %zu samples in common, the first with xxh3 %s", m->a_path,
                    m->b_path, common, hex);
}

bool oxp_artefact_same_tables(const oxp_artefact *a, const oxp_artefact *b)
{
    const oxp_artefact_fisher *f = &a->fisher, *g = &b->fisher;
    bool same = a->tensor_count == b->tensor_count && a->layer_count == b->layer_count &&
                f->output_count == g->output_count && f->target_count == g->target_count &&
                strcmp(f->estimator, g->estimator) == 0 && f->is_unscaled == g->is_unscaled;
    for (size_t i = 0; same && i < a->tensor_count; i++)
        same = strcmp(a->tensors[i].name, b->tensors[i].name) == 0 &&
               a->tensors[i].graph_id == b->tensors[i].graph_id &&
               a->tensors[i].is_dynamic == b->tensors[i].is_dynamic;
    for (size_t i = 0; same && i < a->layer_count; i++)
        same = strcmp(a->layers[i].value, b->layers[i].value) == 0 &&
               a->layers[i].graph_id == b->layers[i].graph_id &&
               a->layers[i].groups == b->layers[i].groups &&
               a->layers[i].columns == b->layers[i].columns;
    for (size_t i = 0; same && i < f->output_count; i++)
        same = f->is_powered[i] == g->is_powered[i];
    for (size_t i = 0; same && i < f->target_count; i++)
        same = strcmp(f->targets[i].name, g->targets[i].name) == 0 &&
               f->targets[i].graph_id == g->targets[i].graph_id &&
               f->targets[i].elements == g->targets[i].elements;
    return same;
}

/* Gradients of several outputs together, some of them divided by a mean power that each part took
 * from its own samples, cannot be divided by the mean power of all samples any more. */
static oxp_status check_fisher(const merge *m)
{
    const oxp_artefact_fisher *f = &m->a->fisher;
    bool powered = false;
    for (size_t i = 0; i < f->output_count; i++)
        powered |= f->is_powered[i] != 0;
    if (!powered || f->is_unscaled || f->target_count == 0)
        return OXP_OK;
    return differ(
        m, "E-STATS-MERGE",
        "several outputs count and real-valued ones are scaled by their mean power, which "
        "differs between the parts: calibrate on all data at once, or with --outputs of "
        "one, or with --estimator none");
}

/* ---- together ---- */

static oxp_status join(void *pointer, oxp_arena *arena, size_t a_bytes, const void *b,
                       size_t b_bytes)
{
    void *before;
    memcpy(&before, pointer, sizeof before);
    uint8_t *both = oxp_arena_alloc(arena, a_bytes + b_bytes + 1, 1);
    if (!both)
        return OXP_ELIMIT;
    if (a_bytes)
        memcpy(both, before, a_bytes);
    if (b_bytes)
        memcpy(both + a_bytes, b, b_bytes);
    memcpy(pointer, &both, sizeof both);
    return OXP_OK;
}

static oxp_status merge_histograms(oxp_artefact *a, const oxp_artefact *b, size_t i,
                                   oxp_histogram *x, oxp_histogram *y)
{
    oxp_artefact_tensor *t = &a->tensors[i];
    uint8_t *packed;
    OXP_TRY(oxp_artefact_histogram(x, a, i));
    OXP_TRY(oxp_artefact_histogram(y, b, i));
    uint64_t sum;
    if (__builtin_add_overflow(x->count, y->count, &sum) ||
        __builtin_add_overflow(x->huge, y->huge, &sum) ||
        __builtin_add_overflow(x->nan, y->nan, &sum))
        return oxp_fail(a->ctx, OXP_EDATA, "E-STATS-MERGE", "value \"%.100s\": too many elements",
                        t->name);
    oxp_histogram_merge(x, y);
    OXP_TRY(oxp_histogram_pack(&packed, &t->packed_bytes, a->ctx, x));
    oxp_free(t->packed);
    t->packed = packed;
    return OXP_OK;
}

static oxp_status merge_tensors(merge *m, oxp_histogram *work)
{
    oxp_artefact *a = m->a;
    size_t n = a->used, more = m->b->used;
    for (size_t i = 0; i < a->tensor_count; i++) {
        oxp_artefact_tensor *t = &a->tensors[i];
        const oxp_artefact_tensor *u = &m->b->tensors[i];
        OXP_TRY(merge_histograms(a, m->b, i, &work[0], &work[1]));
        OXP_TRY(join(&t->low, &a->arena, n * sizeof *t->low, u->low, more * sizeof *t->low));
        OXP_TRY(join(&t->high, &a->arena, n * sizeof *t->high, u->high, more * sizeof *t->high));
        if (t->is_dynamic)
            OXP_TRY(join(&t->dynamic_errors, &a->arena, n * sizeof(double), u->dynamic_errors,
                         more * sizeof(double)));
    }
    return OXP_OK;
}

static oxp_status merge_layers(merge *m)
{
    for (size_t i = 0; i < m->a->layer_count; i++) {
        oxp_artefact_layer *l = &m->a->layers[i];
        const oxp_artefact_layer *k = &m->b->layers[i];
        if (__builtin_add_overflow(l->rows, k->rows, &l->rows))
            return differ(m, "E-STATS-MERGE", "a layer has too many rows");
        for (size_t j = 0; j < l->groups * l->columns; j++) {
            l->sums[j] += k->sums[j];
            l->squares[j] += k->squares[j];
        }
        size_t count = m->a->moments == OXP_KEEP_FULL ? oxp_layer_triangle(l) : 0;
        for (size_t j = 0; j < count; j++)
            l->h_whole[j] = (float)((double)l->h_whole[j] + (double)k->h_whole[j]);
    }
    return OXP_OK;
}

static oxp_status merge_fisher(merge *m)
{
    oxp_artefact_fisher *f = &m->a->fisher;
    const oxp_artefact_fisher *g = &m->b->fisher;
    size_t powers = f->output_count * sizeof(double), squares = f->target_count * sizeof(double);
    OXP_TRY(join(&f->powers, &m->a->arena, m->a->used * powers, g->powers, m->b->used * powers));
    return join(&f->squares, &m->a->arena, m->a->used * squares, g->squares, m->b->used * squares);
}

static oxp_status merge_samples(merge *m)
{
    oxp_artefact *a = m->a;
    const oxp_artefact *b = m->b;
    oxp_artefact_identity *id = &a->identity;
    size_t n = a->sample_count, more = b->sample_count;
    OXP_TRY(
        join(&a->hashes, &a->arena, n * sizeof *a->hashes, b->hashes, more * sizeof *a->hashes));
    OXP_TRY(join(&a->is_held, &a->arena, n, b->is_held, more));
    OXP_TRY(join(&id->data_hashes, &a->arena, id->data_count * sizeof *id->data_hashes,
                 b->identity.data_hashes, b->identity.data_count * sizeof *id->data_hashes));
    id->data_count += b->identity.data_count;
    if (strcmp(id->isa, b->identity.isa) != 0)
        id->isa = "mixed";
    a->sample_count += more;
    a->used += b->used;
    return OXP_OK;
}

static void all_done(oxp_artefact *a)
{
    for (size_t i = 0; i < a->tensor_count; i++)
        a->tensors[i].done = a->used;
    for (size_t i = 0; i < a->layer_count; i++)
        a->layers[i].done = a->used;
    a->fisher.done = a->fisher.powers_done = a->used;
}

static oxp_status may_merge(const merge *m)
{
    uint64_t *sorted;
    OXP_TRY(check_identity(m));
    if (!oxp_artefact_same_tables(m->a, m->b))
        return differ(m, "E-STATS-MODEL", "they hold different tensors");
    OXP_TRY(check_fisher(m));
    OXP_TRY(oxp_alloc(&sorted, m->a->ctx, m->a->sample_count + 1, sizeof *sorted, "samples"));
    oxp_status status = check_overlap(m, sorted);
    oxp_free(sorted);
    return status;
}

oxp_status oxp_artefact_merge(oxp_artefact *into, const char *into_path, const oxp_artefact *part,
                              const char *part_path)
{
    merge m = {into, part, into_path, part_path};
    oxp_histogram *work;
    OXP_TRY(may_merge(&m));
    OXP_TRY(oxp_alloc(&work, into->ctx, 2, sizeof *work, "histograms"));
    oxp_status status = merge_tensors(&m, work);
    oxp_free(work);
    if (status == OXP_OK)
        status = merge_layers(&m);
    if (status == OXP_OK)
        status = merge_fisher(&m);
    if (status == OXP_OK)
        status = merge_samples(&m);
    if (status == OXP_OK)
        all_done(into);
    return status;
}
