/* random_inputs.c - inputs drawn at random from the declared shapes, when nobody gave samples.
 *
 * The first dimension counts samples and is one when it is symbolic, and so is every dimension
 * of the same name; other symbolic dimensions get `size`. Floats are uniform in [-1, 1),
 * integers and booleans 0 or 1, a single integer 1. */
#include <string.h>

#include "prepare/runs.h"
#include "util/half.h"
#include "util/random.h"

#define ELEMENTS_MAX (1u << 24)

static bool is_batch(const oxp_graph *g, const char *param)
{
    for (size_t i = 0; param && i < g->input_count; i++) {
        const oxp_value_info *d = &g->values[g->inputs[i]].declared;
        if (d->rank > 0 && d->dims[0] < 0 && d->params[0] && strcmp(d->params[0], param) == 0)
            return true;
    }
    return false;
}

static bool choose_shape(int64_t *dims, const oxp_graph *g, const oxp_value_info *d, int64_t size)
{
    size_t count = 1;
    if (d->rank < 0 || !d->is_tensor)
        return false;
    for (int i = 0; i < d->rank; i++) {
        bool batch = i == 0 || is_batch(g, d->params[i]);
        dims[i] = d->dims[i] >= 0 ? d->dims[i] : batch ? 1 : size;
        if (!oxp_mul_ok(count, (size_t)dims[i], &count) || count > ELEMENTS_MAX)
            return false;
    }
    return true;
}

static void put_real(oxp_tensor *t, size_t i, double number)
{
    uint16_t *halves = t->data;
    float *floats = t->data;
    double *doubles = t->data;
    switch (t->dtype) {
    case OXP_FLOAT16:
        halves[i] = oxp_float_to_half((float)number);
        break;
    case OXP_BFLOAT16:
        halves[i] = oxp_float_to_bfloat16((float)number);
        break;
    case OXP_FLOAT:
        floats[i] = (float)number;
        break;
    default:
        doubles[i] = number;
        break;
    }
}

/* Little endian: the first byte holds the value. */
static void put_integer(oxp_tensor *t, size_t i, unsigned char number)
{
    size_t bytes = oxp_dtype_bits(t->dtype) / 8;
    memset((unsigned char *)t->data + i * bytes, 0, bytes);
    ((unsigned char *)t->data)[i * bytes] = number;
}

static void fill(oxp_tensor *t, oxp_random *r)
{
    for (size_t i = 0; i < t->count; i++)
        if (oxp_dtype_is_float(t->dtype))
            put_real(t, i, 2 * oxp_random_uniform(r) - 1);
        else
            put_integer(t, i, t->count == 1 ? 1 : oxp_random_bits(r) & 1);
}

oxp_status oxp_random_inputs(const oxp_tensor *const **out, oxp_arena *arena,
                             const oxp_graph *graph, int64_t size)
{
    const oxp_tensor **inputs = oxp_arena_alloc(arena, graph->input_count + 1, sizeof *inputs);
    *out = NULL;
    if (!inputs)
        return arena->ctx->status;
    for (size_t i = 0; i < graph->input_count; i++) {
        const oxp_value *v = &graph->values[graph->inputs[i]];
        int64_t dims[OXP_MAX_RANK] = {0};
        bool number =
            oxp_dtype_is_float(v->declared.dtype) || v->declared.dtype == OXP_BOOL ||
            (oxp_dtype_is_integer(v->declared.dtype) && oxp_dtype_bits(v->declared.dtype) >= 8);
        if (!number || !choose_shape(dims, graph, &v->declared, size))
            return OXP_OK;
        oxp_tensor *t = oxp_arena_alloc(arena, 1, sizeof *t);
        if (!t)
            return arena->ctx->status;
        OXP_TRY(
            oxp_tensor_shape(t, arena->ctx, v->declared.dtype, v->declared.rank, dims, v->name));
        t->data = oxp_arena_alloc(arena, 1, oxp_tensor_bytes(t));
        if (!t->data)
            return arena->ctx->status;
        oxp_random random = oxp_random_make(arena->ctx->seed, 0, i);
        fill(t, &random);
        inputs[i] = t;
    }
    *out = inputs;
    return OXP_OK;
}
