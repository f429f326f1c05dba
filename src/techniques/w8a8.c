/* w8a8.c - integers in and out with scales fixed by calibration, as pairs of QuantizeLinear and
 * DequantizeLinear.
 *
 * u8 activations, s8 symmetric weights with a scale per output channel, int32 bias of scale
 * x_scale * w_scale[c], zero points written. ONNX Runtime fuses Conv with the pairs around it
 * into QLinearConv, Gemm and MatMul with the pairs in front of them into QGemm and
 * MatMulIntegerToFloat (their output stays float). A bias that would overflow int32 raises its
 * channel's weight scale. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "calibration/given.h"
#include "techniques/hard_swish_blocks.h"
#include "techniques/islands.h"
#include "techniques/technique.h"

static bool is_type(const oxp_graph_node *n, const char *type)
{
    return n->domain[0] == '\0' && strcmp(n->type, type) == 0;
}

static bool can_be_integer(const oxp_consumer *c, const char **why_not)
{
    const oxp_graph_node *n = c->node;
    *why_not = "no static integer form for this operator";
    if (c->input != 1 || (!is_type(n, "Conv") && !is_type(n, "Gemm") && !is_type(n, "MatMul")))
        return false;
    if (!is_type(n, "Gemm"))
        return true;
    const oxp_attribute *alpha = oxp_graph_node_attribute(n, "alpha"),
                        *beta = oxp_graph_node_attribute(n, "beta");
    if ((alpha && alpha->f != 1.0f) || (beta && beta->f != 1.0f) ||
        oxp_graph_node_int(n, "transA", 0)) {
        *why_not = "Gemm with alpha, beta or transA has no integer form";
        return false;
    }
    if (n->input_count > 2 && n->inputs[2] != OXP_NO_VALUE) {
        const oxp_value *bias = oxp_graph_node_constant(n, 2);
        if (!bias || bias->constant.rank != 1) {
            *why_not = "Gemm with a bias that is no constant vector has no integer form";
            return false;
        }
    }
    return true;
}

/* ONNX Runtime moves DequantizeLinear through Transpose and the like, and ends the process where
 * such a value is then read from inside a body (seen up to 1.32). */
static bool has_captured_values(const oxp_graph *g)
{
    for (size_t v = 0; v < g->value_count; v++)
        for (size_t u = 0; u < g->values[v].use_count; u++)
            if (g->values[v].kind == OXP_VALUE_NODE && g->values[v].uses[u].input == UINT32_MAX)
                return true;
    return false;
}

/* Beside what the model quantises itself: one scale, u8 codes. With s8 ones ONNX Runtime leaves
 * float convolutions between the pairs on x86 (seen up to 1.32). */
static bool fits_given(const oxp_graph_node *n, const char **why_not)
{
    uint32_t result = oxp_fused_output(n);
    oxp_given in = {.dtype = OXP_UINT8}, out = {.dtype = OXP_UINT8};
    *why_not = "what it reads is quantised in a way that it cannot take";
    if (oxp_is_dequantised(n->graph, n->inputs[0]) &&
        (!oxp_given_input(&in, n->graph, n->inputs[0]) || in.dtype != OXP_UINT8))
        return false;
    *why_not = "what it makes is quantised in a way that it cannot make";
    return !oxp_is_quantised(n->graph, result) ||
           (oxp_given_output(&out, n->graph, result) && out.dtype == OXP_UINT8);
}

static bool applies(const oxp_site *s, const char **why_not)
{
    if (oxp_site_is_half(s)) {
        *why_not = "no integer form for a layer in half precision";
        return false;
    }
    for (size_t i = 0; i < s->consumer_count; i++) {
        if (!can_be_integer(&s->consumers[i], why_not) ||
            !fits_given(s->consumers[i].node, why_not))
            return false;
        if (has_captured_values(s->consumers[i].node->graph)) {
            *why_not = "the bodies of If or Loop read values of this graph: ONNX Runtime cannot "
                       "fuse there";
            return false;
        }
    }
    if (is_type(s->consumers[0].node, "MatMul") && s->value->constant.rank != 2) {
        *why_not = "no static integer form for a weight of rank above 2";
        return false;
    }
    if (s->other_uses) {
        *why_not = "also read as something else than a weight";
        return false;
    }
    return true;
}

/* ---- activations ---- */

typedef struct names {                     /* of a quantised value */
    const char *scale, *zero_point, *real; /* real: what an integer node reads */
} names;

typedef struct worker {
    oxp_edit *e;
    oxp_islands islands;
    names *made; /* by position in islands.values */
} worker;

