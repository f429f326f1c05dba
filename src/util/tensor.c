/* tensor.c - element types, dense tensors, shapes.
 *
 * count = prod(dims), bytes = ceil(count * bits / 8). Storage and data share one block, the data 64
 * bytes into it. */
#include "util/tensor.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "util/half.h"

#define STORAGE_HEADER_BYTES ((size_t)64)

_Static_assert(sizeof(oxp_storage) <= 64, "the data must stay 64-byte aligned");

typedef struct dtype_info {
    const char *name;
    unsigned bits;
} dtype_info;

static const dtype_info dtypes[OXP_DTYPE_COUNT] = {
    [OXP_UNDEFINED] = {"UNDEFINED", 0},
    [OXP_FLOAT] = {"FLOAT", 32},
    [OXP_UINT8] = {"UINT8", 8},
    [OXP_INT8] = {"INT8", 8},
    [OXP_UINT16] = {"UINT16", 16},
    [OXP_INT16] = {"INT16", 16},
    [OXP_INT32] = {"INT32", 32},
    [OXP_INT64] = {"INT64", 64},
    [OXP_STRING] = {"STRING", 0},
    [OXP_BOOL] = {"BOOL", 8},
    [OXP_FLOAT16] = {"FLOAT16", 16},
    [OXP_DOUBLE] = {"DOUBLE", 64},
    [OXP_UINT32] = {"UINT32", 32},
    [OXP_UINT64] = {"UINT64", 64},
    [OXP_COMPLEX64] = {"COMPLEX64", 64},
    [OXP_COMPLEX128] = {"COMPLEX128", 128},
    [OXP_BFLOAT16] = {"BFLOAT16", 16},
    [OXP_FLOAT8E4M3FN] = {"FLOAT8E4M3FN", 8},
    [OXP_FLOAT8E4M3FNUZ] = {"FLOAT8E4M3FNUZ", 8},
    [OXP_FLOAT8E5M2] = {"FLOAT8E5M2", 8},
    [OXP_FLOAT8E5M2FNUZ] = {"FLOAT8E5M2FNUZ", 8},
    [OXP_UINT4] = {"UINT4", 4},
    [OXP_INT4] = {"INT4", 4},
    [OXP_FLOAT4E2M1] = {"FLOAT4E2M1", 4},
    [OXP_FLOAT8E8M0] = {"FLOAT8E8M0", 8},
    [OXP_UINT2] = {"UINT2", 2},
    [OXP_INT2] = {"INT2", 2},
};

static bool in_table(oxp_dtype dtype)
{
    return (unsigned)dtype < OXP_DTYPE_COUNT;
}

const char *oxp_dtype_name(oxp_dtype dtype)
{
    return in_table(dtype) ? dtypes[dtype].name : "?";
}

unsigned oxp_dtype_bits(oxp_dtype dtype)
{
    return in_table(dtype) ? dtypes[dtype].bits : 0;
}

bool oxp_dtype_is_integer(oxp_dtype dtype)
{
    switch (dtype) {
    case OXP_UINT8:
    case OXP_INT8:
    case OXP_UINT16:
    case OXP_INT16:
    case OXP_INT32:
    case OXP_INT64:
    case OXP_UINT32:
    case OXP_UINT64:
    case OXP_UINT4:
    case OXP_INT4:
    case OXP_UINT2:
    case OXP_INT2:
        return true;
    default:
        return false;
    }
}

bool oxp_dtype_is_float(oxp_dtype dtype)
{
    return dtype == OXP_FLOAT || dtype == OXP_FLOAT16 || dtype == OXP_BFLOAT16 ||
           dtype == OXP_DOUBLE;
}

/* ---- shapes ---- */

const char *oxp_shape_text(char out[OXP_SHAPE_TEXT_MAX], int rank, const int64_t *dims)
{
    if (rank < 0) {
        snprintf(out, OXP_SHAPE_TEXT_MAX, "[*]");
        return out;
    }
    size_t used = 0;
    out[used++] = '[';
    for (int i = 0; i < rank && i < OXP_MAX_RANK; i++) {
        const char *comma = i == 0 ? "" : ",";
        int length = dims[i] == -1 ? snprintf(out + used, OXP_SHAPE_TEXT_MAX - used, "%s?", comma)
                                   : snprintf(out + used, OXP_SHAPE_TEXT_MAX - used, "%s%" PRId64,
                                              comma, dims[i]);
        used += (size_t)length;
    }
    snprintf(out + used, OXP_SHAPE_TEXT_MAX - used, rank > OXP_MAX_RANK ? ",...]" : "]");
    return out;
}

