/* unpack.h - from bytes that may be anything to protobuf-c messages in an arena, without copying
 * large raw_data. */
#ifndef OXP_ONNX_UNPACK_H
#define OXP_ONNX_UNPACK_H

#include "onnx/wire.h"

/* Allocates from the arena, zero-filled; freeing does nothing. Every block has a zero byte behind
 * it, so that a bytes field unpacked through it can be read as a string. */
ProtobufCAllocator oxp_arena_allocator(oxp_arena *arena);

/* Walks and unpacks a message of type `root`. Long raw_data of its tensors points into `data`,
 * which must live as long; everything else is in the arena. Status `fail` for what is wrong with
 * the bytes. */
oxp_status oxp_unpack(ProtobufCMessage **out, oxp_arena *arena,
                      const ProtobufCMessageDescriptor *root, uint8_t *data, size_t bytes,
                      oxp_status fail);

/* The strings of an unpacked attribute, NUL-terminated, also in a clone, which shares the array
 * that they lie behind. One that holds a NUL ends there. */
const char *const *oxp_attribute_texts(const Onnx__AttributeProto *a);

/* What a file is when it is no protobuf: "a ZIP archive"; NULL when nothing is recognised. */
const char *oxp_sniff(const uint8_t *data, size_t bytes);

#endif
