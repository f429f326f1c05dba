/* coupling_cut.c - a model without some of its channels, see coupling.h. The clone's graph has the
 * same nodes and values at the same places. */
#include <string.h>

#include "onnx/edit.h"
#include "techniques/coupling.h"

typedef struct cutter {
    oxp_coupling *c;
    const bool *gone;
    const float *const *numbers; /* by value id, or NULL */
    oxp_model *model;
    const oxp_graph *graph; /* of the clone */
    oxp_tensor *constants;  /* by value id: as they will be; rank 0 and no data: untouched */
} cutter;

static bool is_gone(const cutter *k, uint32_t variable)
{
    return variable != OXP_NO_VARIABLE && k->gone[oxp_variables_root(&k->c->variables, variable)];
}

static size_t kept_among(const cutter *k, const uint32_t *variables, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        kept += !is_gone(k, variables[i]);
    return kept;
}

/* ---- constants ---- */

/* to[outer, kept, inner] of from[outer, size, inner]; elements of `bytes`. */
static void copy_kept(const cutter *k, char *to, const char *from, const uint32_t *variables,
                      size_t outer, size_t size, size_t bytes)
{
    for (size_t o = 0; o < outer; o++)
        for (size_t i = 0; i < size; i++) {
            if (is_gone(k, variables[i]))
                continue;
            memcpy(to, from + (o * size + i) * bytes, bytes);
            to += bytes;
        }
}

static oxp_status cut_constant(cutter *k, const oxp_cut *cut)
{
    oxp_tensor *t = &k->constants[cut->constant->id];
    if (!t->data)
        *t = cut->constant->constant;
    size_t size = (size_t)t->dims[cut->axis], kept = kept_among(k, cut->variables, size);
    size_t outer = 1, inner = (size_t)oxp_dtype_bits(t->dtype) / 8;
    if (kept == size)
        return OXP_OK;
    for (int i = 0; i < t->rank; i++)
        if (i < cut->axis)
            outer *= (size_t)t->dims[i];
        else if (i > cut->axis)
            inner *= (size_t)t->dims[i];
    char *data = oxp_arena_alloc(k->c->arena, outer * kept * inner + 1, 1);
    if (!data)
        return OXP_ELIMIT;
    copy_kept(k, data, t->data, cut->variables, outer, size, inner);
    t->data = data;
    t->dims[cut->axis] = (int64_t)kept;
    t->count = t->count / size * kept;
    return OXP_OK;
}

static oxp_status write_constants(cutter *k)
{
    for (uint32_t v = 0; v < k->graph->value_count; v++) {
        const oxp_tensor *t = &k->constants[v];
        if (t->data && t->data != k->c->graph->values[v].constant.data)
            OXP_TRY(oxp_edit_set_tensor(k->model, k->graph->values[v].proto, t->dtype, t->rank,
                                        t->dims, t->data));
    }
    return OXP_OK;
}

/* ---- numbers that count channels ---- */

static bool same_place(const oxp_count *a, const oxp_count *b)
{
    return a->node == b->node && a->input == b->input && !a->attribute == !b->attribute &&
           (!a->attribute || strcmp(a->attribute, b->attribute) == 0);
}

static const int64_t *old_numbers(const oxp_count *p, size_t *count)
{
    const oxp_attribute *a = p->attribute ? oxp_graph_node_attribute(p->node, p->attribute) : NULL;
    *count = 0;
    if (a && a->type == OXP_ATTR_INTS) {
        *count = a->count;
        return a->ints;
    }
    const oxp_value *v = p->attribute ? NULL : oxp_graph_node_constant(p->node, p->input);
    if (!v)
        return NULL;
    *count = v->constant.count;
    return v->constant.data;
}

/* A list of numbers; shared ones are not changed, the node gets its own. */
static oxp_status write_list(cutter *k, const oxp_count *p, size_t count, const int64_t *values)
{
    oxp_node_proto *node = k->graph->nodes[p->node->index].proto;
    const char *name;
    int64_t dims[1] = {(int64_t)count};
    if (p->attribute)
        return oxp_edit_set_ints(k->model, node, p->attribute, count, values);
    OXP_TRY(oxp_edit_unique_name(&name, k->model, "counts"));
    OXP_TRY(oxp_edit_add_initializer(k->model, k->graph->proto, name, OXP_INT64, 1, dims, values));
    OXP_TRY(oxp_edit_set_input(k->model, node, p->input, name));
    if (strcmp(p->node->type, "Split") == 0)
        OXP_TRY(oxp_edit_remove_attribute(k->model, node, "num_outputs"));
    const oxp_value *old =
        p->input < p->node->input_count && p->node->inputs[p->input] != OXP_NO_VALUE
            ? &p->node->graph->values[p->node->inputs[p->input]]
            : NULL;
    if (old && old->kind == OXP_VALUE_CONSTANT && old->use_count == 1 && !old->is_output &&
        !old->producer)
        return oxp_edit_remove_initializer(k->model, k->graph->proto, old->name);
    return OXP_OK;
}

