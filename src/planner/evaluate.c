/* evaluate.c - runs a candidate model on the reference samples. */
#include "planner/evaluate.h"

#include <math.h>
#include <string.h>

/* ---- reference ---- */

static oxp_status keep_outputs(void *user, oxp_ctx *ctx, int worker, size_t slot,
                               const oxp_tensor *inputs, const oxp_tensor *outputs)
{
    (void)worker;
    (void)inputs;
    oxp_reference *r = user;
    for (size_t i = 0; i < r->output_count; i++)
        OXP_TRY(oxp_tensor_copy(&r->outputs[slot * r->output_count + i], ctx, &outputs[i]));
    return OXP_OK;
}

oxp_status oxp_reference_make(oxp_reference *out, oxp_ctx *ctx, const oxp_graph *graph,
                              const oxp_source *source, const size_t *which, size_t count)
{
    oxp_reference r = {
        .ctx = ctx, .source = *source, .count = count, .output_count = graph->output_count};
    oxp_status status = oxp_alloc(&r.which, ctx, count + 1, sizeof *r.which, "samples");
    if (status == OXP_OK)
        status = oxp_alloc(&r.kinds, ctx, r.output_count + 1, sizeof *r.kinds, "outputs");
    if (status == OXP_OK)
        status =
            oxp_alloc(&r.outputs, ctx, count * r.output_count + 1, sizeof *r.outputs, "outputs");
    if (status == OXP_OK) {
        for (size_t i = 0; i < count; i++)
            r.which[i] = which ? which[i] : i;
        for (size_t i = 0; i < r.output_count; i++)
            r.kinds[i] = oxp_output_kind_of(graph, graph->outputs[i]);
        oxp_run_hooks hooks = {.user = &r, .sample = keep_outputs};
        status = oxp_run_samples(ctx, graph, source, r.which, count, &hooks, "reference");
    }
    if (status != OXP_OK) {
        oxp_reference_free(&r);
        return status;
    }
    *out = r;
    return OXP_OK;
}

void oxp_reference_free(oxp_reference *r)
{
    for (size_t i = 0; r->outputs && i < r->count * r->output_count; i++)
        oxp_tensor_release(&r->outputs[i]);
    oxp_free(r->outputs);
    oxp_free(r->kinds);
    oxp_free(r->which);
    oxp_free(r->labels);
    oxp_free(r->label_counts);
    *r = (oxp_reference){0};
}

static bool has_number(const oxp_tensor *t)
{
    if (!oxp_dtype_is_float(t->dtype))
        return true;
    for (size_t i = 0; i < t->count; i++)
        if (isfinite(oxp_tensor_real(t, i)))
            return true;
    return t->count == 0;
}

/* Two outputs that hold no number at all would agree in every measure. */
oxp_status oxp_reference_check(const oxp_reference *r, const oxp_graph *graph)
{
    for (size_t i = 0; i < r->output_count; i++) {
        bool any = r->count == 0;
        for (size_t s = 0; s < r->count && !any; s++)
            any = has_number(&r->outputs[s * r->output_count + i]);
        char quoted[OXP_QUOTED_MAX];
        if (!any)
            return oxp_fail(r->ctx, OXP_EDATA, "E-CALIB-NONFINITE",
                            "output %s of the model itself is NaN or infinite in every element of "
                            "every sample: nothing can be measured",
                            oxp_quote(quoted, graph->values[graph->outputs[i]].name));
    }
    return OXP_OK;
}

oxp_status oxp_reference_label(oxp_reference *r, size_t slot, const int64_t *labels, size_t count)
{
    if (!r->labels) {
        OXP_TRY(oxp_alloc(&r->label_counts, r->ctx, r->count, sizeof *r->label_counts, "labels"));
        OXP_TRY(oxp_alloc(&r->labels, r->ctx, r->count, sizeof *r->labels, "labels"));
    }
    r->labels[slot] = labels;
    r->label_counts[slot] = count;
    return OXP_OK;
}

