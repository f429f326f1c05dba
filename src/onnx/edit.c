/* edit.c - what concerns a whole model: names in use, versions, metadata. */
#include "onnx/edit.h"
#include "onnx/model_internal.h"

#include <string.h>

#define BASE_NAME_MAX 60000u /* a name with its number must stay within what readers accept */

char *oxp_model_strdup(oxp_model *model, const char *text)
{
    return oxp_arena_strdup(&model->arena, text);
}

/* ---- names ----
 *
 * The map holds, for each name in use, the number to try next when it is asked for as a base. */

static oxp_status take_name(oxp_map *names, const char *name)
{
    if (name == NULL || name[0] == '\0' || oxp_map_get(names, name) != OXP_MAP_NONE)
        return OXP_OK;
    return oxp_map_put(names, name, 1);
}

static oxp_status take_names(oxp_map *names, char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        OXP_TRY(take_name(names, list[i]));
    return OXP_OK;
}

static oxp_status take_infos(oxp_map *names, Onnx__ValueInfoProto *const *infos, size_t count)
{
    for (size_t i = 0; i < count; i++)
        OXP_TRY(take_name(names, infos[i]->name));
    return OXP_OK;
}

static oxp_status take_graph(oxp_map *names, const Onnx__GraphProto *g)
{
    OXP_TRY(take_infos(names, g->input, g->n_input));
    OXP_TRY(take_infos(names, g->output, g->n_output));
    OXP_TRY(take_infos(names, g->value_info, g->n_value_info));
    for (size_t i = 0; i < g->n_initializer; i++)
        OXP_TRY(take_name(names, g->initializer[i]->name));
    for (size_t i = 0; i < g->n_sparse_initializer; i++)
        if (g->sparse_initializer[i]->values != NULL)
            OXP_TRY(take_name(names, g->sparse_initializer[i]->values->name));
    for (size_t i = 0; i < g->n_node; i++) {
        const Onnx__NodeProto *n = g->node[i];
        OXP_TRY(take_name(names, n->name));
        OXP_TRY(take_names(names, n->input, n->n_input));
        OXP_TRY(take_names(names, n->output, n->n_output));
    }
    return OXP_OK;
}

static oxp_status collect_graphs(oxp_scopes *scopes, const oxp_model *model)
{
    const Onnx__ModelProto *proto = model->proto;
    OXP_TRY(oxp_scopes_collect(scopes, model->ctx, proto->graph));
    for (size_t i = 0; i < proto->n_training_info; i++) {
        OXP_TRY(oxp_scopes_collect(scopes, model->ctx, proto->training_info[i]->initialization));
        OXP_TRY(oxp_scopes_collect(scopes, model->ctx, proto->training_info[i]->algorithm));
    }
    return OXP_OK;
}

static oxp_status collect_names(oxp_model *model)
{
    if (model->names_ready)
        return OXP_OK;
    oxp_scopes scopes = {0};
    oxp_map names;
    oxp_map_init(&names, model->ctx);
    oxp_status status;
    OXP_TRY_GOTO(collect_graphs(&scopes, model), done);
    for (size_t i = 0; i < scopes.count; i++)
        OXP_TRY_GOTO(take_graph(&names, scopes.items[i].g), done);
    model->names = names;
    model->names_ready = true;
done:
    if (status != OXP_OK)
        oxp_map_free(&names);
    oxp_free(scopes.items);
    return status;
}

oxp_status oxp_model_note_name(oxp_model *model, const char *name)
{
    return model->names_ready ? take_name(&model->names, name) : OXP_OK;
}

/* The base as far as it fits, not cut inside a UTF-8 character. */
static int base_length(const char *base)
{
    size_t length = strnlen(base, BASE_NAME_MAX + 1);
    if (length > BASE_NAME_MAX)
        for (length = BASE_NAME_MAX; ((unsigned char)base[length] & 0xc0) == 0x80;)
            length--;
    return (int)length;
}

oxp_status oxp_edit_unique_name(const char **out, oxp_model *model, const char *base)
{
    OXP_TRY(collect_names(model));
    int length = base_length(base);
    char *stem = oxp_arena_printf(&model->arena, "%.*s", length, base);
    if (stem == NULL)
        return oxp_out_of_memory(model);
    size_t next = oxp_map_get(&model->names, stem);
    const char *name = stem;
    if (next != OXP_MAP_NONE) {
        do {
            name = oxp_arena_printf(&model->arena, "%s_%zu", stem, next++);
            if (name == NULL)
                return oxp_out_of_memory(model);
        } while (oxp_map_get(&model->names, name) != OXP_MAP_NONE);
        OXP_TRY(oxp_map_put(&model->names, stem, next));
    }
    OXP_TRY(take_name(&model->names, name));
    *out = name;
    return OXP_OK;
}

/* ---- versions ---- */

