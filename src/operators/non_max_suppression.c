/* non_max_suppression.c - NonMaxSuppression: for each batch entry and class the boxes of highest
 * score that overlap no better one by more than iou_threshold; INT64 [selected, 3] of (batch,
 * class, box), best first. https://onnx.ai/onnx/operators/onnx__NonMaxSuppression.html
 *
 * boxes [N, B, 4] as two corners (y, x) or as centre and size; scores [N, C, B]. Of equal scores
 * the box that stands first wins. */
#include <string.h>

#include "operators/movement.h"

typedef struct nms_state {
    bool center;
} nms_state;

static oxp_status nms_prepare(oxp_node *n)
{
    const oxp_tensor *boxes = n->in[0], *scores = n->in[1];
    nms_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    OXP_TRY(oxp_node_want(n, 0, OXP_FLOAT));
    OXP_TRY(oxp_node_want(n, 1, OXP_FLOAT));
    for (int i = 2; i < n->in_count; i++) {
        if (n->in[i])
            OXP_TRY(oxp_node_want(n, i, i == 2 ? OXP_INT64 : OXP_FLOAT));
        if (n->in[i] && n->in[i]->count > 1)
            return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "input %d holds %zu values, expected 1",
                                 i, n->in[i]->count);
    }
    s->center = oxp_attr_int(n, "center_point_box", 0) != 0;
    if (boxes->rank != 3 || scores->rank != 3 || boxes->dims[2] != 4 ||
        boxes->dims[0] != scores->dims[0] || boxes->dims[1] != scores->dims[2]) {
        char a[OXP_SHAPE_TEXT_MAX], b[OXP_SHAPE_TEXT_MAX];
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "boxes %s and scores %s, expected [N,B,4] and [N,C,B]",
                             oxp_shape_text(a, boxes->rank, boxes->dims),
                             oxp_shape_text(b, scores->rank, scores->dims));
    }
    return oxp_output_later(n, 0);
}

typedef struct box {
    float top, left, bottom, right;
} box;

static box read_box(const float *b, bool center)
{
    if (center)
        return (box){b[1] - b[3] / 2, b[0] - b[2] / 2, b[1] + b[3] / 2, b[0] + b[2] / 2};
    return (box){b[0] < b[2] ? b[0] : b[2], b[1] < b[3] ? b[1] : b[3], b[0] < b[2] ? b[2] : b[0],
                 b[1] < b[3] ? b[3] : b[1]};
}

static bool overlaps(box a, box b, float threshold)
{
    float top = a.top > b.top ? a.top : b.top, bottom = a.bottom < b.bottom ? a.bottom : b.bottom;
    float left = a.left > b.left ? a.left : b.left, right = a.right < b.right ? a.right : b.right;
    if (!(bottom > top) || !(right > left))
        return false;
    float common = (bottom - top) * (right - left);
    float area_a = (a.bottom - a.top) * (a.right - a.left),
          area_b = (b.bottom - b.top) * (b.right - b.left);
    float both = area_a + area_b - common;
    return common > 0 && area_a > 0 && area_b > 0 && both > 0 && common / both > threshold;
}

static bool better(const void *user, size_t a, size_t b)
{
    const float *scores = user;
    return scores[a] > scores[b];
}

/* What was selected so far, and the settings. */
typedef struct nms_run {
    const nms_state *s;
    size_t limit; /* boxes per class */
    float iou, score;
    bool has_score;
    size_t *order, *spare; /* boxes in the order of their scores */
    box *kept;             /* of this class */
    int64_t *selected;     /* triples */
    size_t count, capacity;
} nms_run;

