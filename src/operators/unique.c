/* unique.c - Unique: the different elements (or slices along `axis`) in ascending order, or as they
 * first appear (sorted=0); then first indices, the way back, and counts. Slices compare element by
 * element. https://onnx.ai/onnx/operators/onnx__Unique.html
 *
 * NaNs are one value, above all others. */
#include <string.h>

#include "operators/gradient.h"
#include "operators/movement.h"

typedef struct unique_state {
    bool flat, sorted;
    int axis;
} unique_state;

static oxp_status unique_prepare(oxp_node *n)
{
    oxp_dtype dtype = n->in[0]->dtype;
    unique_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    size_t element;
    if (dtype != OXP_BOOL && !oxp_dtype_is_integer(dtype) && !oxp_dtype_is_float(dtype))
        return oxp_node_bad_dtype(n, 0);
    OXP_TRY(oxp_move_element(n, 0, &element));
    s->sorted = oxp_attr_int(n, "sorted", 1) != 0;
    s->flat = !oxp_attr_present(n, "axis");
    if (!s->flat)
        OXP_TRY(oxp_node_axis(n, oxp_attr_int(n, "axis", 0), n->in[0]->rank, false, &s->axis));
    for (int i = 0; i < n->out_count; i++)
        OXP_TRY(oxp_output_later(n, i));
    return OXP_OK;
}

/* The items that are compared: slice k is x[o, k, i] for all o and i. */
typedef struct items {
    oxp_dtype dtype;
    const char *data;
    size_t element, outer, count, inner;
} items;

static const char *item_at(const items *t, size_t k, size_t o)
{
    return t->data + (o * t->count + k) * t->inner * t->element;
}

static int compare(const items *t, size_t a, size_t b)
{
    for (size_t o = 0; o < t->outer; o++) {
        const char *x = item_at(t, a, o), *y = item_at(t, b, o);
        for (size_t i = 0; i < t->inner; i++) {
            uint64_t p = oxp_move_order_key(t->dtype, x + i * t->element),
                     q = oxp_move_order_key(t->dtype, y + i * t->element);
            if (p != q)
                return p < q ? -1 : 1;
        }
    }
    return 0;
}

static bool before(const void *user, size_t a, size_t b)
{
    return compare(user, a, b) < 0;
}

static bool smaller(const void *user, size_t a, size_t b)
{
    const size_t *first = user;
    return first[a] < first[b];
}

/* Which items are equal: class c has first index first[c] and count counts[c]; item k is of class
 * of[k]. */
typedef struct classes {
    size_t count;
    size_t *first, *counts, *of, *spare;
} classes;

static oxp_status find_classes(oxp_node *n, const items *t, bool sorted, classes *c)
{
    size_t *order = oxp_node_scratch(n, t->count, sizeof *order);
    size_t *rank = oxp_node_scratch(n, t->count, sizeof *rank);
    c->first = oxp_node_scratch(n, t->count, sizeof *c->first);
    c->counts = oxp_node_scratch(n, t->count, sizeof *c->counts);
    c->of = oxp_node_scratch(n, t->count, sizeof *c->of);
    c->spare = oxp_node_scratch(n, t->count, sizeof *c->spare);
    if (!order || !rank || !c->first || !c->counts || !c->of || !c->spare)
        return n->ctx->status;
    for (size_t i = 0; i < t->count; i++)
        order[i] = i;
    oxp_move_sort(order, c->spare, t->count, before, t);
    c->count = 0;
    for (size_t i = 0; i < t->count; i++) {
        if (i == 0 || compare(t, order[i - 1], order[i]) != 0)
            c->first[c->count++] = order[i];
        c->of[order[i]] = c->count - 1;
    }
    if (!sorted) { /* number the classes by their first index */
        for (size_t i = 0; i < c->count; i++)
            order[i] = i;
        oxp_move_sort(order, c->spare, c->count, smaller, c->first);
        for (size_t i = 0; i < c->count; i++) {
            rank[order[i]] = i;
            c->spare[i] = c->first[order[i]];
        }
        memcpy(c->first, c->spare, c->count * sizeof *c->first);
        for (size_t i = 0; i < t->count; i++)
            c->of[i] = rank[c->of[i]];
    }
    for (size_t i = 0; i < t->count; i++)
        c->counts[c->of[i]]++;
    return OXP_OK;
}

