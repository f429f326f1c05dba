/* composition.c - see composition.h; the search for the best order stands in composition_orders.c.
 */
#include "planner/composition.h"

#include <math.h>
#include <string.h>

#include "kernels/perturbation.h"

oxp_status oxp_composition_begin(oxp_composition *c, oxp_model *model)
{
    oxp_ctx *ctx = oxp_model_ctx(model);
    *c = (oxp_composition){.ctx = ctx};
    oxp_arena_init(&c->arena, ctx);
    oxp_map_init(&c->names, ctx);
    OXP_TRY(oxp_graph_build(&c->graph, &c->arena, model));
    OXP_TRY(oxp_sites_find(&c->sites, &c->count, &c->arena, c->graph));
    c->weights = oxp_arena_alloc(&c->arena, c->count + 1, sizeof *c->weights);
    if (!c->weights)
        return OXP_ELIMIT;
    for (size_t i = 0; i < c->count; i++) {
        c->weights[i] = (oxp_composed_weight){
            .site = &c->sites[i], .error = {NAN, NAN, NAN, NAN}, .error_h = {NAN, NAN, NAN, NAN}};
        OXP_TRY(oxp_map_put(&c->names, c->sites[i].value->name, i));
    }
    return OXP_OK;
}

void oxp_composition_free(oxp_composition *c)
{
    for (size_t i = 0; c->weights && i < c->count; i++) {
        oxp_composed_weight *w = &c->weights[i];
        oxp_free(w->original);
        oxp_free(w->left);
        oxp_free(w->right);
        for (size_t k = 0; k < OXP_PIPELINE_MAX; k++) {
            oxp_free(w->after[k]);
            oxp_free(w->alone[k]);
            oxp_free(w->frozen[k]);
        }
    }
    if (c->ctx) {
        oxp_map_free(&c->names);
        oxp_arena_free(&c->arena);
    }
}

static size_t size_of(const oxp_composed_weight *w)
{
    return oxp_site_rows(w->site) * oxp_site_columns(w->site);
}

/* A copy of `count` floats, or of nothing yet. */
static oxp_status keep(float **out, oxp_ctx *ctx, const float *from, size_t count)
{
    float *copy;
    OXP_TRY(oxp_alloc_raw(&copy, ctx, count + 1, sizeof *copy, "a weight before and after"));
    if (from)
        memcpy(copy, from, count * sizeof *copy);
    oxp_free(*out);
    *out = copy;
    return OXP_OK;
}

static oxp_status need_original(oxp_composed_weight *w, oxp_ctx *ctx)
{
    const float *numbers;
    float *owned;
    if (w->original)
        return OXP_OK;
    OXP_TRY(keep(&w->original, ctx, NULL, size_of(w)));
    OXP_TRY(oxp_site_numbers(&numbers, &owned, ctx, w->site));
    oxp_site_matrix(w->original, numbers, w->site);
    oxp_free(owned);
    return OXP_OK;
}

oxp_composed_weight *oxp_composition_find(const oxp_composition *c, const char *name, int *part)
{
    static const char *const ends[] = {"", ".left", ".right"};
    size_t length = strlen(name), whole = oxp_map_get(&c->names, name);
    *part = 0;
    if (whole != OXP_MAP_NONE)
        return &c->weights[whole];
    for (*part = 1; *part < 3; ++*part) {
        size_t cut = strlen(ends[*part]);
        if (length <= cut || strcmp(name + length - cut, ends[*part]) != 0)
            continue;
        for (size_t i = 0; i < c->count; i++) {
            const char *known = c->sites[i].value->name;
            if (c->weights[i].left && strlen(known) == length - cut &&
                memcmp(known, name, length - cut) == 0)
                return &c->weights[i];
        }
    }
    return NULL;
}

/* ---- stages ---- */

/* C(W_0), which is C(W_{i-1}) where no stage before has changed the weight. */
static oxp_status fit_alone(oxp_composed_weight *w, size_t stage, const oxp_fit_input *in,
                            const oxp_fitted *fitted)
{
    oxp_arena arena;
    oxp_fitted other = {0};
    bool is_first = true;
    for (size_t i = 0; i < stage; i++)
        is_first &= !w->changed[i];
    if (is_first)
        return keep(&w->alone[stage], in->ctx, fitted->weight, size_of(w));
    oxp_arena_init(&arena, in->ctx);
    oxp_status status = in->choice->technique->fit(&other, &arena, in);
    if (status == OXP_OK)
        status = keep(&w->alone[stage], in->ctx, other.weight, size_of(w));
    oxp_arena_free(&arena);
    return status;
}

