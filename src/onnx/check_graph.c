/* check_graph.c - graphs, nodes and attributes by themselves: types of what they declare, exactly
 * one value per attribute, and every tensor that they hold. */
#include "onnx/check.h"

#include <inttypes.h>
#include <string.h>

/* With fewer names than this a comparison of all pairs is quicker than a table. */
#define FEW_NAMES 8

/* ---- which constants are weights ---- */

static bool multiplies(const Onnx__NodeProto *n)
{
    static const char *const types[] = {"Conv", "ConvTranspose", "Gemm", "MatMul",
                                        "LSTM", "GRU",           "RNN"};
    if (oxp_domain(n->domain)[0] != '\0')
        return false;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (n->op_type != NULL && strcmp(n->op_type, types[i]) == 0)
            return true;
    return false;
}

/* Names are gathered over all graphs without regard to scope: two bodies that use one name for a
 * weight and for something else only make the check stricter. */
oxp_status oxp_check_weights(oxp_check *check)
{
    oxp_walk_event event;
    oxp_walk_begin(&check->walk, check->model->proto->graph);
    while ((event = oxp_walk_next(&check->walk)) != OXP_WALK_END) {
        if (event != OXP_WALK_NODE || !multiplies(oxp_walk_node(&check->walk)))
            continue;
        const Onnx__NodeProto *n = oxp_walk_node(&check->walk);
        for (size_t i = 0; i < n->n_input; i++)
            if (n->input[i][0] != '\0')
                OXP_TRY(oxp_map_put(&check->weights, n->input[i], i));
    }
    return OXP_OK;
}

/* NaN in weights makes every number meaningless, so it is refused in every initializer but scalars,
 * which may be fill values, and in every constant that is multiplied. Infinity is refused in the
 * latter alone: masks hold it on purpose. */
static oxp_nonfinite refused_values(const oxp_check *c, const char *name, bool is_initializer,
                                    size_t rank)
{
    if (c->model->options.keep_nonfinite)
        return OXP_NONFINITE_KEEP;
    if (name != NULL && name[0] != '\0' && oxp_map_get(&c->weights, name) != OXP_MAP_NONE)
        return OXP_NONFINITE_ANY;
    return is_initializer && rank > 0 ? OXP_NONFINITE_NAN : OXP_NONFINITE_KEEP;
}

/* ---- attributes ---- */

typedef struct value_field {
    Onnx__AttributeProto__AttributeType type;
    const char *name;
    bool is_set;
    bool is_list; /* an empty list is a value that cannot be seen */
} value_field;

#define VALUE_FIELDS 14

static void list_fields(const Onnx__AttributeProto *a, value_field out[VALUE_FIELDS])
{
#define TYPE(name) ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__##name
    const value_field fields[VALUE_FIELDS] = {
        {TYPE(FLOAT), "f", a->has_f, false},
        {TYPE(INT), "i", a->has_i, false},
        {TYPE(STRING), "s", a->has_s, false},
        {TYPE(TENSOR), "t", a->t != NULL, false},
        {TYPE(GRAPH), "g", a->g != NULL, false},
        {TYPE(SPARSE_TENSOR), "sparse_tensor", a->sparse_tensor != NULL, false},
        {TYPE(TYPE_PROTO), "tp", a->tp != NULL, false},
        {TYPE(FLOATS), "floats", a->n_floats > 0, true},
        {TYPE(INTS), "ints", a->n_ints > 0, true},
        {TYPE(STRINGS), "strings", a->n_strings > 0, true},
        {TYPE(TENSORS), "tensors", a->n_tensors > 0, true},
        {TYPE(GRAPHS), "graphs", a->n_graphs > 0, true},
        {TYPE(SPARSE_TENSORS), "sparse_tensors", a->n_sparse_tensors > 0, true},
        {TYPE(TYPE_PROTOS), "type_protos", a->n_type_protos > 0, true},
    };
#undef TYPE
    memcpy(out, fields, sizeof fields);
}

static const char *type_name(Onnx__AttributeProto__AttributeType type)
{
    const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(
        &onnx__attribute_proto__attribute_type__descriptor, (int)type);
    return value == NULL ? "?" : value->name;
}

static bool is_reference(const Onnx__AttributeProto *a)
{
    return a->ref_attr_name != NULL && a->ref_attr_name[0] != '\0';
}

