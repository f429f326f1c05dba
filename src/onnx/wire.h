/* wire.h - strict reading of protobuf bytes before protobuf-c sees them.
 *
 * protobuf-c recurses without a limit, multiplies memory, cuts strings at NUL, merges repeated
 * singular fields and takes an empty file. So nothing reaches it that did not pass here first. */
#ifndef OXP_ONNX_WIRE_H
#define OXP_ONNX_WIRE_H

#include "onnx.pb-c.h"
#include "util/memory.h"

#define OXP_WIRE_MAX_DEPTH 100        /* messages, the outermost included */
#define OXP_WIRE_MAX_MESSAGES 4000000 /* of all kinds */
#define OXP_WIRE_MAX_NODES 1000000    /* NodeProto, subgraphs and functions included */
#define OXP_WIRE_MAX_TENSORS 1000000  /* TensorProto */
#define OXP_WIRE_MAX_FIELDS 32000000  /* known fields; a repeated field counts once per element */
#define OXP_WIRE_MAX_UNKNOWN 1000000  /* fields that the schema does not have */
#define OXP_WIRE_MAX_NAME 65535     /* bytes of any string but documentation and property values */
#define OXP_WIRE_UNPACKED_FACTOR 64 /* unpacked messages: at most factor x file + base bytes */
#define OXP_WIRE_UNPACKED_BASE ((size_t)64 << 20)

/* Payloads of TensorProto.raw_data this long stay where they are: unpacking sees a stub of exactly
 * this length, so that after it a raw_data of this length is always a stub. */
#define OXP_WIRE_STUB_BYTES 24

typedef struct oxp_wire {
    uint8_t *skeleton; /* the message with stubs; NULL without any: the input serves as it is */
    size_t skeleton_bytes;
    size_t stub_count;
} oxp_wire;

/* Walks `bytes` of a message of type `root` and accepts it or names the first thing that is wrong
 * with it, with status `fail` (limits: OXP_ELIMIT). No recursion; memory only for the skeleton,
 * which oxp_free() frees. */
oxp_status oxp_wire_walk(oxp_wire *out, oxp_ctx *ctx, const ProtobufCMessageDescriptor *root,
                         const uint8_t *data, size_t bytes, oxp_status fail);

/* Length of the longest prefix of `s` that is well-formed UTF-8 without NUL. */
size_t oxp_utf8_prefix(const uint8_t *s, size_t bytes);

/* Where the payload behind a stub lies in the walked bytes. */
void oxp_wire_read_stub(const uint8_t stub[OXP_WIRE_STUB_BYTES], size_t *offset, size_t *bytes);

#endif
