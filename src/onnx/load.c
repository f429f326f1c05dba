/* load.c - from a file or memory to a checked model, and the end of it.
 *
 * File -> look at the first bytes -> wire walker -> protobuf-c on the skeleton -> check (which
 * reads external data) -> hash. The file's bytes stay: raw_data points into them, and an unedited
 * model is written from them. */
#include <limits.h>
#include <string.h>
#include <xxhash.h>

#include "onnx/check.h"
#include "onnx/unpack.h"

ProtobufCAllocator oxp_model_allocator(oxp_model *model)
{
    return oxp_arena_allocator(&model->arena);
}

/* ---- making and freeing ---- */

static oxp_status new_model(oxp_model **out, oxp_ctx *ctx, const oxp_load_options *options)
{
    oxp_model *m;
    OXP_TRY(oxp_alloc(&m, ctx, 1, sizeof *m, "model"));
    m->ctx = ctx;
    if (options != NULL)
        m->options = *options;
    oxp_arena_init(&m->arena, ctx);
    *out = m;
    return OXP_OK;
}

static void free_bytes(uint8_t *data, oxp_mapping *mapping)
{
    if (mapping != NULL)
        oxp_mapping_close(mapping);
    else
        oxp_free(data);
}

void oxp_model_free(oxp_model *model)
{
    if (model == NULL)
        return;
    const oxp_model *base = model->base; /* what a clone shares with it is not the clone's */
    if (base == NULL || model->externals != base->externals) {
        for (size_t i = 0; i < model->external_count && !model->borrows; i++)
            free_bytes(model->externals[i].data, model->externals[i].mapping);
        oxp_free(model->externals);
    }
    if (base == NULL || model->files != base->files)
        oxp_free(model->files);
    if ((base == NULL || model->file != base->file) && !model->borrows)
        free_bytes(model->file, model->mapping);
    if (model->names_ready)
        oxp_map_free(&model->names);
    oxp_arena_free(&model->arena);
    oxp_free(model);
}

/* ---- loading ---- */

void oxp_hash_pieces(XXH3_state_t *state, oxp_ctx *ctx, const uint8_t *data, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += OXP_PIECE_BYTES) {
        size_t piece = bytes - at < OXP_PIECE_BYTES ? bytes - at : OXP_PIECE_BYTES;
        XXH3_64bits_update(state, data + at, piece);
        oxp_pages_release(ctx, data + at, piece);
    }
}

static oxp_status hash_model(oxp_model *m, const oxp_check *check)
{
    XXH3_state_t *state = XXH3_createState();
    if (state == NULL)
        return oxp_fail(m->ctx, OXP_ELIMIT, "E-LIMIT-MEM",
                        "the system refused the memory of a hash");
    XXH3_64bits_reset(state);
    oxp_hash_pieces(state, m->ctx, m->file, m->file_bytes);
    for (size_t i = 0; i < check->range_count; i++) {
        const oxp_check_range *range = &check->ranges[i];
        oxp_hash_pieces(state, m->ctx, m->externals[range->file].data + range->offset,
                        range->bytes);
    }
    m->hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return OXP_OK;
}

static oxp_status check_and_hash(oxp_model *m)
{
    oxp_check check;
    oxp_check_init(&check, m->ctx, m, OXP_EFORMAT);
    oxp_status status = oxp_check_model(&check);
    if (status == OXP_OK)
        status = hash_model(m, &check);
    oxp_check_free(&check);
    return status;
}

/* From m->file to a checked model. */
static oxp_status read_model(oxp_model *m)
{
    ProtobufCMessage *message;
    if (m->file_bytes == 0)
        return oxp_fail(m->ctx, OXP_EFORMAT, "E-EMPTY", "the model is empty");
    const char *other = oxp_sniff(m->file, m->file_bytes);
    if (other != NULL)
        return oxp_fail(m->ctx, OXP_EFORMAT, "E-NOT-ONNX", "not an ONNX model, it looks like %s",
                        other);
    OXP_TRY(oxp_unpack(&message, &m->arena, &onnx__model_proto__descriptor, m->file, m->file_bytes,
                       OXP_EFORMAT));
    m->proto = (Onnx__ModelProto *)message;
    OXP_TRY(check_and_hash(m));
    return oxp_model_align(m);
}

