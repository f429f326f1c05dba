/* reduce_plan.c - merging the dimensions of a reduction and walking them. */
#include "operators/reduce_plan.h"

#include <string.h>

/* Outputs that are accumulated together, so that they stay in the cache. */
#define COLUMNS 1024

typedef struct merged {
    int rank;
    size_t dims[OXP_MAX_RANK];
    bool reduced[OXP_MAX_RANK];
} merged;

static void merge(merged *m, int rank, const int64_t *dims, const bool *reduced)
{
    m->rank = 0;
    for (int d = 0; d < rank; d++) {
        if (dims[d] == 1)
            continue;
        bool joins = m->rank > 0 && m->reduced[m->rank - 1] == reduced[d];
        if (!joins) {
            m->dims[m->rank] = 1;
            m->reduced[m->rank++] = reduced[d];
        }
        m->dims[m->rank - 1] *= (size_t)dims[d];
    }
}

void oxp_reduce_plan_make(oxp_reduce_plan *plan, int rank, const int64_t *dims, const bool *reduced)
{
    merged m;
    merge(&m, rank, dims, reduced);
    memset(plan, 0, sizeof *plan);
    plan->outputs = plan->per_output = plan->stretch = 1;
    size_t stride = 1;
    for (int d = m.rank - 1; d >= 0; stride *= m.dims[d], d--) {
        *(m.reduced[d] ? &plan->per_output : &plan->outputs) *= m.dims[d];
        if (d == m.rank - 1) {
            plan->stretch = m.dims[d];
            plan->stretch_kept = !m.reduced[d];
            continue;
        }
        /* Innermost first: the counters carry upwards. */
        int *count = m.reduced[d] ? &plan->reduced_rank : &plan->kept_rank;
        (m.reduced[d] ? plan->reduced_dims : plan->kept_dims)[*count] = m.dims[d];
        (m.reduced[d] ? plan->reduced_strides : plan->kept_strides)[*count] = stride;
        (*count)++;
    }
}

/* Steps a counter; false when it has come round to zero. */
static bool step(size_t *index, size_t *offset, int rank, const size_t *dims, const size_t *strides)
{
    for (int d = 0; d < rank; d++) {
        *offset += strides[d];
        if (++index[d] < dims[d])
            return true;
        *offset -= strides[d] * dims[d];
        index[d] = 0;
    }
    return false;
}

/* All reduced places of one kept place: `count` outputs from `out` on, at column `column` of the
 * stretch. */
static void walk_reduced(const oxp_reduce_plan *plan, size_t base, size_t count, size_t out,
                         oxp_reduce_visit visit, void *user)
{
    size_t index[OXP_MAX_RANK] = {0}, offset = 0;
    do
        visit(user, base + offset, count, out, plan->stretch_kept);
    while (step(index, &offset, plan->reduced_rank, plan->reduced_dims, plan->reduced_strides));
}

void oxp_reduce_walk(const oxp_reduce_plan *plan, oxp_reduce_visit visit, void *user)
{
    size_t index[OXP_MAX_RANK] = {0}, offset = 0, out = 0;
    if (plan->outputs == 0 || plan->per_output == 0)
        return;
    do {
        if (!plan->stretch_kept) {
            walk_reduced(plan, offset, plan->stretch, out++, visit, user);
            continue;
        }
        for (size_t column = 0; column < plan->stretch; column += COLUMNS) {
            size_t left = plan->stretch - column, count = left < COLUMNS ? left : COLUMNS;
            walk_reduced(plan, offset + column, count, out + column, visit, user);
        }
        out += plan->stretch;
    } while (step(index, &offset, plan->kept_rank, plan->kept_dims, plan->kept_strides));
}
