/* npy.c - reads and writes arrays in the .npy format; see npy.h.
 *
 * Header grammar, blanks (space, tab, newline) allowed between any two parts:
 *
 *     header = "{" key ":" value { "," key ":" value } [ "," ] "}"
 *     shape  = "(" [ int "," [ int { "," int } [ "," ] ] ] ")"
 *     int    = "0" | [1-9][0-9]*, then [ "L" ]
 *     flag   = "True" | "False"
 *     text   = a string in single or double quotes without a backslash
 *
 * Reference: NumPy Enhancement Proposal 1, "A simple file format for NumPy arrays". */
#include "calibration/npy.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MAGIC "\x93NUMPY"
#define MAGIC_BYTES ((size_t)6)

/* ---- the parts of the grammar ---- */

typedef struct parser {
    oxp_ctx *ctx;
    const char *start, *at, *end;
} parser;

static oxp_status expected(const parser *p, const char *what)
{
    char found[24] = "", quoted[OXP_QUOTED_MAX];
    size_t left = (size_t)(p->end - p->at);
    if (left > 0)
        memcpy(found, p->at, left < sizeof found ? left : sizeof found - 1);
    return oxp_fail(p->ctx, OXP_EDATA, "E-NPY-HEADER",
                    "npy header, byte %zu: expected %s, found %s", (size_t)(p->at - p->start), what,
                    left == 0 ? "the end" : oxp_quote(quoted, found));
}

static void skip_blanks(parser *p)
{
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\t' || *p->at == '\n'))
        p->at++;
}

/* Passes blanks, then `c` if it is next. */
static bool accept(parser *p, char c)
{
    skip_blanks(p);
    if (p->at == p->end || *p->at != c)
        return false;
    p->at++;
    return true;
}

static bool accept_word(parser *p, const char *word)
{
    size_t length = strlen(word);
    skip_blanks(p);
    if ((size_t)(p->end - p->at) < length || memcmp(p->at, word, length) != 0)
        return false;
    p->at += length;
    return true;
}

static oxp_status parse_text(parser *p, const char **text, size_t *length, const char *what)
{
    skip_blanks(p);
    if (p->at == p->end || (*p->at != '\'' && *p->at != '"'))
        return expected(p, what);
    char quote = *p->at;
    const char *first = p->at + 1, *last = first;
    while (last < p->end && *last != quote && *last != '\\')
        last++;
    if (last == p->end || *last != quote)
        return expected(p, "a string that ends and has no backslash");
    *text = first;
    *length = (size_t)(last - first);
    p->at = last + 1;
    return OXP_OK;
}

static oxp_status parse_flag(parser *p, bool *out)
{
    bool is_true = accept_word(p, "True");
    if (!is_true && !accept_word(p, "False"))
        return expected(p, "True or False");
    *out = is_true;
    return OXP_OK;
}

static bool is_digit(const parser *p)
{
    return p->at < p->end && *p->at >= '0' && *p->at <= '9';
}

static oxp_status parse_dim(parser *p, int64_t *out)
{
    skip_blanks(p);
    if (!is_digit(p))
        return expected(p, "a dimension, a whole number of 0 or more");
    const char *first = p->at;
    int64_t value = 0;
    for (; is_digit(p); p->at++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, *p->at - '0', &value))
            return oxp_fail(p->ctx, OXP_EDATA, "E-SHAPE-OVERFLOW",
                            "npy header: a dimension is above 2^63-1");
    if (*first == '0' && p->at > first + 1) {
        p->at = first;
        return expected(p, "a number without leading zeros");
    }
    if (p->at < p->end && *p->at == 'L') /* written by Python 2 */
        p->at++;
    *out = value;
    return OXP_OK;
}

