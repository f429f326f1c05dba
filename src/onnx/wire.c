/* wire.c - the wire walker: every tag, length, varint and string of a protobuf message is checked
 * against the schema, which is read from protobuf-c's own descriptors, so that no second table
 * exists.
 *
 * Refused: field numbers of 0 or above 2^29 - 1, groups, other wire types than the schema's,
 * varints over 10 bytes, int32 and enum values that protobuf-c would cut, a singular field or a
 * oneof set twice, lengths that leave the enclosing message, strings that are not UTF-8 or hold a
 * NUL, and counts over the limits. Accepted: unknown fields, non-minimal varints, packed and
 * unpacked elements in one field.
 *
 * The same pass writes the skeleton. Only bytes of raw_data payloads are left out of it, so a
 * position of the input maps to one of the skeleton by subtracting what was left out before; a
 * message that lost bytes gets its new length in a varint of the old width. */
#include "onnx/wire.h"

#include <assert.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MAX_TAG_BYTES 5
#define MAX_VARINT_BYTES 10
#define MAX_LENGTH_BYTES 5        /* protobuf-c reads no longer ones */
#define PIECE ((size_t)16)        /* what an allocation is rounded up to */
#define MEMBER_BYTES ((size_t)64) /* protobuf-c's bookkeeping per field of a message with many */
#define MEMBERS_FREE 16           /* as many lie on its stack */
#define PROGRESS_FIELDS 65536

typedef struct frame {
    const ProtobufCMessageDescriptor *type;
    const ProtobufCFieldDescriptor *field; /* of the enclosing message; NULL for the outermost */
    size_t end;
    uint64_t seen; /* a bit per field of `type` */
    size_t field_count;
    size_t length_at; /* position of the length varint in the input */
    size_t length_width;
    size_t removed_at_length; /* what was left out of the skeleton before that varint */
} frame;

typedef struct walker {
    oxp_ctx *ctx;
    oxp_status fail;
    const uint8_t *data;
    size_t bytes, at;
    frame frames[OXP_WIRE_MAX_DEPTH];
    size_t depth;
    size_t message_count, node_count, tensor_count, field_count, unknown_count;
    size_t unpacked, unpacked_limit; /* bytes that unpacking will ask for */
    uint8_t *skeleton;
    size_t skeleton_bytes, skeleton_capacity;
    size_t copied, removed; /* of the input: copied or left out so far, left out so far */
    size_t stub_count;
} walker;

/* ---- errors ---- */

/* "ModelProto.graph.node.attribute", from the outside in; the middle of a long one is left out. */
static void path_text(const walker *w, char *out, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < w->depth; i++) {
        if (w->depth > 12 && i == 6) {
            used += (size_t)snprintf(out + used, size - used, ".(%zu more)", w->depth - 12);
            i = w->depth - 6;
        }
        const char *name = i == 0 ? w->frames[0].type->short_name : w->frames[i].field->name;
        used += (size_t)snprintf(out + used, size - used, "%s%s", i == 0 ? "" : ".", name);
        assert(used < size);
    }
}

__attribute__((format(printf, 4, 5))) static oxp_status
refuse(walker *w, oxp_status status, const char *code, const char *format, ...)
{
    char path[512], text[512];
    path_text(w, path, sizeof path);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return oxp_fail(w->ctx, status, code, "byte %zu, in %s: %s", w->at, path, text);
}

/* Something asks for bytes beyond the end of its message: of the file, when it is the outermost. */
static oxp_status refuse_end(walker *w, const char *what, uint64_t needed, size_t left)
{
    if (w->depth == 1)
        return refuse(w, w->fail, "E-TRUNCATED",
                      "the file ends early: %s needs %" PRIu64 " bytes, %zu are left", what, needed,
                      left);
    return refuse(w, w->fail, "E-WIRE", "%s needs %" PRIu64 " bytes, its message has %zu left",
                  what, needed, left);
}

static const char *field_name(const ProtobufCFieldDescriptor *field)
{
    return field == NULL ? "unknown field" : field->name;
}

/* ---- scalars ---- */

/* A varint of at most `width_max` bytes that ends before `end`; moves on behind it. */
static oxp_status read_varint(walker *w, size_t end, size_t width_max, const char *what,
                              uint64_t *value)
{
    uint64_t result = 0;
    for (size_t i = 0; i < width_max; i++) {
        if (w->at + i >= end)
            return refuse_end(w, what, i + 1, i);
        uint64_t byte = w->data[w->at + i];
        if (i == 9 && byte > 1)
            return refuse(w, w->fail, "E-WIRE", "%s: varint of more than 64 bits", what);
        result |= (byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            w->at += i + 1;
            *value = result;
            return OXP_OK;
        }
    }
    return refuse(w, w->fail, "E-WIRE", "%s: varint of more than %zu bytes", what, width_max);
}

