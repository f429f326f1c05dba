/* .npz: archives as different writers make them, every refusal with its code, and our own writer
 * read back by libzip. */
#include "calibration/npz.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zip.h>
#include <zlib.h>

#include "calibration/npy.h"

static oxp_ctx ctx;

static void setup(void)
{
    oxp_ctx_init(&ctx);
}

static void teardown(void)
{
    cr_expect_eq(atomic_load(&ctx.own_budget.used), 0, "a block was not given back");
}

TestSuite(npz, .init = setup, .fini = teardown);

/* ---- an archive builder that can be told to be wrong ---- */

typedef struct item {
    const char *name;
    size_t name_bytes; /* 0: strlen */
    const void *data;
    size_t bytes;
    bool deflate;
    bool streamed;        /* sizes in a descriptor behind the data */
    size_t descriptor;    /* its form: bytes of signature * 16 + bytes of a size; 0: 4 * 16 + 4 */
    bool wide_local;      /* sizes of the local header in a ZIP64 extra, as NumPy writes them */
    bool wide_central;    /* the same in the directory */
    size_t claimed_bytes; /* 0: the truth */
    size_t trailing;      /* zero bytes behind the packed data that count as packed */
    size_t cut;           /* packed bytes left out */
} item;

typedef struct archive {
    uint8_t *bytes;
    size_t used, local[8], packed_at[8], central[8], directory, end64, end;
    item item[8];
    size_t count;
    size_t packed[8];
    uint32_t crc[8];
} archive;

static void put_bytes(archive *a, const void *data, size_t bytes)
{
    a->bytes = realloc(a->bytes, a->used + bytes + 1);
    if (bytes > 0)
        memcpy(a->bytes + a->used, data, bytes);
    a->used += bytes;
}

static void put(archive *a, uint64_t value, size_t width)
{
    uint8_t bytes[16];
    for (size_t i = 0; i < width; i++, value >>= 8)
        bytes[i] = (uint8_t)value;
    put_bytes(a, bytes, width);
}

static void patch(archive *a, size_t at, uint64_t value, size_t width)
{
    cr_assert_leq(at + width, a->used);
    for (size_t i = 0; i < width; i++)
        a->bytes[at + i] = (uint8_t)(value >> (8 * i));
}

static size_t name_bytes(const item *it)
{
    return it->name_bytes != 0 ? it->name_bytes : strlen(it->name);
}

static size_t claimed(const item *it)
{
    return it->claimed_bytes != 0 ? it->claimed_bytes : it->bytes;
}

static void pack(archive *a, size_t i, uint8_t **packed)
{
    const item *it = &a->item[i];
    a->crc[i] = (uint32_t)crc32_z(0, it->data, it->bytes);
    size_t room = compressBound(it->bytes) + 64 + it->trailing;
    *packed = calloc(room, 1);
    a->packed[i] = it->bytes;
    if (it->deflate) {
        z_stream z = {0};
        deflateInit2(&z, 9, Z_DEFLATED, -MAX_WBITS, 9, Z_DEFAULT_STRATEGY);
        z.next_in = (Bytef *)(uintptr_t)it->data;
        z.avail_in = (uInt)it->bytes;
        z.next_out = *packed;
        z.avail_out = (uInt)room;
        cr_assert_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
        a->packed[i] = z.total_out;
        deflateEnd(&z);
    } else {
        memcpy(*packed, it->data, it->bytes);
    }
    a->packed[i] += it->trailing;
    a->packed[i] -= it->cut;
}

static void add_local(archive *a, size_t i)
{
    const item *it = &a->item[i];
    uint8_t *packed;
    pack(a, i, &packed);
    bool zero = it->streamed;
    a->local[i] = a->used;
    put(a, 0x04034b50, 4);
    put(a, it->wide_local ? 45 : 20, 2);
    put(a, it->streamed ? 8 : 0, 2);
    put(a, it->deflate ? 8 : 0, 2);
    put(a, 0, 4);
    put(a, zero ? 0 : a->crc[i], 4);
    put(a, it->wide_local ? 0xffffffff : zero ? 0 : a->packed[i], 4);
    put(a, it->wide_local ? 0xffffffff : zero ? 0 : claimed(it), 4);
    put(a, name_bytes(it), 2);
    put(a, it->wide_local ? 20 : 0, 2);
    put_bytes(a, it->name, name_bytes(it));
    if (it->wide_local) {
        put(a, 1, 2);
        put(a, 16, 2);
        put(a, zero ? 0 : claimed(it), 8);
        put(a, zero ? 0 : a->packed[i], 8);
    }
    a->packed_at[i] = a->used;
    put_bytes(a, packed, a->packed[i]);
    free(packed);
    if (it->streamed) {
        size_t form = it->descriptor == 0 ? 4 * 16 + 4 : it->descriptor;
        if (form / 16 == 4)
            put(a, 0x08074b50, 4);
        put(a, a->crc[i], 4);
        put(a, a->packed[i], form % 16);
        put(a, claimed(it), form % 16);
    }
}