static oxp_status parameters(worker *w, const oxp_graph *g, const oxp_quantised *q, names *n)
{
    oxp_edit *e = w->e;
    const oxp_range *r =
        oxp_ranges_find(e->ranges, w->islands.graphs[q->scale_graph], q->scale_value);
    if (!r)
        return oxp_fail(e->ctx, OXP_EINTERNAL, "E-INTERNAL", "no scale for value \"%.100s\"",
                        g->values[q->value].name);
    char key[64];
    snprintf(key, sizeof key, "scale/%zu/%u", q->scale_graph, q->scale_value);
    OXP_TRY(oxp_edit_shared(&n->scale, e, g, key, OXP_FLOAT, 0, NULL, &r->scale.scale));
    uint8_t zero = (uint8_t)r->scale.zero_point;
    snprintf(key, sizeof key, "zero/u8/%d", r->scale.zero_point);
    return oxp_edit_shared(&n->zero_point, e, g, key, OXP_UINT8, 0, NULL, &zero);
}

static oxp_status pair(worker *w, const oxp_graph *g, size_t at, const char *from, const names *n,
                       const char **to)
{
    const char *codes = NULL, *inputs[3] = {from, n->scale, n->zero_point};
    oxp_node_proto *node;
    OXP_TRY(oxp_edit_node(&node, w->e, g, at, "QuantizeLinear", 3, inputs, &codes));
    inputs[0] = codes;
    return oxp_edit_node(&node, w->e, g, at + 1, "DequantizeLinear", 3, inputs, to);
}

/* The lowest and highest codes stand for the bounds or lie inside them. */
static bool saturates(const oxp_scale *s, const oxp_clamp *c)
{
    double step = (double)s->scale, zero = s->zero_point;
    return nearbyint(c->low / step) + zero <= 0 && nearbyint(c->high / step) + zero >= 255;
}

/* Clamps in front of the quantiser, which does their work: *made becomes the value in front of
 * them. */
static oxp_status remove_clamps(worker *w, const oxp_graph *g, const oxp_quantised *q,
                                const oxp_value **made)
{
    oxp_edit *e = w->e;
    const oxp_range *r =
        oxp_ranges_find(e->ranges, w->islands.graphs[q->scale_graph], q->scale_value);
    oxp_clamp c;
    while (r && oxp_clamp_read(&c, (*made)->producer) && saturates(&r->scale, &c)) {
        const oxp_graph_node *n = (*made)->producer;
        OXP_TRY(oxp_edit_remove_node(e->model, g->proto, n->proto));
        for (size_t i = 0; i < n->input_count; i++) {
            const oxp_value *bound = oxp_graph_node_constant(n, i);
            const oxp_value *local = bound ? &g->values[n->inputs[i]] : NULL;
            if (bound)
                OXP_TRY(oxp_edit_drop_constant(
                    e, local->kind == OXP_VALUE_OUTER ? local->outer_graph : g, bound));
        }
        *made = &g->values[n->inputs[c.input]];
        OXP_TRY(oxp_edit_remove_value_info(e->model, g->proto, (*made)->name));
    }
    return OXP_OK;
}

/* IN_PLACE: the maker writes a fresh name and the pair gives back the old one, so that every
 * reader, and a graph output of that name, sees the quantised value. */
static oxp_status quantise_value(worker *w, size_t i)
{
    const oxp_quantised *q = &w->islands.values[i];
    const oxp_graph *g = w->islands.graphs[q->graph_id];
    const oxp_value *v = &g->values[q->value];
    names *n = &w->made[i];
    n->real = v->name;
    if (q->kind == OXP_GIVEN)
        return OXP_OK;
    OXP_TRY(parameters(w, g, q, n));
    if (q->kind == OXP_BRANCH) {
        n->real = NULL;
        return pair(w, g, oxp_edit_behind(g, v), v->name, n, &n->real);
    }
    const char *fresh;
    const oxp_value *made = v;
    OXP_TRY(remove_clamps(w, g, q, &made));
    OXP_TRY(oxp_edit_name(&fresh, w->e, "t"));
    OXP_TRY(oxp_edit_set_output(w->e->model, made->producer->proto, made->producer_output, fresh));
    size_t channels = oxp_hard_swish_channels(&w->islands, v), at = oxp_edit_behind(g, made);
    if (!channels)
        return pair(w, g, at, fresh, n, &n->real);
    const char *real = NULL;
    OXP_TRY(pair(w, g, at, fresh, n, &real));
    return oxp_hard_swish_conv(w->e, g, at + 2, channels, real, v->name);
}

/* ---- weights and biases ---- */

/* The largest |bias / (x_scale * w_scale)| that int32 holds with room for the accumulator. */
#define BIAS_LIMIT 1073741824.0