/* Bytes of one element in the unpacked message. */
static size_t element_bytes(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default:
        return 4;
    }
}

static ProtobufCWireType wire_type_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return PROTOBUF_C_WIRE_TYPE_32BIT;
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return PROTOBUF_C_WIRE_TYPE_64BIT;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED;
    default:
        return PROTOBUF_C_WIRE_TYPE_VARINT;
    }
}

static oxp_status check_value(walker *w, const ProtobufCFieldDescriptor *field, uint64_t value)
{
    int64_t number = (int64_t)value;
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_ENUM:
        if (number < INT32_MIN || number > INT32_MAX)
            return refuse(w, w->fail, "E-RANGE", "%s: %" PRId64 " does not fit 32 bits",
                          field->name, number);
        break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_SINT32:
        if (value > UINT32_MAX)
            return refuse(w, w->fail, "E-RANGE", "%s: %" PRIu64 " does not fit 32 bits",
                          field->name, value);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        if (value > 1)
            return refuse(w, w->fail, "E-RANGE", "%s: %" PRIu64 " is no bool", field->name, value);
        break;
    default:
        break;
    }
    if (field->type == PROTOBUF_C_TYPE_ENUM &&
        protobuf_c_enum_descriptor_get_value(field->descriptor, (int)number) == NULL)
        return refuse(w, w->fail, "E-ENUM", "%s: %" PRId64 " is no value of %s", field->name,
                      number, ((const ProtobufCEnumDescriptor *)field->descriptor)->short_name);
    return OXP_OK;
}

/* ---- memory that unpacking will ask for ---- */

static size_t piece(size_t bytes)
{
    return (bytes + PIECE - 1) / PIECE * PIECE;
}

/* `bytes` is at most a small multiple of the input's, so the sum cannot wrap. */
static oxp_status count_unpacked(walker *w, size_t bytes)
{
    w->unpacked += bytes;
    if (w->unpacked > w->unpacked_limit)
        return refuse(w, OXP_ELIMIT, "E-LIMIT-ALLOC",
                      "unpacking %zu bytes would take more than %zu bytes of memory", w->bytes,
                      w->unpacked_limit);
    return OXP_OK;
}

static oxp_status count_field(walker *w, const ProtobufCFieldDescriptor *field)
{
    frame *f = &w->frames[w->depth - 1];
    size_t *count = field == NULL ? &w->unknown_count : &w->field_count;
    size_t limit = field == NULL ? OXP_WIRE_MAX_UNKNOWN : OXP_WIRE_MAX_FIELDS;
    if (++*count > limit)
        return refuse(w, OXP_ELIMIT, "E-LIMIT-FIELDS", "more than %zu %sfields", limit,
                      field == NULL ? "unknown " : "");
    if ((w->field_count + w->unknown_count) % PROGRESS_FIELDS == 0)
        OXP_TRY(oxp_progress(w->ctx, "read", w->at, w->bytes));
    if (++f->field_count > MEMBERS_FREE)
        OXP_TRY(count_unpacked(w, MEMBER_BYTES));
    if (field == NULL)
        return count_unpacked(w, sizeof(ProtobufCMessageUnknownField));
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        return count_unpacked(w, element_bytes(field->type));
    return OXP_OK;
}

static oxp_status count_message(walker *w, const ProtobufCMessageDescriptor *type)
{
    if (++w->message_count > OXP_WIRE_MAX_MESSAGES)
        return refuse(w, OXP_ELIMIT, "E-LIMIT-MESSAGES", "more than %d messages",
                      OXP_WIRE_MAX_MESSAGES);
    OXP_TRY(count_unpacked(w, piece(type->sizeof_message)));
    if (type == &onnx__node_proto__descriptor && ++w->node_count > OXP_WIRE_MAX_NODES)
        return refuse(w, OXP_ELIMIT, "E-LIMIT-NODES", "more than %d nodes", OXP_WIRE_MAX_NODES);
    if (type == &onnx__tensor_proto__descriptor && ++w->tensor_count > OXP_WIRE_MAX_TENSORS)
        return refuse(w, OXP_ELIMIT, "E-LIMIT-TENSORS", "more than %d tensors",
                      OXP_WIRE_MAX_TENSORS);
    return OXP_OK;
}

/* ---- skeleton ---- */

