/* equalize.c - the job: run, walk, measure channels, choose factors, write them into a clone, run
 * again. A group whose factors change the outputs too much is left out. */
#include "prepare/equalize.h"

#include <math.h>
#include <string.h>

#include "interpreter/interpreter.h"
#include "prepare/equalize_scales.h"

typedef struct job {
    oxp_ctx *ctx;
    oxp_model *model;
    const oxp_equalize_options *options;
    oxp_runs runs;
    oxp_arena arena;
    oxp_prepare_result notes; /* of the view: its names of changed constants */
    oxp_pass view;            /* of `model` */
    oxp_equalize_walk walk;
    oxp_tensor *seen;         /* by value id, without data */
    oxp_channel_sizes *sizes; /* by value id */
    oxp_factors factors;
    bool *left; /* by group: not applied */
    bool finite;
    oxp_model *candidate;
    oxp_equalize_result result;
} job;

/* ---- what one run shows ---- */

static void keep_look(oxp_tensor *to, const oxp_tensor *t)
{
    *to = *t;
    to->data = NULL;
    to->storage = NULL;
}

static oxp_status observe_look(void *user, const oxp_graph *graph, uint32_t value,
                               const oxp_tensor *t)
{
    job *j = user;
    if (graph->id == 0)
        keep_look(&j->seen[value], t);
    return OXP_OK;
}

static oxp_status run_samples(job *j, size_t count, oxp_observer observer)
{
    const oxp_graph *g = j->view.scopes[0].graph;
    oxp_session *session = NULL;
    oxp_session_options options = {.observer = observer, .user = j};
    oxp_tensor *outputs = oxp_arena_alloc(&j->arena, g->output_count + 1, sizeof *outputs);
    if (!outputs)
        return j->ctx->status;
    oxp_status status = oxp_session_create(&session, j->ctx, g, &options);
    for (size_t s = 0; s < count && status == OXP_OK; s++) {
        status = oxp_session_run(session, j->options->samples[s], outputs);
        for (size_t k = 0; k < g->output_count; k++)
            oxp_tensor_release(&outputs[k]);
    }
    oxp_session_free(session);
    return status;
}

static oxp_status look(job *j)
{
    const oxp_graph *g = j->view.scopes[0].graph;
    j->seen = oxp_arena_alloc(&j->arena, g->value_count + 1, sizeof *j->seen);
    if (!j->seen)
        return j->ctx->status;
    for (size_t i = 0; i < g->input_count; i++)
        keep_look(&j->seen[g->inputs[i]], j->options->samples[0][i]);
    return run_samples(j, 1, observe_look);
}

/* ---- sizes of channels ---- */

static void add_run(oxp_channel_sizes *z, size_t c, const float *x, size_t n)
{
    float high = z->high[c], low = z->low[c];
    double squares = 0;
    for (size_t i = 0; i < n; i++) {
        high = fmaxf(high, x[i]);
        low = fmaxf(low, -x[i]);
        squares += (double)x[i] * (double)x[i];
    }
    z->high[c] = high;
    z->low[c] = low;
    z->squares[c] += squares;
    z->elements[c] += (double)n;
}

/* Runs of elements of one channel, or single elements where the last axis tells channels apart. */
static oxp_status add_sizes(oxp_channel_sizes *z, const oxp_channels *c, const oxp_tensor *t,
                            oxp_arena *arena)
{
    size_t *tables[OXP_MAX_RANK], at[OXP_MAX_RANK] = {0};
    int inner = t->rank;
    size_t run = 1;
    while (inner > 0 && c->parts[inner - 1].extent == 1)
        run *= (size_t)t->dims[--inner];
    OXP_TRY(oxp_channels_tables(tables, c, t->rank, t->dims, arena));
    const float *x = t->data;
    for (size_t i = 0; i < t->count; i += run) {
        size_t channel = c->offset;
        for (int k = 0; k < inner; k++)
            channel += tables[k][at[k]];
        add_run(z, channel, x + i, run);
        for (int k = inner - 1; k >= 0 && ++at[k] == (size_t)t->dims[k]; k--)
            at[k] = 0;
    }
    return OXP_OK;
}

