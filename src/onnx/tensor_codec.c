/* tensor_codec.c - the elements of a TensorProto as a dense tensor.
 *
 * raw_data and external data are little endian and packed; float_data, int64_data, double_data and
 * the 64-bit half of uint64_data are the elements themselves; int32_data carries INT32 and
 * everything smaller, integers by value, 8- and 16-bit floats by their bits, 4 and 2 bits a byte
 * full in each entry; uint64_data also carries UINT32. What already has the right form and
 * alignment is borrowed. */
#include "onnx/tensor_codec.h"

#include <assert.h>
#include <string.h>

static const char *const field_names[OXP_FIELD_COUNT] = {
    [OXP_FIELD_FLOAT] = "float_data",   [OXP_FIELD_INT32] = "int32_data",
    [OXP_FIELD_STRING] = "string_data", [OXP_FIELD_INT64] = "int64_data",
    [OXP_FIELD_DOUBLE] = "double_data", [OXP_FIELD_UINT64] = "uint64_data",
    [OXP_FIELD_RAW] = "raw_data",
};

const char *oxp_data_field_name(oxp_data_field field)
{
    return field_names[field];
}

size_t oxp_data_field_size(const Onnx__TensorProto *t, oxp_data_field field)
{
    switch (field) {
    case OXP_FIELD_FLOAT:
        return t->n_float_data;
    case OXP_FIELD_INT32:
        return t->n_int32_data;
    case OXP_FIELD_STRING:
        return t->n_string_data;
    case OXP_FIELD_INT64:
        return t->n_int64_data;
    case OXP_FIELD_DOUBLE:
        return t->n_double_data;
    case OXP_FIELD_UINT64:
        return t->n_uint64_data;
    default:
        return t->has_raw_data ? t->raw_data.len : 0;
    }
}

bool oxp_data_field_is_set(const Onnx__TensorProto *t, oxp_data_field field)
{
    return field == OXP_FIELD_RAW ? t->has_raw_data : oxp_data_field_size(t, field) > 0;
}

oxp_data_field oxp_data_field_of(oxp_dtype dtype)
{
    switch (dtype) {
    case OXP_FLOAT:
    case OXP_COMPLEX64:
        return OXP_FIELD_FLOAT;
    case OXP_DOUBLE:
    case OXP_COMPLEX128:
        return OXP_FIELD_DOUBLE;
    case OXP_INT64:
        return OXP_FIELD_INT64;
    case OXP_UINT32:
    case OXP_UINT64:
        return OXP_FIELD_UINT64;
    case OXP_STRING:
        return OXP_FIELD_STRING;
    default:
        return OXP_FIELD_INT32;
    }
}

static size_t packed_bytes(size_t count, unsigned bits)
{
    unsigned per_byte = 8 / bits;
    return count / per_byte + (count % per_byte != 0);
}

size_t oxp_data_field_entries(oxp_dtype dtype, size_t count)
{
    unsigned bits = oxp_dtype_bits(dtype);
    if (dtype == OXP_COMPLEX64 || dtype == OXP_COMPLEX128)
        return 2 * count;
    return bits > 0 && bits < 8 ? packed_bytes(count, bits) : count;
}

bool oxp_data_extent(oxp_dtype dtype, size_t rank, const int64_t *dims, size_t *count,
                     size_t *bytes)
{
    *count = 1;
    for (size_t i = 0; i < rank; i++)
        if (dims[i] == 0)
            *count = 0;
    for (size_t i = 0; i<rank && * count> 0; i++)
        if (!oxp_mul_ok(*count, (size_t)dims[i], count))
            return false;
    unsigned bits = oxp_dtype_bits(dtype);
    if (*count > (size_t)INT64_MAX)
        return false;
    if (bits < 8) {
        *bytes = bits == 0 ? 0 : packed_bytes(*count, bits);
        return true;
    }
    return oxp_mul_ok(*count, bits / 8, bytes) && *bytes <= (size_t)INT64_MAX;
}

