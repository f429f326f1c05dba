/* artefact_file.c - see artefact_file.h. */
#include "calibration/artefact_file.h"

#include <string.h>

#define XXH_STATIC_LINKING_ONLY /* the state's size */
#include <xxhash.h>

#include "util/map.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "arrays are copied as they lie");

#define HEAD_BYTES ((size_t)16)
#define ENTRY_BYTES ((size_t)32)
#define TAIL_BYTES ((size_t)40)
#define TEXT_MAX ((size_t)64 << 10)
#define BUFFER ((size_t)64 << 10)
#define FILE_MAX ((size_t)1 << 46)

static const char magic[8] = "\x89OXC\r\n\x1a\n", tail_magic[8] = "OXC-END\n";

/* ---- writing ---- */

struct oxp_oxc_writer {
    oxp_ctx *ctx;
    oxp_output_file *file;
    oxp_oxc_section *sections;
    size_t count, capacity;
    bool open;
    uint64_t written; /* the buffer's bytes not counted */
    uint8_t *buffer;
    size_t used;
    uint8_t head[HEAD_BYTES];
    uint64_t hash;      /* of the file */
    XXH3_state_t state; /* of the open section */
};

static void store_u32(uint8_t *out, uint32_t value)
{
    memcpy(out, &value, sizeof value);
}

static void store_u64(uint8_t *out, uint64_t value)
{
    memcpy(out, &value, sizeof value);
}

static uint32_t load_u32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static uint64_t load_u64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static oxp_status flush(oxp_oxc_writer *w)
{
    if (w->open && w->used)
        XXH3_64bits_update(&w->state, w->buffer, w->used);
    OXP_TRY(oxp_output_write(w->file, w->buffer, w->used));
    w->written += w->used;
    w->used = 0;
    return OXP_OK;
}

oxp_status oxp_oxc_put(oxp_oxc_writer *w, const void *data, size_t bytes)
{
    if (bytes > BUFFER - w->used)
        OXP_TRY(flush(w));
    if (bytes <= BUFFER) {
        if (bytes)
            memcpy(w->buffer + w->used, data, bytes);
        w->used += bytes;
        return OXP_OK;
    }
    if (w->open)
        XXH3_64bits_update(&w->state, data, bytes);
    w->written += bytes;
    return oxp_output_write(w->file, data, bytes);
}

oxp_status oxp_oxc_begin(oxp_oxc_writer **out, oxp_ctx *ctx, oxp_output_file *file,
                         oxp_oxc_kind kind)
{
    oxp_oxc_writer *w;
    OXP_TRY(oxp_alloc(&w, ctx, 1, sizeof *w, "artefact"));
    w->ctx = ctx;
    w->file = file;
    memcpy(w->head, magic, sizeof magic);
    store_u32(w->head + 8, OXP_OXC_VERSION);
    store_u32(w->head + 12, (uint32_t)kind);
    oxp_status status = oxp_alloc_raw(&w->buffer, ctx, BUFFER, 1, "artefact");
    if (status == OXP_OK)
        status = oxp_oxc_put(w, w->head, HEAD_BYTES);
    if (status != OXP_OK) {
        oxp_oxc_writer_free(w);
        return status;
    }
    *out = w;
    return OXP_OK;
}

size_t oxp_oxc_bytes(const oxp_oxc_writer *w)
{
    return (size_t)w->written + w->used;
}

uint64_t oxp_oxc_hash(const oxp_oxc_writer *w)
{
    return w->hash;
}

static oxp_status close_section(oxp_oxc_writer *w)
{
    static const uint8_t zeros[8] = {0};
    if (!w->open)
        return OXP_OK;
    OXP_TRY(flush(w));
    oxp_oxc_section *s = &w->sections[w->count - 1];
    s->bytes = w->written - s->offset;
    s->hash = XXH3_64bits_digest(&w->state);
    w->open = false;
    return oxp_oxc_put(w, zeros, (size_t)(-w->written & 7));
}

oxp_status oxp_oxc_section_begin(oxp_oxc_writer *w, uint32_t tag, uint32_t item)
{
    OXP_TRY(close_section(w));
    OXP_TRY(flush(w));
    OXP_TRY(oxp_grow(&w->sections, &w->capacity, w->ctx, w->count + 1, sizeof *w->sections));
    w->sections[w->count++] = (oxp_oxc_section){.tag = tag, .item = item, .offset = w->written};
    XXH3_64bits_reset(&w->state);
    w->open = true;
    return OXP_OK;
}

oxp_status oxp_oxc_put_u8(oxp_oxc_writer *w, uint8_t value)
{
    return oxp_oxc_put(w, &value, 1);
}

