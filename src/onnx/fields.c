/* fields.c - passes over any message by its descriptor: copy, compare, visit.
 *
 * protobuf-c describes where the fields of a message lie; that serves every message of the schema,
 * also those that we never look into. Nothing here recurses: pending messages wait in an array. */
#include "onnx/model_internal.h"

#include <stdio.h>
#include <string.h>

static const void *at_offset(const ProtobufCMessage *m, unsigned offset)
{
    return (const unsigned char *)m + offset;
}

static const void *pointer_at(const void *member)
{
    const void *pointer;
    memcpy(&pointer, member, sizeof pointer);
    return pointer;
}

static bool is_pointer(const ProtobufCFieldDescriptor *f)
{
    return f->type == PROTOBUF_C_TYPE_MESSAGE || f->type == PROTOBUF_C_TYPE_STRING;
}

static size_t element_bytes(const ProtobufCFieldDescriptor *f)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    default:
        return 4;
    }
}

size_t oxp_field_count(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    const void *quantifier = at_offset(m, f->quantifier_offset);
    if (f->label == PROTOBUF_C_LABEL_REPEATED) {
        size_t count;
        memcpy(&count, quantifier, sizeof count);
        return count;
    }
    bool is_member = true;
    if ((f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
        uint32_t which;
        memcpy(&which, quantifier, sizeof which);
        is_member = which == f->id;
    } else if (f->label == PROTOBUF_C_LABEL_OPTIONAL && !is_pointer(f)) {
        protobuf_c_boolean has;
        memcpy(&has, quantifier, sizeof has);
        is_member = has != 0;
    }
    if (!is_member)
        return 0;
    return !is_pointer(f) || pointer_at(at_offset(m, f->offset)) != NULL;
}

/* The values of a field, one behind the other. */
static const void *field_values(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    const void *member = at_offset(m, f->offset);
    return f->label == PROTOBUF_C_LABEL_REPEATED ? pointer_at(member) : member;
}

ProtobufCMessage **oxp_field_slot(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, size_t i)
{
    unsigned char *member = (unsigned char *)m + f->offset;
    void *values = member;
    if (f->label == PROTOBUF_C_LABEL_REPEATED)
        memcpy(&values, member, sizeof values);
    return (ProtobufCMessage **)values + i;
}

/* ---- copy ---- */

/* Addresses of pointers that still lead to the original. */
typedef struct pending_slots {
    ProtobufCMessage ***items;
    size_t count, capacity;
} pending_slots;

static oxp_status out_of_memory(const oxp_arena *arena)
{
    return arena->ctx->status == OXP_OK ? OXP_ELIMIT : arena->ctx->status;
}

/* Gives a repeated field of a copy an array of its own: edits write into these. */
static oxp_status own_array(ProtobufCMessage *copy, const ProtobufCFieldDescriptor *f, size_t count,
                            oxp_arena *arena)
{
    void *fresh = oxp_arena_alloc(arena, count, sizeof(void *));
    if (fresh == NULL)
        return out_of_memory(arena);
    memcpy(fresh, field_values(copy, f), count * sizeof(void *));
    memcpy((unsigned char *)copy + f->offset, &fresh, sizeof fresh);
    return OXP_OK;
}

static oxp_status clone_one(ProtobufCMessage **slot, oxp_arena *arena, pending_slots *pending)
{
    const ProtobufCMessageDescriptor *descriptor = (*slot)->descriptor;
    ProtobufCMessage *copy = oxp_arena_alloc(arena, 1, descriptor->sizeof_message);
    if (copy == NULL)
        return out_of_memory(arena);
    memcpy(copy, *slot, descriptor->sizeof_message);
    *slot = copy;
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &descriptor->fields[i];
        size_t count = oxp_field_count(copy, f);
        if (count == 0 || !is_pointer(f))
            continue;
        if (f->label == PROTOBUF_C_LABEL_REPEATED)
            OXP_TRY(own_array(copy, f, count, arena));
        if (f->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        OXP_TRY(oxp_grow(&pending->items, &pending->capacity, arena->ctx, pending->count + count,
                         sizeof *pending->items));
        for (size_t j = 0; j < count; j++)
            pending->items[pending->count++] = oxp_field_slot(copy, f, j);
    }
    return OXP_OK;
}

oxp_status oxp_message_clone(ProtobufCMessage **out, oxp_arena *arena, const ProtobufCMessage *m)
{
    pending_slots pending = {0};
    ProtobufCMessage *root;
    memcpy(&root, &m, sizeof root); /* replaced by its copy before anything is written */
    oxp_status status = clone_one(&root, arena, &pending);
    while (status == OXP_OK && pending.count > 0)
        status = clone_one(pending.items[--pending.count], arena, &pending);
    oxp_free(pending.items);
    if (status == OXP_OK)
        *out = root;
    return status;
}

/* ---- comparison ---- */

typedef struct message_pair {
    const ProtobufCMessage *a, *b;
} message_pair;

typedef struct pending_pairs {
    message_pair *items;
    size_t count, capacity;
} pending_pairs;

static bool same_bytes(const void *a, const void *b, size_t bytes)
{
    return bytes == 0 || memcmp(a, b, bytes) == 0;
}

bool oxp_same_pieces(oxp_ctx *ctx, const uint8_t *a, const uint8_t *b, size_t bytes)
{
    bool same = true;
    for (size_t at = 0; same && at < bytes; at += OXP_PIECE_BYTES) {
        size_t piece = bytes - at < OXP_PIECE_BYTES ? bytes - at : OXP_PIECE_BYTES;
        same = memcmp(a + at, b + at, piece) == 0;
        oxp_pages_release(ctx, a + at, piece);
        oxp_pages_release(ctx, b + at, piece);
    }
    return same;
}

static bool same_value(const ProtobufCFieldDescriptor *f, oxp_ctx *ctx, const void *a,
                       const void *b)
{
    if (f->type == PROTOBUF_C_TYPE_STRING)
        return strcmp(pointer_at(a), pointer_at(b)) == 0;
    const ProtobufCBinaryData *x = a, *y = b;
    return x->len == y->len && oxp_same_pieces(ctx, x->data, y->data, x->len);
}

static bool same_values(const ProtobufCFieldDescriptor *f, oxp_ctx *ctx, const void *a,
                        const void *b, size_t count)
{
    size_t size = element_bytes(f);
    if (f->type != PROTOBUF_C_TYPE_STRING && f->type != PROTOBUF_C_TYPE_BYTES)
        return same_bytes(a, b, count * size);
    for (size_t i = 0; i < count; i++)
        if (!same_value(f, ctx, (const unsigned char *)a + i * size,
                        (const unsigned char *)b + i * size))
            return false;
    return true;
}

static bool same_unknown_fields(const ProtobufCMessage *a, const ProtobufCMessage *b)
{
    if (a->n_unknown_fields != b->n_unknown_fields)
        return false;
    for (unsigned i = 0; i < a->n_unknown_fields; i++) {
        const ProtobufCMessageUnknownField *x = &a->unknown_fields[i], *y = &b->unknown_fields[i];
        if (x->tag != y->tag || x->wire_type != y->wire_type || x->len != y->len ||
            !same_bytes(x->data, y->data, x->len))
            return false;
    }
    return true;
}

/* Sets *difference to the name of a field, or adds the submessages to `pending`. */
static oxp_status compare_one(const char **difference, message_pair pair, oxp_ctx *ctx,
                              pending_pairs *pending)
{
    const ProtobufCMessageDescriptor *descriptor = pair.a->descriptor;
    if (!same_unknown_fields(pair.a, pair.b))
        *difference = "(unknown fields)";
    for (unsigned i = 0; *difference == NULL && i < descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &descriptor->fields[i];
        size_t count = oxp_field_count(pair.a, f);
        if (count != oxp_field_count(pair.b, f)) {
            *difference = f->name;
        } else if (f->type != PROTOBUF_C_TYPE_MESSAGE) {
            if (count > 0 &&
                !same_values(f, ctx, field_values(pair.a, f), field_values(pair.b, f), count))
                *difference = f->name;
        } else {
            OXP_TRY(oxp_grow(&pending->items, &pending->capacity, ctx, pending->count + count,
                             sizeof *pending->items));
            ProtobufCMessage *const *a = field_values(pair.a, f), *const *b =
                                                                      field_values(pair.b, f);
            for (size_t j = 0; j < count; j++)
                pending->items[pending->count++] = (message_pair){a[j], b[j]};
        }
    }
    return OXP_OK;
}

oxp_status oxp_message_compare(const char **difference, char text[OXP_FIELD_TEXT_MAX], oxp_ctx *ctx,
                               const ProtobufCMessage *a, const ProtobufCMessage *b)
{
    pending_pairs pending = {0};
    message_pair pair = {a, b};
    const char *field = NULL;
    oxp_status status = compare_one(&field, pair, ctx, &pending);
    while (status == OXP_OK && field == NULL && pending.count > 0) {
        pair = pending.items[--pending.count];
        status = compare_one(&field, pair, ctx, &pending);
    }
    oxp_free(pending.items);
    if (status != OXP_OK)
        return status;
    if (field != NULL)
        snprintf(text, OXP_FIELD_TEXT_MAX, "%s.%s", pair.a->descriptor->short_name, field);
    *difference = field == NULL ? NULL : text;
    return OXP_OK;
}

/* ---- visit ---- */

typedef struct pending_messages {
    ProtobufCMessage **items;
    size_t count, capacity;
} pending_messages;

static oxp_status add_submessages(pending_messages *pending, oxp_ctx *ctx, ProtobufCMessage *m)
{
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        if (f->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        size_t count = oxp_field_count(m, f);
        OXP_TRY(oxp_grow(&pending->items, &pending->capacity, ctx, pending->count + count,
                         sizeof *pending->items));
        for (size_t j = count; j > 0; j--) /* the first one is taken first */
            pending->items[pending->count++] = *oxp_field_slot(m, f, j - 1);
    }
    return OXP_OK;
}

oxp_status oxp_message_visit(oxp_ctx *ctx, ProtobufCMessage *m,
                             oxp_status (*visit)(void *user, ProtobufCMessage *m), void *user)
{
    pending_messages pending = {0};
    oxp_status status = OXP_OK;
    for (ProtobufCMessage *next = m; next != NULL;) {
        OXP_TRY_GOTO(visit(user, next), done);
        OXP_TRY_GOTO(add_submessages(&pending, ctx, next), done);
        next = pending.count > 0 ? pending.items[--pending.count] : NULL;
    }
done:
    oxp_free(pending.items);
    return status;
}
