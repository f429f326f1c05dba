/* composition_orders.c - which order of a pipeline's stages loses least: all of them, run in memory
 * on every weight, against the rule that the bound prefers.
 *
 * The error of an order is sqrt(sum over layers |E X|^2 / |W X|^2), E = W_n - W; stages that remove
 * channels, and the codes that are stored, keep their places. The rule takes e_i, and as L_i the
 * mean over the other stages j of |C_i(C_j W) - C_i(W)| / |C_j W - W|, of all layers together. */
#include <math.h>
#include <string.h>

#include "planner/composition.h"

#define ORDERS_MAX 120

typedef struct orders {
    oxp_composition *c;
    const oxp_pipeline *pipeline;
    size_t order[ORDERS_MAX][OXP_PIPELINE_MAX];
    size_t order_count;
    double *errors;          /* [weight][order]: squared share */
    double *alone, *carried; /* [weight][stage]: |C_i W - W|^2 / |W|^2, L_i; NAN: not known */
} orders;

/* ---- all orders ---- */

static bool can_move(const oxp_technique *t)
{
    return t->fit && t->stage < OXP_STAGE_QUANTISE;
}

static bool is_allowed(const orders *o, const size_t *order)
{
    const oxp_pipeline *p = o->pipeline;
    for (size_t i = 0; i < p->count; i++)
        for (size_t k = i + 1; k < p->count; k++)
            if (oxp_pipeline_conflict(p->stages[order[i]].technique, p->stages[order[k]].technique))
                return false;
    return true;
}

/* The next order of its numbers in the sense of a dictionary; false after the last. */
static bool next_order(size_t *at, size_t n)
{
    size_t i = n;
    while (i >= 2 && at[i - 2] >= at[i - 1])
        i--;
    if (i < 2)
        return false;
    size_t k = n - 1, kept = at[i - 2];
    while (at[k] <= kept)
        k--;
    at[i - 2] = at[k];
    at[k] = kept;
    for (size_t a = i - 1, b = n - 1; a < b; a++, b--) {
        kept = at[a];
        at[a] = at[b];
        at[b] = kept;
    }
    return true;
}

static void list_orders(orders *o)
{
    size_t n = 0, places[OXP_PIPELINE_MAX], stages[OXP_PIPELINE_MAX];
    for (size_t i = 0; i < o->pipeline->count; i++)
        if (can_move(o->pipeline->stages[i].technique))
            places[n] = stages[n] = i, n++;
    do {
        size_t *order = o->order[o->order_count];
        for (size_t i = 0; i < o->pipeline->count; i++)
            order[i] = i;
        for (size_t i = 0; i < n; i++)
            order[places[i]] = stages[i];
        o->order_count += is_allowed(o, order);
    } while (next_order(stages, n));
}

/* ---- one weight ---- */

typedef struct bench {
    const orders *o;
    const oxp_fit_input *in;
    oxp_seminorm norm;
    size_t count;
} bench;

/* out = C(w); a stage without a fit (channels, codes of 8 bits) is the same behind every order and
 * changes nothing here. */
static oxp_status stage_of(float *out, const bench *b, const float *w, size_t stage)
{
    const oxp_pipeline_stage *s = &b->o->pipeline->stages[stage];
    if (!s->technique->fit) {
        memmove(out, w, b->count * sizeof *out);
        return OXP_OK;
    }
    oxp_arena arena;
    oxp_choice choice = {.technique = s->technique, .params = s->params, .limit = 127};
    oxp_fit_input in = *b->in;
    oxp_fitted fitted = {0};
    in.choice = &choice;
    in.w = w;
    oxp_arena_init(&arena, in.ctx);
    oxp_status status = s->technique->fit(&fitted, &arena, &in);
    if (status == OXP_OK)
        memcpy(out, fitted.weight, b->count * sizeof *out);
    oxp_arena_free(&arena);
    return status;
}

static double share(const bench *b, const float *w)
{
    double size = oxp_seminorm_distance(&b->norm, b->in->w, NULL, b->in->rows);
    double error = oxp_seminorm_distance(&b->norm, w, b->in->w, b->in->rows);
    return size > 0 ? error / size : 0;
}

static oxp_status try_orders(const bench *b, double *errors, float *room)
{
    for (size_t i = 0; i < b->o->order_count; i++) {
        memcpy(room, b->in->w, b->count * sizeof *room);
        for (size_t k = 0; k < b->o->pipeline->count; k++)
            OXP_TRY(stage_of(room, b, room, b->o->order[i][k]));
        double error = share(b, room);
        errors[i] = error * error;
    }
    return OXP_OK;
}