oxp_status oxp_oxc_put_u32(oxp_oxc_writer *w, uint32_t value)
{
    uint8_t bytes[4];
    store_u32(bytes, value);
    return oxp_oxc_put(w, bytes, sizeof bytes);
}

oxp_status oxp_oxc_put_u64(oxp_oxc_writer *w, uint64_t value)
{
    uint8_t bytes[8];
    store_u64(bytes, value);
    return oxp_oxc_put(w, bytes, sizeof bytes);
}

oxp_status oxp_oxc_put_varint(oxp_oxc_writer *w, uint64_t value)
{
    uint8_t bytes[10];
    size_t n = 0;
    for (; value >= 0x80; value >>= 7)
        bytes[n++] = (uint8_t)(value | 0x80);
    bytes[n++] = (uint8_t)value;
    return oxp_oxc_put(w, bytes, n);
}

oxp_status oxp_oxc_put_text(oxp_oxc_writer *w, const char *text)
{
    size_t length = strlen(text);
    if (length > TEXT_MAX)
        return oxp_fail(w->ctx, OXP_ELIMIT, "E-LIMIT-NAME",
                        "a name of %zu bytes: an artefact holds at most %zu", length, TEXT_MAX);
    OXP_TRY(oxp_oxc_put_u32(w, (uint32_t)length));
    return oxp_oxc_put(w, text, length);
}

static uint64_t end_hash(const uint8_t *head, const uint8_t *index, size_t index_bytes,
                         const uint8_t *numbers)
{
    XXH3_state_t state;
    XXH3_64bits_reset(&state);
    XXH3_64bits_update(&state, head, HEAD_BYTES);
    if (index_bytes)
        XXH3_64bits_update(&state, index, index_bytes);
    XXH3_64bits_update(&state, numbers, 24);
    return XXH3_64bits_digest(&state);
}

static oxp_status put_index(oxp_oxc_writer *w)
{
    uint8_t *index, tail[TAIL_BYTES];
    uint64_t offset = w->written + w->used;
    OXP_TRY(oxp_alloc(&index, w->ctx, w->count + 1, ENTRY_BYTES, "index"));
    for (size_t i = 0; i < w->count; i++) {
        const oxp_oxc_section *s = &w->sections[i];
        uint8_t *at = index + i * ENTRY_BYTES;
        store_u32(at, s->tag);
        store_u32(at + 4, s->item);
        store_u64(at + 8, s->offset);
        store_u64(at + 16, s->bytes);
        store_u64(at + 24, s->hash);
    }
    store_u64(tail, offset);
    store_u64(tail + 8, w->count);
    store_u64(tail + 16, offset + w->count * ENTRY_BYTES + TAIL_BYTES);
    store_u64(tail + 24, end_hash(w->head, index, w->count * ENTRY_BYTES, tail));
    memcpy(tail + 32, tail_magic, sizeof tail_magic);
    oxp_status status = oxp_oxc_put(w, index, w->count * ENTRY_BYTES);
    if (status == OXP_OK)
        status = oxp_oxc_put(w, tail, TAIL_BYTES);
    oxp_free(index);
    return status == OXP_OK ? flush(w) : status;
}

/* The disk gave back what was written. */
static oxp_status verify(oxp_oxc_writer *w)
{
    oxp_file_bytes back;
    OXP_TRY(oxp_output_read_back(&back, w->file));
    bool good = back.bytes == w->written;
    for (size_t i = 0; good && i < w->count; i++) {
        const oxp_oxc_section *s = &w->sections[i];
        good = oxp_hash(back.data + s->offset, (size_t)s->bytes) == s->hash;
        oxp_pages_release(w->ctx, back.data + s->offset, (size_t)s->bytes);
    }
    w->hash = good ? oxp_hash(back.data, back.bytes) : 0;
    oxp_file_close(&back);
    if (good)
        return OXP_OK;
    return oxp_fail(w->ctx, OXP_EINTERNAL, "E-VERIFY",
                    "the artefact that was written reads back as other bytes");
}

oxp_status oxp_oxc_finish(oxp_oxc_writer *w)
{
    OXP_TRY(close_section(w));
    OXP_TRY(put_index(w));
    return verify(w);
}

void oxp_oxc_writer_free(oxp_oxc_writer *w)
{
    if (!w)
        return;
    oxp_free(w->sections);
    oxp_free(w->buffer);
    oxp_free(w);
}

/* ---- opening ---- */

static oxp_status refuse(const oxp_oxc_reader *r, const char *code, const char *what)
{
    return oxp_fail(r->ctx, OXP_EFORMAT, code, "%s: %s", r->path, what);
}

