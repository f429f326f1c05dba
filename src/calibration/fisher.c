/* fisher.c - samples forward, draws backward, squares summed per input. */
#include "calibration/fisher.h"

#include <math.h>
#include <string.h>

#include "calibration/fisher_outputs.h"
#include "util/parallel.h"

const char *oxp_estimator_name(oxp_estimator e)
{
    static const char *const names[OXP_ESTIMATOR_COUNT] = {"factor", "sampled", "exact",
                                                           "empirical"};
    return e < OXP_ESTIMATOR_COUNT ? names[e] : "?";
}

typedef struct fisher_job fisher_job;

typedef struct lane { /* a worker's own */
    oxp_ctx ctx;
    oxp_session *session;
    oxp_gradients gradients;
    fisher_job *job;
    int worker;
    size_t slot;
    double weight; /* of the pass that is under way */
} lane;

struct fisher_job {
    const oxp_graph *graph;
    const oxp_source *source;
    const size_t *which;
    size_t count;
    const oxp_fisher_options *options;
    oxp_fisher *out;
    oxp_output_kind *kinds;
    bool *counts;       /* by output: of a float type and asked for */
    size_t **target_of; /* by graph and value: target + 1 */
    lane *lanes;
    _Atomic size_t done;
};

/* ---- gradients ---- */

static bool is_wanted(void *user, const oxp_graph *graph, const oxp_value *value)
{
    const lane *l = user;
    return l->job->target_of[graph->id][value->id] != 0;
}

static oxp_status on_gradient(void *user, const oxp_graph *graph, uint32_t value,
                              const oxp_tensor *g)
{
    lane *l = user;
    fisher_job *job = l->job;
    size_t target = job->target_of[graph->id][value] - 1;
    const float *x = g->data;
    double sum = 0;
    for (size_t i = 0; i < g->count; i++)
        sum += (double)x[i] * (double)x[i];
    job->out->squares[l->slot * job->out->targets + target] += l->weight * sum;
    if (!job->options->gradient)
        return OXP_OK;
    return job->options->gradient(job->options->user, &l->ctx, l->worker, l->slot, target,
                                  l->weight, g);
}

/* ---- one input ---- */

typedef struct pass {
    oxp_tensor *outputs, *dy; /* by output; dy is shaped as the output, FLOAT */
    const oxp_tensor **dout;
} pass;

static oxp_status shape_dy(pass *p, const fisher_job *job, oxp_ctx *ctx)
{
    for (size_t i = 0; i < job->graph->output_count; i++) {
        const oxp_tensor *y = &p->outputs[i];
        p->dout[i] = NULL;
        if (!job->counts[i] || !oxp_dtype_is_float(y->dtype))
            continue;
        OXP_TRY(oxp_tensor_shape(&p->dy[i], ctx, OXP_FLOAT, y->rank, y->dims, "gradient"));
        OXP_TRY(oxp_tensor_alloc(&p->dy[i], ctx, "gradient"));
        p->dout[i] = &p->dy[i];
    }
    return OXP_OK;
}

static oxp_status back(lane *l, pass *p, double weight)
{
    l->weight = weight;
    return oxp_session_backward(l->session, p->dout);
}

static oxp_status draw(lane *l, pass *p, size_t index)
{
    fisher_job *job = l->job;
    const oxp_fisher_options *o = job->options;
    uint64_t key = o->key ? o->key(o->user, index) : index;
    for (size_t i = 0; i < job->graph->output_count; i++) {
        oxp_random random = oxp_random_make(l->ctx.seed, key, i);
        if (p->dout[i])
            oxp_fisher_draw(p->dy[i].data, &p->outputs[i], job->kinds[i], o->estimator,
                            job->out->powers[i], &random);
    }
    return back(l, p, 1);
}

static oxp_status use_labels(lane *l, pass *p, size_t index)
{
    const fisher_job *job = l->job;
    size_t count = 0;
    const int64_t *labels =
        job->options->labels ? job->options->labels(job->options->user, index, &count) : NULL;
    bool any = false;
    for (size_t i = 0; labels && i < job->graph->output_count; i++) {
        if (!p->dout[i])
            continue;
        if (!oxp_is_categorical(job->kinds[i])) {
            p->dout[i] = NULL;
            continue;
        }
        oxp_fisher_label(p->dy[i].data, &p->outputs[i], job->kinds[i], labels, count);
        any = true;
    }
    if (!any)
        return oxp_fail(&l->ctx, OXP_EDATA, "E-CALIB-LABELS",
                        "the empirical estimator needs labels and a categorical output");
    return back(l, p, 1);
}

/* ---- feeding ---- */

static oxp_status run_forward(lane *l, const oxp_tensor *inputs, pass *p)
{
    size_t count = l->job->graph->input_count;
    const oxp_tensor **fed;
    OXP_TRY(oxp_alloc(&fed, &l->ctx, count + 1, sizeof *fed, "inputs"));
    for (size_t i = 0; i < count; i++)
        fed[i] = &inputs[i];
    oxp_status status = oxp_session_run(l->session, fed, p->outputs);
    oxp_free(fed);
    return status;
}

