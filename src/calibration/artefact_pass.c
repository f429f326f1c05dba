/* artefact_pass.c - see artefact_pass.h. */
#include "calibration/artefact_pass.h"

#include <math.h>
#include <string.h>

#include "calibration/race.h"

/* ---- what the samples show ---- */

static void add_extremes(oxp_artefact_tensor *t, size_t sample, const oxp_tensor *x)
{
    const float *v = x->data;
    float low, high;
    oxp_extremes(v, x->count, &low, &high);
    if (!(low > -OXP_HUGE_VALUE && high < OXP_HUGE_VALUE)) { /* or there is none */
        low = INFINITY;
        high = -INFINITY;
        for (size_t i = 0; i < x->count; i++)
            if (fabsf(v[i]) < OXP_HUGE_VALUE) {
                low = fminf(low, v[i]);
                high = fmaxf(high, v[i]);
            }
    }
    t->low[sample] = fminf(t->low[sample], low);
    t->high[sample] = fmaxf(t->high[sample], high);
}

static oxp_status add_values(oxp_collecting *p, oxp_ctx *ctx, int worker, size_t slot,
                             size_t tensor, const oxp_tensor *x)
{
    oxp_artefact *a = p->collect->artefact;
    oxp_artefact_tensor *t = &a->tensors[tensor];
    oxp_histogram **seen = &p->seen[(size_t)worker * a->tensor_count + tensor];
    if (x->dtype != OXP_FLOAT || x->count == 0)
        return OXP_OK;
    if (!*seen) {
        OXP_TRY(oxp_alloc(seen, ctx, 1, sizeof **seen, "histogram"));
        oxp_histogram_init(*seen);
    }
    oxp_histogram_add(*seen, x->data, x->count);
    add_extremes(t, p->base + slot, x);
    if (t->is_dynamic)
        t->dynamic_errors[p->base + slot] +=
            oxp_quantisation_error(x->data, x->count, oxp_scale_of_run(x), 255);
    return OXP_OK;
}

static oxp_status on_value(void *user, oxp_ctx *ctx, int worker, size_t slot,
                           const oxp_graph *graph, uint32_t value, const oxp_tensor *t)
{
    oxp_collecting *p = user;
    size_t at = p->tensor_of[graph->id][value];
    return at ? add_values(p, ctx, worker, slot, at - 1, t) : OXP_OK;
}

static oxp_status on_node(void *user, int worker, size_t slot, oxp_node *n)
{
    (void)worker;
    oxp_collecting *p = user;
    size_t at = p->layer_of[n->def->graph->id][n->def->index];
    if (at == 0 || n->in[0]->dtype != OXP_FLOAT)
        return OXP_OK;
    const oxp_moments *m = &p->shapes[at - 1];
    oxp_sample_rows *r = &p->rows[slot * p->layer_count + at - 1];
    size_t width = m->groups * m->columns;
    if (!r->x)
        OXP_TRY(oxp_alloc_raw(&r->x, n->ctx, m->wanted * width, sizeof *r->x, "layer inputs"));
    return oxp_moments_rows(n, m, r->x + r->count * width, &r->count);
}

static void add_powers(oxp_collecting *p, size_t slot, const oxp_tensor *outputs)
{
    oxp_artefact_fisher *f = &p->collect->artefact->fisher;
    for (size_t o = 0; o < f->output_count; o++) {
        double sum = 0;
        for (size_t k = 0; f->is_powered[o] && k < outputs[o].count; k++) {
            double y = oxp_tensor_real(&outputs[o], k);
            sum += isfinite(y) ? y * y : 0;
        }
        f->powers[(p->base + slot) * f->output_count + o] = sum;
    }
}

/* Graph inputs are made by no node: they are seen with the whole sample. */
static oxp_status on_sample(void *user, oxp_ctx *ctx, int worker, size_t slot,
                            const oxp_tensor *inputs, const oxp_tensor *outputs)
{
    oxp_collecting *p = user;
    const oxp_graph *g = p->collect->graph;
    const oxp_artefact *a = p->collect->artefact;
    for (size_t i = 0; i < g->input_count; i++) {
        size_t at = p->tensor_of[0][g->inputs[i]];
        if (at)
            OXP_TRY(add_values(p, ctx, worker, slot, at - 1, &inputs[i]));
    }
    if (p->has[a->tensor_count + a->layer_count])
        add_powers(p, slot, outputs);
    return OXP_OK;
}

