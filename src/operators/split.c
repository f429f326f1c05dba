/* split.c - Split: the input cut along `axis` into as many outputs as the node has.
 *
 * The lengths are attribute `split` before opset 13 and input 1 from then on; without them the
 * parts are equal. From opset 18 on `num_outputs` may leave a smaller last part.
 * https://onnx.ai/onnx/operators/onnx__Split.html */
#include <string.h>

#include "operators/gradient.h"
#include "operators/movement.h"

typedef struct split_state {
    int axis;
} split_state;

static oxp_status check_lengths(oxp_node *n, const int64_t *lengths, size_t count, int64_t dim)
{
    int64_t sum = 0;
    if (count != (size_t)n->out_count)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "split lists %zu lengths for %d outputs",
                             count, n->out_count);
    for (size_t i = 0; i < count; i++) {
        if (lengths[i] < 0 || __builtin_add_overflow(sum, lengths[i], &sum))
            return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "split length %zu is %lld", i,
                                 (long long)lengths[i]);
    }
    if (sum != dim)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "split lengths sum to %lld, the dimension is %lld", (long long)sum,
                             (long long)dim);
    return OXP_OK;
}

/* Parts of `part` elements; the last takes what is left. */
static oxp_status equal_part(oxp_node *n, int64_t dim, bool uneven, int64_t *part)
{
    int64_t parts = n->out_count;
    *part = (dim + parts - 1) / parts;
    bool fits = uneven ? *part * (parts - 1) <= dim : dim % parts == 0;
    if (fits)
        return OXP_OK;
    return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "dimension %lld does not split into %d parts",
                         (long long)dim, n->out_count);
}

static oxp_status declare(oxp_node *n, const int64_t *lengths, size_t count, bool given,
                          bool uneven)
{
    split_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    const oxp_tensor *x = n->in[0];
    size_t element;
    OXP_TRY(oxp_node_axis(n, oxp_attr_int(n, "axis", 0), x->rank, false, &s->axis));
    OXP_TRY(oxp_move_element(n, 0, &element));
    int64_t dim = x->dims[s->axis], part = 0, left = dim;
    if (given)
        OXP_TRY(check_lengths(n, lengths, count, dim));
    else
        OXP_TRY(equal_part(n, dim, uneven, &part));
    for (int i = 0; i < n->out_count; i++) {
        int64_t dims[OXP_MAX_RANK];
        memcpy(dims, x->dims, (size_t)x->rank * sizeof *dims);
        dims[s->axis] = given ? lengths[i] : left < part ? left : part;
        left -= dims[s->axis];
        OXP_TRY(oxp_output(n, i, x->dtype, x->rank, dims));
    }
    return OXP_OK;
}

static oxp_status split_2_prepare(oxp_node *n)
{
    const int64_t *lengths;
    size_t count;
    oxp_attr_ints(n, "split", &lengths, &count);
    return declare(n, lengths, count, oxp_attr_present(n, "split"), false);
}

static oxp_status split_13_prepare(oxp_node *n)
{
    const int64_t *lengths;
    size_t count;
    OXP_TRY(oxp_move_ints(n, 1, &lengths, &count));
    return declare(n, lengths, count, lengths != NULL, false);
}

static oxp_status split_18_prepare(oxp_node *n)
{
    const int64_t *lengths;
    size_t count;
    OXP_TRY(oxp_move_ints(n, 1, &lengths, &count));
    bool has_number = oxp_attr_present(n, "num_outputs");
    int64_t number = oxp_attr_int(n, "num_outputs", n->out_count);
    if (has_number && lengths)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "both input split and attribute num_outputs are given");
    if (number != n->out_count)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "num_outputs is %lld, the node has %d outputs", (long long)number,
                             n->out_count);
    return declare(n, lengths, count, lengths != NULL, true);
}

static oxp_status split_forward(oxp_node *n)
{
    const split_state *s = n->state;
    const oxp_tensor *x = n->in[0];
    if (x->count == 0)
        return OXP_OK;
    size_t element;
    OXP_TRY(oxp_move_element(n, 0, &element));
    int64_t outer, inner;
    OXP_TRY(oxp_move_product(n, s->axis, x->dims, &outer));
    OXP_TRY(oxp_move_product(n, x->rank - s->axis - 1, x->dims + s->axis + 1, &inner));
    const char *from = x->data;
    for (int i = 0; i < n->out_count; i++) {
        int64_t run = n->out[i].dims[s->axis] * inner;
        oxp_copy copy = {.element = element};
        oxp_copy_add(&copy, outer, run, x->dims[s->axis] * inner);
        oxp_copy_add(&copy, run, 1, 1);
        if (n->out[i].data)
            oxp_copy_run(&copy, n->out[i].data, from);
        from += (size_t)run * element;
    }
    return OXP_OK;
}

static const char *const split_2_examples[] = {
    "X[2,6]; axis=1 split=2,4 outputs=2",
    "X[6,2]:i32; axis=-2 split=1,2,3 outputs=3",
    "X[4]; split=4,0 outputs=2",
    NULL,
};

const oxp_operator oxp_op_split_2 = {
    .domain = "",
    .type = "Split",
    .since = 2,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = -1,
    .prepare = split_2_prepare,
    .forward = split_forward,
    .backward = oxp_backward_moved_first,
    .saves = OXP_SAVES_ALL_BUT_FIRST,
    .examples = split_2_examples,
};

static const char *const split_13_examples[] = {
    "X[2,6] S[2]:i64={2,4}; axis=1 outputs=2",
    "X[6,2]:u8 S[3]:i64={1,0,5}; outputs=3",
    "X[3,4]; axis=-1 outputs=4",
    NULL,
};

const oxp_operator oxp_op_split_13 = {
    .domain = "",
    .type = "Split",
    .since = 13,
    .min_in = 1,
    .max_in = 2,
    .min_out = 1,
    .max_out = -1,
    .values = 2,
    .prepare = split_13_prepare,
    .forward = split_forward,
    .backward = oxp_backward_moved_first,
    .saves = OXP_SAVES_ALL_BUT_FIRST,
    .examples = split_13_examples,
};

static const char *const split_18_examples[] = {
    "X[2,6] S[2]:i64={2,4}; axis=1 outputs=2",
    "X[3,5]; axis=1 num_outputs=2 outputs=2",
    NULL,
};

const oxp_operator oxp_op_split_18 = {
    .domain = "",
    .type = "Split",
    .since = 18,
    .min_in = 1,
    .max_in = 2,
    .min_out = 1,
    .max_out = -1,
    .values = 2,
    .prepare = split_18_prepare,
    .forward = split_forward,
    .backward = oxp_backward_moved_first,
    .saves = OXP_SAVES_ALL_BUT_FIRST,
    .examples = split_18_examples,
};
