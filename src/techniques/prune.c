/* prune.c - weights set to zero where the layer's output loses least, the others solved for again
 * (kernels/prune.h), written in the smallest form that holds zeros (sparse_form.h).
 *
 * A share of each weight, or at most N of each M input channels at every tap, along the reduction.
 * All of it is computed at the speed and in the memory of float: ONNX Runtime has no sparse
 * kernels. Without data it is the smallest that go, and nothing is solved for. */
#include <string.h>

#include "kernels/prune.h"
#include "techniques/damped.h"
#include "techniques/fit.h"
#include "techniques/sparse_form.h"

#define LEAST_ELEMENTS 512 /* below, the nodes are larger than what zeros save */
#define RIDGE 0.01         /* a share of the mean of H's diagonal; 0.1 and 0.001 are no better */

extern const oxp_technique oxp_technique_prune;

enum { SPARSITY, PATTERN, METHOD, RESOLVE };
enum { MAGNITUDE, WANDA, OBS };

static const oxp_param params[] = {
    {"sparsity", OXP_PARAM_REAL, 0, 1, NULL, 0.5, "share of each weight that becomes zero"},
    {"pattern", OXP_PARAM_PAIR, 0, OXP_PRUNE_GROUP_MAX, "none", -1,
     "N:M, in place of sparsity: of M input channels at most N stay"},
    {"method", OXP_PARAM_WORD, 0, 0, "magnitude|wanda|obs", OBS,
     "what is zero: the smallest, with what is read, or what others can take up"},
    {"resolve", OXP_PARAM_WORD, 0, 0, "no|yes", 1,
     "least squares for the layer's output on what stays"},
    {NULL, OXP_PARAM_COUNT, 0, 0, NULL, 0, NULL},
};

static oxp_prune_rule rule_of(const oxp_site *s, const oxp_choice *c)
{
    oxp_prune_rule rule = {.sparsity = c->params.values[SPARSITY], .unit = 1};
    size_t groups, columns, unit;
    if (oxp_site_is_seen(s, &groups, &columns, &unit))
        rule.unit = unit;
    if (c->params.values[PATTERN] > 0)
        rule.keep = oxp_params_pair(c->params.values[PATTERN], &rule.of);
    return rule;
}

static bool applies(const oxp_site *s, const char **why_not)
{
    size_t groups, columns, unit;
    bool is_seen = oxp_site_is_seen(s, &groups, &columns, &unit);
    *why_not = s->is_table           ? "a table is not folded at load"
               : s->is_operand       ? "no layer multiplies with it"
               : oxp_site_is_half(s) ? "the weight is in half precision"
               : is_seen && groups > 1 && columns == unit
                   ? "each channel has a filter of its own: no other can take up what it loses"
               : s->value->constant.count < LEAST_ELEMENTS
                   ? "too small: the nodes that place its numbers would be larger than its zeros"
                   : NULL;
    return *why_not == NULL;
}

/* ---- the fit ---- */

static oxp_status choose(uint8_t *kept, float *out, oxp_ctx *ctx, const oxp_prune_layer *l,
                         const oxp_prune_rule *rule, int method)
{
    if (method == OBS)
        return oxp_prune_obs(kept, out, ctx, l, rule);
    OXP_TRY(method == WANDA ? oxp_prune_wanda(kept, ctx, l, rule)
                            : oxp_prune_magnitude(kept, ctx, l, rule));
    for (size_t i = 0; i < l->rows * l->columns; i++)
        out[i] = kept[i] ? l->w[i] : 0;
    return OXP_OK;
}

/* By what the layer reads: each group of a Conv has moments of its own. */
static oxp_status fit_groups(float *out, uint8_t *kept, const oxp_fit_input *in,
                             const oxp_moment_block *blocks, int method)
{
    const double *values = in->choice->params.values;
    oxp_prune_rule rule = rule_of(in->site, in->choice);
    size_t groups = in->moments->groups, rows = in->rows / groups;
    for (size_t g = 0; g < groups; g++) {
        size_t first = g * rows * in->columns, count = oxp_moments_blocks(in->moments);
        oxp_prune_layer l = {in->w + first, rows, in->columns, blocks + g * count, count};
        if (method != MAGNITUDE)
            OXP_TRY(choose(kept + first, out + first, in->ctx, &l, &rule, method));
        if (values[RESOLVE] > 0)
            OXP_TRY(oxp_prune_resolve(out + first, in->ctx, &l, kept + first));
    }
    return OXP_OK;
}