static void add_central(archive *a, size_t i)
{
    const item *it = &a->item[i];
    a->central[i] = a->used;
    put(a, 0x02014b50, 4);
    put(a, 20, 2);
    put(a, 20, 2);
    put(a, it->streamed ? 8 : 0, 2);
    put(a, it->deflate ? 8 : 0, 2);
    put(a, 0, 4);
    put(a, a->crc[i], 4);
    put(a, it->wide_central ? 0xffffffff : a->packed[i], 4);
    put(a, it->wide_central ? 0xffffffff : claimed(it), 4);
    put(a, name_bytes(it), 2);
    put(a, it->wide_central ? 28 : 0, 2);
    put(a, 0, 10);
    put(a, it->wide_central ? 0xffffffff : a->local[i], 4);
    put_bytes(a, it->name, name_bytes(it));
    if (it->wide_central) {
        put(a, 1, 2);
        put(a, 24, 2);
        put(a, claimed(it), 8);
        put(a, a->packed[i], 8);
        put(a, a->local[i], 8);
    }
}

static void add_end(archive *a, bool wide, const char *comment)
{
    size_t bytes = a->used - a->directory;
    a->end64 = a->used;
    if (wide) {
        put(a, 0x06064b50, 4);
        put(a, 44, 8);
        put(a, 45, 2);
        put(a, 45, 2);
        put(a, 0, 8);
        put(a, a->count, 8);
        put(a, a->count, 8);
        put(a, bytes, 8);
        put(a, a->directory, 8);
        put(a, 0x07064b50, 4);
        put(a, 0, 4);
        put(a, a->end64, 8);
        put(a, 1, 4);
    }
    a->end = a->used;
    put(a, 0x06054b50, 4);
    put(a, 0, 4);
    put(a, wide ? 0xffff : a->count, 2);
    put(a, wide ? 0xffff : a->count, 2);
    put(a, wide ? 0xffffffff : bytes, 4);
    put(a, wide ? 0xffffffff : a->directory, 4);
    put(a, strlen(comment), 2);
    put_bytes(a, comment, strlen(comment));
}

static archive build(const item *items, size_t count, bool wide_end, const char *comment)
{
    archive a = {.count = count};
    memcpy(a.item, items, count * sizeof *items);
    put_bytes(&a, "", 0);
    for (size_t i = 0; i < count; i++)
        add_local(&a, i);
    a.directory = a.used;
    for (size_t i = 0; i < count; i++)
        add_central(&a, i);
    add_end(&a, wide_end, comment);
    return a;
}

/* ---- arrays ---- */

enum { PREFIX_BYTES = 128, ARRAY_BYTES = PREFIX_BYTES + 4 * 256 };

/* Writes what stands before the data of an array. */
static void put_prefix(uint8_t *out, const char *header)
{
    memset(out, ' ', PREFIX_BYTES);
    memcpy(out, "\x93NUMPY\x01\x00", 8);
    out[8] = PREFIX_BYTES - 10;
    out[9] = 0;
    memcpy(out + 10, header, strlen(header));
    out[PREFIX_BYTES - 1] = '\n';
}

/* A .npy of 256 floats: first, first + 1, ... One of four buffers that take turns. */
static uint8_t *array(float first)
{
    static uint8_t pool[4][ARRAY_BYTES];
    static int next;
    uint8_t *bytes = pool[next++ % 4];
    put_prefix(bytes, "{'descr': '<f4', 'fortran_order': False, 'shape': (256,), }");
    for (int i = 0; i < 256; i++) {
        float value = first + (float)i;
        memcpy(bytes + PREFIX_BYTES + 4 * i, &value, 4);
    }
    return bytes;
}

