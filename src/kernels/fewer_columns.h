/* fewer_columns.h - a layer that reads fewer columns: W' [rows, kept] of least
 * |W X - W' X_S|^2 = tr (W - W')^T H (W - W'), H = X X^T / n, S the columns that stay:
 *
 *   W' = (W H_r)_S (H_r,SS)^-1, H_r = H + ridge * mean diag H * I
 *
 * with the ridge in both places, so that W' = W where all columns stay. */
#ifndef OXP_KERNELS_FEWER_COLUMNS_H
#define OXP_KERNELS_FEWER_COLUMNS_H

#include <stddef.h>
#include <stdint.h>

#include "util/memory.h"

typedef struct oxp_fewer_columns {
    const float *w; /* [rows, columns] */
    size_t rows, columns;
    const float *h; /* [columns, columns], symmetric */
    const uint32_t *kept;
    size_t kept_count; /* at least one */
    float ridge;
} oxp_fewer_columns;

/* out[rows, columns], zero in columns that do not stay; W itself in those that do where H is of no
 * use (zero, or not finite). */
oxp_status oxp_fewer_columns_fit(float *out, oxp_ctx *ctx, const oxp_fewer_columns *f);

/* tr (W - out)^T H (W - out), without the ridge. */
oxp_status oxp_fewer_columns_error(double *error, oxp_ctx *ctx, const oxp_fewer_columns *f,
                                   const float *out);

#endif
