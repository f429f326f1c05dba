/* equalize_channels.c - arithmetic on channel maps, and the union of variables. */
#include "prepare/equalize_channels.h"

#include <string.h>

/* ---- variables ---- */

void oxp_variables_free(oxp_variables *v)
{
    oxp_free(v->parent);
    oxp_free(v->pinned);
    *v = (oxp_variables){0};
}

oxp_status oxp_variables_add(uint32_t *first, oxp_variables *v, size_t count)
{
    size_t needed = v->count + count;
    if (needed >= OXP_NO_VARIABLE)
        return oxp_fail(v->ctx, OXP_ELIMIT, "E-LIMIT-MEM", "more than 2^32 channels");
    OXP_TRY(oxp_grow(&v->parent, &v->capacity, v->ctx, needed + 1, sizeof *v->parent));
    OXP_TRY(oxp_grow(&v->pinned, &v->pinned_capacity, v->ctx, needed + 1, sizeof *v->pinned));
    *first = (uint32_t)v->count;
    for (size_t i = v->count; i < needed; i++)
        v->parent[i] = (uint32_t)i;
    v->count = needed;
    return OXP_OK;
}

uint32_t oxp_variables_root(oxp_variables *v, uint32_t variable)
{
    while (v->parent[variable] != variable)
        variable = v->parent[variable] = v->parent[v->parent[variable]];
    return variable;
}

/* The older one stays the root, so that numbering does not depend on the order of unions. */
void oxp_variables_unite(oxp_variables *v, uint32_t a, uint32_t b)
{
    a = oxp_variables_root(v, a);
    b = oxp_variables_root(v, b);
    uint32_t root = a < b ? a : b, other = a < b ? b : a;
    v->parent[other] = root;
    v->pinned[root] = v->pinned[root] || v->pinned[other];
}

void oxp_variables_pin(oxp_variables *v, uint32_t variable)
{
    v->pinned[oxp_variables_root(v, variable)] = true;
}

/* ---- maps ---- */

static const oxp_channel_part no_part = {1, 1, 0};

oxp_channels oxp_channels_along(int axis, int rank, const int64_t *dims)
{
    oxp_channels c = {.count = (size_t)dims[axis], .rank = rank};
    for (int k = 0; k < rank; k++) {
        c.dims[k] = dims[k];
        c.parts[k] = k == axis ? (oxp_channel_part){1, (size_t)dims[k], 1} : no_part;
    }
    return c;
}

/* Every combination of the parts' digits is a channel that some element has. */
void oxp_channels_pin(oxp_variables *v, const oxp_channels *c)
{
    size_t digits[OXP_MAX_RANK] = {0};
    if (c->count == 0)
        return;
    for (int k = 0; k >= 0;) {
        size_t channel = c->offset;
        for (int i = 0; i < c->rank; i++)
            channel += digits[i] * c->parts[i].stride;
        oxp_variables_pin(v, c->first + (uint32_t)channel);
        for (k = c->rank - 1; k >= 0 && ++digits[k] >= c->parts[k].extent; k--)
            digits[k] = 0;
    }
}

bool oxp_channels_on_axis(uint32_t *out, const oxp_channels *c, int axis)
{
    const oxp_channel_part *p = &c->parts[axis];
    for (int k = 0; k < c->rank; k++)
        if (k != axis && c->parts[k].extent > 1)
            return false;
    for (size_t i = 0; i < (size_t)c->dims[axis]; i++)
        out[i] = c->first + (uint32_t)(c->offset + i / p->divide % p->extent * p->stride);
    return true;
}

static bool same_part(oxp_channel_part a, oxp_channel_part b)
{
    if (a.extent == 1 || b.extent == 1)
        return a.extent == b.extent;
    return a.divide == b.divide && a.extent == b.extent && a.stride == b.stride;
}

bool oxp_channels_alike(const oxp_channels *a, const oxp_channels *b)
{
    int rank = a->rank > b->rank ? a->rank : b->rank;
    for (int k = 1; k <= rank; k++) {
        int i = a->rank - k, j = b->rank - k;
        oxp_channel_part p = i >= 0 ? a->parts[i] : no_part, q = j >= 0 ? b->parts[j] : no_part;
        if (!same_part(p, q) || (p.extent > 1 && a->dims[i] != b->dims[j]))
            return false;
    }
    return true;
}

/* ---- reshape ---- */

