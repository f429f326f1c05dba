/* tensor_file.c - a TensorProto file: walked, unpacked and checked like a tensor of a model, then
 * copied out, so that nothing of the file stays. */
#include "onnx/tensor_file.h"

#include <limits.h>
#include <string.h>

#include "onnx/check.h"
#include "onnx/unpack.h"

static oxp_status check_alone(oxp_ctx *ctx, const Onnx__TensorProto *t)
{
    oxp_check check;
    oxp_check_init(&check, ctx, NULL, OXP_EDATA);
    check.kind = "tensor";
    check.name = t->name;
    oxp_status status = oxp_check_tensor(&check, t, OXP_NONFINITE_KEEP);
    oxp_check_free(&check);
    return status;
}

/* A tensor that borrows from the file or from the unpacked message gets its data in `arena`. */
static oxp_status copy_data(oxp_tensor *t, oxp_arena *arena)
{
    size_t bytes = oxp_tensor_bytes(t);
    if (t->data == NULL)
        return OXP_OK;
    void *data = oxp_arena_alloc(arena, bytes, 1);
    if (data == NULL)
        return arena->ctx->status;
    if (bytes > 0)
        memcpy(data, t->data, bytes);
    t->data = data;
    return OXP_OK;
}

static oxp_status read_tensor(oxp_tensor *out, const char **name, oxp_arena *arena,
                              oxp_arena *scratch, uint8_t *file, size_t bytes)
{
    oxp_ctx *ctx = arena->ctx;
    ProtobufCMessage *message;
    oxp_tensor tensor;
    OXP_TRY(oxp_unpack(&message, scratch, &onnx__tensor_proto__descriptor, file, bytes, OXP_EDATA));
    const Onnx__TensorProto *t = (const Onnx__TensorProto *)message;
    OXP_TRY(check_alone(ctx, t));
    OXP_TRY(oxp_tensor_decode(&tensor, scratch, NULL, t));
    OXP_TRY(copy_data(&tensor, arena));
    const char *copy = oxp_arena_strdup(arena, t->name == NULL ? "" : t->name);
    if (copy == NULL)
        return ctx->status;
    *out = tensor;
    *name = copy;
    return OXP_OK;
}

oxp_status oxp_tensor_file_read(oxp_tensor *out, const char **name, oxp_arena *arena, oxp_ctx *ctx,
                                const char *path)
{
    uint8_t *file;
    size_t bytes;
    oxp_arena scratch;
    OXP_TRY(oxp_file_read(&file, &bytes, ctx, path, INT_MAX, OXP_EDATA, NULL));
    const char *subject = ctx->subject;
    ctx->subject = path;
    oxp_arena_init(&scratch, ctx);
    oxp_status status = read_tensor(out, name, arena, &scratch, file, bytes);
    oxp_arena_free(&scratch);
    ctx->subject = subject;
    oxp_free(file);
    return status;
}
