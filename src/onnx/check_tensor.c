/* check_tensor.c - a TensorProto by itself: its type exists, its shape can be represented, and
 * exactly one place holds exactly the bytes or entries that the shape asks for, with values that
 * the type can have. */
#include "onnx/check.h"

#include <inttypes.h>
#include <string.h>

#include "onnx/external.h"
#include "onnx/tensor_codec.h"

typedef struct extent {
    oxp_dtype dtype;
    size_t count, bytes;
} extent;

static const char *shape_text(char out[OXP_SHAPE_TEXT_MAX], const Onnx__TensorProto *t)
{
    return oxp_shape_text(out, (int)t->n_dims, t->dims);
}

/* ---- type and shape ---- */

static oxp_status check_dtype(const oxp_check *c, const Onnx__TensorProto *t)
{
    int32_t type = t->data_type;
    if (!t->has_data_type || type == ONNX__TENSOR_PROTO__DATA_TYPE__UNDEFINED)
        return oxp_check_fail(c, OXP_EFORMAT, "E-DTYPE", "data_type is not stated");
    if (type < 0 || type > ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT6E3M2)
        return oxp_check_fail(c, OXP_EFORMAT, "E-DTYPE", "data_type %" PRId32 " does not exist",
                              type);
    if (type >= OXP_DTYPE_COUNT)
        return oxp_check_fail(c, OXP_EUNSUPPORTED, "E-DTYPE",
                              "data_type %" PRId32 " (6-bit floats) is not supported", type);
    if (t->segment != NULL)
        return oxp_check_fail(c, OXP_EUNSUPPORTED, "E-SEGMENT",
                              "tensors in segments are not supported");
    return OXP_OK;
}

static oxp_status check_shape(const oxp_check *c, const Onnx__TensorProto *t, extent *out)
{
    char shape[OXP_SHAPE_TEXT_MAX];
    out->dtype = (oxp_dtype)t->data_type;
    if (t->n_dims > OXP_MAX_PROTO_RANK)
        return oxp_check_fail(c, OXP_ELIMIT, "E-LIMIT-RANK", "rank %zu, at most %d is read",
                              t->n_dims, OXP_MAX_PROTO_RANK);
    for (size_t i = 0; i < t->n_dims; i++)
        if (t->dims[i] < 0)
            return oxp_check_fail(c, OXP_EFORMAT, "E-DIM",
                                  "dimension %zu is %" PRId64 ", expected 0 or more", i,
                                  t->dims[i]);
    if (!oxp_data_extent(out->dtype, t->n_dims, t->dims, &out->count, &out->bytes))
        return oxp_check_fail(c, OXP_EFORMAT, "E-SHAPE-OVERFLOW",
                              "shape %s of %s has more bytes than can be counted",
                              shape_text(shape, t), oxp_dtype_name(out->dtype));
    return OXP_OK;
}

/* ---- where the data is ---- */

static oxp_status check_one_field(const oxp_check *c, const Onnx__TensorProto *t, bool external)
{
    int set = external ? (int)OXP_FIELD_COUNT : -1;
    if (!external && t->n_external_data > 0)
        return oxp_check_fail(c, OXP_EFORMAT, "E-DATA-BOTH",
                              "external_data is given, data_location is DEFAULT");
    for (int field = 0; field < OXP_FIELD_COUNT; field++) {
        if (!oxp_data_field_is_set(t, (oxp_data_field)field))
            continue;
        if (set >= 0)
            return oxp_check_fail(c, OXP_EFORMAT, "E-DATA-BOTH", "data in both %s and %s",
                                  external ? "external_data"
                                           : oxp_data_field_name((oxp_data_field)set),
                                  oxp_data_field_name((oxp_data_field)field));
        set = field;
    }
    bool is_string = t->data_type == ONNX__TENSOR_PROTO__DATA_TYPE__STRING;
    if (is_string && (external || set == OXP_FIELD_RAW))
        return oxp_check_fail(c, OXP_EFORMAT, "E-DATA-FIELD",
                              "STRING data in %s, expected in string_data",
                              external ? "external_data" : "raw_data");
    oxp_data_field expected = oxp_data_field_of((oxp_dtype)t->data_type);
    if (!external && set >= 0 && set != OXP_FIELD_RAW && set != (int)expected)
        return oxp_check_fail(
            c, OXP_EFORMAT, "E-DATA-FIELD", "%s data in %s, expected in %s or raw_data",
            oxp_dtype_name((oxp_dtype)t->data_type), oxp_data_field_name((oxp_data_field)set),
            oxp_data_field_name(expected));
    return OXP_OK;
}