/* The channel part of a run of axes, seen as one index. */
static bool merge_parts(oxp_channel_part *out, const oxp_channels *c, int from, int to)
{
    size_t weight = 1;
    *out = no_part;
    for (int k = to - 1; k >= from; k--) {
        oxp_channel_part p = c->parts[k];
        p.divide *= weight;
        weight *= (size_t)c->dims[k];
        if (p.extent == 1)
            continue;
        if (out->extent == 1)
            *out = p;
        else if (p.divide == out->divide * out->extent && p.stride == out->stride * out->extent)
            out->extent *= p.extent;
        else
            return false;
    }
    return true;
}

/* One part over a run of axes, whose last has weight 1. */
static bool split_part(oxp_channels *out, oxp_channel_part p, int from, int to)
{
    size_t weight = 1, end = p.divide * p.extent;
    for (int k = to - 1; k >= from; k--) {
        size_t above = weight * (size_t)out->dims[k];
        out->parts[k] = no_part;
        if (p.extent > 1 && above > p.divide && weight < end && above > weight) {
            bool starts = weight <= p.divide, ends = above >= end;
            size_t low = starts ? p.divide : weight, high = ends ? end : above;
            if (low % weight || low % p.divide || high % low || (!ends && end % above))
                return false;
            out->parts[k] =
                (oxp_channel_part){low / weight, high / low, p.stride * (low / p.divide)};
        }
        weight = above;
    }
    return true;
}

bool oxp_channels_reshape(oxp_channels *out, const oxp_channels *in, int rank, const int64_t *dims)
{
    oxp_channels made = *in;
    made.rank = rank;
    memcpy(made.dims, dims, (size_t)rank * sizeof *dims);
    int i = 0, o = 0;
    while (i < in->rank || o < rank) { /* runs of axes with equally many elements */
        int from_i = i, from_o = o;
        size_t a = 1, b = 1;
        do {
            if (i < in->rank && (a <= b || o == rank))
                a *= (size_t)in->dims[i++];
            else if (o < rank)
                b *= (size_t)dims[o++];
        } while (a != b && (i < in->rank || o < rank));
        oxp_channel_part p;
        if (a != b || a == 0 || !merge_parts(&p, in, from_i, i) || !split_part(&made, p, from_o, o))
            return false;
    }
    *out = made;
    return true;
}

/* ---- other movements ---- */

bool oxp_channels_transpose(oxp_channels *out, const oxp_channels *in, const int64_t *order)
{
    oxp_channels made = *in;
    for (int k = 0; k < in->rank; k++) {
        int64_t from = order ? order[k] : in->rank - 1 - k;
        if (from < 0 || from >= in->rank)
            return false;
        made.dims[k] = in->dims[from];
        made.parts[k] = in->parts[from];
    }
    *out = made;
    return true;
}

bool oxp_channels_slice(oxp_channels *out, const oxp_channels *in, int axis, int64_t start,
                        int64_t size)
{
    oxp_channels made = *in;
    oxp_channel_part *p = &made.parts[axis];
    made.dims[axis] = size;
    if (p->extent > 1) {
        if (p->divide != 1 || p->extent != (size_t)in->dims[axis] || size < 1)
            return false;
        made.offset += (size_t)start * p->stride;
        p->extent = (size_t)size;
    }
    *out = made;
    return true;
}

bool oxp_channels_resize(oxp_channels *out, const oxp_channels *in, int rank, const int64_t *dims)
{
    oxp_channels made = *in;
    if (rank < in->rank)
        return false;
    made.rank = rank;
    for (int k = 0; k < rank; k++) {
        int from = k - (rank - in->rank); /* aligned at the last axis, as broadcasting does */
        made.dims[k] = dims[k];
        made.parts[k] = from < 0 ? no_part : in->parts[from];
        if (made.parts[k].extent > 1 && dims[k] != in->dims[from])
            return false;
    }
    *out = made;
    return true;
}

oxp_status oxp_channels_tables(size_t *tables[OXP_MAX_RANK], const oxp_channels *c, int rank,
                               const int64_t *dims, oxp_arena *arena)
{
    for (int k = 0; k < rank; k++) {
        const oxp_channel_part *p = &c->parts[k];
        tables[k] = oxp_arena_alloc(arena, (size_t)dims[k] + 1, sizeof **tables);
        if (!tables[k])
            return arena->ctx->status;
        for (size_t i = 0; i < (size_t)dims[k]; i++)
            tables[k][i] = i / p->divide % p->extent * p->stride;
    }
    return OXP_OK;
}
