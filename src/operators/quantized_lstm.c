/* quantized_lstm.c - com.microsoft DynamicQuantizeLSTM: LSTM (kernels/rnn.h) with 8-bit weights; X
 * as a whole and h of every step are quantised to unsigned 8 bits by their own range, multiplied
 * exactly, and scaled back.
 *
 * Inputs X[T,B,I], W[D,I,4*H], R[D,H,4*H], B[D,8*H], sequence_lens, initial_h, initial_c,
 * P[D,3*H], W_scale, W_zero_point, R_scale, R_zero_point; scales and zero points [D] or [D,4*H].
 * Outputs as LSTM. */
#include "kernels/integer.h"
#include "kernels/requantise.h"
#include "operators/quantized_inputs.h"
#include "operators/real.h"
#include "operators/recurrent.h"

enum { X, W, R, B, LENGTHS, INITIAL_H, INITIAL_C, PEEPHOLES, W_SCALE, W_ZERO, R_SCALE, R_ZERO };

/* A scale and its zero point: per direction, or per direction and column. */
static oxp_status want_scale(oxp_node *n, int scale, int zero, int codes, const oxp_recurrent *r)
{
    size_t columns = r->directions * 4 * r->shape[0].hidden;
    const int inputs[2] = {scale, zero};
    OXP_TRY(oxp_node_want(n, scale, OXP_FLOAT));
    OXP_TRY(oxp_node_want(n, zero, n->in[codes]->dtype));
    for (int i = 0; i < 2; i++) {
        size_t count = n->in[inputs[i]]->count;
        if (count != r->directions && count != columns)
            return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                                 "input %d has %zu elements, expected %zu or %zu", inputs[i], count,
                                 r->directions, columns);
    }
    return OXP_OK;
}

static oxp_status check_inputs(oxp_node *n, const oxp_recurrent *r)
{
    const oxp_rnn_shape *s = &r->shape[0];
    int64_t d = (int64_t)r->directions, h = (int64_t)s->hidden;
    OXP_TRY(oxp_recurrent_want_shape(n, W, 3, (const int64_t[]){d, (int64_t)s->input, 4 * h}));
    OXP_TRY(oxp_recurrent_want_shape(n, R, 3, (const int64_t[]){d, h, 4 * h}));
    OXP_TRY(oxp_recurrent_want_shape(n, B, 2, (const int64_t[]){d, 8 * h}));
    OXP_TRY(oxp_recurrent_want_shape(n, LENGTHS, 1, (const int64_t[]){(int64_t)s->batch}));
    if (oxp_node_has(n, LENGTHS))
        OXP_TRY(oxp_node_want(n, LENGTHS, OXP_INT32));
    OXP_TRY(oxp_recurrent_want_state(n, INITIAL_H, r));
    OXP_TRY(oxp_recurrent_want_state(n, INITIAL_C, r));
    OXP_TRY(oxp_recurrent_want_shape(n, PEEPHOLES, 2, (const int64_t[]){d, 3 * h}));
    OXP_TRY(want_scale(n, W_SCALE, W_ZERO, W, r));
    return want_scale(n, R_SCALE, R_ZERO, R, r);
}

static oxp_status prepare(oxp_node *n)
{
    static const int floats[] = {X, B, INITIAL_H, INITIAL_C, PEEPHOLES};
    const oxp_tensor *x = n->in[X], *recurrence = n->in[R];
    oxp_recurrent *r = oxp_node_state(n, sizeof *r);
    if (!r)
        return OXP_ELIMIT;
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++)
        if (n->in[floats[i]])
            OXP_TRY(oxp_node_want(n, floats[i], OXP_FLOAT));
    OXP_TRY(oxp_codes_want(n, W));
    OXP_TRY(oxp_node_want(n, R, n->in[W]->dtype));
    if (x->rank != 3 || recurrence->rank != 3)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "inputs 0 and 2 have ranks %d and %d, expected 3", x->rank,
                             recurrence->rank);
    *r = (oxp_recurrent){.shape = {{.kind = OXP_RNN_LSTM}}};
    r->shape[0].steps = (size_t)x->dims[0];
    r->shape[0].batch = (size_t)x->dims[1];
    r->shape[0].input = (size_t)x->dims[2];
    r->shape[0].hidden = (size_t)recurrence->dims[1];
    r->shape[0].input_forget = oxp_attr_int(n, "input_forget", 0) != 0;
    OXP_TRY(oxp_recurrent_read(n, r, false));
    OXP_TRY(check_inputs(n, r));
    return oxp_recurrent_outputs(n, r, OXP_FLOAT);
}

