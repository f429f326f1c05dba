/* normalised.c - y = x / |x| in the spellings of the exporters. */
#include "calibration/normalised.h"

#include <string.h>

#define MOST_STEPS 12 /* between the sum of squares and the division */

static const oxp_graph_node *producer(const oxp_graph *graph, uint32_t value)
{
    bool made = value != OXP_NO_VALUE && graph->values[value].kind == OXP_VALUE_NODE;
    return made ? graph->values[value].producer : NULL;
}

static bool is_a(const oxp_graph_node *n, const char *type)
{
    return n && n->domain[0] == '\0' && strcmp(n->type, type) == 0;
}

static bool is_one_of(const oxp_graph_node *n, const char *const *types)
{
    for (; *types; types++)
        if (is_a(n, *types))
            return true;
    return false;
}

/* ---- the axis ---- */

/* The last one; where no rank is declared, only -1 is known to be it. */
static bool is_last(const oxp_graph *graph, uint32_t y, int64_t axis)
{
    int rank = graph->values[y].declared.rank;
    return axis == -1 || (rank > 0 && axis == rank - 1);
}

static bool reduces_last(const oxp_graph *graph, const oxp_graph_node *n, uint32_t y)
{
    const oxp_attribute *axes = oxp_graph_node_attribute(n, "axes");
    const oxp_value *given = n->input_count > 1 ? oxp_graph_node_constant(n, 1) : NULL;
    if (axes)
        return axes->count == 1 && is_last(graph, y, axes->ints[0]);
    return given && given->constant.dtype == OXP_INT64 && given->constant.count == 1 &&
           is_last(graph, y, *(const int64_t *)given->constant.data);
}

/* ---- the norm ---- */

static bool is_square_of(const oxp_graph_node *n, uint32_t x)
{
    if (is_a(n, "Mul"))
        return n->inputs[0] == x && n->inputs[1] == x;
    const oxp_value *two = is_a(n, "Pow") ? oxp_graph_node_constant(n, 1) : NULL;
    return two && n->inputs[0] == x && two->constant.count == 1 &&
           oxp_tensor_real(&two->constant, 0) == 2;
}

/* The input that carries the data on: not the constant beside it. */
static uint32_t carried(const oxp_graph_node *n)
{
    bool first_is_constant = n->input_count > 1 && oxp_graph_node_constant(n, 0);
    return n->inputs[first_is_constant ? 1 : 0];
}

/* `value` is |x|, or 1 / |x| where `inverse`. */
static bool is_norm_of(const oxp_graph *graph, uint32_t value, uint32_t x, uint32_t y, bool inverse)
{
    static const char *const kept[] = {"Clip",     "Max",     "Add",       "Expand",
                                       "Identity", "Reshape", "Unsqueeze", NULL};
    const oxp_graph_node *n = producer(graph, value);
    bool root = false, inverted = false;
    for (int step = 0; n && step < MOST_STEPS; step++) {
        if (is_a(n, "ReduceL2"))
            return !root && inverted == inverse && n->inputs[0] == x && reduces_last(graph, n, y);
        if (is_a(n, "ReduceSumSquare"))
            return root && inverted == inverse && n->inputs[0] == x && reduces_last(graph, n, y);
        if (is_a(n, "ReduceSum"))
            return root && inverted == inverse && reduces_last(graph, n, y) &&
                   is_square_of(producer(graph, n->inputs[0]), x);
        if (is_a(n, "Sqrt") && !root)
            root = true;
        else if (is_a(n, "Reciprocal") && !inverted)
            inverted = true;
        else if (!is_one_of(n, kept))
            return false;
        n = producer(graph, carried(n));
    }
    return false;
}

bool oxp_is_normalised(const oxp_graph *graph, uint32_t value)
{
    const oxp_graph_node *n = producer(graph, value);
    for (int step = 0; is_a(n, "Identity") && step < MOST_STEPS; step++)
        n = producer(graph, n->inputs[0]);
    if (is_a(n, "LpNormalization"))
        return oxp_graph_node_int(n, "p", 2) == 2 &&
               is_last(graph, value, oxp_graph_node_int(n, "axis", -1));
    if (is_a(n, "Div"))
        return is_norm_of(graph, n->inputs[1], n->inputs[0], value, false);
    return is_a(n, "Mul") && (is_norm_of(graph, n->inputs[1], n->inputs[0], value, true) ||
                              is_norm_of(graph, n->inputs[0], n->inputs[1], value, true));
}
