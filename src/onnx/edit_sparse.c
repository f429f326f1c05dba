/* edit_sparse.c - initializers that list what is not zero: values, and their places in the
 * flattened tensor. */
#include "onnx/edit.h"
#include "onnx/model_internal.h"

#define SPARSE_IR 6 /* the version that they are part of */

static oxp_status fill(oxp_model *model, Onnx__SparseTensorProto *s, const oxp_sparse_list *list,
                       int rank, const int64_t *dims)
{
    const int64_t count = (int64_t)list->count;
    s->dims = oxp_arena_alloc(&model->arena, (size_t)rank, sizeof *s->dims);
    s->values = oxp_arena_alloc(&model->arena, 1, sizeof *s->values);
    s->indices = oxp_arena_alloc(&model->arena, 1, sizeof *s->indices);
    if (s->dims == NULL || s->values == NULL || s->indices == NULL)
        return oxp_out_of_memory(model);
    s->n_dims = (size_t)rank;
    for (int i = 0; i < rank; i++)
        s->dims[i] = dims[i];
    onnx__tensor_proto__init(s->values);
    onnx__tensor_proto__init(s->indices);
    OXP_TRY(oxp_tensor_fill(model, s->values, list->dtype, 1, &count, list->values));
    return oxp_tensor_fill(model, s->indices, OXP_INT64, 1, &count, list->places);
}

oxp_status oxp_edit_add_sparse_initializer(oxp_model *model, oxp_graph_proto *g, const char *name,
                                           const oxp_sparse_list *list, int rank,
                                           const int64_t *dims)
{
    Onnx__SparseTensorProto *s = oxp_arena_alloc(&model->arena, 1, sizeof *s);
    char *copy = oxp_model_strdup(model, name);
    if (s == NULL || copy == NULL)
        return oxp_out_of_memory(model);
    onnx__sparse_tensor_proto__init(s);
    OXP_TRY(fill(model, s, list, rank, dims));
    s->values->name = copy;
    if (model->proto->ir_version < SPARSE_IR)
        OXP_TRY(oxp_edit_set_ir_version(model, SPARSE_IR));
    OXP_TRY(oxp_array_insert(model, &g->sparse_initializer, &g->n_sparse_initializer,
                             g->n_sparse_initializer, s));
    model->edited = true;
    return oxp_model_note_name(model, copy);
}
