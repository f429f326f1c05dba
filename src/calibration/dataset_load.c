/* dataset_load.c - reads one set of a dataset: a .npz, a .npy, a folder of TensorProto files, or
 * arrays from memory.
 *
 * Names are looked up before any array is read. Everything is checked again when a set is read
 * again. */
#include <string.h>
#include <sys/stat.h>

#define XXH_STATIC_LINKING_ONLY /* the state's size, so that it lies in our memory */
#include <xxhash.h>

#include "calibration/dataset_internal.h"
#include "calibration/npy.h"
#include "calibration/npz.h"
#include "onnx/tensor_file.h"

#define NAMES_LISTED 8

struct data_hasher {
    XXH3_state_t state;
};

oxp_status oxp_hasher_new(data_hasher **out, oxp_ctx *ctx)
{
    data_hasher *h;
    OXP_TRY(oxp_alloc(&h, ctx, 1, sizeof *h, "hash"));
    XXH3_64bits_reset(&h->state);
    *out = h;
    return OXP_OK;
}

void oxp_hasher_add(data_hasher *h, const void *data, size_t bytes)
{
    if (bytes > 0)
        XXH3_64bits_update(&h->state, data, bytes);
}

uint64_t oxp_hasher_value(const data_hasher *h)
{
    return XXH3_64bits_digest(&h->state);
}

/* ---- names ---- */

typedef const char *name_at(const void *user, size_t i);

/* "\"a\", \"b\", … (40)" */
static const char *list_names(oxp_arena *arena, const void *user, size_t count, name_at *name)
{
    char quoted[OXP_QUOTED_MAX];
    const char *list = count == 0 ? "none" : "";
    for (size_t i = 0; i < count && i < NAMES_LISTED && list != NULL; i++)
        list = oxp_arena_printf(arena, "%s%s%s", list, i == 0 ? "" : ", ",
                                oxp_quote(quoted, name(user, i)));
    if (count > NAMES_LISTED && list != NULL)
        list = oxp_arena_printf(arena, "%s and %zu more", list, count - NAMES_LISTED);
    return list;
}

static const char *input_name(const void *user, size_t i)
{
    return ((const oxp_dataset *)user)->slots[i].info.name;
}

static const char *output_name(const void *user, size_t i)
{
    const oxp_dataset *d = user;
    return d->slots[d->input_count + i].info.name;
}

typedef size_t slot_at(const oxp_dataset *d, const void *user, size_t i);

/* The keys of a set, however it holds them. */
typedef struct key_list {
    const void *user;
    size_t count;
    name_at *name;
    slot_at *slot; /* NULL: by the name alone */
} key_list;

/* E-CALIB-NAME with both sides. */
static oxp_status name_error(oxp_ctx *ctx, const oxp_dataset *d, const key_list *keys,
                             const char *name, const char *before, const char *after)
{
    char quoted[OXP_QUOTED_MAX];
    oxp_arena scratch;
    oxp_arena_init(&scratch, ctx);
    const char *found = list_names(&scratch, keys->user, keys->count, keys->name);
    const char *inputs = list_names(&scratch, d, d->input_count, input_name);
    const char *outputs = list_names(&scratch, d, d->output_count, output_name);
    oxp_status status = OXP_ELIMIT;
    if (found != NULL && inputs != NULL && outputs != NULL)
        status = oxp_fail(ctx, OXP_EDATA, "E-CALIB-NAME",
                          "%s %s %s; the data has: %s; the model has inputs: %s; outputs: %s",
                          before, oxp_quote(quoted, name), after, found, inputs, outputs);
    oxp_arena_free(&scratch);
    return status;
}

/* The slot of every key; each at most once, and every input that must be there is. */
static oxp_status find_slots(oxp_ctx *ctx, const oxp_dataset *d, const key_list *keys,
                             size_t *slots)
{
    bool *given;
    oxp_status status = OXP_OK;
    OXP_TRY(oxp_alloc(&given, ctx, d->slot_count, sizeof *given, "keys"));
    for (size_t i = 0; i < keys->count && status == OXP_OK; i++) {
        const char *key = keys->name(keys->user, i);
        slots[i] =
            keys->slot == NULL ? oxp_map_get(&d->slot_of, key) : keys->slot(d, keys->user, i);
        if (slots[i] == OXP_MAP_NONE)
            status =
                name_error(ctx, d, keys, key, "key", "is neither an input, an output nor labels");
        else if (given[slots[i]])
            status = name_error(ctx, d, keys, key, "key", "stands twice");
        else
            given[slots[i]] = true;
    }
    for (size_t i = 0; i < d->input_count && status == OXP_OK; i++)
        if (!given[i] && !d->slots[i].optional)
            status = name_error(ctx, d, keys, d->slots[i].info.name, "input", "has no data");
    oxp_free(given);
    return status;
}

