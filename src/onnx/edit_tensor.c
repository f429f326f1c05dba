/* edit_tensor.c - initializers and the contents of tensors.
 *
 * New data is always raw_data: C order, little endian, 4 and 2 bits packed with the first element
 * in the low bits. */
#include "onnx/edit.h"
#include "onnx/model_internal.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "raw_data is copied as it is");

/* The IR version that introduced an element type. */
static int64_t ir_for_dtype(oxp_dtype dtype)
{
    switch (dtype) {
    case OXP_BFLOAT16:
        return 4;
    case OXP_FLOAT8E4M3FN:
    case OXP_FLOAT8E4M3FNUZ:
    case OXP_FLOAT8E5M2:
    case OXP_FLOAT8E5M2FNUZ:
        return 9;
    case OXP_UINT4:
    case OXP_INT4:
        return 10;
    case OXP_FLOAT4E2M1:
        return 11;
    case OXP_FLOAT8E8M0:
        return 12;
    case OXP_UINT2:
    case OXP_INT2:
        return 13;
    default:
        return 0;
    }
}

static oxp_status need_ir(oxp_model *model, int64_t version)
{
    return model->proto->ir_version < version ? oxp_edit_set_ir_version(model, version) : OXP_OK;
}

static void drop_contents(Onnx__TensorProto *t)
{
    t->segment = NULL;
    t->n_float_data = t->n_int32_data = t->n_string_data = 0;
    t->n_int64_data = t->n_double_data = t->n_uint64_data = 0;
    t->n_external_data = 0;
    t->has_data_location = 0;
}

oxp_status oxp_tensor_fill(oxp_model *model, Onnx__TensorProto *t, oxp_dtype dtype, int rank,
                           const int64_t *dims, const void *data)
{
    const char *name = t->name == NULL ? "" : t->name;
    char quoted[OXP_QUOTED_MAX];
    if (oxp_dtype_bits(dtype) == 0)
        return oxp_fail(model->ctx, OXP_EINTERNAL, "E-EDIT", "tensor %s cannot be of type %s",
                        oxp_quote(quoted, name), oxp_dtype_name(dtype));
    oxp_tensor shape = {0};
    OXP_TRY(oxp_tensor_shape(&shape, model->ctx, dtype, rank, dims, name));
    size_t bytes = oxp_tensor_bytes(&shape);
    int64_t *dims_copy = oxp_arena_alloc(&model->arena, (size_t)rank, sizeof *dims_copy);
    uint8_t *data_copy = oxp_arena_alloc(&model->arena, bytes, 1);
    if (dims_copy == NULL || data_copy == NULL)
        return oxp_out_of_memory(model);
    if (rank > 0)
        memcpy(dims_copy, dims, (size_t)rank * sizeof *dims_copy);
    if (bytes > 0)
        memcpy(data_copy, data, bytes);
    oxp_pages_release(model->ctx, data, bytes);
    oxp_pages_release(model->ctx, data_copy, bytes);
    OXP_TRY(need_ir(model, ir_for_dtype(dtype)));

    drop_contents(t);
    t->dims = dims_copy;
    t->n_dims = (size_t)rank;
    t->has_data_type = 1;
    t->data_type = (int32_t)dtype;
    t->has_raw_data = 1;
    t->raw_data = (ProtobufCBinaryData){bytes, data_copy};
    model->edited = true;
    return OXP_OK;
}

oxp_status oxp_edit_set_tensor(oxp_model *model, oxp_tensor_proto *t, oxp_dtype dtype, int rank,
                               const int64_t *dims, const void *data)
{
    return oxp_tensor_fill(model, t, dtype, rank, dims, data);
}

/* An initializer that is no input is new in IR 4. */
oxp_status oxp_edit_add_initializer(oxp_model *model, oxp_graph_proto *g, const char *name,
                                    oxp_dtype dtype, int rank, const int64_t *dims,
                                    const void *data)
{
    Onnx__TensorProto *t = oxp_arena_alloc(&model->arena, 1, sizeof *t);
    char *copy = oxp_model_strdup(model, name);
    if (t == NULL || copy == NULL)
        return oxp_out_of_memory(model);
    onnx__tensor_proto__init(t);
    t->name = copy;
    OXP_TRY(oxp_tensor_fill(model, t, dtype, rank, dims, data));
    OXP_TRY(need_ir(model, 4));
    OXP_TRY(oxp_array_insert(model, &g->initializer, &g->n_initializer, g->n_initializer, t));
    model->edited = true;
    return oxp_model_note_name(model, copy);
}

static bool is_named(const char *name, const char *expected)
{
    return name != NULL && strcmp(name, expected) == 0;
}

oxp_status oxp_edit_remove_initializer(oxp_model *model, oxp_graph_proto *g, const char *name)
{
    size_t before = g->n_initializer + g->n_sparse_initializer;
    for (size_t i = g->n_initializer; i > 0; i--)
        if (is_named(g->initializer[i - 1]->name, name))
            oxp_array_remove(&g->initializer, &g->n_initializer, i - 1);
    for (size_t i = g->n_sparse_initializer; i > 0; i--) {
        const Onnx__TensorProto *values = g->sparse_initializer[i - 1]->values;
        if (values != NULL && is_named(values->name, name))
            oxp_array_remove(&g->sparse_initializer, &g->n_sparse_initializer, i - 1);
    }
    char quoted[OXP_QUOTED_MAX];
    if (g->n_initializer + g->n_sparse_initializer == before)
        return oxp_fail(model->ctx, OXP_EINTERNAL, "E-EDIT",
                        "initializer %s is to be removed from a graph that does not have it",
                        oxp_quote(quoted, name));
    for (size_t i = g->n_input; i > 0; i--)
        if (is_named(g->input[i - 1]->name, name))
            oxp_array_remove(&g->input, &g->n_input, i - 1);
    model->edited = true;
    return OXP_OK;
}
