/* sparse_form.c - see sparse_form.h. */
#include "techniques/sparse_form.h"

#include <string.h>

/* What nodes, names and small constants come to. */
#define LIST_BYTES 40
#define GAPS_BYTES 330
#define MASK_BYTES 560

static bool is_zero(oxp_dtype dtype, const void *data, size_t i)
{
    return dtype == OXP_FLOAT ? ((const float *)data)[i] == 0 : ((const int8_t *)data)[i] == 0;
}

/* ---- which form ---- */

typedef struct counts {
    size_t nonzero, gaps8, gaps16;
} counts;

static oxp_sparse_form smallest(oxp_dtype dtype, size_t count, const counts *c)
{
    size_t b = oxp_dtype_bits(dtype) / 8;
    const oxp_sparse_form forms[] = {
        {OXP_SPARSE_DENSE, b * count, count},
        {OXP_SPARSE_LIST, LIST_BYTES + (8 + b) * c->nonzero, c->nonzero},
        {OXP_SPARSE_GAPS8, GAPS_BYTES + (1 + b) * c->gaps8, c->gaps8},
        {OXP_SPARSE_GAPS16, GAPS_BYTES + (2 + b) * c->gaps16, c->gaps16},
        {OXP_SPARSE_MASK, MASK_BYTES + (count + 7) / 8 + b * (c->nonzero + 1), c->nonzero + 1},
    };
    oxp_sparse_form best = forms[0];
    for (size_t i = 1; i < sizeof forms / sizeof *forms; i++)
        if (forms[i].bytes < best.bytes)
            best = forms[i];
    return best;
}

size_t oxp_sparse_bytes(oxp_dtype dtype, size_t count, size_t nonzero)
{
    counts c = {nonzero, nonzero + (count - nonzero) / UINT8_MAX,
                nonzero + (count - nonzero) / UINT16_MAX};
    return smallest(dtype, count, &c).bytes;
}

oxp_sparse_form oxp_sparse_form_of(oxp_dtype dtype, const void *data, size_t count)
{
    counts c = {0};
    for (size_t before = 0, i = 0; i < count; i++) {
        if (is_zero(dtype, data, i))
            continue;
        c.nonzero++;
        size_t passed = i > before ? i - before - 1 : 0;
        c.gaps8 += 1 + passed / UINT8_MAX;
        c.gaps16 += 1 + passed / UINT16_MAX;
        before = i;
    }
    if (c.nonzero == 0) /* no form is empty: a zero at place 0 */
        c = (counts){1, 1, 1};
    return smallest(dtype, count, &c);
}

/* ---- what is written ---- */

typedef struct packed { /* the numbers that are written, and what stands beside each */
    char *values;
    int64_t *places;
    uint16_t *marks; /* gaps [entries], or the mask [count] */
} packed;

static void copy_number(char *to, const void *data, size_t i, size_t bytes)
{
    memcpy(to, (const char *)data + i * bytes, bytes);
}

static void list_places(packed *p, oxp_dtype dtype, const void *data, size_t count)
{
    size_t b = oxp_dtype_bits(dtype) / 8;
    for (size_t at = 0, i = 0; i < count; i++)
        if (!is_zero(dtype, data, i)) {
            copy_number(p->values + at * b, data, i, b);
            p->places[at++] = (int64_t)i;
        }
}

/* The first gap is counted from place 0. One above `most` is cut by zeros that are written. */
static void list_gaps(packed *p, oxp_dtype dtype, const void *data, size_t count, size_t most)
{
    size_t b = oxp_dtype_bits(dtype) / 8;
    for (size_t at = 0, before = 0, i = 0; i < count; i++) {
        if (is_zero(dtype, data, i))
            continue;
        for (; i - before > most; before += most)
            p->marks[at++] = (uint16_t)most; /* its value stays zero */
        copy_number(p->values + at * b, data, i, b);
        p->marks[at++] = (uint16_t)(i - before);
        before = i;
    }
}

static void fill_mask(packed *p, oxp_dtype dtype, const void *data, size_t count)
{
    size_t b = oxp_dtype_bits(dtype) / 8, at = 1; /* in front stands the zero of all others */
    for (size_t i = 0; i < count; i++) {
        p->marks[i] = !is_zero(dtype, data, i);
        if (p->marks[i])
            copy_number(p->values + at++ * b, data, i, b);
    }
}

static oxp_status pack(packed *p, oxp_arena *arena, const oxp_sparse_form *f, oxp_dtype dtype,
                       const void *data, size_t count)
{
    bool is_list = f->kind == OXP_SPARSE_LIST, is_mask = f->kind == OXP_SPARSE_MASK;
    p->values = oxp_arena_alloc(arena, f->entries, oxp_dtype_bits(dtype) / 8);
    p->places = oxp_arena_alloc(arena, is_list ? f->entries : 0, sizeof *p->places);
    p->marks = oxp_arena_alloc(arena, is_mask ? count : f->entries, sizeof *p->marks);
    if (!p->values || !p->places || !p->marks)
        return OXP_ELIMIT;
    if (is_list)
        list_places(p, dtype, data, count);
    else if (is_mask)
        fill_mask(p, dtype, data, count);
    else
        list_gaps(p, dtype, data, count, f->kind == OXP_SPARSE_GAPS8 ? UINT8_MAX : UINT16_MAX);
    return OXP_OK;
}