/* ---- sets in memory ---- */

static oxp_status new_set(loaded_set **out, oxp_ctx *ctx, const oxp_dataset *d, size_t index)
{
    loaded_set *l;
    OXP_TRY(oxp_alloc(&l, ctx, 1, sizeof *l, "set of samples"));
    oxp_arena_init(&l->arena, ctx);
    l->references = 1;
    l->set = index;
    l->slot_count = d->slot_count;
    oxp_status status =
        oxp_alloc(&l->tensors, ctx, d->slot_count, sizeof *l->tensors, "set of samples");
    if (status != OXP_OK) {
        oxp_free(l);
        return status;
    }
    *out = l;
    return OXP_OK;
}

void oxp_set_free(loaded_set *l)
{
    if (l == NULL)
        return;
    for (size_t i = 0; i < l->slot_count; i++)
        oxp_tensor_release(&l->tensors[i]);
    oxp_free(l->tensors);
    oxp_arena_free(&l->arena);
    oxp_file_close(&l->file);
    oxp_free(l);
}

static oxp_status add_file_id(oxp_dataset *d, oxp_file_id id)
{
    OXP_TRY(oxp_grow(&d->files, &d->file_capacity, d->ctx, d->file_count + 1, sizeof *d->files));
    d->files[d->file_count++] = id;
    return OXP_OK;
}

#define PIECE_BYTES ((size_t)4 << 20)

static void hash_file(data_hasher *hasher, oxp_ctx *ctx, const oxp_file_bytes *file)
{
    for (size_t at = 0; at < file->bytes; at += PIECE_BYTES) {
        size_t piece = file->bytes - at < PIECE_BYTES ? file->bytes - at : PIECE_BYTES;
        oxp_hasher_add(hasher, file->data + at, piece);
        oxp_pages_release(ctx, file->data + at, piece);
    }
}

/* Reads a data file; at the first time hashes it and keeps its identity. */
static oxp_status read_file(oxp_file_bytes *file, oxp_ctx *ctx, oxp_dataset *d, const char *path,
                            data_hasher *hasher)
{
    OXP_TRY(oxp_file_open(file, ctx, path, SIZE_MAX, OXP_EDATA));
    if (hasher == NULL)
        return OXP_OK;
    hash_file(hasher, ctx, file);
    oxp_status status = add_file_id(d, file->id);
    if (status != OXP_OK)
        oxp_file_close(file);
    return status;
}

/* ---- .npz ---- */

static const char *npz_name(const void *user, size_t i)
{
    return oxp_npz_key(user, i);
}

static oxp_status read_arrays(loaded_set *l, oxp_ctx *ctx, const oxp_dataset *d, const oxp_npz *z)
{
    size_t *slots, count = oxp_npz_count(z);
    key_list keys = {.user = z, .count = count, .name = npz_name};
    if (count == 0)
        return oxp_fail(ctx, OXP_EDATA, "E-CALIB-EMPTY", "the archive holds no array");
    OXP_TRY(oxp_alloc(&slots, ctx, count, sizeof *slots, "keys"));
    oxp_status status = find_slots(ctx, d, &keys, slots);
    for (size_t i = 0; i < count && status == OXP_OK; i++)
        status = oxp_npz_read(&l->tensors[slots[i]], ctx, z, i);
    oxp_free(slots);
    return status;
}

static bool borrows(const loaded_set *l)
{
    for (size_t i = 0; i < l->slot_count; i++)
        if (l->tensors[i].data != NULL && l->tensors[i].storage == NULL)
            return true;
    return false;
}

static oxp_status load_npz(loaded_set *l, oxp_ctx *ctx, oxp_dataset *d, const data_set *set,
                           data_hasher *hasher)
{
    oxp_file_bytes file;
    oxp_npz *z = NULL;
    OXP_TRY(read_file(&file, ctx, d, set->path, hasher));
    oxp_status status = oxp_npz_open(&z, ctx, file.data, file.bytes);
    if (status == OXP_OK)
        status = read_arrays(l, ctx, d, z);
    oxp_npz_free(z);
    if (status == OXP_OK && borrows(l))
        l->file = file;
    else
        oxp_file_close(&file);
    return status;
}

/* ---- .npy ---- */