static oxp_status note_alone(oxp_composed_weight *w, size_t stage, const oxp_fit_input *in,
                             const oxp_fitted *fitted)
{
    oxp_fit_input alone = *in;
    const oxp_technique *t = in->choice->technique;
    alone.w = w->original;
    OXP_TRY(fit_alone(w, stage, &alone, fitted));
    if (!t->project || in->moments)
        return OXP_OK;
    OXP_TRY(keep(&w->frozen[stage], in->ctx, NULL, size_of(w)));
    return t->project(w->frozen[stage], &alone, fitted);
}

static oxp_status note_factor(oxp_composed_weight *w, size_t stage, int part, oxp_ctx *ctx,
                              const float *matrix, size_t count)
{
    size_t expected = w->rank * (part == 1 ? oxp_site_rows(w->site) : oxp_site_columns(w->site));
    w->is_reshaped |= count != expected;
    w->changed[stage] = true;
    return w->is_reshaped ? OXP_OK : keep(part == 1 ? &w->left : &w->right, ctx, matrix, count);
}

static oxp_status note_whole(oxp_composed_weight *w, size_t stage, const oxp_fit_input *in,
                             const oxp_fitted *fitted)
{
    w->is_reshaped |= in->rows * in->columns != size_of(w);
    if (w->is_reshaped)
        return OXP_OK;
    w->changed[stage] = true;
    OXP_TRY(need_original(w, in->ctx));
    OXP_TRY(keep(&w->after[stage], in->ctx, fitted->weight, size_of(w)));
    if (fitted->left) {
        w->rank = fitted->rank;
        OXP_TRY(keep(&w->left, in->ctx, fitted->left, in->rows * w->rank));
        OXP_TRY(keep(&w->right, in->ctx, fitted->right, w->rank * in->columns));
    }
    return note_alone(w, stage, in, fitted);
}

oxp_status oxp_composition_also(void *user, const oxp_fit_input *in, const oxp_fitted *fitted)
{
    int part;
    oxp_composition *c = user;
    oxp_composed_weight *w = oxp_composition_find(c, in->site->value->name, &part);
    if (!w)
        return OXP_OK;
    return part ? note_factor(w, c->stages, part, in->ctx, fitted->weight, in->rows * in->columns)
                : note_whole(w, c->stages, in, fitted);
}

/* ---- forms without a fit: 8-bit codes, half precision ---- */

/* Codes anew for `w` in the site's layout; `scales` NULL: with scales of its own. */
static oxp_status coded(float *out, oxp_ctx *ctx, const oxp_site *s, const float *w, int limit,
                        const float *scales)
{
    int8_t *codes;
    float *own;
    size_t count = s->value->constant.count;
    OXP_TRY(oxp_alloc_raw(&codes, ctx, count, 1, "codes"));
    oxp_status status = oxp_alloc_raw(&own, ctx, oxp_site_scales(s), sizeof *own, "scales");
    if (status == OXP_OK) {
        if (scales)
            oxp_quantise_weight_with(codes, scales, w, s->layout, limit);
        else
            oxp_quantise_weight(codes, own, w, s->layout, limit);
        oxp_dequantise_weight(out, codes, scales ? scales : own, s->layout);
        oxp_free(own);
    }
    oxp_free(codes);
    return status;
}

typedef struct noted {
    const oxp_site *site;
    const oxp_choice *choice;
    const oxp_codes *codes;
} noted;

/* What the form decodes to, in the site's layout, into `out`. */
static oxp_status decode(float *out, oxp_ctx *ctx, const noted *n)
{
    const float *w;
    float *owned;
    if (n->choice->technique != &oxp_technique_fp16) {
        oxp_dequantise_weight(out, n->codes->codes, n->codes->scales, n->site->layout);
        return OXP_OK;
    }
    OXP_TRY(oxp_site_numbers(&w, &owned, ctx, n->site));
    oxp_half_round(out, w, n->site->value->constant.count);
    oxp_free(owned);
    return OXP_OK;
}

