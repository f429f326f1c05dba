/* affine.c - BatchNormalization, Mul, Div, Add and Sub by constants, and chains of them, as y =
 * scale·x + shift.
 *
 * BatchNormalization: a = scale/√(var + ε), b = bias − mean·a. All in double, so that a
 * chain is rounded once. */
#include "prepare/affine.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- one node ---- */

static const float *channel_vector(const oxp_pass *p, size_t scope, const oxp_graph_node *node,
                                   size_t i, size_t channels)
{
    const oxp_value *v = oxp_pass_constant(p, scope, node, i);
    bool good = v && v->constant.dtype == OXP_FLOAT && v->constant.count == channels;
    return good ? v->constant.data : NULL;
}

static bool is_inference(const oxp_pass *p, const oxp_graph_node *node)
{
    for (size_t i = 1; i < node->output_count; i++)
        if (node->outputs[i] != OXP_NO_VALUE)
            return false;
    return oxp_graph_node_int(node, "training_mode", 0) == 0 &&
           (oxp_model_opset(p->model, "") >= 9 || oxp_graph_node_int(node, "spatial", 1) == 1);
}

static bool read_normalization(oxp_affine *out, double *a, double *b, const oxp_pass *p,
                               size_t scope, const oxp_graph_node *node, size_t channels)
{
    if (node->input_count != 5 || !is_inference(p, node))
        return false;
    const float *scale = channel_vector(p, scope, node, 1, channels);
    const float *bias = channel_vector(p, scope, node, 2, channels);
    const float *mean = channel_vector(p, scope, node, 3, channels);
    const float *variance = channel_vector(p, scope, node, 4, channels);
    if (!scale || !bias || !mean || !variance)
        return false;
    const oxp_attribute *epsilon = oxp_graph_node_attribute(node, "epsilon");
    double e = epsilon && epsilon->type == OXP_ATTR_FLOAT ? (double)epsilon->f : 1e-5;
    for (size_t c = 0; c < channels; c++) {
        a[c] = (double)scale[c] / sqrt((double)variance[c] + e);
        b[c] = (double)bias[c] - (double)mean[c] * a[c];
    }
    *out = (oxp_affine){.from = node->inputs[0], .normalization = true};
    return true;
}

/* One number, or one per channel on x's channel axis; no axis of x may grow by it. */
static bool broadcasts(const oxp_tensor *t, int rank, int axis, size_t channels, bool *scalar)
{
    *scalar = t->count == 1;
    if (t->dtype != OXP_FLOAT || t->rank > rank || !t->data)
        return false;
    if (*scalar)
        return true;
    int at = axis - (rank - t->rank);
    return t->count == channels && at >= 0 && t->dims[at] == (int64_t)channels;
}

static bool read_arithmetic(oxp_affine *out, double *a, double *b, const oxp_pass *p, size_t scope,
                            const oxp_graph_node *node, int rank, int axis, size_t channels)
{
    bool add = oxp_pass_is(node, "Add"), sub = oxp_pass_is(node, "Sub");
    bool mul = oxp_pass_is(node, "Mul"), div = oxp_pass_is(node, "Div");
    if ((!add && !sub && !mul && !div) || oxp_model_opset(p->model, "") < 7 ||
        node->input_count != 2)
        return false;
    size_t at = oxp_pass_constant(p, scope, node, 1) ? 1 : 0;
    const oxp_value *v = oxp_pass_constant(p, scope, node, at);
    if (!v || node->inputs[1 - at] == OXP_NO_VALUE || oxp_pass_constant(p, scope, node, 1 - at) ||
        !broadcasts(&v->constant, rank, axis, channels, &out->scalar) || (div && at == 0))
        return false;
    const float *numbers = v->constant.data;
    for (size_t c = 0; c < channels; c++) {
        double k = (double)numbers[out->scalar ? 0 : c];
        a[c] = mul ? k : div ? 1 / k : sub && at == 0 ? -1 : 1;
        b[c] = mul || div ? 0 : sub && at == 1 ? -k : k;
    }
    out->from = node->inputs[1 - at];
    out->normalization = false;
    return true;
}

bool oxp_affine_read(oxp_affine *out, double *a, double *b, const oxp_pass *p, size_t scope,
                     const oxp_graph_node *node, int rank, int axis, size_t channels)
{
    *out = (oxp_affine){0};
    if (node->output_count < 1 || node->outputs[0] == OXP_NO_VALUE)
        return false;
    if (oxp_pass_is(node, "BatchNormalization"))
        return axis == 1 && read_normalization(out, a, b, p, scope, node, channels);
    return read_arithmetic(out, a, b, p, scope, node, rank, axis, channels);
}

/* ---- chains ---- */

typedef struct link { /* one node, and what the chain is when it ends here */
    oxp_affine affine;
    bool normalization, scalar;
    double *scale, *shift;
} link;

