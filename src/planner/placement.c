/* placement.c - the rules of placement. */
#include "planner/placement.h"

#include <string.h>

#define LEAST_PRODUCT 16384   /* weights of a matrix product below which it gains nothing */
#define LEAST_RECURRENT 65536 /* recurrence weights of an LSTM: 128 hidden units */

static const char small_product[] = "integers would gain nothing: small matrix product";
static const char unknown_sizes[] = "without samples nothing is known of its size";

static const char small_lstm[] = "integers would gain nothing: small LSTM";

static bool pays(const oxp_site *s, const oxp_placement_options *o, const char **why_not)
{
    for (size_t i = 0; i < s->consumer_count; i++) {
        const oxp_graph_node *n = s->consumers[i].node;
        bool conv = strcmp(n->type, "Conv") == 0, lstm = strcmp(n->type, "LSTM") == 0;
        *why_not = conv ? unknown_sizes : lstm ? small_lstm : small_product;
        if (conv   ? !o->by_regions
            : lstm ? oxp_graph_node_constant(n, 2)->constant.count < LEAST_RECURRENT
                   : s->value->constant.count < LEAST_PRODUCT)
            return false;
    }
    return true;
}

/* The integer form of a site under a precision, or NULL with the reason. */
static const oxp_technique *integer_form(const oxp_site *s, const oxp_placement_options *o,
                                         const char **why_not)
{
    const oxp_technique *best = NULL;
    const char *why = NULL, *static_why = NULL;
    *why_not = NULL;
    if (o->precision == OXP_PRECISION_W8 || o->precision == OXP_PRECISION_W4 || o->stored_only)
        return NULL;
    if (o->precision == OXP_PRECISION_W8A8 && oxp_technique_w8a8.applies(s, &static_why))
        best = &oxp_technique_w8a8; /* a product may turn dynamic once both errors are known */
    else if (oxp_technique_dynamic.applies(s, &why))
        best = &oxp_technique_dynamic;
    *why_not = static_why ? static_why : why;
    if (!best || o->everywhere)
        return best;
    return pays(s, o, why_not) ? best : NULL;
}

static void place_half(oxp_choice *c, const oxp_site *s)
{
    const char *why = NULL;
    if (oxp_technique_fp16.applies(s, &why))
        c->technique = &oxp_technique_fp16;
    else
        c->reason = why;
}

/* What a pipeline ends with; codes where it has no form, float where it only changes numbers. */
static void place_technique(oxp_choice *c, const oxp_site *s, const oxp_placement_options *o)
{
    const char *why = NULL, *stored_why = NULL;
    if (!o->technique) {
        c->reason = "the pipeline leaves it float";
    } else if (o->technique->applies(s, &why)) {
        c->technique = o->technique;
    } else {
        c->reason = why;
        if (o->technique->stage >= OXP_STAGE_QUANTISE && oxp_technique_w8.applies(s, &stored_why))
            c->technique = &oxp_technique_w8;
    }
}

static void place_one(oxp_choice *c, const oxp_site *s, const oxp_placement_options *o)
{
    const char *integer_why = NULL, *stored_why = NULL;
    if (o->precision == OXP_PRECISION_TECHNIQUE) {
        place_technique(c, s, o);
        return;
    }
    if (o->precision == OXP_PRECISION_FP16 || s->is_operand) {
        place_half(c, s);
        if (s->is_operand && c->technique)
            c->reason = "no weight of a layer: half precision keeps every element";
        return;
    }
    c->technique = integer_form(s, o, &integer_why);
    if (c->technique)
        return;
    if (o->precision == OXP_PRECISION_W4 && oxp_technique_w4.applies(s, &integer_why)) {
        c->technique = &oxp_technique_w4;
        return;
    }
    if (oxp_technique_w8.applies(s, &stored_why)) {
        c->technique = &oxp_technique_w8;
        c->reason = integer_why;
    } else {
        c->reason = stored_why;
    }
}

void oxp_place(oxp_choice *choices, const oxp_site *sites, size_t count, const bool *selected,
               const bool *is_forced, const oxp_technique *const *forced,
               const oxp_params *forced_params, const oxp_placement_options *options)
{
    for (size_t i = 0; i < count; i++) {
        oxp_choice *c = &choices[i];
        *c = (oxp_choice){.limit = 127};
        if (options->precision == OXP_PRECISION_W4) {
            c->limit = options->limit;
            c->block = options->block;
        }
        const char *why = NULL;
        if (is_forced[i] && (!forced[i] || forced[i]->applies(&sites[i], &why))) {
            c->technique = forced[i];
            c->reason = forced[i] ? NULL : "left float by --layer";
        } else if (is_forced[i]) {
            c->reason = why;
        } else if (!selected[i]) {
            c->reason = "not selected";
        } else {
            place_one(c, &sites[i], options);
        }
        if (c->technique && is_forced[i] && forced_params)
            c->params = forced_params[i];
        else if (c->technique && c->technique == options->technique)
            c->params = options->params;
        else if (c->technique)
            oxp_params_default(&c->params, c->technique->params);
    }
}

/* ---- saturation ---- */

typedef struct pair {
    int first;
    bool open, saturates;
} pair;

static void push(pair *p, int code, int most)
{
    if (!p->open) {
        p->first = code;
        p->open = true;
        return;
    }
    int up = (p->first > 0 ? p->first : 0) + (code > 0 ? code : 0);
    int down = (p->first < 0 ? p->first : 0) + (code < 0 ? code : 0);
    p->saturates |= most * up > 32767 || most * down < -32768;
    p->open = false;
}

/* The kernels walk a convolution's reduction position by position, channels innermost; a product's
 * along K. */
bool oxp_pair_sums_saturate(const oxp_site *site, const int8_t *codes, int activation_max)
{
    oxp_weight_layout l = site->layout;
    const oxp_tensor *w = &site->value->constant;
    bool conv = strcmp(site->consumers[0].node->type, "Conv") == 0;
    size_t in = conv ? (size_t)w->dims[1] : 1, positions = conv ? l.inner / (in ? in : 1) : 1;
    for (size_t b = 0; b < l.blocks; b++)
        for (size_t c = 0; c < l.channels; c++) {
            pair p = {0};
            for (size_t k = 0; conv && k < positions; k++)
                for (size_t i = 0; i < in; i++)
                    push(&p, codes[c * l.inner + i * positions + k], activation_max);
            for (size_t o = 0; !conv && o < l.outer; o++)
                for (size_t i = 0; i < l.inner; i++)
                    push(&p, codes[((b * l.outer + o) * l.channels + c) * l.inner + i],
                         activation_max);
            if (p.saturates)
                return true;
        }
    return false;
}