/* All entries of one list at once, when its first one comes by. */
static oxp_status write_count(cutter *k, size_t at)
{
    const oxp_count *all = k->c->counts, *p = &all[at];
    size_t count, needed = 0;
    const int64_t *old = old_numbers(p, &count);
    for (size_t i = 0; i < at; i++)
        if (same_place(&all[i], p))
            return OXP_OK;
    for (size_t i = at; i < k->c->count_count; i++)
        if (same_place(&all[i], p) && all[i].entry >= needed)
            needed = all[i].entry + 1;
    needed = needed < count ? count : needed;
    int64_t *values = oxp_arena_alloc(k->c->arena, needed, sizeof *values);
    if (!values)
        return OXP_ELIMIT;
    if (count)
        memcpy(values, old, count * sizeof *values);
    bool changed = false;
    for (size_t i = at; i < k->c->count_count; i++) {
        const oxp_count *q = &all[i];
        if (!same_place(q, p))
            continue;
        size_t kept = kept_among(k, q->variables, q->count);
        changed = changed || kept != q->count;
        values[q->entry] = (int64_t)kept;
    }
    if (!changed)
        return OXP_OK;
    if (!p->is_list && p->attribute)
        return oxp_edit_set_int(k->model, k->graph->nodes[p->node->index].proto, p->attribute,
                                values[0]);
    return write_list(k, p, needed, values);
}

/* ---- both ---- */

/* Declared shapes of what has channels are no longer true. */
static oxp_status forget_shapes(cutter *k)
{
    for (uint32_t v = 0; v < k->graph->value_count; v++)
        if (k->c->channels[v].count && !k->graph->values[v].is_output)
            OXP_TRY(
                oxp_edit_remove_value_info(k->model, k->graph->proto, k->graph->values[v].name));
    return OXP_OK;
}

/* The data of a tensor are only read until it is cut, into memory of its own. */
static void take_numbers(cutter *k)
{
    for (uint32_t v = 0; k->numbers && v < k->graph->value_count; v++)
        if (k->numbers[v]) {
            k->constants[v] = k->c->graph->values[v].constant;
            k->constants[v].data = (void *)(uintptr_t)k->numbers[v];
        }
}

static oxp_status cut(cutter *k)
{
    take_numbers(k);
    for (size_t i = 0; i < k->c->cut_count; i++)
        OXP_TRY(cut_constant(k, &k->c->cuts[i]));
    OXP_TRY(write_constants(k));
    for (size_t i = 0; i < k->c->count_count; i++)
        OXP_TRY(write_count(k, i));
    return forget_shapes(k);
}

/* Zeros where a layer reads what is gone. */
static oxp_status mask(cutter *k)
{
    for (size_t n = 0; n < k->c->layer_count; n++) {
        const oxp_coupled_layer *l = &k->c->layers[n];
        const oxp_tensor *w = &l->weight->constant;
        if (l->is_depthwise)
            continue;
        float *data = oxp_arena_alloc(k->c->arena, w->count, sizeof *data);
        if (!data)
            return OXP_ELIMIT;
        memcpy(data, w->data, w->count * sizeof *data);
        size_t inner = 1;
        for (int i = l->in_axis + 1; i < w->rank; i++)
            inner *= (size_t)w->dims[i];
        for (size_t i = 0; i < w->count; i++)
            if (is_gone(k, l->in[i / inner % (size_t)w->dims[l->in_axis]]))
                data[i] = 0;
        OXP_TRY(oxp_edit_set_tensor(k->model, k->graph->values[l->weight->id].proto, OXP_FLOAT,
                                    w->rank, w->dims, data));
    }
    return OXP_OK;
}

static oxp_status change(oxp_model **out, oxp_coupling *c, const bool *gone,
                         const float *const *numbers, oxp_status (*how)(cutter *k))
{
    cutter k = {.c = c, .gone = gone, .numbers = numbers};
    oxp_graph *graph;
    k.constants = oxp_arena_alloc(c->arena, c->graph->value_count + 1, sizeof *k.constants);
    if (!k.constants)
        return OXP_ELIMIT;
    OXP_TRY(oxp_model_clone(&k.model, c->graph->model));
    oxp_status status = oxp_graph_build(&graph, c->arena, k.model);
    k.graph = graph;
    if (status == OXP_OK)
        status = how(&k);
    if (status != OXP_OK) {
        oxp_model_free(k.model);
        return status;
    }
    *out = k.model;
    return OXP_OK;
}

oxp_status oxp_coupling_cut(oxp_model **out, oxp_coupling *c, const bool *gone,
                            const float *const *numbers)
{
    return change(out, c, gone, numbers, cut);
}

oxp_status oxp_coupling_mask(oxp_model **out, oxp_coupling *c, const bool *gone)
{
    return change(out, c, gone, NULL, mask);
}