typedef struct weight {
    const char *codes, *scales, *zeros; /* shared by the consumers of one site */
    const float *scale_values;
} weight;

static const oxp_value *bias_of(const oxp_graph_node *n)
{
    if (is_type(n, "MatMul"))
        return NULL;
    return oxp_graph_node_constant(n, 2);
}

static const oxp_range *input_range(worker *w, const oxp_graph_node *n)
{
    const oxp_quantised *q = oxp_islands_at(&w->islands, n->graph, n->inputs[0]);
    return q ? oxp_ranges_find(w->e->ranges, w->islands.graphs[q->scale_graph], q->scale_value)
             : NULL;
}

/* Raises scales of channels whose bias would not fit; returns whether any was. */
static bool raise_scales(worker *w, const oxp_site *s, float *scales)
{
    bool raised = false;
    for (size_t k = 0; k < s->consumer_count; k++) {
        const oxp_value *bias = bias_of(s->consumers[k].node);
        const oxp_range *x = input_range(w, s->consumers[k].node);
        for (size_t c = 0; bias && x && c < bias->constant.count && c < s->layout.channels; c++) {
            double least = fabs((double)((const float *)bias->constant.data)[c]) /
                           (BIAS_LIMIT * (double)x->scale.scale);
            if (least > (double)scales[c]) {
                scales[c] = (float)(least * 1.0001);
                raised = true;
            }
        }
    }
    return raised;
}

static oxp_status add_weight(worker *w, const oxp_site *s, weight *out)
{
    oxp_edit *e = w->e;
    const oxp_codes *c = oxp_edit_codes(e, s);
    const oxp_tensor *t = &s->value->constant;
    size_t channels = s->layout.channels;
    int64_t vector[1] = {(int64_t)channels};
    float *scales = oxp_arena_alloc(&e->arena, channels, sizeof *scales);
    int8_t *codes = c->codes, *zero = oxp_arena_alloc(&e->arena, channels, 1);
    const char *key = oxp_arena_printf(&e->arena, "zero/i8/%zu", channels);
    if (!scales || !zero || !key)
        return OXP_ELIMIT;
    memcpy(scales, c->scales, channels * sizeof *scales);
    if (raise_scales(w, s, scales)) {
        codes = oxp_arena_alloc(&e->arena, t->count, 1);
        if (!codes)
            return OXP_ELIMIT;
        oxp_quantise_weight_with(codes, scales, t->data, s->layout, e->choices[s->index].limit);
    }
    out->scale_values = scales;
    OXP_TRY(oxp_edit_constant(&out->codes, e, s->graph, "q", OXP_INT8, t->rank, t->dims, codes));
    OXP_TRY(oxp_edit_constant(&out->scales, e, s->graph, "s", OXP_FLOAT, 1, vector, scales));
    return oxp_edit_shared(&out->zeros, e, s->graph, key, OXP_INT8, 1, vector, zero);
}

static oxp_status dequantise(worker *w, const oxp_graph *g, size_t at, size_t count,
                             const char *const *inputs, int64_t axis, const char **out)
{
    oxp_node_proto *node;
    OXP_TRY(oxp_edit_node(&node, w->e, g, at, "DequantizeLinear", count, inputs, out));
    return oxp_edit_set_int(w->e->model, node, "axis", axis);
}

/* int32 codes of a bias and the name of its dequantised value in front of position `at`. */
static oxp_status add_bias(worker *w, const oxp_graph *g, size_t at, const oxp_tensor *bias,
                           const weight *weights, float x_scale, const char **out)
{
    oxp_edit *e = w->e;
    int32_t *codes = oxp_arena_alloc(&e->arena, bias->count, sizeof *codes);
    float *scales = oxp_arena_alloc(&e->arena, bias->count, sizeof *scales);
    int32_t *zero = oxp_arena_alloc(&e->arena, bias->count, sizeof *zero);
    const char *key = oxp_arena_printf(&e->arena, "zero/i32/%zu", bias->count);
    if (!codes || !scales || !zero || !key)
        return OXP_ELIMIT;
    for (size_t c = 0; c < bias->count; c++) {
        scales[c] = x_scale * weights->scale_values[c];
        double code = nearbyint((double)((const float *)bias->data)[c] / (double)scales[c]);
        codes[c] = (int32_t)fmax(-2147483647.0, fmin(2147483647.0, code));
    }
    int64_t dims[1] = {(int64_t)bias->count};
    const char *inputs[3];
    OXP_TRY(oxp_edit_constant(&inputs[0], e, g, "b", OXP_INT32, 1, dims, codes));
    OXP_TRY(oxp_edit_constant(&inputs[1], e, g, "s", OXP_FLOAT, 1, dims, scales));
    OXP_TRY(oxp_edit_shared(&inputs[2], e, g, key, OXP_INT32, 1, dims, zero));
    return dequantise(w, g, at, 3, inputs, 0, out);
}

