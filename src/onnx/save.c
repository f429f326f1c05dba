/* save.c - packs a model and writes it.
 *
 * A model that nobody changed goes out as the bytes that it came from. Otherwise protobuf-c packs:
 * fields by number, unknown fields behind them. It appends through a callback that cannot fail, so
 * the first error waits in the stream. Small pieces are gathered, tensors go out where they lie.
 * The input's external data becomes raw_data; how it goes into a second file stands in
 * save_pair.c. */
#include "onnx/save.h"
#include "onnx/model_internal.h"
#include "onnx/tensor_codec.h"

#include <string.h>

#define GATHER_BYTES ((size_t)64 * 1024)

/* ---- external data ---- */

static oxp_status take_in(void *user, ProtobufCMessage *m)
{
    oxp_model *model = user;
    if (m->descriptor != &onnx__tensor_proto__descriptor)
        return OXP_OK;
    Onnx__TensorProto *t = (Onnx__TensorProto *)(void *)m;
    if (!t->has_data_location || t->data_location != ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL)
        return OXP_OK;
    size_t count, needed;
    char quoted[OXP_QUOTED_MAX];
    if (!oxp_data_extent((oxp_dtype)t->data_type, t->n_dims, t->dims, &count, &needed))
        return oxp_fail(model->ctx, OXP_EFORMAT, "E-SHAPE-OVERFLOW",
                        "tensor %s: its size cannot be represented",
                        oxp_quote(quoted, t->name == NULL ? "" : t->name));
    const uint8_t *bytes = NULL;
    OXP_TRY(oxp_external_bytes(&bytes, model, t, needed));
    t->n_external_data = 0;
    t->has_data_location = 0;
    t->has_raw_data = 1;
    t->raw_data = (ProtobufCBinaryData){needed, (uint8_t *)(uintptr_t)bytes};
    model->edited = true;
    return OXP_OK;
}

/* ---- size ---- */

/* The file's bytes, as long as they say what the model says. A copy has those of its original. */
static const oxp_model *original_of(const oxp_model *model)
{
    if (model->edited)
        return NULL;
    while (model->file == NULL && model->base != NULL)
        model = model->base;
    return model->file == NULL ? NULL : model;
}

oxp_status oxp_model_take_in(oxp_model *model)
{
    return oxp_message_visit(model->ctx, &model->proto->base, take_in, model);
}

static oxp_status prepare(size_t *bytes, oxp_model *model)
{
    OXP_TRY(oxp_model_take_in(model));
    const oxp_model *original = original_of(model);
    *bytes = original != NULL ? original->file_bytes
                              : protobuf_c_message_get_packed_size(&model->proto->base);
    return OXP_OK;
}

oxp_status oxp_model_check_bytes(const oxp_model *model, size_t bytes)
{
    if (bytes <= OXP_MODEL_BYTES_MAX)
        return OXP_OK;
    return oxp_fail(model->ctx, OXP_ELIMIT, "E-LIMIT-FILE",
                    "the model to be written has %zu bytes, the limit is %zu", bytes,
                    OXP_MODEL_BYTES_MAX);
}

size_t oxp_model_packed_bytes(oxp_model *model)
{
    size_t bytes;
    return prepare(&bytes, model) == OXP_OK ? bytes : 0;
}

oxp_status oxp_model_pack(uint8_t **out, size_t *bytes, oxp_model *model)
{
    size_t size;
    uint8_t *data;
    OXP_TRY(prepare(&size, model));
    OXP_TRY(oxp_model_check_bytes(model, size));
    OXP_TRY(oxp_alloc_raw(&data, model->ctx, size, 1, "packed model"));
    const oxp_model *original = original_of(model);
    if (original != NULL)
        memcpy(data, original->file, size);
    else
        protobuf_c_message_pack(&model->proto->base, data);
    *out = data;
    *bytes = size;
    return OXP_OK;
}

/* ---- writing ---- */

oxp_status oxp_write_pieces(oxp_output_file *output, oxp_ctx *ctx, const uint8_t *data,
                            size_t bytes)
{
    for (size_t at = 0; at < bytes; at += OXP_PIECE_BYTES) {
        size_t piece = bytes - at < OXP_PIECE_BYTES ? bytes - at : OXP_PIECE_BYTES;
        OXP_TRY(oxp_output_write(output, data + at, piece));
        oxp_pages_release(ctx, data + at, piece);
        OXP_TRY(oxp_progress(ctx, "write", at, bytes));
    }
    return OXP_OK;
}

