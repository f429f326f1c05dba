/* prepare.c - the job: every step on a clone of the given model, checked by running, taken back
 * where it must be.
 *
 * The model is never edited. A clone is made and the accepted steps are applied to it anew for
 * each trial, so that what comes out is one clone, edited by nothing but accepted changes. When
 * a step changes the outputs too much, bisection over its places finds the first one that does;
 * it is refused from then on. */
#include "prepare/prepare.h"

#include <string.h>

#include "prepare/pass.h"

#define ROUNDS_MAX 100 /* views of one step */
#define REFUSALS_MAX 8 /* places that are looked for; then the step ends before the next one */

typedef struct step_row {
    const char *name;
    oxp_step_function apply;
    bool exact; /* may be done on a model that cannot be run */
    bool (*wanted)(const oxp_prepare_options *options);
    const char *summary;
} step_row;

static bool wants_constants(const oxp_prepare_options *o)
{
    return o->fold_constants;
}

static bool wants_normalization(const oxp_prepare_options *o)
{
    return o->fold_batch_normalization;
}

static bool wants_activations(const oxp_prepare_options *o)
{
    return o->recognise_activations;
}

static bool wants_scalars(const oxp_prepare_options *o)
{
    return o->fold_scalars;
}

static bool wants_padding(const oxp_prepare_options *o)
{
    return o->fold_padding;
}

static bool wants_channels(const oxp_prepare_options *o)
{
    return o->block_channels > 0;
}

static const step_row rows[OXP_PREPARE_STEPS] = {
    {"identities", oxp_step_identities, true, wants_constants,
     "nodes that hand on their input are removed"},
    {"constants", oxp_step_constants, true, wants_constants,
     "nodes with constant inputs are run once"},
    {"batch_normalization", oxp_step_batch_normalization, false, wants_normalization,
     "BatchNormalization, and factors and terms per channel, go into the weights"},
    {"activations", oxp_step_activations, false, wants_activations,
     "activations that are spelled out get the form that runs fast"},
    {"scalars", oxp_step_scalars, false, wants_scalars,
     "constant factors and terms go into the neighbouring weights"},
    {"padding", oxp_step_padding, false, wants_padding,
     "zeros around the input of a convolution become its own"},
    {"channels", oxp_step_channels, false, wants_channels,
     "channels are padded, and nodes spelled, so that convolutions stay in blocks"},
};

typedef struct job {
    oxp_ctx *ctx;
    oxp_model *model;
    oxp_runs runs;
    oxp_prepare_result result;
    oxp_admission admissions[OXP_PREPARE_STEPS];
    bool active[OXP_PREPARE_STEPS];
    size_t block_channels;
    oxp_model *candidate;
} job;

/* ---- applying ---- */

static void reset_notes(job *j)
{
    oxp_prepare_result *r = &j->result;
    r->entry_count = r->tensor_count = 0;
    for (size_t s = 0; s < OXP_PREPARE_STEPS; s++)
        r->steps[s].changed = r->steps[s].left = r->steps[s].undone = 0;
}

static oxp_status note_refused(job *j, size_t step)
{
    const oxp_admission *a = &j->admissions[step];
    for (size_t i = 0; i < a->refused_count; i++)
        OXP_TRY(oxp_prepare_note(&j->result, step, OXP_PREPARE_UNDONE, a->refused[i],
                                 "undone: it changes the outputs too much"));
    if (a->limit == SIZE_MAX)
        return OXP_OK;
    return oxp_prepare_note(&j->result, step, OXP_PREPARE_UNDONE, "",
                            "the step ends here: what follows changes the outputs too much");
}

/* Views of the model until one finds nothing to do. */
static oxp_status repeat(job *j, oxp_pass *pass)
{
    for (int round = 0; round < ROUNDS_MAX; round++) {
        oxp_status status = oxp_pass_open(pass);
        if (status == OXP_OK)
            status = rows[pass->step].apply(pass);
        size_t edits = pass->edits;
        oxp_pass_close(pass);
        OXP_TRY(status);
        OXP_TRY(oxp_progress(j->ctx, "prepare", pass->step, OXP_PREPARE_STEPS));
        if (edits == 0)
            break;
    }
    return OXP_OK;
}

