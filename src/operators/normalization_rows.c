/* normalization_rows.c - see normalization_rows.h. */
#include "operators/normalization_rows.h"

#include "operators/broadcast.h"
#include "operators/real.h"
#include "operators/reduce_loops.h"
#include "operators/vector_math.h"

void oxp_row_moments(const float *x, size_t count, double *mean, double *variance)
{
    double sum = 0.0, deviation = 0.0;
    oxp_reduce_loops_of(OXP_REDUCE_SUM)->f32(x, count, &sum, false, NULL);
    *mean = sum / (double)count;
    oxp_reduce_loops_of(OXP_REDUCE_DEVIATION)->f32(x, count, &deviation, false, mean);
    *variance = deviation / (double)count;
}

double oxp_row_mean_square(const float *x, size_t count)
{
    double sum = 0.0;
    oxp_reduce_loops_of(OXP_REDUCE_SQUARE)->f32(x, count, &sum, false, NULL);
    return sum / (double)count;
}

OXP_HOT static void scale_only(const float *x, float *y, size_t count, double mean, double factor,
                               const float *scale)
{
    OXP_LANES
    for (size_t i = 0; i < count; i++)
        y[i] = (float)(((double)x[i] - mean) * factor) * scale[i];
}

OXP_HOT static void scale_and_shift(const float *x, float *y, size_t count, double mean,
                                    double factor, const float *scale, const float *bias)
{
    OXP_LANES
    for (size_t i = 0; i < count; i++)
        y[i] = (float)(((double)x[i] - mean) * factor) * scale[i] + bias[i];
}

void oxp_row_affine(const float *x, float *y, size_t count, double mean, double factor,
                    const float *scale, const float *bias)
{
    if (bias)
        scale_and_shift(x, y, count, mean, factor, scale, bias);
    else
        scale_only(x, y, count, mean, factor, scale);
}

OXP_HOT static void affine_one(const float *x, float *y, size_t count, double mean, double factor,
                               float scale, float bias)
{
    OXP_LANES
    for (size_t i = 0; i < count; i++)
        y[i] = (float)(((double)x[i] - mean) * factor) * scale + bias;
}

void oxp_row_affine_one(const float *x, float *y, size_t count, double mean, double factor,
                        float scale, float bias)
{
    affine_one(x, y, count, mean, factor, scale, bias);
}

void oxp_row_backward(const oxp_row_gradient *r, const float *x, const float *g, float *dx,
                      size_t count)
{
    double sum = 0, product = 0, n = (double)count;
    for (size_t i = 0; i < count; i++) {
        sum += (double)g[i];
        product += (double)g[i] * ((double)x[i] - r->mean);
    }
    double shift = (r->dmean - (r->centred ? r->inverse * sum : 0)) / n;
    double slope = (2 * r->dvariance - product * r->inverse * r->inverse * r->inverse) / n;
    for (size_t i = 0; i < count; i++)
        dx[i] += (float)(r->inverse * (double)g[i] + shift + slope * ((double)x[i] - r->mean));
}

void oxp_row_normalized(const float *x, float *u, size_t count, double mean, double inverse)
{
    for (size_t i = 0; i < count; i++)
        u[i] = (float)(((double)x[i] - mean) * inverse);
}

/* Whether t is exactly the rows' trailing dimensions, leading ones apart. */
static bool is_one_row(const oxp_tensor *t, int rank, const int64_t *dims, size_t length)
{
    size_t seen = 1;
    for (int d = 1; d <= t->rank && seen < length; d++) {
        if (t->dims[t->rank - d] != dims[rank - d])
            return false;
        seen *= (size_t)dims[rank - d];
    }
    return t->count == length && seen == length;
}

oxp_status oxp_row_parameter(oxp_node *n, int i, int rank, const int64_t *dims, size_t length,
                             const float **values, size_t *step)
{
    *values = NULL;
    *step = 0;
    if (!oxp_node_has(n, i))
        return OXP_OK;
    const float *own = oxp_real_in(n, i);
    if (!own)
        return n->ctx->status;
    *values = own;
    if (is_one_row(n->in[i], rank, dims, length))
        return OXP_OK;
    size_t count = 1;
    for (int d = 0; d < rank; d++)
        count *= (size_t)dims[d];
    float *repeated = oxp_node_scratch(n, count, sizeof *repeated);
    if (!repeated)
        return n->ctx->status;
    oxp_tensor t = *n->in[i];
    t.dtype = OXP_FLOAT;
    t.data = (void *)(uintptr_t)own;
    oxp_broadcast_copy(repeated, &t, rank, dims);
    *values = repeated;
    *step = length;
    return OXP_OK;
}
