/* npz.c - reads .npz archives from memory; see npz.h.
 *
 *     local header | name | extra | data [ | descriptor ]     for each entry
 *     central directory, [ZIP64 end record and its locator,] end record
 *
 * The directory is walked here, and zlib inflates, so that the one reader that checked where an
 * entry lies is also the one that reads it: two readers that find two directories in one file are
 * how checks get evaded. Reference: APPNOTE.TXT 6.3, sections 4.3 and 4.5. Not supported:
 * encryption, split archives, other methods. */
#include "calibration/npz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define ZLIB_CONST /* next_in points to const */
#include <zlib.h>

#include "calibration/npy.h"
#include "util/map.h"

#define END_SIGNATURE 0x06054b50u
#define END64_SIGNATURE 0x06064b50u
#define LOCATOR_SIGNATURE 0x07064b50u
#define CENTRAL_SIGNATURE 0x02014b50u
#define LOCAL_SIGNATURE 0x04034b50u
#define DESCRIPTOR_SIGNATURE 0x08074b50u

#define END_BYTES ((size_t)22)
#define END64_BYTES ((size_t)56)
#define LOCATOR_BYTES ((size_t)20)
#define CENTRAL_BYTES ((size_t)46)
#define LOCAL_BYTES ((size_t)30)

#define FLAG_ENCRYPTED 0x0001u
#define FLAG_DESCRIPTOR 0x0008u
#define FLAGS_KNOWN 0x080eu /* deflate's effort, descriptor, UTF-8 name */

#define ZIP64_EXTRA 0x0001u
#define IN_EXTRA32 UINT64_C(0xffffffff) /* a 32-bit field whose value stands in the ZIP64 extra */

typedef struct entry {
    const char *key;
    const uint8_t *name; /* in the directory */
    size_t name_bytes;
    unsigned flags, method;
    uint32_t crc;
    uint64_t packed, bytes, offset; /* as the directory says */
    size_t data, end;               /* of the data; of everything, descriptor included */
} entry;

struct oxp_npz {
    oxp_ctx *ctx; /* of the call that opens */
    const uint8_t *data;
    size_t bytes;
    size_t directory, directory_end; /* [directory, directory_end) */
    uint64_t declared;               /* entries, by the end record */
    entry *entries;
    size_t count;
    oxp_arena arena;
};

/* ---- little-endian fields ---- */

static unsigned get16(const uint8_t *p)
{
    return (unsigned)p[0] | (unsigned)p[1] << 8;
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) | (uint32_t)get16(p + 2) << 16;
}

static uint64_t get64(const uint8_t *p)
{
    return (uint64_t)get32(p) | (uint64_t)get32(p + 4) << 32;
}

/* Whether [offset, offset + bytes) lies before `end`. */
static bool lies_within(uint64_t offset, uint64_t bytes, uint64_t end)
{
    return offset <= end && bytes <= end - offset;
}

static oxp_status bad(oxp_ctx *ctx, const char *what)
{
    return oxp_fail(ctx, OXP_EDATA, "E-ZIP", "not a sound .npz (ZIP) file: %s", what);
}

static oxp_status bad_entry(oxp_ctx *ctx, const entry *e, const char *code, const char *what)
{
    char name[OXP_QUOTED_MAX];
    return oxp_fail(ctx, OXP_EDATA, code, "entry %s: %s", oxp_quote(name, e->key), what);
}

/* ---- the end of the archive ---- */

/* The end record is the one whose comment reaches exactly to the end of the file; there must be one
 * only. */
static oxp_status find_end(const oxp_npz *z, size_t *out)
{
    size_t found = SIZE_MAX;
    for (size_t comment = 0; comment <= 65535 && comment + END_BYTES <= z->bytes; comment++) {
        size_t at = z->bytes - END_BYTES - comment;
        if (get32(z->data + at) != END_SIGNATURE || get16(z->data + at + 20) != comment)
            continue;
        if (found != SIZE_MAX)
            return bad(z->ctx, "it has two end records");
        found = at;
    }
    if (found == SIZE_MAX)
        return bad(z->ctx, "its end record is missing, the file may be cut off");
    *out = found;
    return OXP_OK;
}

