/* integer.c - integer products: plain forms, codes to floats, and the matrix product by pieces of
 * exact float products. */
#include "kernels/integer.h"

#include <string.h>

#include "kernels/integer_pieces.h"
#include "kernels/vector.h"

#define COLUMN_TILE ((size_t)512)
#define FEW_ROWS 4 /* up to here B is read as codes, once per row, instead of being widened */

/* ---- wrapping ---- */

#define DEFINE_GEMM_WRAP(name, type)                                                     \
    void name(const oxp_gemm_shape *s, const type *a, const type *b, type *c)            \
    {                                                                                    \
        size_t a_row = s->trans_a ? 1 : s->lda, a_column = s->trans_a ? s->lda : 1;      \
        size_t b_row = s->trans_b ? 1 : s->ldb, b_column = s->trans_b ? s->ldb : 1;      \
        for (size_t i = 0; i < s->m; i++) {                                              \
            type *row = c + i * s->ldc;                                                  \
            memset(row, 0, s->n * sizeof *row);                                          \
            for (size_t p = 0; p < s->k; p++)                                            \
                for (size_t j = 0; j < s->n; j++)                                        \
                    row[j] += a[i * a_row + p * a_column] * b[p * b_row + j * b_column]; \
        }                                                                                \
    }

DEFINE_GEMM_WRAP(oxp_gemm_wrap32, uint32_t)
DEFINE_GEMM_WRAP(oxp_gemm_wrap64, uint64_t)

/* ---- codes ---- */

static inline int32_t code_at(const oxp_codes *c, size_t i)
{
    return c->is_signed ? (int32_t)((const int8_t *)c->data)[i]
                        : (int32_t)((const uint8_t *)c->data)[i];
}

static int32_t zero_at(const oxp_codes *c, size_t i)
{
    return c->zero_points ? c->zero_points[i] : 0;
}

static int32_t size_of(int32_t x)
{
    return x < 0 ? -x : x;
}

/* The largest |code - zero point|. */
static size_t largest(const oxp_codes *c, size_t zero_points)
{
    int32_t low = c->is_signed ? -128 : 0, high = c->is_signed ? 127 : 255, most = 0;
    for (size_t i = 0; i < (c->zero_points ? zero_points : 1); i++) {
        int32_t below = size_of(low - zero_at(c, i)), above = size_of(high - zero_at(c, i));
        most = below > most ? below : most;
        most = above > most ? above : most;
    }
    return (size_t)most;
}

size_t oxp_exact_depth(const oxp_codes *a, size_t a_zero_points, const oxp_codes *b,
                       size_t b_zero_points)
{
    return ((size_t)1 << 24) / (largest(a, a_zero_points) * largest(b, b_zero_points));
}

OXP_VECTORISED static void widen_u8(float *restrict to, const uint8_t *restrict from, size_t n,
                                    int32_t zero)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (float)((int32_t)from[i] - zero);
}

OXP_VECTORISED static void widen_i8(float *restrict to, const int8_t *restrict from, size_t n,
                                    int32_t zero)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (float)((int32_t)from[i] - zero);
}

void oxp_widen_codes(float *to, const oxp_codes *c, size_t first, size_t n, int32_t zero)
{
    if (c->is_signed)
        widen_i8(to, (const int8_t *)c->data + first, n, zero);
    else
        widen_u8(to, (const uint8_t *)c->data + first, n, zero);
}

OXP_VECTORISED static void add_piece(int32_t *restrict out, const float *restrict piece, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (int32_t)((uint32_t)out[i] + (uint32_t)(int32_t)piece[i]);
}

/* The resolver of a cloned function is exported whatever its visibility: the clones stay static. */
void oxp_add_piece(int32_t *out, const float *piece, size_t n)
{
    add_piece(out, piece, n);
}

/* ---- matrix product ---- */

void oxp_integer_matmul_reference(const oxp_gemm_shape *s, oxp_codes a, oxp_codes b, int32_t *out)
{
    for (size_t i = 0; i < s->m; i++)
        for (size_t j = 0; j < s->n; j++) {
            uint32_t sum = 0;
            for (size_t p = 0; p < s->k; p++) {
                int32_t x =
                    code_at(&a, s->trans_a ? p * s->lda + i : i * s->lda + p) - zero_at(&a, i);
                int32_t y =
                    code_at(&b, s->trans_b ? j * s->ldb + p : p * s->ldb + j) - zero_at(&b, j);
                sum += (uint32_t)(x * y);
            }
            out[i * s->ldc + j] = (int32_t)sum;
        }
}

/* out[j] += x * b[j] */
OXP_VECTORISED static void add_scaled_u8(int32_t *restrict out, const uint8_t *restrict b,
                                         int32_t x, size_t n)
{
    for (size_t j = 0; j < n; j++)
        out[j] = (int32_t)((uint32_t)out[j] + (uint32_t)(x * (int32_t)b[j]));
}

OXP_VECTORISED static void add_scaled_i8(int32_t *restrict out, const int8_t *restrict b, int32_t x,
                                         size_t n)
{
    for (size_t j = 0; j < n; j++)
        out[j] = (int32_t)((uint32_t)out[j] + (uint32_t)(x * (int32_t)b[j]));
}

