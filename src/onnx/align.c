/* align.c - weights that lie where their type may not be read are moved once, when the model is
 * loaded: every graph of the model and of its clones then borrows them instead of copying.
 *
 * The main graph's raw_data in a file of up to OXP_ALIGNED_BYTES; what is elsewhere or larger is
 * copied by whoever decodes it (tensor_codec.c). */
#include <string.h>

#include "onnx/model_internal.h"

#define OXP_ALIGNED_BYTES ((size_t)512 << 20)
#define LEAST_BYTES 256 /* a copy of less costs less than its place in an arena */

static bool lies_in_file(const oxp_model *m, const ProtobufCBinaryData *raw)
{
    return raw->data >= m->file && raw->len <= m->file_bytes &&
           (size_t)(raw->data - m->file) <= m->file_bytes - raw->len;
}

static bool is_misplaced(const oxp_model *m, const Onnx__TensorProto *t)
{
    unsigned bytes = oxp_dtype_bits((oxp_dtype)t->data_type) / 8;
    return t->has_raw_data && t->raw_data.len >= LEAST_BYTES && bytes > 1 &&
           (uintptr_t)t->raw_data.data % bytes != 0 && lies_in_file(m, &t->raw_data);
}

oxp_status oxp_model_align(oxp_model *m)
{
    Onnx__GraphProto *graph = m->proto->graph;
    if (graph == NULL || m->borrows || m->file_bytes > OXP_ALIGNED_BYTES)
        return OXP_OK;
    for (size_t i = 0; i < graph->n_initializer; i++) {
        Onnx__TensorProto *t = graph->initializer[i];
        if (!is_misplaced(m, t))
            continue;
        uint8_t *moved = oxp_arena_alloc(&m->arena, t->raw_data.len, 1);
        if (moved == NULL)
            return m->ctx->status;
        memcpy(moved, t->raw_data.data, t->raw_data.len);
        oxp_pages_release(m->ctx, t->raw_data.data, t->raw_data.len);
        t->raw_data.data = moved;
    }
    return OXP_OK;
}
