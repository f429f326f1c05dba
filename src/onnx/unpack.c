/* unpack.c - the walked skeleton through protobuf-c, then every stub replaced by the bytes it
 * stands for.
 *
 * protobuf-c recurses once per message level: 100 levels need about 100 kB of stack. */
#include "onnx/unpack.h"

#include <assert.h>

#include "onnx/model_internal.h"

/* Arena pieces are 64-byte aligned. Most of what a model unpacks to is far smaller, so small
 * requests share a piece; long ones, the arrays of numbers among them, keep the alignment. */
#define SMALL_BYTES ((size_t)256)
#define CHUNK_BYTES ((size_t)4096)
#define SMALL_ALIGNMENT ((size_t)16)

typedef struct pool {
    oxp_arena *arena;
    uint8_t *chunk;
    size_t left;
} pool;

static void *pool_alloc(void *user, size_t bytes)
{
    pool *p = user;
    size_t with_end;
    if (p == NULL || !oxp_add_ok(bytes, 1, &with_end))
        return NULL;
    if (with_end > SMALL_BYTES)
        return oxp_arena_alloc(p->arena, with_end, 1);
    size_t rounded = (with_end + SMALL_ALIGNMENT - 1) / SMALL_ALIGNMENT * SMALL_ALIGNMENT;
    if (rounded > p->left) {
        p->chunk = oxp_arena_alloc(p->arena, CHUNK_BYTES, 1);
        p->left = p->chunk == NULL ? 0 : CHUNK_BYTES;
    }
    if (p->chunk == NULL)
        return NULL;
    void *piece = p->chunk + (CHUNK_BYTES - p->left);
    p->left -= rounded;
    return piece;
}

static void pool_free(void *user, void *pointer)
{
    (void)user;
    (void)pointer;
}

ProtobufCAllocator oxp_arena_allocator(oxp_arena *arena)
{
    pool *p = oxp_arena_alloc(arena, 1, sizeof *p); /* NULL: every request will fail */
    if (p != NULL)
        p->arena = arena;
    return (ProtobufCAllocator){.alloc = pool_alloc, .free = pool_free, .allocator_data = p};
}

/* ---- after unpacking ---- */

typedef struct repair {
    oxp_arena *arena;
    uint8_t *data;
    size_t bytes, stub_count;
} repair;

static void resolve_stub(repair *r, Onnx__TensorProto *t)
{
    if (!t->has_raw_data || t->raw_data.len != OXP_WIRE_STUB_BYTES)
        return;
    size_t offset, bytes;
    oxp_wire_read_stub(t->raw_data.data, &offset, &bytes);
    assert(offset <= r->bytes && bytes <= r->bytes - offset);
    t->raw_data = (ProtobufCBinaryData){.len = bytes, .data = r->data + offset};
    r->stub_count++;
}

/* Moves the array to one that has the texts behind it once more, as plain pointers. */
static oxp_status index_strings(repair *r, Onnx__AttributeProto *a)
{
    size_t count = a->n_strings;
    if (count == 0)
        return OXP_OK;
    ProtobufCBinaryData *moved =
        oxp_arena_alloc(r->arena, count, sizeof(ProtobufCBinaryData) + sizeof(char *));
    if (moved == NULL)
        return r->arena->ctx->status;
    const char **texts = (const char **)(void *)(moved + count);
    for (size_t i = 0; i < count; i++) {
        moved[i] = a->strings[i];
        texts[i] = moved[i].len == 0 ? "" : (const char *)moved[i].data;
    }
    a->strings = moved;
    return OXP_OK;
}

static oxp_status repair_message(void *user, ProtobufCMessage *m)
{
    if (m->descriptor == &onnx__tensor_proto__descriptor)
        resolve_stub(user, (Onnx__TensorProto *)(void *)m);
    if (m->descriptor == &onnx__attribute_proto__descriptor)
        return index_strings(user, (Onnx__AttributeProto *)(void *)m);
    return OXP_OK;
}

oxp_status oxp_unpack(ProtobufCMessage **out, oxp_arena *arena,
                      const ProtobufCMessageDescriptor *root, uint8_t *data, size_t bytes,
                      oxp_status fail)
{
    oxp_wire wire;
    OXP_TRY(oxp_wire_walk(&wire, arena->ctx, root, data, bytes, fail));
    ProtobufCAllocator allocator = oxp_arena_allocator(arena);
    ProtobufCMessage *message =
        wire.skeleton == NULL
            ? protobuf_c_message_unpack(root, &allocator, bytes, data)
            : protobuf_c_message_unpack(root, &allocator, wire.skeleton_bytes, wire.skeleton);
    oxp_free(wire.skeleton);
    if (message == NULL) /* out of memory is in the context already, and the first error stays */
        return oxp_fail(arena->ctx,
                        arena->ctx->status != OXP_OK ? arena->ctx->status : OXP_EINTERNAL,
                        "E-INTERNAL", "%s: walked, but not unpacked", root->short_name);
    repair r = {.arena = arena, .data = data, .bytes = bytes};
    OXP_TRY(oxp_message_visit(arena->ctx, message, repair_message, &r));
    if (r.stub_count != wire.stub_count)
        return oxp_fail(arena->ctx, OXP_EINTERNAL, "E-INTERNAL", "%zu stubs written, %zu found",
                        wire.stub_count, r.stub_count);
    *out = message;
    return OXP_OK;
}

const char *const *oxp_attribute_texts(const Onnx__AttributeProto *a)
{
    return a->n_strings == 0 ? NULL
                             : (const char *const *)(const void *)(a->strings + a->n_strings);
}
