/* embed_layer_normalization.c - com.microsoft EmbedLayerNormalization: e = word[id] +
 * position[place] (+ segment[seg]), then y = gamma * (e - mean) / sqrt(variance + epsilon) + beta
 * over the hidden dimension.
 *
 * Outputs: y [B, S, H]; INT32 [B], how many entries of each mask row are 1 (0 without a mask); e
 * [B, S, H]. https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md */
#include <math.h>
#include <string.h>

#include "operators/normalization_rows.h"
#include "operators/gradient.h"
#include "operators/movement.h"

enum { IDS, SEGMENTS, WORD, POSITION, SEGMENT, GAMMA, BETA, MASK, PLACES };

typedef struct embed_state {
    int64_t batch, rows, hidden;
    float epsilon;
} embed_state;

static bool given(const oxp_node *n, int i)
{
    return i < n->in_count && n->in[i] != NULL;
}

static oxp_status check_ids(oxp_node *n, int i, const embed_state *s)
{
    if (!given(n, i))
        return OXP_OK;
    const oxp_tensor *t = n->in[i];
    if (t->dtype != OXP_INT32 && t->dtype != OXP_INT64)
        return oxp_node_bad_dtype(n, i);
    bool shared = i == PLACES && t->rank == 2 && t->dims[0] == 1;
    if (t->rank == 2 && (t->dims[0] == s->batch || shared) && t->dims[1] == s->rows)
        return OXP_OK;
    char text[OXP_SHAPE_TEXT_MAX];
    return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "input %d has shape %s, expected [%lld,%lld]",
                         i, oxp_shape_text(text, t->rank, t->dims), (long long)s->batch,
                         (long long)s->rows);
}

static oxp_status check_table(oxp_node *n, int i, int rank, const embed_state *s)
{
    if (!given(n, i))
        return OXP_OK;
    const oxp_tensor *t = n->in[i];
    OXP_TRY(oxp_node_want(n, i, n->in[WORD]->dtype));
    if (t->rank == rank && t->dims[rank - 1] == s->hidden)
        return OXP_OK;
    char text[OXP_SHAPE_TEXT_MAX];
    return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                         "input %d has shape %s, expected rank %d and %lld at the end", i,
                         oxp_shape_text(text, t->rank, t->dims), rank, (long long)s->hidden);
}

static oxp_status embed_prepare(oxp_node *n)
{
    const oxp_tensor *ids = n->in[IDS], *word = n->in[WORD];
    embed_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    s->epsilon = oxp_attr_float(n, "epsilon", 1e-12f);
    oxp_attr_ignore(n, "mask_index_type");
    if (word->dtype != OXP_FLOAT && word->dtype != OXP_FLOAT16 && word->dtype != OXP_BFLOAT16)
        return oxp_node_bad_dtype(n, WORD);
    if (ids->rank != 2 || word->rank != 2 || given(n, SEGMENTS) != given(n, SEGMENT))
        return oxp_node_fail(
            n, OXP_EFORMAT, "E-SHAPE",
            "ids of rank %d and words of rank %d, expected 2 and 2, and segments with their table",
            ids->rank, word->rank);
    s->batch = ids->dims[0];
    s->rows = ids->dims[1];
    s->hidden = word->dims[1];
    const int id_inputs[] = {IDS, SEGMENTS, MASK, PLACES};
    for (int i = 0; i < 4; i++)
        OXP_TRY(check_ids(n, id_inputs[i], s));
    OXP_TRY(check_table(n, POSITION, 2, s));
    OXP_TRY(check_table(n, SEGMENT, 2, s));
    OXP_TRY(check_table(n, GAMMA, 1, s));
    OXP_TRY(check_table(n, BETA, 1, s));
    int64_t dims[3] = {s->batch, s->rows, s->hidden};
    OXP_TRY(oxp_output(n, 0, word->dtype, 3, dims));
    OXP_TRY(oxp_output(n, 1, OXP_INT32, 1, dims));
    return oxp_output(n, 2, word->dtype, 3, dims);
}

static void count_mask(const oxp_node *n, const embed_state *s)
{
    int32_t *counts = n->out_count > 1 ? n->out[1].data : NULL;
    for (int64_t b = 0; counts && b < s->batch; b++) {
        counts[b] = 0;
        for (int64_t r = 0; given(n, MASK) && r < s->rows; r++)
            counts[b] += oxp_tensor_int(n->in[MASK], (size_t)(b * s->rows + r)) == 1;
    }
}