static oxp_status fit_with(float *out, oxp_arena *scratch, const oxp_fit_input *in)
{
    int method = in->moments ? (int)in->choice->params.values[METHOD] : MAGNITUDE;
    uint8_t *kept = oxp_arena_alloc(scratch, in->rows * in->columns, 1);
    oxp_moment_block *blocks = NULL;
    if (!kept)
        return OXP_ELIMIT;
    if (method == MAGNITUDE) { /* over all groups */
        oxp_prune_rule rule = rule_of(in->site, in->choice);
        oxp_prune_layer l = {.w = in->w, .rows = in->rows, .columns = in->columns};
        OXP_TRY(choose(kept, out, in->ctx, &l, &rule, MAGNITUDE));
    }
    if (!in->moments)
        return OXP_OK;
    OXP_TRY(oxp_damped_blocks(&blocks, scratch, in->moments, RIDGE));
    return fit_groups(out, kept, in, blocks, method);
}

static oxp_status fit(oxp_fitted *out, oxp_arena *arena, const oxp_fit_input *in)
{
    oxp_arena scratch;
    out->weight = oxp_arena_alloc(arena, in->rows * in->columns, sizeof *out->weight);
    if (!out->weight)
        return OXP_ELIMIT;
    oxp_arena_init(&scratch, in->ctx);
    oxp_status status = fit_with(out->weight, &scratch, in);
    oxp_arena_free(&scratch);
    return status;
}

/* The nearest weight with as many zeros, or of the pattern: without data it is what fit() makes. */
static oxp_status project(float *out, const oxp_fit_input *in, const oxp_fitted *f)
{
    (void)f;
    oxp_arena scratch;
    oxp_fit_input plain = *in;
    plain.moments = NULL;
    oxp_arena_init(&scratch, in->ctx);
    oxp_status status = fit_with(out, &scratch, &plain);
    oxp_arena_free(&scratch);
    return status;
}

/* ---- the form ---- */

static oxp_status store(oxp_edit *e, const oxp_site *s)
{
    const oxp_tensor *t = &s->value->constant;
    const oxp_choice *choice = &e->choices[s->index];
    const char *name = s->value->name;
    float *weight = oxp_arena_alloc(&e->arena, t->count, sizeof *weight);
    oxp_expression x = {.e = e, .graph = s->graph};
    if (!weight)
        return OXP_ELIMIT;
    oxp_site_unmatrix(weight, choice->fitted->weight, s);
    oxp_sparse_form form = {OXP_SPARSE_DENSE, 0, t->count};
    if (!choice->is_intermediate)
        form = oxp_sparse_form_of(OXP_FLOAT, weight, t->count);
    OXP_TRY(oxp_edit_take_place(&x.at, e, s));
    return oxp_sparse_form_write(&name, &x, &form, OXP_FLOAT, t->rank, t->dims, weight);
}

static oxp_status apply(oxp_edit *e)
{
    for (size_t i = 0; i < e->site_count; i++)
        if (e->choices[i].technique == &oxp_technique_prune)
            OXP_TRY(store(e, &e->sites[i]));
    return OXP_OK;
}

static size_t bytes(const oxp_site *s, const oxp_choice *c)
{
    oxp_prune_rule rule = rule_of(s, c);
    size_t count = s->value->constant.count;
    double zeros = rule.of ? 1 - (double)rule.keep / (double)rule.of : rule.sparsity;
    return oxp_sparse_bytes(OXP_FLOAT, count, (size_t)((1 - zeros) * (double)count));
}

const oxp_technique oxp_technique_prune = {
    .name = "prune",
    .summary = "weights set to zero, the others solved for again; stored small, float speed",
    .params = params,
    .stage = OXP_STAGE_PRUNE,
    .level = OXP_LEVEL_BYTE,
    .opset = OXP_SPARSE_OPSET,
    .applies = applies,
    .fit = fit,
    .project = project,
    .apply = apply,
    .bytes = bytes,
};
