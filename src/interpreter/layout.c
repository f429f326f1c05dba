/* layout.c - which tensors of a run lie channels-last, and who sees them how.
 *
 * oneDNN's convolutions want [N, spatial, C] where ONNX has [N, C, spatial]. A convolution that
 * shares its output's neighbourhood with another one leaves it channels-last; operators that know
 * the layout (oxp_operator.channels_last) and those that work element by element pass it on;
 * everybody else gets the tensor reordered first. Elementwise operators know nothing of it: they
 * are shown a tensor of shape [N, spatial, C], which is what lies in memory. What a caller, a body
 * or an observer gets is in ONNX's order, unless the session's options allow any.
 *
 * Which values may lie channels-last is decided once for a graph, from the operators alone. */
#include <string.h>

#include "interpreter/session_internal.h"
#include "kernels/transpose.h"

/* Every output element depends on the elements at its own place alone, after broadcasting. */
static const char *const elementwise[] = {"Abs",
                                          "Add",
                                          "Ceil",
                                          "Celu",
                                          "Clip",
                                          "Div",
                                          "Elu",
                                          "Erf",
                                          "Exp",
                                          "Floor",
                                          "Gelu",
                                          "HardSigmoid",
                                          "HardSwish",
                                          "Identity",
                                          "LeakyRelu",
                                          "Log",
                                          "Max",
                                          "Mean",
                                          "Min",
                                          "Mish",
                                          "Mul",
                                          "Neg",
                                          "PRelu",
                                          "Pow",
                                          "Reciprocal",
                                          "Relu",
                                          "Round",
                                          "Selu",
                                          "Sigmoid",
                                          "Softplus",
                                          "Softsign",
                                          "Sqrt",
                                          "Sub",
                                          "Sum",
                                          "Swish",
                                          "Tanh",
                                          "ThresholdedRelu"};

static bool is_elementwise(const oxp_graph_node *def)
{
    if (def->domain[0] || def->output_count != 1)
        return false;
    for (size_t i = 0; i < sizeof elementwise / sizeof *elementwise; i++)
        if (strcmp(def->type, elementwise[i]) == 0)
            return true;
    return false;
}

/* ---- the plan ---- */

static bool is_captured(const oxp_value *v)
{
    for (size_t i = 0; i < v->use_count; i++)
        if (v->uses[i].input == UINT32_MAX)
            return true;
    return false;
}

static oxp_layout_role role_of(const oxp_cell *c)
{
    const oxp_node *n = &c->node;
    if (!n->op || n->def->output_count != 1 || n->def->subgraph_count)
        return OXP_LAYOUT_PLAIN;
    if (n->op->channels_last)
        return n->op->weight ? OXP_LAYOUT_STARTS : OXP_LAYOUT_FOLLOWS;
    return is_elementwise(n->def) ? OXP_LAYOUT_ELEMENTWISE : OXP_LAYOUT_PLAIN;
}

/* The root of a node's set, the path to it halved on the way. */
static uint32_t root_of(uint32_t *sets, uint32_t node)
{
    while (sets[node] != node)
        node = sets[node] = sets[sets[node]];
    return node;
}

/* Joins a node with the readers of its output that can take any layout. */
static void join_readers(oxp_session *s, uint32_t *sets, uint32_t node)
{
    const oxp_value *v = &s->graph->values[s->graph->nodes[node].outputs[0]];
    for (size_t i = 0; i < v->use_count; i++) {
        const oxp_use *use = &v->uses[i];
        const oxp_cell *reader = &s->cells[use->node->index];
        bool takes = reader->role == OXP_LAYOUT_ELEMENTWISE ||
                     (reader->role != OXP_LAYOUT_PLAIN && use->input == 0);
        if (takes)
            sets[root_of(sets, (uint32_t)use->node->index)] = root_of(sets, node);
    }
}

/* Chains with one convolution gain nothing. */
static void drop_lone_chains(oxp_session *s, uint32_t *sets, uint32_t *starts)
{
    for (uint32_t n = 0; n < s->graph->node_count; n++)
        starts[root_of(sets, n)] += s->cells[n].role == OXP_LAYOUT_STARTS;
    for (uint32_t n = 0; n < s->graph->node_count; n++)
        if (starts[root_of(sets, n)] < 2)
            s->cells[n].role = OXP_LAYOUT_PLAIN;
}

static bool may_lie_last(const oxp_session *s, const oxp_graph_node *def)
{
    uint32_t id = def->outputs[0];
    if (id == OXP_NO_VALUE)
        return false;
    const oxp_value *v = &s->graph->values[id];
    return v->kind == OXP_VALUE_NODE && !v->is_output && !is_captured(v) && v->use_count > 0;
}

