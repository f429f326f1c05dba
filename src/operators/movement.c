/* movement.c - strided copies, fills and gathers of opaque elements.
 *
 * A copy is first brought to its fewest dimensions: those of one element go, neighbours that lie in
 * one run on both sides join. What is left is a grid of the two dimensions that touch memory most
 * closely, inside an odometer over the others; so a Transpose of NCHW to NHWC arrives here as a
 * batch of plain matrix transposes, a Concat as runs of memcpy. */
#include "operators/movement.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/transpose.h"
#include "operators/vector_math.h"

void oxp_copy_add(oxp_copy *copy, int64_t dim, int64_t to, int64_t from)
{
    assert(copy->rank < OXP_COPY_MAX_RANK);
    copy->dims[copy->rank] = dim;
    copy->to[copy->rank] = to;
    copy->from[copy->rank] = from;
    copy->rank++;
}

void oxp_move_strides(int rank, const int64_t *dims, int64_t *strides)
{
    bool empty = false;
    for (int i = 0; i < rank; i++)
        empty = empty || dims[i] == 0;
    int64_t stride = empty ? 0 : 1;
    for (int i = rank - 1; i >= 0; i--) {
        strides[i] = stride;
        stride = empty ? 0 : stride * dims[i];
    }
}

/* The two innermost loops of a copy. */
typedef struct grid {
    int64_t rows, row_to, row_from;
    int64_t cols, col_to, col_from;
} grid;

/* Elements are seen as words of their size, whatever type the memory has. */
typedef uint8_t __attribute__((may_alias)) word1;
typedef uint16_t __attribute__((may_alias)) word2;
typedef uint32_t __attribute__((may_alias)) word4;
typedef uint64_t __attribute__((may_alias)) word8;
typedef struct __attribute__((may_alias)) word16 {
    uint64_t low, high;
} word16;

#define TILE 16 /* a tile of 4-byte words is 16 cache lines on either side */

#define DEFINE_WORD(word)                                                                        \
    static void word##_tile(word *to, const word *from, const grid *g, int64_t row, int64_t col) \
    {                                                                                            \
        int64_t rows = row + TILE < g->rows ? row + TILE : g->rows;                              \
        int64_t cols = col + TILE < g->cols ? col + TILE : g->cols;                              \
        for (int64_t i = row; i < rows; i++) {                                                   \
            for (int64_t j = col; j < cols; j++)                                                 \
                to[i * g->row_to + j * g->col_to] = from[i * g->row_from + j * g->col_from];     \
        }                                                                                        \
    }                                                                                            \
    static void word##_grid(word *to, const word *from, const grid *g)                           \
    {                                                                                            \
        for (int64_t i = 0; i < g->rows; i += TILE) {                                            \
            for (int64_t j = 0; j < g->cols; j += TILE)                                          \
                word##_tile(to, from, g, i, j);                                                  \
        }                                                                                        \
    }                                                                                            \
    static OXP_HOT void word##_fill(word *to, size_t count, word value)                          \
    {                                                                                            \
        for (size_t i = 0; i < count; i++)                                                       \
            to[i] = value;                                                                       \
    }                                                                                            \
    static void word##_pick(word *to, const word *from, const int64_t *map, int64_t count,       \
                            const word *fill)                                                    \
    {                                                                                            \
        for (int64_t i = 0; i < count; i++)                                                      \
            to[i] = map[i] < 0 ? *fill : from[map[i]];                                           \
    }

DEFINE_WORD(word1)
DEFINE_WORD(word2)
DEFINE_WORD(word4)
DEFINE_WORD(word8)
DEFINE_WORD(word16)

void oxp_move_fill(void *to, size_t count, size_t element, const void *value)
{
    if (count == 0)
        return;
    switch (element) {
    case 1:
        word1_fill(to, count, *(const word1 *)value);
        break;
    case 2:
        word2_fill(to, count, *(const word2 *)value);
        break;
    case 4:
        word4_fill(to, count, *(const word4 *)value);
        break;
    case 8:
        word8_fill(to, count, *(const word8 *)value);
        break;
    default:
        assert(element == 16);
        word16_fill(to, count, *(const word16 *)value);
    }
}

static void move_runs(char *to, const char *from, size_t element, const grid *g)
{
    ptrdiff_t size = (ptrdiff_t)element;
    for (int64_t i = 0; i < g->rows; i++) {
        char *target = to + i * g->row_to * size;
        const char *source = from + i * g->row_from * size;
        if (g->col_from == 0)
            oxp_move_fill(target, (size_t)g->cols, element, source);
        else
            memcpy(target, source, (size_t)g->cols * element);
    }
}