/* The input that a file without names is for: the only one, or the only one that must be given. */
static oxp_status sole_input(oxp_ctx *ctx, const oxp_dataset *d, size_t *out)
{
    size_t required = 0, last = 0;
    for (size_t i = 0; i < d->input_count; i++) {
        if (!d->slots[i].optional) {
            required++;
            last = i;
        }
    }
    if (required == 1 || (required == 0 && d->input_count == 1)) {
        *out = last;
        return OXP_OK;
    }
    oxp_arena scratch;
    oxp_arena_init(&scratch, ctx);
    const char *inputs = list_names(&scratch, d, d->input_count, input_name);
    oxp_status status = OXP_ELIMIT;
    if (inputs != NULL)
        status = oxp_fail(ctx, OXP_EDATA, "E-CALIB-NAME",
                          "a .npy file is one array without a name, the model has inputs: %s; "
                          "expected a .npz with their names as keys",
                          inputs);
    oxp_arena_free(&scratch);
    return status;
}

static oxp_status load_npy(loaded_set *l, oxp_ctx *ctx, oxp_dataset *d, const data_set *set,
                           data_hasher *hasher)
{
    oxp_file_bytes file;
    size_t slot = 0;
    OXP_TRY(read_file(&file, ctx, d, set->path, hasher));
    oxp_status status = sole_input(ctx, d, &slot);
    if (status == OXP_OK && file.bytes >= 4 && memcmp(file.data, "PK\x03\x04", 4) == 0)
        status = oxp_fail(ctx, OXP_EDATA, "E-NPY-MAGIC",
                          "not a .npy array but a ZIP archive; a .npz must be named so");
    if (status == OXP_OK)
        status = oxp_npy_read_memory(&l->tensors[slot], ctx, file.data, file.bytes);
    oxp_file_close(&file);
    return status;
}

oxp_status oxp_load_labels_file(oxp_tensor *out, oxp_ctx *ctx, oxp_dataset *d, const char *path)
{
    uint8_t *data;
    size_t bytes;
    oxp_file_id id;
    OXP_TRY(oxp_file_read(&data, &bytes, ctx, path, ctx->budget->limit, OXP_EDATA, &id));
    oxp_status status = add_file_id(d, id);
    if (status == OXP_OK)
        status = oxp_npy_read_memory(out, ctx, data, bytes);
    oxp_free(data);
    return status;
}

/* ---- folders of TensorProto files ---- */

/* The name of the `position`-th model input or output: inputs that must be given come before those
 * that may. */
static const char *name_at_position(const oxp_dataset *d, bool is_output, size_t position)
{
    if (is_output)
        return position < d->output_count ? output_name(d, position) : NULL;
    for (int optional = 0; optional <= 1; optional++)
        for (size_t i = 0; i < d->input_count; i++)
            if (d->slots[i].optional == (optional == 1) && position-- == 0)
                return d->slots[i].info.name;
    return NULL;
}

typedef struct pb_names {
    const char **names;
    const pb_file *files;
} pb_names;

static const char *pb_name(const void *user, size_t i)
{
    return ((const pb_names *)user)->names[i];
}

/* A model may hand an input on under its own name: which of the two a file is for, its own name
 * says. */
static size_t pb_slot(const oxp_dataset *d, const void *user, size_t i)
{
    const pb_names *p = user;
    size_t first = p->files[i].is_output ? d->input_count : 0;
    size_t count = p->files[i].is_output ? d->output_count : d->input_count;
    for (size_t slot = first; slot < first + count; slot++)
        if (strcmp(d->slots[slot].info.name, p->names[i]) == 0)
            return slot;
    return OXP_MAP_NONE;
}

static oxp_status read_tensor_file(oxp_tensor *out, const char **name, loaded_set *l, oxp_ctx *ctx,
                                   oxp_dataset *d, const pb_file *file, data_hasher *hasher)
{
    if (hasher != NULL) {
        oxp_file_bytes bytes;
        OXP_TRY(read_file(&bytes, ctx, d, file->path, hasher));
        oxp_file_close(&bytes);
    }
    *name = "";
    OXP_TRY(oxp_tensor_file_read(out, name, &l->arena, ctx, file->path));
    if (*name != NULL && (*name)[0] != '\0')
        return OXP_OK;
    *name = name_at_position(d, file->is_output, file->position);
    if (*name != NULL)
        return OXP_OK;
    return oxp_fail(ctx, OXP_EDATA, "E-CALIB-NAME",
                    "%s %zu is not there: the model has %zu inputs and %zu outputs",
                    file->is_output ? "output" : "input", file->position, d->input_count,
                    d->output_count);
}