static void release_outputs(const fisher_job *job, pass *p)
{
    for (size_t i = 0; i < job->graph->output_count; i++) {
        oxp_tensor_release(&p->outputs[i]);
        oxp_tensor_release(&p->dy[i]);
    }
}

/* Every class of the only categorical output's only row; forward again for each, because a run is
 * gone through once. */
static oxp_status all_classes(lane *l, const oxp_tensor *inputs, pass *p)
{
    const fisher_job *job = l->job;
    size_t output = SIZE_MAX;
    for (size_t i = 0; i < job->graph->output_count; i++) {
        if (!p->dout[i])
            continue;
        if (output != SIZE_MAX || !oxp_is_categorical(job->kinds[i]) ||
            oxp_output_rows(&p->outputs[i]) != 1 || p->outputs[i].count > OXP_EXACT_CLASSES_MAX)
            return oxp_fail(&l->ctx, OXP_EUNSUPPORTED, "E-ESTIMATOR",
                            "the exact estimator needs one categorical output of one row and at "
                            "most %d classes: narrow the outputs, or take another estimator",
                            OXP_EXACT_CLASSES_MAX);
        output = i;
    }
    size_t classes = output != SIZE_MAX ? p->outputs[output].count : 0;
    for (size_t k = 0; k < classes; k++) {
        double probability =
            oxp_fisher_class(p->dy[output].data, &p->outputs[output], job->kinds[output], k);
        if (probability > 0)
            OXP_TRY(back(l, p, probability));
        if (k + 1 == classes)
            break;
        release_outputs(job, p);
        OXP_TRY(run_forward(l, inputs, p));
        OXP_TRY(shape_dy(p, job, &l->ctx));
    }
    return OXP_OK;
}

static oxp_status run_input(lane *l, oxp_tensor *inputs, pass *p)
{
    fisher_job *job = l->job;
    size_t index = job->which ? job->which[l->slot] : l->slot;
    OXP_TRY(job->source->get(job->source->user, &l->ctx, index, inputs));
    OXP_TRY(run_forward(l, inputs, p));
    OXP_TRY(shape_dy(p, job, &l->ctx));
    switch (job->options->estimator) {
    case OXP_ESTIMATOR_EXACT:
        return all_classes(l, inputs, p);
    case OXP_ESTIMATOR_EMPIRICAL:
        return use_labels(l, p, index);
    case OXP_ESTIMATOR_FACTOR:
    case OXP_ESTIMATOR_SAMPLED:
    case OXP_ESTIMATOR_COUNT:
        break;
    }
    return draw(l, p, index);
}

static oxp_status open_session(lane *l)
{
    l->gradients = (oxp_gradients){.wanted = is_wanted, .complete = on_gradient, .user = l};
    oxp_session_options options = {.gradients = &l->gradients};
    return oxp_session_create(&l->session, &l->ctx, l->job->graph, &options);
}

static oxp_status body(void *user, oxp_ctx *ctx, size_t index, int worker)
{
    fisher_job *job = user;
    lane *l = &job->lanes[worker];
    size_t inputs = job->graph->input_count, outputs = job->graph->output_count;
    l->slot = index;
    oxp_status status = l->session ? OXP_OK : open_session(l);
    oxp_tensor *t = NULL;
    pass p = {0};
    if (status == OXP_OK)
        status = oxp_alloc(&t, &l->ctx, inputs + 2 * outputs + 1, sizeof *t, "tensors");
    if (status == OXP_OK)
        status = oxp_alloc(&p.dout, &l->ctx, outputs + 1, sizeof *p.dout, "gradients");
    if (status == OXP_OK) {
        p.outputs = t + inputs;
        p.dy = p.outputs + outputs;
        status = run_input(l, t, &p);
    }
    for (size_t i = 0; t && i < inputs + 2 * outputs; i++)
        oxp_tensor_release(&t[i]);
    oxp_free(t);
    oxp_free(p.dout);
    if (status == OXP_OK)
        status = oxp_progress(&l->ctx, "gradients", ++job->done, job->count);
    return status == OXP_OK ? OXP_OK : oxp_ctx_join(ctx, &l->ctx);
}

/* ---- the mean power of gaussian outputs ---- */

typedef struct power_pass {
    const fisher_job *job;
    double *sums; /* [slot * outputs + output] */
} power_pass;

static oxp_status add_power(void *user, oxp_ctx *ctx, int worker, size_t slot,
                            const oxp_tensor *inputs, const oxp_tensor *outputs)
{
    (void)ctx;
    (void)worker;
    (void)inputs;
    power_pass *p = user;
    size_t n = p->job->graph->output_count;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; oxp_dtype_is_float(outputs[i].dtype) && k < outputs[i].count; k++) {
            double y = oxp_tensor_real(&outputs[i], k);
            p->sums[slot * n + i] += isfinite(y) ? y * y : 0;
        }
    return OXP_OK;
}

