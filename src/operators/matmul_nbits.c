/* matmul_nbits.c - com.microsoft MatMulNBits: Y[..., N] = A[..., K] * dequantise(B)^T + bias[N], B
 * in blocks of 2, 4 or 8 bits.
 *
 * B uint8 [N, blocks, block_size * bits / 8], the first code of a byte in its low bits; w[n, k] =
 * (code - zero) * scale[n, block of k]. zero_points: packed the same way, rows padded to a byte,
 * or of A's type [N, blocks]; 2^(bits-1) when omitted. accuracy_level 4 means that A is rounded to
 * 8-bit integers per block, largest size / 127 a step, and that is done here too. B is dequantised
 * a few rows at a time in every run, so that it never takes more memory than it does in the
 * file. */
#include <math.h>

#include "kernels/gemm.h"
#include "kernels/nbits.h"
#include "operators/real.h"

#define TILE ((size_t)64) /* rows of B */

enum { A, B, SCALES, ZEROS, GROUPS, BIAS };

typedef struct nbits_state {
    size_t m, n, k, block_size, blocks;
    unsigned bits;
    bool round_a;
} nbits_state;

static oxp_status read_attributes(oxp_node *n, nbits_state *s)
{
    int64_t k = oxp_attr_int(n, "K", 0), columns = oxp_attr_int(n, "N", 0),
            bits = oxp_attr_int(n, "bits", 4);
    int64_t block_size = oxp_attr_int(n, "block_size", 0),
            level = oxp_attr_int(n, "accuracy_level", 0);
    if (k < 1 || columns < 1 || k > INT32_MAX || columns > INT32_MAX)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "attributes \"K\" and \"N\" are %lld and %lld, expected at least 1",
                             (long long)k, (long long)columns);
    if (bits != 2 && bits != 4 && bits != 8)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "attribute \"bits\" is %lld, expected 2, 4 or 8", (long long)bits);
    if (block_size < 16 || block_size > INT32_MAX || (block_size & (block_size - 1)) != 0)
        return oxp_node_fail(
            n, OXP_EFORMAT, "E-ATTR-VALUE",
            "attribute \"block_size\" is %lld, expected a power of two of at least 16",
            (long long)block_size);
    *s = (nbits_state){.n = (size_t)columns,
                       .k = (size_t)k,
                       .block_size = (size_t)block_size,
                       .blocks = ((size_t)k + (size_t)block_size - 1) / (size_t)block_size,
                       .bits = (unsigned)bits,
                       .round_a = level == 4};
    return OXP_OK;
}

static oxp_status want_count(oxp_node *n, int i, size_t count)
{
    if (!oxp_node_has(n, i) || n->in[i]->count == count)
        return OXP_OK;
    char text[OXP_SHAPE_TEXT_MAX];
    return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "input %d has shape %s, expected %zu elements",
                         i, oxp_shape_text(text, n->in[i]->rank, n->in[i]->dims), count);
}

static size_t row_bytes(const nbits_state *s)
{
    return s->blocks * (s->block_size * s->bits / 8);
}

static size_t zero_row_bytes(const nbits_state *s)
{
    return (s->blocks * s->bits + 7) / 8;
}

static oxp_status check_inputs(oxp_node *n, const nbits_state *s)
{
    const oxp_tensor *a = n->in[A];
    if (a->rank < 1 || a->dims[a->rank - 1] != (int64_t)s->k)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "input 0 has rank %d and %lld columns, expected %zu", a->rank,
                             a->rank < 1 ? 0LL : (long long)a->dims[a->rank - 1], s->k);
    OXP_TRY(oxp_node_want(n, B, OXP_UINT8));
    OXP_TRY(want_count(n, B, s->n * row_bytes(s)));
    OXP_TRY(want_count(n, SCALES, s->n * s->blocks));
    bool packed = oxp_node_has(n, ZEROS) && n->in[ZEROS]->dtype == OXP_UINT8;
    if (!packed && oxp_node_has(n, ZEROS))
        OXP_TRY(oxp_node_want(n, ZEROS, a->dtype));
    OXP_TRY(want_count(n, ZEROS, s->n * (packed ? zero_row_bytes(s) : s->blocks)));
    if (oxp_node_has(n, GROUPS)) {
        OXP_TRY(oxp_node_want(n, GROUPS, OXP_INT32));
        if (n->in[GROUPS]->count < s->k)
            OXP_TRY(want_count(n, GROUPS, s->k));
    }
    return want_count(n, BIAS, s->n);
}

