/* clone.c - models that are not loaded: empty ones to build, and copies to change.
 *
 * A copy owns its messages and shares the bytes, strings and numbers in them, so it costs little
 * beside the weights. It stays byte-identical to the file as long as it is not edited. */
#include "onnx/edit.h"
#include "onnx/model_internal.h"

#include <string.h>

static oxp_status start_model(oxp_model **out, oxp_ctx *ctx)
{
    oxp_model *model;
    OXP_TRY(oxp_alloc(&model, ctx, 1, sizeof *model, "model"));
    model->ctx = ctx;
    oxp_arena_init(&model->arena, ctx);
    oxp_map_init(&model->names, ctx);
    *out = model;
    return OXP_OK;
}

static void *arena_message(oxp_model *model, const ProtobufCMessageDescriptor *descriptor)
{
    ProtobufCMessage *m = oxp_arena_alloc(&model->arena, 1, descriptor->sizeof_message);
    if (m != NULL)
        protobuf_c_message_init(descriptor, m);
    return m;
}

static oxp_status fill_new_model(oxp_model *model, int64_t opset)
{
    Onnx__ModelProto *proto = arena_message(model, &onnx__model_proto__descriptor);
    Onnx__GraphProto *graph = arena_message(model, &onnx__graph_proto__descriptor);
    char *producer = oxp_model_strdup(model, "onnxpress");
    char *name = oxp_model_strdup(model, "graph");
    model->path = oxp_model_strdup(model, "");
    model->directory = oxp_model_strdup(model, "");
    if (proto == NULL || graph == NULL || producer == NULL || name == NULL || model->path == NULL ||
        model->directory == NULL)
        return oxp_out_of_memory(model);
    proto->has_ir_version = 1;
    proto->ir_version = 8;
    proto->producer_name = producer;
    proto->graph = graph;
    graph->name = name;
    model->proto = proto;
    model->edited = true;
    return oxp_edit_set_opset(model, "", opset);
}

oxp_status oxp_model_new(oxp_model **out, oxp_ctx *ctx, int64_t opset)
{
    oxp_model *model;
    OXP_TRY(start_model(&model, ctx));
    oxp_status status = fill_new_model(model, opset);
    if (status != OXP_OK) {
        oxp_model_free(model);
        return status;
    }
    *out = model;
    return OXP_OK;
}

static oxp_status fill_clone(oxp_model *clone, const oxp_model *model)
{
    ProtobufCMessage *proto;
    OXP_TRY(oxp_message_clone(&proto, &clone->arena, &model->proto->base));
    clone->proto = (Onnx__ModelProto *)(void *)proto;
    clone->path = oxp_model_strdup(clone, model->path);
    clone->directory = oxp_model_strdup(clone, model->directory);
    if (clone->path == NULL || clone->directory == NULL)
        return oxp_out_of_memory(clone);
    OXP_TRY(oxp_grow(&clone->files, &clone->file_capacity, clone->ctx, model->file_count,
                     sizeof *clone->files));
    for (size_t i = 0; i < model->file_count; i++)
        clone->files[clone->file_count++] = model->files[i];
    clone->base = model;
    clone->functions = model->functions;
    clone->file_bytes = model->file_bytes;
    clone->options = model->options;
    clone->hash = model->hash;
    clone->edited = model->edited;
    return OXP_OK;
}

oxp_status oxp_model_clone(oxp_model **out, oxp_model *model)
{
    oxp_model *clone;
    OXP_TRY(start_model(&clone, model->ctx));
    oxp_status status = fill_clone(clone, model);
    if (status != OXP_OK) {
        oxp_model_free(clone);
        return status;
    }
    *out = clone;
    return OXP_OK;
}
