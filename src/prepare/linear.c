/* linear.c - Conv, ConvTranspose, Gemm and MatMul with constant weights: reading them, scaling
 * them, writing them.
 *
 * Outputs: W'[m, …] = scale[m]·W[m, …], b' = scale·b + shift. Inputs: W'[m, c, …] = W[m, c,
 * …]·scale[c], b'[m] = b[m] + Σ W[m, c, …]·shift[c]. Computed in double, rounded once. */
#include "prepare/linear.h"

#include <math.h>
#include <string.h>

/* ---- reading ---- */

static bool takes_convolution(oxp_linear *l)
{
    const oxp_tensor *w = &l->weight->constant;
    int64_t group = oxp_graph_node_int(l->node, "group", 1);
    if (w->rank < 3 || group < 1 || w->count == 0)
        return false;
    l->first = (size_t)w->dims[0];
    l->second = (size_t)w->dims[1];
    l->rest = w->count / l->first / l->second;
    l->groups = (size_t)group;
    l->rank = w->rank;
    if (l->first % l->groups || !oxp_mul_ok(l->second, l->groups, &l->inputs))
        return false;
    l->outputs = l->first;
    if (l->kind == OXP_LINEAR_CONV_TRANSPOSE) {
        l->outputs = l->inputs;
        l->inputs = l->first;
    }
    return true;
}

static bool is_padded(const oxp_graph_node *node)
{
    const oxp_attribute *automatic = oxp_graph_node_attribute(node, "auto_pad");
    const oxp_attribute *pads = oxp_graph_node_attribute(node, "pads");
    if (automatic && automatic->type == OXP_ATTR_STRING && strcmp(automatic->s, "VALID") == 0)
        return false;
    if (automatic && (automatic->type != OXP_ATTR_STRING || strcmp(automatic->s, "NOTSET") != 0))
        return true;
    for (size_t i = 0; pads && i < pads->count; i++)
        if (pads->ints[i] != 0)
            return true;
    return false;
}

static bool takes_matrix(oxp_linear *l, const oxp_pass *p)
{
    const oxp_tensor *w = &l->weight->constant;
    if (w->rank != 2 || w->count == 0)
        return false;
    l->first = (size_t)w->dims[0];
    l->second = (size_t)w->dims[1];
    l->rest = l->groups = 1;
    l->rank = 2;
    l->transposed = l->kind == OXP_LINEAR_GEMM && oxp_graph_node_int(l->node, "transB", 0) != 0;
    l->outputs = l->transposed ? l->first : l->second;
    l->inputs = l->transposed ? l->second : l->first;
    const oxp_attribute *beta = oxp_graph_node_attribute(l->node, "beta");
    l->beta = beta && beta->type == OXP_ATTR_FLOAT ? (double)beta->f : 1;
    if (l->kind == OXP_LINEAR_GEMM)
        return oxp_model_opset(p->model, "") >= 7;
    return oxp_pass_rank(p, l->scope, l->node->outputs[0]) == 2;
}

/* A constant FLOAT bias, one number per output channel or one for all; none is as good. */
static bool takes_bias(oxp_linear *l, const oxp_pass *p)
{
    l->bias = NULL;
    if (l->kind == OXP_LINEAR_MATMUL || l->node->input_count < 3 ||
        l->node->inputs[2] == OXP_NO_VALUE)
        return true;
    l->bias = oxp_pass_constant(p, l->scope, l->node, 2);
    if (!l->bias || l->bias->constant.dtype != OXP_FLOAT)
        return false;
    const oxp_tensor *b = &l->bias->constant;
    if (l->kind != OXP_LINEAR_GEMM)
        return b->rank == 1 && b->count == l->outputs;
    return b->rank <= 2 &&
           (b->count == 1 || (b->count == l->outputs && b->dims[b->rank - 1] == (int64_t)b->count));
}

bool oxp_linear_read(oxp_linear *out, const oxp_pass *p, size_t scope, const oxp_graph_node *node)
{
    static const char *const types[] = {"Conv", "ConvTranspose", "Gemm", "MatMul"};
    size_t kind = 0;
    while (kind < 4 && !oxp_pass_is(node, types[kind]))
        kind++;
    if (kind == 4 || node->input_count < 2 || node->outputs[0] == OXP_NO_VALUE)
        return false;
    *out = (oxp_linear){.scope = scope, .node = node, .kind = (oxp_linear_kind)kind};
    out->weight = oxp_pass_constant(p, scope, node, 1);
    if (!out->weight || !out->weight->proto || out->weight->constant.dtype != OXP_FLOAT)
        return false;
    bool convolution = out->kind == OXP_LINEAR_CONV || out->kind == OXP_LINEAR_CONV_TRANSPOSE;
    out->padded = convolution && is_padded(node);
    return (convolution ? takes_convolution(out) : takes_matrix(out, p)) && takes_bias(out, p);
}

bool oxp_linear_owns_weight(const oxp_pass *p, const oxp_linear *l)
{
    return oxp_pass_reads(p, l->scope, l->node->inputs[1]) == 1;
}

/* ---- arithmetic ---- */

/* Output and input channel of row `i` of the weight seen as [first·second, rest]. */
size_t oxp_linear_output_channel(const oxp_linear *l, size_t i)
{
    size_t row = i / l->second, column = i % l->second;
    if (l->kind == OXP_LINEAR_CONV_TRANSPOSE)
        return row / (l->first / l->groups) * l->second + column;
    return l->kind == OXP_LINEAR_CONV || l->transposed ? row : column;
}