static oxp_status multi_disk(const oxp_npz *z)
{
    return oxp_fail(z->ctx, OXP_EDATA, "E-ZIP-METHOD", "split archives are not supported");
}

/* Replaces the 32-bit fields by those of the ZIP64 record that a locator right before `end`
 * names. */
static oxp_status read_end64(const oxp_npz *z, size_t end, uint64_t fields[3], size_t *records)
{
    const uint8_t *locator = z->data + end - LOCATOR_BYTES;
    if (get32(locator + 4) != 0 || get32(locator + 16) > 1)
        return multi_disk(z);
    uint64_t at = get64(locator + 8);
    size_t limit = end - LOCATOR_BYTES;
    if (!lies_within(at, END64_BYTES, limit) || get32(z->data + at) != END64_SIGNATURE ||
        get64(z->data + at + 4) != limit - at - 12)
        return bad(z->ctx, "its ZIP64 end record is not where its locator says");
    const uint8_t *record = z->data + at;
    if (get32(record + 16) != 0 || get32(record + 20) != 0 ||
        get64(record + 24) != get64(record + 32))
        return multi_disk(z);
    static const uint64_t all_ones[3] = {0xffff, IN_EXTRA32, IN_EXTRA32};
    for (int i = 0; i < 3; i++) {
        uint64_t wide = get64(record + 32 + 8 * i);
        if (fields[i] != wide && fields[i] != all_ones[i])
            return bad(z->ctx, "its two end records contradict each other");
        fields[i] = wide;
    }
    *records = (size_t)at;
    return OXP_OK;
}

static oxp_status read_end(oxp_npz *z)
{
    size_t end = 0;
    OXP_TRY(find_end(z, &end));
    const uint8_t *record = z->data + end;
    uint64_t fields[3] = {get16(record + 10), get32(record + 12), get32(record + 16)};
    size_t records = end;
    bool has_locator =
        end >= LOCATOR_BYTES && get32(z->data + end - LOCATOR_BYTES) == LOCATOR_SIGNATURE;
    if (get16(record + 4) != 0 || get16(record + 6) != 0)
        return multi_disk(z);
    if (get16(record + 8) != fields[0])
        return bad(z->ctx, "its end record has two different numbers of entries");
    if (has_locator)
        OXP_TRY(read_end64(z, end, fields, &records));
    if (fields[0] > OXP_NPZ_ENTRY_LIMIT)
        return oxp_fail(z->ctx, OXP_ELIMIT, "E-LIMIT-ENTRIES",
                        "the archive has %llu entries, the limit is %d",
                        (unsigned long long)fields[0], OXP_NPZ_ENTRY_LIMIT);
    if (!lies_within(fields[2], fields[1], records) || fields[2] + fields[1] != records)
        return bad(z->ctx, "its directory does not end where the end record begins");
    if (fields[0] * CENTRAL_BYTES > fields[1])
        return bad(z->ctx, "its directory is too short for its number of entries");
    z->declared = fields[0];
    z->directory = (size_t)fields[2];
    z->directory_end = records;
    return OXP_OK;
}

/* ---- the directory ---- */

/* Reads from the ZIP64 extra those of `fields` that are all ones, in order. */
static oxp_status read_zip64(oxp_ctx *ctx, const entry *e, const uint8_t *extra, size_t bytes,
                             uint64_t *const fields[], size_t count)
{
    const uint8_t *wide = NULL;
    size_t wide_bytes = 0;
    while (bytes >= 4) {
        size_t size = get16(extra + 2);
        if (size > bytes - 4)
            break;
        if (get16(extra) == ZIP64_EXTRA && wide == NULL) {
            wide = extra + 4;
            wide_bytes = size;
        }
        extra += 4 + size;
        bytes -= 4 + size;
    }
    for (size_t i = 0; i < count; i++) {
        if (*fields[i] != IN_EXTRA32)
            continue;
        if (wide == NULL || wide_bytes < 8)
            return bad_entry(ctx, e, "E-ZIP-METHOD", "its ZIP64 sizes are missing or cut off");
        *fields[i] = get64(wide);
        wide += 8;
        wide_bytes -= 8;
    }
    return OXP_OK;
}

