/* gather_block_quantized.c - com.microsoft GatherBlockQuantized: rows of a table quantised in
 * blocks along quantize_axis, y = (q - zero_point) * scale, scale and zero_point those of the
 * element's block. https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
 *
 * The table is INT4 or UINT4 (default zero point 0), or UINT8 holding `bits` = 2, 4 or 8 bits a
 * value, packed along the last dimension from the low end (default zero point 2^(bits-1)). An index
 * out of range is an error here. Not here: FP8 and FP4 tables. */
#include "operators/movement.h"

enum { DATA, INDICES, SCALES, ZERO_POINTS };

typedef struct quantized_state {
    int rank, gather_axis, quantize_axis;
    int64_t block;
    unsigned bits;
    bool packed_rows;             /* UINT8 with less than 8 bits: rows start on whole bytes */
    int64_t dims[OXP_MAX_RANK];   /* of the table, in values */
    int64_t blocks[OXP_MAX_RANK]; /* of the scales */
    int32_t zero;
} quantized_state;

static oxp_status read_storage(oxp_node *n, quantized_state *s)
{
    const oxp_tensor *data = n->in[DATA];
    int64_t bits = oxp_attr_int(n, "bits", 4);
    s->rank = data->rank;
    for (int i = 0; i < s->rank; i++)
        s->dims[i] = data->dims[i];
    if (data->dtype == OXP_INT4 || data->dtype == OXP_UINT4) {
        s->bits = 4;
        s->zero = 0;
        return OXP_OK;
    }
    if (data->dtype != OXP_UINT8)
        return oxp_node_bad_dtype(n, DATA);
    if ((bits != 2 && bits != 4 && bits != 8) || s->rank < 1)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE", "bits is %lld, expected 2, 4 or 8",
                             (long long)bits);
    s->bits = (unsigned)bits;
    s->packed_rows = bits < 8;
    s->zero = 1 << (bits - 1);
    if (__builtin_mul_overflow(s->dims[s->rank - 1], 8 / bits, &s->dims[s->rank - 1]))
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE-OVERFLOW", "the last dimension overflows");
    return OXP_OK;
}

static oxp_status check_parameters(oxp_node *n, quantized_state *s)
{
    const oxp_tensor *scales = n->in[SCALES],
                     *zeros = n->in_count > ZERO_POINTS ? n->in[ZERO_POINTS] : NULL;
    char a[OXP_SHAPE_TEXT_MAX], b[OXP_SHAPE_TEXT_MAX];
    if (scales->dtype != OXP_FLOAT && scales->dtype != OXP_FLOAT16 && scales->dtype != OXP_BFLOAT16)
        return oxp_node_bad_dtype(n, SCALES);
    for (int i = 0; i < s->rank; i++)
        s->blocks[i] = i == s->quantize_axis ? s->dims[i] / s->block + (s->dims[i] % s->block != 0)
                                             : s->dims[i];
    bool fits = scales->rank == s->rank;
    for (int i = 0; fits && i < s->rank; i++)
        fits = scales->dims[i] == s->blocks[i];
    if (!fits)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "scales have shape %s, expected %s",
                             oxp_shape_text(a, scales->rank, scales->dims),
                             oxp_shape_text(b, s->rank, s->blocks));
    if (!zeros)
        return OXP_OK;
    OXP_TRY(oxp_node_want(n, ZERO_POINTS, n->in[DATA]->dtype));
    int64_t want[OXP_MAX_RANK], per_byte = s->packed_rows ? 8 / (int64_t)s->bits : 1;
    for (int i = 0; i < s->rank; i++)
        want[i] = i == s->rank - 1 ? (s->blocks[i] + per_byte - 1) / per_byte : s->blocks[i];
    fits = zeros->rank == s->rank;
    for (int i = 0; fits && i < s->rank; i++)
        fits = zeros->dims[i] == want[i];
    if (fits)
        return OXP_OK;
    return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "zero points have shape %s, expected %s",
                         oxp_shape_text(a, zeros->rank, zeros->dims),
                         oxp_shape_text(b, s->rank, want));
}