static oxp_status load_pb(loaded_set *l, oxp_ctx *ctx, oxp_dataset *d, const data_set *set,
                          data_hasher *hasher)
{
    size_t count = set->file_count;
    pb_names names = {.files = set->files};
    names.names = oxp_arena_alloc(&l->arena, count, sizeof *names.names);
    size_t *slots = oxp_arena_alloc(&l->arena, count, sizeof *slots);
    oxp_tensor *tensors = oxp_arena_alloc(&l->arena, count, sizeof *tensors);
    if (names.names == NULL || slots == NULL || tensors == NULL)
        return OXP_ELIMIT;
    for (size_t i = 0; i < count; i++) {
        ctx->subject = set->files[i].path;
        OXP_TRY(read_tensor_file(&tensors[i], &names.names[i], l, ctx, d, &set->files[i], hasher));
    }
    ctx->subject = set->path;
    key_list keys = {.user = &names, .count = count, .name = pb_name, .slot = pb_slot};
    OXP_TRY(find_slots(ctx, d, &keys, slots));
    for (size_t i = 0; i < count; i++)
        l->tensors[slots[i]] = tensors[i];
    return OXP_OK;
}

/* ---- any set ---- */

static oxp_status load_by_kind(loaded_set *l, oxp_ctx *ctx, oxp_dataset *d, const data_set *set,
                               data_hasher *hasher)
{
    switch (set->kind) {
    case SET_NPZ:
        return load_npz(l, ctx, d, set, hasher);
    case SET_NPY:
        return load_npy(l, ctx, d, set, hasher);
    case SET_PB:
        return load_pb(l, ctx, d, set, hasher);
    case SET_MEMORY:
        break;
    }
    return oxp_fail(ctx, OXP_EINTERNAL, "E-INTERNAL", "arrays from memory are never read again");
}

oxp_status oxp_set_load(loaded_set **out, oxp_ctx *ctx, oxp_dataset *d, size_t index,
                        data_hasher *hasher)
{
    const data_set *set = &d->sets[index];
    const char *subject = ctx->subject;
    loaded_set *l;
    OXP_TRY(new_set(&l, ctx, d, index));
    ctx->subject = set->path;
    oxp_status status = load_by_kind(l, ctx, d, set, hasher);
    if (status == OXP_OK)
        status = oxp_layout_check(d, ctx, l, set->kind);
    if (status == OXP_OK && hasher == NULL && (l->calls != set->calls || l->rows != set->rows))
        status = oxp_fail(ctx, OXP_EDATA, "E-CHANGED", "the file changed after it was checked");
    ctx->subject = subject;
    if (status != OXP_OK) {
        oxp_set_free(l);
        return status;
    }
    *out = l;
    return OXP_OK;
}

typedef struct named_list {
    const oxp_named_tensor *arrays;
} named_list;

static const char *named_name(const void *user, size_t i)
{
    return ((const named_list *)user)->arrays[i].name;
}

static oxp_status copy_arrays(loaded_set *l, oxp_ctx *ctx, const oxp_dataset *d,
                              const oxp_named_tensor *arrays, size_t count, data_hasher *hasher)
{
    named_list list = {.arrays = arrays};
    key_list keys = {.user = &list, .count = count, .name = named_name};
    size_t *slots = oxp_arena_alloc(&l->arena, count, sizeof *slots);
    char name[OXP_QUOTED_MAX];
    if (slots == NULL)
        return OXP_ELIMIT;
    OXP_TRY(find_slots(ctx, d, &keys, slots));
    for (size_t i = 0; i < count; i++) {
        const oxp_tensor *t = arrays[i].tensor;
        unsigned bits = oxp_dtype_bits(t->dtype);
        if (bits == 0 || bits % 8 != 0)
            return oxp_fail(ctx, OXP_EDATA, "E-CALIB-DTYPE", "array %s: %s is not supported",
                            oxp_quote(name, arrays[i].name), oxp_dtype_name(t->dtype));
        oxp_hasher_add(hasher, t->data, oxp_tensor_bytes(t));
        OXP_TRY(oxp_tensor_copy(&l->tensors[slots[i]], ctx, t));
    }
    return OXP_OK;
}

oxp_status oxp_set_from_tensors(loaded_set **out, oxp_ctx *ctx, oxp_dataset *d,
                                const oxp_named_tensor *arrays, size_t count, data_hasher *hasher)
{
    loaded_set *l;
    OXP_TRY(new_set(&l, ctx, d, 0));
    oxp_status status = copy_arrays(l, ctx, d, arrays, count, hasher);
    if (status == OXP_OK)
        status = oxp_layout_check(d, ctx, l, SET_MEMORY);
    if (status != OXP_OK) {
        oxp_set_free(l);
        return status;
    }
    *out = l;
    return OXP_OK;
}