static oxp_status skeleton_append(walker *w, const uint8_t *data, size_t bytes)
{
    size_t needed = w->skeleton_bytes + bytes;
    OXP_TRY(oxp_grow(&w->skeleton, &w->skeleton_capacity, w->ctx, needed, 1));
    memcpy(w->skeleton + w->skeleton_bytes, data, bytes);
    w->skeleton_bytes = needed;
    return OXP_OK;
}

static oxp_status skeleton_flush(walker *w, size_t until)
{
    OXP_TRY(skeleton_append(w, w->data + w->copied, until - w->copied));
    w->copied = until;
    return OXP_OK;
}

/* Overwrites a varint with a smaller value, padded to the old width. */
static void rewrite_varint(uint8_t *at, size_t width, size_t value)
{
    for (size_t i = 0; i < width; i++) {
        at[i] = (uint8_t)((value & 0x7f) | (i + 1 < width ? 0x80 : 0));
        value >>= 7;
    }
    assert(value == 0);
}

static void write_stub(uint8_t stub[OXP_WIRE_STUB_BYTES], uint64_t offset, uint64_t bytes)
{
    memset(stub, 0, OXP_WIRE_STUB_BYTES);
    memcpy(stub, &offset, sizeof offset);
    memcpy(stub + 8, &bytes, sizeof bytes);
}

void oxp_wire_read_stub(const uint8_t stub[OXP_WIRE_STUB_BYTES], size_t *offset, size_t *bytes)
{
    uint64_t numbers[2];
    memcpy(numbers, stub, sizeof numbers);
    *offset = (size_t)numbers[0];
    *bytes = (size_t)numbers[1];
}

/* Puts a stub in the place of the payload at w->at, whose length varint of `width` bytes ends
 * there. */
static oxp_status replace_payload(walker *w, size_t width, size_t bytes)
{
    uint8_t stub[OXP_WIRE_STUB_BYTES];
    write_stub(stub, w->at, bytes);
    OXP_TRY(skeleton_flush(w, w->at));
    rewrite_varint(w->skeleton + w->skeleton_bytes - width, width, sizeof stub);
    OXP_TRY(skeleton_append(w, stub, sizeof stub));
    w->copied = w->at + bytes;
    w->removed += bytes - sizeof stub;
    w->stub_count++;
    return OXP_OK;
}

/* ---- length-delimited fields ---- */

size_t oxp_utf8_prefix(const uint8_t *s, size_t bytes)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    size_t at = 0;
    while (at < bytes) {
        if (s[at] < 0x80) {
            if (s[at] == 0)
                return at;
            at++;
            continue;
        }
        size_t length = s[at] >= 0xf0 ? 4 : s[at] >= 0xe0 ? 3 : 2;
        if (s[at] < 0xc2 || s[at] > 0xf4 || length > bytes - at)
            return at;
        uint32_t code = s[at] & (0x7fu >> length);
        for (size_t i = 1; i < length; i++) {
            if ((s[at + i] & 0xc0) != 0x80)
                return at;
            code = code << 6 | (s[at + i] & 0x3fu);
        }
        if (code < least[length] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
            return at;
        at += length;
    }
    return at;
}

static bool is_name(const walker *w, const ProtobufCFieldDescriptor *field)
{
    if (w->frames[w->depth - 1].type == &onnx__string_string_entry_proto__descriptor)
        return strcmp(field->name, "value") != 0;
    return strcmp(field->name, "doc_string") != 0;
}

static oxp_status check_string(walker *w, const ProtobufCFieldDescriptor *field, size_t bytes)
{
    const uint8_t *text = w->data + w->at;
    size_t good = oxp_utf8_prefix(text, bytes);
    if (good < bytes && text[good] == 0)
        return refuse(w, w->fail, "E-STR-NUL", "%s: NUL at position %zu of %zu", field->name, good,
                      bytes);
    if (good < bytes)
        return refuse(w, w->fail, "E-STR-UTF8", "%s: not UTF-8 at position %zu of %zu", field->name,
                      good, bytes);
    if (bytes > OXP_WIRE_MAX_NAME && is_name(w, field))
        return refuse(w, OXP_ELIMIT, "E-LIMIT-NAME", "%s: %zu bytes, a name has at most %d",
                      field->name, bytes, OXP_WIRE_MAX_NAME);
    return count_unpacked(w, piece(bytes + 1));
}

static oxp_status check_packed_varints(walker *w, const ProtobufCFieldDescriptor *field,
                                       size_t bytes, size_t *count)
{
    size_t begin = w->at, end = w->at + bytes;
    if (bytes > 0 && w->data[end - 1] >= 0x80)
        return refuse(w, w->fail, "E-WIRE", "%s: the last packed varint does not end", field->name);
    for (*count = 0; w->at < end; ++*count) {
        uint64_t value;
        OXP_TRY(read_varint(w, end, MAX_VARINT_BYTES, field->name, &value));
        OXP_TRY(check_value(w, field, value));
    }
    w->at = begin;
    return OXP_OK;
}

