/* gather_nd.c - GatherND: y[b..., i..., s...] = x[b..., indices[b..., i..., :]..., s...], b the
 * batch_dims shared dimensions. https://onnx.ai/onnx/operators/onnx__GatherND.html (batch_dims
 * since opset 12) */
#include "operators/gradient.h"
#include "operators/gather_nd.h"

#include <string.h>

typedef struct gather_state {
    oxp_nd nd;
} gather_state;

oxp_status oxp_nd_read(oxp_node *n, int batch_dims, oxp_nd *nd)
{
    const oxp_tensor *x = n->in[0], *indices = n->in[1];
    char a[OXP_SHAPE_TEXT_MAX], b[OXP_SHAPE_TEXT_MAX];
    int64_t slice, tuples;
    if (indices->dtype != OXP_INT64 && indices->dtype != OXP_INT32)
        return oxp_node_bad_dtype(n, 1);
    int last = indices->rank - 1;
    bool fits = batch_dims >= 0 && last >= batch_dims && x->rank >= batch_dims &&
                indices->dims[last] <= x->rank - batch_dims;
    for (int i = 0; fits && i < batch_dims; i++)
        fits = indices->dims[i] == x->dims[i];
    if (!fits)
        return oxp_node_fail(
            n, OXP_EFORMAT, "E-SHAPE",
            "indices of shape %s do not name slices of data of shape %s with %d batch dimensions",
            oxp_shape_text(a, indices->rank, indices->dims), oxp_shape_text(b, x->rank, x->dims),
            batch_dims);
    nd->batch_dims = batch_dims;
    nd->tuple = (int)indices->dims[last];
    int inner = batch_dims + nd->tuple;
    OXP_TRY(oxp_move_product(n, x->rank - inner, x->dims + inner, &slice));
    OXP_TRY(oxp_move_product(n, last, indices->dims, &tuples));
    nd->slice = (size_t)slice;
    nd->slices = (size_t)tuples;
    return OXP_OK;
}

oxp_status oxp_nd_offsets(oxp_node *n, const oxp_nd *nd, size_t **out)
{
    const oxp_tensor *x = n->in[0], *indices = n->in[1];
    int64_t strides[OXP_MAX_RANK], batches, batch_stride;
    oxp_move_strides(x->rank, x->dims, strides);
    size_t *offsets = oxp_node_scratch(n, nd->slices, sizeof *offsets);
    if (!offsets)
        return n->ctx->status;
    OXP_TRY(oxp_move_product(n, nd->batch_dims, x->dims, &batches));
    OXP_TRY(oxp_move_product(n, x->rank - nd->batch_dims, x->dims + nd->batch_dims, &batch_stride));
    size_t per_batch = batches > 0 ? nd->slices / (size_t)batches : 0;
    for (size_t i = 0; i < nd->slices; i++) {
        int64_t offset = (int64_t)(i / per_batch) * batch_stride;
        for (int k = 0; k < nd->tuple; k++) {
            int64_t index, value = oxp_tensor_int(indices, i * (size_t)nd->tuple + (size_t)k);
            int axis = nd->batch_dims + k;
            OXP_TRY(oxp_move_index(n, "indices", value, x->dims[axis], &index));
            offset += index * strides[axis];
        }
        offsets[i] = (size_t)offset;
    }
    *out = offsets;
    return OXP_OK;
}

static oxp_status gather_nd_prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[0], *indices = n->in[1];
    gather_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    size_t element;
    int64_t batch_dims = oxp_attr_int(n, "batch_dims", 0);
    if (batch_dims < 0 || batch_dims > x->rank)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE", "batch_dims is %lld, data has rank %d",
                             (long long)batch_dims, x->rank);
    OXP_TRY(oxp_move_element(n, 0, &element));
    OXP_TRY(oxp_nd_read(n, (int)batch_dims, &s->nd));
    int inner = s->nd.batch_dims + s->nd.tuple, rank = 0;
    OXP_TRY(oxp_move_rank(n, (size_t)(indices->rank - 1 + x->rank - inner)));
    int64_t dims[OXP_MAX_RANK];
    for (int i = 0; i < indices->rank - 1; i++)
        dims[rank++] = indices->dims[i];
    for (int i = inner; i < x->rank; i++)
        dims[rank++] = x->dims[i];
    return oxp_output(n, 0, x->dtype, rank, dims);
}

static oxp_status gather_nd_forward(oxp_node *n)
{
    const gather_state *s = n->state;
    size_t element, *offsets;
    OXP_TRY(oxp_move_element(n, 0, &element));
    OXP_TRY(oxp_nd_offsets(n, &s->nd, &offsets));
    if (!n->out[0].data || n->out[0].count == 0)
        return OXP_OK;
    size_t bytes = s->nd.slice * element;
    char *to = n->out[0].data;
    const char *from = n->in[0]->data;
    for (size_t i = 0; i < s->nd.slices; i++)
        memcpy(to + i * bytes, from + offsets[i] * element, bytes);
    return OXP_OK;
}

static const char *const gather_nd_examples[] = {
    "X[2,3,4] I[2,2]:i64={0,1,1,-1}",
    "X[2,3,4]:i32 I[2,1,1]:i64={2,0}; batch_dims=1",
    "X[2,3] I[2]:i64={1,1}",
    "X[2,3] I[2,0]:i64={}",
    NULL,
};

const oxp_operator oxp_op_gather_nd_11 = {
    .domain = "",
    .type = "GatherND",
    .since = 11,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .prepare = gather_nd_prepare,
    .forward = gather_nd_forward,
    .backward = oxp_backward_moved_first,
    .saves = OXP_SAVES_ALL_BUT_FIRST,
    .examples = gather_nd_examples,
};
