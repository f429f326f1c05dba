/* upgrade_facts.c - what a conversion has to know about values: element type, rank, constants,
 * uses.
 *
 * Types come from declarations and initializers, and from there through the nodes in their
 * order: most operators give the type of their first input, the others have a rule below. An
 * operator without a rule of its own and outside ai.onnx gives nothing. Ranks come from
 * declarations. */
#include "onnx/upgrade_internal.h"

#include <string.h>

/* A fact is an element type and a rank in one number, as the map holds it. */
#define RANK_SHIFT 16

static size_t make_fact(oxp_dtype dtype, int rank)
{
    return (size_t)dtype | (size_t)(rank + 1) << RANK_SHIFT;
}

static oxp_dtype fact_dtype(size_t fact)
{
    return (oxp_dtype)(fact & ((1u << RANK_SHIFT) - 1));
}

static int fact_rank(size_t fact)
{
    return (int)(fact >> RANK_SHIFT) - 1;
}

static oxp_dtype checked_dtype(int64_t value)
{
    return value > 0 && value < OXP_DTYPE_COUNT ? (oxp_dtype)value : OXP_UNDEFINED;
}

static int checked_rank(size_t rank)
{
    return rank <= OXP_MAX_RANK ? (int)rank : -1;
}

/* ---- declarations ---- */

static oxp_status learn_tensor(oxp_map *facts, const Onnx__TensorProto *t, size_t rank)
{
    if (t == NULL || t->name == NULL)
        return OXP_OK;
    return oxp_map_put(facts, t->name, make_fact(checked_dtype(t->data_type), checked_rank(rank)));
}

static oxp_status learn_infos(oxp_map *facts, Onnx__ValueInfoProto *const *infos, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const Onnx__TypeProto *type = infos[i]->type;
        if (infos[i]->name == NULL || type == NULL || type->tensor_type == NULL ||
            type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE)
            continue;
        const Onnx__TypeProto__Tensor *tensor = type->tensor_type;
        int rank = tensor->shape == NULL ? -1 : checked_rank(tensor->shape->n_dim);
        OXP_TRY(
            oxp_map_put(facts, infos[i]->name, make_fact(checked_dtype(tensor->elem_type), rank)));
    }
    return OXP_OK;
}

static oxp_status learn_declarations(oxp_map *facts, const Onnx__GraphProto *g)
{
    OXP_TRY(learn_infos(facts, g->value_info, g->n_value_info));
    OXP_TRY(learn_infos(facts, g->output, g->n_output));
    OXP_TRY(learn_infos(facts, g->input, g->n_input));
    for (size_t i = 0; i < g->n_initializer; i++)
        OXP_TRY(learn_tensor(facts, g->initializer[i], g->initializer[i]->n_dims));
    for (size_t i = 0; i < g->n_sparse_initializer; i++)
        OXP_TRY(learn_tensor(facts, g->sparse_initializer[i]->values,
                             g->sparse_initializer[i]->n_dims));
    return OXP_OK;
}

/* ---- types through nodes ---- */

#define FROM_INPUT(i) (-1 - (i))
#define FROM_ATTRIBUTE(otherwise) (1000 + (otherwise)) /* "dtype", "to", or the type of "value" */
#define FROM_ATTRIBUTE_OR_INPUT 2000                   /* without "dtype" that of input 0 */
#define NO_RULE 9999

