/* depth_space.c - DepthToSpace and SpaceToDepth: blocks of b x b pixels from and to channels of an
 * NCHW tensor.
 *
 * DepthToSpace reads the channels as [b, b, C] (DCR) or [C, b, b] (CRD, opset 11: pixel shuffle);
 * SpaceToDepth is the way back, with CRD since opset 28.
 * https://onnx.ai/onnx/operators/onnx__DepthToSpace.html */
#include "operators/gradient.h"
#include "operators/movement.h"

typedef struct block_state {
    int64_t block;
    bool column_first; /* CRD */
} block_state;

static oxp_status read_block(oxp_node *n, block_state **out)
{
    static const char *const modes[] = {"DCR", "CRD", NULL};
    block_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    int mode;
    size_t element;
    OXP_TRY(oxp_move_element(n, 0, &element));
    OXP_TRY(oxp_move_choice(n, "mode", "DCR", modes, &mode));
    s->column_first = mode == 1;
    s->block = oxp_attr_int(n, "blocksize", 0);
    if (s->block < 1 || s->block > INT32_MAX)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE", "blocksize is %lld",
                             (long long)s->block);
    if (n->in[0]->rank != 4)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "the input has rank %d, expected 4",
                             n->in[0]->rank);
    *out = s;
    return OXP_OK;
}

static oxp_status fail_block(oxp_node *n, const char *what, int64_t block)
{
    char text[OXP_SHAPE_TEXT_MAX];
    return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "%s of %s do not divide into blocks of %lld",
                         what, oxp_shape_text(text, 4, n->in[0]->dims), (long long)block);
}

static oxp_status depth_to_space_prepare(oxp_node *n)
{
    const int64_t *d = n->in[0]->dims;
    block_state *s;
    OXP_TRY(read_block(n, &s));
    if (d[1] % (s->block * s->block) != 0)
        return fail_block(n, "the channels", s->block);
    int64_t dims[4] = {d[0], d[1] / (s->block * s->block)};
    if (__builtin_mul_overflow(d[2], s->block, &dims[2]) ||
        __builtin_mul_overflow(d[3], s->block, &dims[3]))
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE-OVERFLOW", "the output's size overflows");
    return oxp_output(n, 0, n->in[0]->dtype, 4, dims);
}

static oxp_status space_to_depth_prepare(oxp_node *n)
{
    const int64_t *d = n->in[0]->dims;
    block_state *s;
    OXP_TRY(read_block(n, &s));
    if (d[2] % s->block != 0 || d[3] % s->block != 0)
        return fail_block(n, "height and width", s->block);
    int64_t dims[4] = {d[0], 0, d[2] / s->block, d[3] / s->block};
    if (__builtin_mul_overflow(d[1], s->block * s->block, &dims[1]))
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE-OVERFLOW", "the output's channels overflow");
    return oxp_output(n, 0, n->in[0]->dtype, 4, dims);
}

/* Copies between space [N, C, H*b, W*b] and depth [N, b*b*C, H, W], in the order of whichever is
 * written. */
static void move_blocks(const oxp_node *n, const oxp_tensor *space, const oxp_tensor *depth,
                        bool to_space, size_t element)
{
    const block_state *s = n->state;
    int64_t N = depth->dims[0], C = space->dims[1], H = depth->dims[2], W = depth->dims[3],
            b = s->block;
    int64_t plane = H * W, row = W * b;
    int64_t channel =
        s->column_first ? b * b * plane : plane; /* step in depth of a channel of space */
    int64_t block_row = s->column_first ? b * plane : b * C * plane,
            block_column = s->column_first ? plane : C * plane;
    struct {
        int64_t dim, space, depth;
    } axes[] = {
        {N, C * H * b * row, C * b * b * plane},
        {C, H * b * row, channel},
        {H, b * row, W},
        {b, row, block_row},
        {W, b, 1},
        {b, 1, block_column},
    };
    static const int order_of_space[] = {0, 1, 2, 3, 4, 5}, of_depth[] = {0, 3, 5, 1, 2, 4},
                     of_depth_crd[] = {0, 1, 3, 5, 2, 4};
    const int *order = to_space ? order_of_space : s->column_first ? of_depth_crd : of_depth;
    oxp_copy copy = {.element = element};
    for (int i = 0; i < 6; i++) {
        int a = order[i];
        oxp_copy_add(&copy, axes[a].dim, to_space ? axes[a].space : axes[a].depth,
                     to_space ? axes[a].depth : axes[a].space);
    }
    if (to_space)
        oxp_copy_run(&copy, space->data, depth->data);
    else
        oxp_copy_run(&copy, depth->data, space->data);
}

static oxp_status depth_to_space_forward(oxp_node *n)
{
    size_t element;
    OXP_TRY(oxp_move_element(n, 0, &element));
    if (n->out[0].data && n->out[0].count > 0)
        move_blocks(n, &n->out[0], n->in[0], true, element);
    return OXP_OK;
}

static oxp_status space_to_depth_forward(oxp_node *n)
{
    size_t element;
    OXP_TRY(oxp_move_element(n, 0, &element));
    if (n->out[0].data && n->out[0].count > 0)
        move_blocks(n, n->in[0], &n->out[0], false, element);
    return OXP_OK;
}

static const char *const depth_to_space_examples[] = {
    "X[1,8,2,3]; blocksize=2",
    "X[2,8,2,3]; blocksize=2 mode='CRD'",
    "X[1,9,1,2]:u8; blocksize=3 mode='DCR'",
    NULL,
};

const oxp_operator oxp_op_depth_to_space_1 = {
    .domain = "",
    .type = "DepthToSpace",
    .since = 1,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .prepare = depth_to_space_prepare,
    .forward = depth_to_space_forward,
    .backward = oxp_backward_moved_first,
    .saves = OXP_SAVES_ALL_BUT_FIRST,
    .examples = depth_to_space_examples,
};

static const char *const space_to_depth_examples[] = {
    "X[2,2,4,6]; blocksize=2",
    "X[1,3,2,4]:i64; blocksize=2",
    "X[1,2,2,4]; blocksize=2 mode='CRD'",
    NULL,
};

const oxp_operator oxp_op_space_to_depth_1 = {
    .domain = "",
    .type = "SpaceToDepth",
    .since = 1,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .prepare = space_to_depth_prepare,
    .forward = space_to_depth_forward,
    .backward = oxp_backward_moved_first,
    .saves = OXP_SAVES_ALL_BUT_FIRST,
    .examples = space_to_depth_examples,
};