static oxp_status parse_shape(parser *p, oxp_npy_header *h)
{
    if (!accept(p, '('))
        return expected(p, "the tuple of the shape");
    bool comma = true;
    for (h->rank = 0; !accept(p, ')'); h->rank++) {
        if (!comma)
            return expected(p, "',' or ')'");
        int64_t dim = 0;
        OXP_TRY(parse_dim(p, &dim));
        if (h->rank == OXP_MAX_RANK)
            return oxp_fail(p->ctx, OXP_ELIMIT, "E-LIMIT-RANK",
                            "npy header: more than %d dimensions are not supported", OXP_MAX_RANK);
        h->dims[h->rank] = dim;
        comma = accept(p, ',');
    }
    if (h->rank == 1 && !comma)
        return oxp_fail(p->ctx, OXP_EDATA, "E-NPY-HEADER",
                        "npy header: (%" PRId64 ") is a number, expected the tuple (%" PRId64 ",)",
                        h->dims[0], h->dims[0]);
    return OXP_OK;
}

/* ---- element types ---- */

typedef struct descr_row {
    char code[3];
    oxp_dtype dtype;
} descr_row;

static const descr_row descrs[] = {
    {"b1", OXP_BOOL},   {"i1", OXP_INT8},    {"u1", OXP_UINT8},  {"i2", OXP_INT16},
    {"u2", OXP_UINT16}, {"i4", OXP_INT32},   {"u4", OXP_UINT32}, {"i8", OXP_INT64},
    {"u8", OXP_UINT64}, {"f2", OXP_FLOAT16}, {"f4", OXP_FLOAT},  {"f8", OXP_DOUBLE},
};

#define DESCR_COUNT (sizeof descrs / sizeof descrs[0])

static bool is_order(char c)
{
    return c == '<' || c == '>' || c == '=' || c == '|';
}

static bool machine_is_little(void)
{
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;
}

/* The row of "<f4", "f4", "?", ...; NULL when there is none. A '|' says that order means nothing:
 * single bytes. */
static const descr_row *find_descr(const char *text, size_t length, char *order)
{
    *order = '=';
    if (length > 0 && is_order(*text)) {
        *order = *text++;
        length--;
    }
    if (length == 1 && *text == '?')
        return &descrs[0];
    for (size_t i = 0; i < DESCR_COUNT; i++) {
        const descr_row *row = &descrs[i];
        if (length == 2 && memcmp(text, row->code, 2) == 0)
            return *order == '|' && row->code[1] != '1' ? NULL : row;
    }
    return NULL;
}

static oxp_status parse_descr(parser *p, oxp_npy_header *h)
{
    skip_blanks(p);
    if (p->at < p->end && *p->at == '[')
        return oxp_fail(p->ctx, OXP_EDATA, "E-NPY-DTYPE",
                        "structured arrays are not supported, expected one number type");
    const char *text = "";
    size_t length = 0;
    OXP_TRY(parse_text(p, &text, &length, "the element type, a string"));
    char name[32] = "", quoted[OXP_QUOTED_MAX], order;
    memcpy(name, text, length < sizeof name ? length : sizeof name - 1);
    const char *kind = is_order(name[0]) ? name + 1 : name;
    if (*kind == 'O')
        return oxp_fail(p->ctx, OXP_EDATA, "E-NPY-PICKLE",
                        "element type %s: object arrays are never loaded", oxp_quote(quoted, name));
    const descr_row *row = find_descr(text, length, &order);
    if (row == NULL)
        return oxp_fail(p->ctx, OXP_EDATA, "E-NPY-DTYPE",
                        "element type %s is not supported, expected one of b1 i1 i2 i4 i8 u1 u2 u4 "
                        "u8 f2 f4 f8",
                        oxp_quote(quoted, name));
    h->dtype = row->dtype;
    h->swapped = row->code[1] != '1' && (order == '<' || order == '>') &&
                 (order == '<') != machine_is_little();
    return OXP_OK;
}

/* ---- the header ---- */

static const char *const key_names[3] = {"descr", "fortran_order", "shape"};

