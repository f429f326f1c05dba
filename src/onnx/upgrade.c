/* upgrade.c - walks the versions from the model's to the target, and in each all nodes.
 *
 * Each step makes from a model that is valid in version v - 1 one that is valid in v, so a
 * conversion knows two neighbouring versions and what it inserts is converted further by the steps
 * that follow. */
#include "onnx/upgrade_internal.h"

#include <stdlib.h>
#include <string.h>

#include "util/half.h"

/* ---- the table ---- */

typedef struct table_row {
    const char *type;
    int64_t version;
    oxp_status (*convert)(oxp_upgrade *u); /* NULL: nothing to do, or `why` not */
    const char *why;
} table_row;

#define SAME(type, version) {#type, version, NULL, NULL},
#define CONVERT(type, version, function) {#type, version, oxp_upgrade_##function, NULL},
#define REFUSE(type, version, why) {#type, version, NULL, why},
static const table_row table[] = {
#include "onnx/upgrade.def"
};
#undef SAME
#undef CONVERT
#undef REFUSE

static int compare_rows(const void *a, const void *b)
{
    const table_row *x = a, *y = b;
    int order = strcmp(x->type, y->type);
    return order != 0 ? order : (x->version > y->version) - (x->version < y->version);
}

/* The row of a node in a version; NULL when its operator has no new version there. */
static const table_row *row_of(const Onnx__NodeProto *n, int64_t version)
{
    if (n->op_type == NULL || !oxp_is_default_domain(n->domain))
        return NULL;
    table_row key = {n->op_type, version, NULL, NULL};
    return bsearch(&key, table, sizeof table / sizeof *table, sizeof *table, compare_rows);
}

/* ---- what conversions use ---- */

static oxp_status refuse_node(const oxp_model *model, const char *place, const char *place_name,
                              const Onnx__NodeProto *n, size_t at, int64_t version, const char *why)
{
    char a[OXP_QUOTED_MAX], b[OXP_QUOTED_MAX], c[OXP_QUOTED_MAX];
    return oxp_fail(model->ctx, OXP_EUNSUPPORTED, "E-UPGRADE",
                    "%s %s: node %zu %s (%s): cannot be raised to opset %lld: %s", place,
                    oxp_quote(a, place_name == NULL ? "" : place_name), at,
                    oxp_quote(b, n->name == NULL ? "" : n->name),
                    n->op_type == NULL ? "" : oxp_quote(c, n->op_type), (long long)version, why);
}

oxp_status oxp_upgrade_refuse(const oxp_upgrade *u, const char *why)
{
    return refuse_node(u->model, "graph", u->g->name, u->n, u->at, u->version, why);
}

/* NULL in *out when the node does not have it. */
static oxp_status find_attribute(const Onnx__AttributeProto **out, const oxp_upgrade *u,
                                 const char *name, Onnx__AttributeProto__AttributeType type,
                                 const char *complaint)
{
    const Onnx__AttributeProto *a = oxp_node_find_attribute(u->n, name);
    if (a != NULL && a->has_type && a->type != type)
        return oxp_upgrade_refuse(u, complaint);
    *out = a;
    return OXP_OK;
}

oxp_status oxp_upgrade_int(const oxp_upgrade *u, const char *name, int64_t *out)
{
    const Onnx__AttributeProto *a = NULL;
    OXP_TRY(find_attribute(&a, u, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT,
                           "an attribute that should be an integer is none"));
    if (a != NULL)
        *out = a->i;
    return OXP_OK;
}

oxp_status oxp_upgrade_float(const oxp_upgrade *u, const char *name, float *out, bool *present)
{
    const Onnx__AttributeProto *a = NULL;
    OXP_TRY(find_attribute(&a, u, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT,
                           "an attribute that should be a number is none"));
    *present = a != NULL;
    if (a != NULL)
        *out = a->f;
    return OXP_OK;
}

oxp_status oxp_upgrade_ints(const oxp_upgrade *u, const char *name, const int64_t **out,
                            size_t *count, bool *present)
{
    const Onnx__AttributeProto *a = NULL;
    OXP_TRY(find_attribute(&a, u, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS,
                           "an attribute that should be a list of integers is none"));
    *present = a != NULL;
    *count = a == NULL ? 0 : a->n_ints;
    *out = a == NULL ? NULL : a->ints;
    return OXP_OK;
}

bool oxp_upgrade_string_is(const oxp_upgrade *u, const char *name, const char *value)
{
    const Onnx__AttributeProto *a = oxp_node_find_attribute(u->n, name);
    size_t length = strlen(value);
    return a != NULL && a->has_s && a->s.len == length && memcmp(a->s.data, value, length) == 0;
}