static oxp_status set_paths(oxp_model *m, const char *path, const char *directory)
{
    m->path = oxp_arena_strdup(&m->arena, path);
    m->directory = oxp_arena_strdup(&m->arena, directory);
    return m->path == NULL || m->directory == NULL ? m->ctx->status : OXP_OK;
}

/* The directory that relative paths of the model start from. */
static oxp_status set_path_and_directory(oxp_model *m, const char *path)
{
    OXP_TRY(set_paths(m, path, path));
    char *slash = strrchr(m->directory, '/');
    if (slash == NULL) {
        m->directory = oxp_arena_strdup(&m->arena, ".");
        return m->directory == NULL ? m->ctx->status : OXP_OK;
    }
    slash[slash == m->directory ? 1 : 0] = '\0';
    return OXP_OK;
}

static oxp_status read_file(oxp_model *m, const char *path)
{
    oxp_file_bytes file;
    OXP_TRY(set_path_and_directory(m, path));
    OXP_TRY(oxp_file_open(&file, m->ctx, path, INT_MAX, OXP_EFORMAT));
    m->file = file.data;
    m->file_bytes = file.bytes;
    m->mapping = file.mapping;
    OXP_TRY(oxp_grow(&m->files, &m->file_capacity, m->ctx, 1, sizeof *m->files));
    m->files[m->file_count++] = file.id;
    return read_model(m);
}

oxp_status oxp_model_load(oxp_model **out, oxp_ctx *ctx, const char *path,
                          const oxp_load_options *options)
{
    oxp_model *m;
    OXP_TRY(new_model(&m, ctx, options));
    const char *subject = ctx->subject;
    ctx->subject = path;
    oxp_status status = read_file(m, path);
    ctx->subject = subject;
    if (status != OXP_OK) {
        oxp_model_free(m);
        return status;
    }
    *out = m;
    return OXP_OK;
}

static oxp_status read_memory(oxp_model *m, const void *data, size_t bytes, const char *directory)
{
    OXP_TRY(set_paths(m, "", directory == NULL ? "" : directory));
    OXP_TRY(oxp_alloc_raw(&m->file, m->ctx, bytes, 1, "model"));
    m->file_bytes = bytes;
    if (bytes > 0)
        memcpy(m->file, data, bytes);
    return read_model(m);
}

oxp_status oxp_model_load_memory(oxp_model **out, oxp_ctx *ctx, const void *data, size_t bytes,
                                 const char *directory, const oxp_load_options *options)
{
    oxp_model *m;
    OXP_TRY(new_model(&m, ctx, options));
    oxp_status status = read_memory(m, data, bytes, directory);
    if (status != OXP_OK) {
        oxp_model_free(m);
        return status;
    }
    *out = m;
    return OXP_OK;
}

static oxp_status borrow(oxp_model *m, const oxp_file_bytes *file, const char *location,
                         const oxp_file_bytes *data)
{
    OXP_TRY(set_paths(m, "", ""));
    m->borrows = true;
    m->file = file->data;
    m->file_bytes = file->bytes;
    if (location == NULL)
        return read_model(m);
    OXP_TRY(oxp_grow(&m->externals, &m->external_capacity, m->ctx, 1, sizeof *m->externals));
    m->externals[m->external_count++] = (oxp_external_file){
        .location = location, .data = data->data, .bytes = data->bytes, .id = data->id};
    return read_model(m);
}

oxp_status oxp_model_load_borrowed(oxp_model **out, oxp_ctx *ctx, const oxp_file_bytes *file,
                                   const char *location, const oxp_file_bytes *data,
                                   const oxp_load_options *options)
{
    oxp_model *m;
    OXP_TRY(new_model(&m, ctx, options));
    oxp_status status = borrow(m, file, location, data);
    if (status != OXP_OK) {
        oxp_model_free(m);
        return status;
    }
    *out = m;
    return OXP_OK;
}

bool oxp_model_is_unchanged(const oxp_model *model)
{
    while (model->base != NULL)
        model = model->base;
    bool same = model->mapping == NULL || oxp_mapping_is_unchanged(model->mapping);
    for (size_t i = 0; same && i < model->external_count; i++)
        same = model->externals[i].mapping == NULL ||
               oxp_mapping_is_unchanged(model->externals[i].mapping);
    return same;
}
