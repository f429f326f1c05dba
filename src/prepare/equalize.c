/* equalize.c - the job: run, walk, measure channels, choose factors; where these promise enough,
 * write them into a clone and run again. A group whose factors change the outputs too much is left
 * out. */
#include "prepare/equalize.h"

#include <math.h>
#include <string.h>

#include "prepare/equalize_scales.h"
#include "prepare/held.h"

typedef struct job {
    oxp_ctx *ctx;
    oxp_model *model;
    const oxp_equalize_options *options;
    oxp_runs runs;
    oxp_arena arena;
    oxp_prepare_result notes; /* of the view: its names of changed constants */
    oxp_pass view;            /* of `model` */
    oxp_equalize_walk walk;
    oxp_tensor *shapes; /* by value id, without data */
    oxp_seen seen;      /* the same by name */
    oxp_channel_sizes *sizes;
    oxp_factors factors;
    bool *left; /* by group: not applied */
    bool finite;
    oxp_model *candidate;
    oxp_equalize_result result;
} job;

/* ---- what running shows ---- */

static void keep_look(oxp_tensor *to, const oxp_tensor *t)
{
    *to = *t;
    to->data = NULL;
    to->storage = NULL;
}

static oxp_status on_value(void *user, oxp_ctx *ctx, size_t slot, const oxp_graph *graph,
                           uint32_t value, const oxp_tensor *t)
{
    (void)ctx;
    (void)slot;
    job *j = user;
    if (graph->id == 0)
        keep_look(&j->shapes[value], t);
    return OXP_OK;
}

static oxp_status look(job *j, oxp_ctx *ctx)
{
    const oxp_graph *g = j->view.scopes[0].graph;
    j->shapes = oxp_arena_alloc(&j->arena, g->value_count + 1, sizeof *j->shapes);
    if (!j->shapes)
        return j->ctx->status;
    for (size_t i = 0; i < g->input_count; i++)
        keep_look(&j->shapes[g->inputs[i]], j->options->samples[0][i]);
    oxp_held_hooks hooks = {.user = j, .value = on_value};
    OXP_TRY(oxp_held_run(ctx, g, j->options->samples, 1, &hooks));
    return oxp_seen_make(&j->seen, &j->arena, g, j->shapes);
}

static oxp_status measure(job *j, oxp_ctx *ctx)
{
    const oxp_graph *g = j->view.scopes[0].graph;
    OXP_TRY(look(j, ctx));
    OXP_TRY(oxp_equalize_walk_graph(&j->walk, &j->view, &j->arena, j->shapes));
    return oxp_channel_sizes_measure(&j->sizes, &j->walk, ctx, g, j->options->samples,
                                     j->options->sample_count);
}

/* A model that cannot be run stays as it is. */
static oxp_status say_why(job *j, const char *why)
{
    j->result.why_unchecked = oxp_arena_strdup(&j->result.arena, why);
    return j->result.why_unchecked ? OXP_OK : j->ctx->status;
}

/* *ran: whether all samples ran; why they did not is said where that is no error. */
static oxp_status measure_or_say_why(job *j, bool *ran)
{
    oxp_ctx own;
    oxp_ctx_child(&own, j->ctx);
    *ran = measure(j, &own) == OXP_OK;
    if (*ran || j->ctx->status != OXP_OK)
        return j->ctx->status;
    return own.status == OXP_EUNSUPPORTED ? say_why(j, own.message) : oxp_ctx_join(j->ctx, &own);
}

/* ---- writing ---- */

static double factor_of(job *j, uint32_t variable)
{
    if (variable == OXP_NO_VARIABLE)
        return 1;
    uint32_t root = oxp_variables_root(&j->walk.variables, variable);
    size_t group = j->factors.group[root];
    return group && !j->left[group - 1] ? j->factors.factor[root] : 1;
}

/* Node input `i` reads `data` from now on: in its own constant, or in a new one. */
static oxp_status put(oxp_pass *p, size_t node, size_t i, int rank, const int64_t *dims,
                      const float *data)
{
    const oxp_graph_node *n = &p->scopes[0].graph->nodes[node];
    const oxp_value *v = oxp_pass_constant(p, 0, n, i);
    const char *name;
    if (v && v->proto && oxp_pass_reads(p, 0, n->inputs[i]) == 1 &&
        n->graph->values[n->inputs[i]].kind == OXP_VALUE_CONSTANT)
        return oxp_pass_set_constant(p, v, rank, dims, data);
    OXP_TRY(
        oxp_pass_new_constant(&name, p, 0, v ? v->name : "factor", OXP_FLOAT, rank, dims, data));
    return oxp_pass_read_constant(p, 0, n, i, name);
}

static bool any_factors(job *j, const uint32_t *variables, size_t count)
{
    for (size_t i = 0; variables && i < count; i++)
        if (factor_of(j, variables[i]) != 1)
            return true;
    return false;
}

static float narrow(job *j, double x)
{
    j->finite = j->finite && isfinite((float)x);
    return (float)x;
}

