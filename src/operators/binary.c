/* binary.c - how a C = f(A, B) operator is prepared and run. The loops are in binary_arithmetic.c,
 * binary_pow.c, compare.c, logical.c and bitwise.c.
 *
 * Before opset 7 there was another broadcasting: with broadcast=1, B's dimensions lie along A's
 * from `axis` on, by default along the last ones. */
#include "operators/binary.h"

#include <string.h>

#include "operators/cast_float.h"
#include "operators/gradient.h"

typedef struct binary_state {
    const oxp_binary *row;
    oxp_broadcast plan;
} binary_state;

/* B with ones appended, so that its first dimension meets A's dimension `axis`. */
static oxp_status align_legacy(oxp_node *n, oxp_tensor *b)
{
    const oxp_tensor *a = n->in[0];
    oxp_attr_ignore(n, "broadcast");
    oxp_attr_ignore(n, "consumed_inputs");
    if (!oxp_attr_present(n, "axis") || b->rank == 0)
        return OXP_OK;
    int axis = 0;
    OXP_TRY(oxp_node_axis(n, oxp_attr_int(n, "axis", 0), a->rank, false, &axis));
    if (axis + b->rank > a->rank) {
        return oxp_node_fail(n, OXP_EFORMAT, "E-BROADCAST",
                             "B of rank %d does not fit A of rank %d at axis %d", b->rank, a->rank,
                             axis);
    }
    for (; axis + b->rank < a->rank; b->rank++)
        b->dims[b->rank] = 1;
    return OXP_OK;
}

bool oxp_binary_has(const oxp_binary *row, oxp_dtype dtype)
{
    return row->loops[oxp_dtype_is_half(dtype) ? OXP_FLOAT : dtype] != NULL;
}

/* Prefers an input that is not constant: that one never dies. */
static void overwrite_an_input(oxp_node *n)
{
    const oxp_tensor *c = &n->out[0];
    int best = -1;
    for (int i = 1; i >= 0; i--) {
        bool constant = (n->constant >> i & 1) != 0;
        if (!constant && n->in[i]->count == c->count &&
            oxp_dtype_bits(n->in[i]->dtype) == oxp_dtype_bits(c->dtype))
            best = i;
    }
    if (best >= 0)
        oxp_output_overwrites(n, 0, best);
}

static oxp_status plan_output(oxp_node *n, const oxp_binary *row, const oxp_tensor *b)
{
    const oxp_tensor *a = n->in[0];
    binary_state *state = oxp_node_state(n, sizeof *state);
    if (!state)
        return n->ctx->status;
    state->row = row;
    int rank;
    int64_t dims[OXP_MAX_RANK];
    OXP_TRY(oxp_node_broadcast(n, a, b, &rank, dims));
    OXP_TRY(oxp_output(n, 0, row->result == OXP_UNDEFINED ? a->dtype : row->result, rank, dims));
    oxp_broadcast_plan(&state->plan, rank, dims, 2, (const oxp_tensor *const[]){a, b});
    return OXP_OK;
}

oxp_status oxp_binary_prepare_row(oxp_node *n, const oxp_binary *row)
{
    const oxp_tensor *a = n->in[0];
    oxp_tensor b = *n->in[1];
    if (!oxp_binary_has(row, a->dtype))
        return oxp_node_bad_dtype(n, 0);
    OXP_TRY(oxp_node_want(n, 1, a->dtype));
    if (n->op->since < 7)
        OXP_TRY(align_legacy(n, &b));
    OXP_TRY(plan_output(n, row, &b));
    overwrite_an_input(n);
    return OXP_OK;
}

oxp_status oxp_binary_prepare_mixed(oxp_node *n, const oxp_binary *row)
{
    return plan_output(n, row, n->in[1]);
}

oxp_status oxp_binary_prepare(oxp_node *n, const oxp_binary *table, size_t rows)
{
    for (size_t i = 0; i < rows; i++)
        if (strcmp(table[i].type, n->op->type) == 0)
            return oxp_binary_prepare_row(n, &table[i]);
    return oxp_node_fail(n, OXP_EINTERNAL, "E-INTERNAL", "no loops for %s", n->op->type);
}

/* One run of half elements, block by block. */
static void run_half(const oxp_binary *row, oxp_dtype dtype, const uint16_t *a, const uint16_t *b,
                     uint8_t *c, size_t run, bool a_moves, bool b_moves)
{
    float a_block[OXP_BLOCK], b_block[OXP_BLOCK], c_block[OXP_BLOCK];
    for (size_t i = 0; i < run; i += OXP_BLOCK) {
        size_t count = run - i < OXP_BLOCK ? run - i : OXP_BLOCK;
        oxp_floats_load(a_block, a_moves ? a + i : a, dtype, a_moves ? count : 1);
        oxp_floats_load(b_block, b_moves ? b + i : b, dtype, b_moves ? count : 1);
        if (row->result == OXP_BOOL) {
            row->loops[OXP_FLOAT](a_block, b_block, c + i, count, a_moves, b_moves);
        } else {
            row->loops[OXP_FLOAT](a_block, b_block, c_block, count, a_moves, b_moves);
            oxp_floats_store(c + i * 2, dtype, c_block, count);
        }
    }
}

