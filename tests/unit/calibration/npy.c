/* .npy: what is accepted with which values, and every refusal with its code. */
#include "calibration/npy.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static oxp_ctx ctx;

static void setup(void)
{
    oxp_ctx_init(&ctx);
}

static void teardown(void)
{
    cr_expect_eq(atomic_load(&ctx.own_budget.used), 0, "a block was not given back");
}

TestSuite(npy, .init = setup, .fini = teardown);

typedef struct blob {
    uint8_t bytes[32768];
    size_t used;
} blob;

static void add(blob *b, const void *data, size_t bytes)
{
    cr_assert_leq(b->used + bytes, sizeof b->bytes);
    if (bytes > 0)
        memcpy(b->bytes + b->used, data, bytes);
    b->used += bytes;
}

/* A file of version `major`.0 around a header text of `length` bytes. */
static void begin(blob *b, int major, const char *header, size_t length)
{
    uint8_t size[4] = {(uint8_t)length, (uint8_t)(length >> 8), (uint8_t)(length >> 16),
                       (uint8_t)(length >> 24)};
    b->used = 0;
    add(b, "\x93NUMPY", 6);
    add(b, (uint8_t[]){(uint8_t)major, 0}, 2);
    add(b, size, major == 1 ? 2 : 4);
    add(b, header, length);
}

static oxp_status read_blob(oxp_tensor *t, const blob *b)
{
    oxp_ctx_clear(&ctx);
    /* The bytes lie at the end of a block of their own: a sanitiser sees a read beyond them. */
    uint8_t *copy = malloc(b->used + 1);
    memcpy(copy + 1, b->bytes, b->used);
    oxp_status status = oxp_npy_read_memory(t, &ctx, copy + 1, b->used);
    free(copy);
    return status;
}

static oxp_status read_text(oxp_tensor *t, const char *header, const void *data, size_t bytes)
{
    blob b;
    begin(&b, 1, header, strlen(header));
    add(&b, data, bytes);
    return read_blob(t, &b);
}

/* ---- accepted ---- */

Test(npy, a_file_as_numpy_writes_it)
{
    oxp_tensor t;
    static const float data[6] = {1, 2, 3, 4, 5, 6};
    cr_assert_eq(read_text(&t,
                           "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }     "
                           "                                                     \n",
                           data, sizeof data),
                 OXP_OK, "%s", ctx.message);
    cr_expect_eq(t.dtype, OXP_FLOAT);
    cr_expect_eq(t.rank, 2);
    cr_expect_eq(t.dims[0], 2);
    cr_expect_eq(t.dims[1], 3);
    cr_expect_arr_eq(t.data, data, sizeof data);
    oxp_tensor_release(&t);
}

typedef struct accepted {
    const char *descr;
    oxp_dtype dtype;
    size_t bytes; /* of the single element 01 02 03 ... */
    bool swapped;
} accepted;

Test(npy, every_element_type_and_byte_order)
{
    static const accepted cases[] = {
        {"|b1", OXP_BOOL, 1, false},   {"|i1", OXP_INT8, 1, false},
        {"|u1", OXP_UINT8, 1, false},  {"<i2", OXP_INT16, 2, false},
        {"<u2", OXP_UINT16, 2, false}, {"<i4", OXP_INT32, 4, false},
        {"<u4", OXP_UINT32, 4, false}, {"<i8", OXP_INT64, 8, false},
        {"<u8", OXP_UINT64, 8, false}, {"<f2", OXP_FLOAT16, 2, false},
        {"<f4", OXP_FLOAT, 4, false},  {"<f8", OXP_DOUBLE, 8, false},
        {">i2", OXP_INT16, 2, true},   {">f4", OXP_FLOAT, 4, true},
        {">f8", OXP_DOUBLE, 8, true},  {">i8", OXP_INT64, 8, true},
        {"=f4", OXP_FLOAT, 4, false},  {"f4", OXP_FLOAT, 4, false},
        {"?", OXP_BOOL, 1, false},     {">u1", OXP_UINT8, 1, false},
        {"<b1", OXP_BOOL, 1, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char header[128];
        uint8_t data[8] = {1, 2, 3, 4, 5, 6, 7, 8}, wanted[8];
        size_t n = cases[i].bytes;
        for (size_t j = 0; j < n; j++)
            wanted[j] = data[cases[i].swapped ? n - 1 - j : j];
        snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': False, 'shape': (1,)}",
                 cases[i].descr);
        oxp_tensor t;
        cr_assert_eq(read_text(&t, header, data, n), OXP_OK, "%s: %s", cases[i].descr, ctx.message);
        cr_expect_eq(t.dtype, cases[i].dtype, "%s", cases[i].descr);
        cr_expect_arr_eq(t.data, wanted, n, "%s", cases[i].descr);
        oxp_tensor_release(&t);
    }
}

