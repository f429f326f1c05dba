/* scatter_cache.c - TensorScatter: y = past_cache, with `update` written along `axis` from
 * write_indices[b] on in batch entry b (0 without them), beyond the end again at the front when
 * mode is circular. https://onnx.ai/onnx/operators/onnx__TensorScatter.html */
#include <string.h>

#include "operators/gradient.h"
#include "operators/movement.h"

typedef struct cache_state {
    int axis;
    bool circular;
} cache_state;

static oxp_status tensor_scatter_prepare(oxp_node *n)
{
    static const char *const modes[] = {"linear", "circular", NULL};
    const oxp_tensor *cache = n->in[0], *update = n->in[1];
    cache_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    size_t element;
    int mode;
    OXP_TRY(oxp_move_element(n, 0, &element));
    OXP_TRY(oxp_node_want(n, 1, cache->dtype));
    OXP_TRY(oxp_move_choice(n, "mode", "linear", modes, &mode));
    OXP_TRY(oxp_node_axis(n, oxp_attr_int(n, "axis", -2), cache->rank, false, &s->axis));
    s->circular = mode == 1;
    bool fits = s->axis > 0 && update->rank == cache->rank;
    for (int i = 0; fits && i < cache->rank; i++)
        fits = i == s->axis ? update->dims[i] <= cache->dims[i] : update->dims[i] == cache->dims[i];
    if (n->in_count > 2 && n->in[2]) {
        OXP_TRY(oxp_node_want(n, 2, OXP_INT64));
        fits = fits && n->in[2]->count == (size_t)cache->dims[0];
    }
    if (!fits) {
        char a[OXP_SHAPE_TEXT_MAX], b[OXP_SHAPE_TEXT_MAX];
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "an update of shape %s does not fit a cache of shape %s along axis %d",
                             oxp_shape_text(a, update->rank, update->dims),
                             oxp_shape_text(b, cache->rank, cache->dims), s->axis);
    }
    OXP_TRY(oxp_output(n, 0, cache->dtype, cache->rank, cache->dims));
    oxp_output_overwrites(n, 0, 0);
    return OXP_OK;
}

/* Where batch entry b begins to write. */
static oxp_status write_index(oxp_node *n, const cache_state *s, int64_t b, int64_t *start)
{
    int64_t size = n->in[0]->dims[s->axis],
            room = s->circular ? INT64_MAX : size - n->in[1]->dims[s->axis];
    *start = n->in_count > 2 && n->in[2] ? oxp_tensor_int(n->in[2], (size_t)b) : 0;
    if (*start < 0 || *start > room)
        return oxp_node_fail(n, OXP_EFORMAT, "E-INDEX",
                             "write_indices[%lld] is %lld, expected 0 to %lld", (long long)b,
                             (long long)*start, (long long)room);
    *start = size > 0 ? *start % size : 0;
    return OXP_OK;
}

static oxp_status tensor_scatter_forward(oxp_node *n)
{
    const cache_state *s = n->state;
    const oxp_tensor *cache = n->in[0], *update = n->in[1], *y = &n->out[0];
    int64_t lines, inner, size = cache->dims[s->axis], fresh = update->dims[s->axis];
    size_t element;
    OXP_TRY(oxp_move_element(n, 0, &element));
    OXP_TRY(oxp_move_product(n, s->axis - 1, cache->dims + 1, &lines));
    OXP_TRY(oxp_move_product(n, cache->rank - s->axis - 1, cache->dims + s->axis + 1, &inner));
    if (!y->data || y->count == 0)
        return OXP_OK;
    if (y->data != cache->data)
        memcpy(y->data, cache->data, cache->count * element);
    size_t bytes = (size_t)inner * element;
    const char *from = update->data;
    char *to = y->data;
    for (int64_t b = 0; b < cache->dims[0]; b++) {
        int64_t start;
        OXP_TRY(write_index(n, s, b, &start));
        for (int64_t l = 0; l < lines; l++, to += (size_t)size * bytes) {
            for (int64_t i = 0; i < fresh; i++, from += bytes)
                memcpy(to + (size_t)((start + i) % size) * bytes, from, bytes);
        }
    }
    return OXP_OK;
}

static oxp_status tensor_scatter_backward(oxp_node *n)
{
    return oxp_backward_moved(n, 1u << 0 | 1u << 1);
}

static const char *const tensor_scatter_examples[] = {
    "C[2,1,4,5] U[2,1,1,5] W[2]:i64={1,2}",
    "C[2,4,3]:i8 U[2,2,3]:i8 W[2]:i64={3,0}; axis=1 mode='circular'",
    "C[1,3,2] U[1,2,2]",
    NULL,
};

const oxp_operator oxp_op_tensor_scatter_24 = {
    .domain = "",
    .type = "TensorScatter",
    .since = 24,
    .min_in = 2,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .optional = 1 << 2,
    .prepare = tensor_scatter_prepare,
    .forward = tensor_scatter_forward,
    .backward = tensor_scatter_backward,
    .saves = 1u << 2,
    .examples = tensor_scatter_examples,
};
