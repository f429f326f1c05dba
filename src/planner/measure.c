/* measure.c - losses by running the changed model: what gradients predict, and what they cannot
 * reach. */
#include <math.h>
#include <string.h>

#include "onnx/edit.h"
#include "planner/loss.h"
#include "planner/sensitivity_pass.h"
#include "util/half.h"
#include "util/random.h"

typedef struct bench { /* what every measurement needs */
    oxp_reference reference;
    double *powers, *losses; /* by output; by input */
    float *data;             /* as large as the largest weight */
    int8_t *codes;
} bench;

static size_t largest(const oxp_sensitivity *s)
{
    size_t most = 0;
    for (size_t i = 0; i < s->count; i++) {
        size_t count = s->c->sites[i].value->constant.count;
        most = count > most ? count : most;
    }
    return most;
}

static void close_bench(bench *b)
{
    oxp_free(b->data);
    oxp_free(b->codes);
    oxp_reference_free(&b->reference);
}

static oxp_status open_bench(bench *b, oxp_sensitivity *s)
{
    size_t most = largest(s);
    *b = (bench){0};
    b->powers = oxp_arena_alloc(&s->arena, s->c->graph->output_count + 1, sizeof *b->powers);
    b->losses = oxp_arena_alloc(&s->arena, s->inputs + 1, sizeof *b->losses);
    if (!b->powers || !b->losses)
        return OXP_ELIMIT;
    OXP_TRY(oxp_reference_make(&b->reference, s->c->ctx, s->c->graph, &s->c->samples.source, NULL,
                               s->inputs));
    for (size_t i = 0; i < b->reference.output_count; i++)
        b->reference.kinds[i] = s->kinds[i];
    oxp_output_powers(b->powers, &b->reference);
    oxp_status status = oxp_reference_check(&b->reference, s->c->graph);
    if (status == OXP_OK)
        status = oxp_alloc_raw(&b->data, s->c->ctx, most + 1, sizeof *b->data, "weight");
    if (status == OXP_OK)
        status = oxp_alloc_raw(&b->codes, s->c->ctx, most + 1, 1, "codes");
    if (status != OXP_OK)
        close_bench(b);
    return status;
}

/* In place: element i is written where element i / 2 was read. */
static void to_half(float *data, size_t count, oxp_dtype dtype)
{
    uint16_t *bits = (uint16_t *)(void *)data;
    for (size_t i = 0; i < count; i++) {
        float x;
        memcpy(&x, &data[i], sizeof x);
        uint16_t half = dtype == OXP_FLOAT16 ? oxp_float_to_half(x) : oxp_float_to_bfloat16(x);
        memcpy(&bits[i], &half, sizeof half);
    }
}

/* A clone with the weight replaced; `data` is spent. */
static oxp_status replace_weight(oxp_model **out, const oxp_sensitivity *s, size_t site,
                                 float *data)
{
    oxp_arena arena;
    oxp_graph *graph;
    oxp_site *sites;
    size_t count;
    OXP_TRY(oxp_model_clone(out, s->c->raised));
    oxp_arena_init(&arena, s->c->ctx);
    oxp_status status = oxp_graph_build(&graph, &arena, *out);
    if (status == OXP_OK)
        status = oxp_sites_find(&sites, &count, &arena, graph);
    if (status == OXP_OK) {
        const oxp_site *at = &sites[site];
        const oxp_tensor *w = &at->value->constant;
        const char *name = oxp_arena_strdup(&arena, at->value->name);
        status = !name ? OXP_ELIMIT
                 : at->value->producer
                     ? oxp_edit_remove_node(*out, at->graph->proto, at->value->producer->proto)
                     : oxp_edit_remove_initializer(*out, at->graph->proto, name);
        if (w->dtype != OXP_FLOAT)
            to_half(data, w->count, w->dtype);
        if (status == OXP_OK)
            status = oxp_edit_add_initializer(*out, at->graph->proto, name, w->dtype, w->rank,
                                              w->dims, data);
    }
    oxp_arena_free(&arena);
    if (status != OXP_OK)
        oxp_model_free(*out);
    return status;
}

/* What does not count differs in nothing. */
static void leave_out(oxp_difference *slots, const oxp_reference *r, const bool *counts)
{
    for (size_t k = 0; counts && k < r->count * r->output_count; k++)
        if (!counts[k % r->output_count])
            slots[k] = (oxp_difference){0};
}

/* Loss of each input with the site's weight replaced by b->data. */
static oxp_status losses_of(bench *b, const oxp_sensitivity *s, size_t site)
{
    oxp_model *model;
    oxp_difference *slots;
    const oxp_reference *r = &b->reference;
    OXP_TRY(replace_weight(&model, s, site, b->data));
    oxp_status status =
        oxp_alloc(&slots, r->ctx, r->count * r->output_count + 1, sizeof *slots, "losses");
    if (status == OXP_OK) {
        status = oxp_evaluate_inputs(slots, r, model, SIZE_MAX, "measure");
        leave_out(slots, r, s->counts);
        for (size_t i = 0; status == OXP_OK && i < r->count; i++)
            b->losses[i] = oxp_input_loss(r, &slots[i * r->output_count], b->powers);
        oxp_free(slots);
    }
    oxp_model_free(model);
    return status;
}

oxp_status oxp_measure_candidates(oxp_sensitivity_pass *p, bool all)
{
    oxp_sensitivity *s = p->s;
    bench b;
    bool any = all;
    for (size_t i = 0; i < s->count; i++)
        any |= s->rows[i].stops != NULL;
    if (!any)
        return OXP_OK;
    OXP_TRY(open_bench(&b, s));
    oxp_status status = OXP_OK;
    for (size_t i = 0; i < s->count; i++)
        for (size_t k = 0; status == OXP_OK && k < OXP_CANDIDATES; k++) {
            if (!all && !s->rows[i].stops)
                continue;
            oxp_candidate_weight(b.data, p, i, k, b.codes);
            status = losses_of(&b, s, i);
            s->rows[i].candidates[k].measured_loss = oxp_mean(b.losses, s->inputs);
        }
    close_bench(&b);
    return status;
}

/* ---- traces by perturbation ---- */

#define STEP 0.01    /* of the weight's root mean square */
#define DIRECTIONS 8 /* random signs, each taken both ways */

static oxp_status trace_of(bench *b, oxp_sensitivity_pass *p, size_t site)
{
    oxp_sensitivity *s = p->s;
    const oxp_tensor *w = &s->c->sites[site].value->constant;
    const float *x = p->weights[site];
    double step = STEP * s->rows[site].norm / sqrt((double)(w->count ? w->count : 1)), sum = 0;
    for (int draw = 0; draw < 2 * DIRECTIONS; draw++) {
        oxp_random r = oxp_random_make(s->c->ctx->seed, site, (uint64_t)(draw / 2));
        float h = (float)(draw % 2 ? -step : step);
        for (size_t k = 0; k < w->count; k++)
            b->data[k] = x[k] + h * oxp_random_sign(&r);
        OXP_TRY(losses_of(b, s, site));
        sum += oxp_mean(b->losses, s->inputs);
    }
    s->rows[site].fisher_trace = step > 0 ? sum / (step * step * DIRECTIONS) : 0;
    return OXP_OK;
}

oxp_status oxp_measure_traces(oxp_sensitivity_pass *p)
{
    oxp_sensitivity *s = p->s;
    bench b;
    OXP_TRY(open_bench(&b, s));
    oxp_status status = OXP_OK;
    for (size_t i = 0; i < s->count && status == OXP_OK; i++)
        status = trace_of(&b, p, i);
    close_bench(&b);
    return status;
}