/* Links hold prefix results, so that a chain can be cut back to where a step wants it to end. */
static oxp_status add_link(link *links, size_t count, oxp_pass *p, const oxp_affine *affine,
                           size_t channels)
{
    link *l = &links[count];
    l->scale = oxp_arena_alloc(&p->arena, channels, sizeof(double));
    l->shift = oxp_arena_alloc(&p->arena, channels, sizeof(double));
    if (!l->scale || !l->shift)
        return p->ctx->status;
    const link *before = count ? &links[count - 1] : NULL;
    for (size_t c = 0; c < channels; c++) {
        l->scale[c] = before ? before->scale[c] : 1;
        l->shift[c] = before ? before->shift[c] : 0;
    }
    l->affine = *affine;
    l->normalization = affine->normalization || (before && before->normalization);
    l->scalar = affine->scalar && (!before || before->scalar);
    return OXP_OK;
}

/* How many of the links the step takes. */
static size_t cut(const link *links, size_t count, oxp_chain_end end)
{
    for (; end != OXP_CHAIN_ARITHMETIC && count > 0; count--) {
        const oxp_affine *last = &links[count - 1].affine;
        if (end == OXP_CHAIN_TO_CHANNELS ? !last->scalar : last->normalization)
            break;
    }
    return count;
}

static void finish(oxp_chain *out, const link *links, size_t count)
{
    out->count = count;
    if (count == 0)
        return;
    const link *last = &links[count - 1];
    out->normalization = last->normalization;
    out->scalar = last->scalar;
    out->scale = last->scale;
    out->shift = last->shift;
}

oxp_status oxp_chain_behind(oxp_chain *out, oxp_pass *p, size_t scope, uint32_t from, int rank,
                            int axis, size_t channels, oxp_chain_end end)
{
    link links[OXP_CHAIN_MAX];
    double *a = oxp_arena_alloc(&p->arena, channels, sizeof *a);
    double *b = oxp_arena_alloc(&p->arena, channels, sizeof *b);
    if (!a || !b)
        return p->ctx->status;
    size_t count = 0;
    *out = (oxp_chain){.from = from, .to = from};
    for (uint32_t at = from; count < OXP_CHAIN_MAX; count++) {
        oxp_affine affine;
        const oxp_graph_node *node = oxp_pass_only_reader(p, scope, at);
        if (!node || !oxp_affine_read(&affine, a, b, p, scope, node, rank, axis, channels) ||
            affine.from != at || (affine.normalization && end == OXP_CHAIN_ARITHMETIC))
            break;
        OXP_TRY(add_link(links, count, p, &affine, channels));
        for (size_t c = 0; c < channels; c++) {
            links[count].scale[c] *= a[c];
            links[count].shift[c] = a[c] * links[count].shift[c] + b[c];
        }
        out->nodes[count] = node;
        at = node->outputs[0];
    }
    finish(out, links, cut(links, count, end));
    if (out->count)
        out->to = out->nodes[out->count - 1]->outputs[0];
    return OXP_OK;
}

static void reverse(oxp_chain *chain)
{
    for (size_t i = 0; i < chain->count / 2; i++) {
        const oxp_graph_node *node = chain->nodes[i];
        chain->nodes[i] = chain->nodes[chain->count - 1 - i];
        chain->nodes[chain->count - 1 - i] = node;
    }
}

oxp_status oxp_chain_before(oxp_chain *out, oxp_pass *p, size_t scope, uint32_t to, int rank,
                            int axis, size_t channels, oxp_chain_end end)
{
    link links[OXP_CHAIN_MAX];
    uint32_t sources[OXP_CHAIN_MAX];
    double *a = oxp_arena_alloc(&p->arena, channels, sizeof *a);
    double *b = oxp_arena_alloc(&p->arena, channels, sizeof *b);
    if (!a || !b)
        return p->ctx->status;
    size_t count = 0;
    *out = (oxp_chain){.from = to, .to = to};
    for (uint32_t at = to; count < OXP_CHAIN_MAX; count++) {
        oxp_affine affine;
        const oxp_graph_node *node =
            oxp_pass_only_reader(p, scope, at) ? oxp_pass_producer(p, scope, at) : NULL;
        if (!node || node->outputs[0] != at ||
            !oxp_affine_read(&affine, a, b, p, scope, node, rank, axis, channels) ||
            (affine.normalization && end == OXP_CHAIN_ARITHMETIC))
            break;
        OXP_TRY(add_link(links, count, p, &affine, channels));
        for (size_t c = 0; c < channels; c++) {
            links[count].shift[c] += links[count].scale[c] * b[c];
            links[count].scale[c] *= a[c];
        }
        out->nodes[count] = node;
        sources[count] = at = affine.from;
    }
    finish(out, links, cut(links, count, end));
    if (out->count)
        out->from = sources[out->count - 1];
    reverse(out);
    return OXP_OK;
}

const char *oxp_chain_text(char out[OXP_CHAIN_TEXT_MAX], const oxp_chain *chain)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < chain->count && used < OXP_CHAIN_TEXT_MAX - 1; i++) {
        char name[OXP_QUOTED_MAX];
        const oxp_graph_node *n = chain->nodes[i];
        oxp_quote(name, n->name[0] ? n->name : n->graph->values[n->outputs[0]].name);
        int wrote = snprintf(out + used, OXP_CHAIN_TEXT_MAX - used, "%s%s %s", i ? ", " : "",
                             n->type, name);
        used += wrote > 0 ? (size_t)wrote : 0;
    }
    return out;
}
