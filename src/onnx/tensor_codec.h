/* tensor_codec.h - where a TensorProto keeps its elements, and how many of them its shape asks for.
 * */
#ifndef OXP_ONNX_TENSOR_CODEC_H
#define OXP_ONNX_TENSOR_CODEC_H

#include "onnx/model_internal.h"

#define OXP_MAX_PROTO_RANK \
    64 /* of a tensor that is only carried along; what is run has OXP_MAX_RANK */

typedef enum oxp_data_field {
    OXP_FIELD_FLOAT,
    OXP_FIELD_INT32,
    OXP_FIELD_STRING,
    OXP_FIELD_INT64,
    OXP_FIELD_DOUBLE,
    OXP_FIELD_UINT64,
    OXP_FIELD_RAW,
    OXP_FIELD_COUNT
} oxp_data_field;

const char *oxp_data_field_name(oxp_data_field field); /* "float_data" */
bool oxp_data_field_is_set(const Onnx__TensorProto *t, oxp_data_field field);
size_t oxp_data_field_size(const Onnx__TensorProto *t,
                           oxp_data_field field);  /* entries; bytes of raw_data */
oxp_data_field oxp_data_field_of(oxp_dtype dtype); /* the typed field of an element type */

/* Entries that the typed field holds for `count` elements: two per complex number, bytes below 8
 * bits. */
size_t oxp_data_field_entries(oxp_dtype dtype, size_t count);

/* Elements and bytes of a shape without negative dims; false when one of them cannot be
 * represented. An empty tensor has no product to overflow, wherever its 0 stands. STRING has 0
 * bytes. */
bool oxp_data_extent(oxp_dtype dtype, size_t rank, const int64_t *dims, size_t *count,
                     size_t *bytes);

/* Reverses the bytes of each element: between raw_data, little endian, and a big-endian host.
 * Complex numbers have element_bytes of one part. */
void oxp_swap_bytes(void *out, const void *in, size_t count, size_t element_bytes);

#endif