static oxp_status write_indices(oxp_node *n, int output, const size_t *values, size_t count)
{
    int64_t *to, dims[1] = {(int64_t)count};
    OXP_TRY(oxp_move_make_output(n, output, OXP_INT64, 1, dims, &to));
    for (size_t i = 0; to && i < count; i++)
        to[i] = (int64_t)values[i];
    return OXP_OK;
}

static oxp_status read_items(oxp_node *n, const unique_state *s, items *t)
{
    const oxp_tensor *x = n->in[0];
    int64_t outer, inner;
    *t = (items){.dtype = x->dtype, .data = x->data, .outer = 1, .count = x->count, .inner = 1};
    OXP_TRY(oxp_move_element(n, 0, &t->element));
    if (s->flat)
        return OXP_OK;
    OXP_TRY(oxp_move_product(n, s->axis, x->dims, &outer));
    OXP_TRY(oxp_move_product(n, x->rank - s->axis - 1, x->dims + s->axis + 1, &inner));
    t->outer = (size_t)outer;
    t->inner = (size_t)inner;
    t->count = (size_t)x->dims[s->axis];
    return OXP_OK;
}

static oxp_status unique_forward(oxp_node *n)
{
    const unique_state *s = n->state;
    const oxp_tensor *x = n->in[0];
    items t;
    int64_t dims[OXP_MAX_RANK];
    OXP_TRY(read_items(n, s, &t));
    memcpy(dims, x->dims, sizeof dims);
    classes c = {0};
    OXP_TRY(find_classes(n, &t, s->sorted, &c));
    dims[s->flat ? 0 : s->axis] = (int64_t)c.count;
    char *to;
    OXP_TRY(oxp_move_make_output(n, 0, x->dtype, s->flat ? 1 : x->rank, dims, &to));
    size_t bytes = t.inner * t.element;
    for (size_t o = 0; to && x->count > 0 && o < t.outer; o++) {
        for (size_t k = 0; k < c.count; k++, to += bytes)
            memcpy(to, item_at(&t, c.first[k], o), bytes);
    }
    OXP_TRY(write_indices(n, 1, c.first, c.count));
    OXP_TRY(write_indices(n, 2, c.of, t.count));
    return write_indices(n, 3, c.counts, c.count);
}

/* The first of equal items gets their gradient. */
static oxp_status unique_backward(oxp_node *n)
{
    const unique_state *s = n->state;
    items t;
    classes c = {0};
    const float *dy = oxp_dout(n, 0);
    float *dx = oxp_din(n, 0);
    if (!dx || !dy)
        return OXP_OK;
    OXP_TRY(read_items(n, s, &t));
    OXP_TRY(find_classes(n, &t, s->sorted, &c));
    for (size_t o = 0; o < t.outer; o++)
        for (size_t k = 0; k < c.count; k++, dy += t.inner)
            oxp_gradient_add(dx + (o * t.count + c.first[k]) * t.inner, dy, t.inner, 1);
    return OXP_OK;
}

static const char *const unique_examples[] = {
    "X[6]={2.0,1.0,1.0,3.0,4.0,3.0}",
    "X[4]={3.0,1.0,2.0,5.0}",
    "X[6]:i64={2,1,1,3,4,3}; sorted=0 outputs=4",
    "X[3,3]={1.0,0.0,0.0,1.0,0.0,0.0,2.0,3.0,4.0}; axis=0 outputs=4",
    "X[2,4]:i32={1,0,2,0,1,0,2,0}; axis=-1 sorted=0",
    NULL,
};

const oxp_operator oxp_op_unique_11 = {
    .domain = "",
    .type = "Unique",
    .since = 11,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 4,
    .prepare = unique_prepare,
    .forward = unique_forward,
    .backward = unique_backward,
    .saves = 1,
    .examples = unique_examples,
};