int64_t oxp_ir_for_opset(int64_t opset)
{
    /* From the table of releases in the ONNX specification: the IR that came with each opset. */
    static const struct {
        int64_t opset, ir;
    } releases[] = {{8, 3},  {9, 4},   {10, 5},  {11, 6},  {14, 7},  {18, 8},
                    {20, 9}, {22, 10}, {23, 11}, {24, 12}, {27, 13}, {28, 14}};
    size_t last = sizeof releases / sizeof *releases - 1;
    for (size_t i = 0; i < last; i++)
        if (opset <= releases[i].opset)
            return releases[i].ir;
    return releases[last].ir;
}

/* Before IR 4 every initializer is also a graph input, and a constant all the same. From IR 4 on
 * such an input means "may be overridden", which keeps a runtime from folding it. */
static oxp_status make_initializers_constant(oxp_model *model, Onnx__GraphProto *g)
{
    oxp_map initializers;
    oxp_map_init(&initializers, model->ctx);
    oxp_status status = OXP_OK;
    for (size_t i = 0; i < g->n_initializer; i++)
        OXP_TRY_GOTO(take_name(&initializers, g->initializer[i]->name), done);
    for (size_t i = 0; i < g->n_sparse_initializer; i++)
        if (g->sparse_initializer[i]->values != NULL)
            OXP_TRY_GOTO(take_name(&initializers, g->sparse_initializer[i]->values->name), done);
    size_t kept = 0;
    for (size_t i = 0; i < g->n_input; i++) {
        const char *name = g->input[i]->name;
        if (name == NULL || oxp_map_get(&initializers, name) == OXP_MAP_NONE)
            g->input[kept++] = g->input[i];
    }
    g->n_input = kept;
done:
    oxp_map_free(&initializers);
    return status;
}

oxp_status oxp_edit_set_ir_version(oxp_model *model, int64_t version)
{
    Onnx__ModelProto *proto = model->proto;
    if (proto->ir_version < 4 && version >= 4 && proto->graph != NULL)
        OXP_TRY(make_initializers_constant(model, proto->graph));
    proto->has_ir_version = 1;
    proto->ir_version = version;
    model->edited = true;
    return OXP_OK;
}

static bool same_domain(const char *a, const char *b)
{
    const char *x = a == NULL || strcmp(a, "ai.onnx") == 0 ? "" : a;
    const char *y = b == NULL || strcmp(b, "ai.onnx") == 0 ? "" : b;
    return strcmp(x, y) == 0;
}

static oxp_status import_of(Onnx__OperatorSetIdProto **out, oxp_model *model, const char *domain)
{
    Onnx__ModelProto *proto = model->proto;
    for (size_t i = 0; i < proto->n_opset_import; i++)
        if (same_domain(proto->opset_import[i]->domain, domain)) {
            *out = proto->opset_import[i];
            return OXP_OK;
        }
    Onnx__OperatorSetIdProto *added = oxp_arena_alloc(&model->arena, 1, sizeof *added);
    char *name = oxp_model_strdup(model, same_domain(domain, "") ? "" : domain);
    if (added == NULL || name == NULL)
        return oxp_out_of_memory(model);
    onnx__operator_set_id_proto__init(added);
    added->domain = name;
    OXP_TRY(oxp_array_insert(model, &proto->opset_import, &proto->n_opset_import,
                             proto->n_opset_import, added));
    *out = added;
    return OXP_OK;
}

oxp_status oxp_edit_set_opset(oxp_model *model, const char *domain, int64_t version)
{
    Onnx__OperatorSetIdProto *import;
    OXP_TRY(import_of(&import, model, domain));
    import->has_version = 1;
    import->version = version;
    model->edited = true;
    if (same_domain(domain, "") && model->proto->ir_version < oxp_ir_for_opset(version))
        return oxp_edit_set_ir_version(model, oxp_ir_for_opset(version));
    return OXP_OK;
}

/* ---- metadata ---- */

oxp_status oxp_edit_set_metadata(oxp_model *model, const char *key, const char *value)
{
    Onnx__ModelProto *proto = model->proto;
    char *text = oxp_model_strdup(model, value);
    if (text == NULL)
        return oxp_out_of_memory(model);
    model->edited = true;
    for (size_t i = 0; i < proto->n_metadata_props; i++) {
        Onnx__StringStringEntryProto *entry = proto->metadata_props[i];
        if (entry->key != NULL && strcmp(entry->key, key) == 0) {
            entry->value = text;
            return OXP_OK;
        }
    }
    Onnx__StringStringEntryProto *added = oxp_arena_alloc(&model->arena, 1, sizeof *added);
    char *name = oxp_model_strdup(model, key);
    if (added == NULL || name == NULL)
        return oxp_out_of_memory(model);
    onnx__string_string_entry_proto__init(added);
    added->key = name;
    added->value = text;
    return oxp_array_insert(model, &proto->metadata_props, &proto->n_metadata_props,
                            proto->n_metadata_props, added);
}
