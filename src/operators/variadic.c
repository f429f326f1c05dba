/* variadic.c - Min, Max, Sum and Mean of any number of tensors, elementwise with broadcasting:
 * folded from the left into the output. Min and Max of a NaN are NaN. On the half types every
 * step rounds. */
#include "operators/binary.h"

#include <string.h>

#include "operators/cast_float.h"
#include "operators/gradient.h"

OXP_BINARY_LOOP(OXP_HOT, min_f32, float, float, a < b || a != a ? a : b)
OXP_BINARY_LOOP(OXP_HOT, max_f32, float, float, a > b || a != a ? a : b)
OXP_BINARY_LOOP(OXP_HOT, sum_f32, float, float, a + b)
OXP_BINARY_LOOP(OXP_WIDE, min_f64, double, double, a < b || a != a ? a : b)
OXP_BINARY_LOOP(OXP_WIDE, max_f64, double, double, a > b || a != a ? a : b)
OXP_BINARY_LOOP(OXP_WIDE, sum_f64, double, double, a + b)

#define EXTREMES(suffix, T)                                      \
    OXP_BINARY_LOOP(OXP_WIDE, min_##suffix, T, T, a < b ? a : b) \
    OXP_BINARY_LOOP(OXP_WIDE, max_##suffix, T, T, a > b ? a : b)
EXTREMES(i8, int8_t)
EXTREMES(u8, uint8_t)
EXTREMES(i16, int16_t)
EXTREMES(u16, uint16_t)
EXTREMES(i32, int32_t)
EXTREMES(u32, uint32_t)
EXTREMES(i64, int64_t)
EXTREMES(u64, uint64_t)
#define LOOPS(name)                                                                    \
    {                                                                                  \
        [OXP_FLOAT] = name##_f32, [OXP_DOUBLE] = name##_f64, [OXP_INT8] = name##_i8,   \
        [OXP_UINT8] = name##_u8, [OXP_INT16] = name##_i16, [OXP_UINT16] = name##_u16,  \
        [OXP_INT32] = name##_i32, [OXP_UINT32] = name##_u32, [OXP_INT64] = name##_i64, \
        [OXP_UINT64] = name##_u64                                                      \
    }

static const oxp_binary functions[] = {
    {.type = "Min", .loops = LOOPS(min)},
    {.type = "Max", .loops = LOOPS(max)},
    {.type = "Sum", .loops = {[OXP_FLOAT] = sum_f32, [OXP_DOUBLE] = sum_f64}},
    {.type = "Mean", .loops = {[OXP_FLOAT] = sum_f32, [OXP_DOUBLE] = sum_f64}},
};

typedef struct variadic_state {
    const oxp_binary *row;
    bool mean;
} variadic_state;

static oxp_status prepare(oxp_node *n)
{
    variadic_state *state = oxp_node_state(n, sizeof *state);
    if (!state)
        return n->ctx->status;
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (strcmp(functions[i].type, n->op->type) == 0)
            state->row = &functions[i];
    state->mean = strcmp(n->op->type, "Mean") == 0;
    oxp_dtype dtype = n->in[0]->dtype;
    if (!oxp_binary_has(state->row, dtype))
        return oxp_node_bad_dtype(n, 0);
    for (int i = 1; i < n->in_count; i++)
        OXP_TRY(oxp_node_want(n, i, dtype));
    int rank;
    int64_t dims[OXP_MAX_RANK];
    OXP_TRY(oxp_broadcast_shape(n, n->in, n->in_count, &rank, dims));
    if (n->in_count == 1)
        return oxp_output_alias(n, 0, 0, rank, dims);
    OXP_TRY(oxp_output(n, 0, dtype, rank, dims));
    /* With more inputs the first step would overwrite one that a later step may read under
     * another name. */
    if (n->in_count == 2 && n->in[0]->count == n->out[0].count)
        oxp_output_overwrites(n, 0, 0);
    return OXP_OK;
}

static void divide(oxp_tensor *t, int count)
{
    float block[OXP_BLOCK];
    size_t size = oxp_dtype_bits(t->dtype) / 8;
    if (t->dtype == OXP_DOUBLE) {
        for (size_t i = 0; i < t->count; i++)
            ((double *)t->data)[i] /= count;
        return;
    }
    for (size_t i = 0; i < t->count; i += OXP_BLOCK) {
        size_t some = t->count - i < OXP_BLOCK ? t->count - i : OXP_BLOCK;
        uint8_t *data = (uint8_t *)t->data + i * size;
        oxp_floats_load(block, data, t->dtype, some);
        for (size_t k = 0; k < some; k++)
            block[k] /= (float)count;
        oxp_floats_store(data, t->dtype, block, some);
    }
}

static oxp_status forward(oxp_node *n)
{
    const variadic_state *state = n->state;
    oxp_tensor *out = &n->out[0];
    const oxp_tensor *left = n->in[0];
    oxp_broadcast plan;
    if (n->in_count == 1)
        return OXP_OK;
    for (int i = 1; i < n->in_count; i++, left = out) {
        oxp_broadcast_plan(&plan, out->rank, out->dims, 2,
                           (const oxp_tensor *const[]){left, n->in[i]});
        oxp_binary_apply(state->row, out->dtype, &plan, left->data, n->in[i]->data, out->data);
    }
    if (state->mean)
        divide(out, n->in_count);
    return OXP_OK;
}

/* The first input that made an element of an extreme gets its gradient. */
static void choose(oxp_node *n, bool largest, float *parts, int *chosen)
{
    const oxp_tensor *out = &n->out[0];
    oxp_broadcast plan;
    for (int i = 0; i < n->in_count; i++) {
        oxp_broadcast_cursor at = {0};
        oxp_broadcast_plan(&plan, out->rank, out->dims, 1, &n->in[i]);
        size_t run = oxp_broadcast_run(&plan), runs = oxp_broadcast_runs(&plan);
        size_t step = oxp_broadcast_advances(&plan, 0);
        for (size_t r = 0; r < runs; r++, oxp_broadcast_next(&plan, &at))
            for (size_t k = 0; k < run; k++) {
                float v = (float)oxp_tensor_real(n->in[i], at.offset[0] + k * step);
                float *best = &parts[r * run + k];
                if (i > 0 && !(largest ? v > *best : v < *best))
                    continue;
                *best = v;
                chosen[r * run + k] = i;
            }
    }
}

static oxp_status backward_extreme(oxp_node *n)
{
    const variadic_state *state = n->state;
    const oxp_tensor *out = &n->out[0];
    const float *dy = oxp_dout(n, 0);
    float *parts = oxp_node_scratch(n, out->count, sizeof *parts);
    int *chosen = oxp_node_scratch(n, out->count, sizeof *chosen);
    if (!parts || !chosen)
        return n->ctx->status;
    if (!dy)
        return OXP_OK;
    choose(n, state->row == &functions[1], parts, chosen);
    for (int i = 0; i < n->in_count; i++) {
        if (!oxp_din(n, i))
            continue;
        for (size_t k = 0; k < out->count; k++)
            parts[k] = chosen[k] == i ? dy[k] : 0.0f;
        OXP_TRY(oxp_gradient_reduce(n, oxp_din(n, i), n->in[i], parts, out->rank, out->dims, 1));
    }
    return OXP_OK;
}

static oxp_status backward_sum(oxp_node *n)
{
    const variadic_state *state = n->state;
    const oxp_tensor *out = &n->out[0];
    float scale = state->mean ? 1.0f / (float)n->in_count : 1.0f;
    for (int i = 0; oxp_dout(n, 0) && i < n->in_count; i++)
        if (oxp_din(n, i))
            OXP_TRY(oxp_gradient_reduce(n, oxp_din(n, i), n->in[i], oxp_dout(n, 0), out->rank,
                                        out->dims, scale));
    return OXP_OK;
}

#define VARIADIC(symbol, type_, backward_, saves_, ...)       \
    const oxp_operator symbol = {                             \
        .domain = "",                                         \
        .type = type_,                                        \
        .since = 6,                                           \
        .min_in = 1,                                          \
        .max_in = -1,                                         \
        .min_out = 1,                                         \
        .max_out = 1,                                         \
        .prepare = prepare,                                   \
        .forward = forward,                                   \
        .backward = backward_,                                \
        .saves = saves_,                                      \
        .examples = (const char *const[]){__VA_ARGS__, NULL}, \
    };

VARIADIC(oxp_op_min_6, "Min", backward_extreme, 0xffff, "A[2,3]", "A[2,3] B[2,3]",
         "A[2,3] B[3] C[]", "A[3]:i8 B[3]:i8={-1,2,3}", "A[3]:f16 B[]:f16")
VARIADIC(oxp_op_max_6, "Max", backward_extreme, 0xffff, "A[2,3]", "A[2,3] B[2,3]",
         "A[2,1] B[3] C[]", "A[3]:u64 B[]:u64={2}", "A[3]:bf16 B[3]:bf16")
VARIADIC(oxp_op_sum_6, "Sum", backward_sum, 0, "A[2,3]", "A[2,3] B[2,3] C[2,3]", "A[2,1] B[3] C[]",
         "A[3]:f64 B[]:f64")
VARIADIC(oxp_op_mean_6, "Mean", backward_sum, 0, "A[2,3]", "A[2,3] B[2,3] C[2,3]",
         "A[2,1] B[3] C[]", "A[3]:f16 B[3]:f16")
