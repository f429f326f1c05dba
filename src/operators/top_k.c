/* top_k.c - TopK: the k largest (or smallest) values along `axis` and their indices (INT64), best
 * first; of equal values the one with the lower index stands first.
 * https://onnx.ai/onnx/operators/onnx__TopK.html
 *
 * k is an attribute in opset 1 and input 1 since 10; largest and sorted came with 11 (the order is
 * always the sorted one). NaN is above every number. A line of D values costs D log k. */
#include <string.h>

#include "operators/gradient.h"
#include "operators/movement.h"

typedef struct top_k_state {
    int axis;
    int64_t k;
    bool largest;
} top_k_state;

static oxp_status declare(oxp_node *n, int64_t k)
{
    const oxp_tensor *x = n->in[0];
    top_k_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    if (!oxp_dtype_is_float(x->dtype) && !oxp_dtype_is_integer(x->dtype))
        return oxp_node_bad_dtype(n, 0);
    size_t element;
    int64_t dims[OXP_MAX_RANK];
    OXP_TRY(oxp_move_element(n, 0, &element));
    OXP_TRY(oxp_node_axis(n, oxp_attr_int(n, "axis", -1), x->rank, false, &s->axis));
    s->largest = oxp_attr_int(n, "largest", 1) != 0;
    oxp_attr_ignore(n, "sorted");
    s->k = k;
    if (k < 0 || k > x->dims[s->axis])
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "k is %lld, axis %d has %lld elements",
                             (long long)k, s->axis, (long long)x->dims[s->axis]);
    memcpy(dims, x->dims, sizeof dims);
    dims[s->axis] = k;
    OXP_TRY(oxp_output(n, 0, x->dtype, x->rank, dims));
    return oxp_output(n, 1, OXP_INT64, x->rank, dims);
}

static oxp_status top_k_1_prepare(oxp_node *n)
{
    if (!oxp_attr_present(n, "k"))
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE", "attribute k is missing");
    return declare(n, oxp_attr_int(n, "k", 0));
}

static oxp_status top_k_10_prepare(oxp_node *n)
{
    int64_t k;
    OXP_TRY(oxp_move_scalar(n, 1, &k));
    return declare(n, k);
}

typedef struct entry {
    uint64_t key;
    int64_t index;
} entry;

static bool worse(entry a, entry b)
{
    return a.key < b.key || (a.key == b.key && a.index > b.index);
}

/* A heap with the worst entry on top: places `e` at `at` or below. */
static void sink(entry *heap, size_t count, size_t at, entry e)
{
    for (size_t child = 2 * at + 1; child < count; child = 2 * at + 1) {
        if (child + 1 < count && worse(heap[child + 1], heap[child]))
            child++;
        if (!worse(heap[child], e))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = e;
}

/* heap[0..k) gets the best k of the line, best first. */
static void select_line(entry *heap, size_t k, const char *line, size_t count, size_t stride,
                        oxp_dtype dtype, bool largest)
{
    if (k == 0)
        return;
    for (size_t i = 0; i < count; i++) {
        uint64_t key = oxp_move_order_key(dtype, line + i * stride);
        entry e = {largest ? key : ~key, (int64_t)i};
        if (i < k) {
            heap[i] = e;
            if (i + 1 == k) {
                for (size_t at = k / 2; at-- > 0;)
                    sink(heap, k, at, heap[at]);
            }
        } else if (worse(heap[0], e)) {
            sink(heap, k, 0, e);
        }
    }
    for (size_t left = k - 1; left > 0; left--) {
        entry worst = heap[0];
        sink(heap, left, 0, heap[left]);
        heap[left] = worst;
    }
}

static oxp_status top_k_forward(oxp_node *n)
{
    const top_k_state *s = n->state;
    const oxp_tensor *x = n->in[0];
    size_t element, k = (size_t)s->k;
    int64_t outer, inner, count = x->dims[s->axis];
    OXP_TRY(oxp_move_element(n, 0, &element));
    OXP_TRY(oxp_move_product(n, s->axis, x->dims, &outer));
    OXP_TRY(oxp_move_product(n, x->rank - s->axis - 1, x->dims + s->axis + 1, &inner));
    entry *heap = oxp_node_scratch(n, k, sizeof *heap);
    if (!heap)
        return n->ctx->status;
    size_t stride = (size_t)inner * element;
    for (int64_t o = 0; o < outer; o++) {
        for (int64_t i = 0; i < inner; i++) {
            const char *line = (const char *)x->data + (size_t)(o * count * inner + i) * element;
            select_line(heap, k, line, (size_t)count, stride, x->dtype, s->largest);
            for (size_t r = 0; r < k; r++) {
                size_t at = ((size_t)o * k + r) * (size_t)inner + (size_t)i;
                if (n->out[0].data)
                    memcpy((char *)n->out[0].data + at * element,
                           line + (size_t)heap[r].index * stride, element);
                if (n->out_count > 1 && n->out[1].data)
                    ((int64_t *)n->out[1].data)[at] = heap[r].index;
            }
        }
    }
    return OXP_OK;
}

/* The places are found again: output 1 need not be there. */
static oxp_status top_k_backward(oxp_node *n)
{
    const top_k_state *s = n->state;
    const oxp_tensor *x = n->in[0];
    const float *dy = oxp_dout(n, 0);
    float *dx = oxp_din(n, 0);
    size_t element, k = (size_t)s->k;
    int64_t outer, inner, count = x->dims[s->axis];
    if (!dx || !dy)
        return OXP_OK;
    OXP_TRY(oxp_move_element(n, 0, &element));
    OXP_TRY(oxp_move_product(n, s->axis, x->dims, &outer));
    OXP_TRY(oxp_move_product(n, x->rank - s->axis - 1, x->dims + s->axis + 1, &inner));
    entry *heap = oxp_node_scratch(n, k, sizeof *heap);
    if (!heap)
        return n->ctx->status;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < inner; i++) {
            int64_t first = o * count * inner + i;
            select_line(heap, k, (const char *)x->data + (size_t)first * element, (size_t)count,
                        (size_t)inner * element, x->dtype, s->largest);
            for (size_t r = 0; r < k; r++)
                dx[first + heap[r].index * inner] +=
                    dy[((size_t)o * k + r) * (size_t)inner + (size_t)i];
        }
    return OXP_OK;
}

static const char *const top_k_1_examples[] = {"X[3,4]; axis=1 k=3", "X[3,4]; axis=0 k=1", NULL};

const oxp_operator oxp_op_top_k_1 = {
    .domain = "",
    .type = "TopK",
    .since = 1,
    .min_in = 1,
    .max_in = 1,
    .min_out = 2,
    .max_out = 2,
    .prepare = top_k_1_prepare,
    .forward = top_k_forward,
    .backward = top_k_backward,
    .saves = 1,
    .examples = top_k_1_examples,
};

static const char *const top_k_10_examples[] = {
    "X[3,4] K[1]:i64={3}; axis=1",
    "X[3,4] K[1]:i64={2}; axis=0 largest=0",
    "X[2,3,2]:i64={1,1,0,3,1,3,2,2,2,2,0,1} K[1]:i64={2}; axis=1 sorted=0",
    "X[3,4] K[1]:i64={0}",
    NULL,
};

const oxp_operator oxp_op_top_k_10 = {
    .domain = "",
    .type = "TopK",
    .since = 10,
    .min_in = 2,
    .max_in = 2,
    .min_out = 2,
    .max_out = 2,
    .values = 2,
    .prepare = top_k_10_prepare,
    .forward = top_k_forward,
    .backward = top_k_backward,
    .saves = 1,
    .examples = top_k_10_examples,
};