/* Whether anybody who reads the node's output takes it as it lies. */
static bool is_wanted_last(const oxp_session *s, const oxp_graph_node *def)
{
    const oxp_value *v = &s->graph->values[def->outputs[0]];
    for (size_t i = 0; i < v->use_count; i++) {
        oxp_layout_role role = s->cells[v->uses[i].node->index].role;
        if (role == OXP_LAYOUT_ELEMENTWISE || (role != OXP_LAYOUT_PLAIN && v->uses[i].input == 0))
            return true;
    }
    return false;
}

/* Its output is the same either way. */
static bool makes_one_position(const oxp_graph_node *def)
{
    return strcmp(def->type, "GlobalAveragePool") == 0;
}

oxp_status oxp_layout_plan(oxp_session *s)
{
    size_t nodes = s->graph->node_count;
    s->lies_last = oxp_arena_alloc(&s->lifetime, s->graph->value_count + 1, sizeof *s->lies_last);
    if (!s->lies_last)
        return OXP_ELIMIT;
    if (!s->options.any_layout || s->options.gradients) /* going back knows one layout */
        return OXP_OK;
    uint32_t *sets = oxp_arena_alloc(&s->lifetime, nodes + 1, sizeof *sets);
    uint32_t *starts = oxp_arena_alloc(&s->lifetime, nodes + 1, sizeof *starts);
    if (!sets || !starts)
        return OXP_ELIMIT;
    for (uint32_t n = 0; n < nodes; n++) {
        sets[n] = n;
        s->cells[n].role = role_of(&s->cells[n]);
    }
    for (uint32_t n = 0; n < nodes; n++)
        if (s->cells[n].role != OXP_LAYOUT_PLAIN && may_lie_last(s, &s->graph->nodes[n]))
            join_readers(s, sets, n);
    drop_lone_chains(s, sets, starts);
    for (uint32_t n = 0; n < nodes; n++) {
        oxp_cell *c = &s->cells[n];
        if (c->role == OXP_LAYOUT_PLAIN)
            continue;
        c->gives_last = makes_one_position(c->node.def) ||
                        (may_lie_last(s, c->node.def) && is_wanted_last(s, c->node.def));
        c->views = oxp_arena_alloc(&s->lifetime, c->node.def->input_count + 1, sizeof *c->views);
        if (!c->views)
            return OXP_ELIMIT;
    }
    return OXP_OK;
}

/* ---- moving data ---- */

static size_t positions(const oxp_tensor *t)
{
    size_t n = 1;
    for (int i = 2; i < t->rank; i++)
        n *= (size_t)t->dims[i];
    return n;
}

/* Puts value `id` into the other layout. */
static oxp_status reorder(oxp_session *s, uint32_t id, bool last, const oxp_graph_node *node)
{
    oxp_tensor *t = &s->tensors[id], moved = *t;
    size_t channels = (size_t)t->dims[1], n = positions(t), image = channels * n;
    size_t rows = last ? channels : n, columns = last ? n : channels;
    moved.data = NULL;
    moved.storage = NULL;
    OXP_TRY(oxp_session_memory(s, &moved, node));
    for (size_t i = 0; i < (size_t)t->dims[0] && image; i++)
        oxp_transpose((float *)moved.data + i * image, rows, (const float *)t->data + i * image,
                      columns, rows, columns);
    oxp_session_drop(s, t);
    *t = moved;
    s->lies_last[id] = last;
    return OXP_OK;
}

static bool input_lies_last(const oxp_session *s, const oxp_graph_node *def, int i)
{
    return def->inputs[i] != OXP_NO_VALUE && s->lies_last[def->inputs[i]];
}

static oxp_status reorder_inputs(oxp_session *s, oxp_cell *c, int first)
{
    for (int i = first; i < c->node.in_count; i++)
        if (input_lies_last(s, c->node.def, i))
            OXP_TRY(reorder(s, c->node.def->inputs[i], false, c->node.def));
    return OXP_OK;
}

/* ---- elementwise ---- */

/* dims of rank `rank` (ones in front) with the channels moved behind the spatial axes. A single
 * element goes with any shape as it is. */
static void move_channels_behind(oxp_tensor *t, int rank)
{
    int64_t dims[OXP_MAX_RANK];
    int missing = rank - t->rank;
    if (t->rank != rank && t->count == 1)
        return;
    for (int i = 0; i < rank; i++)
        dims[i] = i < missing ? 1 : t->dims[i - missing];
    int64_t channels = dims[1];
    t->dims[0] = dims[0];
    memcpy(t->dims + 1, dims + 2, (size_t)(rank - 2) * sizeof *dims);
    t->dims[rank - 1] = channels;
    t->rank = rank;
}

static void move_channels_back(oxp_tensor *t)
{
    int64_t channels = t->dims[t->rank - 1];
    memmove(t->dims + 2, t->dims + 1, (size_t)(t->rank - 2) * sizeof *t->dims);
    t->dims[1] = channels;
}

/* One channel or one position: the order of the two does not show. */
static bool is_same_either_way(const oxp_tensor *t, int rank)
{
    int channel_axis = 1 - (rank - t->rank); /* negative: one channel */
    if (t->rank < 0 || t->rank > rank)
        return false;
    if (channel_axis < 0 || t->dims[channel_axis] == 1)
        return true;
    for (int i = channel_axis + 1; i < t->rank; i++)
        if (t->dims[i] != 1)
            return false;
    return true;
}