size_t oxp_linear_input_channel(const oxp_linear *l, size_t i)
{
    size_t row = i / l->second, column = i % l->second;
    if (l->kind == OXP_LINEAR_CONV)
        return row / (l->first / l->groups) * l->second + column;
    return l->kind == OXP_LINEAR_CONV_TRANSPOSE || !l->transposed ? row : column;
}

static double bias_of(const oxp_linear *l, size_t m)
{
    if (!l->bias)
        return 0;
    double b = oxp_tensor_real(&l->bias->constant, l->bias->constant.count == 1 ? 0 : m);
    return l->kind == OXP_LINEAR_GEMM ? b * l->beta : b;
}

static bool all_are(const double *numbers, size_t count, double value)
{
    for (size_t i = 0; i < count; i++)
        if (!(numbers[i] == value))
            return false;
    return true;
}

/* The weight times a factor per channel, which `channel` tells. */
static oxp_status scale_weight(float **out, bool *finite, oxp_pass *p, const oxp_linear *l,
                               const double *scale, size_t (*channel)(const oxp_linear *, size_t))
{
    const float *w = l->weight->constant.data;
    float *scaled = oxp_arena_alloc(&p->arena, l->weight->constant.count, sizeof *scaled);
    if (!scaled)
        return p->ctx->status;
    for (size_t i = 0; i < l->first * l->second; i++) {
        double factor = scale[channel(l, i)];
        for (size_t k = i * l->rest; k < (i + 1) * l->rest; k++) {
            scaled[k] = (float)((double)w[k] * factor);
            *finite = *finite && isfinite(scaled[k]);
        }
    }
    *out = scaled;
    return OXP_OK;
}

static oxp_status make_bias(float **out, bool *finite, oxp_pass *p, const oxp_linear *l,
                            const double *sums)
{
    float *bias = oxp_arena_alloc(&p->arena, l->outputs, sizeof *bias);
    if (!bias)
        return p->ctx->status;
    for (size_t m = 0; m < l->outputs; m++) {
        bias[m] = (float)sums[m];
        *finite = *finite && isfinite(bias[m]);
    }
    *out = bias;
    return OXP_OK;
}

oxp_status oxp_linear_scale_outputs(oxp_linear_numbers *out, bool *finite, oxp_pass *p,
                                    const oxp_linear *l, const double *scale, const double *shift)
{
    *out = (oxp_linear_numbers){0};
    *finite = true;
    bool scaled = !all_are(scale, l->outputs, 1);
    if (scaled)
        OXP_TRY(scale_weight(&out->weight, finite, p, l, scale, oxp_linear_output_channel));
    if (all_are(shift, l->outputs, 0) && !(scaled && l->bias))
        return OXP_OK;
    double *sums = oxp_arena_alloc(&p->arena, l->outputs, sizeof *sums);
    if (!sums)
        return p->ctx->status;
    for (size_t m = 0; m < l->outputs; m++)
        sums[m] = scale[m] * bias_of(l, m) + shift[m];
    return make_bias(&out->bias, finite, p, l, sums);
}

oxp_status oxp_linear_scale_inputs(oxp_linear_numbers *out, bool *finite, oxp_pass *p,
                                   const oxp_linear *l, const double *scale, const double *shift)
{
    *out = (oxp_linear_numbers){0};
    *finite = true;
    if (!all_are(scale, l->inputs, 1))
        OXP_TRY(scale_weight(&out->weight, finite, p, l, scale, oxp_linear_input_channel));
    if (all_are(shift, l->inputs, 0))
        return OXP_OK;
    const float *w = l->weight->constant.data;
    double *sums = oxp_arena_alloc(&p->arena, l->outputs, sizeof *sums);
    if (!sums)
        return p->ctx->status;
    for (size_t m = 0; m < l->outputs; m++)
        sums[m] = bias_of(l, m);
    for (size_t i = 0; i < l->first * l->second; i++) {
        double row = 0;
        for (size_t k = i * l->rest; k < (i + 1) * l->rest; k++)
            row += (double)w[k];
        sums[oxp_linear_output_channel(l, i)] += row * shift[oxp_linear_input_channel(l, i)];
    }
    return make_bias(&out->bias, finite, p, l, sums);
}

/* ---- writing ---- */

/* Into the old bias when it is the operator's own, else into a new constant. */
static oxp_status write_bias(const char **name, oxp_pass *p, const oxp_linear *l, const float *bias)
{
    int64_t dims[1] = {(int64_t)l->outputs};
    if (l->kind == OXP_LINEAR_GEMM && l->beta != 1)
        OXP_TRY(oxp_edit_set_float(p->model, l->node->proto, "beta", 1));
    if (l->bias && l->bias->proto && oxp_pass_reads(p, l->scope, l->node->inputs[2]) == 1)
        return oxp_pass_set_constant(p, l->bias, 1, dims, bias);
    const char *base = oxp_arena_printf(&p->arena, "%s_bias", l->weight->name);
    if (!base)
        return p->ctx->status;
    OXP_TRY(oxp_pass_new_constant(name, p, l->scope, base, OXP_FLOAT, 1, dims, bias));
    if (l->kind == OXP_LINEAR_MATMUL)
        return OXP_OK;
    return oxp_pass_read_constant(p, l->scope, l->node, 2, *name);
}

oxp_status oxp_linear_write(const char **bias, oxp_pass *p, const oxp_linear *l,
                            const oxp_linear_numbers *numbers)
{
    const oxp_tensor *w = &l->weight->constant;
    *bias = NULL;
    if (numbers->weight)
        OXP_TRY(oxp_pass_set_constant(p, l->weight, w->rank, w->dims, numbers->weight));
    if (numbers->bias)
        OXP_TRY(write_bias(bias, p, l, numbers->bias));
    oxp_pass_touch(p, l->scope, l->node);
    p->edits++;
    return OXP_OK;
}
