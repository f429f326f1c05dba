/* fp16.c - weights stored in half precision and computed in float: half -> Cast, folded when ONNX
 * Runtime loads the model.
 *
 * Half the bytes at the speed of float, with a relative error of at most 2^-11 for values from
 * 2^-14 on, an error of at most 2^-25 below: where 8 bits lose too much. */
#include <math.h>

#include "techniques/technique.h"
#include "util/half.h"

#define HALF_MAX 65504.0f
#define NODE_BYTES 50 /* of the Cast and the names */

static bool applies(const oxp_site *s, const char **why_not)
{
    const oxp_tensor *t = &s->value->constant;
    const float *w = t->data;
    if (oxp_site_is_half(s)) {
        *why_not = "is in half precision already";
        return false;
    }
    if (2 * t->count <= NODE_BYTES) {
        *why_not = "too small: the Cast would be larger than what is saved";
        return false;
    }
    for (size_t i = 0; i < t->count; i++)
        if (!(fabsf(w[i]) <= HALF_MAX)) {
            *why_not = "holds values beyond the range of half precision";
            return false;
        }
    oxp_model_forget(s->graph->model, t);
    return true;
}

static oxp_status store(oxp_edit *e, const oxp_site *s)
{
    const oxp_tensor *t = &s->value->constant;
    const float *w = t->data;
    const char *half, *name = s->value->name;
    uint16_t *bits = oxp_arena_alloc(&e->arena, t->count, sizeof *bits);
    if (!bits)
        return OXP_ELIMIT;
    for (size_t i = 0; i < t->count; i++)
        bits[i] = oxp_float_to_half(w[i]);
    oxp_model_forget(s->graph->model, t);
    OXP_TRY(oxp_edit_constant(&half, e, s->graph, "h", OXP_FLOAT16, t->rank, t->dims, bits));
    size_t at;
    OXP_TRY(oxp_edit_take_place(&at, e, s));
    oxp_node_proto *node;
    OXP_TRY(oxp_edit_node(&node, e, s->graph, at, "Cast", 1, &half, &name));
    return oxp_edit_set_int(e->model, node, "to", OXP_FLOAT);
}

static oxp_status apply(oxp_edit *e)
{
    for (size_t i = 0; i < e->site_count; i++)
        if (e->choices[i].technique == &oxp_technique_fp16)
            OXP_TRY(store(e, &e->sites[i]));
    return OXP_OK;
}

static size_t bytes(const oxp_site *s, const oxp_choice *c)
{
    (void)c;
    return 2 * s->value->constant.count;
}

const oxp_technique oxp_technique_fp16 = {
    .name = "fp16",
    .summary = "weights stored in half precision, folded at load: half the bytes at float speed",
    .stage = OXP_STAGE_ENCODE,
    .level = OXP_LEVEL_HALF,
    .applies = applies,
    .apply = apply,
    .bytes = bytes,
};
