/* operator.c - what the files of this folder share: attributes, output shapes, messages. */
#include "operators/operator.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "operators/host.h"

/* ---- attributes ---- */

static const oxp_attribute *attribute(oxp_node *n, const char *name)
{
    for (size_t i = 0; i < n->def->attribute_count; i++)
        if (strcmp(n->def->attributes[i].name, name) == 0) {
            n->attributes_read |= UINT64_C(1) << (i & 63);
            return &n->def->attributes[i];
        }
    return NULL;
}

/* The error waits in the context; whoever called prepare finds it there. */
static const oxp_attribute *typed(oxp_node *n, const char *name, oxp_attribute_type type)
{
    const oxp_attribute *a = attribute(n, name);
    if (!a || a->type == type)
        return a;
    oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-TYPE", "attribute \"%s\" has type %d, expected %d", name,
                  (int)a->type, (int)type);
    return NULL;
}

int64_t oxp_attr_int(oxp_node *n, const char *name, int64_t otherwise)
{
    const oxp_attribute *a = typed(n, name, OXP_ATTR_INT);
    return a ? a->i : otherwise;
}

float oxp_attr_float(oxp_node *n, const char *name, float otherwise)
{
    const oxp_attribute *a = typed(n, name, OXP_ATTR_FLOAT);
    return a ? a->f : otherwise;
}

const char *oxp_attr_string(oxp_node *n, const char *name, const char *otherwise)
{
    const oxp_attribute *a = typed(n, name, OXP_ATTR_STRING);
    return a ? a->s : otherwise;
}

void oxp_attr_ints(oxp_node *n, const char *name, const int64_t **values, size_t *count)
{
    const oxp_attribute *a = typed(n, name, OXP_ATTR_INTS);
    *values = a ? a->ints : NULL;
    *count = a ? a->count : 0;
}

void oxp_attr_floats(oxp_node *n, const char *name, const float **values, size_t *count)
{
    const oxp_attribute *a = typed(n, name, OXP_ATTR_FLOATS);
    *values = a ? a->floats : NULL;
    *count = a ? a->count : 0;
}

bool oxp_attr_present(oxp_node *n, const char *name)
{
    return attribute(n, name) != NULL;
}

void oxp_attr_ignore(oxp_node *n, const char *name)
{
    (void)attribute(n, name);
}

oxp_status oxp_attr_tensor(oxp_node *n, const char *name, oxp_tensor *out)
{
    const oxp_attribute *a = typed(n, name, OXP_ATTR_TENSOR);
    *out = (oxp_tensor){.rank = -1};
    if (!a)
        return OXP_OK;
    return oxp_tensor_decode(out, n->host->lifetime, n->def->graph->model, a->t);
}

/* ---- shapes ---- */

oxp_status oxp_output(oxp_node *n, int i, oxp_dtype dtype, int rank, const int64_t *dims)
{
    if (i >= n->out_count)
        return OXP_OK; /* an optional output that the node does not name */
    char what[OXP_NODE_TEXT_MAX];
    n->alias[i] = -1;
    return oxp_tensor_shape(&n->out[i], n->ctx, dtype, rank, dims,
                            oxp_graph_node_text(what, n->def));
}

oxp_status oxp_output_alias(oxp_node *n, int i, int j, int rank, const int64_t *dims)
{
    const oxp_tensor *from = n->in[j];
    OXP_TRY(oxp_output(n, i, from->dtype, rank, dims));
    if (i >= n->out_count)
        return OXP_OK;
    if (n->out[i].count != from->count) {
        char a[OXP_SHAPE_TEXT_MAX], b[OXP_SHAPE_TEXT_MAX];
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "%s has %zu elements, %s has %zu",
                             oxp_shape_text(a, from->rank, from->dims), from->count,
                             oxp_shape_text(b, rank, dims), n->out[i].count);
    }
    n->alias[i] = j;
    return OXP_OK;
}

void oxp_output_overwrites(oxp_node *n, int i, int j)
{
    if (i < n->out_count && n->in[j] && oxp_tensor_bytes(&n->out[i]) == oxp_tensor_bytes(n->in[j]))
        n->overwrite[i] = j;
}