/* The same form of the original weight: `nearest` in its own set, or in that of the codes. */
static oxp_status decode_original(float *out, oxp_ctx *ctx, const noted *n, const float *original,
                                  bool frozen)
{
    if (n->choice->technique != &oxp_technique_fp16)
        return coded(out, ctx, n->site, original, n->choice->limit,
                     frozen ? n->codes->scales : NULL);
    oxp_half_round(out, original, n->site->value->constant.count);
    return OXP_OK;
}

static oxp_status note_form(oxp_composed_weight *w, size_t stage, oxp_ctx *ctx, const noted *n,
                            float *room)
{
    size_t count = size_of(w);
    float *original = room + count;
    OXP_TRY(need_original(w, ctx));
    OXP_TRY(decode(room, ctx, n));
    OXP_TRY(keep(&w->after[stage], ctx, NULL, count));
    oxp_site_matrix(w->after[stage], room, n->site);
    oxp_site_unmatrix(original, w->original, n->site);
    OXP_TRY(decode_original(room, ctx, n, original, false));
    OXP_TRY(keep(&w->alone[stage], ctx, NULL, count));
    oxp_site_matrix(w->alone[stage], room, n->site);
    if (n->codes && n->codes->is_rounded)
        return OXP_OK;
    OXP_TRY(decode_original(room, ctx, n, original, true));
    OXP_TRY(keep(&w->frozen[stage], ctx, NULL, count));
    oxp_site_matrix(w->frozen[stage], room, n->site);
    return OXP_OK;
}

static oxp_status note_form_factor(oxp_composed_weight *w, size_t stage, int part, oxp_ctx *ctx,
                                   const noted *n, float *room)
{
    size_t count = n->site->value->constant.count;
    OXP_TRY(decode(room, ctx, n));
    oxp_site_matrix(room + count, room, n->site);
    return note_factor(w, stage, part, ctx, room + count, count);
}

oxp_status oxp_composition_note(oxp_composition *c, const oxp_site *s, const oxp_choice *choice,
                                const oxp_codes *codes)
{
    int part;
    oxp_composed_weight *w = oxp_composition_find(c, s->value->name, &part);
    size_t count = s->value->constant.count;
    if (!w || !choice->technique || choice->technique->fit)
        return OXP_OK;
    if (choice->technique != &oxp_technique_fp16 && !codes->codes)
        return OXP_OK;
    w->is_reshaped |= part == 0 && count != size_of(w);
    if (w->is_reshaped)
        return OXP_OK;
    w->changed[c->stages] = true;
    noted n = {s, choice, codes};
    float *room;
    OXP_TRY(oxp_alloc_raw(&room, c->ctx, 2 * count + 1, sizeof *room, "a weight as it is stored"));
    oxp_status status = part ? note_form_factor(w, c->stages, part, c->ctx, &n, room)
                             : note_form(w, c->stages, c->ctx, &n, room);
    oxp_free(room);
    return status;
}

/* ---- stages that rewrite the model ---- */

static oxp_status note_rewritten(oxp_composition *c, const oxp_site *s)
{
    int part;
    oxp_composed_weight *w = oxp_composition_find(c, s->value->name, &part);
    const float *numbers;
    float *owned;
    if (!w || part)
        return OXP_OK;
    w->is_reshaped |= s->value->constant.count != size_of(w);
    if (w->is_reshaped)
        return OXP_OK;
    OXP_TRY(need_original(w, c->ctx));
    OXP_TRY(keep(&w->after[c->stages], c->ctx, NULL, size_of(w)));
    OXP_TRY(oxp_site_numbers(&numbers, &owned, c->ctx, s));
    oxp_site_matrix(w->after[c->stages], numbers, s);
    oxp_free(owned);
    w->changed[c->stages] = true;
    return keep(&w->alone[c->stages], c->ctx, w->after[c->stages], size_of(w));
}

oxp_status oxp_composition_rewritten(oxp_composition *c, oxp_model *model)
{
    oxp_arena arena;
    oxp_graph *graph;
    oxp_site *sites;
    size_t count = 0;
    oxp_arena_init(&arena, c->ctx);
    oxp_status status = oxp_graph_build(&graph, &arena, model);
    if (status == OXP_OK)
        status = oxp_sites_find(&sites, &count, &arena, graph);
    for (size_t i = 0; i < count && status == OXP_OK; i++)
        status = note_rewritten(c, &sites[i]);
    oxp_arena_free(&arena);
    return status;
}

/* ---- the end of a stage ---- */