/* e_i and L_i of one stage. */
static oxp_status try_alone(const bench *b, size_t stage, double *alone, double *carried,
                            float *room)
{
    const oxp_pipeline *p = b->o->pipeline;
    float *first = room, *other = room + b->count, *both = room + 2 * b->count;
    double sum = 0;
    size_t known = 0;
    OXP_TRY(stage_of(first, b, b->in->w, stage));
    *alone = share(b, first);
    for (size_t j = 0; j < p->count; j++) {
        if (j == stage || !p->stages[j].technique->fit)
            continue;
        OXP_TRY(stage_of(other, b, b->in->w, j));
        OXP_TRY(stage_of(both, b, other, stage));
        double in = oxp_seminorm_distance(&b->norm, other, b->in->w, b->in->rows);
        if (in > 0) {
            sum += oxp_seminorm_distance(&b->norm, both, first, b->in->rows) / in;
            known++;
        }
    }
    *carried = known ? sum / (double)known : NAN;
    return OXP_OK;
}

static oxp_status try_weight(void *user, const oxp_fit_input *in)
{
    const orders *o = user;
    const oxp_moments *m = in->moments;
    size_t at = in->site->index;
    bench b = {o,
               in,
               {m ? m->h : NULL, m ? m->groups : 1, in->columns, m ? m->block : in->columns},
               in->rows * in->columns};
    float *room;
    OXP_TRY(oxp_alloc_raw(&room, in->ctx, 3 * b.count, sizeof *room, "a weight in several orders"));
    oxp_status status = try_orders(&b, &o->errors[at * o->order_count], room);
    for (size_t i = 0; i < o->pipeline->count && status == OXP_OK; i++)
        if (can_move(o->pipeline->stages[i].technique))
            status = try_alone(&b, i, &o->alone[at * OXP_PIPELINE_MAX + i],
                               &o->carried[at * OXP_PIPELINE_MAX + i], room);
    oxp_free(room);
    return status;
}

/* ---- all weights together ---- */

static double sum_of(const orders *o, size_t order)
{
    double sum = 0;
    for (size_t i = 0; i < o->c->count; i++)
        sum += o->errors[i * o->order_count + order];
    return sqrt(sum);
}

static double mean_of(const double *values, size_t weights, size_t stage)
{
    double sum = 0;
    size_t known = 0;
    for (size_t i = 0; i < weights; i++)
        if (isfinite(values[i * OXP_PIPELINE_MAX + stage])) {
            sum += values[i * OXP_PIPELINE_MAX + stage];
            known++;
        }
    return known ? sum / (double)known : 1;
}

/* The movable stages by the rule, the others where they were. */
static void follow_rule(orders *o)
{
    size_t places[OXP_PIPELINE_MAX], order[OXP_PIPELINE_MAX], n = 0;
    double e[OXP_PIPELINE_MAX], l[OXP_PIPELINE_MAX];
    for (size_t i = 0; i < o->pipeline->count; i++) {
        o->c->rule[i] = i;
        if (!can_move(o->pipeline->stages[i].technique))
            continue;
        e[n] = mean_of(o->alone, o->c->count, i);
        l[n] = mean_of(o->carried, o->c->count, i);
        places[n++] = i;
    }
    oxp_chain_order(order, e, l, n);
    for (size_t i = 0; i < n; i++)
        o->c->rule[places[i]] = places[order[i]];
}

static void judge(orders *o)
{
    size_t best = 0, bytes = o->pipeline->count * sizeof(size_t);
    for (size_t i = 1; i < o->order_count; i++)
        if (sum_of(o, i) < sum_of(o, best))
            best = i;
    memcpy(o->c->best, o->order[best], bytes);
    o->c->best_error = sum_of(o, best);
    o->c->rule_error = NAN;
    follow_rule(o);
    for (size_t i = 0; i < o->order_count; i++)
        if (memcmp(o->order[i], o->c->rule, bytes) == 0)
            o->c->rule_error = sum_of(o, i);
    o->c->is_measured = true;
}

oxp_status oxp_composition_orders(oxp_composition *c, const oxp_pipeline *p, const bool *selected,
                                  const oxp_fit_options *options)
{
    oxp_arena arena;
    oxp_arena_init(&arena, c->ctx);
    orders *o = oxp_arena_alloc(&arena, 1, sizeof *o);
    oxp_status status = OXP_ELIMIT;
    if (!o)
        goto done;
    *o = (orders){.c = c, .pipeline = p};
    list_orders(o);
    o->errors = oxp_arena_alloc(&arena, (c->count + 1) * o->order_count, sizeof *o->errors);
    o->alone = oxp_arena_alloc(&arena, (c->count + 1) * OXP_PIPELINE_MAX, sizeof *o->alone);
    o->carried = oxp_arena_alloc(&arena, (c->count + 1) * OXP_PIPELINE_MAX, sizeof *o->carried);
    if (!o->errors || !o->alone || !o->carried)
        goto done;
    for (size_t i = 0; i < c->count * OXP_PIPELINE_MAX; i++)
        o->alone[i] = o->carried[i] = NAN;
    oxp_fit_options seen = *options;
    seen.graph = c->graph;
    seen.sites = c->sites;
    seen.site_count = c->count;
    status = oxp_matrices_visit(&seen, selected, try_weight, o);
    if (status == OXP_OK)
        judge(o);
done:
    oxp_arena_free(&arena);
    return status;
}
