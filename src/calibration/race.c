/* race.c - see race.h. */
#include "calibration/race.h"

#include <math.h>
#include <string.h>

#define FIRST 4      /* after these, methods that are far behind leave */
#define FAR_BEHIND 4 /* times the least error */
#define DYNAMIC OXP_METHOD_COUNT

typedef struct errors { /* of one trial in one sample: of the input, and of what the node makes */
    double input, output;
} errors;

typedef struct race {
    const oxp_race *def;
    oxp_ranges *ranges;
    size_t **judge_of; /* by graph and node: item + 1 */
    bool *running;     /* [item * OXP_TRIALS + trial] */
    errors *slots;     /* [(slot * items + item) * OXP_TRIALS + trial] */
    size_t *tried;     /* positions in `which`, in the order of the slots */
    size_t tried_count, count, first_slot;
    struct work { /* by worker: an input quantised and what the node makes of it */
        float *in, *out;
        size_t in_capacity, out_capacity;
    } * work;
    int workers;
} race;

/* ---- trials ---- */

/* Runs the node once more with input 0 quantised and adds what that changes. */
static oxp_status try_scale(oxp_node *n, struct work *w, oxp_scale s, errors *e)
{
    const oxp_tensor *in = n->in[0];
    oxp_tensor out = n->out[0], quantised = *in;
    OXP_TRY(oxp_grow(&w->in, &w->in_capacity, n->ctx, in->count, sizeof *w->in));
    OXP_TRY(oxp_grow(&w->out, &w->out_capacity, n->ctx, out.count, sizeof *w->out));
    oxp_fake_quantise_u8(w->in, in->data, in->count, s, 255);
    quantised.data = w->in;
    n->in[0] = &quantised;
    n->out[0].data = w->out;
    oxp_arena_mark mark = oxp_arena_mark_now(n->scratch);
    oxp_status status = n->op->forward(n);
    oxp_arena_release(n->scratch, mark);
    n->in[0] = in;
    n->out[0].data = out.data;
    if (status == OXP_OK) {
        e->input += oxp_squared_distance(in->data, w->in, in->count);
        e->output += oxp_squared_distance(out.data, w->out, out.count);
    }
    return status;
}

oxp_scale oxp_scale_of_run(const oxp_tensor *t)
{
    float low, high;
    oxp_extremes(t->data, t->count, &low, &high);
    return oxp_scale_for_range(fminf(low, 0), fmaxf(high, 0), 255);
}

static oxp_status on_node(void *user, int worker, size_t slot, oxp_node *n)
{
    race *r = user;
    struct work *w = &r->work[worker];
    size_t at = r->judge_of[n->def->graph->id][n->def->index];
    if (at == 0 || n->in[0]->dtype != OXP_FLOAT || n->out[0].dtype != OXP_FLOAT)
        return OXP_OK;
    size_t item = at - 1;
    const bool *running = &r->running[item * OXP_TRIALS];
    const oxp_scale *scales = &r->def->scales[item * OXP_METHOD_COUNT];
    errors *e = &r->slots[((r->first_slot + slot) * r->ranges->count + item) * OXP_TRIALS];
    for (int t = 0; t < DYNAMIC; t++)
        if (running[t])
            OXP_TRY(try_scale(n, w, scales[t], &e[t]));
    return running[DYNAMIC] ? try_scale(n, w, oxp_scale_of_run(n->in[0]), &e[DYNAMIC]) : OXP_OK;
}

/* ---- which samples ---- */

/* How many values have an extreme in each sample. */
static void count_extremes(const race *r, size_t *held)
{
    for (size_t i = 0; i < r->ranges->count; i++) {
        held[r->def->extremes[i].low]++;
        held[r->def->extremes[i].high]++;
    }
}

static void take(race *r, bool *taken, size_t sample)
{
    taken[sample] = true;
    r->tried[r->tried_count++] = sample;
}

/* Half by extremes, most first, half spread over the samples that are left. */
static void choose_samples(race *r, bool *taken, const size_t *held)
{
    size_t wanted = r->count < r->def->tried ? r->count : r->def->tried;
    while (r->tried_count < wanted / 2) {
        size_t best = r->count;
        for (size_t s = 0; s < r->count; s++)
            if (!taken[s] && (best == r->count || held[s] > held[best]))
                best = s;
        take(r, taken, best);
    }
    for (size_t left = wanted - r->tried_count, i = 0; i < left; i++) {
        size_t s = i * r->count / left;
        while (taken[s])
            s = (s + 1) % r->count;
        take(r, taken, s);
    }
}

/* ---- errors ---- */

static bool same_scale(oxp_scale a, oxp_scale b)
{
    return a.scale == b.scale && a.zero_point == b.zero_point;
}

/* The first method of the same scale: two methods of one opinion are tried once. */
static int twin_of(const race *r, size_t item, int method)
{
    const oxp_scale *scales = &r->def->scales[item * OXP_METHOD_COUNT];
    int twin = 0;
    while (twin < method && !same_scale(scales[twin], scales[method]))
        twin++;
    return twin;
}

/* The output error over all samples, from what a trial saw in the first `seen` slots. */
static double estimate(const race *r, size_t item, int trial, size_t seen)
{
    errors sum = {0};
    for (size_t s = 0; s < seen; s++) {
        const errors *e = &r->slots[(s * r->ranges->count + item) * OXP_TRIALS + (size_t)trial];
        sum.input += e->input;
        sum.output += e->output;
    }
    if (seen == r->count || sum.output <= 0)
        return sum.output;
    if (sum.input <= 0)
        return sum.output * (double)r->count / (double)seen;
    double all = trial == DYNAMIC
                     ? r->def->dynamic_errors[item]
                     : oxp_scale_error(r->ranges->items[item].seen,
                                       r->def->scales[item * OXP_METHOD_COUNT + (size_t)trial]);
    return sum.output / sum.input * all;
}