static void multiply(float *out, const oxp_composed_weight *w)
{
    size_t rows = oxp_site_rows(w->site), columns = oxp_site_columns(w->site);
    for (size_t r = 0; r < rows; r++) {
        for (size_t k = 0; k < columns; k++)
            out[r * columns + k] = 0;
        for (size_t i = 0; i < w->rank; i++)
            for (size_t k = 0; k < columns; k++)
                out[r * columns + k] += w->left[r * w->rank + i] * w->right[i * columns + k];
    }
}

/* What a stage makes of a whole weight, without data. */
static oxp_status apply_alone(float *out, oxp_ctx *ctx, const oxp_composed_weight *w,
                              const oxp_pipeline_stage *stage)
{
    oxp_choice choice = {.technique = stage->technique, .params = stage->params, .limit = 127};
    oxp_fit_input in = {
        ctx, w->site, &choice, w->original, oxp_site_rows(w->site), oxp_site_columns(w->site),
        NULL};
    oxp_fitted fitted = {0};
    oxp_arena arena;
    if (stage->technique == &oxp_technique_fp16) {
        oxp_half_round(out, w->original, size_of(w));
        return OXP_OK;
    }
    if (!stage->technique->fit) {
        oxp_site rows = *w->site;
        rows.layout = (oxp_weight_layout){1, 1, in.rows, in.columns};
        return coded(out, ctx, &rows, w->original, choice.limit, NULL);
    }
    oxp_arena_init(&arena, ctx);
    oxp_status status = stage->technique->fit(&fitted, &arena, &in);
    if (status == OXP_OK)
        memcpy(out, fitted.weight, size_of(w) * sizeof *out);
    oxp_arena_free(&arena);
    return status;
}

/* A stage that changed the factors: the weight is their product, and what the stage would have made
 * of the original weight is made of it as a whole. */
static oxp_status end_factored(oxp_composed_weight *w, size_t at, oxp_ctx *ctx,
                               const oxp_pipeline_stage *stage)
{
    OXP_TRY(keep(&w->after[at], ctx, NULL, size_of(w)));
    multiply(w->after[at], w);
    OXP_TRY(keep(&w->alone[at], ctx, NULL, size_of(w)));
    return apply_alone(w->alone[at], ctx, w, stage);
}

oxp_status oxp_composition_end_stage(oxp_composition *c, const oxp_pipeline_stage *stage)
{
    for (size_t i = 0; i < c->count; i++) {
        oxp_composed_weight *w = &c->weights[i];
        if (w->changed[c->stages] && !w->after[c->stages] && !w->is_reshaped)
            OXP_TRY(end_factored(w, c->stages, c->ctx, stage));
    }
    c->stages++;
    return OXP_OK;
}

/* ---- errors ---- */

static oxp_status measure_one(void *user, const oxp_fit_input *in)
{
    const oxp_composition *c = user;
    oxp_composed_weight *w = &c->weights[in->site->index];
    const float *after[OXP_PIPELINE_MAX], *alone[OXP_PIPELINE_MAX], *frozen[OXP_PIPELINE_MAX];
    const float *before = w->original;
    for (size_t i = 0; i < c->stages; before = after[i++]) {
        after[i] = w->changed[i] ? w->after[i] : before;
        alone[i] = w->changed[i] ? w->alone[i] : w->original;
        frozen[i] = w->changed[i] ? w->frozen[i] : w->original;
    }
    oxp_chain chain = {w->original, after, alone, frozen, NULL, c->stages, in->rows};
    oxp_seminorm plain = {NULL, 1, in->columns, in->columns};
    w->error = oxp_chain_measure(&chain, &plain);
    if (in->moments) {
        const oxp_moments *m = in->moments;
        oxp_seminorm read = {m->h, m->groups, m->columns, m->block};
        w->error_h = oxp_chain_measure(&chain, &read);
    }
    return OXP_OK;
}

oxp_status oxp_composition_measure(oxp_composition *c, const oxp_fit_options *options)
{
    oxp_fit_options o = {.graph = c->graph,
                         .sites = c->sites,
                         .site_count = c->count,
                         .source = options->source,
                         .which = options->which,
                         .samples = options->samples};
    bool *wanted = oxp_arena_alloc(&c->arena, c->count + 1, sizeof *wanted);
    if (!wanted)
        return OXP_ELIMIT;
    for (size_t i = 0; i < c->count; i++)
        wanted[i] = c->weights[i].original && !c->weights[i].is_reshaped;
    return oxp_matrices_visit(&o, wanted, measure_one, c);
}