oxp_run_hooks oxp_collecting_hooks(oxp_collecting *p)
{
    const oxp_artefact *a = p->collect->artefact;
    bool tensors = false, layers = false;
    for (size_t i = 0; i < a->tensor_count + a->layer_count; i++)
        *(i < a->tensor_count ? &tensors : &layers) |= p->has[i];
    return (oxp_run_hooks){.user = p,
                           .value = tensors ? on_value : NULL,
                           .node = layers ? on_node : NULL,
                           .sample = on_sample,
                           .any_layout = true};
}

/* ---- opening ---- */

static oxp_status make_tables(oxp_collecting *p)
{
    const oxp_graph *const *graphs;
    size_t count;
    OXP_TRY(oxp_graph_all(&graphs, &count, &p->arena, p->collect->graph));
    p->tensor_of = oxp_arena_alloc(&p->arena, count, sizeof *p->tensor_of);
    p->layer_of = oxp_arena_alloc(&p->arena, count, sizeof *p->layer_of);
    if (!p->tensor_of || !p->layer_of)
        return OXP_ELIMIT;
    for (size_t g = 0; g < count; g++) {
        p->tensor_of[g] = oxp_arena_alloc(&p->arena, graphs[g]->value_count + 1, sizeof(size_t));
        p->layer_of[g] = oxp_arena_alloc(&p->arena, graphs[g]->node_count + 1, sizeof(size_t));
        if (!p->tensor_of[g] || !p->layer_of[g])
            return OXP_ELIMIT;
    }
    return OXP_OK;
}

static oxp_status open_layer(oxp_collecting *p, size_t layer)
{
    const oxp_collect *c = p->collect;
    oxp_artefact_layer *l = &c->artefact->layers[layer];
    const oxp_graph_node *n = c->nodes[layer];
    size_t at = p->layer_count++;
    p->layers[at] = l;
    p->shapes[at] =
        (oxp_moments){.groups = l->groups, .columns = l->columns, .wanted = c->positions};
    p->layer_of[n->graph->id][n->index] = at + 1;
    if (c->artefact->moments != OXP_KEEP_FULL || l->h)
        return OXP_OK;
    return oxp_alloc(&l->h, c->artefact->ctx, oxp_layer_triangle(l), sizeof *l->h,
                     "second moments");
}

oxp_status oxp_collecting_open(oxp_collecting *p)
{
    const oxp_collect *c = p->collect;
    oxp_artefact *a = c->artefact;
    size_t workers = (size_t)a->ctx->threads;
    oxp_arena_init(&p->arena, a->ctx);
    p->layer_count = 0;
    p->done = p->from;
    OXP_TRY(make_tables(p));
    p->seen = oxp_arena_alloc(&p->arena, workers * a->tensor_count + 1, sizeof *p->seen);
    p->layers = oxp_arena_alloc(&p->arena, a->layer_count + 1, sizeof *p->layers);
    p->shapes = oxp_arena_alloc(&p->arena, a->layer_count + 1, sizeof *p->shapes);
    if (!p->seen || !p->layers || !p->shapes)
        return OXP_ELIMIT;
    for (size_t i = 0; i < a->tensor_count; i++)
        if (p->has[i])
            p->tensor_of[c->watches[i].graph->id][c->watches[i].value] = i + 1;
    for (size_t i = 0; i < a->layer_count; i++)
        if (p->has[a->tensor_count + i])
            OXP_TRY(open_layer(p, i));
    return OXP_OK;
}

void oxp_collecting_close(oxp_collecting *p)
{
    size_t tensors = p->collect->artefact->tensor_count;
    size_t workers = (size_t)p->collect->artefact->ctx->threads;
    for (size_t i = 0; p->seen && i < workers * tensors; i++)
        oxp_free(p->seen[i]);
    for (size_t i = 0; i < p->row_capacity; i++)
        oxp_free(p->rows[i].x);
    oxp_free(p->rows);
    p->rows = NULL;
    p->row_capacity = 0;
    p->seen = NULL;
    oxp_arena_free(&p->arena);
}

/* ---- chunks ---- */

oxp_status oxp_collecting_open_chunk(oxp_collecting *p)
{
    oxp_artefact *a = p->collect->artefact;
    for (size_t i = 0; i < a->tensor_count; i++)
        for (size_t s = p->base; s < p->base + p->slots && p->has[i]; s++) {
            a->tensors[i].low[s] = INFINITY;
            a->tensors[i].high[s] = -INFINITY;
            if (a->tensors[i].is_dynamic)
                a->tensors[i].dynamic_errors[s] = 0;
        }
    return oxp_grow(&p->rows, &p->row_capacity, a->ctx, p->slots * p->layer_count, sizeof *p->rows);
}

