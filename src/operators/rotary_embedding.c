/* rotary_embedding.c - RotaryEmbedding of opset 23 and of com.microsoft (Su et al., "RoFormer",
 * arXiv 2104.09864): pairs (a, b) of the first `dim` entries of each head turn by the angle of
 * their place,
 *   a' = a cos - b sin,   b' = a sin + b cos,
 * a pair being entries i and i + dim/2, or 2i and 2i + 1 (interleaved). The rest of the head stays.
 *
 * X is [B, S, H * D] (with num_heads) or [B, H, S, D]; the caches are [places, dim/2], looked up by
 * position_ids, or [B, S, dim/2] without them. The com.microsoft form takes position_ids as [B, S]
 * or as [1], the place of the first row. https://onnx.ai/onnx/operators/onnx__RotaryEmbedding.html
 * Not here: packed batches and a scale other than 1 (com.microsoft). */
#include <string.h>

#include "operators/gradient.h"
#include "operators/movement.h"

typedef struct rotary_state {
    int cos, positions; /* inputs; sin follows cos */
    bool interleaved;
    int64_t batch, rows, heads, size, half;
    int64_t batch_step, row_step, head_step;
} rotary_state;

static bool has_positions(const oxp_node *n, const rotary_state *s)
{
    return s->positions < n->in_count && n->in[s->positions];
}

static oxp_status read_shape(oxp_node *n, rotary_state *s, int64_t num_heads, int64_t dim)
{
    const oxp_tensor *x = n->in[0], *cos = n->in[s->cos];
    char text[OXP_SHAPE_TEXT_MAX];
    if (x->rank == 4) {
        s->heads = x->dims[1];
        s->rows = x->dims[2];
        s->size = x->dims[3];
        s->row_step = s->size;
        s->head_step = s->rows * s->size;
    } else if (x->rank == 3) {
        int64_t hidden = x->dims[2], pair = cos->rank > 0 ? 2 * cos->dims[cos->rank - 1] : 0;
        s->heads = num_heads > 0 ? num_heads : pair > 0 ? hidden / pair : 0;
        if (s->heads < 1 || hidden % s->heads != 0)
            return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                                 "num_heads %lld for a hidden size of %lld", (long long)num_heads,
                                 (long long)hidden);
        s->rows = x->dims[1];
        s->size = hidden / s->heads;
        s->row_step = hidden;
        s->head_step = s->size;
    } else {
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "the input has shape %s, expected rank 3 or 4",
                             oxp_shape_text(text, x->rank, x->dims));
    }
    s->batch = x->dims[0];
    s->batch_step = s->heads * s->rows * s->size;
    dim = dim > 0 ? dim : s->size;
    if (dim > s->size || dim % 2 != 0)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "rotary_embedding_dim %lld for heads of %lld", (long long)dim,
                             (long long)s->size);
    s->half = dim / 2;
    return OXP_OK;
}

static oxp_status check_caches(oxp_node *n, const rotary_state *s)
{
    const oxp_tensor *cos = n->in[s->cos], *sin = n->in[s->cos + 1];
    bool looked_up = has_positions(n, s);
    bool fits = cos->rank == (looked_up ? 2 : 3) && sin->rank == cos->rank &&
                cos->count == sin->count && cos->dims[cos->rank - 1] == s->half &&
                sin->dims[sin->rank - 1] == s->half;
    if (fits && !looked_up)
        fits = cos->dims[0] == s->batch && cos->dims[1] == s->rows;
    if (!fits) {
        char a[OXP_SHAPE_TEXT_MAX], b[OXP_SHAPE_TEXT_MAX];
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "caches %s and %s do not fit %lld pairs a head",
                             oxp_shape_text(a, cos->rank, cos->dims),
                             oxp_shape_text(b, sin->rank, sin->dims), (long long)s->half);
    }
    if (!looked_up)
        return OXP_OK;
    const oxp_tensor *positions = n->in[s->positions];
    OXP_TRY(oxp_node_want(n, s->positions, OXP_INT64));
    bool first = s->cos == 2 && positions->count == 1;
    if (!first && positions->count != (size_t)(s->batch * s->rows))
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "%zu position_ids for a batch of %lld with %lld rows",
                             positions->count, (long long)s->batch, (long long)s->rows);
    return OXP_OK;
}

