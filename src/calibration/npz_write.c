/* npz_write.c - writes .npz archives; see npz.h.
 *
 * Every array is stored, its local header first, with its sizes known in advance; then the
 * directory. Dates are 1980-01-01, the first that ZIP can say. ZIP64 fields stand only where a size
 * or an offset needs them. */
#include <string.h>
#include <zlib.h>

#include "calibration/npy.h"
#include "calibration/npz.h"

#define MAX32 UINT64_C(0xffffffff)
#define NAME_MAX_BYTES ((size_t)4096)
#define VERSION_PLAIN 20u
#define VERSION_ZIP64 45u
#define FLAG_UTF8 0x0800u
#define DATE_1980_01_01 0x0021u

typedef struct placed {
    const oxp_npz_array *array;
    char prefix[OXP_NPY_PREFIX_MAX];
    size_t prefix_bytes;
    uint64_t bytes, offset;
    uint32_t crc;
} placed;

/* A record under construction. */
typedef struct record {
    uint8_t data[128];
    size_t used;
} record;

static void put(record *r, uint64_t value, size_t width)
{
    for (size_t i = 0; i < width; i++, value >>= 8)
        r->data[r->used++] = (uint8_t)value;
}

static uint64_t cap32(uint64_t value)
{
    return value < MAX32 ? value : MAX32;
}

static unsigned name_flags(const char *key)
{
    for (; *key != '\0'; key++)
        if ((unsigned char)*key >= 0x80)
            return FLAG_UTF8;
    return 0;
}

/* version, flags, method, time, date, CRC, both sizes, length of the name: the same in both
 * headers */
static void put_common(record *r, const placed *p, bool wide)
{
    put(r, wide ? VERSION_ZIP64 : VERSION_PLAIN, 2);
    put(r, name_flags(p->array->key), 2);
    put(r, 0, 2);
    put(r, 0, 2);
    put(r, DATE_1980_01_01, 2);
    put(r, p->crc, 4);
    put(r, cap32(p->bytes), 4);
    put(r, cap32(p->bytes), 4);
    put(r, strlen(p->array->key) + 4, 2);
}

static oxp_status write_name(oxp_output_file *output, const placed *p)
{
    OXP_TRY(oxp_output_write(output, p->array->key, strlen(p->array->key)));
    return oxp_output_write(output, ".npy", 4);
}

static oxp_status write_local(oxp_output_file *output, const placed *p, uint64_t *at)
{
    bool wide = p->bytes >= MAX32;
    record r = {0}, extra = {0};
    put(&r, 0x04034b50, 4);
    put_common(&r, p, wide);
    put(&r, wide ? 20 : 0, 2);
    if (wide) {
        put(&extra, 1, 2);
        put(&extra, 16, 2);
        put(&extra, p->bytes, 8);
        put(&extra, p->bytes, 8);
    }
    OXP_TRY(oxp_output_write(output, r.data, r.used));
    OXP_TRY(write_name(output, p));
    OXP_TRY(oxp_output_write(output, extra.data, extra.used));
    *at += r.used + strlen(p->array->key) + 4 + extra.used;
    return OXP_OK;
}

static oxp_status write_central(oxp_output_file *output, const placed *p, uint64_t *at)
{
    record r = {0}, extra = {0};
    if (p->bytes >= MAX32) {
        put(&extra, p->bytes, 8);
        put(&extra, p->bytes, 8);
    }
    if (p->offset >= MAX32)
        put(&extra, p->offset, 8);
    record head = {0};
    if (extra.used > 0) {
        put(&head, 1, 2);
        put(&head, extra.used, 2);
    }
    put(&r, 0x02014b50, 4);
    put(&r, extra.used > 0 ? VERSION_ZIP64 : VERSION_PLAIN, 2);
    put_common(&r, p, extra.used > 0);
    put(&r, head.used + extra.used, 2);
    put(&r, 0, 2 + 2 + 2 + 4); /* comment, disk, attributes */
    put(&r, cap32(p->offset), 4);
    OXP_TRY(oxp_output_write(output, r.data, r.used));
    OXP_TRY(write_name(output, p));
    OXP_TRY(oxp_output_write(output, head.data, head.used));
    OXP_TRY(oxp_output_write(output, extra.data, extra.used));
    *at += r.used + strlen(p->array->key) + 4 + head.used + extra.used;
    return OXP_OK;
}