static bool can_be_moved(const oxp_session *s, const oxp_graph_node *def, int i,
                         const oxp_tensor *t, int rank)
{
    const oxp_value *v = &s->graph->values[def->inputs[i]];
    return v->kind == OXP_VALUE_NODE && !v->is_output && !is_captured(v) && t->dtype == OXP_FLOAT &&
           t->rank == rank;
}

static int last_rank(const oxp_session *s, const oxp_node *n)
{
    int rank = 0;
    for (int i = 0; i < n->in_count; i++)
        if (input_lies_last(s, n->def, i) && n->in[i]->rank > rank)
            rank = n->in[i]->rank;
    return rank;
}

/* Whether all inputs can be shown channels-last; none is touched. */
static bool fits_elementwise(const oxp_session *s, const oxp_node *n, int rank)
{
    for (int i = 0; i < n->in_count; i++) {
        if (!n->in[i])
            continue;
        bool fits = input_lies_last(s, n->def, i) ? n->in[i]->rank == rank
                                                  : is_same_either_way(n->in[i], rank) ||
                                                        can_be_moved(s, n->def, i, n->in[i], rank);
        if (!fits)
            return false;
    }
    return true;
}

static oxp_status show_elementwise(oxp_session *s, oxp_cell *c)
{
    oxp_node *n = &c->node;
    int rank = last_rank(s, n);
    c->moved = rank > 0 && c->gives_last && fits_elementwise(s, n, rank);
    if (!c->moved)
        return reorder_inputs(s, c, 0);
    for (int i = 0; i < n->in_count; i++) {
        if (!n->in[i])
            continue;
        if (!input_lies_last(s, n->def, i) && !is_same_either_way(n->in[i], rank))
            OXP_TRY(reorder(s, n->def->inputs[i], true, n->def));
        c->views[i] = *n->in[i];
        move_channels_behind(&c->views[i], rank);
        n->in[i] = &c->views[i];
    }
    return OXP_OK;
}

/* ---- a node's turn ---- */

/* Whether what starts a chain reads its input alone: then the session puts it into the order of the
 * chain, in memory that comes back with the next run; the convolution would copy it into fresh
 * memory. */
static bool is_read_once(const oxp_session *s, const oxp_cell *c)
{
    const oxp_tensor *x = c->node.in[0];
    const oxp_value *v = &s->graph->values[c->node.def->inputs[0]];
    bool own = v->kind == OXP_VALUE_NODE || v->kind == OXP_VALUE_INPUT;
    return own && v->use_count == 1 && !v->is_output && !is_captured(v) && x->dtype == OXP_FLOAT &&
           x->rank >= 3 && x->rank <= 5 && !is_same_either_way(x, x->rank);
}

static oxp_status show_channels(oxp_session *s, oxp_cell *c)
{
    oxp_node *n = &c->node;
    const oxp_tensor *x = n->in[0];
    bool follows = c->role == OXP_LAYOUT_FOLLOWS;
    OXP_TRY(reorder_inputs(s, c, follows && !c->gives_last ? 0 : 1));
    if (!follows && c->gives_last && x && !input_lies_last(s, n->def, 0) && is_read_once(s, c))
        OXP_TRY(reorder(s, n->def->inputs[0], true, n->def));
    n->in_last = input_lies_last(s, n->def, 0);
    n->out_last = (follows ? n->in_last : c->gives_last) && x && x->dtype == OXP_FLOAT &&
                  x->rank >= 3 && x->rank <= 5;
    bool changed = n->in_last != c->prepared_in_last || n->out_last != c->prepared_out_last;
    c->prepared_in_last = n->in_last;
    c->prepared_out_last = n->out_last;
    if (changed)
        c->prepared = false;
    return OXP_OK;
}

oxp_status oxp_layout_inputs(oxp_session *s, oxp_cell *c)
{
    switch (c->role) {
    case OXP_LAYOUT_ELEMENTWISE:
        return show_elementwise(s, c);
    case OXP_LAYOUT_STARTS:
    case OXP_LAYOUT_FOLLOWS:
        return show_channels(s, c);
    case OXP_LAYOUT_PLAIN:
        break;
    }
    return reorder_inputs(s, c, 0);
}

void oxp_layout_outputs(oxp_session *s, oxp_cell *c)
{
    oxp_node *n = &c->node;
    if (c->role == OXP_LAYOUT_PLAIN)
        return;
    bool last = c->role == OXP_LAYOUT_ELEMENTWISE ? c->moved : n->out_last;
    uint32_t id = n->def->outputs[0];
    if (c->moved)
        move_channels_back(&n->out[0]);
    if (id != OXP_NO_VALUE)
        s->lies_last[id] = last && !is_same_either_way(&n->out[0], n->out[0].rank);
}