static oxp_status put_bias(job *j, oxp_pass *p, const oxp_equalize_layer *l)
{
    const oxp_tensor *b = &l->linear.bias->constant;
    int64_t dims[1] = {(int64_t)l->linear.outputs};
    float *data = oxp_arena_alloc(&p->arena, l->linear.outputs, sizeof *data);
    if (!data)
        return j->ctx->status;
    for (size_t m = 0; m < l->linear.outputs; m++)
        data[m] = narrow(j, (double)((const float *)b->data)[b->count == 1 ? 0 : m] /
                                factor_of(j, l->out[m]));
    return put(p, l->linear.node->index, 2, 1, dims, data);
}

/* W' = W * in / out, b' = b / out. */
static oxp_status put_layer(job *j, oxp_pass *p, const oxp_equalize_layer *l)
{
    const oxp_linear *linear = &l->linear;
    const oxp_tensor *w = &linear->weight->constant;
    bool out = any_factors(j, l->out, linear->outputs);
    if (!out && !any_factors(j, l->in, linear->inputs))
        return OXP_OK;
    float *data = oxp_arena_alloc(&p->arena, w->count, sizeof *data);
    if (!data)
        return j->ctx->status;
    for (size_t i = 0; i < linear->first * linear->second; i++) {
        double factor = factor_of(j, l->in[oxp_linear_input_channel(linear, i)]) /
                        factor_of(j, l->out[oxp_linear_output_channel(linear, i)]);
        for (size_t k = i * linear->rest; k < (i + 1) * linear->rest; k++)
            data[k] = narrow(j, (double)((const float *)w->data)[k] * factor);
    }
    OXP_TRY(put(p, linear->node->index, 1, w->rank, w->dims, data));
    return out && linear->bias ? put_bias(j, p, l) : OXP_OK;
}

static oxp_status put_constant(job *j, oxp_pass *p, const oxp_equalize_constant *k)
{
    const oxp_tensor *t = k->constant;
    if (!any_factors(j, k->times, t->count) && !any_factors(j, k->over, t->count))
        return OXP_OK;
    float *data = oxp_arena_alloc(&p->arena, t->count, sizeof *data);
    if (!data)
        return j->ctx->status;
    for (size_t e = 0; e < t->count; e++) {
        double x = (double)((const float *)t->data)[e];
        x *= k->times ? factor_of(j, k->times[e]) : 1;
        data[e] = narrow(j, k->over ? x / factor_of(j, k->over[e]) : x);
    }
    return put(p, k->node->index, k->input, t->rank, t->dims, data);
}

static oxp_status put_all(job *j, oxp_pass *p)
{
    for (size_t i = 0; i < j->walk.layer_count; i++)
        OXP_TRY(put_layer(j, p, &j->walk.layers[i]));
    for (size_t i = 0; i < j->walk.constant_count; i++)
        OXP_TRY(put_constant(j, p, &j->walk.constants[i]));
    return OXP_OK;
}

/* A fresh clone with the factors of the groups that are not left. */
static oxp_status build(job *j)
{
    oxp_model_free(j->candidate);
    j->candidate = NULL;
    j->finite = true;
    j->notes.tensor_count = 0;
    OXP_TRY(oxp_model_clone(&j->candidate, j->model));
    oxp_pass p = {.ctx = j->ctx, .model = j->candidate, .seen = &j->seen, .result = &j->notes};
    oxp_status status = oxp_pass_open(&p);
    if (status == OXP_OK)
        status = put_all(j, &p);
    oxp_pass_close(&p);
    return status;
}

/* ---- checking ---- */

static oxp_status check(job *j, bool *good)
{
    OXP_TRY(build(j));
    OXP_TRY(oxp_runs_compare(&j->result.difference, good, &j->runs, j->candidate));
    *good = *good && j->finite;
    return OXP_OK;
}

/* All groups; where that fails each alone, and those that pass together; none in the end. */
static oxp_status settle_groups(job *j)
{
    bool good;
    size_t count = j->factors.group_count;
    OXP_TRY(check(j, &good));
    if (good)
        return OXP_OK;
    bool *bad = oxp_arena_alloc(&j->arena, count + 1, sizeof *bad);
    if (!bad)
        return j->ctx->status;
    for (size_t i = 0; i < count; i++) {
        memset(j->left, true, count);
        j->left[i] = false;
        OXP_TRY(check(j, &good));
        bad[i] = !good;
    }
    memcpy(j->left, bad, count * sizeof *bad);
    OXP_TRY(check(j, &good));
    if (good)
        return OXP_OK;
    memset(j->left, true, count);
    return check(j, &good);
}

static oxp_status settle(job *j)
{
    const oxp_equalize_options *o = j->options;
    OXP_TRY(oxp_runs_open(&j->runs, j->ctx, j->model, o->samples, o->sample_count));
    if (j->runs.ran)
        return settle_groups(j);
    memset(j->left, true, j->factors.group_count);
    return say_why(j, j->runs.why_not);
}