static oxp_status mean_powers(fisher_job *job, oxp_ctx *ctx)
{
    size_t n = job->graph->output_count;
    bool any = false;
    for (size_t i = 0; i < n; i++)
        any |= job->counts[i] && job->kinds[i] == OXP_KIND_GAUSSIAN;
    if (!any || job->options->estimator >= OXP_ESTIMATOR_EXACT)
        return OXP_OK;
    if (job->options->powers) {
        memcpy(job->out->powers, job->options->powers, n * sizeof *job->out->powers);
        return OXP_OK;
    }
    power_pass p = {job, NULL};
    OXP_TRY(oxp_alloc(&p.sums, ctx, job->count * n + 1, sizeof *p.sums, "powers"));
    oxp_run_hooks hooks = {.user = &p, .sample = add_power};
    oxp_status status =
        oxp_run_samples(ctx, job->graph, job->source, job->which, job->count, &hooks, "outputs");
    for (size_t s = 0; status == OXP_OK && s < job->count; s++)
        for (size_t i = 0; i < n; i++)
            job->out->powers[i] += p.sums[s * n + i] / (double)job->count;
    oxp_free(p.sums);
    return status;
}

/* ---- the whole ---- */

static oxp_status find_targets(size_t ***out, oxp_arena *arena, const oxp_graph *graph,
                               const oxp_fisher_target *targets, size_t count)
{
    const oxp_graph *const *graphs;
    size_t graph_count;
    OXP_TRY(oxp_graph_all(&graphs, &graph_count, arena, graph));
    size_t **target_of = oxp_arena_alloc(arena, graph_count, sizeof *target_of);
    for (size_t g = 0; target_of && g < graph_count; g++) {
        target_of[g] = oxp_arena_alloc(arena, graphs[g]->value_count + 1, sizeof **target_of);
        if (!target_of[g])
            return OXP_ELIMIT;
    }
    if (!target_of)
        return OXP_ELIMIT;
    for (size_t t = 0; t < count; t++)
        target_of[targets[t].graph->id][targets[t].value] = t + 1;
    *out = target_of;
    return OXP_OK;
}

static oxp_status set_up(fisher_job *job, oxp_arena *arena)
{
    size_t n = job->graph->output_count;
    job->kinds = oxp_arena_alloc(arena, n + 1, sizeof *job->kinds);
    job->counts = oxp_arena_alloc(arena, n + 1, sizeof *job->counts);
    job->out->powers = oxp_arena_alloc(arena, n + 1, sizeof *job->out->powers);
    job->out->squares =
        oxp_arena_alloc(arena, job->count * job->out->targets + 1, sizeof *job->out->squares);
    if (!job->kinds || !job->counts || !job->out->powers || !job->out->squares)
        return OXP_ELIMIT;
    for (size_t i = 0; i < n; i++) {
        job->kinds[i] = job->options->kinds
                            ? job->options->kinds[i]
                            : oxp_output_kind_of(job->graph, job->graph->outputs[i]);
        job->counts[i] = job->options->counts ? job->options->counts[i] : true;
    }
    return OXP_OK;
}

static oxp_status run_lanes(fisher_job *job, oxp_ctx *ctx)
{
    OXP_TRY(oxp_alloc(&job->lanes, ctx, (size_t)ctx->threads, sizeof *job->lanes, "workers"));
    for (int i = 0; i < ctx->threads; i++) {
        oxp_ctx_child(&job->lanes[i].ctx, ctx);
        job->lanes[i].job = job;
        job->lanes[i].worker = i;
    }
    oxp_status status = oxp_parallel_for(ctx, job->count, body, job);
    for (int i = 0; i < ctx->threads; i++)
        oxp_session_free(job->lanes[i].session);
    oxp_free(job->lanes);
    return status;
}

oxp_status oxp_fisher_run(oxp_fisher *out, oxp_arena *arena, const oxp_graph *graph,
                          const oxp_source *source, const size_t *which, size_t count,
                          const oxp_fisher_target *targets, size_t target_count,
                          const oxp_fisher_options *options)
{
    oxp_fisher f = {.targets = target_count, .inputs = count};
    fisher_job job = {.graph = graph,
                      .source = source,
                      .which = which,
                      .count = count,
                      .options = options,
                      .out = &f};
    OXP_TRY(find_targets(&job.target_of, arena, graph, targets, target_count));
    OXP_TRY(set_up(&job, arena));
    OXP_TRY(mean_powers(&job, arena->ctx));
    OXP_TRY(run_lanes(&job, arena->ctx));
    *out = f;
    return OXP_OK;
}

static bool is_target(void *user, const oxp_graph *graph, const oxp_value *value)
{
    const oxp_fisher_target *t = user;
    return t->graph == graph && t->value == value->id;
}

oxp_status oxp_fisher_reaches(bool *reaches, const oxp_graph_node **stops, oxp_arena *arena,
                              const oxp_graph *graph, const oxp_fisher_target *target)
{
    oxp_fisher_target t = *target;
    oxp_gradients gradients = {.wanted = is_target, .user = &t};
    const oxp_graph_node *const *nodes;
    size_t count;
    OXP_TRY(oxp_graph_differentiable(graph, &gradients, arena, &nodes, &count));
    *reaches = count == 0;
    *stops = count ? nodes[0] : NULL;
    return OXP_OK;
}
