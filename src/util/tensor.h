/* tensor.h - element types and dense tensors in C order.
 *
 * A tensor either borrows its data (storage NULL: constants lie in the model, inputs in the
 * caller's memory) or shares a counted storage. Elements of 4 and 2 bits are packed, the first
 * element in the low bits. STRING tensors have no data here: they are preserved in the model and
 * cannot be run. */
#ifndef OXP_UTIL_TENSOR_H
#define OXP_UTIL_TENSOR_H

#include "util/memory.h"

#define OXP_MAX_RANK 16

/* The values are those of TensorProto.DataType. */
typedef enum oxp_dtype {
    OXP_UNDEFINED = 0,
    OXP_FLOAT = 1,
    OXP_UINT8 = 2,
    OXP_INT8 = 3,
    OXP_UINT16 = 4,
    OXP_INT16 = 5,
    OXP_INT32 = 6,
    OXP_INT64 = 7,
    OXP_STRING = 8,
    OXP_BOOL = 9,
    OXP_FLOAT16 = 10,
    OXP_DOUBLE = 11,
    OXP_UINT32 = 12,
    OXP_UINT64 = 13,
    OXP_COMPLEX64 = 14,
    OXP_COMPLEX128 = 15,
    OXP_BFLOAT16 = 16,
    OXP_FLOAT8E4M3FN = 17,
    OXP_FLOAT8E4M3FNUZ = 18,
    OXP_FLOAT8E5M2 = 19,
    OXP_FLOAT8E5M2FNUZ = 20,
    OXP_UINT4 = 21,
    OXP_INT4 = 22,
    OXP_FLOAT4E2M1 = 23,
    OXP_FLOAT8E8M0 = 24,
    OXP_UINT2 = 25,
    OXP_INT2 = 26,
    OXP_DTYPE_COUNT = 27
} oxp_dtype;

const char *oxp_dtype_name(oxp_dtype dtype); /* "FLOAT"; "?" outside the table */
unsigned oxp_dtype_bits(
    oxp_dtype dtype); /* bits of an element; 0 for STRING, UNDEFINED and what is not in the table */
bool oxp_dtype_is_integer(
    oxp_dtype dtype); /* signed and unsigned integers of 2 to 64 bits; not BOOL */
bool oxp_dtype_is_float(oxp_dtype dtype); /* FLOAT16, BFLOAT16, FLOAT, DOUBLE */

typedef struct oxp_storage {
    int references; /* a storage belongs to one session, hence to one thread */
    bool is_sequence;
    size_t bytes;
    void *data;
} oxp_storage;

typedef struct oxp_tensor {
    oxp_dtype dtype;
    int rank;
    int64_t dims[OXP_MAX_RANK];
    size_t count; /* product of dims */
    void *data;
    oxp_storage *storage; /* NULL: borrowed */
} oxp_tensor;

/* Sets dtype, rank, dims and count; clears data. E-DIM, E-SHAPE-OVERFLOW, E-LIMIT-RANK; the product
 * does not depend on the order of the dims ([0, 2^62, 2^62] is empty). `what` names the tensor in
 * errors. */
oxp_status oxp_tensor_shape(oxp_tensor *t, oxp_ctx *ctx, oxp_dtype dtype, int rank,
                            const int64_t *dims, const char *what);

size_t oxp_tensor_bytes(const oxp_tensor *t); /* ceil(count * bits / 8) */

/* Gives a shaped tensor its own memory (not cleared). */
oxp_status oxp_tensor_alloc(oxp_tensor *t, oxp_ctx *ctx, const char *what);

/* to = from, sharing the storage (a borrowed tensor stays borrowed). What `to` held is not
 * released. */
void oxp_tensor_share(oxp_tensor *to, const oxp_tensor *from);
/* to = a copy with its own memory. What `to` held is not released. */
oxp_status oxp_tensor_copy(oxp_tensor *to, oxp_ctx *ctx, const oxp_tensor *from);
void oxp_tensor_release(oxp_tensor *t); /* takes an all-zero tensor; leaves it all-zero */

/* ---- sequences: values of control flow ----
 *
 * A sequence is a tensor of type UNDEFINED and rank 1 whose data are `count` tensors, that share or
 * borrow what they hold. Tensors in it are no sequences. Sharing and releasing are as for others;
 * a copy has a list of its own that shares the tensors. */
oxp_status oxp_sequence_new(oxp_tensor *t, oxp_ctx *ctx, size_t length); /* of all-zero tensors */
bool oxp_is_sequence(const oxp_tensor *t);
oxp_tensor *oxp_sequence_items(const oxp_tensor *t);

/* "[2,3,4]" into out. */
#define OXP_SHAPE_TEXT_MAX 400
const char *oxp_shape_text(char out[OXP_SHAPE_TEXT_MAX], int rank, const int64_t *dims);

/* Element `i` of any integer or BOOL tensor as int64 (UINT64 wraps), of any float type (and
 * integers) as double. */
int64_t oxp_tensor_int(const oxp_tensor *t, size_t i);
double oxp_tensor_real(const oxp_tensor *t, size_t i);

#endif