/* "x.npy" and "x" are the key x. */
static oxp_status make_key(oxp_npz *z, entry *e)
{
    if (memchr(e->name, 0, e->name_bytes) != NULL)
        return oxp_fail(z->ctx, OXP_EDATA, "E-CALIB-NAME", "entry %zu: its name holds a NUL byte",
                        z->count);
    size_t bytes = e->name_bytes;
    if (bytes > 4 && memcmp(e->name + bytes - 4, ".npy", 4) == 0)
        bytes -= 4;
    char *key = oxp_arena_printf(&z->arena, "%.*s", (int)bytes, (const char *)e->name);
    if (key == NULL)
        return OXP_ELIMIT;
    e->key = key;
    return OXP_OK;
}

static oxp_status check_method(oxp_ctx *ctx, const entry *e)
{
    if (e->flags & FLAG_ENCRYPTED)
        return bad_entry(ctx, e, "E-ZIP-METHOD", "it is encrypted, which is not supported");
    if (e->flags & ~FLAGS_KNOWN)
        return bad_entry(ctx, e, "E-ZIP-METHOD", "it uses a ZIP feature that is not supported");
    if (e->method != 0 && e->method != Z_DEFLATED)
        return bad_entry(ctx, e, "E-ZIP-METHOD",
                         "it is neither stored nor deflated, other methods are not supported");
    return OXP_OK;
}

/* Reads the directory's record at *at and moves past it. */
static oxp_status read_central(oxp_npz *z, entry *e, size_t *at)
{
    const uint8_t *record = z->data + *at;
    if (!lies_within(*at, CENTRAL_BYTES, z->directory_end) || get32(record) != CENTRAL_SIGNATURE)
        return bad(z->ctx, "its directory has fewer entries than its end record says");
    size_t name = get16(record + 28), extra = get16(record + 30), comment = get16(record + 32);
    if (!lies_within(*at, CENTRAL_BYTES + name + extra + comment, z->directory_end))
        return bad(z->ctx, "its directory is cut off");
    *e = (entry){.name = record + CENTRAL_BYTES,
                 .name_bytes = name,
                 .flags = get16(record + 8),
                 .method = get16(record + 10),
                 .crc = get32(record + 16),
                 .packed = get32(record + 20),
                 .bytes = get32(record + 24),
                 .offset = get32(record + 42)};
    OXP_TRY(make_key(z, e));
    OXP_TRY(check_method(z->ctx, e));
    if (get16(record + 34) != 0)
        return multi_disk(z);
    uint64_t *const wide[3] = {&e->bytes, &e->packed, &e->offset};
    OXP_TRY(read_zip64(z->ctx, e, e->name + name, extra, wide, 3));
    *at += CENTRAL_BYTES + name + extra + comment;
    return OXP_OK;
}

/* ---- local headers ---- */

typedef struct descriptor_form {
    size_t signature, width; /* bytes of the signature and of each size */
} descriptor_form;

/* Behind the data of an entry that was written as a stream stand CRC and sizes, with or without a
 * signature, in 4 or 8 bytes. Gives the bytes of the form that agrees with the directory, 0 when
 * none does. */
static size_t descriptor_bytes(const oxp_npz *z, const entry *e)
{
    static const descriptor_form forms[4] = {{4, 4}, {4, 8}, {0, 4}, {0, 8}};
    for (int i = 0; i < 4; i++) {
        const uint8_t *p = z->data + e->end;
        size_t width = forms[i].width, bytes = forms[i].signature + 4 + 2 * width;
        if (!lies_within(e->end, bytes, z->directory) ||
            (forms[i].signature != 0 && get32(p) != DESCRIPTOR_SIGNATURE))
            continue;
        p += forms[i].signature;
        uint64_t packed = width == 4 ? get32(p + 4) : get64(p + 4);
        uint64_t whole = width == 4 ? get32(p + 8) : get64(p + 12);
        if (get32(p) == e->crc && packed == e->packed && whole == e->bytes)
            return bytes;
    }
    return 0;
}