void oxp_swap_bytes(void *out, const void *in, size_t count, size_t element_bytes)
{
    const uint8_t *from = in;
    uint8_t *to = out;
    for (size_t i = 0; i < count; i++, from += element_bytes, to += element_bytes)
        for (size_t k = 0; k < element_bytes; k++)
            to[k] = from[element_bytes - 1 - k];
}

/* ---- decoding ---- */

/* Bytes of what is swapped and aligned as a whole: an element, or one part of a complex number. */
static size_t unit_bytes(oxp_dtype dtype)
{
    unsigned bits = oxp_dtype_bits(dtype);
    size_t bytes = bits < 8 ? 1 : bits / 8;
    return dtype == OXP_COMPLEX64 || dtype == OXP_COMPLEX128 ? bytes / 2 : bytes;
}

static oxp_status out_of_memory(const oxp_arena *arena)
{
    return arena->ctx->status;
}

/* Where raw data of a large tensor lies askew in its file, it is copied once for all graphs that
 * are built: from here on the tensor has the copy. */
static oxp_status straighten(const oxp_model *model, const Onnx__TensorProto *t, size_t unit)
{
    Onnx__TensorProto *tensor = (Onnx__TensorProto *)(uintptr_t)t;
    size_t bytes = t->raw_data.len;
    if (model == NULL || (uintptr_t)t->raw_data.data % unit == 0 || bytes < OXP_SCRATCH_BYTES)
        return OXP_OK;
    while (model->base != NULL) /* which outlives its clones */
        model = model->base;
    oxp_model *root = (oxp_model *)(uintptr_t)model;
    uint8_t *copy = oxp_arena_alloc(&root->arena, bytes, 1);
    if (copy == NULL)
        return oxp_out_of_memory(root);
    for (size_t at = 0; at < bytes; at += OXP_PIECE_BYTES) {
        size_t piece = bytes - at < OXP_PIECE_BYTES ? bytes - at : OXP_PIECE_BYTES;
        memcpy(copy + at, t->raw_data.data + at, piece);
        oxp_pages_release(root->ctx, t->raw_data.data + at, piece);
        oxp_pages_release(root->ctx, copy + at, piece);
    }
    tensor->raw_data.data = copy;
    return OXP_OK;
}

static oxp_status from_little_endian(oxp_tensor *t, oxp_arena *arena, const uint8_t *bytes,
                                     size_t size)
{
    size_t unit = unit_bytes(t->dtype);
    bool swapped = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ && unit > 1;
    if (!swapped && (uintptr_t)bytes % unit == 0) {
        t->data = (void *)(uintptr_t)bytes; /* borrowed: nobody writes through a constant */
        return OXP_OK;
    }
    void *data = oxp_arena_alloc(arena, size, 1);
    if (data == NULL)
        return out_of_memory(arena);
    if (swapped)
        oxp_swap_bytes(data, bytes, size / unit, unit);
    else if (size > 0)
        memcpy(data, bytes, size);
    t->data = data;
    return OXP_OK;
}

static void narrow_int32(void *out, size_t element_bytes, const int32_t *values, size_t count)
{
    uint8_t *bytes = out;
    uint16_t *words = out;
    for (size_t i = 0; i < count; i++) {
        if (element_bytes == 1)
            bytes[i] = (uint8_t)(uint32_t)values[i];
        else
            words[i] = (uint16_t)(uint32_t)values[i];
    }
}

static oxp_status from_int32_data(oxp_tensor *out, oxp_arena *arena, const Onnx__TensorProto *t)
{
    size_t unit = unit_bytes(out->dtype);
    if (unit == sizeof(int32_t)) {
        out->data = t->int32_data;
        return OXP_OK;
    }
    void *data = oxp_arena_alloc(arena, t->n_int32_data, unit);
    if (data == NULL)
        return out_of_memory(arena);
    narrow_int32(data, unit, t->int32_data, t->n_int32_data);
    out->data = data;
    return OXP_OK;
}