/* ---- products with 8-bit weights ---- */

/* [rows, columns] of one direction, with a scale and a zero point for every column. */
typedef struct matrix {
    oxp_codes codes;
    const float *scales;
    size_t rows, columns;
} matrix;

static oxp_status read_matrix(oxp_node *n, int codes, int scale, int zero, size_t d, matrix *m)
{
    const oxp_tensor *t = n->in[codes];
    m->rows = (size_t)t->dims[1];
    m->columns = (size_t)t->dims[2];
    float *scales = oxp_node_scratch(n, m->columns, sizeof *scales);
    int32_t *zeros = oxp_node_scratch(n, m->columns, sizeof *zeros);
    if (!scales || !zeros)
        return OXP_ELIMIT;
    size_t directions = (size_t)t->dims[0];
    for (size_t j = 0; j < m->columns; j++) {
        size_t own = d * m->columns + j;
        scales[j] =
            (float)oxp_tensor_real(n->in[scale], n->in[scale]->count == directions ? d : own);
        zeros[j] = (int32_t)oxp_tensor_int(n->in[zero], n->in[zero]->count == directions ? d : own);
    }
    m->scales = scales;
    m->codes = (oxp_codes){.data = (const uint8_t *)t->data + d * m->rows * m->columns,
                           .is_signed = oxp_is_signed(t->dtype),
                           .zero_points = zeros};
    return OXP_OK;
}

/* Memory for one product of `rows` rows. */
typedef struct product {
    oxp_node *n;
    const matrix *m;
    size_t rows;
    uint8_t *codes;
    int32_t *sums, *zeros;
    float *factors, *scaled;
    oxp_status status; /* of the first product that failed */
} product;

static oxp_status make_product(oxp_node *n, const matrix *m, size_t rows, product *p)
{
    *p = (product){.n = n, .m = m, .rows = rows};
    p->codes = oxp_node_scratch(n, rows * m->rows, 1);
    p->sums = oxp_node_scratch(n, rows * m->columns, sizeof *p->sums);
    p->zeros = oxp_node_scratch(n, rows, sizeof *p->zeros);
    p->factors = oxp_node_scratch(n, m->columns, sizeof *p->factors);
    p->scaled = oxp_node_scratch(n, m->columns, sizeof *p->scaled);
    return p->codes && p->sums && p->zeros && p->factors && p->scaled ? OXP_OK : OXP_ELIMIT;
}

/* out[rows, columns] += quantised x[rows, depth] times columns first.. of the matrix */
static oxp_status multiply(product *p, const float *x, size_t first, size_t columns, float *out,
                           size_t out_stride)
{
    const matrix *m = p->m;
    float scale;
    int32_t zero;
    oxp_codes weights = m->codes, values = {.data = p->codes, .zero_points = p->zeros};
    oxp_gemm_shape shape = oxp_gemm_plain(false, false, p->rows, columns, m->rows);
    shape.ldb = m->columns;
    weights.data = (const uint8_t *)weights.data + first;
    weights.zero_points += first;
    oxp_dynamic_scale(x, p->rows * m->rows, &scale, &zero);
    oxp_to_codes(p->codes, false, x, p->rows * m->rows, scale, zero);
    for (size_t i = 0; i < p->rows; i++)
        p->zeros[i] = zero;
    for (size_t j = 0; j < columns; j++)
        p->factors[j] = scale * m->scales[first + j];
    OXP_TRY(oxp_integer_matmul(p->n->ctx, &shape, values, weights, p->sums));
    for (size_t i = 0; i < p->rows; i++) {
        oxp_scale_sums(p->scaled, p->sums + i * columns, columns, (oxp_factors){p->factors, true},
                       NULL);
        for (size_t j = 0; j < columns; j++)
            out[i * out_stride + j] += p->scaled[j];
    }
    return OXP_OK;
}

