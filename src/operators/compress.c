/* compress.c - Compress: the slices along `axis` (without one: the elements) whose condition is
 * true.
 *
 * A condition shorter than the axis is false for the rest.
 * https://onnx.ai/onnx/operators/onnx__Compress.html */
#include <string.h>

#include "operators/gradient.h"
#include "operators/movement.h"

typedef struct compress_state {
    bool flat;
    int axis;
} compress_state;

static oxp_status compress_prepare(oxp_node *n)
{
    compress_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    size_t element;
    OXP_TRY(oxp_move_element(n, 0, &element));
    OXP_TRY(oxp_node_want(n, 1, OXP_BOOL));
    if (n->in[1]->rank != 1)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "the condition has rank %d, expected 1",
                             n->in[1]->rank);
    s->flat = !oxp_attr_present(n, "axis");
    if (!s->flat)
        OXP_TRY(oxp_node_axis(n, oxp_attr_int(n, "axis", 0), n->in[0]->rank, false, &s->axis));
    return oxp_output_later(n, 0);
}

static oxp_status compress_forward(oxp_node *n)
{
    const compress_state *s = n->state;
    const oxp_tensor *x = n->in[0], *condition = n->in[1];
    int64_t dims[OXP_MAX_RANK], outer = 1, inner = 1, length = (int64_t)x->count, kept = 0;
    if (!s->flat) {
        OXP_TRY(oxp_move_product(n, s->axis, x->dims, &outer));
        OXP_TRY(oxp_move_product(n, x->rank - s->axis - 1, x->dims + s->axis + 1, &inner));
        length = x->dims[s->axis];
        memcpy(dims, x->dims, sizeof dims);
    }
    const uint8_t *keep = condition->data;
    for (size_t i = 0; i < condition->count; i++) {
        if (keep[i] && (int64_t)i >= length)
            return oxp_node_fail(n, OXP_EFORMAT, "E-INDEX",
                                 "condition %zu is true, the axis has %lld entries", i,
                                 (long long)length);
        kept += keep[i] != 0;
    }
    dims[s->flat ? 0 : s->axis] = kept;
    char *to;
    size_t element;
    OXP_TRY(oxp_move_element(n, 0, &element));
    OXP_TRY(oxp_move_make_output(n, 0, x->dtype, s->flat ? 1 : x->rank, dims, &to));
    if (!to || x->count == 0)
        return OXP_OK;
    size_t bytes = (size_t)inner * element;
    const char *from = x->data;
    for (int64_t o = 0; o < outer; o++, from += (size_t)length * bytes) {
        for (size_t i = 0; i < condition->count; i++) {
            if (!keep[i])
                continue;
            memcpy(to, from + i * bytes, bytes);
            to += bytes;
        }
    }
    return OXP_OK;
}

static const char *const compress_examples[] = {
    "X[3,2] C[3]:bool={0,1,1}; axis=0",
    "X[3,2]:i64 C[2]:bool={0,1}; axis=-1",
    "X[3,2] C[5]:bool={0,1,0,0,1}",
    NULL,
};

const oxp_operator oxp_op_compress_9 = {
    .domain = "",
    .type = "Compress",
    .since = 9,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .prepare = compress_prepare,
    .forward = compress_forward,
    .backward = oxp_backward_moved_first,
    .saves = OXP_SAVES_ALL_BUT_FIRST,
    .examples = compress_examples,
};