static void move_grid(char *to, const char *from, size_t element, const grid *g)
{
    if (g->col_to == 1 && (g->col_from == 1 || g->col_from == 0) && g->cols > 1) {
        move_runs(to, from, element, g);
        return;
    }
    if (element == sizeof(float) && g->col_to == 1 && g->row_from == 1 && g->row_to > 0 &&
        g->col_from > 0) {
        oxp_transpose((float *)to, (size_t)g->row_to, (const float *)from, (size_t)g->col_from,
                      (size_t)g->cols, (size_t)g->rows);
        return;
    }
    switch (element) {
    case 1:
        word1_grid((word1 *)to, (const word1 *)from, g);
        break;
    case 2:
        word2_grid((word2 *)to, (const word2 *)from, g);
        break;
    case 4:
        word4_grid((word4 *)to, (const word4 *)from, g);
        break;
    case 8:
        word8_grid((word8 *)to, (const word8 *)from, g);
        break;
    default:
        assert(element == 16);
        word16_grid((word16 *)to, (const word16 *)from, g);
    }
}

/* Drops dimensions of one element and joins neighbours; false when nothing is to be copied. */
static bool reduce(oxp_copy *r, const oxp_copy *c)
{
    r->element = c->element;
    r->rank = 0;
    for (int i = 0; i < c->rank; i++) {
        int last = r->rank - 1;
        if (c->dims[i] == 0)
            return false;
        if (c->dims[i] == 1)
            continue;
        if (last >= 0 && r->to[last] == c->to[i] * c->dims[i] &&
            r->from[last] == c->from[i] * c->dims[i]) {
            r->dims[last] *= c->dims[i];
            r->to[last] = c->to[i];
            r->from[last] = c->from[i];
        } else {
            oxp_copy_add(r, c->dims[i], c->to[i], c->from[i]);
        }
    }
    return true;
}

/* Takes dimension i out of the copy and returns it in the grid's row (or column). */
static void take(oxp_copy *c, int i, int64_t *dim, int64_t *to, int64_t *from)
{
    *dim = c->dims[i];
    *to = c->to[i];
    *from = c->from[i];
    c->rank--;
    for (int k = i; k < c->rank; k++) {
        c->dims[k] = c->dims[k + 1];
        c->to[k] = c->to[k + 1];
        c->from[k] = c->from[k + 1];
    }
}

/* The remaining dimension whose source elements lie closest together. */
static int closest(const oxp_copy *c)
{
    int best = c->rank - 1;
    for (int i = best; i >= 0; i--) {
        if (llabs(c->from[i]) < llabs(c->from[best]))
            best = i;
    }
    return best;
}

void oxp_copy_run(const oxp_copy *copy, void *to, const void *from)
{
    oxp_copy c;
    grid g = {1, 0, 0, 1, 1, 1};
    if (!reduce(&c, copy))
        return;
    if (c.rank > 0)
        take(&c, c.rank - 1, &g.cols, &g.col_to, &g.col_from);
    bool runs = g.col_to == 1 && (g.col_from == 1 || g.col_from == 0);
    if (c.rank > 0)
        take(&c, runs ? c.rank - 1 : closest(&c), &g.rows, &g.row_to, &g.row_from);

    int64_t index[OXP_COPY_MAX_RANK] = {0};
    char *target = to;
    const char *source = from;
    ptrdiff_t size = (ptrdiff_t)c.element;
    for (;;) {
        move_grid(target, source, c.element, &g);
        int i = c.rank - 1;
        for (; i >= 0; i--) {
            target += c.to[i] * size;
            source += c.from[i] * size;
            if (++index[i] < c.dims[i])
                break;
            target -= c.to[i] * c.dims[i] * size;
            source -= c.from[i] * c.dims[i] * size;
            index[i] = 0;
        }
        if (i < 0)
            return;
    }
}

/* ---- gathers through tables ---- */

/* A run of the last table: consecutive sources (or fill, source -1) that are copied at once. */
typedef struct run {
    int64_t to, from, count;
} run;