static oxp_status parse_item(parser *p, oxp_npy_header *h, bool seen[3])
{
    const char *text = "";
    size_t length = 0;
    OXP_TRY(parse_text(p, &text, &length, "a key"));
    int key = 0;
    while (key < 3 &&
           (strlen(key_names[key]) != length || memcmp(text, key_names[key], length) != 0))
        key++;
    if (key == 3 || seen[key]) {
        p->at = text;
        return expected(p, key == 3 ? "the key descr, fortran_order or shape" : "each key once");
    }
    seen[key] = true;
    if (!accept(p, ':'))
        return expected(p, "':'");
    return key == 0   ? parse_descr(p, h)
           : key == 1 ? parse_flag(p, &h->fortran_order)
                      : parse_shape(p, h);
}

oxp_status oxp_npy_parse_header(oxp_npy_header *out, oxp_ctx *ctx, const char *text, size_t bytes)
{
    parser p = {.ctx = ctx, .start = text, .at = text, .end = text + bytes};
    for (; p.at < p.end; p.at++)
        if ((*p.at < ' ' || *p.at > '~') && *p.at != '\n' && *p.at != '\t')
            return expected(&p, "printable ASCII");
    p.at = text;

    oxp_npy_header h = {0};
    bool seen[3] = {false, false, false};
    if (!accept(&p, '{'))
        return expected(&p, "'{'");
    bool comma = true;
    while (!accept(&p, '}')) {
        if (!comma)
            return expected(&p, "',' or '}'");
        OXP_TRY(parse_item(&p, &h, seen));
        comma = accept(&p, ',');
    }
    for (int key = 0; key < 3; key++)
        if (!seen[key])
            return oxp_fail(ctx, OXP_EDATA, "E-NPY-HEADER", "npy header: the key %s is missing",
                            key_names[key]);
    skip_blanks(&p);
    if (p.at != p.end)
        return expected(&p, "nothing behind the dict");
    *out = h;
    return OXP_OK;
}

/* ---- the data ---- */

static void swap_elements(uint8_t *data, size_t count, size_t size)
{
    for (size_t i = 0; i < count; i++, data += size) {
        for (size_t low = 0, high = size - 1; low < high; low++, high--) {
            uint8_t byte = data[low];
            data[low] = data[high];
            data[high] = byte;
        }
    }
}

/* out[i0, i1, ...] = in[i0 + d0 (i1 + d1 (i2 + ...))]: the first index varies fastest in `in`, the
 * last in `out`. */
static void from_fortran_order(uint8_t *out, const uint8_t *in, const oxp_tensor *t, size_t size)
{
    size_t stride[OXP_MAX_RANK], index[OXP_MAX_RANK] = {0}, from = 0;
    size_t step = size;
    for (int d = 0; d < t->rank; d++) {
        stride[d] = step;
        step *= (size_t)t->dims[d];
    }
    for (size_t i = 0; i < t->count; i++, out += size) {
        memcpy(out, in + from, size);
        for (int d = t->rank - 1; d >= 0; d--) {
            from += stride[d];
            if (++index[d] < (size_t)t->dims[d])
                break;
            from -= stride[d] * (size_t)t->dims[d];
            index[d] = 0;
        }
    }
}

static oxp_status reorder(oxp_tensor *t, oxp_ctx *ctx, size_t size)
{
    oxp_tensor ordered = *t;
    ordered.data = NULL;
    ordered.storage = NULL;
    OXP_TRY(oxp_tensor_alloc(&ordered, ctx, "array in Fortran order"));
    from_fortran_order(ordered.data, t->data, t, size);
    oxp_tensor_release(t);
    *t = ordered;
    return OXP_OK;
}

static oxp_status check_bools(const oxp_tensor *t, oxp_ctx *ctx)
{
    const uint8_t *data = t->data;
    for (size_t i = 0; i < t->count; i++)
        if (data[i] > 1)
            return oxp_fail(ctx, OXP_EDATA, "E-DATA-RANGE",
                            "element %zu of a bool array is %d, expected 0 or 1", i, data[i]);
    return OXP_OK;
}