/* The element type of an output, the type itself or a rule; without a row it is FROM_INPUT(0). */
static const struct {
    const char *type;
    int first, others;
} type_rules[] = {
    {"And", OXP_BOOL, NO_RULE},
    {"ArgMax", OXP_INT64, NO_RULE},
    {"ArgMin", OXP_INT64, NO_RULE},
    {"Bernoulli", FROM_ATTRIBUTE_OR_INPUT, NO_RULE},
    {"Cast", FROM_ATTRIBUTE(OXP_UNDEFINED), NO_RULE},
    {"CastLike", FROM_INPUT(1), NO_RULE},
    {"Constant", FROM_ATTRIBUTE(OXP_UNDEFINED), NO_RULE},
    {"ConstantOfShape", FROM_ATTRIBUTE(OXP_FLOAT), NO_RULE},
    {"ConvInteger", OXP_INT32, NO_RULE},
    {"DequantizeLinear", FROM_INPUT(1), NO_RULE},
    {"Dropout", FROM_INPUT(0), NO_RULE},
    {"DynamicQuantizeLinear", OXP_UINT8, NO_RULE},
    {"Equal", OXP_BOOL, NO_RULE},
    {"EyeLike", FROM_ATTRIBUTE_OR_INPUT, NO_RULE},
    {"Greater", OXP_BOOL, NO_RULE},
    {"GreaterOrEqual", OXP_BOOL, NO_RULE},
    {"If", NO_RULE, NO_RULE},
    {"IsInf", OXP_BOOL, NO_RULE},
    {"IsNaN", OXP_BOOL, NO_RULE},
    {"Less", OXP_BOOL, NO_RULE},
    {"LessOrEqual", OXP_BOOL, NO_RULE},
    {"Loop", NO_RULE, NO_RULE},
    {"MatMulInteger", OXP_INT32, NO_RULE},
    {"MaxPool", FROM_INPUT(0), OXP_INT64},
    {"Multinomial", FROM_ATTRIBUTE(OXP_INT32), NO_RULE},
    {"NonMaxSuppression", OXP_INT64, NO_RULE},
    {"NonZero", OXP_INT64, NO_RULE},
    {"Not", OXP_BOOL, NO_RULE},
    {"OneHot", FROM_INPUT(2), NO_RULE},
    {"Or", OXP_BOOL, NO_RULE},
    {"QLinearConv", FROM_INPUT(7), NO_RULE},
    {"QLinearMatMul", FROM_INPUT(7), NO_RULE},
    {"QuantizeLinear", FROM_INPUT(2), NO_RULE},
    {"RandomNormal", FROM_ATTRIBUTE(OXP_FLOAT), NO_RULE},
    {"RandomNormalLike", FROM_ATTRIBUTE_OR_INPUT, NO_RULE},
    {"RandomUniform", FROM_ATTRIBUTE(OXP_FLOAT), NO_RULE},
    {"RandomUniformLike", FROM_ATTRIBUTE_OR_INPUT, NO_RULE},
    {"Scan", NO_RULE, NO_RULE},
    {"SequenceAt", NO_RULE, NO_RULE},
    {"SequenceLength", OXP_INT64, NO_RULE},
    {"Shape", OXP_INT64, NO_RULE},
    {"Size", OXP_INT64, NO_RULE},
    {"StringNormalizer", OXP_STRING, NO_RULE},
    {"TfIdfVectorizer", OXP_FLOAT, NO_RULE},
    {"TopK", FROM_INPUT(0), OXP_INT64},
    {"Unique", FROM_INPUT(0), OXP_INT64},
    {"Where", FROM_INPUT(1), NO_RULE},
    {"Xor", OXP_BOOL, NO_RULE},
};

static int rule_of(const Onnx__NodeProto *n, size_t output)
{
    if (n->op_type == NULL || !oxp_is_default_domain(n->domain))
        return NO_RULE;
    for (size_t i = 0; i < sizeof type_rules / sizeof *type_rules; i++)
        if (strcmp(type_rules[i].type, n->op_type) == 0)
            return output == 0 ? type_rules[i].first : type_rules[i].others;
    return FROM_INPUT(0);
}

static oxp_dtype attribute_dtype(const Onnx__NodeProto *n, oxp_dtype otherwise)
{
    const Onnx__AttributeProto *dtype = oxp_node_find_attribute(n, "dtype");
    const Onnx__AttributeProto *to = oxp_node_find_attribute(n, "to");
    const Onnx__AttributeProto *value = oxp_node_find_attribute(n, "value");
    if (dtype != NULL)
        return checked_dtype(dtype->i);
    if (to != NULL)
        return checked_dtype(to->i);
    if (value != NULL && value->t != NULL)
        return checked_dtype(value->t->data_type);
    if (oxp_node_find_attribute(n, "value_float") || oxp_node_find_attribute(n, "value_floats"))
        return OXP_FLOAT;
    if (oxp_node_find_attribute(n, "value_int") || oxp_node_find_attribute(n, "value_ints"))
        return OXP_INT64;
    return otherwise;
}

/* The fact about a value that scope `i` can see, of the scopes that are ready. */
static size_t look_up(const oxp_upgrade *u, size_t i, const char *value)
{
    for (; i != SIZE_MAX; i = u->scopes.items[i].parent) {
        size_t fact = oxp_map_get(&u->facts[i].map, value);
        if (fact != OXP_MAP_NONE)
            return fact;
    }
    return make_fact(OXP_UNDEFINED, -1);
}

static oxp_dtype output_dtype(const oxp_upgrade *u, size_t scope, const Onnx__NodeProto *n,
                              size_t output)
{
    int rule = rule_of(n, output);
    if (rule == NO_RULE)
        return OXP_UNDEFINED;
    if (rule == FROM_ATTRIBUTE_OR_INPUT) {
        oxp_dtype stated = attribute_dtype(n, OXP_UNDEFINED);
        if (stated != OXP_UNDEFINED)
            return stated;
        rule = FROM_INPUT(0);
    }
    if (rule >= FROM_ATTRIBUTE(0))
        return attribute_dtype(n, (oxp_dtype)(rule - FROM_ATTRIBUTE(0)));
    if (rule >= 0)
        return (oxp_dtype)rule;
    size_t input = (size_t)FROM_INPUT(rule);
    if (input < n->n_input)
        return fact_dtype(look_up(u, scope, n->input[input]));
    return strcmp(n->op_type, "QuantizeLinear") == 0 ? OXP_UINT8 : OXP_UNDEFINED;
}