static oxp_status read_all(const archive *a, float *first)
{
    oxp_npz *z = NULL;
    oxp_ctx_clear(&ctx);
    uint8_t *copy = malloc(a->used + 1); /* at the end of a block, for sanitisers */
    memcpy(copy + 1, a->bytes, a->used);
    oxp_status status = oxp_npz_open(&z, &ctx, copy + 1, a->used);
    for (size_t i = 0; status == OXP_OK && i < oxp_npz_count(z); i++) {
        oxp_tensor t = {0};
        status = oxp_npz_read(&t, &ctx, z, i);
        if (status == OXP_OK && first != NULL && t.count > 0)
            first[i] = (float)oxp_tensor_real(&t, 0);
        oxp_tensor_release(&t);
    }
    oxp_npz_free(z);
    free(copy);
    return status;
}

static void expect_read(archive a, const char *what)
{
    float first[8] = {0};
    cr_expect_eq(read_all(&a, first), OXP_OK, "%s: %s %s", what, ctx.code, ctx.message);
    for (size_t i = 0; i < a.count; i++)
        cr_expect_eq(first[i], 100.0f * (float)i + 1, "%s", what);
    free(a.bytes);
}

static void expect_refused(archive a, oxp_status status, const char *code, const char *what)
{
    cr_expect_eq(read_all(&a, NULL), status, "%s", what);
    cr_expect_str_eq(ctx.code, code, "%s: %s %s", what, ctx.code, ctx.message);
    free(a.bytes);
}

static archive two(item like)
{
    item items[2] = {like, like};
    items[0].name = "x.npy";
    items[1].name = "y";
    for (size_t i = 0; i < 2; i++) {
        items[i].data = array(100.0f * (float)i + 1);
        items[i].bytes = ARRAY_BYTES;
    }
    return build(items, 2, false, "");
}

/* ---- accepted ---- */

Test(npz, archives_of_different_writers)
{
    expect_read(two((item){0}), "stored");
    expect_read(two((item){.deflate = true}), "deflated");
    expect_read(two((item){.wide_local = true}), "ZIP64 sizes in local headers");
    expect_read(two((item){.wide_central = true, .deflate = true}), "ZIP64 in the directory");
    expect_read(two((item){.streamed = true}), "descriptor");
    expect_read(two((item){.streamed = true, .descriptor = 4 * 16 + 8}), "ZIP64 descriptor");
    expect_read(two((item){.streamed = true, .descriptor = 4}), "bare descriptor");
    expect_read(two((item){.streamed = true, .descriptor = 8}), "bare ZIP64 descriptor");
    expect_read(two((item){.streamed = true, .deflate = true, .wide_local = true}),
                "deflated stream with ZIP64 zeros");
}

Test(npz, keys_lose_their_ending)
{
    archive a = two((item){0});
    oxp_npz *z;
    cr_assert_eq(oxp_npz_open(&z, &ctx, a.bytes, a.used), OXP_OK);
    cr_expect_eq(oxp_npz_count(z), 2);
    cr_expect_str_eq(oxp_npz_key(z, 0), "x");
    cr_expect_str_eq(oxp_npz_key(z, 1), "y");
    oxp_npz_free(z);
    free(a.bytes);
}

Test(npz, ends_of_different_writers)
{
    item x = {.name = "x", .data = array(1), .bytes = ARRAY_BYTES};
    expect_read(build(&x, 1, true, ""), "ZIP64 end record");
    expect_read(build(&x, 1, false, "a comment"), "comment");
    archive none = build(&x, 0, false, "");
    cr_expect_eq(read_all(&none, NULL), OXP_OK);
    free(none.bytes);
}

/* ---- refused: structure ---- */

typedef struct damage {
    const char *what;
    enum { LOCAL, CENTRAL, END } where;
    size_t offset;
    uint64_t value;
    size_t width;
    const char *code;
} damage;

