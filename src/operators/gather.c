/* gather.c - Gather: y[p..., i..., s...] = x[p..., indices[i...], s...] along `axis`; an embedding
 * lookup when axis is 0. https://onnx.ai/onnx/operators/onnx__Gather.html
 *
 * Indices below 0 count from the back. Packed types work where what lies behind the axis is whole
 * bytes. */
#include <string.h>

#include "operators/gradient.h"
#include "operators/movement.h"

typedef struct gather_state {
    int axis;
} gather_state;

/* Bytes of one entry along the axis. */
static oxp_status entry_bytes(oxp_node *n, int axis, size_t *bytes)
{
    const oxp_tensor *x = n->in[0];
    int64_t inner;
    size_t bits;
    OXP_TRY(oxp_move_product(n, x->rank - axis - 1, x->dims + axis + 1, &inner));
    unsigned width = oxp_dtype_bits(x->dtype);
    if (width == 0 || !oxp_mul_ok((size_t)inner, width, &bits) || bits % 8 != 0)
        return oxp_node_bad_dtype(n, 0);
    *bytes = bits / 8;
    return OXP_OK;
}

static oxp_status gather_prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[0], *indices = n->in[1];
    gather_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    size_t bytes;
    OXP_TRY(oxp_node_axis(n, oxp_attr_int(n, "axis", 0), x->rank, false, &s->axis));
    OXP_TRY(entry_bytes(n, s->axis, &bytes));
    if (indices->dtype != OXP_INT32 && indices->dtype != OXP_INT64)
        return oxp_node_bad_dtype(n, 1);
    OXP_TRY(oxp_move_rank(n, (size_t)(x->rank - 1 + indices->rank)));
    int64_t dims[OXP_MAX_RANK];
    int rank = 0;
    for (int i = 0; i < s->axis; i++)
        dims[rank++] = x->dims[i];
    for (int i = 0; i < indices->rank; i++)
        dims[rank++] = indices->dims[i];
    for (int i = s->axis + 1; i < x->rank; i++)
        dims[rank++] = x->dims[i];
    return oxp_output(n, 0, x->dtype, rank, dims);
}

static oxp_status gather_forward(oxp_node *n)
{
    const gather_state *s = n->state;
    const oxp_tensor *x = n->in[0], *indices = n->in[1];
    size_t bytes;
    int64_t outer, bound = x->dims[s->axis];
    OXP_TRY(entry_bytes(n, s->axis, &bytes));
    size_t *offsets = oxp_node_scratch(n, indices->count, sizeof *offsets);
    if (!offsets)
        return n->ctx->status;
    for (size_t i = 0; i < indices->count; i++) {
        int64_t index;
        OXP_TRY(oxp_move_index(n, "indices", oxp_tensor_int(indices, i), bound, &index));
        offsets[i] = (size_t)index * bytes;
    }
    if (!n->out[0].data || n->out[0].count == 0)
        return OXP_OK;
    OXP_TRY(oxp_move_product(n, s->axis, x->dims, &outer));
    char *to = n->out[0].data;
    const char *from = x->data;
    for (int64_t o = 0; o < outer; o++, from += (size_t)bound * bytes) {
        for (size_t i = 0; i < indices->count; i++, to += bytes)
            memcpy(to, from + offsets[i], bytes);
    }
    return OXP_OK;
}

static oxp_status gather_backward(oxp_node *n)
{
    const gather_state *s = n->state;
    const oxp_tensor *x = n->in[0], *indices = n->in[1];
    const float *dy = oxp_dout(n, 0);
    float *dx = oxp_din(n, 0);
    int64_t outer, inner, bound = x->dims[s->axis];
    if (!dx || !dy)
        return OXP_OK;
    OXP_TRY(oxp_move_product(n, s->axis, x->dims, &outer));
    OXP_TRY(oxp_move_product(n, x->rank - s->axis - 1, x->dims + s->axis + 1, &inner));
    for (int64_t o = 0; o < outer; o++, dx += bound * inner)
        for (size_t i = 0; i < indices->count; i++, dy += inner) {
            int64_t index;
            OXP_TRY(oxp_move_index(n, "indices", oxp_tensor_int(indices, i), bound, &index));
            oxp_gradient_add(dx + index * inner, dy, (size_t)inner, 1);
        }
    return OXP_OK;
}

/* A table of rows, each looked up by its number: an embedding. */
static bool gather_weight(const oxp_graph_node *def, int input, int rank, int *channel_axis)
{
    int64_t axis = oxp_graph_node_int(def, "axis", 0);
    *channel_axis = 0;
    return input == 0 && rank == 2 && (axis == 0 || axis == -2);
}

static const char *const gather_examples[] = {
    "X[5,4] I[2,3]:i64={0,4,1,2,3,0}",
    "X[5,4] I[3]:i32={0,-1,2}; axis=1",
    "X[5,4]:u8 I[]:i64={-5}; axis=0",
    "X[2,5,3] I[0]:i64={}; axis=1",
    NULL,
};

const oxp_operator oxp_op_gather_1 = {
    .domain = "",
    .type = "Gather",
    .since = 1,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .prepare = gather_prepare,
    .forward = gather_forward,
    .backward = gather_backward,
    .saves = 1u << 1,
    .weight = gather_weight,
    .examples = gather_examples,
};