/* The zero points of B are taken off at the end: sum x (b - z) = sum x b - z sum x. */
static void multiply_row(const oxp_gemm_shape *s, const oxp_codes *a, const oxp_codes *b, size_t i,
                         int32_t *row)
{
    uint32_t total = 0;
    memset(row, 0, s->n * sizeof *row);
    for (size_t p = 0; p < s->k; p++) {
        int32_t x = code_at(a, s->trans_a ? p * s->lda + i : i * s->lda + p) - zero_at(a, i);
        total += (uint32_t)x;
        if (x == 0)
            continue;
        if (b->is_signed)
            add_scaled_i8(row, (const int8_t *)b->data + p * s->ldb, x, s->n);
        else
            add_scaled_u8(row, (const uint8_t *)b->data + p * s->ldb, x, s->n);
    }
    for (size_t j = 0; b->zero_points && j < s->n; j++)
        row[j] = (int32_t)((uint32_t)row[j] - total * (uint32_t)b->zero_points[j]);
}

/* to[m, depth] = A[:, first..] - za */
static void widen_a(float *to, const oxp_gemm_shape *s, const oxp_codes *a, size_t first,
                    size_t depth)
{
    for (size_t i = 0; i < s->m; i++) {
        if (!s->trans_a)
            oxp_widen_codes(to + i * depth, a, i * s->lda + first, depth, zero_at(a, i));
        for (size_t p = 0; p < depth && s->trans_a; p++)
            to[i * depth + p] = (float)(code_at(a, (first + p) * s->lda + i) - zero_at(a, i));
    }
}

/* to[depth, columns] = B[first.., column..] - zb, or the transpose of that when B is stored so */
static void widen_b(float *to, const oxp_gemm_shape *s, const oxp_codes *b, size_t first,
                    size_t depth, size_t column, size_t columns)
{
    for (size_t j = 0; j < columns && s->trans_b; j++)
        oxp_widen_codes(to + j * depth, b, (column + j) * s->ldb + first, depth,
                        zero_at(b, column + j));
    for (size_t p = 0; p < depth && !s->trans_b; p++) {
        float *row = to + p * columns;
        oxp_widen_codes(row, b, (first + p) * s->ldb + column, columns, 0);
        for (size_t j = 0; j < columns && b->zero_points; j++)
            row[j] -= (float)b->zero_points[column + j];
    }
}

typedef struct work {
    float *a, *b, *product;
} work;

static oxp_status alloc_work(oxp_ctx *ctx, work *w, size_t m, size_t depth)
{
    size_t a, product, total;
    if (!oxp_mul_ok(m, depth, &a) || !oxp_mul_ok(m, COLUMN_TILE, &product) ||
        !oxp_add_ok(a, product, &total) || !oxp_add_ok(total, depth * COLUMN_TILE, &total))
        return oxp_fail(ctx, OXP_ELIMIT, "E-LIMIT-MEM", "a product of %zu rows is too large", m);
    OXP_TRY(oxp_alloc_raw(&w->a, ctx, total, sizeof(float), "integer product"));
    w->product = w->a + a;
    w->b = w->product + product;
    return OXP_OK;
}

static void multiply_piece(const oxp_gemm_shape *s, const oxp_codes *a, const oxp_codes *b,
                           size_t first, size_t depth, const work *w, int32_t *out)
{
    widen_a(w->a, s, a, first, depth);
    for (size_t column = 0; column < s->n; column += COLUMN_TILE) {
        size_t columns = s->n - column < COLUMN_TILE ? s->n - column : COLUMN_TILE;
        widen_b(w->b, s, b, first, depth, column, columns);
        oxp_gemm_shape piece = oxp_gemm_plain(false, s->trans_b, s->m, columns, depth);
        oxp_gemm(&piece, 1, w->a, w->b, 0, w->product);
        for (size_t i = 0; i < s->m; i++)
            oxp_add_piece(out + i * s->ldc + column, w->product + i * columns, columns);
    }
}

oxp_status oxp_integer_matmul(oxp_ctx *ctx, const oxp_gemm_shape *s, oxp_codes a, oxp_codes b,
                              int32_t *out)
{
    if (OXP_PLAIN) {
        oxp_integer_matmul_reference(s, a, b, out);
        return OXP_OK;
    }
    if (s->m <= FEW_ROWS && !s->trans_b) {
        for (size_t i = 0; i < s->m; i++)
            multiply_row(s, &a, &b, i, out + i * s->ldc);
        return OXP_OK;
    }
    size_t limit = oxp_exact_depth(&a, s->m, &b, s->n);
    work w;
    OXP_TRY(alloc_work(ctx, &w, s->m, limit < s->k ? limit : s->k));
    for (size_t i = 0; i < s->m; i++)
        memset(out + i * s->ldc, 0, s->n * sizeof *out);
    for (size_t first = 0; first < s->k; first += limit)
        multiply_piece(s, &a, &b, first, s->k - first < limit ? s->k - first : limit, &w, out);
    oxp_free(w.a);
    return OXP_OK;
}