static oxp_status learn_nodes(oxp_upgrade *u, size_t scope)
{
    const Onnx__GraphProto *g = u->scopes.items[scope].g;
    oxp_map *facts = &u->facts[scope].map;
    for (size_t i = 0; i < g->n_node; i++) {
        const Onnx__NodeProto *n = g->node[i];
        for (size_t j = 0; j < n->n_output; j++) {
            size_t known = oxp_map_get(facts, n->output[j]);
            if (known != OXP_MAP_NONE && fact_dtype(known) != OXP_UNDEFINED)
                continue;
            int rank = known == OXP_MAP_NONE ? -1 : fact_rank(known);
            OXP_TRY(
                oxp_map_put(facts, n->output[j], make_fact(output_dtype(u, scope, n, j), rank)));
        }
    }
    return OXP_OK;
}

static oxp_status learn_scope(oxp_upgrade *u, size_t scope)
{
    oxp_facts *facts = &u->facts[scope];
    oxp_map_init(&facts->map, u->model->ctx);
    facts->ready = true;
    OXP_TRY(learn_declarations(&facts->map, u->scopes.items[scope].g));
    return learn_nodes(u, scope);
}

/* The scopes around the one at hand, from the outermost on: inner ones ask the outer ones. */
static oxp_status learn(oxp_upgrade *u)
{
    for (;;) {
        size_t outermost = SIZE_MAX;
        for (size_t i = u->scope; i != SIZE_MAX; i = u->scopes.items[i].parent)
            if (!u->facts[i].ready)
                outermost = i;
        if (outermost == SIZE_MAX)
            return OXP_OK;
        OXP_TRY(learn_scope(u, outermost));
    }
}

oxp_status oxp_upgrade_dtype(oxp_dtype *out, oxp_upgrade *u, const char *value)
{
    *out = OXP_UNDEFINED;
    if (u->options.dtype_of != NULL)
        *out = u->options.dtype_of(u->options.user, u->g, value);
    if (*out != OXP_UNDEFINED)
        return OXP_OK;
    OXP_TRY(learn(u));
    *out = fact_dtype(look_up(u, u->scope, value));
    return OXP_OK;
}

oxp_status oxp_upgrade_rank(int *out, oxp_upgrade *u, const char *value)
{
    *out = -1;
    if (u->options.rank_of != NULL)
        *out = u->options.rank_of(u->options.user, u->g, value);
    if (*out >= 0)
        return OXP_OK;
    OXP_TRY(learn(u));
    *out = fact_rank(look_up(u, u->scope, value));
    return OXP_OK;
}

/* ---- uses ---- */

static oxp_status note_reads(oxp_upgrade *u, const Onnx__GraphProto *g)
{
    for (size_t i = 0; i < g->n_node; i++)
        for (size_t j = 0; j < g->node[i]->n_input; j++)
            OXP_TRY(oxp_map_put(&u->names_read, g->node[i]->input[j], 1));
    for (size_t i = 0; i < g->n_output; i++)
        if (g->output[i]->name != NULL)
            OXP_TRY(oxp_map_put(&u->names_read, g->output[i]->name, 1));
    return OXP_OK;
}

/* Over all graphs alike: a name of one that another uses too counts as read. */
oxp_status oxp_upgrade_is_read(bool *out, oxp_upgrade *u, const char *value)
{
    for (size_t i = 0; !u->names_read_ready && i < u->scopes.count; i++)
        OXP_TRY(note_reads(u, u->scopes.items[i].g));
    u->names_read_ready = true;
    *out = oxp_map_get(&u->names_read, value) != OXP_MAP_NONE;
    return OXP_OK;
}

/* ---- constants ---- */

static bool is_named(const char *name, const char *expected)
{
    return name != NULL && strcmp(name, expected) == 0;
}

/* An input, a computed value or a constant: the graph is where the name comes from. */
static bool find_in_graph(const Onnx__TensorProto **out, const Onnx__GraphProto *g,
                          const char *value)
{
    *out = NULL;
    for (size_t i = 0; i < g->n_input; i++)
        if (is_named(g->input[i]->name, value))
            return true;
    for (size_t i = 0; i < g->n_initializer; i++)
        if (is_named(g->initializer[i]->name, value)) {
            *out = g->initializer[i];
            return true;
        }
    for (size_t i = 0; i < g->n_node; i++)
        for (size_t j = 0; j < g->node[i]->n_output; j++)
            if (is_named(g->node[i]->output[j], value)) {
                const Onnx__AttributeProto *a = oxp_node_find_attribute(g->node[i], "value");
                if (is_named(g->node[i]->op_type, "Constant") && a != NULL)
                    *out = a->t;
                return true;
            }
    return false;
}

const Onnx__TensorProto *oxp_upgrade_constant_of(const oxp_upgrade *u, const char *value)
{
    const Onnx__TensorProto *found = NULL;
    for (size_t i = u->scope; i != SIZE_MAX; i = u->scopes.items[i].parent)
        if (find_in_graph(&found, u->scopes.items[i].g, value))
            return found;
    return NULL;
}

void oxp_upgrade_forget(oxp_upgrade *u)
{
    for (size_t i = 0; u->facts != NULL && i < u->scopes.count; i++)
        if (u->facts[i].ready)
            oxp_map_free(&u->facts[i].map);
    oxp_free(u->facts);
    oxp_map_free(&u->names_read);
}
