/* edit_context.c - what techniques share: codes of weights, names, constants, the order in which
 * they are applied. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "techniques/bias_correction.h"
#include "techniques/codes.h"
#include "techniques/technique.h"
#include "util/parallel.h"

/* ---- codes ---- */

typedef struct code_job {
    oxp_codes *codes;
    const oxp_site *sites;
    int limit;
} code_job;

static void measure(oxp_codes *c, oxp_weight_layout l, const float *w)
{
    c->signal = c->noise = 0;
    for (size_t at = 0, b = 0; b < l.blocks; b++)
        for (size_t o = 0; o < l.outer; o++)
            for (size_t ch = 0; ch < l.channels; ch++)
                for (size_t k = 0; k < l.inner; k++, at++) {
                    double e = (double)w[at] -
                               (double)((float)c->codes[at] * c->scales[b * l.channels + ch]);
                    c->signal += (double)w[at] * (double)w[at];
                    c->noise += e * e;
                }
}

void oxp_codes_measure(oxp_codes *c, const oxp_site *s)
{
    measure(c, s->layout, s->value->constant.data);
}

static oxp_status make_one(void *user, oxp_ctx *ctx, size_t i, int worker)
{
    (void)worker;
    const code_job *job = user;
    const oxp_site *s = &job->sites[i];
    oxp_codes *c = &job->codes[i];
    if (!c->codes)
        return OXP_OK;
    const float *w;
    float *owned;
    OXP_TRY(oxp_site_numbers(&w, &owned, ctx, s));
    oxp_quantise_weight(c->codes, c->scales, w, s->layout, job->limit);
    measure(c, s->layout, w);
    oxp_free(owned);
    oxp_model_forget(s->graph->model, &s->value->constant);
    oxp_pages_release(ctx, c->codes, s->value->constant.count);
    return OXP_OK;
}

oxp_status oxp_codes_make(oxp_codes *codes, oxp_arena *arena, const oxp_site *sites, size_t count,
                          int limit)
{
    for (size_t i = 0; i < count; i++) {
        codes[i] = (oxp_codes){.output_before = NAN, .output_after = NAN};
        codes[i].codes = oxp_arena_alloc(arena, sites[i].value->constant.count, 1);
        codes[i].scales = oxp_arena_alloc(arena, oxp_site_scales(&sites[i]), sizeof(float));
        if (!codes[i].codes || !codes[i].scales)
            return OXP_ELIMIT;
    }
    code_job job = {codes, sites, limit};
    return oxp_parallel_for(arena->ctx, count, make_one, &job);
}

/* ---- names and constants ---- */

oxp_status oxp_edit_name(const char **out, oxp_edit *e, const char *base)
{
    return oxp_edit_unique_name(out, e->model, base);
}

oxp_status oxp_edit_constant(const char **out, oxp_edit *e, const oxp_graph *g, const char *base,
                             oxp_dtype dtype, int rank, const int64_t *dims, const void *data)
{
    OXP_TRY(oxp_edit_name(out, e, base));
    return oxp_edit_add_initializer(e->model, g->proto, *out, dtype, rank, dims, data);
}

oxp_status oxp_edit_shared(const char **out, oxp_edit *e, const oxp_graph *g, const char *key,
                           oxp_dtype dtype, int rank, const int64_t *dims, const void *data)
{
    char *full = oxp_arena_printf(&e->arena, "%zu/%s", g->id, key);
    if (!full)
        return OXP_ELIMIT;
    size_t known = oxp_map_get(&e->names, full);
    if (known != OXP_MAP_NONE) {
        *out = e->shared[known];
        return OXP_OK;
    }
    OXP_TRY(oxp_edit_constant(out, e, g, "k", dtype, rank, dims, data));
    OXP_TRY(
        oxp_grow(&e->shared, &e->shared_capacity, e->ctx, e->shared_count + 1, sizeof *e->shared));
    e->shared[e->shared_count] = *out;
    return oxp_map_put(&e->names, full, e->shared_count++);
}

oxp_status oxp_edit_node(oxp_node_proto **out, oxp_edit *e, const oxp_graph *g, size_t at,
                         const char *type, size_t input_count, const char *const *inputs,
                         const char **output)
{
    if (!*output)
        OXP_TRY(oxp_edit_name(output, e, "t"));
    oxp_new_node node = {.type = type,
                         .domain = "",
                         .name = "",
                         .input_count = input_count,
                         .output_count = 1,
                         .inputs = inputs,
                         .outputs = output};
    return oxp_edit_insert_node(out, e->model, g->proto, at, &node);
}

size_t oxp_edit_behind(const oxp_graph *g, const oxp_value *v)
{
    return v->producer && v->kind == OXP_VALUE_NODE
               ? oxp_edit_position(g->proto, v->producer->proto) + 1
               : 0;
}

/* ---- taking constants away ---- */

