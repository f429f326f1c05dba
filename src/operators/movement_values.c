/* movement_values.c - integer inputs, axes and indices of the operators that move data; float
 * conversions; sorting. */
#include "operators/movement.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "util/half.h"

oxp_status oxp_move_element(oxp_node *n, int input, size_t *bytes)
{
    unsigned bits = oxp_dtype_bits(n->in[input]->dtype);
    if (bits < 8)
        return oxp_node_bad_dtype(n, input);
    *bytes = bits / 8;
    return OXP_OK;
}

oxp_status oxp_move_ints(oxp_node *n, int input, const int64_t **values, size_t *count)
{
    *values = NULL;
    *count = 0;
    const oxp_tensor *t = input < n->in_count ? n->in[input] : NULL;
    if (!t)
        return OXP_OK;
    if (t->dtype != OXP_INT64 && t->dtype != OXP_INT32)
        return oxp_node_bad_dtype(n, input);
    if (t->rank > 1) {
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "input %d must have rank 1, found rank %d",
                             input, t->rank);
    }
    int64_t *copy = oxp_node_scratch(n, t->count, sizeof *copy);
    if (!copy)
        return n->ctx->status;
    for (size_t i = 0; i < t->count; i++)
        copy[i] = oxp_tensor_int(t, i);
    *values = copy;
    *count = t->count;
    return OXP_OK;
}

oxp_status oxp_move_scalar(oxp_node *n, int input, int64_t *value)
{
    const oxp_tensor *t = n->in[input];
    if (!oxp_dtype_is_integer(t->dtype))
        return oxp_node_bad_dtype(n, input);
    if (t->count != 1) {
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "input %d must hold one value, found %zu",
                             input, t->count);
    }
    *value = oxp_tensor_int(t, 0);
    return OXP_OK;
}

oxp_status oxp_move_rank(oxp_node *n, size_t rank)
{
    if (rank <= OXP_MAX_RANK)
        return OXP_OK;
    return oxp_node_fail(n, OXP_ELIMIT, "E-LIMIT-RANK", "rank %zu, at most %d is allowed", rank,
                         OXP_MAX_RANK);
}

oxp_status oxp_move_axes(oxp_node *n, const int64_t *values, size_t count, int rank, int *axes)
{
    uint32_t seen = 0;
    for (size_t i = 0; i < count; i++) {
        int axis;
        OXP_TRY(oxp_node_axis(n, values[i], rank, false, &axis));
        if (seen >> axis & 1)
            return oxp_node_fail(n, OXP_EFORMAT, "E-AXIS", "axis %d is listed twice", axis);
        seen |= UINT32_C(1) << axis;
        axes[i] = axis;
    }
    return OXP_OK;
}

oxp_status oxp_move_product(oxp_node *n, int count, const int64_t *dims, int64_t *product)
{
    int64_t result = 1;
    bool overflow = false;
    for (int i = 0; i < count; i++) {
        if (dims[i] == 0) {
            *product = 0;
            return OXP_OK;
        }
        overflow = overflow || __builtin_mul_overflow(result, dims[i], &result);
    }
    if (overflow) {
        char text[OXP_SHAPE_TEXT_MAX];
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE-OVERFLOW", "the product of %s overflows",
                             oxp_shape_text(text, count, dims));
    }
    *product = result;
    return OXP_OK;
}

oxp_status oxp_move_choice(oxp_node *n, const char *attribute, const char *otherwise,
                           const char *const *choices, int *choice)
{
    const char *value = oxp_attr_string(n, attribute, otherwise);
    for (int i = 0; choices[i]; i++) {
        if (strcmp(choices[i], value) == 0) {
            *choice = i;
            return OXP_OK;
        }
    }
    char quoted[OXP_QUOTED_MAX];
    return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE", "attribute %s does not know %s", attribute,
                         oxp_quote(quoted, value));
}

oxp_status oxp_move_index(oxp_node *n, const char *what, int64_t index, int64_t bound, int64_t *out)
{
    if (index < -bound || index >= bound) {
        return oxp_node_fail(n, OXP_EFORMAT, "E-INDEX",
                             "%s holds index %lld, expected [%lld, %lld)", what, (long long)index,
                             (long long)-bound, (long long)bound);
    }
    *out = index < 0 ? index + bound : index;
    return OXP_OK;
}

oxp_status oxp_move_make_output(oxp_node *n, int i, oxp_dtype dtype, int rank, const int64_t *dims,
                                void *data_pointer)
{
    void **data = data_pointer;
    *data = NULL;
    if (i >= n->out_count || !n->wanted[i])
        return OXP_OK;
    oxp_tensor t = {0};
    OXP_TRY(oxp_tensor_shape(&t, n->ctx, dtype, rank, dims, n->def->type));
    OXP_TRY(oxp_tensor_alloc(&t, n->ctx, n->def->type));
    *data = t.data;
    oxp_output_adopt(n, i, &t);
    oxp_tensor_release(&t);
    return OXP_OK;
}

/* ---- floats ---- */

oxp_status oxp_move_floats(oxp_node *n, int input, const float **values)
{
    const oxp_tensor *t = n->in[input];
    if (t->dtype == OXP_FLOAT) {
        *values = t->data;
        return OXP_OK;
    }
    if (t->dtype != OXP_FLOAT16 && t->dtype != OXP_BFLOAT16)
        return oxp_node_bad_dtype(n, input);
    float *copy = oxp_node_scratch(n, t->count, sizeof *copy);
    if (!copy)
        return n->ctx->status;
    const uint16_t *bits = t->data;
    for (size_t i = 0; i < t->count; i++) {
        copy[i] =
            t->dtype == OXP_FLOAT16 ? oxp_half_to_float(bits[i]) : oxp_bfloat16_to_float(bits[i]);
    }
    *values = copy;
    return OXP_OK;
}