static oxp_status prepare(oxp_node *n)
{
    const oxp_tensor *a = n->in[A];
    nbits_state *s = oxp_node_state(n, sizeof *s);
    int64_t dims[OXP_MAX_RANK];
    if (!s)
        return OXP_ELIMIT;
    OXP_TRY(oxp_real_types(n, 1u << SCALES | 1u << BIAS));
    OXP_TRY(read_attributes(n, s));
    OXP_TRY(check_inputs(n, s));
    for (int i = 0; i < a->rank; i++)
        dims[i] = i == a->rank - 1 ? (int64_t)s->n : a->dims[i];
    OXP_TRY(oxp_output(n, 0, a->dtype, a->rank, dims));
    s->m = a->count / s->k;
    return OXP_OK;
}

typedef struct weights {
    const nbits_state *s;
    const uint8_t *codes, *packed_zeros;
    const float *scales, *float_zeros;
    const int32_t *groups;
} weights;

static float zero_at(const weights *w, size_t row, size_t block)
{
    if (w->packed_zeros)
        return (float)oxp_code_at(w->packed_zeros + row * zero_row_bytes(w->s), block, w->s->bits);
    if (w->float_zeros)
        return w->float_zeros[row * w->s->blocks + block];
    return (float)(1u << (w->s->bits - 1));
}

/* Columns first..first+count-1 of one row with the scale of a block; the codes lie in order. */
static void dequantise_run(const weights *w, size_t row, size_t block, size_t first, size_t count,
                           float *out)
{
    const nbits_state *s = w->s;
    float scale = w->scales[row * s->blocks + block], zero = zero_at(w, row, block);
    const uint8_t *codes = w->codes + row * row_bytes(s);
    if (count > 1)
        oxp_unpack_bits(out + first, codes + first * s->bits / 8, count, s->bits, zero, scale);
    else
        out[first] = ((float)oxp_code_at(codes, first, s->bits) - zero) * scale;
}

static void dequantise_row(const weights *w, size_t row, float *out)
{
    const nbits_state *s = w->s;
    for (size_t k = 0; k < s->k && w->groups; k++)
        dequantise_run(w, row, (size_t)w->groups[k], k, 1, out);
    for (size_t k = 0; k < s->k && !w->groups; k += s->block_size) {
        size_t count = s->k - k < s->block_size ? s->k - k : s->block_size;
        dequantise_run(w, row, k / s->block_size, k, count, out);
    }
}

/* A as accuracy level 4 sees it. */
static void round_blocks(const nbits_state *s, const float *a, float *out)
{
    for (size_t i = 0; i < s->m * s->k;) {
        size_t left = s->k - i % s->k, count = left < s->block_size ? left : s->block_size;
        float largest = 0;
        for (size_t k = 0; k < count; k++)
            largest = fmaxf(largest, fabsf(a[i + k]));
        float step = largest / 127, inverse = step != 0 ? 1 / step : 0;
        for (size_t k = 0; k < count; k++)
            out[i + k] = nearbyintf(a[i + k] * inverse) * step;
        i += count;
    }
}