/* Elements one after the other without tags. */
static oxp_status check_packed(walker *w, const ProtobufCFieldDescriptor *field, size_t bytes)
{
    size_t count = 0, size = 0;
    switch (wire_type_of(field->type)) {
    case PROTOBUF_C_WIRE_TYPE_32BIT:
        size = 4;
        break;
    case PROTOBUF_C_WIRE_TYPE_64BIT:
        size = 8;
        break;
    default:
        OXP_TRY(check_packed_varints(w, field, bytes, &count));
        return count_unpacked(w, piece(count * element_bytes(field->type)));
    }
    if (bytes % size != 0)
        return refuse(w, w->fail, "E-WIRE", "%s: %zu packed bytes are no multiple of %zu",
                      field->name, bytes, size);
    return count_unpacked(w, piece(bytes));
}

static oxp_status enter_message(walker *w, const ProtobufCFieldDescriptor *field, size_t width,
                                size_t bytes)
{
    const ProtobufCMessageDescriptor *type = field->descriptor;
    if (w->depth == OXP_WIRE_MAX_DEPTH)
        return refuse(w, OXP_ELIMIT, "E-LIMIT-DEPTH", "%s: more than %d messages in one another",
                      field->name, OXP_WIRE_MAX_DEPTH);
    OXP_TRY(count_message(w, type));
    w->frames[w->depth++] = (frame){.type = type,
                                    .field = field,
                                    .end = w->at + bytes,
                                    .length_at = w->at - width,
                                    .length_width = width,
                                    .removed_at_length = w->removed};
    return OXP_OK;
}

static void leave_message(walker *w)
{
    const frame *f = &w->frames[--w->depth];
    size_t removed = w->removed - f->removed_at_length;
    if (removed == 0)
        return;
    size_t bytes = f->end - f->length_at - f->length_width - removed;
    rewrite_varint(w->skeleton + f->length_at - f->removed_at_length, f->length_width, bytes);
}

static oxp_status check_length_delimited(walker *w, const ProtobufCFieldDescriptor *field)
{
    const frame *f = &w->frames[w->depth - 1];
    size_t begin = w->at;
    uint64_t length = 0;
    OXP_TRY(read_varint(w, f->end, MAX_LENGTH_BYTES, field_name(field), &length));
    if (length > INT_MAX)
        return refuse(w, w->fail, "E-WIRE", "%s: length %" PRIu64 " is more than 2^31 - 1",
                      field_name(field), length);
    if (length > f->end - w->at)
        return refuse_end(w, field_name(field), length, f->end - w->at);
    size_t bytes = (size_t)length, width = w->at - begin;

    if (field == NULL)
        OXP_TRY(count_unpacked(w, piece(width + bytes)));
    else if (field->type == PROTOBUF_C_TYPE_MESSAGE)
        return enter_message(w, field, width, bytes);
    else if (field->type == PROTOBUF_C_TYPE_STRING)
        OXP_TRY(check_string(w, field, bytes));
    else if (field->type != PROTOBUF_C_TYPE_BYTES)
        OXP_TRY(check_packed(w, field, bytes));
    else if (f->type == &onnx__tensor_proto__descriptor && strcmp(field->name, "raw_data") == 0 &&
             bytes >= OXP_WIRE_STUB_BYTES)
        OXP_TRY(replace_payload(w, width, bytes));
    else
        OXP_TRY(count_unpacked(w, piece(bytes)));
    w->at += bytes;
    return OXP_OK;
}

/* ---- fields ---- */

/* A singular field stands once; of a oneof, one member. */
static oxp_status check_once(walker *w, const ProtobufCFieldDescriptor *field)
{
    frame *f = &w->frames[w->depth - 1];
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        return OXP_OK;
    assert(f->type->n_fields <= 64);
    for (unsigned i = 0; i < f->type->n_fields; i++) {
        const ProtobufCFieldDescriptor *other = &f->type->fields[i];
        bool excludes = other == field || ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 &&
                                           (other->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 &&
                                           other->quantifier_offset == field->quantifier_offset);
        if (!excludes || (f->seen >> i & 1) == 0)
            continue;
        if (other == field)
            return refuse(w, w->fail, "E-DUP-FIELD", "%s stands twice", field->name);
        return refuse(w, w->fail, "E-DUP-FIELD", "%s and %s exclude each other", other->name,
                      field->name);
    }
    f->seen |= UINT64_C(1) << (field - f->type->fields);
    return OXP_OK;
}