/* Shapes a tensor by the header; the product must be exact and the data as long as it says. */
static oxp_status shape_by(oxp_tensor *t, oxp_ctx *ctx, const oxp_npy_header *h, size_t data_bytes)
{
    char text[OXP_SHAPE_TEXT_MAX];
    oxp_ctx trial; /* the error of a wrong shape is here one of the data, not of the model */
    oxp_ctx_child(&trial, ctx);
    if (oxp_tensor_shape(t, &trial, h->dtype, h->rank, h->dims, "array") != OXP_OK)
        return oxp_fail(ctx, OXP_EDATA, "E-SHAPE-OVERFLOW",
                        "npy header: shape %s of %s has more elements than memory can address",
                        oxp_shape_text(text, h->rank, h->dims), oxp_dtype_name(h->dtype));
    size_t needed = oxp_tensor_bytes(t);
    if (needed != data_bytes)
        return oxp_fail(ctx, OXP_EDATA, "E-NPY-LEN",
                        "the array has %zu bytes, shape %s %s needs %zu", data_bytes,
                        oxp_shape_text(text, h->rank, h->dims), oxp_dtype_name(h->dtype), needed);
    return OXP_OK;
}

/* The data in place, where it has the form that is wanted. */
static const uint8_t *take_data(oxp_ctx *ctx, const oxp_npy_source *source, const oxp_npy_header *h,
                                size_t data_bytes)
{
    bool ready = !h->swapped && h->dtype != OXP_BOOL && !(h->fortran_order && h->rank > 1);
    return ready && source->take != NULL ? source->take(source->user, ctx, data_bytes) : NULL;
}

static oxp_status read_data(oxp_tensor *out, oxp_ctx *ctx, const oxp_npy_source *source,
                            const oxp_npy_header *h, size_t data_bytes)
{
    oxp_tensor t = {0};
    oxp_status status;
    size_t size = oxp_dtype_bits(h->dtype) / 8;
    OXP_TRY(shape_by(&t, ctx, h, data_bytes));
    t.data = (void *)(uintptr_t)take_data(ctx, source, h, data_bytes);
    if (t.data != NULL) {
        *out = t;
        return OXP_OK;
    }
    OXP_TRY(oxp_tensor_alloc(&t, ctx, "array"));
    OXP_TRY_GOTO(source->read(source->user, ctx, t.data, data_bytes), fail);
    if (h->swapped)
        swap_elements(t.data, t.count, size);
    if (h->dtype == OXP_BOOL)
        OXP_TRY_GOTO(check_bools(&t, ctx), fail);
    if (h->fortran_order && t.rank > 1)
        OXP_TRY_GOTO(reorder(&t, ctx, size), fail);
    *out = t;
    return OXP_OK;
fail:
    oxp_tensor_release(&t);
    return status;
}

/* ---- whole arrays ---- */

/* Reads magic, version and length. *header_bytes is the length of the text, *prefix what came
 * before it. */
