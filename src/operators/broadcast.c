/* broadcast.c - plans and walks for elementwise operators with NumPy's broadcasting. */
#include "operators/broadcast.h"

#include <string.h>

/* Strides of t over the output's dims: right-aligned, 0 where t has one element or no dimension. */
static void input_strides(size_t *strides, const oxp_tensor *t, int rank, const int64_t *dims)
{
    size_t step = 1;
    for (int d = rank - 1; d >= 0; d--) {
        int own = d - (rank - t->rank);
        int64_t size = own >= 0 ? t->dims[own] : 1;
        strides[d] = size == 1 && dims[d] != 1 ? 0 : step;
        if (size == 1)
            strides[d] = 0;
        step *= (size_t)size;
    }
}

static bool merges(const oxp_broadcast *plan, int outer, size_t inner_dim,
                   size_t inner_strides[OXP_BROADCAST_MAX])
{
    for (int i = 0; i < plan->inputs; i++)
        if (plan->strides[i][outer] != inner_strides[i] * inner_dim)
            return false;
    return true;
}

void oxp_broadcast_plan(oxp_broadcast *plan, int rank, const int64_t *dims, int inputs,
                        const oxp_tensor *const *in)
{
    size_t strides[OXP_BROADCAST_MAX][OXP_MAX_RANK];
    memset(plan, 0, sizeof *plan);
    plan->inputs = inputs;
    for (int i = 0; i < inputs; i++)
        input_strides(strides[i], in[i], rank, dims);
    for (int d = 0; d < rank; d++) {
        if (dims[d] == 1)
            continue;
        size_t here[OXP_BROADCAST_MAX] = {0};
        for (int i = 0; i < inputs; i++)
            here[i] = strides[i][d];
        int last = plan->rank - 1;
        bool merge = last >= 0 && merges(plan, last, (size_t)dims[d], here);
        if (!merge)
            last = plan->rank++;
        plan->dims[last] = (merge ? plan->dims[last] : 1) * (size_t)dims[d];
        for (int i = 0; i < inputs; i++)
            plan->strides[i][last] = here[i];
    }
    if (plan->rank == 0) {
        plan->rank = 1;
        plan->dims[0] = 1;
    }
}

size_t oxp_broadcast_runs(const oxp_broadcast *plan)
{
    size_t runs = oxp_broadcast_run(plan) == 0 ? 0 : 1;
    for (int d = 0; d < plan->rank - 1; d++)
        runs *= plan->dims[d];
    return runs;
}

void oxp_broadcast_next(const oxp_broadcast *plan, oxp_broadcast_cursor *cursor)
{
    for (int d = plan->rank - 2; d >= 0; d--) {
        for (int i = 0; i < plan->inputs; i++)
            cursor->offset[i] += plan->strides[i][d];
        if (++cursor->index[d] < plan->dims[d])
            return;
        cursor->index[d] = 0;
        for (int i = 0; i < plan->inputs; i++)
            cursor->offset[i] -= plan->strides[i][d] * plan->dims[d];
    }
}

oxp_status oxp_broadcast_shape(oxp_node *n, const oxp_tensor *const *in, int inputs, int *rank,
                               int64_t dims[OXP_MAX_RANK])
{
    oxp_tensor shape = {0};
    for (int i = 0; i < inputs; i++) {
        if (in[i] == NULL)
            continue;
        int joined_rank;
        int64_t joined[OXP_MAX_RANK];
        OXP_TRY(oxp_node_broadcast(n, &shape, in[i], &joined_rank, joined));
        shape.rank = joined_rank;
        memcpy(shape.dims, joined, sizeof(int64_t) * (size_t)joined_rank);
    }
    *rank = shape.rank;
    memcpy(dims, shape.dims, sizeof(int64_t) * (size_t)shape.rank);
    return OXP_OK;
}

oxp_status oxp_broadcast_fits(oxp_node *n, const oxp_tensor *t, int rank, const int64_t *dims,
                              const char *what)
{
    bool fits = t->rank <= rank;
    for (int d = 0; fits && d < t->rank; d++)
        fits = t->dims[d] == 1 || t->dims[d] == dims[rank - t->rank + d];
    if (fits)
        return OXP_OK;
    char wanted[OXP_SHAPE_TEXT_MAX], found[OXP_SHAPE_TEXT_MAX];
    return oxp_node_fail(
        n, OXP_EFORMAT, "E-BROADCAST", "%s has shape %s, expected one that repeats to %s", what,
        oxp_shape_text(found, t->rank, t->dims), oxp_shape_text(wanted, rank, dims));
}

static void fill(uint8_t *to, const uint8_t *element, size_t size, size_t count)
{
    for (size_t i = 0; i < count; i++)
        memcpy(to + i * size, element, size);
}

void oxp_broadcast_copy(void *to, const oxp_tensor *t, int rank, const int64_t *dims)
{
    oxp_broadcast plan;
    oxp_broadcast_cursor at = {0};
    oxp_broadcast_plan(&plan, rank, dims, 1, &t);
    size_t size = oxp_dtype_bits(t->dtype) / 8, run = oxp_broadcast_run(&plan);
    size_t runs = oxp_broadcast_runs(&plan);
    uint8_t *write = to;
    for (size_t r = 0; r < runs; r++, write += run * size, oxp_broadcast_next(&plan, &at)) {
        const uint8_t *read = (const uint8_t *)t->data + at.offset[0] * size;
        if (oxp_broadcast_advances(&plan, 0))
            memcpy(write, read, run * size);
        else
            fill(write, read, size, run);
    }
}