static oxp_status check_wire_type(walker *w, const ProtobufCFieldDescriptor *field, unsigned found)
{
    unsigned expected = wire_type_of(field->type);
    if (found == expected)
        return OXP_OK;
    bool may_be_packed = field->label == PROTOBUF_C_LABEL_REPEATED &&
                         expected != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED;
    if (may_be_packed && found == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED)
        return OXP_OK;
    return refuse(w, w->fail, "E-WIRETYPE", "%s: wire type %u, expected %u", field->name, found,
                  expected);
}

static oxp_status skip_fixed(walker *w, const ProtobufCFieldDescriptor *field, size_t size)
{
    size_t left = w->frames[w->depth - 1].end - w->at;
    if (size > left)
        return refuse_end(w, field_name(field), size, left);
    w->at += size;
    return field == NULL ? count_unpacked(w, piece(size)) : OXP_OK;
}

static oxp_status check_varint_field(walker *w, const ProtobufCFieldDescriptor *field)
{
    uint64_t value = 0;
    OXP_TRY(
        read_varint(w, w->frames[w->depth - 1].end, MAX_VARINT_BYTES, field_name(field), &value));
    if (field == NULL)
        return count_unpacked(w, piece(MAX_VARINT_BYTES));
    return check_value(w, field, value);
}

static oxp_status walk_field(walker *w)
{
    const frame *f = &w->frames[w->depth - 1];
    size_t begin = w->at;
    uint64_t tag = 0;
    OXP_TRY(read_varint(w, f->end, MAX_TAG_BYTES, "tag", &tag));
    uint64_t number = tag >> 3;
    unsigned wire_type = (unsigned)(tag & 7);
    const ProtobufCFieldDescriptor *field = NULL;
    if (number >= 1 && number < UINT64_C(1) << 29)
        field = protobuf_c_message_descriptor_get_field(f->type, (unsigned)number);
    else {
        w->at = begin;
        return refuse(w, w->fail, "E-WIRE", "field number %" PRIu64 " is not in 1..2^29 - 1",
                      number);
    }
    if (wire_type == 3 || wire_type == 4 || wire_type > 5) {
        w->at = begin;
        return refuse(w, w->fail, "E-WIRE", "field %" PRIu64 ": wire type %u is not allowed",
                      number, wire_type);
    }
    OXP_TRY(count_field(w, field));
    if (field != NULL) {
        OXP_TRY(check_wire_type(w, field, wire_type));
        OXP_TRY(check_once(w, field));
    }
    switch (wire_type) {
    case PROTOBUF_C_WIRE_TYPE_VARINT:
        return check_varint_field(w, field);
    case PROTOBUF_C_WIRE_TYPE_64BIT:
        return skip_fixed(w, field, 8);
    case PROTOBUF_C_WIRE_TYPE_32BIT:
        return skip_fixed(w, field, 4);
    default:
        return check_length_delimited(w, field);
    }
}

static oxp_status walk(walker *w, const ProtobufCMessageDescriptor *root)
{
    w->frames[w->depth++] = (frame){.type = root, .end = w->bytes};
    OXP_TRY(count_message(w, root));
    for (;;) {
        while (w->depth > 0 && w->at == w->frames[w->depth - 1].end) {
            if (w->depth == 1)
                return w->stub_count == 0 ? OXP_OK : skeleton_flush(w, w->bytes);
            leave_message(w);
        }
        OXP_TRY(walk_field(w));
    }
}

oxp_status oxp_wire_walk(oxp_wire *out, oxp_ctx *ctx, const ProtobufCMessageDescriptor *root,
                         const uint8_t *data, size_t bytes, oxp_status fail)
{
    if (bytes > INT_MAX)
        return oxp_fail(ctx, OXP_ELIMIT, "E-LIMIT-FILE", "%zu bytes, a message has at most %d",
                        bytes, INT_MAX);
    walker w = {.ctx = ctx,
                .fail = fail,
                .data = data,
                .bytes = bytes,
                .unpacked_limit = OXP_WIRE_UNPACKED_BASE + bytes * OXP_WIRE_UNPACKED_FACTOR};
    oxp_status status = walk(&w, root);
    if (status != OXP_OK) {
        oxp_free(w.skeleton);
        return status;
    }
    *out = (oxp_wire){
        .skeleton = w.skeleton, .skeleton_bytes = w.skeleton_bytes, .stub_count = w.stub_count};
    return OXP_OK;
}