static oxp_status convert_bias(worker *w, const oxp_graph_node *n, const weight *weights,
                               float x_scale)
{
    oxp_edit *e = w->e;
    const oxp_value *bias = bias_of(n);
    const oxp_graph_node *reader = n;
    size_t input = 2;
    if (is_type(n, "MatMul")) { /* the Add behind it, if that is a constant vector */
        const oxp_value *out = &n->graph->values[n->outputs[0]];
        reader = !out->is_output && out->use_count == 1 && out->uses[0].input < 2
                     ? out->uses[0].node
                     : NULL;
        if (!reader || !is_type(reader, "Add"))
            return OXP_OK;
        input = 1 - out->uses[0].input;
        bias = oxp_graph_node_constant(reader, input);
        if (bias &&
            (bias->constant.rank != 1 ||
             bias->constant.count != (size_t)n->graph->values[n->inputs[1]].constant.dims[1]))
            bias = NULL;
    }
    if (!bias || bias->constant.dtype != OXP_FLOAT)
        return OXP_OK;
    const char *real = NULL;
    size_t at = oxp_edit_position(reader->graph->proto, reader->proto);
    OXP_TRY(add_bias(w, reader->graph, at, &bias->constant, weights, x_scale, &real));
    OXP_TRY(oxp_edit_set_input(e->model, reader->proto, input, real));
    const oxp_value *local = &reader->graph->values[reader->inputs[input]];
    return oxp_edit_drop_constant(
        e, local->kind == OXP_VALUE_OUTER ? local->outer_graph : reader->graph, bias);
}

static oxp_status convert_consumer(worker *w, const oxp_site *s, const oxp_graph_node *n,
                                   const weight *weights)
{
    oxp_edit *e = w->e;
    const oxp_range *x = input_range(w, n);
    size_t index = w->islands.index[n->graph->id][n->inputs[0]];
    if (!x || !index)
        return oxp_fail(e->ctx, OXP_EINTERNAL, "E-INTERNAL", "no scale for the input of node %zu",
                        n->index);
    const char *real = NULL, *inputs[3] = {weights->codes, weights->scales, weights->zeros};
    size_t at = oxp_edit_position(n->graph->proto, n->proto);
    OXP_TRY(dequantise(w, n->graph, at, 3, inputs, s->channel_axis, &real));
    OXP_TRY(oxp_edit_set_input(e->model, n->proto, 1, real));
    OXP_TRY(oxp_edit_set_input(e->model, n->proto, 0, w->made[index - 1].real));
    return convert_bias(w, n, weights, x->scale.scale);
}

/* ---- all of them ---- */

static oxp_status apply(oxp_edit *e)
{
    bool *chosen = oxp_arena_alloc(&e->arena, e->site_count + 1, sizeof *chosen), any = false;
    if (!chosen)
        return OXP_ELIMIT;
    for (size_t i = 0; i < e->site_count; i++)
        any |= chosen[i] = e->choices[i].technique == &oxp_technique_w8a8;
    if (!any)
        return OXP_OK;
    worker w = {.e = e};
    OXP_TRY(oxp_islands_find(&w.islands, &e->arena, e->graphs[0], e->sites, e->site_count, chosen));
    w.made = oxp_arena_alloc(&e->arena, w.islands.count + 1, sizeof *w.made);
    if (!w.made)
        return OXP_ELIMIT;
    for (size_t i = 0; i < w.islands.count; i++)
        OXP_TRY(quantise_value(&w, i));
    for (size_t i = 0; i < e->site_count; i++) {
        if (!chosen[i])
            continue;
        weight weights;
        OXP_TRY(add_weight(&w, &e->sites[i], &weights));
        for (size_t k = 0; k < e->sites[i].consumer_count; k++)
            OXP_TRY(convert_consumer(&w, &e->sites[i], e->sites[i].consumers[k].node, &weights));
        OXP_TRY(oxp_edit_drop_constant(e, e->sites[i].graph, e->sites[i].value));
    }
    return OXP_OK;
}

const oxp_technique oxp_technique_w8a8 = {
    .name = "w8a8",
    .summary =
        "weights and activations in 8-bit integers with calibrated scales, fused by ONNX Runtime",
    .stage = OXP_STAGE_QUANTISE,
    .level = OXP_LEVEL_INTEGER,
    .needs_data = true,
    .opset = 13,
    .applies = applies,
    .apply = apply,
    .bytes = oxp_codes_bytes,
};