static oxp_status check_raw_size(const oxp_check *c, const Onnx__TensorProto *t, const extent *e)
{
    char shape[OXP_SHAPE_TEXT_MAX];
    unsigned bits = oxp_dtype_bits(e->dtype);
    if (t->raw_data.len == e->bytes)
        return OXP_OK;
    return oxp_check_fail(c, OXP_EFORMAT, "E-RAW-LEN",
                          "raw_data has %zu bytes, shape %s %s needs %zu%s", t->raw_data.len,
                          shape_text(shape, t), oxp_dtype_name(e->dtype), e->bytes,
                          bits == 4   ? ", ceil(n/2)"
                          : bits == 2 ? ", ceil(n/4)"
                                      : "");
}

static oxp_status check_typed_size(const oxp_check *c, const Onnx__TensorProto *t, const extent *e)
{
    char shape[OXP_SHAPE_TEXT_MAX];
    oxp_data_field field = oxp_data_field_of(e->dtype);
    size_t expected = oxp_data_field_entries(e->dtype, e->count);
    size_t found = oxp_data_field_size(t, field);
    if (found == expected)
        return OXP_OK;
    return oxp_check_fail(c, OXP_EFORMAT, "E-DATA-LEN", "%s has %zu entries, shape %s %s needs %zu",
                          oxp_data_field_name(field), found, shape_text(shape, t),
                          oxp_dtype_name(e->dtype), expected);
}

/* ---- external data ---- */

static oxp_status read_external(oxp_check *c, const Onnx__TensorProto *t, const extent *e,
                                const uint8_t **data)
{
    char quoted[OXP_QUOTED_MAX];
    if (c->model == NULL)
        return oxp_check_fail(c, OXP_EFORMAT, "E-EXT-PATH", "external data outside a model");
    const char *unknown = oxp_external_unknown_key(t);
    if (unknown != NULL && !c->unknown_key_seen)
        oxp_log(c->ctx, OXP_LOG_WARNING, "external_data: key %s is kept, not understood",
                oxp_quote(quoted, unknown));
    c->unknown_key_seen = c->unknown_key_seen || unknown != NULL;
    OXP_TRY(oxp_external_bytes(data, c->model, t, e->bytes));
    if (e->bytes == 0)
        return OXP_OK;
    oxp_check_range range = {.bytes = e->bytes};
    oxp_external_place(c->model, *data, &range.file, &range.offset);
    OXP_TRY(
        oxp_grow(&c->ranges, &c->range_capacity, c->ctx, c->range_count + 1, sizeof *c->ranges));
    c->ranges[c->range_count++] = range;
    return OXP_OK;
}

/* ---- values ---- */

typedef struct interval {
    int32_t low, high;
} interval;

/* What an entry of int32_data may be. */
static interval int32_interval(oxp_dtype dtype)
{
    switch (dtype) {
    case OXP_INT32:
        return (interval){INT32_MIN, INT32_MAX};
    case OXP_INT16:
        return (interval){INT16_MIN, INT16_MAX};
    case OXP_INT8:
        return (interval){INT8_MIN, INT8_MAX};
    case OXP_BOOL:
        return (interval){0, 1};
    case OXP_UINT16:
    case OXP_FLOAT16:
    case OXP_BFLOAT16:
        return (interval){0, UINT16_MAX};
    default: /* UINT8, float8, and bytes of 4- and 2-bit elements */
        return (interval){0, UINT8_MAX};
    }
}

static oxp_status check_int32_range(const oxp_check *c, const Onnx__TensorProto *t, oxp_dtype dtype)
{
    interval allowed = int32_interval(dtype);
    for (size_t i = 0; i < t->n_int32_data; i++)
        if (t->int32_data[i] < allowed.low || t->int32_data[i] > allowed.high)
            return oxp_check_fail(
                c, OXP_EFORMAT, "E-DATA-RANGE",
                "int32_data[%zu] is %" PRId32 ", %s allows %" PRId32 " to %" PRId32, i,
                t->int32_data[i], oxp_dtype_name(dtype), allowed.low, allowed.high);
    return OXP_OK;
}

static oxp_status check_typed_range(const oxp_check *c, const Onnx__TensorProto *t, oxp_dtype dtype)
{
    if (oxp_data_field_of(dtype) == OXP_FIELD_INT32)
        return check_int32_range(c, t, dtype);
    for (size_t i = 0; dtype == OXP_UINT32 && i < t->n_uint64_data; i++)
        if (t->uint64_data[i] > UINT32_MAX)
            return oxp_check_fail(c, OXP_EFORMAT, "E-DATA-RANGE",
                                  "uint64_data[%zu] is %" PRIu64 ", UINT32 allows 0 to %" PRIu32, i,
                                  t->uint64_data[i], UINT32_MAX);
    return OXP_OK;
}

