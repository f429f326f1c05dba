/* where.c - Where: output = condition ? X : Y, elementwise with broadcasting of all three.
 * Elements of 1, 2, 4 and 8 bytes are copied as they are. */
#include "operators/gradient.h"
#include "operators/vector_math.h"

typedef struct run {
    const uint8_t *condition;
    const void *x, *y;
    void *out;
    size_t count;
    bool condition_moves, x_moves, y_moves;
} run;

/* Both sides are read before one is chosen, so that there is nothing to branch for. */
#define CHOOSE(x_value, y_value)              \
    OXP_LANES                                 \
    for (size_t i = 0; i < r->count; i++) {   \
        element a = (x_value), b = (y_value); \
        out[i] = condition[i] ? a : b;        \
    }

/* A condition that stands still is a copy or a fill of the chosen side. */
#define WHERE_LOOP(function, T)                                   \
    OXP_HOT static void function(const run *r)                    \
    {                                                             \
        typedef T element;                                        \
        const uint8_t *condition = r->condition;                  \
        const T *x = r->x, *y = r->y;                             \
        T *out = r->out;                                          \
        const T x_first = x[0], y_first = y[0];                   \
        if (!r->condition_moves) {                                \
            const T *from = condition[0] ? x : y;                 \
            size_t step = condition[0] ? r->x_moves : r->y_moves; \
            for (size_t i = 0; i < r->count; i++)                 \
                out[i] = from[i * step];                          \
        } else if (r->x_moves && r->y_moves) {                    \
            CHOOSE(x[i], y[i])                                    \
        } else if (r->x_moves) {                                  \
            CHOOSE(x[i], y_first)                                 \
        } else if (r->y_moves) {                                  \
            CHOOSE(x_first, y[i])                                 \
        } else {                                                  \
            CHOOSE(x_first, y_first)                              \
        }                                                         \
    }
WHERE_LOOP(where_1, uint8_t)
WHERE_LOOP(where_2, uint16_t)
WHERE_LOOP(where_4, uint32_t)
WHERE_LOOP(where_8, uint64_t)

static void (*loop_of(oxp_dtype dtype))(const run *)
{
    switch (oxp_dtype_bits(dtype)) {
    case 8:
        return where_1;
    case 16:
        return where_2;
    case 32:
        return where_4;
    case 64:
        return where_8;
    default:
        return NULL;
    }
}

static oxp_status prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[1];
    oxp_broadcast *plan = oxp_node_state(n, sizeof *plan);
    if (!plan)
        return n->ctx->status;
    OXP_TRY(oxp_node_want(n, 0, OXP_BOOL));
    OXP_TRY(oxp_node_want(n, 2, x->dtype));
    if (!loop_of(x->dtype))
        return oxp_node_bad_dtype(n, 1);
    int rank;
    int64_t dims[OXP_MAX_RANK];
    OXP_TRY(oxp_broadcast_shape(n, n->in, 3, &rank, dims));
    OXP_TRY(oxp_output(n, 0, x->dtype, rank, dims));
    oxp_broadcast_plan(plan, rank, dims, 3, n->in);
    for (int i = 1; i <= 2; i++)
        if (n->in[i]->count == n->out[0].count && (n->constant >> i & 1) == 0)
            oxp_output_overwrites(n, 0, i);
    return OXP_OK;
}

static oxp_status forward(oxp_node *n)
{
    const oxp_broadcast *plan = n->state;
    oxp_broadcast_cursor at = {0};
    size_t size = oxp_dtype_bits(n->in[1]->dtype) / 8;
    uint8_t *out = n->out[0].data;
    void (*loop)(const run *) = loop_of(n->in[1]->dtype);
    run r = {.count = oxp_broadcast_run(plan),
             .condition_moves = oxp_broadcast_advances(plan, 0),
             .x_moves = oxp_broadcast_advances(plan, 1),
             .y_moves = oxp_broadcast_advances(plan, 2)};
    size_t runs = oxp_broadcast_runs(plan);
    for (size_t k = 0; k < runs; k++, oxp_broadcast_next(plan, &at)) {
        r.condition = (const uint8_t *)n->in[0]->data + at.offset[0];
        r.x = (const uint8_t *)n->in[1]->data + at.offset[1] * size;
        r.y = (const uint8_t *)n->in[2]->data + at.offset[2] * size;
        r.out = out + k * r.count * size;
        loop(&r);
    }
    return OXP_OK;
}

static oxp_status backward(oxp_node *n)
{
    return oxp_backward_moved(n, 1u << 1 | 1u << 2);
}

const oxp_operator oxp_op_where_9 = {
    .domain = "",
    .type = "Where",
    .since = 9,
    .min_in = 3,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .prepare = prepare,
    .forward = forward,
    .backward = backward,
    .saves = 1,
    .examples =
        (const char *const[]){"C[2,3]:bool X[2,3] Y[2,3]", "C[2,3]:bool X[] Y[3]",
                              "C[2,1]:bool X[3]:i64 Y[2,3]:i64", "C[]:bool X[2]:f16 Y[1]:f16",
                              "C[2,3]:bool X[]:u8 Y[]:u8={9}", NULL},
};