static oxp_status write_end(oxp_output_file *output, size_t count, uint64_t start, uint64_t end)
{
    record r = {0};
    if (end >= MAX32) {
        put(&r, 0x06064b50, 4);
        put(&r, 44, 8);
        put(&r, VERSION_ZIP64, 2);
        put(&r, VERSION_ZIP64, 2);
        put(&r, 0, 4);
        put(&r, 0, 4);
        put(&r, count, 8);
        put(&r, count, 8);
        put(&r, end - start, 8);
        put(&r, start, 8);
        put(&r, 0x07064b50, 4);
        put(&r, 0, 4);
        put(&r, end, 8);
        put(&r, 1, 4);
    }
    put(&r, 0x06054b50, 4);
    put(&r, 0, 4);
    put(&r, count, 2);
    put(&r, count, 2);
    put(&r, cap32(end - start), 4);
    put(&r, cap32(start), 4);
    put(&r, 0, 2);
    return oxp_output_write(output, r.data, r.used);
}

static oxp_status write_array(oxp_output_file *output, oxp_ctx *ctx, placed *p, uint64_t *at)
{
    char key[OXP_QUOTED_MAX];
    const oxp_tensor *t = p->array->tensor;
    p->prefix_bytes = oxp_npy_prefix(p->prefix, t);
    if (p->prefix_bytes == 0)
        return oxp_fail(ctx, OXP_EUNSUPPORTED, "E-NPY-DTYPE",
                        "array %s: .npy has no element type for %s", oxp_quote(key, p->array->key),
                        oxp_dtype_name(t->dtype));
    if (strlen(p->array->key) > NAME_MAX_BYTES)
        return oxp_fail(ctx, OXP_ELIMIT, "E-LIMIT-NAME",
                        "array %s: a name of %zu bytes, the limit is %zu",
                        oxp_quote(key, p->array->key), strlen(p->array->key), NAME_MAX_BYTES);
    size_t bytes = oxp_tensor_bytes(t);
    uLong crc = crc32_z(0, (const Bytef *)p->prefix, p->prefix_bytes);
    if (bytes > 0)
        crc = crc32_z(crc, t->data, bytes);
    p->crc = (uint32_t)crc;
    p->bytes = (uint64_t)p->prefix_bytes + bytes;
    p->offset = *at;
    OXP_TRY(write_local(output, p, at));
    OXP_TRY(oxp_output_write(output, p->prefix, p->prefix_bytes));
    OXP_TRY(oxp_output_write(output, t->data, bytes));
    *at += p->bytes;
    return OXP_OK;
}

static oxp_status write_all(oxp_output_file *output, oxp_ctx *ctx, placed *entries, size_t count)
{
    uint64_t at = 0;
    for (size_t i = 0; i < count; i++)
        OXP_TRY(write_array(output, ctx, &entries[i], &at));
    uint64_t start = at;
    for (size_t i = 0; i < count; i++)
        OXP_TRY(write_central(output, &entries[i], &at));
    return write_end(output, count, start, at);
}

oxp_status oxp_npz_write(oxp_output_file *output, oxp_ctx *ctx, const oxp_npz_array *arrays,
                         size_t count)
{
    if (count > OXP_NPZ_ENTRY_LIMIT)
        return oxp_fail(ctx, OXP_ELIMIT, "E-LIMIT-ENTRIES", "%zu arrays, the limit of a file is %d",
                        count, OXP_NPZ_ENTRY_LIMIT);
    placed *entries;
    OXP_TRY(oxp_alloc(&entries, ctx, count, sizeof *entries, "entries of an archive"));
    for (size_t i = 0; i < count; i++)
        entries[i].array = &arrays[i];
    oxp_status status = write_all(output, ctx, entries, count);
    oxp_free(entries);
    return status;
}