/* Channels whose number depends on the sample are none. */
static bool same_channels(const oxp_channels *c, const oxp_tensor *t)
{
    bool same = t->rank == c->rank;
    for (int k = 0; k < t->rank && same; k++)
        same = c->parts[k].extent == 1 || c->dims[k] == t->dims[k];
    return same;
}

static oxp_status observe_sizes(void *user, const oxp_graph *graph, uint32_t value,
                                const oxp_tensor *t)
{
    job *j = user;
    if (graph->id != 0 || !j->sizes[value].channels || t->dtype != OXP_FLOAT || t->count == 0)
        return OXP_OK;
    const oxp_channels *c = &j->walk.channels[value];
    if (!same_channels(c, t)) {
        oxp_channels_pin(&j->walk.variables, c);
        return OXP_OK;
    }
    oxp_arena_mark mark = oxp_arena_mark_now(&j->arena);
    oxp_status status = add_sizes(&j->sizes[value], c, t, &j->arena);
    oxp_arena_release(&j->arena, mark);
    return status;
}

static oxp_status ask_sizes(job *j, uint32_t value)
{
    oxp_channel_sizes *z = &j->sizes[value];
    size_t n = j->walk.channels[value].count;
    if (z->channels || n == 0)
        return OXP_OK;
    z->channels = n;
    z->high = oxp_arena_alloc(&j->arena, n, sizeof *z->high);
    z->low = oxp_arena_alloc(&j->arena, n, sizeof *z->low);
    z->squares = oxp_arena_alloc(&j->arena, n, sizeof *z->squares);
    z->elements = oxp_arena_alloc(&j->arena, n, sizeof *z->elements);
    return z->high && z->low && z->squares && z->elements ? OXP_OK : j->ctx->status;
}

static oxp_status measure_sizes(job *j)
{
    const oxp_graph *g = j->view.scopes[0].graph;
    j->sizes = oxp_arena_alloc(&j->arena, g->value_count + 1, sizeof *j->sizes);
    if (!j->sizes)
        return j->ctx->status;
    for (size_t i = 0; i < j->walk.layer_count; i++) {
        OXP_TRY(ask_sizes(j, j->walk.layers[i].read));
        OXP_TRY(ask_sizes(j, j->walk.layers[i].made));
    }
    return run_samples(j, j->options->sample_count, observe_sizes);
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
    oxp_pass p = {.ctx = j->ctx, .model = j->candidate, .seen = &j->runs.seen, .result = &j->notes};
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
static oxp_status settle(job *j)
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

static oxp_status equalise(job *j)
{
    j->view =
        (oxp_pass){.ctx = j->ctx, .model = j->model, .seen = &j->runs.seen, .result = &j->notes};
    OXP_TRY(oxp_pass_open(&j->view));
    OXP_TRY(look(j));
    OXP_TRY(oxp_equalize_walk_graph(&j->walk, &j->view, &j->arena, j->seen));
    OXP_TRY(measure_sizes(j));
    OXP_TRY(oxp_factors_find(&j->factors, &j->walk, j->sizes, j->options));
    j->left = oxp_arena_alloc(&j->arena, j->factors.group_count + 1, sizeof *j->left);
    if (!j->left)
        return j->ctx->status;
    OXP_TRY(settle(j));
    return describe(j);
}

static oxp_status equalise_or_say_why(job *j)
{
    const char *why = !j->runs.ran ? j->runs.why_not : j->runs.random ? "no samples" : "";
    j->result.why_unchecked = oxp_arena_strdup(&j->result.arena, why);
    if (!j->result.why_unchecked)
        return j->ctx->status;
    return why[0] ? oxp_model_clone(&j->candidate, j->model) : equalise(j);
}

static void finish(job *j)
{
    oxp_pass_close(&j->view);
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
    OXP_TRY(oxp_runs_open(&j.runs, j.ctx, model, options->samples, options->sample_count));
    oxp_arena_init(&j.arena, j.ctx);
    oxp_arena_init(&j.notes.arena, j.ctx);
    oxp_arena_init(&j.result.arena, j.ctx);
    oxp_arena_init(&j.view.arena, j.ctx);
    j.notes.steps[0].name = "equalize";
    oxp_status status = equalise_or_say_why(&j);
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
