/* save_pair.c - a model in two files: the messages, and the data of the larger initializers.
 *
 * What is packed is a copy of the model whose initializers refer to the data file. Attributes,
 * sparse tensors and typed fields stay in the model: not every reader looks elsewhere for them. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "onnx/external.h"
#include "onnx/save.h"
#include "onnx/wire.h"

#define EXTERNAL_BYTES_MIN ((size_t)1024) /* below, the reference would be as long as the data */
#define PAGE_ALIGNED_BYTES ((size_t)1 << 20)
#define SMALL_ALIGNMENT ((size_t)64)
#define PAGE_ALIGNMENT ((size_t)4096)

typedef struct placed {
    const uint8_t *data;
    size_t bytes, offset;
    bool is_repeated; /* an earlier one has the same bytes */
} placed;

typedef struct layout {
    oxp_model *model; /* the copy that is packed */
    const char *location;
    placed *items;
    size_t count, capacity, bytes;
    oxp_map seen; /* addresses of data, to the item that has them */
} layout;

/* ---- who goes where ---- */

static oxp_status add_property(oxp_model *model, Onnx__TensorProto *t, const char *key,
                               const char *value)
{
    Onnx__StringStringEntryProto *entry = oxp_arena_alloc(&model->arena, 1, sizeof *entry);
    if (entry == NULL)
        return oxp_out_of_memory(model);
    onnx__string_string_entry_proto__init(entry);
    entry->key = oxp_model_strdup(model, key);
    entry->value = oxp_model_strdup(model, value);
    if (entry->key == NULL || entry->value == NULL)
        return oxp_out_of_memory(model);
    return oxp_array_insert(model, &t->external_data, &t->n_external_data, t->n_external_data,
                            entry);
}

static oxp_status refer(const layout *l, Onnx__TensorProto *t, const placed *p)
{
    char number[24];
    t->has_raw_data = 0;
    t->raw_data = (ProtobufCBinaryData){0};
    t->has_data_location = 1;
    t->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
    OXP_TRY(add_property(l->model, t, "location", l->location));
    snprintf(number, sizeof number, "%zu", p->offset);
    OXP_TRY(add_property(l->model, t, "offset", number));
    snprintf(number, sizeof number, "%zu", p->bytes);
    return add_property(l->model, t, "length", number);
}

static oxp_status place(layout *l, Onnx__TensorProto *t)
{
    placed p = {.data = t->raw_data.data, .bytes = t->raw_data.len};
    const char *key =
        oxp_arena_printf(&l->model->arena, "%" PRIxPTR "/%zu", (uintptr_t)p.data, p.bytes);
    if (key == NULL)
        return oxp_out_of_memory(l->model);
    size_t known = oxp_map_get(&l->seen, key);
    if (known != OXP_MAP_NONE) {
        p.offset = l->items[known].offset;
        p.is_repeated = true;
    } else {
        size_t alignment = p.bytes >= PAGE_ALIGNED_BYTES ? PAGE_ALIGNMENT : SMALL_ALIGNMENT;
        size_t end;
        if (!oxp_add_ok(l->bytes, alignment - 1, &p.offset) ||
            !oxp_add_ok(p.offset &= ~(alignment - 1), p.bytes, &end) || end > (size_t)INT64_MAX)
            return oxp_fail(l->model->ctx, OXP_ELIMIT, "E-LIMIT-FILE",
                            "the model's data has more bytes than a file can have");
        l->bytes = end;
        OXP_TRY(oxp_map_put(&l->seen, key, l->count));
    }
    OXP_TRY(oxp_grow(&l->items, &l->capacity, l->model->ctx, l->count + 1, sizeof *l->items));
    l->items[l->count++] = p;
    return refer(l, t, &p);
}

static oxp_status place_all(layout *l)
{
    oxp_scopes scopes = {0};
    oxp_status status = oxp_scopes_collect(&scopes, l->model->ctx, l->model->proto->graph);
    for (size_t s = 0; status == OXP_OK && s < scopes.count; s++) {
        const Onnx__GraphProto *g = scopes.items[s].g;
        for (size_t i = 0; status == OXP_OK && i < g->n_initializer; i++)
            if (g->initializer[i]->has_raw_data &&
                g->initializer[i]->raw_data.len >= EXTERNAL_BYTES_MIN)
                status = place(l, g->initializer[i]);
    }
    oxp_free(scopes.items);
    return status;
}

/* ---- writing ---- */

static oxp_status write_data(oxp_output_file *output, const layout *l)
{
    static const uint8_t zeros[4096];
    size_t at = 0;
    for (size_t i = 0; i < l->count; i++) {
        const placed *p = &l->items[i];
        if (p->is_repeated)
            continue;
        OXP_TRY(oxp_output_write(output, zeros, p->offset - at));
        OXP_TRY(oxp_write_pieces(output, l->model->ctx, p->data, p->bytes));
        at = p->offset + p->bytes;
    }
    return OXP_OK;
}

