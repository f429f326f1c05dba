/* det.c - Det: the determinant of every matrix in X[..., M, M], by elimination with partial
 * pivoting in double. */
#include "operators/gradient.h"
#include "operators/operator.h"
#include "operators/real.h"
#include "operators/vector_math.h"

static oxp_status prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    OXP_TRY(oxp_real_types(n, 0));
    if (x->rank < 2 || x->dims[x->rank - 1] != x->dims[x->rank - 2]) {
        char found[OXP_SHAPE_TEXT_MAX];
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "X has shape %s, expected square matrices",
                             oxp_shape_text(found, x->rank, x->dims));
    }
    return oxp_output(n, 0, x->dtype, x->rank - 2, x->dims);
}

static size_t pivot_row(const double *a, size_t m, size_t column)
{
    size_t best = column;
    for (size_t r = column + 1; r < m; r++)
        if (fabs(a[r * m + column]) > fabs(a[best * m + column]))
            best = r;
    return best;
}

/* Overwrites a[m, m]. */
static double determinant(double *a, size_t m)
{
    double product = 1.0;
    for (size_t k = 0; k < m; k++) {
        size_t p = pivot_row(a, m, k);
        if (a[p * m + k] == 0.0)
            return 0.0;
        for (size_t c = k; p != k && c < m; c++) {
            double kept = a[k * m + c];
            a[k * m + c] = a[p * m + c];
            a[p * m + c] = kept;
        }
        product *= p == k ? a[k * m + k] : -a[k * m + k];
        for (size_t r = k + 1; r < m; r++) {
            double factor = a[r * m + k] / a[k * m + k];
            for (size_t c = k + 1; c < m; c++)
                a[r * m + c] -= factor * a[k * m + c];
        }
    }
    return product;
}

static oxp_status forward(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    oxp_tensor *y = &n->out[0];
    size_t m = (size_t)x->dims[x->rank - 1];
    double *matrix = oxp_node_scratch(n, m * m, sizeof *matrix);
    float *out = y->dtype == OXP_DOUBLE ? NULL : oxp_real_out(n, 0);
    if (!matrix || (!out && y->dtype != OXP_DOUBLE))
        return n->ctx->status;
    for (size_t k = 0; k < y->count; k++) {
        for (size_t i = 0; i < m * m; i++)
            matrix[i] = oxp_tensor_real(x, k * m * m + i);
        double value = determinant(matrix, m);
        if (out)
            out[k] = (float)value;
        else
            ((double *)y->data)[k] = value;
    }
    if (out)
        oxp_real_done(n, 0, out);
    return OXP_OK;
}

/* The determinant without row i and column j. */
static double minor(const oxp_tensor *x, size_t at, size_t m, size_t i, size_t j, double *matrix)
{
    double *to = matrix;
    for (size_t r = 0; r < m; r++)
        for (size_t c = 0; c < m; c++)
            if (r != i && c != j)
                *to++ = oxp_tensor_real(x, at + r * m + c);
    return determinant(matrix, m - 1);
}

/* The cofactors, which also exist where the matrix has no inverse. */
static oxp_status backward(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    const float *dy = oxp_dout(n, 0);
    float *dx = oxp_din(n, 0);
    size_t m = (size_t)x->dims[x->rank - 1];
    double *matrix = oxp_node_scratch(n, m * m, sizeof *matrix);
    if (!matrix)
        return n->ctx->status;
    for (size_t k = 0; dx && dy && k < n->out[0].count; k++)
        for (size_t i = 0; i < m * m; i++) {
            double cofactor = minor(x, k * m * m, m, i / m, i % m, matrix);
            bool negative = (i / m + i % m) % 2 != 0;
            dx[k * m * m + i] += (float)((double)dy[k] * (negative ? -cofactor : cofactor));
        }
    return OXP_OK;
}

const oxp_operator oxp_op_det_11 = {
    .domain = "",
    .type = "Det",
    .since = 11,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .prepare = prepare,
    .forward = forward,
    .backward = backward,
    .saves = 1,
    .examples = (const char *const[]){"X[3,3]", "X[2,4,4]", "X[2,2]={0.0,1.0,1.0,0.0}",
                                      "X[3,3]:f64", "X[1,1]:f16", NULL},
};
