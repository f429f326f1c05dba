/* max_unpool.c - MaxUnpool: the values of a MaxPool put back where they came from, 0 elsewhere.
 * https://onnx.ai/onnx/operators/onnx__MaxUnpool.html
 *
 * The indices are flat places in the tensor that was pooled, [N, C, (D_i - 1) * stride_i + kernel_i
 * - pads_i ...]. A larger output_shape (input 2) holds that tensor in its first corner. */
#include <string.h>

#include "operators/gradient.h"
#include "operators/movement.h"

typedef struct unpool_state {
    int64_t pooled[OXP_MAX_RANK]; /* dims of the tensor that the indices refer to */
} unpool_state;

static oxp_status read_list(oxp_node *n, const char *name, size_t expected, const int64_t **values)
{
    size_t count;
    oxp_attr_ints(n, name, values, &count);
    if (*values && count != expected)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "attribute %s has %zu entries, expected %zu", name, count, expected);
    return OXP_OK;
}

static oxp_status unpooled_dim(oxp_node *n, int64_t dim, int64_t stride, int64_t kernel,
                               int64_t pads, int64_t *out)
{
    int64_t size;
    if (stride < 1 || kernel < 1 || pads < 0)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE", "stride %lld, kernel %lld, pads %lld",
                             (long long)stride, (long long)kernel, (long long)pads);
    if (__builtin_mul_overflow(dim - 1, stride, &size) ||
        __builtin_add_overflow(size, kernel, &size) || __builtin_sub_overflow(size, pads, &size))
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE-OVERFLOW",
                             "the size before pooling overflows");
    if (size < 0)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "pads take more than there is: size %lld",
                             (long long)size);
    *out = size;
    return OXP_OK;
}

static oxp_status read_pooled(oxp_node *n, unpool_state *s)
{
    const oxp_tensor *x = n->in[0];
    const int64_t *kernel, *strides, *pads;
    size_t spatial = (size_t)x->rank - 2;
    OXP_TRY(read_list(n, "kernel_shape", spatial, &kernel));
    OXP_TRY(read_list(n, "strides", spatial, &strides));
    OXP_TRY(read_list(n, "pads", 2 * spatial, &pads));
    if (!kernel)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE", "attribute kernel_shape is missing");
    s->pooled[0] = x->dims[0];
    s->pooled[1] = x->dims[1];
    for (size_t i = 0; i < spatial; i++) {
        int64_t before = pads ? pads[i] : 0, behind = pads ? pads[i + spatial] : 0, both;
        if (before < 0 || behind < 0 || __builtin_add_overflow(before, behind, &both))
            return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE", "pads %lld and %lld",
                                 (long long)before, (long long)behind);
        OXP_TRY(unpooled_dim(n, x->dims[2 + i], strides ? strides[i] : 1, kernel[i], both,
                             &s->pooled[2 + i]));
    }
    return OXP_OK;
}

static oxp_status max_unpool_prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[0], *indices = n->in[1];
    const int64_t *asked;
    size_t count, element;
    unpool_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    OXP_TRY(oxp_move_element(n, 0, &element));
    OXP_TRY(oxp_node_want(n, 1, OXP_INT64));
    if (x->rank < 3 || indices->rank != x->rank || indices->count != x->count)
        return oxp_node_fail(
            n, OXP_EFORMAT, "E-SHAPE",
            "%zu values of rank %d with %zu indices of rank %d; expected as many, rank 3 or more",
            x->count, x->rank, indices->count, indices->rank);
    OXP_TRY(read_pooled(n, s));
    OXP_TRY(oxp_move_ints(n, 2, &asked, &count));
    if (!asked)
        return oxp_output(n, 0, x->dtype, x->rank, s->pooled);
    bool fits = count == (size_t)x->rank;
    for (int i = 0; fits && i < x->rank; i++)
        fits = asked[i] >= s->pooled[i];
    if (!fits) {
        char a[OXP_SHAPE_TEXT_MAX];
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "output_shape must have %d entries and hold %s", x->rank,
                             oxp_shape_text(a, x->rank, s->pooled));
    }
    return oxp_output(n, 0, x->dtype, x->rank, asked);
}

/* The place in the output of a flat place in the pooled tensor. */
static size_t place_in_output(const oxp_tensor *y, const int64_t *pooled, int64_t flat)
{
    size_t place = 0, step = 1;
    for (int i = y->rank - 1; i >= 0; i--) {
        place += (size_t)(flat % pooled[i]) * step;
        flat /= pooled[i];
        step *= (size_t)y->dims[i];
    }
    return place;
}

static oxp_status max_unpool_forward(oxp_node *n)
{
    const unpool_state *s = n->state;
    const oxp_tensor *x = n->in[0], *y = &n->out[0];
    int64_t bound;
    size_t element;
    OXP_TRY(oxp_move_element(n, 0, &element));
    OXP_TRY(oxp_move_product(n, x->rank, s->pooled, &bound));
    if (!y->data || y->count == 0)
        return OXP_OK;
    memset(y->data, 0, y->count * element);
    for (size_t i = 0; i < x->count; i++) {
        int64_t index = oxp_tensor_int(n->in[1], i);
        if (index < 0 || index >= bound)
            return oxp_node_fail(n, OXP_EFORMAT, "E-INDEX", "index %zu is %lld, expected [0, %lld)",
                                 i, (long long)index, (long long)bound);
        size_t to = place_in_output(y, s->pooled, index);
        memcpy((char *)y->data + to * element, (const char *)x->data + i * element, element);
    }
    return OXP_OK;
}

static const char *const max_unpool_examples[] = {
    "X[1,1,2,2] I[1,1,2,2]:i64={5,7,13,15}; kernel_shape=2,2 strides=2,2",
    "X[1,1,2,2] I[1,1,2,2]:i64={5,7,13,15} S[4]:i64={1,1,5,5}; kernel_shape=2,2 strides=2,2",
    NULL,
};

const oxp_operator oxp_op_max_unpool_9 = {
    .domain = "",
    .type = "MaxUnpool",
    .since = 9,
    .min_in = 2,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .optional = 1 << 2,
    .values = 1 << 2,
    .prepare = max_unpool_prepare,
    .forward = max_unpool_forward,
    .backward = oxp_backward_moved_first,
    .saves = 1u << 1,
    .examples = max_unpool_examples,
};