static oxp_status run_class(oxp_node *n, nms_run *r, int64_t batch, int64_t class)
{
    size_t boxes = (size_t)n->in[0]->dims[1], candidates = 0, kept = 0;
    const float *corners = (const float *)n->in[0]->data + (size_t)batch * boxes * 4;
    const float *scores =
        (const float *)n->in[1]->data + (size_t)(batch * n->in[1]->dims[1] + class) * boxes;
    for (size_t i = 0; i < boxes; i++) {
        if (!r->has_score || scores[i] > r->score)
            r->order[candidates++] = i;
    }
    oxp_move_sort(r->order, r->spare, candidates, better, scores);
    for (size_t i = 0; i < candidates && kept < r->limit; i++) {
        box b = read_box(corners + 4 * r->order[i], r->s->center);
        bool free = true;
        for (size_t k = 0; free && k < kept; k++)
            free = !overlaps(b, r->kept[k], r->iou);
        if (!free)
            continue;
        r->kept[kept++] = b;
        OXP_TRY(
            oxp_grow(&r->selected, &r->capacity, n->ctx, 3 * (r->count + 1), sizeof *r->selected));
        int64_t *to = r->selected + 3 * r->count++;
        to[0] = batch;
        to[1] = class;
        to[2] = (int64_t)r->order[i];
    }
    return OXP_OK;
}

static oxp_status run_all(oxp_node *n, nms_run *r)
{
    size_t boxes = (size_t)n->in[0]->dims[1];
    r->order = oxp_node_scratch(n, boxes, sizeof *r->order);
    r->spare = oxp_node_scratch(n, boxes, sizeof *r->spare);
    r->kept = oxp_node_scratch(n, boxes, sizeof *r->kept);
    if (!r->order || !r->spare || !r->kept)
        return n->ctx->status;
    for (int64_t b = 0; b < n->in[1]->dims[0]; b++) {
        for (int64_t c = 0; r->limit > 0 && boxes > 0 && c < n->in[1]->dims[1]; c++)
            OXP_TRY(run_class(n, r, b, c));
    }
    int64_t dims[2] = {(int64_t)r->count, 3}, *to;
    OXP_TRY(oxp_move_make_output(n, 0, OXP_INT64, 2, dims, &to));
    if (to && r->count > 0)
        memcpy(to, r->selected, 3 * r->count * sizeof *to);
    return OXP_OK;
}

static const oxp_tensor *option(const oxp_node *n, int i)
{
    return i < n->in_count && n->in[i] && n->in[i]->count == 1 ? n->in[i] : NULL;
}

static oxp_status nms_forward(oxp_node *n)
{
    nms_run r = {.s = n->state};
    if (option(n, 2)) {
        int64_t limit = oxp_tensor_int(option(n, 2), 0);
        r.limit = limit > 0 ? (size_t)limit : 0;
    }
    r.iou = option(n, 3) ? (float)oxp_tensor_real(option(n, 3), 0) : 0;
    r.has_score = option(n, 4) != NULL;
    r.score = r.has_score ? (float)oxp_tensor_real(option(n, 4), 0) : 0;
    oxp_status status = run_all(n, &r);
    oxp_free(r.selected);
    return status;
}

static const char *const nms_examples[] = {
    "B[1,3,4]={0.0,0.0,1.0,1.0,0.0,0.1,1.0,1.1,0.0,9.0,1.0,10.0} S[1,1,3]={0.9,0.75,0.6} "
    "M[1]:i64={3} I[1]={0.5} T[1]={0.0}",
    "B[1,2,4]={0.5,0.5,1.0,1.0,0.5,0.6,1.0,1.0} S[1,2,2] M[1]:i64={2} I[1]={0.5}; "
    "center_point_box=1",
    "B[1,2,4] S[1,1,2]",
    NULL,
};

const oxp_operator oxp_op_non_max_suppression_10 = {
    .domain = "",
    .type = "NonMaxSuppression",
    .since = 10,
    .min_in = 2,
    .max_in = 5,
    .min_out = 1,
    .max_out = 1,
    .optional = 1 << 2 | 1 << 3 | 1 << 4,
    .prepare = nms_prepare,
    .forward = nms_forward,
    .backward = oxp_backward_zero,
    .examples = nms_examples,
};