/* The three tables; segment NULL when there is none. */
typedef struct tables {
    const float *word, *position, *segment, *gamma, *beta;
} tables;

static oxp_status sum_row(oxp_node *n, const embed_state *s, const tables *t, int64_t b, int64_t r,
                          float *to)
{
    int64_t word, position = r, segment = 0, at = b * s->rows + r;
    OXP_TRY(oxp_move_index(n, "input_ids", oxp_tensor_int(n->in[IDS], (size_t)at),
                           n->in[WORD]->dims[0], &word));
    if (given(n, PLACES))
        position = oxp_tensor_int(n->in[PLACES], (size_t)(n->in[PLACES]->dims[0] == 1 ? r : at));
    OXP_TRY(oxp_move_index(n, "position_ids", position, n->in[POSITION]->dims[0], &position));
    if (t->segment)
        OXP_TRY(oxp_move_index(n, "segment_ids", oxp_tensor_int(n->in[SEGMENTS], (size_t)at),
                               n->in[SEGMENT]->dims[0], &segment));
    for (int64_t i = 0; i < s->hidden; i++) {
        to[i] = t->word[word * s->hidden + i] + t->position[position * s->hidden + i];
        if (t->segment)
            to[i] += t->segment[segment * s->hidden + i];
    }
    return OXP_OK;
}

static void normalise(const embed_state *s, const tables *t, const float *x, float *y)
{
    double sum = 0, squares = 0, count = (double)s->hidden;
    for (int64_t i = 0; i < s->hidden; i++)
        sum += (double)x[i];
    double mean = sum / count;
    for (int64_t i = 0; i < s->hidden; i++)
        squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    float scale = (float)(1.0 / sqrt(squares / count + (double)s->epsilon));
    for (int64_t i = 0; i < s->hidden; i++)
        y[i] = (float)((double)x[i] - mean) * scale * t->gamma[i] + t->beta[i];
}

static oxp_status embed_forward(oxp_node *n)
{
    const embed_state *s = n->state;
    tables t = {.segment = NULL};
    count_mask(n, s);
    size_t count = (size_t)(s->batch * s->rows * s->hidden);
    bool wants_sum = n->out_count > 2 && n->out[2].data, wants_y = n->out[0].data;
    float *y = NULL, *sum = oxp_node_scratch(n, wants_sum ? count : (size_t)s->hidden, sizeof *sum);
    if (!sum)
        return n->ctx->status;
    OXP_TRY(oxp_move_floats(n, WORD, &t.word));
    OXP_TRY(oxp_move_floats(n, POSITION, &t.position));
    if (given(n, SEGMENT))
        OXP_TRY(oxp_move_floats(n, SEGMENT, &t.segment));
    OXP_TRY(oxp_move_floats(n, GAMMA, &t.gamma));
    OXP_TRY(oxp_move_floats(n, BETA, &t.beta));
    if (wants_y)
        OXP_TRY(oxp_move_float_output(n, 0, &y));
    for (int64_t b = 0; b < s->batch; b++) {
        for (int64_t r = 0; r < s->rows; r++) {
            int64_t at = (b * s->rows + r) * s->hidden;
            float *row = sum + (wants_sum ? at : 0);
            OXP_TRY(sum_row(n, s, &t, b, r, row));
            if (wants_y)
                normalise(s, &t, row, y + at);
        }
    }
    if (wants_y)
        oxp_move_store(n, 0, y);
    if (wants_sum && n->out[2].dtype == OXP_FLOAT)
        memcpy(n->out[2].data, sum, count * sizeof *sum);
    else if (wants_sum)
        oxp_move_store(n, 2, sum);
    return OXP_OK;
}

/* Rows of the tables that make row r of batch entry b; segment 0 when there is none. */
static oxp_status find_rows(oxp_node *n, const embed_state *s, int64_t b, int64_t r,
                            int64_t rows[3])
{
    int64_t at = b * s->rows + r;
    rows[1] = r;
    rows[2] = 0;
    OXP_TRY(oxp_move_index(n, "input_ids", oxp_tensor_int(n->in[IDS], (size_t)at),
                           n->in[WORD]->dims[0], &rows[0]));
    if (given(n, PLACES))
        rows[1] = oxp_tensor_int(n->in[PLACES], (size_t)(n->in[PLACES]->dims[0] == 1 ? r : at));
    OXP_TRY(oxp_move_index(n, "position_ids", rows[1], n->in[POSITION]->dims[0], &rows[1]));
    if (given(n, SEGMENT))
        OXP_TRY(oxp_move_index(n, "segment_ids", oxp_tensor_int(n->in[SEGMENTS], (size_t)at),
                               n->in[SEGMENT]->dims[0], &rows[2]));
    return OXP_OK;
}