static oxp_status apply_step(job *j, size_t step)
{
    oxp_pass pass = {.ctx = j->ctx,
                     .model = j->candidate,
                     .seen = &j->runs.seen,
                     .admissions = j->admissions,
                     .result = &j->result,
                     .block_channels = j->block_channels,
                     .step = step};
    j->admissions[step].admitted = 0;
    oxp_map_init(&pass.changed, j->ctx);
    oxp_status status = repeat(j, &pass);
    oxp_map_free(&pass.changed);
    return status == OXP_OK ? note_refused(j, step) : status;
}

/* A fresh clone with the steps up to `last` as they stand. */
static oxp_status build(job *j, size_t last)
{
    oxp_model_free(j->candidate);
    j->candidate = NULL;
    reset_notes(j);
    OXP_TRY(oxp_model_clone(&j->candidate, j->model));
    for (size_t s = 0; s <= last; s++)
        if (j->active[s])
            OXP_TRY(apply_step(j, s));
    return OXP_OK;
}

/* ---- checking ---- */

static oxp_status trial(job *j, size_t step, size_t limit, bool *good)
{
    double *difference = &j->result.steps[step].difference;
    j->admissions[step].limit = limit;
    OXP_TRY(build(j, step));
    *good = true;
    *difference = -1;
    if (!j->runs.ran || j->result.steps[step].changed == 0)
        return OXP_OK;
    return oxp_runs_compare(difference, good, &j->runs, j->candidate);
}

/* The number of places that can be changed before the worst sample's outputs change too much. */
static oxp_status bisect(job *j, size_t step, size_t *passing)
{
    oxp_admission *a = &j->admissions[step];
    size_t low = 0, high = a->admitted;
    while (high - low > 1) {
        bool good;
        a->limit = low + (high - low) / 2;
        OXP_TRY(build(j, step));
        OXP_TRY(oxp_runs_probe(&good, &j->runs, j->candidate));
        *(good ? &low : &high) = a->limit;
    }
    *passing = low;
    return OXP_OK;
}

static oxp_status refuse_next(job *j, size_t step, size_t passing)
{
    oxp_admission *a = &j->admissions[step];
    a->limit = passing + 1;
    OXP_TRY(build(j, step));
    OXP_TRY(oxp_grow(&a->refused, &a->refused_capacity, j->ctx, a->refused_count + 1,
                     sizeof *a->refused));
    a->refused[a->refused_count] = oxp_arena_strdup(&j->runs.arena, a->last);
    return a->refused[a->refused_count++] ? OXP_OK : j->ctx->status;
}

static oxp_status run_step(job *j, size_t step)
{
    const oxp_admission *a = &j->admissions[step];
    bool good;
    OXP_TRY(trial(j, step, SIZE_MAX, &good));
    while (!good) {
        size_t passing;
        OXP_TRY(bisect(j, step, &passing));
        bool more = a->refused_count < REFUSALS_MAX;
        if (more)
            OXP_TRY(refuse_next(j, step, passing));
        OXP_TRY(trial(j, step, more ? SIZE_MAX : passing, &good));
    }
    return OXP_OK;
}

static oxp_status run_steps(job *j)
{
    for (size_t s = 0; s < OXP_PREPARE_STEPS; s++)
        if (j->active[s])
            OXP_TRY(run_step(j, s));
    return build(j, OXP_PREPARE_STEPS - 1);
}

/* ---- the result ---- */

typedef struct census {
    size_t nodes;
    oxp_map constants; /* names of the constants of a model */
} census;

static oxp_status count_graph(census *c, const oxp_graph *g)
{
    for (size_t n = 0; n < g->node_count; n++)
        c->nodes += !oxp_pass_is(&g->nodes[n], "Constant");
    for (size_t v = 0; v < g->value_count; v++)
        if (g->values[v].kind == OXP_VALUE_CONSTANT)
            OXP_TRY(oxp_map_put(&c->constants, g->values[v].name, 0));
    return OXP_OK;
}