oxp_status oxp_move_float_output(oxp_node *n, int output, float **values)
{
    oxp_tensor *t = &n->out[output];
    bool direct = t->dtype == OXP_FLOAT && t->data;
    *values = direct ? t->data : oxp_node_scratch(n, t->count, sizeof **values);
    return *values ? OXP_OK : n->ctx->status;
}

void oxp_move_store(oxp_node *n, int output, const float *values)
{
    oxp_tensor *t = &n->out[output];
    if (t->dtype == OXP_FLOAT || !t->data)
        return;
    assert(t->dtype == OXP_FLOAT16 || t->dtype == OXP_BFLOAT16);
    uint16_t *bits = t->data;
    for (size_t i = 0; i < t->count; i++) {
        bits[i] = t->dtype == OXP_FLOAT16 ? oxp_float_to_half(values[i])
                                          : oxp_float_to_bfloat16(values[i]);
    }
}

static double cut(double value, double low, double high)
{
    if (value != value)
        return 0;
    return value > low ? (value < high ? trunc(value) : high) : low;
}

/* The largest doubles below 2^63 and 2^64. */
#define INT64_HIGH 0x1.fffffffffffffp62
#define UINT64_HIGH 0x1.fffffffffffffp63

bool oxp_move_write_real(oxp_dtype dtype, double value, void *element)
{
    switch (dtype) {
    case OXP_FLOAT:
        *(float *)element = (float)value;
        return true;
    case OXP_DOUBLE:
        *(double *)element = value;
        return true;
    case OXP_FLOAT16:
        *(uint16_t *)element = oxp_float_to_half((float)value);
        return true;
    case OXP_BFLOAT16:
        *(uint16_t *)element = oxp_float_to_bfloat16((float)value);
        return true;
    case OXP_INT8:
        *(int8_t *)element = (int8_t)cut(value, INT8_MIN, INT8_MAX);
        return true;
    case OXP_INT16:
        *(int16_t *)element = (int16_t)cut(value, INT16_MIN, INT16_MAX);
        return true;
    case OXP_INT32:
        *(int32_t *)element = (int32_t)cut(value, INT32_MIN, INT32_MAX);
        return true;
    case OXP_INT64:
        *(int64_t *)element = (int64_t)cut(value, (double)INT64_MIN, INT64_HIGH);
        return true;
    case OXP_UINT8:
        *(uint8_t *)element = (uint8_t)cut(value, 0, UINT8_MAX);
        return true;
    case OXP_UINT16:
        *(uint16_t *)element = (uint16_t)cut(value, 0, UINT16_MAX);
        return true;
    case OXP_UINT32:
        *(uint32_t *)element = (uint32_t)cut(value, 0, UINT32_MAX);
        return true;
    case OXP_UINT64:
        *(uint64_t *)element = (uint64_t)cut(value, 0, UINT64_HIGH);
        return true;
    default:
        return false;
    }
}

/* ---- order ---- */

/* Floats order as sign and magnitude: negative ones are complemented, the others get the top
 * bit. */
static uint64_t float_key(uint64_t bits, unsigned width, unsigned mantissa)
{
    uint64_t sign = UINT64_C(1) << (width - 1);
    uint64_t magnitude = bits & (sign - 1);
    uint64_t infinity = (sign - 1) >> mantissa << mantissa;
    if (magnitude > infinity)
        return UINT64_MAX;
    return bits & sign ? sign - magnitude : sign + magnitude;
}

uint64_t oxp_move_order_key(oxp_dtype dtype, const void *element)
{
    uint64_t bits = 0;
    unsigned width = oxp_dtype_bits(dtype);
    switch (width) {
    case 8:
        bits = *(const uint8_t *)element;
        break;
    case 16: {
        uint16_t half;
        memcpy(&half, element, sizeof half);
        bits = half;
        break;
    }
    case 32: {
        uint32_t word;
        memcpy(&word, element, sizeof word);
        bits = word;
        break;
    }
    default:
        memcpy(&bits, element, sizeof bits);
    }
    switch (dtype) {
    case OXP_FLOAT16:
        return float_key(bits, 16, 10);
    case OXP_BFLOAT16:
        return float_key(bits, 16, 7);
    case OXP_FLOAT:
        return float_key(bits, 32, 23);
    case OXP_DOUBLE:
        return float_key(bits, 64, 52);
    case OXP_INT8:
    case OXP_INT16:
    case OXP_INT32:
    case OXP_INT64:
        return bits ^ UINT64_C(1) << (width - 1);
    default:
        return bits;
    }
}

void oxp_move_sort(size_t *order, size_t *spare, size_t count,
                   bool (*before)(const void *user, size_t a, size_t b), const void *user)
{
    size_t *from = order, *to = spare;
    for (size_t width = 1; width < count; width *= 2) {
        for (size_t start = 0; start < count; start += 2 * width) {
            size_t middle = count - start < width ? count : start + width;
            size_t end = count - start < 2 * width ? count : start + 2 * width;
            size_t a = start, b = middle;
            for (size_t i = start; i < end; i++) {
                bool take_b = a >= middle || (b < end && before(user, from[b], from[a]));
                to[i] = from[take_b ? b++ : a++];
            }
        }
        size_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != order)
        memcpy(order, from, count * sizeof *order);
}
