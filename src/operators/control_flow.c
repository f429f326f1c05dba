/* control_flow.c - bodies, slices and collected outputs of If, Loop and Scan. */
#include "operators/gradient.h"
#include "operators/control_flow.h"

#include <string.h>

oxp_status oxp_body_find(oxp_node *n, const char *name, size_t *which)
{
    size_t index = 0;
    for (size_t i = 0; i < n->def->attribute_count; i++) {
        const oxp_attribute *a = &n->def->attributes[i];
        if (strcmp(a->name, name) == 0 && a->type == OXP_ATTR_GRAPH) {
            oxp_attr_ignore(n, name);
            *which = index;
            return OXP_OK;
        }
        index += a->type == OXP_ATTR_GRAPH ? 1 : a->type == OXP_ATTR_GRAPHS ? a->count : 0;
    }
    return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE", "attribute %s is missing or no graph",
                         name);
}

/* Bytes of an element, also of values that are no input of the node. */
static oxp_status element_bytes(oxp_node *n, const oxp_tensor *t, size_t *bytes)
{
    unsigned bits = oxp_dtype_bits(t->dtype);
    if (bits < 8)
        return oxp_node_fail(n, OXP_EUNSUPPORTED, "E-OP-DTYPE",
                             "a sequence of type %s is not supported", oxp_dtype_name(t->dtype));
    *bytes = bits / 8;
    return OXP_OK;
}

oxp_status oxp_body_slice(oxp_node *n, const oxp_tensor *t, int axis, int64_t index,
                          oxp_tensor *out)
{
    size_t element = 0;
    int64_t dims[OXP_MAX_RANK], outer, inner;
    OXP_TRY(element_bytes(n, t, &element));
    for (int i = 0; i < t->rank - 1; i++)
        dims[i] = t->dims[i < axis ? i : i + 1];
    OXP_TRY(oxp_tensor_shape(out, n->ctx, t->dtype, t->rank - 1, dims, n->def->type));
    OXP_TRY(oxp_tensor_alloc(out, n->ctx, n->def->type));
    if (out->count == 0)
        return OXP_OK;
    OXP_TRY(oxp_move_product(n, axis, t->dims, &outer));
    OXP_TRY(oxp_move_product(n, t->rank - axis - 1, t->dims + axis + 1, &inner));
    oxp_copy copy = {.element = element};
    oxp_copy_add(&copy, outer, inner, t->dims[axis] * inner);
    oxp_copy_add(&copy, inner, 1, 1);
    oxp_copy_run(&copy, out->data, (const char *)t->data + (size_t)(index * inner) * element);
    return OXP_OK;
}

oxp_status oxp_body_scalar(oxp_node *n, size_t which, size_t input, oxp_dtype dtype, int64_t value,
                           oxp_tensor *out)
{
    const oxp_graph *body = n->def->subgraphs[which];
    const int64_t one = 1;
    bool vector = input < body->input_count && body->values[body->inputs[input]].declared.rank == 1;
    OXP_TRY(oxp_tensor_shape(out, n->ctx, dtype, vector ? 1 : 0, &one, n->def->type));
    OXP_TRY(oxp_tensor_alloc(out, n->ctx, n->def->type));
    if (dtype == OXP_BOOL)
        *(uint8_t *)out->data = value != 0;
    else
        *(int64_t *)out->data = value;
    return OXP_OK;
}

oxp_status oxp_body_condition(oxp_node *n, const oxp_tensor *t, const char *what, bool *value)
{
    if (t->dtype != OXP_BOOL || t->count != 1)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SUBGRAPH",
                             "%s is %s with %zu values, expected one BOOL", what,
                             oxp_dtype_name(t->dtype), t->count);
    *value = *(const uint8_t *)t->data != 0;
    return OXP_OK;
}

/* ---- going back ---- */

void oxp_body_add_slice(oxp_tensor *to, int axis, int64_t index, const oxp_tensor *part)
{
    size_t inner = 1;
    for (int i = axis + 1; i < to->rank; i++)
        inner *= (size_t)to->dims[i];
    size_t outer = inner ? part->count / inner : 0;
    for (size_t o = 0; o < outer; o++) {
        size_t at = (o * (size_t)to->dims[axis] + (size_t)index) * inner;
        oxp_gradient_add((float *)to->data + at, (const float *)part->data + o * inner, inner, 1);
    }
}

oxp_status oxp_history_add(oxp_node *n, oxp_history *h, const oxp_tensor *values)
{
    size_t count = (h->steps + 1) * h->variables;
    OXP_TRY(oxp_grow(&h->values, &h->capacity, n->ctx, count + 1, sizeof *h->values));
    for (size_t i = 0; i < h->variables; i++)
        oxp_tensor_share(&h->values[h->steps * h->variables + i], &values[i]);
    h->steps++;
    return OXP_OK;
}

void oxp_history_free(oxp_history *h)
{
    for (size_t i = 0; i < h->steps * h->variables; i++)
        oxp_tensor_release(&h->values[i]);
    oxp_free(h->values);
    *h = (oxp_history){.steps = 0};
}

/* ---- collecting ---- */

static bool same_shape(const oxp_tensor *a, const oxp_tensor *b)
{
    bool same = a->dtype == b->dtype && a->rank == b->rank;
    for (int i = 0; same && i < a->rank; i++)
        same = a->dims[i] == b->dims[i];
    return same;
}

