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

void oxp_model_free(oxp_model *model)
{
    if (model == NULL)
        return;
    const oxp_model *base = model->base; /* what a clone shares with it is not the clone's */
    if (base == NULL || model->externals != base->externals) {
        for (size_t i = 0; i < model->external_count; i++)
            oxp_free(model->externals[i].data);
        oxp_free(model->externals);
    }
    if (base == NULL || model->files != base->files)
        oxp_free(model->files);
    if (base == NULL || model->file != base->file)
        oxp_free(model->file);
    if (model->names_ready)
        oxp_map_free(&model->names);
    oxp_arena_free(&model->arena);
    oxp_free(model);
}

/* ---- loading ---- */

static oxp_status hash_model(oxp_model *m, const oxp_check *check)
{
    m->hash = XXH3_64bits(m->file, m->file_bytes);
    if (check->range_count == 0)
        return OXP_OK;
    XXH3_state_t *state = XXH3_createState();
    if (state == NULL)
        return oxp_fail(m->ctx, OXP_ELIMIT, "E-LIMIT-MEM",
                        "the system refused the memory of a hash");
    XXH3_64bits_reset(state);
    XXH3_64bits_update(state, m->file, m->file_bytes);
    for (size_t i = 0; i < check->range_count; i++) {
        const oxp_check_range *range = &check->ranges[i];
        XXH3_64bits_update(state, m->externals[range->file].data + range->offset, range->bytes);
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
    return check_and_hash(m);
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
    oxp_file_id id;
    OXP_TRY(set_path_and_directory(m, path));
    OXP_TRY(oxp_file_read(&m->file, &m->file_bytes, m->ctx, path, INT_MAX, OXP_EFORMAT, &id));
    OXP_TRY(oxp_grow(&m->files, &m->file_capacity, m->ctx, 1, sizeof *m->files));
    m->files[m->file_count++] = id;
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
