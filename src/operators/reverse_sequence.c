/* reverse_sequence.c - ReverseSequence: in batch entry b the first sequence_lens[b] steps of the
 * time axis backward, the rest as it is. Batch and time axis are 0 and 1 in either order.
 * https://onnx.ai/onnx/operators/onnx__ReverseSequence.html */
#include <string.h>

#include "operators/gradient.h"
#include "operators/movement.h"

typedef struct reverse_state {
    int time_axis;
} reverse_state;

static oxp_status reverse_sequence_prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    reverse_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    size_t element;
    OXP_TRY(oxp_move_element(n, 0, &element));
    OXP_TRY(oxp_node_want(n, 1, OXP_INT64));
    int64_t batch = oxp_attr_int(n, "batch_axis", 1), time = oxp_attr_int(n, "time_axis", 0);
    if (batch < 0 || batch > 1 || time != 1 - batch)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "batch_axis %lld and time_axis %lld, expected 0 and 1 in either order",
                             (long long)batch, (long long)time);
    s->time_axis = (int)time;
    if (x->rank < 2 || n->in[1]->rank != 1 || n->in[1]->dims[0] != x->dims[batch])
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "%zu sequence lengths of rank %d do not fit an input of rank %d",
                             n->in[1]->count, n->in[1]->rank, x->rank);
    return oxp_output(n, 0, x->dtype, x->rank, x->dims);
}

static oxp_status reverse_sequence_forward(oxp_node *n)
{
    const reverse_state *s = n->state;
    const oxp_tensor *x = n->in[0];
    const int64_t *lengths = n->in[1]->data;
    int64_t steps = x->dims[s->time_axis], batches = x->dims[1 - s->time_axis], inner;
    size_t element;
    OXP_TRY(oxp_move_element(n, 0, &element));
    for (int64_t b = 0; b < batches; b++) {
        if (lengths[b] < 0 || lengths[b] > steps)
            return oxp_node_fail(n, OXP_EFORMAT, "E-INDEX",
                                 "sequence_lens[%lld] is %lld, the time axis has %lld steps",
                                 (long long)b, (long long)lengths[b], (long long)steps);
    }
    if (!n->out[0].data || x->count == 0)
        return OXP_OK;
    OXP_TRY(oxp_move_product(n, x->rank - 2, x->dims + 2, &inner));
    size_t bytes = (size_t)inner * element;
    int64_t per_step = s->time_axis == 0 ? batches : 1, per_batch = s->time_axis == 0 ? 1 : steps;
    char *to = n->out[0].data;
    const char *from = x->data;
    for (int64_t b = 0; b < batches; b++) {
        for (int64_t t = 0; t < steps; t++) {
            int64_t source = t < lengths[b] ? lengths[b] - 1 - t : t;
            memcpy(to + (size_t)(b * per_batch + t * per_step) * bytes,
                   from + (size_t)(b * per_batch + source * per_step) * bytes, bytes);
        }
    }
    return OXP_OK;
}

static const char *const reverse_sequence_examples[] = {
    "X[4,4] L[4]:i64={4,3,2,1}; time_axis=0 batch_axis=1",
    "X[2,4,3]:i64 L[2]:i64={1,4}; time_axis=1 batch_axis=0",
    "X[3,2] L[2]:i64={0,3}",
    NULL,
};

const oxp_operator oxp_op_reverse_sequence_10 = {
    .domain = "",
    .type = "ReverseSequence",
    .since = 10,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .prepare = reverse_sequence_prepare,
    .forward = reverse_sequence_forward,
    .backward = oxp_backward_moved_first,
    .saves = OXP_SAVES_ALL_BUT_FIRST,
    .examples = reverse_sequence_examples,
};