static oxp_status check_bool_bytes(const oxp_check *c, const uint8_t *data, const extent *e)
{
    for (size_t i = 0; e->dtype == OXP_BOOL && i < e->bytes; i++)
        if (data[i] > 1)
            return oxp_check_fail(c, OXP_EFORMAT, "E-DATA-RANGE",
                                  "byte %zu is %u, BOOL allows 0 and 1", i, data[i]);
    return OXP_OK;
}

/* ---- NaN and infinity ---- */

typedef struct float_format {
    size_t bytes;
    uint64_t exponent, mantissa; /* masks */
} float_format;

static bool float_format_of(oxp_dtype dtype, float_format *out)
{
    switch (dtype) {
    case OXP_FLOAT:
        *out = (float_format){4, 0x7f800000, 0x007fffff};
        return true;
    case OXP_DOUBLE:
        *out = (float_format){8, UINT64_C(0x7ff0000000000000), UINT64_C(0x000fffffffffffff)};
        return true;
    case OXP_FLOAT16:
        *out = (float_format){2, 0x7c00, 0x03ff};
        return true;
    case OXP_BFLOAT16:
        *out = (float_format){2, 0x7f80, 0x007f};
        return true;
    default:
        return false;
    }
}

/* The bit pattern at `p`: of raw little-endian bytes, or of a field in the host's order. */
static uint64_t load(const uint8_t *p, size_t stride, bool raw)
{
    uint16_t half;
    uint32_t single;
    uint64_t whole = 0;
    if (raw && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__) {
        for (size_t i = 0; i < stride; i++)
            whole |= (uint64_t)p[i] << (8 * i);
        return whole;
    }
    switch (stride) {
    case 2:
        memcpy(&half, p, sizeof half);
        return half;
    case 4:
        memcpy(&single, p, sizeof single);
        return single;
    default:
        memcpy(&whole, p, sizeof whole);
        return whole;
    }
}

/* Index of the first NaN (or infinity, when those are looked for too); `count` when there is none.
 * */
static size_t first_nonfinite(const uint8_t *data, size_t stride, bool raw, size_t count,
                              const float_format *f, oxp_nonfinite refused)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t bits = load(data + i * stride, stride, raw);
        if ((bits & f->exponent) == f->exponent &&
            ((bits & f->mantissa) != 0 || refused == OXP_NONFINITE_ANY))
            return i;
    }
    return count;
}

/* `data` is raw bytes, or NULL for the typed field. */
static oxp_status check_finite(const oxp_check *c, const Onnx__TensorProto *t, const extent *e,
                               const uint8_t *data, oxp_nonfinite refused)
{
    float_format f;
    if (refused == OXP_NONFINITE_KEEP || !float_format_of(e->dtype, &f))
        return OXP_OK;
    bool raw = data != NULL;
    size_t stride = f.bytes;
    if (!raw && e->dtype == OXP_FLOAT)
        data = (const uint8_t *)t->float_data;
    else if (!raw && e->dtype == OXP_DOUBLE)
        data = (const uint8_t *)t->double_data;
    else if (!raw) {
        data = (const uint8_t *)t->int32_data;
        stride = sizeof *t->int32_data;
    }
    size_t at = first_nonfinite(data, stride, raw, e->count, &f, refused);
    if (at == e->count)
        return OXP_OK;
    bool is_nan = (load(data + at * stride, stride, raw) & f.mantissa) != 0;
    return oxp_check_fail(c, OXP_EFORMAT, "E-NONFINITE",
                          "%s at index %zu (--nonfinite=keep accepts it)",
                          is_nan ? "NaN" : "infinity", at);
}

/* ---- everything ---- */

oxp_status oxp_check_tensor(oxp_check *check, const Onnx__TensorProto *t, oxp_nonfinite refused)
{
    extent e = {0};
    OXP_TRY(check_dtype(check, t));
    OXP_TRY(check_shape(check, t, &e));
    bool external =
        t->has_data_location && t->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
    OXP_TRY(check_one_field(check, t, external));
    if (!external && !t->has_raw_data) {
        OXP_TRY(check_typed_size(check, t, &e));
        OXP_TRY(check_typed_range(check, t, e.dtype));
        return check_finite(check, t, &e, NULL, refused);
    }
    const uint8_t *data = t->raw_data.data;
    if (external)
        OXP_TRY(read_external(check, t, &e, &data));
    else
        OXP_TRY(check_raw_size(check, t, &e));
    if (e.count == 0)
        return OXP_OK;
    OXP_TRY(check_bool_bytes(check, data, &e));
    oxp_status status = check_finite(check, t, &e, data, refused);
    oxp_pages_release(check->ctx, data, e.bytes);
    return status;
}