typedef struct stream {
    ProtobufCBuffer base;
    oxp_output_file *output;
    oxp_ctx *ctx;
    oxp_status status; /* of the first write that failed; then nothing more is written */
    size_t gathered, total;
    uint8_t *buffer; /* GATHER_BYTES */
} stream;

static void flush(stream *s)
{
    if (s->status == OXP_OK && s->gathered > 0)
        s->status = oxp_output_write(s->output, s->buffer, s->gathered);
    s->gathered = 0;
}

static void append(ProtobufCBuffer *buffer, size_t bytes, const uint8_t *data)
{
    stream *s = (stream *)buffer;
    if (s->status != OXP_OK || bytes == 0)
        return;
    s->total += bytes;
    if (bytes > GATHER_BYTES - s->gathered)
        flush(s);
    if (bytes < GATHER_BYTES) {
        memcpy(s->buffer + s->gathered, data, bytes);
        s->gathered += bytes;
    } else if (s->status == OXP_OK) {
        s->status = oxp_write_pieces(s->output, s->ctx, data, bytes);
    }
}

oxp_status oxp_model_stream(oxp_output_file *output, oxp_model *model, size_t bytes)
{
    stream s = {.base = {.append = append}, .output = output, .ctx = model->ctx};
    OXP_TRY(oxp_alloc_raw(&s.buffer, model->ctx, GATHER_BYTES, 1, "write buffer"));
    protobuf_c_message_pack_to_buffer(&model->proto->base, &s.base);
    flush(&s);
    oxp_free(s.buffer);
    OXP_TRY(s.status);
    if (s.total != bytes)
        return oxp_fail(model->ctx, OXP_EINTERNAL, "E-VERIFY",
                        "%zu bytes were packed, expected %zu", s.total, bytes);
    return OXP_OK;
}

/* ---- verification ---- */

static oxp_status differs(const oxp_model *model, const char *what)
{
    return oxp_fail(model->ctx, OXP_EINTERNAL, "E-VERIFY",
                    "the written file does not say what the model says: %s", what);
}

static oxp_status compare_with(const oxp_model *model, const oxp_model *written)
{
    const char *difference;
    char text[OXP_FIELD_TEXT_MAX];
    OXP_TRY(oxp_message_compare(&difference, text, model->ctx, &model->proto->base,
                                &written->proto->base));
    return difference == NULL ? OXP_OK : differs(model, difference);
}

/* Loads in a context of its own: that the loader refuses our bytes is our error, not the
 * input's. */
oxp_status oxp_model_verify(const oxp_model *model, const oxp_file_bytes *file,
                            const char *location, const oxp_file_bytes *data)
{
    oxp_ctx loading;
    oxp_model *written = NULL;
    oxp_ctx_child(&loading, model->ctx);
    loading.subject = NULL;
    oxp_status status =
        oxp_model_load_borrowed(&written, &loading, file, location, data, &model->options);
    if (status == OXP_OK)
        status = compare_with(model, written);
    else if (status == OXP_ELIMIT || status == OXP_ECANCELLED)
        status = oxp_ctx_join(model->ctx, &loading);
    else
        status = oxp_fail(model->ctx, OXP_EINTERNAL, "E-VERIFY",
                          "the written file does not load: %s %s", loading.code, loading.message);
    oxp_model_free(written);
    return status;
}

static oxp_status verify(oxp_output_file *output, const oxp_model *model)
{
    oxp_file_bytes file;
    OXP_TRY(oxp_output_read_back(&file, output));
    const oxp_model *original = original_of(model);
    oxp_status status = OXP_OK;
    if (original == NULL)
        status = oxp_model_verify(model, &file, NULL, NULL);
    else if (file.bytes != original->file_bytes ||
             !oxp_same_pieces(model->ctx, file.data, original->file, file.bytes))
        status = differs(model, "its bytes are not the original ones");
    oxp_file_close(&file);
    return status;
}

oxp_status oxp_model_write(oxp_output_file *output, oxp_model *model)
{
    size_t bytes;
    OXP_TRY(prepare(&bytes, model));
    OXP_TRY(oxp_model_check_bytes(model, bytes));
    OXP_TRY(oxp_output_reserve(output, bytes));
    const oxp_model *original = original_of(model);
    if (original != NULL)
        OXP_TRY(oxp_write_pieces(output, model->ctx, original->file, bytes));
    else
        OXP_TRY(oxp_model_stream(output, model, bytes));
    return verify(output, model);
}