/* ---- evaluation ---- */

typedef struct comparison {
    const oxp_reference *r;
    oxp_difference *slots; /* [slot * output_count + output] */
} comparison;

static void compare(oxp_difference *d, const oxp_reference *r, size_t slot, size_t output,
                    const oxp_tensor *b)
{
    const oxp_tensor *a = &r->outputs[slot * r->output_count + output];
    bool same = a->dtype == b->dtype && a->rank == b->rank &&
                memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims) == 0;
    if (same && oxp_dtype_is_float(a->dtype)) {
        oxp_difference_of(d, r->kinds[output], a, b, r->labels ? r->labels[slot] : NULL,
                          r->labels ? r->label_counts[slot] : 0);
        return;
    }
    *d = (oxp_difference){.elements = a->count};
    d->nonfinite = !same || (a->data && memcmp(a->data, b->data, oxp_tensor_bytes(a)) != 0);
}

static oxp_status on_sample(void *user, oxp_ctx *ctx, int worker, size_t slot,
                            const oxp_tensor *inputs, const oxp_tensor *outputs)
{
    (void)ctx;
    (void)worker;
    (void)inputs;
    comparison *c = user;
    size_t n = c->r->output_count;
    for (size_t i = 0; i < n; i++)
        compare(&c->slots[slot * n + i], c->r, slot, i, &outputs[i]);
    return OXP_OK;
}

static oxp_status run(comparison *c, oxp_model *model, size_t count, const char *stage)
{
    oxp_arena arena;
    oxp_arena_init(&arena, c->r->ctx);
    oxp_graph *graph = NULL;
    oxp_status status = oxp_graph_build(&graph, &arena, model);
    oxp_run_hooks hooks = {.user = c, .sample = on_sample};
    if (status == OXP_OK)
        status =
            oxp_run_samples(c->r->ctx, graph, &c->r->source, c->r->which, count, &hooks, stage);
    oxp_arena_free(&arena);
    return status;
}

oxp_status oxp_evaluate_inputs(oxp_difference *slots, const oxp_reference *r, oxp_model *model,
                               size_t count, const char *stage)
{
    comparison c = {.r = r, .slots = slots};
    return run(&c, model, count < r->count ? count : r->count, stage);
}

oxp_status oxp_evaluate(oxp_difference *differences, const oxp_reference *r, oxp_model *model,
                        size_t count, const char *stage)
{
    oxp_difference *slots;
    count = count < r->count ? count : r->count;
    OXP_TRY(oxp_alloc(&slots, r->ctx, count * r->output_count + 1, sizeof *slots, "differences"));
    oxp_status status = oxp_evaluate_inputs(slots, r, model, count, stage);
    memset(differences, 0, r->output_count * sizeof *differences);
    for (size_t s = 0; status == OXP_OK && s < count; s++)
        for (size_t i = 0; i < r->output_count; i++)
            oxp_difference_add(&differences[i], &slots[s * r->output_count + i]);
    oxp_free(slots);
    return status;
}

static bool is_float_output(const oxp_reference *r, size_t i)
{
    return r->count && oxp_dtype_is_float(r->outputs[i].dtype);
}

double oxp_least_sqnr(const oxp_reference *r, const oxp_difference *differences)
{
    double least = 200.0;
    for (size_t i = 0; i < r->output_count; i++)
        if (is_float_output(r, i) || differences[i].nonfinite) {
            double db = oxp_sqnr_db(&differences[i]);
            least = db < least ? db : least;
        }
    return least;
}

double oxp_noise_share(const oxp_reference *r, const oxp_difference *differences)
{
    double share = 0;
    for (size_t i = 0; i < r->output_count; i++) {
        if (differences[i].nonfinite)
            share += 1e20;
        else if (is_float_output(r, i) && differences[i].signal > 0)
            share += differences[i].noise / differences[i].signal;
    }
    return share;
}