oxp_status oxp_upgrade_name(const char **out, oxp_upgrade *u, const char *suffix)
{
    const char *base = u->n->n_output > 0 ? u->n->output[0] : "";
    const char *wish = oxp_arena_printf(&u->model->arena, "%s_%s", base, suffix);
    return wish == NULL ? oxp_out_of_memory(u->model) : oxp_edit_unique_name(out, u->model, wish);
}

oxp_status oxp_upgrade_constant(const char **out, oxp_upgrade *u, const char *suffix,
                                oxp_dtype dtype, int rank, const int64_t *dims, const void *data)
{
    const char *name;
    OXP_TRY(oxp_upgrade_name(&name, u, suffix));
    OXP_TRY(oxp_edit_add_initializer(u->model, u->g, name, dtype, rank, dims, data));
    *out = name;
    return OXP_OK;
}

oxp_status oxp_upgrade_int_list(const char **out, oxp_upgrade *u, const char *suffix, size_t count,
                                const int64_t *values)
{
    int64_t dim = (int64_t)count;
    return oxp_upgrade_constant(out, u, suffix, OXP_INT64, 1, &dim, values);
}

oxp_status oxp_upgrade_scalar(const char **out, oxp_upgrade *u, const char *suffix, oxp_dtype dtype,
                              float value)
{
    double wide = (double)value;
    uint16_t narrow =
        dtype == OXP_BFLOAT16 ? oxp_float_to_bfloat16(value) : oxp_float_to_half(value);
    switch (dtype) {
    case OXP_FLOAT:
        return oxp_upgrade_constant(out, u, suffix, dtype, 0, NULL, &value);
    case OXP_DOUBLE:
        return oxp_upgrade_constant(out, u, suffix, dtype, 0, NULL, &wide);
    case OXP_FLOAT16:
    case OXP_BFLOAT16:
        return oxp_upgrade_constant(out, u, suffix, dtype, 0, NULL, &narrow);
    case OXP_UNDEFINED:
        return oxp_upgrade_refuse(u, "the element type of its input is not known");
    default:
        return oxp_upgrade_refuse(u, "the element type of its input is no float");
    }
}

oxp_status oxp_upgrade_insert_before(Onnx__NodeProto **out, oxp_upgrade *u, const char *type,
                                     const char *input, const char *output)
{
    oxp_new_node node = {type, "", output, 1, 1, &input, &output};
    OXP_TRY(oxp_edit_insert_node(out, u->model, u->g, u->at, &node));
    u->at++;
    return OXP_OK;
}

oxp_status oxp_upgrade_insert_behind(Onnx__NodeProto **out, oxp_upgrade *u, const char *type,
                                     const char *first, const char *second, const char *output)
{
    const char *const inputs[] = {first, second};
    const char *name;
    OXP_TRY(oxp_upgrade_name(&name, u, "raised"));
    oxp_new_node node = {type, "", name, 2, 1, inputs, &output};
    OXP_TRY(oxp_edit_insert_node(out, u->model, u->g, u->at + 1 + u->behind, &node));
    u->behind++;
    return OXP_OK;
}

/* ---- all nodes, all versions ---- */

static oxp_status raise_node(oxp_upgrade *u)
{
    const table_row *row = row_of(u->n, u->version);
    if (row == NULL)
        return OXP_OK;
    if (row->why != NULL)
        return oxp_upgrade_refuse(u, row->why);
    return row->convert == NULL ? OXP_OK : row->convert(u);
}

static oxp_status raise_graph(oxp_upgrade *u)
{
    for (u->at = 0; u->at < u->g->n_node; u->at += 1 + u->behind) {
        u->n = u->g->node[u->at];
        u->behind = 0;
        OXP_TRY(raise_node(u));
    }
    return OXP_OK;
}

static oxp_status raise_graphs(oxp_upgrade *u, int64_t from)
{
    const Onnx__ModelProto *proto = u->model->proto;
    oxp_ctx *ctx = u->model->ctx;
    OXP_TRY(oxp_scopes_collect(&u->scopes, ctx, proto->graph));
    for (size_t i = 0; i < proto->n_training_info; i++) {
        OXP_TRY(oxp_scopes_collect(&u->scopes, ctx, proto->training_info[i]->initialization));
        OXP_TRY(oxp_scopes_collect(&u->scopes, ctx, proto->training_info[i]->algorithm));
    }
    OXP_TRY(oxp_alloc(&u->facts, ctx, u->scopes.count, sizeof *u->facts, "types of values"));
    for (u->version = from + 1; u->version <= u->target; u->version++)
        for (u->scope = 0; u->scope < u->scopes.count; u->scope++) {
            u->g = u->scopes.items[u->scope].g;
            OXP_TRY(raise_graph(u));
        }
    return OXP_OK;
}

