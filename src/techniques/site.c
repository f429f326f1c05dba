/* site.c - walks all graphs for constants that an operator calls a weight. */
#include "techniques/site.h"

#include <string.h>

#include "operators/operator.h"
#include "util/half.h"

typedef struct finder {
    oxp_arena *arena;
    const oxp_graph *const *graphs;
    size_t graph_count;
    size_t **site_of; /* by graph id and value id: index + 1 */
    oxp_site *sites;
    size_t count, capacity;
} finder;

static bool is_weight_type(oxp_dtype dtype)
{
    return dtype == OXP_FLOAT || dtype == OXP_FLOAT16 || dtype == OXP_BFLOAT16;
}

#define LEAST_OPERAND 1024 /* elements */

/* A large constant that elementary nodes read: a table of positions, a bias of attention scores. */
static bool is_operand(const oxp_graph_node *node, size_t input, const oxp_tensor *t, int *axis)
{
    static const char *const types[] = {"Add", "Sub", "Mul", "Slice", "Where", "Concat"};
    if (node->domain[0] || t->dtype != OXP_FLOAT || t->count < LEAST_OPERAND)
        return false;
    for (*axis = 0; *axis + 1 < t->rank && t->dims[*axis] == 1; ++*axis)
        continue;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(node->type, types[i]) == 0)
            return i != 3 || input == 0;
    return false;
}

static const oxp_value *weight_at(const oxp_graph_node *node, size_t input, int *axis)
{
    const oxp_value *v = oxp_graph_node_constant(node, input);
    if (!v || !is_weight_type(v->constant.dtype) || v->constant.rank < 2 || v->constant.count == 0)
        return NULL;
    bool known;
    int64_t opset = oxp_model_opset(node->graph->model, node->domain);
    const oxp_operator *op = oxp_operator_find(node->domain, node->type, opset, &known);
    bool is_weight = op && op->weight && op->weight(node, (int)input, v->constant.rank, axis);
    return is_weight || is_operand(node, input, &v->constant, axis) ? v : NULL;
}

static bool is_recurrent(const char *type)
{
    return strcmp(type, "LSTM") == 0 || strcmp(type, "GRU") == 0 || strcmp(type, "RNN") == 0;
}

static size_t product(const int64_t *dims, int from, int to)
{
    size_t p = 1; /* of a decoded tensor: cannot overflow */
    for (int i = from; i < to; i++)
        p *= (size_t)dims[i];
    return p;
}

/* A matrix product has a scale per column and batch, a recurrent weight one per gate row and
 * direction, all others one per output channel. */
static void set_layout(oxp_site *s, const oxp_graph_node *node)
{
    const oxp_tensor *t = &s->value->constant;
    if (strcmp(node->type, "Gather") ==
        0) /* a table: a scale per column, which stands behind the Gather */
        s->channel_axis = t->rank - 1;
    int rank = t->rank, axis = s->channel_axis;
    bool matmul = strcmp(node->type, "MatMul") == 0, by_block = matmul || is_recurrent(node->type);
    int batch_end = !by_block ? 0 : matmul && axis == rank - 1 ? rank - 2 : axis;
    s->layout = (oxp_weight_layout){.blocks = product(t->dims, 0, batch_end),
                                    .outer = product(t->dims, batch_end, axis),
                                    .channels = (size_t)t->dims[axis],
                                    .inner = product(t->dims, axis + 1, rank)};
    s->scale_rank = rank;
    for (int i = 0; i < rank; i++)
        s->scale_dims[i] = i == axis || i < batch_end ? t->dims[i] : 1;
}

static const oxp_graph *home_of(const finder *f, const oxp_graph_node *node, size_t input)
{
    const oxp_value *v = &node->graph->values[node->inputs[input]];
    return v->kind == OXP_VALUE_OUTER ? v->outer_graph : f->graphs[node->graph->id];
}

static oxp_status add_consumer(finder *f, const oxp_graph_node *node, size_t input)
{
    int axis = 0;
    const oxp_value *v = weight_at(node, input, &axis);
    if (!v)
        return OXP_OK;
    const oxp_graph *home = home_of(f, node, input);
    size_t *slot = &f->site_of[home->id][v->id];
    if (*slot == 0) {
        OXP_TRY(oxp_grow(&f->sites, &f->capacity, f->arena->ctx, f->count + 1, sizeof *f->sites));
        oxp_site *s = &f->sites[f->count++];
        *s = (oxp_site){.index = f->count - 1,
                        .value = v,
                        .graph = home,
                        .channel_axis = axis,
                        .is_table = true,
                        .is_operand = true};
        set_layout(s, node);
        *slot = f->count;
    }
    oxp_site *s = &f->sites[*slot - 1];
    s->consumer_count++;
    s->is_table = s->is_table && strcmp(node->type, "Gather") == 0;
    s->is_operand = s->is_operand && is_operand(node, input, &v->constant, &axis);
    return OXP_OK;
}