Test(npy, odd_but_legal_headers)
{
    static const char *const headers[] = {
        "{'descr':'|u1','fortran_order':False,'shape':(2,)}",
        "{\"shape\": (2,), \"descr\": \"|u1\", \"fortran_order\": False}\n",
        " \t{ 'shape' : ( 2 , ) , 'fortran_order' : True , 'descr' : '|u1' , } \n\n",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (2L,), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 1), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 2), }",
    };
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        oxp_tensor t;
        cr_assert_eq(read_text(&t, headers[i], "\x07\x09", 2), OXP_OK, "%s: %s", headers[i],
                     ctx.message);
        cr_expect_eq(oxp_tensor_int(&t, 0), 7);
        cr_expect_eq(oxp_tensor_int(&t, 1), 9);
        oxp_tensor_release(&t);
    }
}

Test(npy, versions_two_and_three)
{
    const char *header = "{'descr': '<i4', 'fortran_order': False, 'shape': (1,), }\n";
    for (int major = 2; major <= 3; major++) {
        blob b;
        oxp_tensor t;
        int32_t value = -5;
        begin(&b, major, header, strlen(header));
        add(&b, &value, sizeof value);
        cr_assert_eq(read_blob(&t, &b), OXP_OK, "%s", ctx.message);
        cr_expect_eq(oxp_tensor_int(&t, 0), -5);
        oxp_tensor_release(&t);
    }
}

Test(npy, scalars_and_empty_arrays)
{
    oxp_tensor t;
    double value = 2.5;
    cr_assert_eq(read_text(&t, "{'descr': '<f8', 'fortran_order': True, 'shape': ()}", &value, 8),
                 OXP_OK);
    cr_expect_eq(t.rank, 0);
    cr_expect_eq(oxp_tensor_real(&t, 0), 2.5);
    oxp_tensor_release(&t);
    cr_assert_eq(read_text(&t, "{'descr': '<f8', 'fortran_order': True, 'shape': (0, 3)}", "", 0),
                 OXP_OK);
    cr_expect_eq(t.count, 0);
    cr_expect_eq(t.dims[1], 3);
    oxp_tensor_release(&t);
    cr_assert_eq(read_text(&t,
                           "{'descr': '<f8', 'fortran_order': False, 'shape': (0, "
                           "4611686018427387904, 4611686018427387904)}",
                           "", 0),
                 OXP_OK, "%s", ctx.message);
    oxp_tensor_release(&t);
}