/* ds of one row from its sum x; gamma and beta get their share. */
static void backward_row(const oxp_node *n, const embed_state *s, const float *gamma,
                         const float *x, const float *dy, float *g, float *ds)
{
    size_t count = (size_t)s->hidden;
    double mean, variance;
    oxp_row_moments(x, count, &mean, &variance);
    oxp_row_gradient row = {
        .mean = mean, .inverse = 1.0 / sqrt(variance + (double)s->epsilon), .centred = true};
    for (size_t i = 0; i < count; i++) {
        g[i] = dy[i] * gamma[i];
        if (oxp_din(n, GAMMA))
            oxp_din(n, GAMMA)[i] += dy[i] * (float)(((double)x[i] - mean) * row.inverse);
        if (oxp_din(n, BETA))
            oxp_din(n, BETA)[i] += dy[i];
    }
    oxp_row_backward(&row, x, g, ds, count);
}

static oxp_status embed_backward(oxp_node *n)
{
    const embed_state *s = n->state;
    const int tables_of[3] = {WORD, POSITION, SEGMENT};
    const float *dy = oxp_dout(n, 0), *dsum = oxp_dout(n, 2);
    tables t = {.segment = NULL};
    size_t hidden = (size_t)s->hidden;
    float *x = oxp_node_scratch(n, hidden, sizeof *x), *g = oxp_node_scratch(n, hidden, sizeof *g);
    float *ds = oxp_node_scratch(n, hidden, sizeof *ds);
    if (!x || !g || !ds)
        return n->ctx->status;
    OXP_TRY(oxp_move_floats(n, WORD, &t.word));
    OXP_TRY(oxp_move_floats(n, POSITION, &t.position));
    if (given(n, SEGMENT))
        OXP_TRY(oxp_move_floats(n, SEGMENT, &t.segment));
    OXP_TRY(oxp_move_floats(n, GAMMA, &t.gamma));
    for (int64_t at = 0; at < s->batch * s->rows; at++) {
        int64_t rows[3];
        OXP_TRY(find_rows(n, s, at / s->rows, at % s->rows, rows));
        OXP_TRY(sum_row(n, s, &t, at / s->rows, at % s->rows, x));
        memset(ds, 0, hidden * sizeof *ds);
        if (dy)
            backward_row(n, s, t.gamma, x, dy + at * s->hidden, g, ds);
        if (dsum)
            oxp_gradient_add(ds, dsum + at * s->hidden, hidden, 1);
        for (int i = 0; i < 3; i++)
            if (oxp_din(n, tables_of[i]))
                oxp_gradient_add(oxp_din(n, tables_of[i]) + rows[i] * s->hidden, ds, hidden, 1);
    }
    return OXP_OK;
}

static bool embed_weight(const oxp_graph_node *def, int input, int rank, int *channel_axis)
{
    (void)def;
    *channel_axis = 0;
    return input == WORD && rank == 2;
}

static const char *const embed_examples[] = {
    "I[2,3]:i32={0,1,2,3,4,5} S[2,3]:i32={0,0,1,1,0,1} W[6,8] P[4,8] T[2,8] G[8] B[8] "
    "M[2,3]:i32={1,1,0,1,1,1}; epsilon=0.00001 outputs=3",
    "I[2,3]:i32={0,1,2,3,4,5} _ W[6,8] P[4,8] _ G[8] B[8] _ L[1,3]:i32={2,1,0}",
    NULL,
};

const oxp_operator oxp_op_embed_layer_normalization = {
    .domain = "com.microsoft",
    .type = "EmbedLayerNormalization",
    .since = 1,
    .min_in = 7,
    .max_in = 9,
    .min_out = 1,
    .max_out = 3,
    .optional = 1 << SEGMENTS | 1 << SEGMENT | 1 << MASK | 1 << PLACES,
    .prepare = embed_prepare,
    .forward = embed_forward,
    .backward = embed_backward,
    .saves = 0x13f,
    .weight = embed_weight,
    .examples = embed_examples,
};