static oxp_status fill_consumers(finder *f, const oxp_graph_node *node, size_t input)
{
    int axis = 0;
    const oxp_value *v = weight_at(node, input, &axis);
    if (!v)
        return OXP_OK;
    oxp_site *s = &f->sites[f->site_of[home_of(f, node, input)->id][v->id] - 1];
    if (!s->consumers) {
        s->consumers = oxp_arena_alloc(f->arena, s->consumer_count, sizeof *s->consumers);
        if (!s->consumers)
            return OXP_ELIMIT;
        s->consumer_count = 0;
    }
    s->consumers[s->consumer_count++] = (oxp_consumer){node, (uint32_t)input};
    return OXP_OK;
}

static oxp_status walk(finder *f,
                       oxp_status (*visit)(finder *f, const oxp_graph_node *node, size_t input))
{
    for (size_t g = 0; g < f->graph_count; g++)
        for (size_t n = 0; n < f->graphs[g]->node_count; n++)
            for (size_t i = 0; i < f->graphs[g]->nodes[n].input_count; i++)
                OXP_TRY(visit(f, &f->graphs[g]->nodes[n], i));
    return OXP_OK;
}

/* Reads that are not weight inputs: every use in the home graph and in bodies minus the
 * consumers. */
static oxp_status count_other(finder *f, const oxp_graph_node *node, size_t input)
{
    const oxp_value *v = oxp_graph_node_constant(node, input);
    int axis;
    if (!v || weight_at(node, input, &axis))
        return OXP_OK;
    size_t slot = f->site_of[home_of(f, node, input)->id][v->id];
    if (slot)
        f->sites[slot - 1].other_uses++;
    return OXP_OK;
}

oxp_status oxp_sites_find(oxp_site **out, size_t *count, oxp_arena *arena, const oxp_graph *graph)
{
    finder f = {.arena = arena};
    OXP_TRY(oxp_graph_all(&f.graphs, &f.graph_count, arena, graph));
    f.site_of = oxp_arena_alloc(arena, f.graph_count, sizeof *f.site_of);
    for (size_t g = 0; f.site_of && g < f.graph_count; g++) {
        f.site_of[g] = oxp_arena_alloc(arena, f.graphs[g]->value_count + 1, sizeof **f.site_of);
        if (!f.site_of[g])
            return OXP_ELIMIT;
    }
    if (!f.site_of)
        return OXP_ELIMIT;
    oxp_status status = walk(&f, add_consumer);
    if (status == OXP_OK)
        status = walk(&f, fill_consumers);
    if (status == OXP_OK)
        status = walk(&f, count_other);
    oxp_site *sites = status == OXP_OK ? oxp_arena_alloc(arena, f.count + 1, sizeof *sites) : NULL;
    if (sites && f.count)
        memcpy(sites, f.sites, f.count * sizeof *sites);
    oxp_free(f.sites);
    if (!sites)
        return status == OXP_OK ? OXP_ELIMIT : status;
    for (size_t i = 0; i < f.count; i++) {
        sites[i].other_uses += sites[i].value->is_output;
        sites[i].is_table = sites[i].is_table && sites[i].other_uses == 0;
    }
    *out = sites;
    *count = f.count;
    return OXP_OK;
}

oxp_status oxp_site_numbers(const float **out, float **owned, oxp_ctx *ctx, const oxp_site *s)
{
    const oxp_tensor *t = &s->value->constant;
    *owned = NULL;
    *out = t->data;
    if (!oxp_site_is_half(s))
        return OXP_OK;
    const uint16_t *bits = t->data;
    float *numbers;
    OXP_TRY(oxp_alloc_raw(&numbers, ctx, t->count, sizeof *numbers, "a weight as float"));
    for (size_t i = 0; i < t->count; i++)
        numbers[i] =
            t->dtype == OXP_FLOAT16 ? oxp_half_to_float(bits[i]) : oxp_bfloat16_to_float(bits[i]);
    *out = *owned = numbers;
    return OXP_OK;
}