Test(npz, contradictions_are_refused)
{
    static const damage cases[] = {
        {"end record's signature", END, 0, 0, 4, "E-ZIP"},
        {"this disk", END, 4, 1, 2, "E-ZIP-METHOD"},
        {"disk of the directory", END, 6, 1, 2, "E-ZIP-METHOD"},
        {"entries on this disk", END, 8, 1, 2, "E-ZIP"},
        {"too few entries", END, 8, 0x00010001, 4, "E-ZIP"},
        {"too many entries", END, 8, 0x00030003, 4, "E-ZIP"},
        {"far too many entries", END, 8, 0xffffffff, 4, "E-ZIP"},
        {"directory size", END, 12, 10, 4, "E-ZIP"},
        {"directory size all ones", END, 12, 0xffffffff, 4, "E-ZIP"},
        {"directory offset", END, 16, 1, 4, "E-ZIP"},
        {"directory offset out of file", END, 16, 0x7fffffff, 4, "E-ZIP"},
        {"comment longer than the file", END, 20, 1, 2, "E-ZIP"},
        {"central signature", CENTRAL, 0, 0, 4, "E-ZIP"},
        {"encrypted", CENTRAL, 8, 1, 2, "E-ZIP-METHOD"},
        {"strong encryption", CENTRAL, 8, 0x41, 2, "E-ZIP-METHOD"},
        {"patch data", CENTRAL, 8, 0x20, 2, "E-ZIP-METHOD"},
        {"bzip2", CENTRAL, 10, 12, 2, "E-ZIP-METHOD"},
        {"zstd", CENTRAL, 10, 93, 2, "E-ZIP-METHOD"},
        {"central method", CENTRAL, 10, 8, 2, "E-ZIP"},
        {"central CRC", CENTRAL, 16, 0x12345678, 4, "E-ZIP"},
        {"central packed size", CENTRAL, 20, 5, 4, "E-ZIP"},
        {"central size", CENTRAL, 24, 5, 4, "E-ZIP"},
        {"packed size beyond the file", CENTRAL, 20, 0x7fffffff, 4, "E-ZIP"},
        {"ZIP64 size without its extra", CENTRAL, 24, 0xffffffff, 4, "E-ZIP-METHOD"},
        {"central name length", CENTRAL, 28, 4, 2, "E-ZIP"},
        {"central name past the end", CENTRAL, 28, 0xffff, 2, "E-ZIP"},
        {"central extra past the end", CENTRAL, 30, 0xfff0, 2, "E-ZIP"},
        {"entry on another disk", CENTRAL, 34, 1, 2, "E-ZIP-METHOD"},
        {"local offset", CENTRAL, 42, 4, 4, "E-ZIP"},
        {"local offset out of file", CENTRAL, 42, 0xfffffff0, 4, "E-ZIP"},
        {"local signature", LOCAL, 0, 0, 4, "E-ZIP"},
        {"local flags", LOCAL, 6, 8, 2, "E-ZIP"},
        {"local encrypted", LOCAL, 6, 1, 2, "E-ZIP"},
        {"local method", LOCAL, 8, 8, 2, "E-ZIP"},
        {"local CRC", LOCAL, 14, 1, 4, "E-ZIP"},
        {"local packed size", LOCAL, 18, 1, 4, "E-ZIP"},
        {"local size", LOCAL, 22, 1, 4, "E-ZIP"},
        {"local name length", LOCAL, 26, 3, 2, "E-ZIP"},
        {"local extra length", LOCAL, 28, 0xffff, 2, "E-ZIP"},
        {"local name", LOCAL, 30, 'z', 1, "E-ZIP"},
        {"local ZIP64 size without its extra", LOCAL, 22, 0xffffffff, 4, "E-ZIP-METHOD"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const damage *c = &cases[i];
        archive a = two((item){0});
        size_t base = c->where == LOCAL ? a.local[0] : c->where == CENTRAL ? a.central[0] : a.end;
        patch(&a, base + c->offset, c->value, c->width);
        expect_refused(a, OXP_EDATA, c->code, c->what);
    }
}

Test(npz, a_second_end_record_is_refused)
{
    char comment[64] = "PK\x05\x06";
    item x = {.name = "x", .data = array(1), .bytes = ARRAY_BYTES};
    archive a = build(&x, 1, false, "");
    /* The comment of the first record is a whole second one, whose own comment is empty. */
    put_bytes(&a, comment, 22);
    patch(&a, a.end + 20, 22, 2);
    expect_refused(a, OXP_EDATA, "E-ZIP", "two end records");
}

Test(npz, wrong_zip64_ends)
{
    static const struct {
        const char *what;
        size_t offset;
        uint64_t value;
        size_t width;
        const char *code;
    } cases[] = {
        {"signature", 0, 0, 4, "E-ZIP"},
        {"record size", 4, 45, 8, "E-ZIP"},
        {"disk", 16, 1, 4, "E-ZIP-METHOD"},
        {"counts differ", 24, 7, 8, "E-ZIP-METHOD"},
        {"directory size", 40, UINT64_MAX, 8, "E-ZIP"},
        {"directory offset", 48, UINT64_MAX - 3, 8, "E-ZIP"},
        {"locator's disk", 56 + 4, 1, 4, "E-ZIP-METHOD"},
        {"locator's offset", 56 + 8, UINT64_MAX - 7, 8, "E-ZIP"},
        {"locator's offset is near", 56 + 8, 0, 8, "E-ZIP"},
        {"disks", 56 + 16, 2, 4, "E-ZIP-METHOD"},
        {"two records differ", 76 + 8, 0x00020002, 4, "E-ZIP"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        item x = {.name = "x", .data = array(1), .bytes = ARRAY_BYTES};
        archive a = build(&x, 1, true, "");
        patch(&a, a.end64 + cases[i].offset, cases[i].value, cases[i].width);
        expect_refused(a, OXP_EDATA, cases[i].code, cases[i].what);
    }
}

Test(npz, too_many_entries_are_refused_before_they_are_read)
{
    item x = {.name = "x", .data = array(1), .bytes = ARRAY_BYTES};
    archive a = build(&x, 1, true, "");
    patch(&a, a.end64 + 24, 65536, 8);
    patch(&a, a.end64 + 32, 65536, 8);
    ctx.own_budget.limit = 65536;
    expect_refused(a, OXP_ELIMIT, "E-LIMIT-ENTRIES", "65536 entries");
}

Test(npz, overlaps_are_refused)
{
    archive same = two((item){0});
    patch(&same, same.central[1] + 42, same.local[0], 4);
    expect_refused(same, OXP_EDATA, "E-ZIP", "one local header for two names");

    /* An archive whose first entry, stored, holds the second with its header. */
    item inner = {.name = "y", .data = array(101), .bytes = ARRAY_BYTES};
    archive part = build(&inner, 1, false, "");
    item outer[2] = {{.name = "x", .data = part.bytes, .bytes = part.directory}, inner};
    archive nested = build(outer, 2, false, "");
    patch(&nested, nested.central[1] + 42, nested.packed_at[0], 4);
    expect_refused(nested, OXP_EDATA, "E-ZIP-OVERLAP", "an entry inside of another");
    free(part.bytes);
}

Test(npz, keys_stand_once)
{
    item items[2] = {{.name = "a", .data = array(1), .bytes = ARRAY_BYTES},
                     {.name = "a.npy", .data = array(1), .bytes = ARRAY_BYTES}};
    expect_refused(build(items, 2, false, ""), OXP_EDATA, "E-ZIP-DUP", "a and a.npy");
    items[1].name = "a";
    expect_refused(build(items, 2, false, ""), OXP_EDATA, "E-ZIP-DUP", "a and a");
}

Test(npz, a_nul_in_a_name_is_refused)
{
    item x = {.name = "x\0y", .name_bytes = 3, .data = array(1), .bytes = ARRAY_BYTES};
    expect_refused(build(&x, 1, false, ""), OXP_EDATA, "E-CALIB-NAME", "NUL");
}

Test(npz, names_are_keys_never_paths)
{
    item x = {.name = "../../x.npy", .data = array(1), .bytes = ARRAY_BYTES};
    archive a = build(&x, 1, false, "");
    oxp_npz *z;
    cr_assert_eq(oxp_npz_open(&z, &ctx, a.bytes, a.used), OXP_OK);
    cr_expect_str_eq(oxp_npz_key(z, 0), "../../x");
    oxp_npz_free(z);
    free(a.bytes);
}

/* ---- refused: contents ---- */

Test(npz, sizes_and_checksums_must_be_true)
{
    item x = {.name = "x", .data = array(1), .bytes = ARRAY_BYTES, .deflate = true};
    item y = x;
    y.claimed_bytes = ARRAY_BYTES + 4;
    expect_refused(build(&y, 1, false, ""), OXP_EDATA, "E-NPY-LEN", "declares more");
    y.claimed_bytes = 200;
    expect_refused(build(&y, 1, false, ""), OXP_EDATA, "E-NPY-LEN", "declares less");
    y = x;
    y.cut = 3;
    expect_refused(build(&y, 1, false, ""), OXP_EDATA, "E-ZIP-CRC", "deflate stream cut off");
    y = x;
    y.trailing = 5;
    expect_refused(build(&y, 1, false, ""), OXP_EDATA, "E-ZIP-CRC", "bytes behind the stream");
    y = x;
    y.deflate = false;
    archive a = build(&y, 1, false, "");
    a.bytes[a.packed_at[0] + 500] ^= 1;
    expect_refused(a, OXP_EDATA, "E-ZIP-CRC", "a flipped bit in stored data");
    y.claimed_bytes = ARRAY_BYTES + 4;
    expect_refused(build(&y, 1, false, ""), OXP_EDATA, "E-ZIP", "stored with two sizes");
    y = x;
    y.streamed = true;
    a = build(&y, 1, false, "");
    patch(&a, a.packed_at[0] + a.packed[0] + 4, 0, 4);
    expect_refused(a, OXP_EDATA, "E-ZIP", "descriptor with another CRC");
}

/* An array whose header agrees with the declared size, but whose stream goes on. */
Test(npz, what_inflates_beyond_its_size_is_a_bomb)
{
    static uint8_t longer[ARRAY_BYTES + 100000];
    memcpy(longer, array(1), ARRAY_BYTES);
    item x = {.name = "x",
              .data = longer,
              .bytes = sizeof longer,
              .claimed_bytes = ARRAY_BYTES,
              .deflate = true};
    expect_refused(build(&x, 1, false, ""), OXP_EDATA, "E-ZIP-BOMB", "longer than declared");
}

Test(npz, a_claim_beyond_deflate_is_a_bomb)
{
    item x = {.name = "x",
              .data = array(1),
              .bytes = ARRAY_BYTES,
              .deflate = true,
              .wide_local = true,
              .wide_central = true,
              .claimed_bytes = (size_t)1 << 40};
    ctx.own_budget.limit = 1 << 20; /* refused before anything of that size is asked for */
    expect_refused(build(&x, 1, false, ""), OXP_EDATA, "E-ZIP-BOMB", "1 TB from a kilobyte");
}

Test(npz, inflating_stays_within_the_budget)
{
    enum { BIG = 1 << 20 };
    uint8_t *big = calloc(1, PREFIX_BYTES + BIG);
    put_prefix(big, "{'descr': '|u1', 'fortran_order': False, 'shape': (1048576,), }");
    item x = {.name = "x", .data = big, .bytes = PREFIX_BYTES + BIG, .deflate = true};
    archive a = build(&x, 1, false, "");
    cr_expect_eq(read_all(&a, NULL), OXP_OK, "%s", ctx.message);
    ctx.own_budget.limit = BIG;
    cr_expect_eq(read_all(&a, NULL), OXP_ELIMIT);
    cr_expect_str_eq(ctx.code, "E-LIMIT-MEM");
    ctx.own_budget.limit = 20000; /* not even zlib's state fits */
    cr_expect_eq(read_all(&a, NULL), OXP_ELIMIT);
    cr_expect_str_eq(ctx.code, "E-LIMIT-MEM");
    free(a.bytes);
    free(big);
}

Test(npz, contents_that_are_no_arrays)
{
    item x = {.name = "x.npy", .data = "hello, this is text", .bytes = 19};
    expect_refused(build(&x, 1, false, ""), OXP_EDATA, "E-NPY-MAGIC", "text");
    cr_expect_not_null(strstr(ctx.message, "\"x\""), "the entry is named: %s", ctx.message);
    archive inner = two((item){0});
    item y = {.name = "x.npy", .data = inner.bytes, .bytes = inner.used};
    expect_refused(build(&y, 1, false, ""), OXP_EDATA, "E-NPY-MAGIC", "an archive in an archive");
    free(inner.bytes);
    item empty = {.name = "x.npy", .data = "", .bytes = 0};
    expect_refused(build(&empty, 1, false, ""), OXP_EDATA, "E-NPY-MAGIC", "an empty entry");
}

Test(npz, errors_name_file_and_entry)
{
    item x = {.name = "x.npy", .data = "hello, this is text", .bytes = 19};
    archive a = build(&x, 1, false, "");
    ctx.subject = "data.npz";
    cr_expect_eq(read_all(&a, NULL), OXP_EDATA);
    cr_expect_eq(strncmp(ctx.message, "data.npz: entry \"x\": ", 21), 0, "%s", ctx.message);
    cr_expect_str_eq(ctx.subject, "data.npz", "put back");
    free(a.bytes);
}

Test(npz, every_truncation_is_refused)
{
    archive a = two((item){.deflate = true, .streamed = true});
    size_t whole = a.used;
    for (a.used = 0; a.used < whole; a.used++)
        cr_assert_eq(read_all(&a, NULL), OXP_EDATA, "%zu bytes are enough", a.used);
    free(a.bytes);
}

Test(npz, every_changed_byte_is_survived)
{
    static const uint8_t values[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    for (int kind = 0; kind < 3; kind++) {
        item x = {.name = "x",
                  .data = array(1),
                  .bytes = PREFIX_BYTES + 4 * 8, /* too short for its shape */
                  .deflate = kind > 0,
                  .streamed = kind == 2,
                  .wide_local = kind == 1,
                  .wide_central = kind == 1};
        archive a = build(&x, 1, kind == 1, "");
        for (size_t at = 0; at < a.used; at++) {
            uint8_t kept = a.bytes[at];
            for (size_t v = 0; v < sizeof values; v++) {
                a.bytes[at] = values[v];
                cr_assert_neq(read_all(&a, NULL), OXP_OK, "the array is too short");
                cr_assert_eq(atomic_load(&ctx.own_budget.used), 0);
            }
            a.bytes[at] = kept;
        }
        free(a.bytes);
    }
}

/* ---- our writer ---- */

static void write_file(const char *path, const oxp_npz_array *arrays, size_t count)
{
    oxp_output_file *output;
    oxp_output_options options = {.force = true};
    cr_assert_eq(oxp_output_open(&output, &ctx, path, &options), OXP_OK, "%s", ctx.message);
    cr_assert_eq(oxp_npz_write(output, &ctx, arrays, count), OXP_OK, "%s", ctx.message);
    cr_assert_eq(oxp_output_publish(output), OXP_OK, "%s", ctx.message);
}

static void check_with_libzip(const char *path, const char *entry, const oxp_tensor *t)
{
    int error;
    zip_t *z = zip_open(path, ZIP_RDONLY | ZIP_CHECKCONS, &error);
    cr_assert_not_null(z, "libzip refuses it: %d", error);
    zip_stat_t about;
    cr_assert_eq(zip_stat(z, entry, 0, &about), 0);
    uint8_t *bytes = malloc(about.size);
    zip_file_t *file = zip_fopen(z, entry, 0);
    cr_assert_eq(zip_fread(file, bytes, about.size), (zip_int64_t)about.size);
    cr_assert_eq(zip_fclose(file), 0);
    size_t data = oxp_tensor_bytes(t);
    cr_expect_arr_eq(bytes + about.size - data, t->data, data);
    free(bytes);
    zip_discard(z);
}

Test(npz, what_is_written_is_read_back)
{
    char folder[] = "/tmp/oxp-npz-XXXXXX", path[64], again_path[64];
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/a.npz", folder);
    snprintf(again_path, sizeof again_path, "%s/b.npz", folder);
    float x[6] = {1, 2, 3, 4, 5, 6};
    int64_t y = -7;
    oxp_tensor tx, ty, empty;
    oxp_tensor_shape(&tx, &ctx, OXP_FLOAT, 2, (int64_t[]){2, 3}, "x");
    oxp_tensor_shape(&ty, &ctx, OXP_INT64, 0, NULL, "y");
    oxp_tensor_shape(&empty, &ctx, OXP_FLOAT, 2, (int64_t[]){0, 4}, "empty");
    tx.data = x;
    ty.data = &y;
    empty.data = x;
    const oxp_npz_array arrays[3] = {{"x", &tx}, {"\xc3\xa9/y", &ty}, {"empty", &empty}};
    write_file(path, arrays, 3);
    write_file(again_path, arrays, 3);

    uint8_t *bytes, *again;
    size_t size, again_size;
    cr_assert_eq(oxp_file_read(&bytes, &size, &ctx, path, 1 << 20, OXP_EDATA, NULL), OXP_OK);
    cr_assert_eq(oxp_file_read(&again, &again_size, &ctx, again_path, 1 << 20, OXP_EDATA, NULL),
                 OXP_OK);
    cr_assert_eq(size, again_size);
    cr_expect_arr_eq(bytes, again, size, "the same arrays give the same bytes");
    oxp_free(again);

    oxp_npz *z;
    cr_assert_eq(oxp_npz_open(&z, &ctx, bytes, size), OXP_OK, "%s", ctx.message);
    cr_assert_eq(oxp_npz_count(z), 3);
    for (size_t i = 0; i < 3; i++) {
        oxp_tensor t;
        const oxp_tensor *wanted = arrays[i].tensor;
        cr_expect_str_eq(oxp_npz_key(z, i), arrays[i].key);
        cr_assert_eq(oxp_npz_read(&t, &ctx, z, i), OXP_OK, "%s", ctx.message);
        cr_expect_eq(t.dtype, wanted->dtype);
        cr_expect_eq(t.rank, wanted->rank);
        cr_expect_arr_eq(t.dims, wanted->dims, sizeof t.dims);
        cr_expect_arr_eq(t.data, wanted->data, oxp_tensor_bytes(wanted));
        oxp_tensor_release(&t);
    }
    oxp_npz_free(z);
    oxp_free(bytes);
    check_with_libzip(path, "x.npy", &tx);
    check_with_libzip(path, "\xc3\xa9/y.npy", &ty);
    unlink(path);
    unlink(again_path);
    rmdir(folder);
}

Test(npz, an_element_type_without_a_place_is_refused)
{
    char folder[] = "/tmp/oxp-npz-XXXXXX", path[64];
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/a.npz", folder);
    oxp_output_file *output;
    oxp_tensor t;
    uint16_t data[2] = {0};
    oxp_tensor_shape(&t, &ctx, OXP_BFLOAT16, 1, (int64_t[]){2}, "t");
    t.data = data;
    cr_assert_eq(oxp_output_open(&output, &ctx, path, NULL), OXP_OK);
    cr_expect_eq(oxp_npz_write(output, &ctx, &(oxp_npz_array){"t", &t}, 1), OXP_EUNSUPPORTED);
    cr_expect_str_eq(ctx.code, "E-NPY-DTYPE");
    oxp_output_discard(output);
    cr_expect_neq(access(path, F_OK), 0);
    rmdir(folder);
}

/* A large stored array is not copied; a damaged one is found all the same. */
Test(npz, large_stored_arrays_are_borrowed)
{
    enum { FLOATS = (1 << 20) / 4 + 3 };
    uint8_t *bytes = malloc(128 + FLOATS * sizeof(float));
    put_prefix(bytes, "{'descr': '<f4', 'fortran_order': False, 'shape': (262147,), }");
    for (size_t i = 0; i < FLOATS; i++)
        memcpy(bytes + 128 + 4 * i, &(float){(float)i}, 4);
    for (int deflate = 0; deflate < 2; deflate++) {
        item it = {.name = "x.npy", .data = bytes, .bytes = 128 + FLOATS * 4, .deflate = deflate};
        archive a = build(&it, 1, false, "");
        oxp_npz *z;
        oxp_tensor t = {0};
        float last;
        cr_assert_eq(oxp_npz_open(&z, &ctx, a.bytes, a.used), OXP_OK, "%s", ctx.message);
        cr_assert_eq(oxp_npz_read(&t, &ctx, z, 0), OXP_OK, "%s", ctx.message);
        bool inside = (uint8_t *)t.data > a.bytes && (uint8_t *)t.data < a.bytes + a.used;
        cr_expect_eq(inside, !deflate);
        cr_expect_eq(t.storage == NULL, !deflate);
        memcpy(&last, (uint8_t *)t.data + 4 * (FLOATS - 1), 4);
        cr_expect_eq(last, FLOATS - 1);
        oxp_tensor_release(&t);
        a.bytes[a.packed_at[0] + 500] ^= 1;
        cr_expect_eq(oxp_npz_read(&t, &ctx, z, 0), OXP_EDATA);
        cr_expect_str_eq(ctx.code, "E-ZIP-CRC");
        oxp_ctx_clear(&ctx);
        oxp_npz_free(z);
        free(a.bytes);
    }
    free(bytes);
}