Test(npy, fortran_order_is_transposed)
{
    /* a[i][j][k] = 100 i + 10 j + k of shape (2, 3, 4), the first index fastest, big-endian */
    blob b;
    oxp_tensor t;
    const char *header = "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3, 4), }\n";
    begin(&b, 1, header, strlen(header));
    for (int k = 0; k < 4; k++)
        for (int j = 0; j < 3; j++)
            for (int i = 0; i < 2; i++)
                add(&b,
                    (uint8_t[]){(uint8_t)((100 * i + 10 * j + k) >> 8),
                                (uint8_t)(100 * i + 10 * j + k)},
                    2);
    cr_assert_eq(read_blob(&t, &b), OXP_OK, "%s", ctx.message);
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 3; j++)
            for (int k = 0; k < 4; k++)
                cr_expect_eq(oxp_tensor_int(&t, (size_t)(i * 12 + j * 4 + k)),
                             100 * i + 10 * j + k);
    oxp_tensor_release(&t);
}

/* ---- refused ---- */

typedef struct refused {
    const char *header, *code;
} refused;

#define DESCR(text) "{'descr': " text ", 'fortran_order': False, 'shape': (1,), }"
#define SHAPE(text) "{'descr': '<f4', 'fortran_order': False, 'shape': " text ", }"
#define ORDER(text) "{'descr': '<f4', 'fortran_order': " text ", 'shape': (1,), }"