/* The local header's own words for what the directory says already. */
static oxp_status compare_local(const oxp_npz *z, const entry *e, const uint8_t *record)
{
    size_t name = get16(record + 26), extra = get16(record + 28);
    uint64_t packed = get32(record + 18), bytes = get32(record + 22);
    uint32_t crc = get32(record + 14);
    uint64_t *const wide[2] = {&bytes, &packed};
    if (name != e->name_bytes || memcmp(record + LOCAL_BYTES, e->name, name) != 0)
        return bad_entry(z->ctx, e, "E-ZIP", "its own header has another name");
    if (get16(record + 8) != e->method || get16(record + 6) != e->flags)
        return bad_entry(z->ctx, e, "E-ZIP", "its own header has another method or other flags");
    OXP_TRY(read_zip64(z->ctx, e, record + LOCAL_BYTES + name, extra, wide, 2));
    bool unknown_yet = (e->flags & FLAG_DESCRIPTOR) && packed == 0 && bytes == 0 && crc == 0;
    if (!unknown_yet && (packed != e->packed || bytes != e->bytes || crc != e->crc))
        return bad_entry(z->ctx, e, "E-ZIP", "its own header has other sizes or another CRC");
    return OXP_OK;
}

static oxp_status read_local(const oxp_npz *z, entry *e)
{
    if (!lies_within(e->offset, LOCAL_BYTES, z->directory) ||
        get32(z->data + e->offset) != LOCAL_SIGNATURE)
        return bad_entry(z->ctx, e, "E-ZIP", "its own header is not where the directory says");
    const uint8_t *record = z->data + e->offset;
    size_t before = LOCAL_BYTES + get16(record + 26) + get16(record + 28);
    if (!lies_within(e->offset, before, z->directory) ||
        !lies_within(e->offset + before, e->packed, z->directory))
        return bad_entry(z->ctx, e, "E-ZIP", "it reaches into the directory");
    OXP_TRY(compare_local(z, e, record));
    e->data = (size_t)e->offset + before;
    e->end = e->data + (size_t)e->packed;
    if (e->flags & FLAG_DESCRIPTOR) {
        size_t descriptor = descriptor_bytes(z, e);
        if (descriptor == 0)
            return bad_entry(z->ctx, e, "E-ZIP", "its data descriptor has other sizes");
        e->end += descriptor;
    }
    return OXP_OK;
}

/* ---- the archive as a whole ---- */

static oxp_status check_keys(const oxp_npz *z)
{
    oxp_map keys;
    oxp_map_init(&keys, z->ctx);
    oxp_status status = OXP_OK;
    for (size_t i = 0; i < z->count && status == OXP_OK; i++) {
        if (oxp_map_get(&keys, z->entries[i].key) != OXP_MAP_NONE)
            status = bad_entry(z->ctx, &z->entries[i], "E-ZIP-DUP",
                               "the archive has this key twice (with and without \".npy\" is one)");
        else
            status = oxp_map_put(&keys, z->entries[i].key, i);
    }
    oxp_map_free(&keys);
    return status;
}

static int by_offset(const void *a, const void *b)
{
    const entry *const *left = a, *const *right = b;
    if ((*left)->offset != (*right)->offset)
        return (*left)->offset < (*right)->offset ? -1 : 1;
    return *left < *right ? -1 : *left > *right;
}

static oxp_status check_overlaps(const oxp_npz *z)
{
    const entry **sorted;
    OXP_TRY(oxp_alloc(&sorted, z->ctx, z->count, sizeof *sorted, "order of the entries"));
    for (size_t i = 0; i < z->count; i++)
        sorted[i] = &z->entries[i];
    qsort(sorted, z->count, sizeof *sorted, by_offset);
    oxp_status status = OXP_OK;
    for (size_t i = 1; i < z->count && status == OXP_OK; i++)
        if (sorted[i]->offset < sorted[i - 1]->end)
            status = bad_entry(z->ctx, sorted[i], "E-ZIP-OVERLAP",
                               "it lies over the bytes of another entry");
    oxp_free(sorted);
    return status;
}

static oxp_status check_sizes(const oxp_npz *z)
{
    char name[OXP_QUOTED_MAX];
    for (size_t i = 0; i < z->count; i++) {
        const entry *e = &z->entries[i];
        if (e->method == 0 && e->packed != e->bytes)
            return bad_entry(z->ctx, e, "E-ZIP", "it is stored, but its two sizes differ");
        if (e->bytes > 0 && (e->bytes - 1) / OXP_NPZ_RATIO_LIMIT >= e->packed)
            return oxp_fail(z->ctx, OXP_EDATA, "E-ZIP-BOMB",
                            "entry %s: says that %llu bytes inflate to %llu, more than %d to 1",
                            oxp_quote(name, e->key), (unsigned long long)e->packed,
                            (unsigned long long)e->bytes, OXP_NPZ_RATIO_LIMIT);
    }
    return OXP_OK;
}