static oxp_status declare(oxp_node *n, int cos, int positions)
{
    rotary_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    s->cos = cos;
    s->positions = positions;
    s->interleaved = oxp_attr_int(n, "interleaved", 0) != 0;
    const int floats[3] = {0, cos, cos + 1};
    for (int i = 0; i < 3; i++) {
        oxp_dtype dtype = n->in[floats[i]]->dtype;
        if (dtype != OXP_FLOAT && dtype != OXP_FLOAT16 && dtype != OXP_BFLOAT16)
            return oxp_node_bad_dtype(n, floats[i]);
    }
    OXP_TRY(read_shape(n, s, oxp_attr_int(n, "num_heads", 0),
                       oxp_attr_int(n, "rotary_embedding_dim", 0)));
    OXP_TRY(check_caches(n, s));
    return oxp_output(n, 0, n->in[0]->dtype, n->in[0]->rank, n->in[0]->dims);
}

static oxp_status rotary_23_prepare(oxp_node *n)
{
    return declare(n, 1, 3);
}

static oxp_status rotary_microsoft_prepare(oxp_node *n)
{
    float scale = oxp_attr_float(n, "scale", 1.0f);
    int64_t packed = oxp_attr_int(n, "is_packed_batching", 0);
    if (scale != 1.0f || packed != 0)
        return oxp_node_fail(n, OXP_EUNSUPPORTED, "E-ATTR",
                             "scale %g and is_packed_batching %lld are not supported",
                             (double)scale, (long long)packed);
    return declare(n, 2, 1);
}

static void turn(const rotary_state *s, const float *x, float *y, const float *cos,
                 const float *sin)
{
    int64_t step = s->interleaved ? 2 : 1, apart = s->interleaved ? 1 : s->half;
    for (int64_t i = 0; i < s->half; i++) {
        float a = x[i * step], b = x[i * step + apart];
        y[i * step] = a * cos[i] - b * sin[i];
        y[i * step + apart] = a * sin[i] + b * cos[i];
    }
    memcpy(y + 2 * s->half, x + 2 * s->half, (size_t)(s->size - 2 * s->half) * sizeof *y);
}

/* The row of the caches for row r of batch entry b. */
static oxp_status cache_row(oxp_node *n, const rotary_state *s, int64_t b, int64_t r, int64_t *row)
{
    *row = b * s->rows + r;
    if (!has_positions(n, s))
        return OXP_OK;
    const oxp_tensor *positions = n->in[s->positions];
    bool first = positions->count == 1 && s->batch * s->rows != 1;
    int64_t place =
        first ? oxp_tensor_int(positions, 0) + r : oxp_tensor_int(positions, (size_t)*row);
    return oxp_move_index(n, "position_ids", place, n->in[s->cos]->dims[0], row);
}

static oxp_status rotary_forward(oxp_node *n)
{
    const rotary_state *s = n->state;
    const float *x, *cos, *sin;
    float *y;
    if (!n->out[0].data || n->out[0].count == 0)
        return OXP_OK;
    OXP_TRY(oxp_move_floats(n, 0, &x));
    OXP_TRY(oxp_move_floats(n, s->cos, &cos));
    OXP_TRY(oxp_move_floats(n, s->cos + 1, &sin));
    OXP_TRY(oxp_move_float_output(n, 0, &y));
    for (int64_t b = 0; b < s->batch; b++) {
        for (int64_t r = 0; r < s->rows; r++) {
            int64_t row;
            OXP_TRY(cache_row(n, s, b, r, &row));
            for (int64_t h = 0; h < s->heads; h++) {
                int64_t at = b * s->batch_step + r * s->row_step + h * s->head_step;
                turn(s, x + at, y + at, cos + row * s->half, sin + row * s->half);
            }
        }
    }
    oxp_move_store(n, 0, y);
    return OXP_OK;
}