static oxp_status read_preamble(oxp_ctx *ctx, const oxp_npy_source *source, size_t *header_bytes,
                                size_t *prefix)
{
    uint8_t head[8], length[4];
    if (source->bytes < sizeof head)
        return oxp_fail(ctx, OXP_EDATA, "E-NPY-MAGIC", "%zu bytes are no .npy array",
                        source->bytes);
    OXP_TRY(source->read(source->user, ctx, head, sizeof head));
    if (memcmp(head, MAGIC, MAGIC_BYTES) != 0)
        return oxp_fail(ctx, OXP_EDATA, "E-NPY-MAGIC",
                        "not a .npy array: begins with %02x %02x %02x %02x %02x %02x, expected 93 "
                        "4e 55 4d 50 59",
                        head[0], head[1], head[2], head[3], head[4], head[5]);
    if (head[6] < 1 || head[6] > 3 || head[7] != 0)
        return oxp_fail(ctx, OXP_EDATA, "E-NPY-MAGIC",
                        ".npy version %d.%d, expected 1.0, 2.0 or 3.0", head[6], head[7]);
    size_t width = head[6] == 1 ? 2 : 4;
    *prefix = sizeof head + width;
    if (source->bytes < *prefix)
        return oxp_fail(ctx, OXP_EDATA, "E-NPY-HEADER", "npy header: the file ends before it");
    OXP_TRY(source->read(source->user, ctx, length, width));
    *header_bytes = (size_t)length[0] | (size_t)length[1] << 8;
    if (width == 4)
        *header_bytes |= (size_t)length[2] << 16 | (size_t)length[3] << 24;
    if (*header_bytes > source->bytes - *prefix)
        return oxp_fail(ctx, OXP_EDATA, "E-NPY-HEADER",
                        "npy header: says it has %zu bytes, %zu are left", *header_bytes,
                        source->bytes - *prefix);
    if (*header_bytes > OXP_NPY_HEADER_LIMIT)
        return oxp_fail(ctx, OXP_EDATA, "E-NPY-HEADER", "npy header: %zu bytes, the limit is %d",
                        *header_bytes, OXP_NPY_HEADER_LIMIT);
    return OXP_OK;
}

oxp_status oxp_npy_read(oxp_tensor *out, oxp_ctx *ctx, const oxp_npy_source *source)
{
    char text[OXP_NPY_HEADER_LIMIT];
    size_t header_bytes = 0, prefix = 0;
    oxp_npy_header h;
    OXP_TRY(read_preamble(ctx, source, &header_bytes, &prefix));
    OXP_TRY(source->read(source->user, ctx, text, header_bytes));
    OXP_TRY(oxp_npy_parse_header(&h, ctx, text, header_bytes));
    return read_data(out, ctx, source, &h, source->bytes - prefix - header_bytes);
}

static oxp_status read_from_memory(void *user, oxp_ctx *ctx, void *out, size_t bytes)
{
    const uint8_t **at = user;
    (void)ctx;
    if (bytes > 0)
        memcpy(out, *at, bytes);
    *at += bytes;
    return OXP_OK;
}

oxp_status oxp_npy_read_memory(oxp_tensor *out, oxp_ctx *ctx, const uint8_t *data, size_t bytes)
{
    const uint8_t *at = data;
    oxp_npy_source source = {.bytes = bytes, .read = read_from_memory, .user = &at};
    return oxp_npy_read(out, ctx, &source);
}

/* ---- writing ---- */

size_t oxp_npy_prefix(char out[OXP_NPY_PREFIX_MAX], const oxp_tensor *t)
{
    size_t row = 0;
    while (row < DESCR_COUNT && descrs[row].dtype != t->dtype)
        row++;
    if (row == DESCR_COUNT)
        return 0;
    const size_t preamble = 10;
    const char *code = descrs[row].code;
    size_t used = preamble;
    used += (size_t)snprintf(out + used, OXP_NPY_PREFIX_MAX - used,
                             "{'descr': '%c%s', 'fortran_order': False, 'shape': (",
                             code[1] == '1' ? '|' : '<', code);
    for (int d = 0; d < t->rank; d++)
        used += (size_t)snprintf(out + used, OXP_NPY_PREFIX_MAX - used, "%s%" PRId64,
                                 d == 0 ? "" : ", ", t->dims[d]);
    used +=
        (size_t)snprintf(out + used, OXP_NPY_PREFIX_MAX - used, "%s), }", t->rank == 1 ? "," : "");
    size_t whole = (used + 1 + 63) / 64 * 64;
    memset(out + used, ' ', whole - used - 1);
    out[whole - 1] = '\n';
    size_t text = whole - preamble;
    memcpy(out, MAGIC "\x01\x00", 8);
    out[8] = (char)(text & 0xff);
    out[9] = (char)(text >> 8);
    return whole;
}