Test(npy, bad_headers_are_refused)
{
    static const refused cases[] = {
        {"", "E-NPY-HEADER"},
        {"{}", "E-NPY-HEADER"},
        {"[]", "E-NPY-HEADER"},
        {"hello", "E-NPY-HEADER"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)", "E-NPY-HEADER"},
        {"{'descr': '<f4', 'fortran_order': False}", "E-NPY-HEADER"},
        {"{'descr': '<f4', 'shape': (1,)}", "E-NPY-HEADER"},
        {"{'fortran_order': False, 'shape': (1,)}", "E-NPY-HEADER"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}", "E-NPY-HEADER"},
        {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", "E-NPY-HEADER"},
        {"{'descr': '<f4' 'fortran_order': False, 'shape': (1,)}", "E-NPY-HEADER"},
        {"{'descr' '<f4', 'fortran_order': False, 'shape': (1,)}", "E-NPY-HEADER"},
        {"{,'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", "E-NPY-HEADER"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x", "E-NPY-HEADER"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}{}", "E-NPY-HEADER"},
        {"{descr: '<f4', 'fortran_order': False, 'shape': (1,)}", "E-NPY-HEADER"},
        {"{'de\\x73cr': '<f4', 'fortran_order': False, 'shape': (1,)}", "E-NPY-HEADER"},
        {"{'descr': '<f4, 'fortran_order': False, 'shape': (1,)}", "E-NPY-DTYPE"},
        {"{'descr\": '<f4', 'fortran_order': False, 'shape': (1,)}", "E-NPY-HEADER"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}\xc3\xa9", "E-NPY-HEADER"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}\r\n", "E-NPY-HEADER"},
        {ORDER("'True'"), "E-NPY-HEADER"},
        {ORDER("1"), "E-NPY-HEADER"},
        {ORDER("None"), "E-NPY-HEADER"},
        {ORDER("Truely"), "E-NPY-HEADER"},
        {ORDER("true"), "E-NPY-HEADER"},
        {SHAPE("(-1,)"), "E-NPY-HEADER"},
        {SHAPE("(+1,)"), "E-NPY-HEADER"},
        {SHAPE("(1.0,)"), "E-NPY-HEADER"},
        {SHAPE("(1e3,)"), "E-NPY-HEADER"},
        {SHAPE("(0x1,)"), "E-NPY-HEADER"},
        {SHAPE("(1_0,)"), "E-NPY-HEADER"},
        {SHAPE("(01,)"), "E-NPY-HEADER"},
        {SHAPE("(1)"), "E-NPY-HEADER"},
        {SHAPE("1"), "E-NPY-HEADER"},
        {SHAPE("[1]"), "E-NPY-HEADER"},
        {SHAPE("(,)"), "E-NPY-HEADER"},
        {SHAPE("(1,,)"), "E-NPY-HEADER"},
        {SHAPE("(1 1)"), "E-NPY-HEADER"},
        {SHAPE("(1,"), "E-NPY-HEADER"},
        {SHAPE("(1LL,)"), "E-NPY-HEADER"},
        {SHAPE("((1,),)"), "E-NPY-HEADER"},
        {SHAPE("(2**60,)"), "E-NPY-HEADER"},
        {SHAPE("(1,)*9"), "E-NPY-HEADER"},
        {SHAPE("__import__('os').system('true')"), "E-NPY-HEADER"},
        {SHAPE("(4294967296, 4294967296)"), "E-SHAPE-OVERFLOW"},
        {SHAPE("(3037000499, 3037000501)"), "E-SHAPE-OVERFLOW"},
        {SHAPE("(4611686018427387904,)"), "E-SHAPE-OVERFLOW"},
        {SHAPE("(9223372036854775808,)"), "E-SHAPE-OVERFLOW"},
        {SHAPE("(99999999999999999999999999999,)"), "E-SHAPE-OVERFLOW"},
        {SHAPE("(1152921504606846976,)"), "E-NPY-LEN"},
        {SHAPE("(2,)"), "E-NPY-LEN"},
        {SHAPE("(0,)"), "E-NPY-LEN"},
        {SHAPE("(1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1)"), "E-LIMIT-RANK"},
        {DESCR("'|O'"), "E-NPY-PICKLE"},
        {DESCR("'O'"), "E-NPY-PICKLE"},
        {DESCR("'<O8'"), "E-NPY-PICKLE"},
        {DESCR("[('a', '<f4')]"), "E-NPY-DTYPE"},
        {DESCR("'<U8'"), "E-NPY-DTYPE"},
        {DESCR("'S8'"), "E-NPY-DTYPE"},
        {DESCR("'<M8[ns]'"), "E-NPY-DTYPE"},
        {DESCR("'<c8'"), "E-NPY-DTYPE"},
        {DESCR("'<f16'"), "E-NPY-DTYPE"},
        {DESCR("'|V2'"), "E-NPY-DTYPE"},
        {DESCR("''"), "E-NPY-DTYPE"},
        {DESCR("'<'"), "E-NPY-DTYPE"},
        {DESCR("'<f'"), "E-NPY-DTYPE"},
        {DESCR("'<f99999999999'"), "E-NPY-DTYPE"},
        {DESCR("'<i3'"), "E-NPY-DTYPE"},
        {DESCR("'<<f4'"), "E-NPY-DTYPE"},
        {DESCR("'|f4'"), "E-NPY-DTYPE"},
        {DESCR("'<f4 '"), "E-NPY-DTYPE"},
        {DESCR("4"), "E-NPY-HEADER"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        oxp_tensor t = {.rank = 77};
        oxp_status status = read_text(&t, cases[i].header, "\0\0\0\0", 4);
        bool is_limit = strcmp(cases[i].code, "E-LIMIT-RANK") == 0;
        cr_expect_eq(status, is_limit ? OXP_ELIMIT : OXP_EDATA, "%s", cases[i].header);
        cr_expect_str_eq(ctx.code, cases[i].code, "%s: %s %s", cases[i].header, ctx.code,
                         ctx.message);
        cr_expect_eq(t.rank, 77, "the result changed on failure");
    }
}

Test(npy, bad_beginnings_are_refused)
{
    static const struct {
        const char *bytes;
        size_t length;
        const char *code;
    } cases[] = {
        {"\x93NUMPX\x01\x00\x02\x00{}", 12, "E-NPY-MAGIC"},
        {"PK\x03\x04 a zip archive", 18, "E-NPY-MAGIC"},
        {"some text or other", 18, "E-NPY-MAGIC"},
        {"\x93NUMPY\x00\x00\x02\x00{}", 12, "E-NPY-MAGIC"},
        {"\x93NUMPY\x04\x00\x02\x00\x00\x00{}", 14, "E-NPY-MAGIC"},
        {"\x93NUMPY\x01\x07\x02\x00{}", 12, "E-NPY-MAGIC"},
        {"\x93", 1, "E-NPY-MAGIC"},
        {"", 0, "E-NPY-MAGIC"},
        {"\x93NUMPY\x01\x00", 8, "E-NPY-HEADER"},
        {"\x93NUMPY\x01\x00\x02", 9, "E-NPY-HEADER"},
        {"\x93NUMPY\x01\x00\x03\x00{}", 12, "E-NPY-HEADER"},
        {"\x93NUMPY\x02\x00\x02\x00", 10, "E-NPY-HEADER"},
        {"\x93NUMPY\x02\x00\xf0\xff\xff\xff{}", 14, "E-NPY-HEADER"},
    };
    ctx.own_budget.limit = 4096; /* nothing is allocated from a claim */
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        blob b = {.used = 0};
        oxp_tensor t;
        add(&b, cases[i].bytes, cases[i].length);
        cr_expect_eq(read_blob(&t, &b), OXP_EDATA, "case %zu", i);
        cr_expect_str_eq(ctx.code, cases[i].code, "case %zu: %s", i, ctx.message);
    }
}