void oxp_binary_apply(const oxp_binary *row, oxp_dtype dtype, const oxp_broadcast *plan,
                      const void *a, const void *b, void *c)
{
    oxp_broadcast_cursor at = {0};
    const uint8_t *as = a, *bs = b;
    uint8_t *cs = c;
    size_t size = oxp_dtype_bits(dtype) / 8, run = oxp_broadcast_run(plan);
    size_t step = run * (row->result == OXP_BOOL ? 1 : size);
    bool a_moves = oxp_broadcast_advances(plan, 0), b_moves = oxp_broadcast_advances(plan, 1);
    oxp_binary_loop loop = row->loops[dtype];
    size_t runs = oxp_broadcast_runs(plan);
    for (size_t r = 0; r < runs; r++, cs += step, oxp_broadcast_next(plan, &at)) {
        const void *a_run = as + at.offset[0] * size, *b_run = bs + at.offset[1] * size;
        if (loop)
            loop(a_run, b_run, cs, run, a_moves, b_moves);
        else
            run_half(row, dtype, a_run, b_run, cs, run, a_moves, b_moves);
    }
}

oxp_status oxp_binary_forward(oxp_node *n)
{
    const binary_state *state = n->state;
    oxp_binary_apply(state->row, n->in[0]->dtype, &state->plan, n->in[0]->data, n->in[1]->data,
                     n->out[0].data);
    return OXP_OK;
}

/* ---- backward ---- */

/* One run, in blocks: both operands and their gradients side by side. */
typedef struct slope {
    const binary_state *state;
    const oxp_tensor *in[2];
    const float *dc;
    float *din[2];
    double *sums[2]; /* of an operand that is repeated; else NULL */
} slope;

/* The operand's elements of a block: its own memory where that will do. */
static const float *load(const oxp_tensor *t, size_t from, bool moves, float *block, size_t count)
{
    const float *values = t->data;
    if (t->dtype == OXP_FLOAT && moves)
        return values + from;
    for (size_t i = 0; i < count; i++) {
        size_t at = from + (moves ? i : 0);
        block[i] = t->dtype == OXP_FLOAT ? values[at] : (float)oxp_tensor_real(t, at);
    }
    return block;
}

OXP_HOT static void add_each(double *sums, const float *values, size_t count)
{
    OXP_LANES
    for (size_t i = 0; i < count; i++)
        sums[i] += (double)values[i];
}

/* In lanes that are folded in a fixed order. */
OXP_HOT static double total(const float *values, size_t count)
{
    double lanes[16] = {0};
    size_t i = 0;
    for (; i + 16 <= count; i += 16)
        for (size_t k = 0; k < 16; k++)
            lanes[k] += (double)values[i + k];
    for (; i < count; i++)
        lanes[i % 16] += (double)values[i];
    for (size_t width = 8; width > 0; width /= 2)
        for (size_t k = 0; k < width; k++)
            lanes[k] += lanes[k + width];
    return lanes[0];
}

/* An operand without sums has as many elements as the output. */
static void deliver(const slope *s, int k, size_t to, bool moves, const float *values, size_t count)
{
    if (!s->sums[k])
        oxp_gradient_add(s->din[k] + to, values, count, 1);
    else if (moves)
        add_each(s->sums[k] + to, values, count);
    else
        s->sums[k][to] += total(values, count);
}

static void slope_run(const slope *s, const oxp_broadcast_cursor *at, size_t first)
{
    float in[2][OXP_BLOCK], out[2][OXP_BLOCK];
    const float *read[2];
    const oxp_broadcast *plan = &s->state->plan;
    size_t run = oxp_broadcast_run(plan);
    for (size_t i = 0; i < run; i += OXP_BLOCK) {
        size_t count = run - i < OXP_BLOCK ? run - i : OXP_BLOCK, from[2];
        for (int k = 0; k < 2; k++) {
            bool moves = oxp_broadcast_advances(plan, k);
            from[k] = at->offset[k] + (moves ? i : 0);
            read[k] = load(s->in[k], from[k], moves, in[k], count);
        }
        s->state->row->df(read[0], read[1], s->dc + first + i, s->din[0] ? out[0] : NULL,
                          s->din[1] ? out[1] : NULL, count);
        for (int k = 0; k < 2; k++)
            if (s->din[k])
                deliver(s, k, from[k], oxp_broadcast_advances(plan, k), out[k], count);
    }
}

oxp_status oxp_binary_backward(oxp_node *n)
{
    slope s = {.state = n->state,
               .in = {n->in[0], n->in[1]},
               .dc = oxp_dout(n, 0),
               .din = {oxp_din(n, 0), oxp_din(n, 1)}};
    const oxp_broadcast *plan = &s.state->plan;
    if (!s.dc || !s.state->row->df)
        return OXP_OK;
    for (int k = 0; k < 2; k++)
        if (s.din[k] && n->in[k]->count != n->out[0].count) {
            s.sums[k] = oxp_node_scratch(n, n->in[k]->count, sizeof *s.sums[k]);
            if (!s.sums[k])
                return n->ctx->status;
        }
    oxp_broadcast_cursor at = {0};
    size_t runs = oxp_broadcast_runs(plan), run = oxp_broadcast_run(plan);
    for (size_t r = 0; r < runs; r++, oxp_broadcast_next(plan, &at))
        slope_run(&s, &at, r * run);
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; s.sums[k] && i < n->in[k]->count; i++)
            s.din[k][i] += (float)s.sums[k][i];
    return OXP_OK;
}