/* Methods that are far behind after the first slots are tried no more. */
static void drop_the_last(race *r, size_t seen)
{
    for (size_t i = 0; i < r->ranges->count; i++) {
        bool *running = &r->running[i * OXP_TRIALS];
        double error[DYNAMIC], least = INFINITY;
        for (int m = 0; m < DYNAMIC; m++) {
            error[m] = running[m] ? estimate(r, i, m, seen) : INFINITY;
            least = fmin(least, error[m]);
        }
        for (int m = 0; m < DYNAMIC; m++)
            running[m] = running[m] && error[m] <= FAR_BEHIND * least;
    }
}

static void finish_item(const race *r, oxp_range *range, size_t item)
{
    const bool *running = &r->running[item * OXP_TRIALS];
    int best = OXP_METHOD_MSE;
    double least = INFINITY;
    for (int m = 0; m < DYNAMIC; m++) {
        int twin = twin_of(r, item, m);
        size_t seen = running[twin] || r->tried_count < FIRST ? r->tried_count : FIRST;
        range->output_error[m] = estimate(r, item, twin, seen);
        range->judged |= range->output_error[m] > 0;
        if (running[twin] && range->output_error[m] < least) {
            least = range->output_error[m];
            best = m;
        }
    }
    range->dynamic_error = running[DYNAMIC] ? estimate(r, item, DYNAMIC, r->tried_count) : 0;
    if (range->fixed)
        return;
    /* where nothing reads it in integers, the tensor's own error decides */
    range->method = range->judged ? (oxp_method)best : OXP_METHOD_MSE;
    range->scale = r->def->scales[item * OXP_METHOD_COUNT + range->method];
}

/* ---- the whole ---- */

static oxp_status set_up(race *r, oxp_arena *arena)
{
    const oxp_graph *const *graphs;
    size_t graph_count, items = r->ranges->count;
    OXP_TRY(oxp_graph_all(&graphs, &graph_count, arena, r->def->graph));
    r->judge_of = oxp_arena_alloc(arena, graph_count, sizeof *r->judge_of);
    r->running = oxp_arena_alloc(arena, items * OXP_TRIALS + 1, sizeof *r->running);
    r->work = oxp_arena_alloc(arena, (size_t)r->workers, sizeof *r->work);
    r->tried = oxp_arena_alloc(arena, r->count + 1, sizeof *r->tried);
    bool *taken = oxp_arena_alloc(arena, r->count + 1, sizeof *taken);
    size_t *held = oxp_arena_alloc(arena, r->count + 1, sizeof *held);
    if (!r->judge_of || !r->running || !r->work || !r->tried || !taken || !held)
        return OXP_ELIMIT;
    for (size_t g = 0; g < graph_count; g++) {
        r->judge_of[g] = oxp_arena_alloc(arena, graphs[g]->node_count + 1, sizeof **r->judge_of);
        if (!r->judge_of[g])
            return OXP_ELIMIT;
    }
    for (size_t i = 0; i < r->def->judge_count; i++) {
        const oxp_judge *j = &r->def->judges[i];
        r->judge_of[j->node->graph->id][j->node->index] = j->range + 1;
        bool *running = &r->running[j->range * OXP_TRIALS];
        running[DYNAMIC] |= j->dynamic;
        for (int m = 0; m < DYNAMIC; m++)
            running[m] = twin_of(r, j->range, m) == m;
    }
    count_extremes(r, held);
    choose_samples(r, taken, held);
    return OXP_OK;
}

static oxp_status run_slots(race *r, oxp_runner *runner, const oxp_source *source,
                            const size_t *samples)
{
    size_t first = r->tried_count < FIRST ? r->tried_count : FIRST;
    OXP_TRY(oxp_runner_run(runner, source, samples, first, "scales"));
    if (r->tried_count == first)
        return OXP_OK;
    drop_the_last(r, first);
    r->first_slot = first;
    return oxp_runner_run(runner, source, samples + first, r->tried_count - first, "scales");
}

static oxp_status run_all(race *r, oxp_arena *arena, const oxp_source *source, const size_t *which)
{
    size_t *samples = oxp_arena_alloc(arena, r->tried_count + 1, sizeof *samples);
    if (!samples)
        return OXP_ELIMIT;
    for (size_t i = 0; i < r->tried_count; i++)
        samples[i] = which ? which[r->tried[i]] : r->tried[i];
    oxp_run_hooks hooks = {.user = r, .node = on_node, .any_layout = true};
    oxp_runner *runner;
    OXP_TRY(oxp_runner_create(&runner, arena->ctx, r->def->graph, &hooks));
    oxp_status status = run_slots(r, runner, source, samples);
    oxp_runner_free(runner);
    return status;
}

oxp_status oxp_race_run(oxp_ranges *ranges, oxp_arena *arena, const oxp_race *def,
                        const oxp_source *source, const size_t *which, size_t count)
{
    race r = {.def = def, .ranges = ranges, .count = count, .workers = arena->ctx->threads};
    OXP_TRY(set_up(&r, arena));
    OXP_TRY(oxp_alloc(&r.slots, arena->ctx, r.tried_count * ranges->count + 1,
                      OXP_TRIALS * sizeof *r.slots, "errors"));
    oxp_status status = run_all(&r, arena, source, which);
    for (size_t i = 0; i < ranges->count && status == OXP_OK; i++)
        finish_item(&r, &ranges->items[i], i);
    for (int w = 0; w < r.workers; w++) {
        oxp_free(r.work[w].in);
        oxp_free(r.work[w].out);
    }
    oxp_free(r.slots);
    return status;
}
