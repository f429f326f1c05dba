/* channels_score.c - what taking a channel away costs, see channels.h. */
#include <math.h>

#include "calibration/fisher.h"
#include "techniques/channels.h"

static size_t inner_of(const oxp_tensor *w, int axis)
{
    size_t inner = 1;
    for (int i = axis + 1; i < w->rank; i++)
        inner *= (size_t)w->dims[i];
    return inner;
}

/* ---- from gradients ---- */

typedef struct pass {
    oxp_channels_job *job;
    const oxp_coupled_layer **layers; /* by target */
    size_t roots;
    double *changes; /* [sample, root]: g . d */
} pass;

static oxp_status on_gradient(void *user, oxp_ctx *ctx, int worker, size_t slot, size_t target,
                              double weight, const oxp_tensor *g)
{
    (void)ctx;
    (void)worker;
    pass *p = user;
    const oxp_coupled_layer *l = p->layers[target];
    const oxp_tensor *w = &l->weight->constant;
    const float *x = w->data, *y = g->data;
    double *changes = &p->changes[slot * p->roots], factor = sqrt(weight);
    size_t inner = inner_of(w, l->in_axis), size = (size_t)w->dims[l->in_axis];
    for (size_t at = 0; at < w->count; at += inner) {
        uint32_t variable = l->in[at / inner % size];
        if (variable == OXP_NO_VARIABLE)
            continue;
        double sum = 0;
        for (size_t i = 0; i < inner; i++)
            sum += (double)x[at + i] * (double)y[at + i];
        changes[p->job->coupling.variables.parent[variable]] += factor * sum;
    }
    return OXP_OK;
}

/* Paths to the root of length one: the callback then only reads. */
static void shorten(oxp_variables *v)
{
    for (uint32_t i = 0; i < v->count; i++)
        v->parent[i] = oxp_variables_root(v, i);
}

/* Layers that read what can go; *complete: gradients reach all of them. */
static oxp_status list_targets(pass *p, oxp_fisher_target *targets, size_t *count, bool *complete)
{
    oxp_channels_job *j = p->job;
    *complete = true;
    for (size_t k = 0; k < j->coupling.layer_count && *complete; k++) {
        const oxp_coupled_layer *l = &j->coupling.layers[k];
        bool reads = false;
        for (size_t i = 0; i < l->inputs && !l->is_depthwise; i++)
            reads = reads ||
                    (l->in[i] != OXP_NO_VARIABLE && j->removable[oxp_channels_root(j, l->in[i])]);
        if (!reads)
            continue;
        const oxp_graph_node *stops;
        oxp_fisher_target t = {j->r->graph, l->weight->id};
        OXP_TRY(oxp_fisher_reaches(complete, &stops, j->arena, j->r->graph, &t));
        p->layers[*count] = l;
        targets[(*count)++] = t;
    }
    return OXP_OK;
}

static oxp_status score_by_gradients(oxp_channels_job *j, bool *done)
{
    pass p = {.job = j, .roots = j->coupling.variables.count};
    size_t layers = j->coupling.layer_count + 1, count = 0;
    oxp_fisher_target *targets = oxp_arena_alloc(j->arena, layers, sizeof *targets);
    p.layers = oxp_arena_alloc(j->arena, layers, sizeof *p.layers);
    *done = false;
    if (!targets || !p.layers)
        return OXP_ELIMIT;
    shorten(&j->coupling.variables);
    OXP_TRY(list_targets(&p, targets, &count, done));
    if (!*done || count == 0)
        return OXP_OK;
    p.changes = oxp_arena_alloc(j->arena, j->r->samples * p.roots, sizeof *p.changes);
    if (!p.changes)
        return OXP_ELIMIT;
    oxp_fisher f;
    oxp_fisher_options options = {
        .estimator = OXP_ESTIMATOR_FACTOR, .gradient = on_gradient, .user = &p};
    OXP_TRY(oxp_fisher_run(&f, j->arena, j->r->graph, j->r->source, j->r->which, j->r->samples,
                           targets, count, &options));
    for (size_t s = 0; s < j->r->samples; s++)
        for (size_t v = 0; v < p.roots; v++) {
            double a = p.changes[s * p.roots + v];
            j->scores[v] += 0.5 * a * a / (double)j->r->samples;
        }
    for (size_t v = 0; v < p.roots && *done; v++)
        *done = isfinite(j->scores[v]);
    return OXP_OK;
}

/* ---- from weights ---- */

/* to[root] += share of the layer's squares that its indices along the axis have. */
static void add_shares(oxp_channels_job *j, double *to, const oxp_coupled_layer *l, int axis,
                       const uint32_t *variables)
{
    const oxp_tensor *w = &l->weight->constant;
    const float *x = w->data;
    size_t inner = inner_of(w, axis), size = (size_t)w->dims[axis];
    double total = 0;
    for (size_t i = 0; i < w->count; i++)
        total += (double)x[i] * (double)x[i];
    for (size_t i = 0; i < w->count && total > 0; i++) {
        uint32_t variable = variables[i / inner % size];
        if (variable != OXP_NO_VARIABLE)
            to[oxp_channels_root(j, variable)] += (double)x[i] * (double)x[i] / total;
    }
}

/* The share of what makes a channel, of layers of equal weight, times that of what reads it. */
static oxp_status score_by_weights(oxp_channels_job *j)
{
    size_t n = j->coupling.variables.count + 1;
    double *made = oxp_arena_alloc(j->arena, n, sizeof *made);
    double *read = oxp_arena_alloc(j->arena, n, sizeof *read);
    if (!made || !read)
        return OXP_ELIMIT;
    for (size_t k = 0; k < j->coupling.layer_count; k++) {
        const oxp_coupled_layer *l = &j->coupling.layers[k];
        if (l->is_depthwise)
            continue;
        if (l->groups == 1)
            add_shares(j, made, l, l->out_axis, l->out);
        add_shares(j, read, l, l->in_axis, l->in);
    }
    for (size_t v = 0; v + 1 < n; v++)
        j->scores[v] = sqrt(made[v] * read[v]);
    return OXP_OK;
}

oxp_status oxp_channels_score(oxp_channels_job *j)
{
    bool done = false;
    if (j->r->source && j->r->samples)
        OXP_TRY(score_by_gradients(j, &done));
    return done ? OXP_OK : score_by_weights(j);
}