static void multiply_state(void *user, const float *h, size_t first, size_t count, float *out,
                           size_t out_stride)
{
    product *p = user;
    size_t hidden = p->m->rows;
    if (p->status == OXP_OK)
        p->status = multiply(p, h, first * hidden, count * hidden, out, out_stride);
}

/* ---- forward ---- */

static oxp_status run_direction(oxp_node *n, const oxp_recurrent *r, size_t d,
                                const oxp_rnn_data *data)
{
    const oxp_rnn_shape *s = &r->shape[d];
    matrix w, recurrence;
    product inputs, states;
    size_t rows = s->steps * s->batch, columns = 4 * s->hidden;
    OXP_TRY(read_matrix(n, W, W_SCALE, W_ZERO, d, &w));
    OXP_TRY(read_matrix(n, R, R_SCALE, R_ZERO, d, &recurrence));
    OXP_TRY(make_product(n, &w, rows, &inputs));
    OXP_TRY(make_product(n, &recurrence, s->batch, &states));
    float *projected = oxp_node_scratch(n, rows * columns, sizeof *projected);
    float *bias = oxp_node_scratch(n, columns, sizeof *bias);
    if (!projected || !bias)
        return OXP_ELIMIT;
    oxp_rnn_bias(s, data->bias, bias);
    for (size_t i = 0; i < rows * columns; i++)
        projected[i] = bias[i % columns];
    OXP_TRY(multiply(&inputs, data->x, 0, columns, projected, columns));
    OXP_TRY(oxp_rnn_steps(n->ctx, s, data, projected, multiply_state, &states));
    return states.status;
}

static const float *input_at(const oxp_node *n, int i, size_t by)
{
    return n->in_count > i && n->in[i] ? (const float *)n->in[i]->data + by : NULL;
}

static float *output_at(const oxp_node *n, int i, size_t by)
{
    return oxp_node_makes(n, i) ? (float *)n->out[i].data + by : NULL;
}

static oxp_status forward(oxp_node *n)
{
    const oxp_recurrent *r = n->state;
    const int32_t *lengths;
    size_t hidden = r->shape[0].hidden;
    OXP_TRY(oxp_quantized_check(n, W_SCALE));
    OXP_TRY(oxp_quantized_check(n, R_SCALE));
    OXP_TRY(oxp_recurrent_lengths(n, LENGTHS, r, &lengths));
    for (size_t d = 0; d < r->directions; d++) {
        size_t at = oxp_recurrent_at(r, d);
        oxp_rnn_data data = {.x = n->in[X]->data,
                             .bias = input_at(n, B, d * 8 * hidden),
                             .peepholes = input_at(n, PEEPHOLES, d * 3 * hidden),
                             .lengths = lengths,
                             .h0 = input_at(n, INITIAL_H, at),
                             .c0 = input_at(n, INITIAL_C, at),
                             .y = output_at(n, 0, at),
                             .y_h = output_at(n, 1, at),
                             .y_c = output_at(n, 2, at)};
        OXP_TRY(run_direction(n, r, d, &data));
    }
    return OXP_OK;
}

static void cost(const oxp_node *n, oxp_cost *cost)
{
    oxp_cost_of(n, oxp_recurrent_macs(n->state), cost);
}

static const char *const examples[] = {
    "X[4,2,3] W[1,3,8]:i8 R[1,2,8]:i8 _ _ _ _ _ S[1]={0.05} Z[1]:i8={0} T[1]={0.06} Y[1]:i8={0}; "
    "hidden_size=2 outputs=3",
    "X[3,2,3] W[2,3,8]:u8 R[2,2,8]:u8 B[2,16] L[2]:i32={3,2} H[2,2,2] C[2,2,2] P[2,6] "
    "S[2]={0.05,0.04} Z[2]:u8={1,2} T[2]={0.06,0.03} Y[2]:u8={2,1}; hidden_size=2 "
    "direction='bidirectional'",
    NULL};

const oxp_operator oxp_op_dynamic_quantize_lstm_1 = {.domain = "com.microsoft",
                                                     .type = "DynamicQuantizeLSTM",
                                                     .since = 1,
                                                     .min_in = 12,
                                                     .max_in = 12,
                                                     .min_out = 0,
                                                     .max_out = 3,
                                                     .optional = 0xf8,
                                                     .prepare = prepare,
                                                     .forward = forward,
                                                     .cost = cost,
                                                     .examples = examples};