Test(npy, the_header_limit_is_exact)
{
    static char header[OXP_NPY_HEADER_LIMIT + 1];
    const char *text = "{'descr': '|u1', 'fortran_order': False, 'shape': (1,), }";
    memset(header, ' ', sizeof header);
    memcpy(header, text, strlen(text));
    for (size_t extra = 0; extra <= 1; extra++) {
        blob b;
        oxp_tensor t;
        begin(&b, 2, header, OXP_NPY_HEADER_LIMIT + extra);
        add(&b, "\x01", 1);
        oxp_status status = read_blob(&t, &b);
        cr_expect_eq(status, extra == 0 ? OXP_OK : OXP_EDATA);
        if (status == OXP_OK)
            oxp_tensor_release(&t);
        else
            cr_expect_str_eq(ctx.code, "E-NPY-HEADER");
    }
}

Test(npy, deep_nesting_needs_no_stack)
{
    static char header[9000];
    memset(header, '(', sizeof header - 1);
    memcpy(header, "{'descr': '|u1', 'fortran_order': False, 'shape': ", 50);
    oxp_tensor t;
    cr_expect_eq(read_text(&t, header, "", 0), OXP_EDATA);
    cr_expect_str_eq(ctx.code, "E-NPY-HEADER");
}

Test(npy, nul_in_the_header_is_refused)
{
    blob b;
    oxp_tensor t;
    char header[] = "{'descr': '|u1', 'fortran_order': False, 'shape': (1,), }   ";
    header[58] = '\0';
    begin(&b, 1, header, sizeof header - 1);
    add(&b, "\x01", 1);
    cr_expect_eq(read_blob(&t, &b), OXP_EDATA);
    cr_expect_str_eq(ctx.code, "E-NPY-HEADER");
}

Test(npy, a_bool_is_zero_or_one)
{
    oxp_tensor t;
    cr_expect_eq(read_text(&t, "{'descr': '|b1', 'fortran_order': False, 'shape': (3,), }",
                           "\x01\x00\x02", 3),
                 OXP_EDATA);
    cr_expect_str_eq(ctx.code, "E-DATA-RANGE");
    cr_expect_not_null(strstr(ctx.message, "element 2"));
}

Test(npy, every_truncation_is_refused)
{
    blob b;
    const char *header = "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }\n";
    begin(&b, 1, header, strlen(header));
    add(&b, (float[]){1, 2, 3}, 12);
    size_t whole = b.used;
    for (b.used = 0; b.used < whole; b.used++) {
        oxp_tensor t;
        cr_assert_eq(read_blob(&t, &b), OXP_EDATA, "%zu bytes are enough", b.used);
    }
}

