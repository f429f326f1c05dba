/* unary.c - how a y = f(x) operator is prepared and run. The functions are in unary_math.c,
 * activation.c and gelu.c. */
#include "operators/unary.h"

#include <string.h>

#include "operators/cast_float.h"
#include "operators/cast_integer.h"
#include "operators/gradient.h"
#include "operators/real.h"

typedef struct unary_state {
    const oxp_unary *row;
    float p[OXP_UNARY_ATTRIBUTES];
} unary_state;

oxp_status oxp_unary_prepare_row(oxp_node *n, const oxp_unary *row)
{
    const oxp_tensor *x = n->in[0];
    unary_state *state = oxp_node_state(n, sizeof *state);
    if (!state)
        return n->ctx->status;
    state->row = row;
    for (int i = 0; i < OXP_UNARY_ATTRIBUTES && row->attributes[i].name; i++)
        state->p[i] = oxp_attr_float(n, row->attributes[i].name, row->attributes[i].otherwise);
    if (!oxp_dtype_is_float(x->dtype) && !(row->integer && oxp_integer_bytes(x->dtype) > 0))
        return oxp_node_bad_dtype(n, 0);
    OXP_TRY(oxp_output(n, 0, x->dtype, x->rank, x->dims));
    oxp_output_overwrites(n, 0, 0);
    return OXP_OK;
}

oxp_status oxp_unary_prepare(oxp_node *n, const oxp_unary *table, size_t rows)
{
    for (size_t i = 0; i < rows; i++)
        if (strcmp(table[i].type, n->op->type) == 0)
            return oxp_unary_prepare_row(n, &table[i]);
    return oxp_node_fail(n, OXP_EINTERNAL, "E-INTERNAL", "no function for %s", n->op->type);
}

static void run_half(const unary_state *state, const oxp_tensor *x, oxp_tensor *y)
{
    float block[OXP_BLOCK];
    const uint16_t *read = x->data;
    uint16_t *write = y->data;
    for (size_t i = 0; i < x->count; i += OXP_BLOCK) {
        size_t count = x->count - i < OXP_BLOCK ? x->count - i : OXP_BLOCK;
        oxp_floats_load(block, read + i, x->dtype, count);
        state->row->f32(block, block, count, state->p);
        oxp_floats_store(write + i, x->dtype, block, count);
    }
}

oxp_status oxp_unary_forward(oxp_node *n)
{
    const unary_state *state = n->state;
    const oxp_tensor *x = n->in[0];
    oxp_tensor *y = &n->out[0];
    if (x->dtype == OXP_FLOAT) {
        state->row->f32(x->data, y->data, x->count, state->p);
    } else if (x->dtype == OXP_DOUBLE) {
        const double *read = x->data;
        double *write = y->data;
        for (size_t i = 0; i < x->count; i++)
            write[i] = state->row->f64(read[i], state->p);
    } else if (oxp_dtype_is_half(x->dtype)) {
        run_half(state, x, y);
    } else {
        bool is_unsigned = oxp_integer_is_unsigned(x->dtype);
        for (size_t i = 0; i < x->count; i++) {
            int64_t v = oxp_integer_load(x->data, x->dtype, i);
            oxp_integer_store(y->data, x->dtype, i, state->row->integer(v, is_unsigned, state->p));
        }
    }
    return OXP_OK;
}

/* A row without a derivative is constant piece by piece. */
oxp_status oxp_unary_backward(oxp_node *n)
{
    const unary_state *state = n->state;
    const float *dy = oxp_dout(n, 0), *x;
    float *dx = oxp_din(n, 0);
    if (!dy || !dx || !state->row->df)
        return OXP_OK;
    x = oxp_real_in(n, 0);
    if (!x)
        return n->ctx->status;
    state->row->df(x, dy, dx, n->in[0]->count, state->p);
    return OXP_OK;
}
