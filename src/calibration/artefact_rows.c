/* artefact_rows.c - see artefact_rows.h. */
#include "calibration/artefact_rows.h"

#include "kernels/gemm.h"
#include "kernels/vector.h"
#include "util/parallel.h"

#define SMALL 32 /* columns up to which a call of the product costs more than the product */
#define PANEL ((size_t)64)

typedef struct addition {
    oxp_artefact_layer *const *layers;
    size_t count, slots;
    const oxp_sample_rows *rows;
    size_t *layer_of, *first_of; /* by part: a panel of a group of a layer */
} addition;

static size_t panels(const oxp_artefact_layer *l)
{
    return l->columns <= SMALL ? 1 : (l->columns + PANEL - 1) / PANEL;
}

/* ---- the sums of x and x^2 ---- */

OXP_VECTORISED static void add_sums(double *restrict sums, double *restrict squares,
                                    const float *restrict x, size_t rows, size_t width)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < width; j++) {
            double v = (double)x[r * width + j];
            sums[j] += v;
            squares[j] += v * v;
        }
}

/* A sample's own sums first: then parts that are merged add the same numbers. */
static oxp_status add_layer(void *user, oxp_ctx *ctx, size_t i, int worker)
{
    (void)worker;
    const addition *a = user;
    oxp_artefact_layer *l = a->layers[i];
    size_t width = l->groups * l->columns;
    double *own;
    OXP_TRY(oxp_alloc(&own, ctx, 2 * width, sizeof *own, "sums"));
    for (size_t slot = 0; slot < a->slots; slot++) {
        const oxp_sample_rows *r = &a->rows[slot * a->count + i];
        if (!r->x)
            continue;
        for (size_t j = 0; j < 2 * width; j++)
            own[j] = 0;
        add_sums(own, own + width, r->x, r->count, width);
        for (size_t j = 0; j < width; j++) {
            l->sums[j] += own[j];
            l->squares[j] += own[width + j];
        }
        l->rows += r->count;
    }
    oxp_free(own);
    return OXP_OK;
}

/* ---- triangles ---- */

OXP_VECTORISED static void add_row(double *restrict h, const float *restrict x, size_t n)
{
    for (size_t j = 0; j < n; j++)
        h[j] += (double)x[j];
}

static void add_small(double *h, const float *x, size_t rows, size_t stride, size_t n)
{
    float own[SMALL * (SMALL + 1) / 2] = {0};
    for (size_t r = 0; r < rows; r++, x += stride)
        for (size_t i = 0, at = 0; i < n; i++)
            for (size_t j = i; j < n; j++)
                own[at++] += x[i] * x[j];
    add_row(h, own, n * (n + 1) / 2);
}

/* Rows first..first + m of the triangle: x^T x of those columns with all from them on. */
static void add_panel(double *h, float *work, const float *x, size_t rows, size_t stride, size_t n,
                      size_t first)
{
    size_t m = n - first < PANEL ? n - first : PANEL, width = n - first;
    oxp_gemm_shape s = {
        .trans_a = true, .m = m, .n = width, .k = rows, .lda = stride, .ldb = stride, .ldc = width};
    oxp_gemm(&s, 1, x + first, x + first, 0, work);
    for (size_t i = 0; i < m; i++)
        add_row(h + oxp_triangle_at(n, first + i, first + i), work + i * width + i, width - i);
}

static oxp_status add_part(void *user, oxp_ctx *ctx, size_t part, int worker)
{
    (void)worker;
    const addition *a = user;
    size_t at = a->layer_of[part];
    const oxp_artefact_layer *l = a->layers[at];
    size_t own = part - a->first_of[part], n = l->columns, width = l->groups * n;
    size_t group = own / panels(l), first = own % panels(l) * PANEL;
    double *h = l->h + group * (oxp_layer_triangle(l) / l->groups);
    float *work = NULL;
    if (n > SMALL)
        OXP_TRY(oxp_alloc_raw(&work, ctx, PANEL * (n - first), sizeof *work, "second moments"));
    for (size_t slot = 0; slot < a->slots; slot++) {
        const oxp_sample_rows *r = &a->rows[slot * a->count + at];
        const float *x = r->x ? r->x + group * n : NULL;
        if (!x || r->count == 0)
            continue;
        if (n <= SMALL)
            add_small(h, x, r->count, width, n);
        else
            add_panel(h, work, x, r->count, width, n, first);
    }
    oxp_free(work);
    return OXP_OK;
}

static oxp_status add_triangles(addition *a, oxp_ctx *ctx)
{
    size_t parts = 0;
    for (size_t i = 0; i < a->count; i++)
        parts += a->layers[i]->h ? a->layers[i]->groups * panels(a->layers[i]) : 0;
    OXP_TRY(oxp_alloc(&a->layer_of, ctx, 2 * parts + 1, sizeof *a->layer_of, "parts"));
    a->first_of = a->layer_of + parts;
    for (size_t i = 0, at = 0; i < a->count; i++) {
        size_t first = at;
        size_t own = a->layers[i]->h ? a->layers[i]->groups * panels(a->layers[i]) : 0;
        for (; at < first + own; at++) {
            a->layer_of[at] = i;
            a->first_of[at] = first;
        }
    }
    oxp_status status = oxp_parallel_for(ctx, parts, add_part, a);
    oxp_free(a->layer_of);
    return status;
}

oxp_status oxp_rows_add(oxp_ctx *ctx, oxp_artefact_layer *const *layers, size_t count,
                        oxp_sample_rows *rows, size_t slots)
{
    addition a = {.layers = layers, .count = count, .slots = slots, .rows = rows};
    oxp_status status = oxp_parallel_for(ctx, count, add_layer, &a);
    if (status == OXP_OK)
        status = add_triangles(&a, ctx);
    for (size_t i = 0; i < slots * count; i++) {
        oxp_free(rows[i].x);
        rows[i] = (oxp_sample_rows){0};
    }
    return status;
}