Test(npy, every_changed_byte_is_survived)
{
    blob original;
    const char *header = "{'descr': '<f4', 'fortran_order': True, 'shape': (3, 1), }\n";
    begin(&original, 1, header, strlen(header));
    add(&original, (float[]){1, 2, 3}, 12);
    static const uint8_t values[] = {0x00, 0x20, 0x27, 0x28, 0x39, 0x4f, 0x7f, 0x80, 0xff};
    for (size_t at = 0; at < original.used; at++) {
        for (size_t v = 0; v < sizeof values; v++) {
            blob b = original;
            oxp_tensor t;
            b.bytes[at] = values[v];
            if (read_blob(&t, &b) == OXP_OK)
                oxp_tensor_release(&t);
            cr_assert_eq(atomic_load(&ctx.own_budget.used), 0);
        }
    }
}

/* ---- written ---- */

Test(npy, what_is_written_is_read_back)
{
    static const oxp_dtype types[] = {OXP_FLOAT,  OXP_DOUBLE, OXP_FLOAT16, OXP_INT8,
                                      OXP_UINT8,  OXP_INT16,  OXP_UINT16,  OXP_INT32,
                                      OXP_UINT32, OXP_INT64,  OXP_UINT64,  OXP_BOOL};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        for (int rank = 0; rank <= OXP_MAX_RANK; rank++) {
            int64_t dims[OXP_MAX_RANK];
            for (int d = 0; d < rank; d++)
                dims[d] = d < 3 ? d + 1 : 1;
            oxp_tensor t, again;
            cr_assert_eq(oxp_tensor_shape(&t, &ctx, types[i], rank, dims, "t"), OXP_OK);
            cr_assert_eq(oxp_tensor_alloc(&t, &ctx, "t"), OXP_OK);
            size_t bytes = oxp_tensor_bytes(&t);
            for (size_t j = 0; j < bytes; j++)
                ((uint8_t *)t.data)[j] = (uint8_t)(types[i] == OXP_BOOL ? j & 1 : j);
            blob b = {.used = 0};
            char prefix[OXP_NPY_PREFIX_MAX];
            size_t prefix_bytes = oxp_npy_prefix(prefix, &t);
            cr_expect_eq(prefix_bytes % 64, 0);
            cr_assert_gt(prefix_bytes, 0);
            add(&b, prefix, prefix_bytes);
            add(&b, t.data, bytes);
            cr_assert_eq(read_blob(&again, &b), OXP_OK, "%s", ctx.message);
            cr_expect_eq(again.dtype, t.dtype);
            cr_expect_eq(again.rank, rank);
            cr_expect_arr_eq(again.dims, t.dims, sizeof t.dims);
            cr_expect_arr_eq(again.data, t.data, bytes);
            oxp_tensor_release(&again);
            oxp_tensor_release(&t);
        }
    }
}

Test(npy, the_widest_header_fits)
{
    char prefix[OXP_NPY_PREFIX_MAX];
    oxp_tensor t = {.dtype = OXP_FLOAT, .rank = OXP_MAX_RANK};
    for (int d = 0; d < OXP_MAX_RANK; d++)
        t.dims[d] = INT64_MAX;
    size_t bytes = oxp_npy_prefix(prefix, &t);
    cr_expect_leq(bytes, sizeof prefix);
    cr_expect_eq(prefix[bytes - 1], '\n');
}

Test(npy, types_without_a_place_in_the_format)
{
    char prefix[OXP_NPY_PREFIX_MAX];
    oxp_tensor t = {.dtype = OXP_BFLOAT16};
    cr_expect_eq(oxp_npy_prefix(prefix, &t), 0);
    t.dtype = OXP_INT4;
    cr_expect_eq(oxp_npy_prefix(prefix, &t), 0);
    t.dtype = OXP_STRING;
    cr_expect_eq(oxp_npy_prefix(prefix, &t), 0);
}
