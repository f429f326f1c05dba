/* trilu.c - Trilu: X[..., N, M] with the elements below (upper=1) or above (upper=0) the k-th
 * diagonal set to zero. */
#include <string.h>

#include "operators/gradient.h"
#include "operators/movement.h"
#include "operators/real.h"

static oxp_status prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    bool *upper = oxp_node_state(n, sizeof *upper);
    size_t size;
    if (!upper)
        return n->ctx->status;
    *upper = oxp_attr_int(n, "upper", 1) != 0;
    if (x->rank < 2)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "X has rank %d, expected at least 2",
                             x->rank);
    OXP_TRY(oxp_move_element(n, 0, &size));
    OXP_TRY(oxp_output(n, 0, x->dtype, x->rank, x->dims));
    oxp_output_overwrites(n, 0, 0);
    return OXP_OK;
}

/* Columns from .. to of row r stay. */
static void kept_columns(bool upper, int64_t r, int64_t k, int64_t columns, int64_t *from,
                         int64_t *to)
{
    int64_t diagonal;
    if (__builtin_add_overflow(r, k, &diagonal))
        diagonal = k > 0 ? INT64_MAX : INT64_MIN;
    int64_t first = diagonal < 0 ? 0 : diagonal > columns ? columns : diagonal;
    int64_t after = diagonal < 0 ? 0 : diagonal >= columns ? columns : diagonal + 1;
    *from = upper ? first : 0;
    *to = upper ? columns : after;
}

static oxp_status forward(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    const bool *upper = n->state;
    int64_t rows = x->dims[x->rank - 2], columns = x->dims[x->rank - 1], k = 0, from, to;
    size_t size = oxp_dtype_bits(x->dtype) / 8, line = (size_t)columns * size;
    const uint8_t *read = x->data;
    uint8_t *write = n->out[0].data;
    if (oxp_node_has(n, 1))
        OXP_TRY(oxp_move_scalar(n, 1, &k));
    if (x->count == 0)
        return OXP_OK;
    size_t lines = x->count / (size_t)columns;
    for (size_t i = 0; i < lines; i++, read += line, write += line) {
        kept_columns(*upper, (int64_t)(i % (size_t)rows), k, columns, &from, &to);
        memset(write, 0, (size_t)from * size);
        if (write != read)
            memcpy(write + (size_t)from * size, read + (size_t)from * size,
                   (size_t)(to - from) * size);
        memset(write + (size_t)to * size, 0, (size_t)(columns - to) * size);
    }
    return OXP_OK;
}

const oxp_operator oxp_op_trilu_14 = {
    .domain = "",
    .type = "Trilu",
    .since = 14,
    .min_in = 1,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .optional = 1u << 1,
    .prepare = prepare,
    .forward = forward,
    .backward = oxp_backward_moved_first,
    .saves = OXP_SAVES_ALL_BUT_FIRST,
    .examples = (const char *const[]){"X[3,4]", "X[2,3,3]; upper=0", "X[3,4] k[]:i64={1}",
                                      "X[4,3] k[]:i64={-2}; upper=0", "X[3,3]:bool k[]:i64={9}",
                                      "X[3,3]:i64 k[]:i64={-9}; upper=0", NULL},
};