/* c->constants is freed by the caller. */
static oxp_status take_census(census *c, oxp_ctx *ctx, oxp_model *model)
{
    *c = (census){0};
    oxp_map_init(&c->constants, ctx);
    oxp_arena arena;
    oxp_arena_init(&arena, ctx);
    oxp_graph *graph;
    const oxp_graph *const *graphs;
    size_t count;
    oxp_status status;
    OXP_TRY_GOTO(oxp_graph_build(&graph, &arena, model), done);
    OXP_TRY_GOTO(oxp_graph_all(&graphs, &count, &arena, graph), done);
    for (size_t i = 0; i < count && status == OXP_OK; i++)
        status = count_graph(c, graphs[i]);
done:
    oxp_arena_free(&arena);
    return status;
}

/* Each name once, and only what the model still has. */
static oxp_status tidy_tensors(oxp_prepare_result *r, census *after)
{
    size_t kept = 0;
    for (size_t i = 0; i < r->tensor_count; i++)
        if (oxp_map_get(&after->constants, r->tensors[i]) == 0) {
            r->tensors[kept++] = r->tensors[i];
            OXP_TRY(oxp_map_put(&after->constants, r->tensors[i], 1));
        }
    r->tensor_count = kept;
    return OXP_OK;
}

static oxp_status describe(job *j)
{
    oxp_prepare_result *r = &j->result;
    census before, after;
    oxp_status status = take_census(&before, j->ctx, j->model);
    oxp_map_free(&before.constants);
    OXP_TRY(status);
    OXP_TRY_GOTO(take_census(&after, j->ctx, j->candidate), done);
    r->nodes_before = before.nodes;
    r->nodes_after = after.nodes;
    OXP_TRY_GOTO(tidy_tensors(r, &after), done);
    r->checked = j->runs.ran;
    r->random_inputs = j->runs.ran && j->runs.random;
    r->runs = j->runs.ran ? j->runs.sample_count : 0;
    r->why_unchecked = oxp_arena_strdup(&r->arena, j->runs.why_not);
    r->difference = j->runs.ran ? 0 : -1;
    for (size_t s = 0; s < OXP_PREPARE_STEPS;
         s++) /* each is measured from the given model: the last one holds */
        if (r->steps[s].changed && j->runs.ran)
            r->difference = r->steps[s].difference;
    status = r->why_unchecked ? OXP_OK : j->ctx->status;
done:
    oxp_map_free(&after.constants);
    return status;
}

/* ---- the call ---- */

static void start(job *j, const oxp_prepare_options *options)
{
    oxp_arena_init(&j->result.arena, j->ctx);
    j->block_channels = options->block_channels;
    for (size_t s = 0; s < OXP_PREPARE_STEPS; s++) {
        j->active[s] = rows[s].wanted(options) && (rows[s].exact || j->runs.ran);
        j->admissions[s].limit = SIZE_MAX;
        j->result.steps[s] = (oxp_prepare_step_result){.name = rows[s].name,
                                                       .summary = rows[s].summary,
                                                       .ran = j->active[s],
                                                       .difference = -1};
    }
}

static void finish(job *j)
{
    oxp_model_free(j->candidate);
    oxp_prepare_release(&j->result);
    for (size_t s = 0; s < OXP_PREPARE_STEPS; s++)
        oxp_free(j->admissions[s].refused);
    oxp_runs_close(&j->runs);
}

oxp_status oxp_prepare(oxp_model **out, oxp_prepare_result *result, oxp_model *model,
                       const oxp_prepare_options *options)
{
    job j = {.ctx = oxp_model_ctx(model), .model = model};
    OXP_TRY(oxp_runs_open(&j.runs, j.ctx, model, options->samples, options->sample_count));
    start(&j, options);
    oxp_status status = run_steps(&j);
    if (status == OXP_OK)
        status = describe(&j);
    if (status == OXP_OK) {
        *out = j.candidate;
        *result = j.result;
        j.candidate = NULL;
        j.result = (oxp_prepare_result){0};
    }
    finish(&j);
    return status;
}