static oxp_status quantized_prepare(oxp_node *n)
{
    const oxp_tensor *indices = n->in[INDICES];
    quantized_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    *s = (quantized_state){.rank = 0};
    OXP_TRY(read_storage(n, s));
    OXP_TRY(oxp_node_axis(n, oxp_attr_int(n, "gather_axis", 0), s->rank, false, &s->gather_axis));
    OXP_TRY(
        oxp_node_axis(n, oxp_attr_int(n, "quantize_axis", 1), s->rank, false, &s->quantize_axis));
    s->block = oxp_attr_int(n, "block_size", 128);
    if (s->block < 16 || (s->block & (s->block - 1)) != 0)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "block_size is %lld, expected a power of 2 from 16 on",
                             (long long)s->block);
    if (n->in[DATA]->dtype == OXP_UINT8 &&
        (s->gather_axis != 0 || (s->packed_rows && s->quantize_axis == 0)))
        return oxp_node_fail(n, OXP_EFORMAT, "E-AXIS",
                             "UINT8 tables are gathered along axis 0 and quantised along another");
    OXP_TRY(check_parameters(n, s));
    if (indices->dtype != OXP_INT32 && indices->dtype != OXP_INT64)
        return oxp_node_bad_dtype(n, INDICES);
    OXP_TRY(oxp_move_rank(n, (size_t)(s->rank - 1 + indices->rank)));
    int64_t dims[OXP_MAX_RANK];
    int rank = 0;
    for (int i = 0; i < s->gather_axis; i++)
        dims[rank++] = s->dims[i];
    for (int i = 0; i < indices->rank; i++)
        dims[rank++] = indices->dims[i];
    for (int i = s->gather_axis + 1; i < s->rank; i++)
        dims[rank++] = s->dims[i];
    return oxp_output(n, 0, n->in[SCALES]->dtype, rank, dims);
}

/* Value `at` of rows of `row` values that start on whole bytes, or of one packed run (row 0). */
static int32_t unpack(const oxp_tensor *t, unsigned bits, int64_t at, int64_t row)
{
    const uint8_t *bytes = t->data;
    int64_t per_byte = 8 / (int64_t)bits, line = row > 0 ? at / row : 0,
            place = row > 0 ? at % row : at;
    int64_t row_bytes = row > 0 ? (row + per_byte - 1) / per_byte : 0;
    int32_t value =
        bytes[line * row_bytes + place / per_byte] >> (unsigned)(place % per_byte) * bits &
        ((1 << bits) - 1);
    return t->dtype == OXP_INT4 && value > 7 ? value - 16 : value;
}

static oxp_status quantized_forward(oxp_node *n)
{
    const quantized_state *s = n->state;
    const oxp_tensor *indices = n->in[INDICES],
                     *zeros = n->in_count > ZERO_POINTS ? n->in[ZERO_POINTS] : NULL;
    int64_t outer, inner, behind, block_row = s->packed_rows ? s->blocks[s->rank - 1] : 0;
    int64_t row = s->packed_rows ? s->dims[s->rank - 1] : 0, size = s->dims[s->quantize_axis];
    const float *scales;
    float *y;
    OXP_TRY(oxp_move_product(n, s->gather_axis, s->dims, &outer));
    OXP_TRY(
        oxp_move_product(n, s->rank - s->gather_axis - 1, s->dims + s->gather_axis + 1, &inner));
    OXP_TRY(oxp_move_product(n, s->rank - s->quantize_axis - 1, s->dims + s->quantize_axis + 1,
                             &behind));
    OXP_TRY(oxp_move_floats(n, SCALES, &scales));
    OXP_TRY(oxp_move_float_output(n, 0, &y));
    float *to = y;
    for (int64_t o = 0; o < outer; o++) {
        for (size_t i = 0; i < indices->count; i++) {
            int64_t index;
            OXP_TRY(oxp_move_index(n, "indices", oxp_tensor_int(indices, i),
                                   s->dims[s->gather_axis], &index));
            int64_t at = (o * s->dims[s->gather_axis] + index) * inner;
            for (int64_t k = 0; k < inner; k++, at++) {
                int64_t along = at / behind % size, lead = at / behind / size;
                int64_t block =
                    (lead * s->blocks[s->quantize_axis] + along / s->block) * behind + at % behind;
                int32_t zero = zeros ? unpack(zeros, s->bits, block, block_row) : s->zero;
                *to++ = (float)(unpack(n->in[DATA], s->bits, at, row) - zero) * scales[block];
            }
        }
    }
    oxp_move_store(n, 0, y);
    return OXP_OK;
}

static const char *const quantized_examples[] = {
    "X[5,16]:u8 I[2,2]:i64={0,4,1,-1} S[5,2]; block_size=16",
    "X[5,32]:u8 I[3]:i32={0,4,1} S[5,2] Z[5,2]:u8; block_size=16 bits=8",
    NULL,
};

const oxp_operator oxp_op_gather_block_quantized = {
    .domain = "com.microsoft",
    .type = "GatherBlockQuantized",
    .since = 1,
    .min_in = 3,
    .max_in = 4,
    .min_out = 1,
    .max_out = 1,
    .optional = 1 << ZERO_POINTS,
    .prepare = quantized_prepare,
    .forward = quantized_forward,
    .examples = quantized_examples,
};