static oxp_status read_weights(oxp_node *n, weights *w)
{
    const nbits_state *s = n->state;
    *w = (weights){.s = s, .codes = n->in[B]->data};
    w->scales = oxp_real_in(n, SCALES);
    if (!w->scales)
        return OXP_ELIMIT;
    if (oxp_node_has(n, ZEROS) && n->in[ZEROS]->dtype == OXP_UINT8)
        w->packed_zeros = n->in[ZEROS]->data;
    else
        OXP_TRY(oxp_real_in_optional(n, ZEROS, &w->float_zeros));
    if (!oxp_node_has(n, GROUPS))
        return OXP_OK;
    w->groups = n->in[GROUPS]->data;
    for (size_t k = 0; k < s->k; k++)
        if (w->groups[k] < 0 || (size_t)w->groups[k] >= s->blocks)
            return oxp_node_fail(n, OXP_EFORMAT, "E-INDEX",
                                 "input %d holds block %d at %zu, there are %zu", GROUPS,
                                 (int)w->groups[k], k, s->blocks);
    return OXP_OK;
}

static oxp_status read_a(oxp_node *n, const float **a)
{
    const nbits_state *s = n->state;
    *a = oxp_real_in(n, A);
    if (!*a || !s->round_a)
        return *a ? OXP_OK : OXP_ELIMIT;
    float *rounded = oxp_node_scratch(n, s->m * s->k, sizeof *rounded);
    if (!rounded)
        return OXP_ELIMIT;
    round_blocks(s, *a, rounded);
    *a = rounded;
    return OXP_OK;
}

static oxp_status forward(oxp_node *n)
{
    const nbits_state *s = n->state;
    const float *a, *bias;
    weights w;
    if (!oxp_node_makes(n, 0))
        return OXP_OK;
    OXP_TRY(read_weights(n, &w));
    OXP_TRY(read_a(n, &a));
    OXP_TRY(oxp_real_in_optional(n, BIAS, &bias));
    float *rows = oxp_node_scratch(n, TILE * s->k, sizeof *rows), *y = oxp_real_out(n, 0);
    if (!rows || !y)
        return OXP_ELIMIT;
    for (size_t i = 0; i < s->m * s->n; i++)
        y[i] = bias ? bias[i % s->n] : 0;
    for (size_t first = 0; first < s->n; first += TILE) {
        size_t count = s->n - first < TILE ? s->n - first : TILE;
        for (size_t i = 0; i < count; i++)
            dequantise_row(&w, first + i, rows + i * s->k);
        oxp_gemm_shape product = oxp_gemm_plain(false, true, s->m, count, s->k);
        product.ldc = s->n;
        oxp_gemm(&product, 1, a, rows, 1, y + first);
    }
    oxp_real_done(n, 0, y);
    return OXP_OK;
}

static void cost(const oxp_node *n, oxp_cost *cost)
{
    const nbits_state *s = n->state;
    oxp_cost_of(n, (double)s->m * (double)s->n * (double)s->k, cost);
}

static const char *const examples[] = {
    "A[2,32] B[3,2,8]:u8 S[3,2]; K=32 N=3 bits=4 block_size=16",
    "A[2,3,20] B[3,2,4]:u8 S[6] Z[3,1]:u8={1,2,3} _ C[3]; K=20 N=3 bits=2 block_size=16",
    "A[1,33] B[2,2,32]:u8 S[2,2] Z[2,2]:u8={128,127,3,255}; K=33 N=2 bits=8 block_size=32",
    "A[2,32] B[3,1,16]:u8 S[3,1] Z[3,1]={7.5,8.0,0.25}; K=32 N=3 bits=4 block_size=32",
    "A[2,32] B[3,2,8]:u8 S[3,2]; K=32 N=3 bits=4 block_size=16 accuracy_level=4",
    NULL};

const oxp_operator oxp_op_matmul_nbits_1 = {.domain = "com.microsoft",
                                            .type = "MatMulNBits",
                                            .since = 1,
                                            .min_in = 3,
                                            .max_in = 6,
                                            .min_out = 1,
                                            .max_out = 1,
                                            .prepare = prepare,
                                            .forward = forward,
                                            .cost = cost,
                                            .examples = examples};