static oxp_status check_head(oxp_oxc_reader *r)
{
    const uint8_t *data = r->file.data;
    if (r->file.bytes < HEAD_BYTES + TAIL_BYTES || memcmp(data, magic, sizeof magic) != 0)
        return refuse(r, "E-OXC-MAGIC", "not a calibration artefact");
    uint32_t version = load_u32(data + 8), kind = load_u32(data + 12);
    if (version != OXP_OXC_VERSION)
        return oxp_fail(r->ctx, OXP_EFORMAT, "E-OXC-VERSION",
                        "%s: a calibration artefact of version %u, this program reads %u", r->path,
                        version, OXP_OXC_VERSION);
    if (kind != OXP_OXC_ARTEFACT && kind != OXP_OXC_CHECKPOINT)
        return refuse(r, "E-OXC-KIND", "neither an artefact nor a checkpoint");
    r->kind = (oxp_oxc_kind)kind;
    return OXP_OK;
}

/* Where the index lies, and that it is the one that was written. */
static oxp_status check_tail(oxp_oxc_reader *r, size_t *index)
{
    const uint8_t *tail = r->file.data + r->file.bytes - TAIL_BYTES;
    uint64_t offset = load_u64(tail), count = load_u64(tail + 8), bytes = load_u64(tail + 16);
    size_t room = r->file.bytes - HEAD_BYTES - TAIL_BYTES;
    if (memcmp(tail + 32, tail_magic, sizeof tail_magic) != 0)
        return refuse(r, "E-OXC-LENGTH", "the artefact's end is missing: it is cut short");
    if (bytes != r->file.bytes)
        return oxp_fail(r->ctx, OXP_EFORMAT, "E-OXC-LENGTH",
                        "%s: the file has %zu bytes, its end says %llu", r->path, r->file.bytes,
                        (unsigned long long)bytes);
    if (count > room / ENTRY_BYTES ||
        offset != r->file.bytes - TAIL_BYTES - (size_t)count * ENTRY_BYTES)
        return refuse(r, "E-OXC-INDEX", "the index does not lie at the file's end");
    if (end_hash(r->file.data, r->file.data + offset, (size_t)count * ENTRY_BYTES, tail) !=
        load_u64(tail + 24))
        return refuse(r, "E-OXC-HASH", "the index is not what its hash says: the file is damaged");
    *index = (size_t)offset;
    r->count = (size_t)count;
    return OXP_OK;
}

static bool is_after(const oxp_oxc_section *s, const oxp_oxc_section *before)
{
    return s->tag > before->tag || (s->tag == before->tag && s->item > before->item);
}

static oxp_status read_index(oxp_oxc_reader *r, size_t index)
{
    size_t expected = HEAD_BYTES;
    OXP_TRY(oxp_alloc(&r->sections, r->ctx, r->count + 1, sizeof *r->sections, "index"));
    for (size_t i = 0; i < r->count; i++) {
        const uint8_t *at = r->file.data + index + i * ENTRY_BYTES;
        oxp_oxc_section *s = &r->sections[i];
        *s = (oxp_oxc_section){load_u32(at), load_u32(at + 4), load_u64(at + 8), load_u64(at + 16),
                               load_u64(at + 24)};
        if (s->offset != expected || s->bytes > index - expected)
            return refuse(r, "E-OXC-INDEX", "a section lies outside its place");
        if (i && !is_after(s, &s[-1]))
            return refuse(r, "E-OXC-INDEX", "the sections are out of order");
        for (expected += (size_t)s->bytes; expected % 8 != 0 && expected < index; expected++)
            if (r->file.data[expected] != 0)
                return refuse(r, "E-OXC-INDEX", "something lies between the sections");
    }
    if (expected != index)
        return refuse(r, "E-OXC-INDEX", "something lies between the sections and the index");
    return OXP_OK;
}

oxp_status oxp_oxc_open(oxp_oxc_reader *out, oxp_ctx *ctx, const char *path)
{
    size_t index;
    *out = (oxp_oxc_reader){.ctx = ctx, .path = path};
    OXP_TRY(oxp_file_open(&out->file, ctx, path, FILE_MAX, OXP_EFORMAT));
    OXP_TRY(check_head(out));
    OXP_TRY(check_tail(out, &index));
    return read_index(out, index);
}

void oxp_oxc_close(oxp_oxc_reader *r)
{
    oxp_free(r->sections);
    if (r->file.data)
        oxp_file_close(&r->file);
    *r = (oxp_oxc_reader){0};
}

/* ---- sections ---- */