static oxp_status read_directory(oxp_npz *z)
{
    OXP_TRY(read_end(z));
    OXP_TRY(oxp_alloc(&z->entries, z->ctx, (size_t)z->declared, sizeof *z->entries,
                      "entries of an archive"));
    size_t at = z->directory;
    for (; z->count < z->declared; z->count++)
        OXP_TRY(read_central(z, &z->entries[z->count], &at));
    if (at != z->directory_end)
        return bad(z->ctx, "its directory has more entries than its end record says");
    OXP_TRY(check_keys(z));
    for (size_t i = 0; i < z->count; i++)
        OXP_TRY(read_local(z, &z->entries[i]));
    OXP_TRY(check_overlaps(z));
    return check_sizes(z);
}

oxp_status oxp_npz_open(oxp_npz **out, oxp_ctx *ctx, const uint8_t *data, size_t bytes)
{
    oxp_npz *z;
    OXP_TRY(oxp_alloc(&z, ctx, 1, sizeof *z, "archive"));
    z->ctx = ctx;
    z->data = data;
    z->bytes = bytes;
    oxp_arena_init(&z->arena, ctx);
    oxp_status status = read_directory(z);
    if (status != OXP_OK) {
        oxp_npz_free(z);
        return status;
    }
    *out = z;
    return OXP_OK;
}

void oxp_npz_free(oxp_npz *npz)
{
    if (npz == NULL)
        return;
    oxp_free(npz->entries);
    oxp_arena_free(&npz->arena);
    oxp_free(npz);
}

size_t oxp_npz_count(const oxp_npz *npz)
{
    return npz->count;
}

const char *oxp_npz_key(const oxp_npz *npz, size_t i)
{
    return npz->entries[i].key;
}

/* ---- the bytes of an entry ---- */

typedef struct stream {
    const entry *entry;
    const uint8_t *next; /* packed bytes not yet given to zlib, or not yet copied */
    size_t left;
    uLong crc;
    z_stream inflate;
    bool ended; /* the deflate stream said so */
} stream;

static voidpf budget_alloc(voidpf user, uInt count, uInt size)
{
    void *block;
    return oxp_alloc(&block, user, count, size, "inflater") == OXP_OK ? block : NULL;
}

static void budget_free(voidpf user, voidpf block)
{
    (void)user;
    oxp_free(block);
}

static oxp_status stream_open(stream *s, oxp_ctx *ctx, const oxp_npz *z, const entry *e)
{
    *s = (stream){.entry = e, .next = z->data + e->data, .left = (size_t)e->packed};
    s->crc = crc32_z(0, NULL, 0);
    if (e->method == 0)
        return OXP_OK;
    s->inflate = (z_stream){.zalloc = budget_alloc, .zfree = budget_free, .opaque = ctx};
    if (inflateInit2(&s->inflate, -MAX_WBITS) != Z_OK)
        return oxp_fail(ctx, OXP_ELIMIT, "E-LIMIT-MEM", "the inflater could not be made");
    return OXP_OK;
}

static void stream_close(stream *s)
{
    if (s->entry->method != 0)
        inflateEnd(&s->inflate);
}

static oxp_status damaged(oxp_ctx *ctx, const char *what)
{
    return oxp_fail(ctx, OXP_EDATA, "E-ZIP-CRC", "%s", what);
}

static uInt chunk(size_t bytes)
{
    return bytes > 1u << 30 ? 1u << 30 : (uInt)bytes;
}