oxp_status oxp_edit_take_place(size_t *at, oxp_edit *e, const oxp_site *s)
{
    *at = 0;
    if (!s->value->producer)
        return oxp_edit_remove_initializer(e->model, s->graph->proto, s->value->name);
    *at = oxp_edit_position(s->graph->proto, s->value->producer->proto);
    return oxp_edit_remove_node(e->model, s->graph->proto, s->value->producer->proto);
}

static bool is_read(const oxp_edit *e, const char *name)
{
    for (size_t g = 0; g < e->graph_count; g++) {
        const oxp_graph_proto *p = e->graphs[g]->proto;
        for (size_t n = 0; n < oxp_graph_proto_node_count(p); n++)
            for (size_t i = 0; i < oxp_node_proto_input_count(oxp_graph_proto_node(p, n)); i++)
                if (strcmp(oxp_node_proto_input(oxp_graph_proto_node(p, n), i), name) == 0)
                    return true;
        for (size_t i = 0; i < oxp_graph_proto_output_count(p); i++) {
            oxp_value_info info;
            oxp_graph_proto_output(p, i, &info);
            if (strcmp(info.name, name) == 0)
                return true;
        }
    }
    return false;
}

oxp_status oxp_edit_drop_constant(oxp_edit *e, const oxp_graph *g, const oxp_value *v)
{
    if (is_read(e, v->name))
        return OXP_OK;
    if (v->producer)
        return oxp_edit_remove_node(e->model, g->proto, v->producer->proto);
    return oxp_edit_remove_initializer(e->model, g->proto, v->name);
}

/* ---- applying ---- */

static oxp_status look(oxp_edit *e)
{
    oxp_graph *graph;
    OXP_TRY(oxp_graph_build(&graph, &e->arena, e->model));
    OXP_TRY(oxp_graph_all(&e->graphs, &e->graph_count, &e->arena, graph));
    return oxp_sites_find(&e->sites, &e->site_count, &e->arena, graph);
}

/* The ranges by the value ids of the edited graph, where new constants have moved them. */
static oxp_status follow_ranges(oxp_edit *e, const oxp_graph *const *before)
{
    const oxp_ranges *old = e->ranges;
    if (!old || old->count == 0)
        return OXP_OK;
    oxp_ranges *moved = oxp_arena_alloc(&e->arena, 1, sizeof *moved);
    size_t **index = oxp_arena_alloc(&e->arena, old->graph_count, sizeof *index);
    if (!moved || !index)
        return OXP_ELIMIT;
    for (size_t g = 0; g < old->graph_count; g++) {
        index[g] = oxp_arena_alloc(&e->arena, e->graphs[g]->value_count + 1, sizeof **index);
        if (!index[g])
            return OXP_ELIMIT;
        for (size_t v = 0; v < before[g]->value_count; v++) {
            const char *name = before[g]->values[v].name;
            uint32_t now = old->index[g][v] ? oxp_graph_find_value(e->graphs[g], name) : 0;
            if (now == OXP_NO_VALUE)
                return oxp_fail(e->ctx, OXP_EINTERNAL, "E-INTERNAL", "value \"%.100s\" is gone",
                                name);
            if (old->index[g][v])
                index[g][now] = old->index[g][v];
        }
    }
    *moved = *old;
    moved->index = index;
    e->ranges = moved;
    return OXP_OK;
}

static oxp_status correct_biases(oxp_edit *e)
{
    const oxp_graph *const *before = e->graphs;
    bool changed;
    OXP_TRY(oxp_bias_correct(e, &changed));
    if (!changed)
        return OXP_OK;
    OXP_TRY(look(e));
    return follow_ranges(e, before);
}

static oxp_status apply_all(oxp_edit *e)
{
    OXP_TRY(look(e));
    OXP_TRY(correct_biases(e));
    for (int stage = OXP_STAGE_FOLD; stage <= OXP_STAGE_ENCODE; stage++)
        for (size_t t = 0; t < oxp_technique_count(); t++)
            if ((int)oxp_technique_at(t)->stage == stage && oxp_technique_at(t)->apply)
                OXP_TRY(oxp_technique_at(t)->apply(e));
    return OXP_OK;
}

oxp_status oxp_edit_apply(oxp_model **out, oxp_model *model, const oxp_choice *choices,
                          const oxp_codes *codes, const oxp_codes *narrow_codes,
                          const oxp_ranges *ranges)
{
    oxp_edit e = {.ctx = oxp_model_ctx(model),
                  .choices = choices,
                  .codes = codes,
                  .narrow_codes = narrow_codes,
                  .ranges = ranges};
    OXP_TRY(oxp_model_clone(&e.model, model));
    oxp_arena_init(&e.arena, e.ctx);
    oxp_map_init(&e.names, e.ctx);
    oxp_status status = apply_all(&e);
    oxp_map_free(&e.names);
    oxp_free(e.shared);
    oxp_arena_free(&e.arena);
    if (status != OXP_OK) {
        oxp_model_free(e.model);
        return status;
    }
    *out = e.model;
    return OXP_OK;
}
