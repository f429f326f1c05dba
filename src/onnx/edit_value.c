/* edit_value.c - the declared inputs, outputs and values of a graph. */
#include "onnx/edit.h"
#include "onnx/model_internal.h"

#include <string.h>

typedef Onnx__TensorShapeProto__Dimension dimension;

static oxp_status add_dimension(oxp_model *model, Onnx__TensorShapeProto *shape, int64_t size,
                                const char *param)
{
    dimension *d = oxp_arena_alloc(&model->arena, 1, sizeof *d);
    if (d == NULL)
        return oxp_out_of_memory(model);
    onnx__tensor_shape_proto__dimension__init(d);
    if (size >= 0) {
        d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        d->dim_value = size;
    } else if (param != NULL) {
        d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
        d->dim_param = oxp_model_strdup(model, param);
        if (d->dim_param == NULL)
            return oxp_out_of_memory(model);
    }
    return oxp_array_insert(model, &shape->dim, &shape->n_dim, shape->n_dim, d);
}

static oxp_status make_shape(Onnx__TensorShapeProto **out, oxp_model *model,
                             const oxp_value_info *info)
{
    Onnx__TensorShapeProto *shape = oxp_arena_alloc(&model->arena, 1, sizeof *shape);
    if (shape == NULL)
        return oxp_out_of_memory(model);
    onnx__tensor_shape_proto__init(shape);
    for (int i = 0; i < info->rank; i++)
        OXP_TRY(add_dimension(model, shape, info->dims[i], info->params[i]));
    *out = shape;
    return OXP_OK;
}

static oxp_status make_info(Onnx__ValueInfoProto **out, oxp_model *model,
                            const oxp_value_info *info)
{
    char quoted[OXP_QUOTED_MAX];
    if (!info->is_tensor || info->rank > OXP_MAX_RANK)
        return oxp_fail(model->ctx, OXP_EINTERNAL, "E-EDIT",
                        "%s: expected a tensor of rank %d at most", oxp_quote(quoted, info->name),
                        OXP_MAX_RANK);
    Onnx__ValueInfoProto *value = oxp_arena_alloc(&model->arena, 1, sizeof *value);
    Onnx__TypeProto *type = oxp_arena_alloc(&model->arena, 1, sizeof *type);
    Onnx__TypeProto__Tensor *tensor = oxp_arena_alloc(&model->arena, 1, sizeof *tensor);
    char *name = oxp_model_strdup(model, info->name);
    if (value == NULL || type == NULL || tensor == NULL || name == NULL)
        return oxp_out_of_memory(model);
    onnx__value_info_proto__init(value);
    onnx__type_proto__init(type);
    onnx__type_proto__tensor__init(tensor);
    value->name = name;
    value->type = type;
    type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    type->tensor_type = tensor;
    tensor->has_elem_type = 1;
    tensor->elem_type = (int32_t)info->dtype;
    if (info->rank >= 0)
        OXP_TRY(make_shape(&tensor->shape, model, info));
    OXP_TRY(oxp_model_note_name(model, name));
    *out = value;
    return OXP_OK;
}

oxp_status oxp_edit_add_input(oxp_model *model, oxp_graph_proto *g, const oxp_value_info *info)
{
    Onnx__ValueInfoProto *value;
    OXP_TRY(make_info(&value, model, info));
    model->edited = true;
    return oxp_array_insert(model, &g->input, &g->n_input, g->n_input, value);
}

oxp_status oxp_edit_add_output(oxp_model *model, oxp_graph_proto *g, const oxp_value_info *info)
{
    Onnx__ValueInfoProto *value;
    OXP_TRY(make_info(&value, model, info));
    model->edited = true;
    return oxp_array_insert(model, &g->output, &g->n_output, g->n_output, value);
}

oxp_status oxp_edit_remove_value_info(oxp_model *model, oxp_graph_proto *g, const char *name)
{
    for (size_t i = g->n_value_info; i > 0; i--) {
        const char *found = g->value_info[i - 1]->name;
        if (found != NULL && strcmp(found, name) == 0) {
            oxp_array_remove(&g->value_info, &g->n_value_info, i - 1);
            model->edited = true;
        }
    }
    return OXP_OK;
}