oxp_status oxp_output_later(oxp_node *n, int i)
{
    if (i < n->out_count)
        n->out[i] = (oxp_tensor){.rank = -1};
    return OXP_OK;
}

void oxp_output_adopt(oxp_node *n, int i, const oxp_tensor *t)
{
    if (i >= n->out_count || !n->wanted[i])
        return;
    oxp_tensor_share(&n->out[i], t);
}

void *oxp_node_state(oxp_node *n, size_t bytes)
{
    if (n->state && n->state_bytes >= bytes)
        return n->state;
    n->state = oxp_arena_alloc(n->host->lifetime, 1, bytes);
    n->state_bytes = n->state ? bytes : 0;
    return n->state;
}

void *oxp_node_scratch(oxp_node *n, size_t count, size_t size)
{
    return oxp_arena_alloc(n->scratch, count, size);
}

oxp_status oxp_node_axis(oxp_node *n, int64_t axis, int rank, bool inclusive_end, int *out)
{
    int64_t limit = (int64_t)rank + (inclusive_end ? 1 : 0);
    if (axis < -limit || axis >= limit)
        return oxp_node_fail(n, OXP_EFORMAT, "E-AXIS",
                             "axis %lld is outside [%lld, %lld] for rank %d", (long long)axis,
                             (long long)-limit, (long long)limit - 1, rank);
    *out = (int)(axis < 0 ? axis + limit : axis);
    return OXP_OK;
}

oxp_status oxp_node_broadcast(oxp_node *n, const oxp_tensor *a, const oxp_tensor *b, int *rank,
                              int64_t dims[OXP_MAX_RANK])
{
    *rank = a->rank > b->rank ? a->rank : b->rank;
    for (int i = 0; i < *rank; i++) {
        int ia = i - (*rank - a->rank), ib = i - (*rank - b->rank);
        int64_t da = ia < 0 ? 1 : a->dims[ia], db = ib < 0 ? 1 : b->dims[ib];
        if (da != db && da != 1 && db != 1) {
            char ta[OXP_SHAPE_TEXT_MAX], tb[OXP_SHAPE_TEXT_MAX];
            return oxp_node_fail(n, OXP_EFORMAT, "E-BROADCAST", "shapes %s and %s do not broadcast",
                                 oxp_shape_text(ta, a->rank, a->dims),
                                 oxp_shape_text(tb, b->rank, b->dims));
        }
        dims[i] = da == 1 ? db : da;
    }
    return OXP_OK;
}

/* ---- messages ---- */

oxp_status oxp_node_fail(oxp_node *n, oxp_status status, const char *code, const char *format, ...)
{
    char text[OXP_MESSAGE_MAX], where[OXP_NODE_TEXT_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return oxp_fail(n->ctx, status, code, "%s: %s", oxp_graph_node_text(where, n->def), text);
}

oxp_status oxp_node_bad_dtype(oxp_node *n, int input)
{
    return oxp_node_fail(n, OXP_EUNSUPPORTED, "E-OP-DTYPE", "input %d of type %s is not supported",
                         input, oxp_dtype_name(n->in[input]->dtype));
}

oxp_status oxp_node_want(oxp_node *n, int input, oxp_dtype dtype)
{
    if (n->in[input]->dtype == dtype)
        return OXP_OK;
    return oxp_node_fail(n, OXP_EFORMAT, "E-OP-DTYPE", "input %d has type %s, expected %s", input,
                         oxp_dtype_name(n->in[input]->dtype), oxp_dtype_name(dtype));
}

/* ---- subgraphs ---- */

oxp_status oxp_node_run_subgraph(oxp_node *n, size_t which, const oxp_tensor *const *inputs,
                                 size_t input_count, oxp_tensor *out, size_t output_count)
{
    return n->host->run_subgraph(n->host, n, which, inputs, input_count, out, output_count);
}

oxp_status oxp_node_backward_subgraph(oxp_node *n, size_t which, const oxp_tensor *const *inputs,
                                      size_t input_count, const oxp_tensor *const *dout,
                                      size_t output_count, oxp_tensor *din)
{
    return n->host->backward_subgraph(n->host, n, which, inputs, input_count, dout, output_count,
                                      din);
}