/* Of noise alone, in dB. */
static double expected_gain_db(const oxp_factors *f)
{
    return f->noise_after > 0 ? 10 * log10(f->noise_before / f->noise_after) : 0;
}

/* A model of many products is run often where factors are tried. */
static double least_gain_db(const job *j)
{
    const oxp_equalize_options *o = j->options;
    double macs = 0;
    for (size_t i = 0; i < j->walk.layer_count; i++) {
        const oxp_equalize_layer *l = &j->walk.layers[i];
        bool turned = l->linear.kind == OXP_LINEAR_CONV_TRANSPOSE;
        size_t elements = j->shapes[turned ? l->read : l->made].count,
               channels = turned ? l->linear.inputs : l->linear.outputs;
        macs += (double)l->linear.weight->constant.count * (double)elements / (double)channels;
    }
    return macs > o->large_macs ? o->least_gain_large_db : o->least_gain_db;
}

/* ---- the call ---- */

static oxp_status describe(job *j)
{
    oxp_equalize_result *r = &j->result;
    size_t count = j->factors.group_count, tensors = j->notes.tensor_count;
    r->groups = oxp_arena_alloc(&r->arena, count + 1, sizeof *r->groups);
    r->tensors = oxp_arena_alloc(&r->arena, tensors + 1, sizeof *r->tensors);
    if (!r->groups || !r->tensors)
        return j->ctx->status;
    for (size_t i = 0; i < count; i++) {
        r->groups[i] = j->factors.groups[i];
        r->groups[i].undone = j->left[i];
        r->undone += j->left[i];
        r->groups[i].value = oxp_arena_strdup(&r->arena, r->groups[i].value);
        if (!r->groups[i].value)
            return j->ctx->status;
    }
    for (size_t i = 0; i < tensors; i++) {
        r->tensors[i] = oxp_arena_strdup(&r->arena, j->notes.tensors[i]);
        if (!r->tensors[i])
            return j->ctx->status;
    }
    r->group_count = count;
    r->tensor_count = tensors;
    return OXP_OK;
}

static oxp_status find_factors(job *j)
{
    oxp_equalize_result *r = &j->result;
    OXP_TRY(oxp_factors_find(&j->factors, &j->walk, j->sizes, j->options));
    j->left = oxp_arena_alloc(&j->arena, j->factors.group_count + 1, sizeof *j->left);
    if (!j->left)
        return j->ctx->status;
    r->expected_db = expected_gain_db(&j->factors);
    r->promises_little = j->factors.group_count > 0 && r->expected_db < least_gain_db(j);
    return OXP_OK;
}

static oxp_status equalise(job *j)
{
    bool ran;
    j->view = (oxp_pass){.ctx = j->ctx, .model = j->model, .seen = &j->seen, .result = &j->notes};
    OXP_TRY(oxp_pass_open(&j->view));
    OXP_TRY(measure_or_say_why(j, &ran));
    if (!ran)
        return OXP_OK;
    OXP_TRY(find_factors(j));
    if (j->factors.group_count == 0 || j->result.promises_little)
        return OXP_OK;
    OXP_TRY(settle(j));
    return describe(j);
}

static oxp_status equalise_samples(job *j)
{
    if (j->options->sample_count == 0)
        OXP_TRY(say_why(j, "no samples"));
    else
        OXP_TRY(equalise(j));
    return j->candidate ? OXP_OK : oxp_model_clone(&j->candidate, j->model);
}

static void finish(job *j)
{
    oxp_pass_close(&j->view);
    oxp_seen_free(&j->seen);
    oxp_equalize_walk_free(&j->walk);
    oxp_free(j->factors.groups);
    oxp_model_free(j->candidate);
    oxp_prepare_release(&j->notes);
    oxp_equalize_release(&j->result);
    oxp_arena_free(&j->arena);
    oxp_runs_close(&j->runs);
}

oxp_status oxp_equalize(oxp_model **out, oxp_equalize_result *result, oxp_model *model,
                        const oxp_equalize_options *options)
{
    job j = {.ctx = oxp_model_ctx(model), .model = model, .options = options};
    oxp_arena_init(&j.arena, j.ctx);
    oxp_arena_init(&j.notes.arena, j.ctx);
    oxp_arena_init(&j.result.arena, j.ctx);
    oxp_arena_init(&j.view.arena, j.ctx);
    j.notes.steps[0].name = "equalize";
    j.result.why_unchecked = "";
    oxp_status status = equalise_samples(&j);
    if (status == OXP_OK) {
        *out = j.candidate;
        *result = j.result;
        j.candidate = NULL;
        j.result = (oxp_equalize_result){0};
    }
    finish(&j);
    return status;
}

void oxp_equalize_release(oxp_equalize_result *r)
{
    if (r->arena.ctx)
        oxp_arena_free(&r->arena);
    *r = (oxp_equalize_result){0};
}