static oxp_status start(oxp_node *n, oxp_collector *c, const oxp_tensor *t)
{
    size_t element;
    OXP_TRY(element_bytes(n, t, &element));
    OXP_TRY(oxp_move_rank(n, (size_t)t->rank + 1));
    return oxp_tensor_shape(&c->shape, n->ctx, t->dtype, t->rank, t->dims, n->def->type);
}

static oxp_status make_room(oxp_node *n, oxp_collector *c, int64_t entries, size_t *bytes)
{
    size_t needed;
    if (!oxp_mul_ok(oxp_tensor_bytes(&c->shape), (size_t)entries, bytes) ||
        !oxp_add_ok(c->used, *bytes, &needed))
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE-OVERFLOW", "collected output overflows");
    return oxp_grow(&c->bytes, &c->capacity, n->ctx, needed, 1);
}

oxp_status oxp_collect(oxp_node *n, oxp_collector *c, const oxp_tensor *t)
{
    size_t bytes;
    if (c->steps == 0)
        OXP_TRY(start(n, c, t));
    if (!same_shape(&c->shape, t)) {
        char a[OXP_SHAPE_TEXT_MAX], b[OXP_SHAPE_TEXT_MAX];
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "step %lld gives %s %s, those before %s %s",
                             (long long)c->steps, oxp_dtype_name(t->dtype),
                             oxp_shape_text(a, t->rank, t->dims), oxp_dtype_name(c->shape.dtype),
                             oxp_shape_text(b, c->shape.rank, c->shape.dims));
    }
    OXP_TRY(make_room(n, c, 1, &bytes));
    if (bytes > 0)
        memcpy(c->bytes + c->used, t->data, bytes);
    c->used += bytes;
    c->steps++;
    return OXP_OK;
}

oxp_status oxp_collect_zeros(oxp_node *n, oxp_collector *c, int64_t count)
{
    size_t bytes;
    OXP_TRY(make_room(n, c, count, &bytes));
    if (bytes > 0)
        memset(c->bytes + c->used, 0, bytes);
    c->used += bytes;
    c->steps += count;
    return OXP_OK;
}

/* The entry's shape as the body declares it. */
static oxp_status declared_shape(oxp_node *n, oxp_collector *c, size_t which, size_t output)
{
    const oxp_graph *body = n->def->subgraphs[which];
    const oxp_value_info *info = &body->values[body->outputs[output]].declared;
    oxp_tensor t = {.dtype = info->dtype, .rank = info->rank < 0 ? 0 : info->rank};
    if (info->dtype == OXP_UNDEFINED)
        return oxp_node_fail(n, OXP_EUNSUPPORTED, "E-SUBGRAPH",
                             "no step was run and the body does not say the type of its output %zu",
                             output);
    for (int i = 0; i < t.rank; i++)
        t.dims[i] = info->dims[i] < 0 ? 0 : info->dims[i];
    return start(n, c, &t);
}

oxp_status oxp_collector_finish(oxp_node *n, oxp_collector *c, int i, size_t which,
                                size_t body_output, int64_t axis, bool reverse)
{
    int place;
    int64_t dims[OXP_MAX_RANK], outer, inner;
    size_t element = 0;
    uint8_t *to;
    if (c->steps == 0)
        OXP_TRY(declared_shape(n, c, which, body_output));
    int rank = c->shape.rank + 1;
    OXP_TRY(oxp_node_axis(n, axis, rank, false, &place));
    OXP_TRY(element_bytes(n, &c->shape, &element));
    for (int d = 0; d < rank; d++)
        dims[d] = d == place ? c->steps : c->shape.dims[d < place ? d : d - 1];
    OXP_TRY(oxp_move_make_output(n, i, c->shape.dtype, rank, dims, &to));
    if (!to || c->used == 0)
        return OXP_OK;
    OXP_TRY(oxp_move_product(n, place, dims, &outer));
    OXP_TRY(oxp_move_product(n, rank - place - 1, dims + place + 1, &inner));
    int64_t entry = (int64_t)c->shape.count;
    oxp_copy copy = {.element = element};
    oxp_copy_add(&copy, outer, c->steps * inner, inner);
    oxp_copy_add(&copy, c->steps, inner, reverse ? -entry : entry);
    oxp_copy_add(&copy, inner, 1, 1);
    oxp_copy_run(&copy, to, c->bytes + (reverse ? (size_t)((c->steps - 1) * entry) * element : 0));
    return OXP_OK;
}

oxp_status oxp_collector_finish_batched(oxp_node *n, oxp_collector *c, int i, int64_t outer)
{
    int64_t dims[OXP_MAX_RANK];
    uint8_t *to;
    OXP_TRY(oxp_move_rank(n, (size_t)c->shape.rank + 2));
    dims[0] = outer;
    dims[1] = outer > 0 ? c->steps / outer : 0;
    for (int d = 0; d < c->shape.rank; d++)
        dims[d + 2] = c->shape.dims[d];
    OXP_TRY(oxp_move_make_output(n, i, c->shape.dtype, c->shape.rank + 2, dims, &to));
    if (to && c->used > 0)
        memcpy(to, c->bytes, c->used);
    return OXP_OK;
}

void oxp_collector_free(oxp_collector *c)
{
    oxp_free(c->bytes);
    *c = (oxp_collector){.steps = 0};
}