static const oxp_oxc_section *find(const oxp_oxc_reader *r, uint32_t tag, uint32_t item)
{
    oxp_oxc_section wanted = {.tag = tag, .item = item};
    size_t low = 0, high = r->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (is_after(&wanted, &r->sections[middle]))
            low = middle + 1;
        else
            high = middle;
    }
    const oxp_oxc_section *s = &r->sections[low];
    return low < r->count && s->tag == tag && s->item == item ? s : NULL;
}

bool oxp_oxc_has(const oxp_oxc_reader *r, uint32_t tag, uint32_t item)
{
    return find(r, tag, item) != NULL;
}

oxp_status oxp_oxc_section_open(oxp_oxc_cursor *out, const oxp_oxc_reader *r, uint32_t tag,
                                uint32_t item)
{
    const oxp_oxc_section *s = find(r, tag, item);
    if (!s)
        return oxp_fail(r->ctx, OXP_EFORMAT, "E-OXC-SECTION", "%s: section %u.%u is missing",
                        r->path, tag, item);
    const uint8_t *data = r->file.data + s->offset;
    if (oxp_hash(data, (size_t)s->bytes) != s->hash)
        return oxp_fail(r->ctx, OXP_EFORMAT, "E-OXC-HASH",
                        "%s: section %u.%u is not what its hash says: the file is damaged", r->path,
                        tag, item);
    *out = (oxp_oxc_cursor){.reader = r, .section = *s, .at = data, .end = data + s->bytes};
    return OXP_OK;
}

oxp_status oxp_oxc_refuse(oxp_oxc_cursor *c, const char *what)
{
    if (c->status == OXP_OK)
        c->status = oxp_fail(c->reader->ctx, OXP_EFORMAT, "E-OXC-SECTION", "%s: section %u.%u: %s",
                             c->reader->path, c->section.tag, c->section.item, what);
    return c->status;
}

static bool take(oxp_oxc_cursor *c, void *out, size_t bytes)
{
    if (c->status == OXP_OK && bytes > (size_t)(c->end - c->at))
        oxp_oxc_refuse(c, "it ends before what it says it holds");
    if (c->status != OXP_OK)
        return false;
    if (bytes)
        memcpy(out, c->at, bytes);
    c->at += bytes;
    return true;
}

uint8_t oxp_oxc_u8(oxp_oxc_cursor *c)
{
    uint8_t value = 0;
    return take(c, &value, sizeof value) ? value : 0;
}

uint32_t oxp_oxc_u32(oxp_oxc_cursor *c)
{
    uint32_t value = 0;
    return take(c, &value, sizeof value) ? value : 0;
}

uint64_t oxp_oxc_u64(oxp_oxc_cursor *c)
{
    uint64_t value = 0;
    return take(c, &value, sizeof value) ? value : 0;
}

uint64_t oxp_oxc_varint(oxp_oxc_cursor *c)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = oxp_oxc_u8(c);
        if (shift == 63 && byte > 1)
            break;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return c->status == OXP_OK ? value : 0;
    }
    oxp_oxc_refuse(c, "a number of more than 64 bits");
    return 0;
}

size_t oxp_oxc_count(oxp_oxc_cursor *c, size_t least)
{
    uint64_t count = oxp_oxc_u64(c);
    if (c->status == OXP_OK && count > (size_t)(c->end - c->at) / least)
        oxp_oxc_refuse(c, "it counts more than it has room for");
    return c->status == OXP_OK ? (size_t)count : 0;
}

const char *oxp_oxc_text(oxp_oxc_cursor *c, oxp_arena *arena)
{
    uint32_t length = oxp_oxc_u32(c);
    if (c->status == OXP_OK && (length > TEXT_MAX || length > (size_t)(c->end - c->at)))
        oxp_oxc_refuse(c, "a text that is too long");
    if (c->status != OXP_OK)
        return "";
    if (memchr(c->at, 0, length)) {
        oxp_oxc_refuse(c, "a text with a NUL in it");
        return "";
    }
    char *text = oxp_arena_alloc(arena, (size_t)length + 1, 1);
    if (!text) {
        c->status = OXP_ELIMIT;
        return "";
    }
    take(c, text, length);
    return text;
}

void oxp_oxc_numbers(oxp_oxc_cursor *c, void *out, size_t count, size_t size)
{
    size_t bytes;
    if (oxp_mul_ok(count, size, &bytes))
        take(c, out, bytes);
    else
        oxp_oxc_refuse(c, "it counts more than it has room for");
}

oxp_status oxp_oxc_section_end(oxp_oxc_cursor *c)
{
    if (c->status == OXP_OK && c->at != c->end)
        oxp_oxc_refuse(c, "there is more in it than it should hold");
    return c->status;
}