/* Inflates up to `bytes` bytes; *got is less only at the end of the deflate stream. */
static oxp_status inflate_some(stream *s, oxp_ctx *ctx, uint8_t *out, size_t bytes, size_t *got)
{
    *got = 0;
    while (*got < bytes && !s->ended) {
        uInt in = chunk(s->left), room = chunk(bytes - *got);
        s->inflate.next_in = s->next;
        s->inflate.avail_in = in;
        s->inflate.next_out = out + *got;
        s->inflate.avail_out = room;
        int result = inflate(&s->inflate, Z_NO_FLUSH);
        size_t used = in - s->inflate.avail_in;
        s->next += used;
        s->left -= used;
        *got += room - s->inflate.avail_out;
        s->ended = result == Z_STREAM_END;
        if (result == Z_MEM_ERROR)
            return oxp_fail(ctx, OXP_ELIMIT, "E-LIMIT-MEM", "the inflater ran out of memory");
        if (result != Z_OK && result != Z_STREAM_END)
            return damaged(ctx, "its deflate stream is damaged or cut off");
    }
    return OXP_OK;
}

static oxp_status stream_read(void *user, oxp_ctx *ctx, void *out, size_t bytes)
{
    stream *s = user;
    if (s->entry->method == 0) {
        if (bytes > 0)
            memcpy(out, s->next, bytes);
        s->next += bytes;
        s->left -= bytes;
    } else {
        size_t got;
        OXP_TRY(inflate_some(s, ctx, out, bytes, &got));
        if (got < bytes)
            return damaged(ctx, "it inflates to fewer bytes than it declares");
    }
    s->crc = crc32_z(s->crc, out, bytes);
    return OXP_OK;
}

#define BORROWED_BYTES ((size_t)1 << 20) /* arrays from here on are not copied */
#define PIECE_BYTES ((size_t)4 << 20)

/* The CRC is taken piece by piece, and the pages of a mapped archive go again. */
static const uint8_t *stream_take(void *user, oxp_ctx *ctx, size_t bytes)
{
    stream *s = user;
    const uint8_t *data = s->next;
    if (s->entry->method != 0 || bytes < BORROWED_BYTES)
        return NULL;
    for (size_t at = 0; at < bytes; at += PIECE_BYTES) {
        size_t piece = bytes - at < PIECE_BYTES ? bytes - at : PIECE_BYTES;
        s->crc = crc32_z(s->crc, data + at, piece);
        oxp_pages_release(ctx, data + at, piece);
    }
    s->next += bytes;
    s->left -= bytes;
    return data;
}

/* After the last declared byte: no more may come, nothing may be left, and the CRC must be
 * right. */
static oxp_status stream_finish(stream *s, oxp_ctx *ctx)
{
    if (s->entry->method != 0) {
        uint8_t beyond;
        size_t got;
        OXP_TRY(inflate_some(s, ctx, &beyond, 1, &got));
        if (got > 0)
            return oxp_fail(ctx, OXP_EDATA, "E-ZIP-BOMB",
                            "it inflates to more bytes than it declares");
    }
    if (s->left > 0)
        return damaged(ctx, "bytes follow its deflate stream");
    if (s->crc != s->entry->crc)
        return damaged(ctx, "its CRC is wrong, the data is damaged");
    return OXP_OK;
}

static oxp_status read_entry(oxp_tensor *out, oxp_ctx *ctx, const oxp_npz *z, const entry *e)
{
    stream s;
    oxp_tensor t = {0};
    OXP_TRY(stream_open(&s, ctx, z, e));
    oxp_npy_source source = {
        .bytes = (size_t)e->bytes, .read = stream_read, .take = stream_take, .user = &s};
    oxp_status status = oxp_npy_read(&t, ctx, &source);
    if (status == OXP_OK)
        status = stream_finish(&s, ctx);
    stream_close(&s);
    if (status != OXP_OK) {
        oxp_tensor_release(&t);
        return status;
    }
    *out = t;
    return OXP_OK;
}

oxp_status oxp_npz_read(oxp_tensor *out, oxp_ctx *ctx, const oxp_npz *npz, size_t i)
{
    char key[OXP_QUOTED_MAX], subject[OXP_MESSAGE_MAX];
    const char *file = ctx->subject;
    snprintf(subject, sizeof subject, "%.*s%sentry %s", (int)(sizeof subject / 4),
             file == NULL ? "" : file, file == NULL ? "" : ": ",
             oxp_quote(key, npz->entries[i].key));
    ctx->subject = subject;
    oxp_status status = read_entry(out, ctx, npz, &npz->entries[i]);
    ctx->subject = file;
    return status;
}