static oxp_status check_value_field(const oxp_check *c, const Onnx__AttributeProto *a)
{
    value_field fields[VALUE_FIELDS];
    const value_field *set = NULL, *typed = NULL;
    list_fields(a, fields);
    for (size_t i = 0; i < VALUE_FIELDS; i++) {
        if (fields[i].type == a->type)
            typed = &fields[i];
        if (!fields[i].is_set)
            continue;
        if (set != NULL)
            return oxp_check_fail(c, OXP_EFORMAT, "E-ATTR-TYPE", "values in both %s and %s",
                                  set->name, fields[i].name);
        set = &fields[i];
    }
    if (is_reference(a))
        return set == NULL ? OXP_OK
                           : oxp_check_fail(c, OXP_EFORMAT, "E-ATTR-TYPE",
                                            "both a reference and a value in %s", set->name);
    if (typed == NULL && c->model->proto->ir_version < 2 && set != NULL)
        return OXP_OK; /* the first version had no types */
    if (typed == NULL)
        return oxp_check_fail(c, OXP_EFORMAT, "E-ATTR-TYPE", "the type is missing");
    if (set == NULL && !typed->is_list)
        return oxp_check_fail(c, OXP_EFORMAT, "E-ATTR-TYPE", "the type is %s, found no value",
                              type_name(a->type));
    if (set != NULL && set != typed)
        return oxp_check_fail(c, OXP_EFORMAT, "E-ATTR-TYPE", "the type is %s, found a value in %s",
                              type_name(a->type), set->name);
    return OXP_OK;
}

static oxp_status check_tensors_of(oxp_check *c, const Onnx__AttributeProto *a,
                                   oxp_nonfinite refused)
{
    if (a->t != NULL)
        OXP_TRY(oxp_check_tensor(c, a->t, refused));
    if (a->sparse_tensor != NULL)
        OXP_TRY(oxp_check_sparse(c, a->sparse_tensor, refused));
    for (size_t i = 0; i < a->n_tensors; i++)
        OXP_TRY(oxp_check_tensor(c, a->tensors[i], refused));
    for (size_t i = 0; i < a->n_sparse_tensors; i++)
        OXP_TRY(oxp_check_sparse(c, a->sparse_tensors[i], refused));
    return OXP_OK;
}

static oxp_status check_attribute(oxp_check *c, const Onnx__AttributeProto *a,
                                  oxp_nonfinite refused)
{
    c->kind = "attribute";
    c->name = a->name;
    if (a->name == NULL || a->name[0] == '\0')
        return oxp_check_fail(c, OXP_EFORMAT, "E-NAME", "an attribute has no name");
    if (is_reference(a) && c->walk.function == NULL)
        return oxp_check_fail(c, OXP_EFORMAT, "E-ATTR-REF", "ref_attr_name outside a function");
    OXP_TRY(check_value_field(c, a));
    OXP_TRY(check_tensors_of(c, a, refused));
    c->kind = NULL;
    return OXP_OK;
}

/* Of two attributes with one name, the index of the second; SIZE_MAX when all differ. */
static oxp_status find_duplicate(size_t *out, oxp_ctx *ctx, Onnx__AttributeProto **attributes,
                                 size_t count)
{
    *out = SIZE_MAX;
    if (count < FEW_NAMES) {
        for (size_t i = 1; i < count && *out == SIZE_MAX; i++)
            for (size_t k = 0; k < i; k++)
                if (strcmp(attributes[i]->name, attributes[k]->name) == 0)
                    *out = i;
        return OXP_OK;
    }
    oxp_map names;
    oxp_map_init(&names, ctx);
    oxp_status status = OXP_OK;
    for (size_t i = 0; i < count && status == OXP_OK && *out == SIZE_MAX; i++) {
        if (oxp_map_get(&names, attributes[i]->name) != OXP_MAP_NONE)
            *out = i;
        else
            status = oxp_map_put(&names, attributes[i]->name, i);
    }
    oxp_map_free(&names);
    return status;
}

oxp_status oxp_check_attributes(oxp_check *check, Onnx__AttributeProto **attributes, size_t count,
                                oxp_nonfinite refused)
{
    size_t duplicate;
    for (size_t i = 0; i < count; i++)
        OXP_TRY(check_attribute(check, attributes[i], refused));
    OXP_TRY(find_duplicate(&duplicate, check->ctx, attributes, count));
    if (duplicate == SIZE_MAX)
        return OXP_OK;
    check->kind = "attribute";
    check->name = attributes[duplicate]->name;
    return oxp_check_fail(check, OXP_EFORMAT, "E-ATTR-DUP", "stands twice");
}

/* ---- nodes ---- */

static oxp_nonfinite refused_in_node(const oxp_check *c, const Onnx__NodeProto *n)
{
    bool constant =
        oxp_domain(n->domain)[0] == '\0' && strcmp(n->op_type, "Constant") == 0 && n->n_output == 1;
    return constant ? refused_values(c, n->output[0], false, 0) : OXP_NONFINITE_KEEP;
}

static oxp_status check_node(oxp_check *c, const Onnx__NodeProto *n)
{
    char quoted[OXP_QUOTED_MAX];
    const char *domain = oxp_domain(n->domain);
    if (n->op_type == NULL || n->op_type[0] == '\0')
        return oxp_check_fail(c, OXP_EFORMAT, "E-OPTYPE", "the node has no op_type");
    if (n->n_input == 0 && n->n_output == 0)
        return oxp_check_fail(c, OXP_EFORMAT, "E-ARITY", "the node has no inputs and no outputs");
    if (oxp_map_get(&c->domains, domain) == OXP_MAP_NONE)
        return oxp_check_fail(c, OXP_EFORMAT, "E-OPSET", "opset_import lacks the domain %s",
                              oxp_quote(quoted, domain));
    return oxp_check_attributes(c, n->attribute, n->n_attribute, refused_in_node(c, n));
}