/* ceil(count * bits / 8) without forming count * bits; false when it cannot be addressed. */
static bool bytes_of(size_t count, unsigned bits, size_t *bytes)
{
    size_t whole;
    size_t rest = (count % 8 * bits + 7) / 8;
    return oxp_mul_ok(count / 8, bits, &whole) && oxp_add_ok(whole, rest, bytes) &&
           *bytes <= (size_t)PTRDIFF_MAX;
}

/* An empty tensor has no product to overflow, wherever its 0 stands. */
static bool product(size_t *count, int rank, const int64_t *dims)
{
    *count = 1;
    for (int i = 0; i < rank; i++) {
        if (dims[i] == 0) {
            *count = 0;
            return true;
        }
    }
    for (int i = 0; i < rank; i++)
        if (!oxp_mul_ok(*count, (size_t)dims[i], count))
            return false;
    return true;
}

oxp_status oxp_tensor_shape(oxp_tensor *t, oxp_ctx *ctx, oxp_dtype dtype, int rank,
                            const int64_t *dims, const char *what)
{
    char quoted[OXP_QUOTED_MAX], text[OXP_SHAPE_TEXT_MAX];
    if (rank < 0 || rank > OXP_MAX_RANK)
        return oxp_fail(ctx, OXP_ELIMIT, "E-LIMIT-RANK", "%s: rank %d, at most %d is supported",
                        oxp_quote(quoted, what), rank, OXP_MAX_RANK);
    for (int i = 0; i < rank; i++)
        if (dims[i] < 0)
            return oxp_fail(ctx, OXP_EFORMAT, "E-DIM",
                            "%s: dimension %d is %" PRId64 ", expected 0 or more",
                            oxp_quote(quoted, what), i, dims[i]);
    size_t count, bytes;
    if (!product(&count, rank, dims) || !bytes_of(count, oxp_dtype_bits(dtype), &bytes))
        return oxp_fail(ctx, OXP_EFORMAT, "E-SHAPE-OVERFLOW",
                        "%s: shape %s of %s has more elements than memory can address",
                        oxp_quote(quoted, what), oxp_shape_text(text, rank, dims),
                        oxp_dtype_name(dtype));
    oxp_tensor shaped = {.dtype = dtype, .rank = rank, .count = count};
    if (rank > 0)
        memcpy(shaped.dims, dims, (size_t)rank * sizeof *dims);
    *t = shaped;
    return OXP_OK;
}

size_t oxp_tensor_bytes(const oxp_tensor *t)
{
    size_t bytes = 0;
    bool addressable = bytes_of(t->count, oxp_dtype_bits(t->dtype), &bytes);
    assert(addressable);
    (void)addressable;
    return bytes;
}

/* ---- memory ---- */

oxp_status oxp_tensor_alloc(oxp_tensor *t, oxp_ctx *ctx, const char *what)
{
    assert(t->storage == NULL);
    size_t bytes = oxp_tensor_bytes(t); /* at most PTRDIFF_MAX: adding the header cannot wrap */
    unsigned char *block;
    OXP_TRY(oxp_alloc_raw(&block, ctx, bytes + STORAGE_HEADER_BYTES, 1, what));
    oxp_storage *storage = (oxp_storage *)(void *)block;
    *storage = (oxp_storage){.references = 1, .bytes = bytes, .data = block + STORAGE_HEADER_BYTES};
    t->storage = storage;
    t->data = storage->data;
    return OXP_OK;
}

void oxp_tensor_share(oxp_tensor *to, const oxp_tensor *from)
{
    if (from->storage != NULL)
        from->storage->references++;
    *to = *from;
}

/* ---- sequences ---- */

bool oxp_is_sequence(const oxp_tensor *t)
{
    return t->storage != NULL && t->storage->is_sequence;
}

oxp_tensor *oxp_sequence_items(const oxp_tensor *t)
{
    assert(oxp_is_sequence(t));
    return t->data;
}

oxp_status oxp_sequence_new(oxp_tensor *t, oxp_ctx *ctx, size_t length)
{
    size_t bytes, block_bytes;
    unsigned char *block;
    if (!oxp_mul_ok(length, sizeof(oxp_tensor), &bytes) ||
        !oxp_add_ok(bytes, STORAGE_HEADER_BYTES, &block_bytes))
        return oxp_fail(ctx, OXP_ELIMIT, "E-LIMIT-MEM", "a sequence of %zu tensors", length);
    OXP_TRY(oxp_alloc_raw(&block, ctx, block_bytes, 1, "sequence"));
    oxp_storage *storage = (oxp_storage *)(void *)block;
    *storage = (oxp_storage){
        .references = 1, .is_sequence = true, .bytes = bytes, .data = block + STORAGE_HEADER_BYTES};
    memset(storage->data, 0, bytes);
    *t = (oxp_tensor){.rank = 1,
                      .dims = {(int64_t)length},
                      .count = length,
                      .data = storage->data,
                      .storage = storage};
    return OXP_OK;
}