/* ---- the expressions ---- */

/* Running sums of whole numbers, [count]. */
static oxp_status sum_up(oxp_expression *x, const char *from, const char **out)
{
    const int64_t first = 0;
    const char *axis;
    OXP_TRY(oxp_edit_shared(&axis, x->e, x->graph, "axis/0", OXP_INT64, 0, NULL, &first));
    return oxp_expression_add(x, "CumSum", from, axis, out);
}

static oxp_status zeros(oxp_expression *x, oxp_dtype dtype, int64_t count, const char **out)
{
    static const float nothing = 0; /* all bits zero, as of any type */
    const int64_t one = 1;
    const char *shape, *key = oxp_arena_printf(&x->e->arena, "integers/%lld", (long long)count);
    oxp_node_proto *node;
    if (!key)
        return OXP_ELIMIT;
    OXP_TRY(oxp_edit_shared(&shape, x->e, x->graph, key, OXP_INT64, 1, &one, &count));
    OXP_TRY(oxp_edit_node(&node, x->e, x->graph, x->at++, "ConstantOfShape", 1, &shape, out));
    return oxp_edit_set_tensor_attribute(x->e->model, node, "value", dtype, 1, &one, &nothing);
}

static oxp_status from_gaps(oxp_expression *x, const oxp_sparse_form *f, const packed *p,
                            oxp_dtype dtype, const char *values, size_t count, const char **out)
{
    const char *gaps = NULL, *sums = NULL, *wide = NULL, *places = NULL, *empty = NULL;
    oxp_node_proto *node;
    OXP_TRY(oxp_expression_indices(x, p->marks, f->entries, f->kind == OXP_SPARSE_GAPS8 ? 8 : 16,
                                   &gaps));
    OXP_TRY(sum_up(x, gaps, &sums));
    OXP_TRY(oxp_expression_cast(x, sums, OXP_INT64, &wide));
    OXP_TRY(oxp_expression_reshape(x, wide, 2, (int64_t[]){-1, 1}, &places));
    OXP_TRY(zeros(x, dtype, (int64_t)count, &empty));
    const char *inputs[3] = {empty, places, values};
    return oxp_edit_node(&node, x->e, x->graph, x->at++, "ScatterND", 3, inputs, out);
}

static oxp_status from_mask(oxp_expression *x, const packed *p, const char *values, size_t count,
                            const char **out)
{
    const char *mask = NULL, *sums = NULL, *places = NULL;
    OXP_TRY(oxp_expression_indices(x, p->marks, count, 1, &mask));
    OXP_TRY(sum_up(x, mask, &sums));
    OXP_TRY(oxp_expression_add(x, "Mul", sums, mask, &places));
    return oxp_expression_add(x, "Gather", values, places, out);
}

static oxp_status add_dense(const char *name, oxp_expression *x, oxp_dtype dtype, int rank,
                            const int64_t *dims, const void *data)
{
    return oxp_edit_add_initializer(x->e->model, x->graph->proto, name, dtype, rank, dims, data);
}

oxp_status oxp_sparse_form_write(const char **name, oxp_expression *x, const oxp_sparse_form *f,
                                 oxp_dtype dtype, int rank, const int64_t *dims, const void *data)
{
    size_t count = 1;
    packed p;
    const char *values, *flat = NULL;
    const int64_t entries = (int64_t)f->entries;
    for (int i = 0; i < rank; i++)
        count *= (size_t)dims[i];
    if (!*name)
        OXP_TRY(oxp_edit_name(name, x->e, "t"));
    if (f->kind == OXP_SPARSE_DENSE)
        return add_dense(*name, x, dtype, rank, dims, data);
    OXP_TRY(pack(&p, &x->e->arena, f, dtype, data, count));
    if (f->kind == OXP_SPARSE_LIST) {
        oxp_sparse_list list = {dtype, f->entries, p.places, p.values};
        return oxp_edit_add_sparse_initializer(x->e->model, x->graph->proto, *name, &list, rank,
                                               dims);
    }
    OXP_TRY(oxp_edit_constant(&values, x->e, x->graph, "v", dtype, 1, &entries, p.values));
    OXP_TRY(f->kind == OXP_SPARSE_MASK ? from_mask(x, &p, values, count, &flat)
                                       : from_gaps(x, f, &p, dtype, values, count, &flat));
    return oxp_expression_reshape(x, flat, rank, dims, name);
}