/* dx turns back; the caches, where they are wanted, get what multiplies them. */
static void turn_back(const rotary_state *s, const float *x, const float *dy, const float *cos,
                      const float *sin, float *dx, float *dcos, float *dsin)
{
    int64_t step = s->interleaved ? 2 : 1, apart = s->interleaved ? 1 : s->half;
    for (int64_t i = 0; i < s->half; i++) {
        float da = dy[i * step], db = dy[i * step + apart];
        float a = x[i * step], b = x[i * step + apart];
        if (dx) {
            dx[i * step] += da * cos[i] + db * sin[i];
            dx[i * step + apart] += db * cos[i] - da * sin[i];
        }
        if (dcos)
            dcos[i] += da * a + db * b;
        if (dsin)
            dsin[i] += db * a - da * b;
    }
    if (dx)
        oxp_gradient_add(dx + 2 * s->half, dy + 2 * s->half, (size_t)(s->size - 2 * s->half), 1);
}

static oxp_status rotary_backward(oxp_node *n)
{
    const rotary_state *s = n->state;
    const float *x, *cos, *sin, *dy = oxp_dout(n, 0);
    float *dx = oxp_din(n, 0), *dcos = oxp_din(n, s->cos), *dsin = oxp_din(n, s->cos + 1);
    if (!dy)
        return OXP_OK;
    OXP_TRY(oxp_move_floats(n, 0, &x));
    OXP_TRY(oxp_move_floats(n, s->cos, &cos));
    OXP_TRY(oxp_move_floats(n, s->cos + 1, &sin));
    for (int64_t b = 0; b < s->batch; b++)
        for (int64_t r = 0; r < s->rows; r++) {
            int64_t row;
            OXP_TRY(cache_row(n, s, b, r, &row));
            row *= s->half;
            for (int64_t h = 0; h < s->heads; h++) {
                int64_t at = b * s->batch_step + r * s->row_step + h * s->head_step;
                turn_back(s, x + at, dy + at, cos + row, sin + row, dx ? dx + at : NULL,
                          dcos ? dcos + row : NULL, dsin ? dsin + row : NULL);
            }
        }
    return OXP_OK;
}

static const char *const rotary_23_examples[] = {
    "X[2,4,3,8] C[10,4] S[10,4] P[2,3]:i64={0,1,2,5,6,7}",
    "X[2,3,24] C[10,4] S[10,4] P[2,3]:i64={0,1,2,5,6,7}; num_heads=3 interleaved=1",
    "X[2,3,4,8] C[2,4,2] S[2,4,2]; rotary_embedding_dim=4",
    NULL,
};

const oxp_operator oxp_op_rotary_embedding_23 = {
    .domain = "",
    .type = "RotaryEmbedding",
    .since = 23,
    .min_in = 3,
    .max_in = 4,
    .min_out = 1,
    .max_out = 1,
    .optional = 1 << 3,
    .prepare = rotary_23_prepare,
    .forward = rotary_forward,
    .backward = rotary_backward,
    .saves = 0xf,
    .examples = rotary_23_examples,
};

static const char *const rotary_microsoft_examples[] = {
    "X[2,3,16] P[2,3]:i64={0,1,2,5,6,7} C[10,4] S[10,4]",
    "X[2,2,3,8] P[1]:i64={4} C[10,4] S[10,4]; interleaved=1",
    "X[1,3,24] P[1]:i64={0} C[10,2] S[10,2]; num_heads=3 rotary_embedding_dim=4",
    NULL,
};

const oxp_operator oxp_op_rotary_embedding_microsoft = {
    .domain = "com.microsoft",
    .type = "RotaryEmbedding",
    .since = 1,
    .min_in = 4,
    .max_in = 4,
    .min_out = 1,
    .max_out = 1,
    .prepare = rotary_microsoft_prepare,
    .forward = rotary_forward,
    .backward = rotary_backward,
    .saves = 0xf,
    .examples = rotary_microsoft_examples,
};
