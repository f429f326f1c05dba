/* constants.c - nodes whose inputs are all constant are run once, here, and their results become
 * initializers.
 *
 * Left as they are: what makes much out of little (ConstantOfShape, Expand, Tile), random
 * numbers, quantisation nodes, and stored weights, that is codes of 16 bits or less that a Cast
 * turns into numbers: folding those would undo an earlier compression. Shape is folded where the
 * declared input is fixed in every dimension. An initializer or Constant that nobody reads any
 * more after a fold is removed; what nobody read before stays. */
#include <string.h>

#include "prepare/pass.h"

#define SMALL_GROWTH 1024u         /* bytes that a fold may always add */
#define INTEGER_GROWTH (64u << 10) /* ... of integers, when they do not more than double */
#define TOTAL_GROWTH (1u << 20)    /* of all folds together */
#define SMALL_FLOATS 64u           /* bytes of floats that need not be compared with their source */
#define INPUTS_COMPARED 64u        /* inputs among which a repeated one is looked for */
#define RUN_MEMORY (4u << 20)      /* what an operator may need beside its inputs and result */

typedef struct fold {
    size_t scope;
    const oxp_graph_node *node;
} fold;

typedef struct folds {
    fold *items;
    size_t count, capacity;
    size_t growth;
} folds;

static bool is_code(oxp_dtype dtype)
{
    return dtype != OXP_BOOL && oxp_dtype_bits(dtype) > 0 && oxp_dtype_bits(dtype) <= 16;
}

static bool never_folded(const oxp_graph_node *node)
{
    static const char *const types[] = {
        "QuantizeLinear",    "DequantizeLinear", "DynamicQuantizeLinear",
        "RandomNormal",      "RandomUniform",    "RandomNormalLike",
        "RandomUniformLike", "Multinomial",      "Bernoulli",
        "Dropout",           "Identity",         "Constant",
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(node->type, types[i]) == 0)
            return true;
    return false;
}

/* Shape of an input that is declared without a symbolic dimension: a tensor of that shape,
 * without data. */
static bool declared_shape(oxp_pass *p, size_t scope, const oxp_graph_node *node, oxp_tensor *out)
{
    size_t home;
    if (strcmp(node->type, "Shape") != 0 || node->input_count != 1 ||
        node->inputs[0] == OXP_NO_VALUE)
        return false;
    const oxp_value *v = oxp_pass_root(p, scope, node->inputs[0], &home);
    const oxp_value_info *d = &v->declared;
    if (v->kind != OXP_VALUE_INPUT || home != 0 || d->rank < 0 || d->dtype == OXP_UNDEFINED)
        return false;
    *out = (oxp_tensor){.dtype = d->dtype, .rank = d->rank, .count = 1};
    for (int i = 0; i < d->rank; i++) {
        if (d->dims[i] < 0 || !oxp_mul_ok(out->count, (size_t)d->dims[i], &out->count))
            return false;
        out->dims[i] = d->dims[i];
    }
    return true;
}

static bool is_candidate(const oxp_pass *p, const oxp_graph_node *node)
{
    if (node->domain[0] || node->subgraph_count || never_folded(node) ||
        oxp_model_is_function(p->model, node->domain, node->type))
        return false;
    bool read = false;
    for (size_t i = 0; i < node->output_count; i++)
        if (node->outputs[i] != OXP_NO_VALUE) {
            const oxp_value *v = &node->graph->values[node->outputs[i]];
            if (v->is_output)
                return false;
            read = read || v->use_count > 0;
        }
    return read; /* a node that was dead before stays */
}

/* The tensors that a node reads; false unless all are constant. `shape` is room for what has a
 * declared shape only. */
static bool constant_inputs(oxp_pass *p, size_t scope, const oxp_graph_node *node,
                            const oxp_tensor **inputs, oxp_tensor *shape)
{
    size_t found = 0;
    for (size_t i = 0; i < node->input_count; i++) {
        inputs[i] = NULL;
        if (node->inputs[i] == OXP_NO_VALUE)
            continue;
        const oxp_value *v = oxp_pass_constant(p, scope, node, i);
        if (v)
            inputs[i] = &v->constant;
        else if (declared_shape(p, scope, node, shape))
            inputs[i] = shape;
        else
            return false;
        found++;
    }
    return found > 0;
}

/* ---- what a fold costs ---- */

typedef struct cost {
    size_t read;  /* bytes of all inputs */
    size_t freed; /* bytes of those that nobody else reads */
} cost;

/* Reads of one value by the inputs of a node; a node of very many inputs is taken to read each
 * once. */
static size_t own_reads(const oxp_graph_node *node, size_t input, bool *seen_before)
{
    size_t found = 0;
    *seen_before = false;
    if (node->input_count > INPUTS_COMPARED)
        return 1;
    for (size_t k = 0; k < node->input_count; k++)
        if (node->inputs[k] == node->inputs[input]) {
            found++;
            *seen_before = *seen_before || k < input;
        }
    return found;
}

static cost cost_of(const oxp_pass *p, size_t scope, const oxp_graph_node *node)
{
    cost c = {0};
    for (size_t i = 0; i < node->input_count; i++) {
        bool seen_before;
        const oxp_value *v = oxp_pass_constant(p, scope, node, i);
        size_t own = v ? own_reads(node, i, &seen_before) : 0;
        if (!v || seen_before)
            continue;
        size_t bytes = oxp_tensor_bytes(&v->constant);
        c.read += bytes;
        if (oxp_pass_reads(p, scope, node->inputs[i]) == own)
            c.freed += bytes;
    }
    return c;
}