oxp_status oxp_collecting_close_chunk(oxp_collecting *p)
{
    oxp_artefact *a = p->collect->artefact;
    for (size_t i = 0; i < a->tensor_count; i++)
        for (size_t s = p->base; s < p->base + p->slots && p->has[i]; s++)
            if (a->tensors[i].low[s] > a->tensors[i].high[s]) /* it had no element */
                a->tensors[i].low[s] = a->tensors[i].high[s] = NAN;
    return oxp_rows_add(a->ctx, p->layers, p->layer_count, p->rows, p->slots);
}

static oxp_status settle_tensor(oxp_collecting *p, size_t i, bool whole)
{
    oxp_artefact *a = p->collect->artefact;
    oxp_artefact_tensor *t = &a->tensors[i];
    if (!t->seen) {
        OXP_TRY(oxp_alloc(&t->seen, a->ctx, 1, sizeof *t->seen, "histogram"));
        oxp_histogram_init(t->seen);
    }
    for (int w = 0; w < a->ctx->threads; w++) {
        oxp_histogram *seen = p->seen[(size_t)w * a->tensor_count + i];
        if (!seen)
            continue;
        oxp_histogram_merge(t->seen, seen);
        oxp_histogram_init(seen);
    }
    t->done = p->done;
    if (!whole)
        return OXP_OK;
    OXP_TRY(oxp_histogram_pack(&t->packed, &t->packed_bytes, a->ctx, t->seen));
    oxp_free(t->seen);
    t->seen = NULL;
    return OXP_OK;
}

oxp_status oxp_collecting_settle(oxp_collecting *p, bool whole)
{
    oxp_artefact *a = p->collect->artefact;
    for (size_t i = 0; i < a->tensor_count; i++)
        if (p->has[i])
            OXP_TRY(settle_tensor(p, i, whole));
    for (size_t i = 0; i < a->layer_count; i++)
        if (p->has[a->tensor_count + i])
            a->layers[i].done = p->done;
    if (p->has[a->tensor_count + a->layer_count])
        a->fisher.powers_done = p->done;
    return OXP_OK;
}

/* ---- between passes ---- */

static oxp_status put_away(oxp_artefact *a, oxp_artefact_layer *l, int directory)
{
    size_t count = oxp_layer_triangle(l);
    bool outside = directory >= 0 && count * sizeof *l->h_whole >= OXP_SCRATCH_BYTES;
    if (outside)
        oxp_scratch_open(a->ctx, directory);
    bool placed = outside && oxp_scratch_piece(&l->mapping, a->ctx, count * sizeof *l->h_whole);
    if (outside)
        oxp_scratch_close(a->ctx);
    if (placed) {
        void *data = l->mapping->data;
        l->h_whole = data;
    } else {
        OXP_TRY(oxp_alloc_raw(&l->h_whole, a->ctx, count, sizeof *l->h_whole, "second moments"));
    }
    for (size_t i = 0; i < count; i++)
        l->h_whole[i] = (float)l->h[i];
    if (placed)
        oxp_pages_release(a->ctx, l->h_whole, count * sizeof *l->h_whole);
    oxp_free(l->h);
    l->h = NULL;
    return OXP_OK;
}

oxp_status oxp_collecting_put_away(oxp_collecting *p)
{
    oxp_artefact *a = p->collect->artefact;
    for (size_t i = 0; i < a->layer_count; i++)
        if (p->has[a->tensor_count + i] && a->layers[i].h)
            OXP_TRY(put_away(a, &a->layers[i], p->collect->directory));
    return OXP_OK;
}

void oxp_collecting_forget(oxp_artefact *a, size_t item)
{
    if (item < a->tensor_count) {
        oxp_free(a->tensors[item].seen);
        oxp_free(a->tensors[item].packed);
        a->tensors[item].seen = NULL;
        a->tensors[item].packed = NULL;
        a->tensors[item].done = 0;
        return;
    }
    item -= a->tensor_count;
    if (item == a->layer_count) {
        a->fisher.powers_done = 0;
        return;
    }
    oxp_artefact_layer *l = &a->layers[item];
    size_t width = l->groups * l->columns;
    memset(l->sums, 0, width * sizeof *l->sums);
    memset(l->squares, 0, width * sizeof *l->squares);
    oxp_free(l->h);
    l->h = NULL;
    l->rows = 0;
    l->done = 0;
}
