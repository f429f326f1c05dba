/* bias_correction.c - see bias_correction.h. Runs before the techniques, which then find the
 * corrected biases as if the model had come with them. */
#include "techniques/bias_correction.h"

#include <string.h>

static bool is_type(const oxp_graph_node *n, const char *type)
{
    return n->domain[0] == '\0' && strcmp(n->type, type) == 0;
}

/* The Add behind a product that nothing else reads. */
static const oxp_graph_node *add_behind(const oxp_graph_node *product, size_t *bias_input)
{
    const oxp_value *out = &product->graph->values[product->outputs[0]];
    if (out->is_output || out->use_count != 1 || out->uses[0].input > 1 ||
        !is_type(out->uses[0].node, "Add"))
        return NULL;
    *bias_input = 1 - out->uses[0].input;
    return out->uses[0].node;
}

static bool is_unscaled(const oxp_graph_node *gemm)
{
    const oxp_attribute *beta = oxp_graph_node_attribute(gemm, "beta");
    return !beta || beta->f == 1.0f;
}

bool oxp_bias_find(oxp_bias *out, const oxp_site *s, const oxp_consumer *c)
{
    const oxp_graph_node *n = c->node;
    *out = (oxp_bias){n, 2, NULL};
    if (c->input != 1 || s->layout.blocks != 1)
        return false;
    if (is_type(n, "MatMul")) {
        out->node = add_behind(n, &out->input);
        if (!out->node)
            return false;
    } else if (!is_type(n, "Conv") && !(is_type(n, "Gemm") && is_unscaled(n))) {
        return false;
    }
    bool present =
        out->input < out->node->input_count && out->node->inputs[out->input] != OXP_NO_VALUE;
    if (!present)
        return out->node == n;
    out->value = oxp_graph_node_constant(out->node, out->input);
    return out->value && !out->value->is_overridable && out->value->constant.dtype == OXP_FLOAT &&
           out->value->constant.rank == 1 && out->value->constant.count == s->layout.channels;
}

/* A new bias may cost this share of what the codes do. */
#define NEW_BIAS_SHARE 16

bool oxp_bias_takes_shift(const oxp_site *s, bool at_any_cost)
{
    oxp_bias bias;
    size_t cost = s->layout.channels * sizeof(float) * s->consumer_count;
    for (size_t k = 0; k < s->consumer_count; k++)
        if (!oxp_bias_find(&bias, s, &s->consumers[k]) ||
            (!bias.value && !at_any_cost && cost * NEW_BIAS_SHARE > s->value->constant.count))
            return false;
    return s->other_uses == 0;
}

/* ---- editing ---- */

static const float *shift_of(const oxp_edit *e, size_t site)
{
    return oxp_codes_shift(oxp_edit_codes(e, &e->sites[site]), oxp_choice_level(&e->choices[site]));
}

static oxp_status shift_bias(oxp_edit *e, const oxp_bias *b, const float *shift, size_t channels)
{
    float *sum = oxp_arena_alloc(&e->arena, channels, sizeof *sum);
    if (!sum)
        return OXP_ELIMIT;
    const float *old = b->value ? b->value->constant.data : NULL;
    for (size_t c = 0; c < channels; c++)
        sum[c] = (old ? old[c] : 0) + shift[c];
    int64_t dims[1] = {(int64_t)channels};
    if (b->value && b->value->proto && b->value->use_count == 1 && !b->value->is_output &&
        b->value == &b->node->graph->values[b->node->inputs[b->input]])
        return oxp_edit_set_tensor(e->model, b->value->proto, OXP_FLOAT, 1, dims, sum);
    const char *name;
    OXP_TRY(oxp_edit_constant(&name, e, b->node->graph, "b", OXP_FLOAT, 1, dims, sum));
    OXP_TRY(oxp_edit_set_input(e->model, b->node->proto, b->input, name));
    if (!b->value)
        return OXP_OK;
    const oxp_value *local = &b->node->graph->values[b->node->inputs[b->input]];
    return oxp_edit_drop_constant(
        e, local->kind == OXP_VALUE_OUTER ? local->outer_graph : b->node->graph, b->value);
}

oxp_status oxp_bias_correct(oxp_edit *e, bool *changed)
{
    *changed = false;
    for (size_t i = 0; i < e->site_count; i++) {
        const oxp_site *s = &e->sites[i];
        const float *shift = shift_of(e, i);
        for (size_t k = 0; shift && k < s->consumer_count; k++) {
            oxp_bias bias;
            if (!oxp_bias_find(&bias, s, &s->consumers[k]))
                return oxp_fail(e->ctx, OXP_EINTERNAL, "E-INTERNAL",
                                "no bias to correct behind weight \"%.100s\"", s->value->name);
            OXP_TRY(shift_bias(e, &bias, shift, s->layout.channels));
            *changed = true;
        }
    }
    return OXP_OK;
}