static oxp_status from_uint64_data(oxp_tensor *out, oxp_arena *arena, const Onnx__TensorProto *t)
{
    if (out->dtype == OXP_UINT64) {
        out->data = t->uint64_data;
        return OXP_OK;
    }
    uint32_t *data = oxp_arena_alloc(arena, t->n_uint64_data, sizeof *data);
    if (data == NULL)
        return out_of_memory(arena);
    for (size_t i = 0; i < t->n_uint64_data; i++)
        data[i] = (uint32_t)t->uint64_data[i];
    out->data = data;
    return OXP_OK;
}

static oxp_status from_typed(oxp_tensor *out, oxp_arena *arena, const Onnx__TensorProto *t)
{
    switch (oxp_data_field_of(out->dtype)) {
    case OXP_FIELD_FLOAT:
        out->data = t->float_data;
        return OXP_OK;
    case OXP_FIELD_DOUBLE:
        out->data = t->double_data;
        return OXP_OK;
    case OXP_FIELD_INT64:
        out->data = t->int64_data;
        return OXP_OK;
    case OXP_FIELD_UINT64:
        return from_uint64_data(out, arena, t);
    default:
        return from_int32_data(out, arena, t);
    }
}

/* An empty tensor has a pointer too, so that no kernel meets NULL. */
static oxp_status without_elements(oxp_tensor *out, oxp_arena *arena)
{
    out->data = oxp_arena_alloc(arena, 1, sizeof(uint64_t));
    return out->data == NULL ? out_of_memory(arena) : OXP_OK;
}

static oxp_status decode_data(oxp_tensor *out, oxp_arena *arena, const oxp_model *model,
                              const Onnx__TensorProto *t)
{
    size_t bytes = oxp_tensor_bytes(out);
    if (out->count == 0)
        return without_elements(out, arena);
    if (t->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL && t->has_data_location) {
        const uint8_t *data;
        /* Loading has read every external file, so that this only looks the bytes up. */
        OXP_TRY(oxp_external_bytes(&data, (oxp_model *)(uintptr_t)model, t, bytes));
        return from_little_endian(out, arena, data, bytes);
    }
    bool raw = t->has_raw_data;
    size_t expected = raw ? bytes : oxp_data_field_entries(out->dtype, out->count);
    size_t found = oxp_data_field_size(t, raw ? OXP_FIELD_RAW : oxp_data_field_of(out->dtype));
    if (found != expected) {
        char quoted[OXP_QUOTED_MAX];
        return oxp_fail(arena->ctx, OXP_EINTERNAL, "E-INTERNAL",
                        "tensor %s: %zu entries of data, expected %zu", oxp_quote(quoted, t->name),
                        found, expected);
    }
    if (raw)
        OXP_TRY(straighten(model, t, unit_bytes(out->dtype)));
    return raw ? from_little_endian(out, arena, t->raw_data.data, bytes)
               : from_typed(out, arena, t);
}

oxp_status oxp_tensor_decode(oxp_tensor *out, oxp_arena *arena, const oxp_model *model,
                             const oxp_tensor_proto *t)
{
    char quoted[OXP_QUOTED_MAX];
    oxp_tensor tensor = {0};
    if (t->n_dims > OXP_MAX_RANK)
        return oxp_fail(arena->ctx, OXP_ELIMIT, "E-LIMIT-RANK",
                        "tensor %s: rank %zu, at most %d can be run", oxp_quote(quoted, t->name),
                        t->n_dims, OXP_MAX_RANK);
    OXP_TRY(oxp_tensor_shape(&tensor, arena->ctx, oxp_tensor_proto_dtype(t), (int)t->n_dims,
                             t->dims, t->name == NULL ? "" : t->name));
    if (tensor.dtype != OXP_STRING)
        OXP_TRY(decode_data(&tensor, arena, model, t));
    *out = tensor;
    return OXP_OK;
}