static size_t find_runs(run *runs, const int64_t *map, int64_t count)
{
    size_t n = 0;
    for (int64_t i = 0; i < count; i++) {
        run *last = n > 0 ? &runs[n - 1] : NULL;
        bool fills = map[i] < 0;
        if (last && fills && last->from < 0)
            last->count++;
        else if (last && !fills && last->from >= 0 && map[i] == last->from + last->count)
            last->count++;
        else
            runs[n++] = (run){i, fills ? -1 : map[i], 1};
    }
    return n;
}

static void pick(char *to, const char *from, size_t element, const int64_t *map, int64_t count,
                 const void *fill)
{
    switch (element) {
    case 1:
        word1_pick((word1 *)to, (const word1 *)from, map, count, fill);
        break;
    case 2:
        word2_pick((word2 *)to, (const word2 *)from, map, count, fill);
        break;
    case 4:
        word4_pick((word4 *)to, (const word4 *)from, map, count, fill);
        break;
    case 8:
        word8_pick((word8 *)to, (const word8 *)from, map, count, fill);
        break;
    default:
        assert(element == 16);
        word16_pick((word16 *)to, (const word16 *)from, map, count, fill);
    }
}

static void copy_runs(char *to, const char *from, size_t block, const run *runs, size_t count,
                      size_t element, const void *fill)
{
    for (size_t i = 0; i < count; i++) {
        char *target = to + (size_t)runs[i].to * block;
        size_t bytes = (size_t)runs[i].count * block;
        if (runs[i].from < 0)
            oxp_move_fill(target, bytes / element, element, fill);
        else
            memcpy(target, from + (size_t)runs[i].from * block, bytes);
    }
}

static bool is_identity(const oxp_gather_maps *g, int axis)
{
    if (g->to_dims[axis] != g->from_dims[axis])
        return false;
    for (int64_t i = 0; i < g->to_dims[axis]; i++) {
        if (g->maps[axis][i] != i)
            return false;
    }
    return true;
}

/* One row of the last axis that moves; the axes behind it are whole blocks. */
typedef struct row_plan {
    int axis;
    size_t block; /* bytes behind one entry of the axis */
    run *runs;
    size_t run_count;
} row_plan;

static oxp_status plan_row(oxp_node *n, const oxp_gather_maps *g, row_plan *plan)
{
    plan->axis = g->rank - 1;
    plan->block = g->element;
    while (plan->axis > 0 && is_identity(g, plan->axis)) {
        plan->block *= (size_t)g->to_dims[plan->axis];
        plan->axis--;
    }
    size_t count = (size_t)g->to_dims[plan->axis];
    plan->runs = oxp_node_scratch(n, count, sizeof *plan->runs);
    if (!plan->runs)
        return n->ctx->status;
    plan->run_count = find_runs(plan->runs, g->maps[plan->axis], g->to_dims[plan->axis]);
    return OXP_OK;
}

static void move_row(const oxp_gather_maps *g, const row_plan *plan, char *to, const char *from)
{
    int64_t count = g->to_dims[plan->axis];
    if (plan->block == g->element && plan->run_count * 4 > (size_t)count)
        pick(to, from, g->element, g->maps[plan->axis], count, g->fill);
    else
        copy_runs(to, from, plan->block, plan->runs, plan->run_count, g->element, g->fill);
}

oxp_status oxp_move_mapped(oxp_node *n, const oxp_gather_maps *g, void *to, const void *from)
{
    for (int i = 0; i < g->rank; i++) {
        if (g->to_dims[i] == 0)
            return OXP_OK;
    }
    if (g->rank == 0) {
        memcpy(to, from, g->element);
        return OXP_OK;
    }
    row_plan plan = {0};
    OXP_TRY(plan_row(n, g, &plan));
    int64_t strides[OXP_MAX_RANK], index[OXP_MAX_RANK] = {0};
    oxp_move_strides(g->rank, g->from_dims, strides);
    size_t row_bytes = (size_t)g->to_dims[plan.axis] * plan.block;
    char *target = to;
    for (;;) {
        int64_t offset = 0;
        bool fills = false;
        for (int i = 0; i < plan.axis; i++) {
            int64_t source = g->maps[i][index[i]];
            fills = fills || source < 0;
            offset += source * strides[i];
        }
        if (fills)
            oxp_move_fill(target, row_bytes / g->element, g->element, g->fill);
        else
            move_row(g, &plan, target, (const char *)from + (size_t)offset * g->element);
        target += row_bytes;
        int i = plan.axis - 1;
        while (i >= 0 && ++index[i] == g->to_dims[i])
            index[i--] = 0;
        if (i < 0)
            return OXP_OK;
    }
}