static bool worth_it(const oxp_tensor *out, size_t count, cost c, size_t growth_so_far)
{
    size_t bytes = 0, floats = 0, codes = 0;
    for (size_t i = 0; i < count; i++) {
        size_t own = oxp_tensor_bytes(&out[i]);
        bytes += own;
        floats += oxp_dtype_is_float(out[i].dtype) ? own : 0;
        codes += is_code(out[i].dtype) ? own : 0;
    }
    size_t growth = bytes > c.freed ? bytes - c.freed : 0;
    if (floats > c.read && floats > SMALL_FLOATS)
        return false; /* made from less: an expansion, or weights stored as an expression */
    if ((codes > 0 && growth > 0) || growth + growth_so_far > TOTAL_GROWTH)
        return false;
    return growth <= SMALL_GROWTH ||
           (floats == 0 && growth <= INTEGER_GROWTH && bytes / 2 <= c.freed);
}

static bool is_stored_weight(const oxp_graph_node *node, const oxp_tensor *const *inputs)
{
    return strncmp(node->type, "Cast", 4) == 0 && inputs[0] && is_code(inputs[0]->dtype) &&
           inputs[0]->count > 1;
}

/* ---- folding ---- */

/* From here on the view sees constants where the node's outputs were, and the model has the node
 * no longer. */
static oxp_status accept(oxp_pass *p, folds *f, size_t scope, const oxp_graph_node *node,
                         const oxp_tensor *out)
{
    OXP_TRY(oxp_grow(&f->items, &f->capacity, p->ctx, f->count + 1, sizeof *f->items));
    f->items[f->count++] = (fold){scope, node};
    for (size_t i = 0; i < node->output_count; i++) {
        if (node->outputs[i] == OXP_NO_VALUE)
            continue;
        oxp_value *v = &node->graph->values[node->outputs[i]];
        v->kind = OXP_VALUE_CONSTANT;
        v->constant = out[i];
    }
    return oxp_pass_remove_node(p, scope, node);
}

static oxp_status try_fold(oxp_pass *p, folds *f, size_t scope, const oxp_graph_node *node)
{
    oxp_tensor shape;
    const oxp_tensor **inputs = oxp_arena_alloc(&p->arena, node->input_count + 1, sizeof *inputs);
    oxp_tensor *out = oxp_arena_alloc(&p->arena, node->output_count + 1, sizeof *out);
    if (!inputs || !out)
        return p->ctx->status;
    if (!constant_inputs(p, scope, node, inputs, &shape) || is_stored_weight(node, inputs))
        return OXP_OK;
    char label[OXP_NODE_TEXT_MAX];
    const char *made = node->graph->values[node->outputs[0]].name;
    cost c = cost_of(p, scope, node);
    bool ran;
    OXP_TRY(
        oxp_pass_evaluate(out, &ran, p, node, inputs, c.read * 3 + INTEGER_GROWTH + RUN_MEMORY));
    if (!ran || !worth_it(out, node->output_count, c, f->growth))
        return oxp_pass_left(p, made, "%s: %s", oxp_graph_node_text(label, node),
                             ran ? "the result is larger than what it is made from"
                                 : "cannot be run here");
    if (!oxp_pass_admit(p, made))
        return OXP_OK;
    size_t bytes = 0;
    for (size_t i = 0; i < node->output_count; i++)
        bytes += oxp_tensor_bytes(&out[i]);
    f->growth += bytes > c.freed ? bytes - c.freed : 0;
    OXP_TRY(oxp_pass_changed(p, made, "%s", oxp_graph_node_text(label, node)));
    return accept(p, f, scope, node, out);
}

/* The results that somebody still reads become initializers. */
static oxp_status write_outputs(oxp_pass *p, const fold *f)
{
    const oxp_graph *g = p->scopes[f->scope].graph;
    for (size_t i = 0; i < f->node->output_count; i++) {
        if (f->node->outputs[i] == OXP_NO_VALUE)
            continue;
        const oxp_value *v = &g->values[f->node->outputs[i]];
        OXP_TRY(oxp_edit_remove_value_info(p->model, g->proto, v->name));
        if (p->scopes[f->scope].reads[v->id] == 0)
            continue;
        const oxp_tensor *t = &v->constant;
        OXP_TRY(oxp_edit_add_initializer(p->model, g->proto, v->name, t->dtype, t->rank, t->dims,
                                         t->data));
        OXP_TRY(oxp_pass_note_tensor(p, v->name));
    }
    return OXP_OK;
}

oxp_status oxp_step_constants(oxp_pass *p)
{
    folds f = {0};
    oxp_status status = OXP_OK;
    for (size_t s = 0; s < p->scope_count; s++) {
        const oxp_graph *g = p->scopes[s].graph;
        for (size_t n = 0; n < g->node_count; n++)
            if (is_candidate(p, &g->nodes[n]))
                OXP_TRY_GOTO(try_fold(p, &f, s, &g->nodes[n]), done);
    }
    for (size_t i = 0; i < f.count; i++)
        OXP_TRY_GOTO(write_outputs(p, &f.items[i]), done);
done:
    oxp_free(f.items);
    return status;
}