/* ---- graphs ---- */

static oxp_status check_declaration(oxp_check *c, const char *kind, const Onnx__ValueInfoProto *v)
{
    c->kind = kind;
    c->name = v->name;
    const Onnx__TypeProto *type = v->type;
    if (type != NULL && type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE) {
        int32_t element = type->tensor_type->elem_type;
        if (element < 0 || element > ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT6E3M2)
            return oxp_check_fail(c, OXP_EFORMAT, "E-DTYPE",
                                  "element type %" PRId32 " does not exist", element);
    }
    c->kind = NULL;
    return OXP_OK;
}

static oxp_status check_end(oxp_check *c, const char *kind, const Onnx__ValueInfoProto *v)
{
    if (v->name == NULL || v->name[0] == '\0')
        return oxp_check_fail(c, OXP_EFORMAT, "E-NAME", "an %s has no name", kind);
    return check_declaration(c, kind, v);
}

static oxp_status check_declarations(oxp_check *c, const Onnx__GraphProto *g)
{
    for (size_t i = 0; i < g->n_input; i++)
        OXP_TRY(check_end(c, "input", g->input[i]));
    for (size_t i = 0; i < g->n_output; i++)
        OXP_TRY(check_end(c, "output", g->output[i]));
    for (size_t i = 0; i < g->n_value_info; i++)
        OXP_TRY(check_declaration(c, "value_info", g->value_info[i]));
    return OXP_OK;
}

static oxp_status check_initializer(oxp_check *c, const Onnx__TensorProto *t)
{
    c->kind = "initializer";
    c->name = t->name;
    if (t->name == NULL || t->name[0] == '\0')
        return oxp_check_fail(c, OXP_EFORMAT, "E-NAME", "an initializer has no name");
    OXP_TRY(oxp_check_tensor(c, t, refused_values(c, t->name, true, t->n_dims)));
    c->kind = NULL;
    return OXP_OK;
}

static oxp_status check_sparse_initializer(oxp_check *c, const Onnx__SparseTensorProto *s)
{
    const char *name = s->values == NULL ? NULL : s->values->name;
    c->kind = "sparse initializer";
    c->name = name;
    if (s->values != NULL && (name == NULL || name[0] == '\0'))
        return oxp_check_fail(c, OXP_EFORMAT, "E-NAME", "a sparse initializer has no name");
    OXP_TRY(oxp_check_sparse(c, s, refused_values(c, name, true, s->n_dims)));
    c->kind = NULL;
    return OXP_OK;
}

static oxp_status check_graph(oxp_check *c, const Onnx__GraphProto *g)
{
    OXP_TRY(check_declarations(c, g));
    for (size_t i = 0; i < g->n_initializer; i++) {
        OXP_TRY(check_initializer(c, g->initializer[i]));
        if (i % 1024 == 0)
            OXP_TRY(oxp_progress(c->ctx, "check", i, g->n_initializer));
    }
    for (size_t i = 0; i < g->n_sparse_initializer; i++)
        OXP_TRY(check_sparse_initializer(c, g->sparse_initializer[i]));
    return OXP_OK;
}

oxp_status oxp_check_nodes(oxp_check *check)
{
    oxp_walk_event event;
    while ((event = oxp_walk_next(&check->walk)) != OXP_WALK_END) {
        if (event == OXP_WALK_GRAPH)
            OXP_TRY(check_graph(check, oxp_walk_graph(&check->walk)));
        else
            OXP_TRY(check_node(check, oxp_walk_node(&check->walk)));
    }
    return OXP_OK;
}

/* ---- what calls of functions hid ---- */

static oxp_status check_weights_of(oxp_check *c, const Onnx__GraphProto *g)
{
    for (size_t i = 0; i < g->n_initializer; i++) {
        const Onnx__TensorProto *t = g->initializer[i];
        if (refused_values(c, t->name, true, t->n_dims) == OXP_NONFINITE_ANY)
            OXP_TRY(check_initializer(c, t));
    }
    return OXP_OK;
}

oxp_status oxp_check_finite_weights(oxp_check *check)
{
    oxp_walk_event event;
    OXP_TRY(oxp_check_weights(check));
    oxp_walk_begin(&check->walk, check->model->proto->graph);
    while ((event = oxp_walk_next(&check->walk)) != OXP_WALK_END) {
        if (event == OXP_WALK_GRAPH) {
            OXP_TRY(check_weights_of(check, oxp_walk_graph(&check->walk)));
            continue;
        }
        const Onnx__NodeProto *n = oxp_walk_node(&check->walk);
        oxp_nonfinite refused = refused_in_node(check, n);
        if (refused == OXP_NONFINITE_ANY)
            OXP_TRY(oxp_check_attributes(check, n->attribute, n->n_attribute, refused));
    }
    return OXP_OK;
}