static oxp_status verify_data(const oxp_file_bytes *data, const layout *l)
{
    for (size_t i = 0; i < l->count; i++) {
        const placed *p = &l->items[i];
        if (p->offset + p->bytes > data->bytes ||
            !oxp_same_pieces(l->model->ctx, data->data + p->offset, p->data, p->bytes))
            return oxp_fail(l->model->ctx, OXP_EINTERNAL, "E-VERIFY",
                            "the written data differs from the model's at offset %zu", p->offset);
    }
    return OXP_OK;
}

static oxp_status verify(const oxp_model_pair *pair, const layout *l)
{
    oxp_file_bytes file, data = {0};
    OXP_TRY(oxp_output_read_back(&file, pair->model));
    oxp_status status = oxp_output_read_back(&data, pair->data);
    if (status == OXP_OK)
        status = verify_data(&data, l);
    if (status == OXP_OK)
        status = oxp_model_verify(l->model, &file, l->location, &data);
    oxp_file_close(&file);
    oxp_file_close(&data);
    return status;
}

static oxp_status write_both(const oxp_model_pair *pair, layout *l)
{
    OXP_TRY(place_all(l));
    l->model->edited = true;
    size_t bytes = protobuf_c_message_get_packed_size(&l->model->proto->base);
    OXP_TRY(oxp_model_check_bytes(l->model, bytes));
    OXP_TRY(oxp_output_reserve(pair->data, l->bytes));
    OXP_TRY(write_data(pair->data, l));
    OXP_TRY(oxp_model_stream(pair->model, l->model, bytes));
    return verify(pair, l);
}

oxp_status oxp_model_write_pair(const oxp_model_pair *pair, oxp_model *model)
{
    layout l = {.location = pair->location};
    OXP_TRY(oxp_model_take_in(model));
    OXP_TRY(oxp_model_clone(&l.model, model));
    oxp_map_init(&l.seen, model->ctx);
    oxp_status status = write_both(pair, &l);
    oxp_map_free(&l.seen);
    oxp_free(l.items);
    oxp_model_free(l.model);
    return status;
}

static oxp_status size_of(size_t *bytes, uint64_t *hash, layout *l)
{
    OXP_TRY(place_all(l));
    size_t size = protobuf_c_message_get_packed_size(&l->model->proto->base);
    OXP_TRY(oxp_model_check_bytes(l->model, size));
    uint8_t *packed;
    OXP_TRY(oxp_alloc_raw(&packed, l->model->ctx, size, 1, "packed model"));
    XXH3_state_t *state = XXH3_createState();
    if (state != NULL) {
        protobuf_c_message_pack(&l->model->proto->base, packed);
        XXH3_64bits_reset(state);
        XXH3_64bits_update(state, packed, size);
        for (size_t i = 0; i < l->count; i++)
            oxp_hash_pieces(state, l->model->ctx, l->items[i].data, l->items[i].bytes);
        *hash = XXH3_64bits_digest(state);
        *bytes = size + l->bytes;
    }
    XXH3_freeState(state);
    oxp_free(packed);
    return state != NULL ? OXP_OK
                         : oxp_fail(l->model->ctx, OXP_ELIMIT, "E-LIMIT-MEM",
                                    "the system refused the memory of a hash");
}

oxp_status oxp_model_pair_size(size_t *bytes, uint64_t *hash, oxp_model *model,
                               const char *location)
{
    layout l = {.location = location};
    OXP_TRY(oxp_model_take_in(model));
    OXP_TRY(oxp_model_clone(&l.model, model));
    oxp_map_init(&l.seen, model->ctx);
    oxp_status status = size_of(bytes, hash, &l);
    oxp_map_free(&l.seen);
    oxp_free(l.items);
    oxp_model_free(l.model);
    return status;
}

const char *oxp_model_location_fault(const char *location)
{
    const char *fault = oxp_external_location_fault(location);
    if (fault != NULL)
        return fault;
    size_t bytes = strlen(location);
    return oxp_utf8_prefix((const uint8_t *)location, bytes) == bytes ? NULL : "it is not UTF-8";
}

/* ---- reading back ---- */

oxp_status oxp_read_back_open(oxp_read_back *out, oxp_ctx *ctx, const oxp_model_pair *pair,
                              const oxp_load_options *options)
{
    oxp_read_back back = {0};
    OXP_TRY(oxp_output_read_back(&back.file, pair->model));
    oxp_status status = pair->data == NULL ? OXP_OK : oxp_output_read_back(&back.data, pair->data);
    if (status == OXP_OK)
        status = oxp_model_load_borrowed(&back.model, ctx, &back.file,
                                         pair->data == NULL ? NULL : pair->location, &back.data,
                                         options);
    if (status != OXP_OK) {
        oxp_read_back_close(&back);
        return status;
    }
    *out = back;
    return OXP_OK;
}

void oxp_read_back_close(oxp_read_back *back)
{
    oxp_model_free(back->model);
    oxp_file_close(&back->file);
    oxp_file_close(&back->data);
    back->model = NULL;
}