static oxp_status copy_sequence(oxp_tensor *to, oxp_ctx *ctx, const oxp_tensor *from)
{
    oxp_tensor copy;
    OXP_TRY(oxp_sequence_new(&copy, ctx, from->count));
    for (size_t i = 0; i < from->count; i++)
        oxp_tensor_share(&oxp_sequence_items(&copy)[i], &oxp_sequence_items(from)[i]);
    *to = copy;
    return OXP_OK;
}

oxp_status oxp_tensor_copy(oxp_tensor *to, oxp_ctx *ctx, const oxp_tensor *from)
{
    if (oxp_is_sequence(from))
        return copy_sequence(to, ctx, from);
    oxp_tensor copy = *from;
    copy.data = NULL;
    copy.storage = NULL;
    OXP_TRY(oxp_tensor_alloc(&copy, ctx, "copy of a tensor"));
    size_t bytes = oxp_tensor_bytes(from);
    if (bytes > 0)
        memcpy(copy.data, from->data, bytes);
    *to = copy;
    return OXP_OK;
}

static void free_tensor(oxp_tensor *t)
{
    if (t->storage != NULL && --t->storage->references == 0)
        oxp_free(t->storage);
    *t = (oxp_tensor){0};
}

void oxp_tensor_release(oxp_tensor *t)
{
    if (oxp_is_sequence(t) && t->storage->references == 1)
        for (size_t i = 0; i < t->count; i++)
            free_tensor(&oxp_sequence_items(t)[i]);
    free_tensor(t);
}

/* ---- single elements ---- */

/* The `bits`-wide field of element i, the first element in the low bits of a byte. */
static unsigned packed(const oxp_tensor *t, size_t i, unsigned bits)
{
    const uint8_t *bytes = t->data;
    size_t per_byte = 8 / bits;
    unsigned shift = (unsigned)(i % per_byte) * bits;
    return (unsigned)(bytes[i / per_byte] >> shift) & ((1u << bits) - 1);
}

static int64_t sign_extend(unsigned value, unsigned bits)
{
    unsigned sign = 1u << (bits - 1);
    return (int64_t)(value ^ sign) - (int64_t)sign;
}

int64_t oxp_tensor_int(const oxp_tensor *t, size_t i)
{
    assert(i < t->count);
    switch (t->dtype) {
    case OXP_BOOL:
        return ((const uint8_t *)t->data)[i] != 0;
    case OXP_UINT8:
        return ((const uint8_t *)t->data)[i];
    case OXP_INT8:
        return ((const int8_t *)t->data)[i];
    case OXP_UINT16:
        return ((const uint16_t *)t->data)[i];
    case OXP_INT16:
        return ((const int16_t *)t->data)[i];
    case OXP_UINT32:
        return ((const uint32_t *)t->data)[i];
    case OXP_INT32:
        return ((const int32_t *)t->data)[i];
    case OXP_UINT64:
        return (int64_t)((const uint64_t *)t->data)[i];
    case OXP_INT64:
        return ((const int64_t *)t->data)[i];
    case OXP_UINT4:
        return packed(t, i, 4);
    case OXP_INT4:
        return sign_extend(packed(t, i, 4), 4);
    case OXP_UINT2:
        return packed(t, i, 2);
    case OXP_INT2:
        return sign_extend(packed(t, i, 2), 2);
    default:
        break;
    }
    assert(false && "neither integers nor BOOL");
    return 0;
}

double oxp_tensor_real(const oxp_tensor *t, size_t i)
{
    assert(i < t->count);
    switch (t->dtype) {
    case OXP_FLOAT:
        return ((const float *)t->data)[i];
    case OXP_DOUBLE:
        return ((const double *)t->data)[i];
    case OXP_FLOAT16:
        return oxp_half_to_float(((const uint16_t *)t->data)[i]);
    case OXP_BFLOAT16:
        return oxp_bfloat16_to_float(((const uint16_t *)t->data)[i]);
    case OXP_UINT64:
        return (double)((const uint64_t *)t->data)[i];
    default:
        return (double)oxp_tensor_int(t, i);
    }
}