/* ---- functions ---- */

static oxp_status check_nodes(const oxp_model *model, const char *function,
                              Onnx__NodeProto *const *nodes, size_t count, int64_t from,
                              int64_t target)
{
    for (size_t i = 0; i < count; i++)
        for (int64_t version = from + 1; version <= target; version++) {
            const table_row *row = row_of(nodes[i], version);
            if (row != NULL && (row->convert != NULL || row->why != NULL))
                return refuse_node(model, "function", function, nodes[i], i, version,
                                   row->why != NULL ? row->why
                                                    : "nodes of functions are not rewritten");
        }
    return OXP_OK;
}

/* A function's body and the graphs in it. */
static oxp_status check_function(const oxp_model *model, const Onnx__FunctionProto *f, int64_t from,
                                 int64_t target)
{
    OXP_TRY(check_nodes(model, f->name, f->node, f->n_node, from, target));
    oxp_scopes scopes = {0};
    oxp_status status = OXP_OK;
    for (size_t i = 0; i < f->n_node; i++)
        OXP_TRY_GOTO(oxp_scopes_of_node(&scopes, model->ctx, f->node[i], SIZE_MAX), done);
    for (size_t i = 0; i < scopes.count; i++) {
        const Onnx__GraphProto *g = scopes.items[i].g;
        OXP_TRY_GOTO(check_nodes(model, f->name, g->node, g->n_node, from, target), done);
        for (size_t j = 0; j < g->n_node; j++)
            OXP_TRY_GOTO(oxp_scopes_of_node(&scopes, model->ctx, g->node[j], i), done);
    }
done:
    oxp_free(scopes.items);
    return status;
}

oxp_status oxp_upgrade_functions(oxp_model *model, int64_t target)
{
    for (size_t i = 0; i < model->proto->n_functions; i++) {
        Onnx__FunctionProto *f = model->proto->functions[i];
        for (size_t j = 0; j < f->n_opset_import; j++) {
            Onnx__OperatorSetIdProto *import = f->opset_import[j];
            if (!oxp_is_default_domain(import->domain) || import->version >= target)
                continue;
            OXP_TRY(check_function(model, f, import->version, target));
            import->version = target;
        }
    }
    return OXP_OK;
}

/* ---- the call ---- */

static int64_t current_opset(const oxp_model *model)
{
    for (size_t i = 0; i < model->proto->n_opset_import; i++) {
        const Onnx__OperatorSetIdProto *import = model->proto->opset_import[i];
        if (oxp_is_default_domain(import->domain))
            return import->version;
    }
    return 0;
}

static oxp_status check_versions(oxp_ctx *ctx, int64_t from, int64_t target)
{
    if (target > OXP_UPGRADE_NEWEST)
        return oxp_fail(ctx, OXP_EUNSUPPORTED, "E-OPSET-NEW",
                        "models can be raised up to opset %d, asked for %lld", OXP_UPGRADE_NEWEST,
                        (long long)target);
    if (from < OXP_UPGRADE_OLDEST)
        return oxp_fail(ctx, OXP_EUNSUPPORTED, "E-OPSET",
                        "models can be raised from opset %d on, this one has %lld",
                        OXP_UPGRADE_OLDEST, (long long)from);
    return OXP_OK;
}

oxp_status oxp_model_upgrade(oxp_model *model, int64_t target, const oxp_upgrade_options *options)
{
    int64_t from = current_opset(model);
    if (from >= target)
        return OXP_OK;
    if (from == 0) /* no node of ai.onnx: there is only the import to add */
        return oxp_edit_set_opset(model, "", target);
    OXP_TRY(check_versions(model->ctx, from, target));
    oxp_upgrade u = {.model = model, .target = target};
    if (options != NULL)
        u.options = *options;
    oxp_map_init(&u.names_read, model->ctx);
    oxp_status status = OXP_OK;
    /* First, so that what was an initializer and an input becomes the constant that it is. */
    if (model->proto->ir_version < oxp_ir_for_opset(target))
        OXP_TRY_GOTO(oxp_edit_set_ir_version(model, oxp_ir_for_opset(target)), done);
    OXP_TRY_GOTO(oxp_upgrade_functions(model, target), done);
    OXP_TRY_GOTO(raise_graphs(&u, from), done);
    status = oxp_edit_set_opset(model, "", target);
done:
    oxp_upgrade_forget(&u);
    oxp_free(u.scopes.items);
    return status;
}
