/* w8.c - weights stored in 8 bits and computed in float.
 *
 * codes (int8) -> Cast -> Mul(scale): an expression of constants that ONNX Runtime folds when it
 * loads the model, for any operator; the bytes of int8 at the speed of float. (DequantizeLinear in
 * its place is never folded and runs every time.) A weight in half precision gets a Cast back to
 * its type behind them: a scale would lose bits there. A table that only Gather reads is not
 * folded, which would undo the saving in memory: Gather takes the codes, and DequantizeLinear
 * stands behind it, with a scale per column. */
#include <string.h>

#include "techniques/sparse_form.h"

#define NODE_BYTES 90 /* of the two nodes and the names */
#define CAST_BYTES 45

static bool applies(const oxp_site *s, const char **why_not)
{
    size_t nodes = NODE_BYTES + (oxp_site_is_half(s) ? CAST_BYTES : 0);
    if (oxp_codes_bytes(s, NULL) + nodes < oxp_tensor_bytes(&s->value->constant))
        return true;
    *why_not = "too small: codes, scales and nodes would be larger than the weight";
    return false;
}

static oxp_status add_codes(const char **codes, const char **scales, oxp_edit *e, const oxp_site *s,
                            int scale_rank, const int64_t *scale_dims)
{
    const oxp_tensor *t = &s->value->constant;
    const oxp_codes *c = oxp_edit_codes(e, s);
    OXP_TRY(oxp_edit_constant(codes, e, s->graph, "q", OXP_INT8, t->rank, t->dims, c->codes));
    return oxp_edit_constant(scales, e, s->graph, "s", OXP_FLOAT, scale_rank, scale_dims,
                             c->scales);
}

/* A node that gives a value the weight's type; `from` is what it reads. */
static oxp_status cast_back(oxp_edit *e, const oxp_site *s, const oxp_graph *g, size_t at,
                            const char *from, const char **to)
{
    oxp_node_proto *node;
    OXP_TRY(oxp_edit_node(&node, e, g, at, "Cast", 1, &from, to));
    return oxp_edit_set_int(e->model, node, "to", s->value->constant.dtype);
}

/* The last node takes over the weight's name, so that no consumer changes, in whatever body it
 * stands. */
static oxp_status store(oxp_edit *e, const oxp_site *s)
{
    const oxp_tensor *t = &s->value->constant;
    const oxp_codes *c = oxp_edit_codes(e, s);
    const char *codes, *scales, *cast = NULL, *name = s->value->name;
    oxp_expression x = {.e = e, .graph = s->graph};
    oxp_sparse_form form = {OXP_SPARSE_DENSE, 0, t->count};
    /* behind a stage that prunes alone: who reads the file makes them dense again, in memory that
     * plain codes would not take */
    if (e->choices[s->index].packs_zeros && oxp_model_opset(e->model, "") >= OXP_SPARSE_OPSET)
        form = oxp_sparse_form_of(OXP_INT8, c->codes, t->count);
    OXP_TRY(oxp_edit_take_place(&x.at, e, s));
    OXP_TRY(oxp_edit_name(&codes, e, "q"));
    OXP_TRY(oxp_sparse_form_write(&codes, &x, &form, OXP_INT8, t->rank, t->dims, c->codes));
    OXP_TRY(oxp_edit_constant(&scales, e, s->graph, "s", OXP_FLOAT, s->scale_rank, s->scale_dims,
                              c->scales));
    size_t at = x.at;
    oxp_node_proto *node;
    OXP_TRY(oxp_edit_node(&node, e, s->graph, at, "Cast", 1, &codes, &cast));
    OXP_TRY(oxp_edit_set_int(e->model, node, "to", OXP_FLOAT));
    const char *factors[2] = {cast, scales}, *product = oxp_site_is_half(s) ? NULL : name;
    OXP_TRY(oxp_edit_node(&node, e, s->graph, at + 1, "Mul", 2, factors, &product));
    return product == name ? OXP_OK : cast_back(e, s, s->graph, at + 2, product, &name);
}

/* Gather(codes) -> DequantizeLinear: the Gather keeps its place, its output gets a new name. */
static oxp_status store_table(oxp_edit *e, const oxp_site *s)
{
    const char *codes, *scales, *zeros, *key;
    int64_t columns[1] = {s->value->constant.dims[s->value->constant.rank - 1]};
    OXP_TRY(add_codes(&codes, &scales, e, s, 1, columns));
    int8_t *zero = oxp_arena_alloc(&e->arena, (size_t)columns[0], 1);
    key = oxp_arena_printf(&e->arena, "zero/i8/%lld", (long long)columns[0]);
    if (!zero || !key)
        return OXP_ELIMIT;
    OXP_TRY(oxp_edit_shared(&zeros, e, s->graph, key, OXP_INT8, 1, columns, zero));
    for (size_t i = 0; i < s->consumer_count; i++) {
        const oxp_graph_node *gather = s->consumers[i].node;
        const char *output = oxp_node_proto_output(gather->proto, 0), *raw;
        OXP_TRY(oxp_edit_name(&raw, e, "t"));
        OXP_TRY(oxp_edit_set_input(e->model, gather->proto, 0, codes));
        OXP_TRY(oxp_edit_set_output(e->model, gather->proto, 0, raw));
        const char *inputs[3] = {raw, scales, zeros}, *real = oxp_site_is_half(s) ? NULL : output;
        oxp_node_proto *node;
        size_t at = oxp_edit_position(gather->graph->proto, gather->proto) + 1;
        OXP_TRY(oxp_edit_node(&node, e, gather->graph, at, "DequantizeLinear", 3, inputs, &real));
        OXP_TRY(oxp_edit_set_int(e->model, node, "axis", -1));
        if (real != output)
            OXP_TRY(cast_back(e, s, gather->graph, at + 1, real, &output));
    }
    return oxp_edit_drop_constant(e, s->graph, s->value);
}

/* DequantizeLinear with an axis came with opset 13; before, a table is stored like any weight. */
static oxp_status apply(oxp_edit *e)
{
    bool tables = oxp_model_opset(e->model, "") >= 13;
    for (size_t i = 0; i < e->site_count; i++) {
        const oxp_site *s = &e->sites[i];
        if (e->choices[i].technique == &oxp_technique_w8)
            OXP_TRY(tables && s->is_table ? store_table(e, s) : store(e, s));
    }
    return OXP_OK;
}

static size_t bytes(const oxp_site *s, const oxp_choice *c)
{
    const oxp_tensor *t = &s->value->constant;
    size_t dense = oxp_codes_bytes(s, c), nonzero = 0;
    if (!c->packs_zeros || s->is_table || oxp_site_is_half(s))
        return dense;
    for (size_t i = 0; i < t->count; i++)
        nonzero += ((const float *)t->data)[i] != 0;
    size_t packed = oxp_sparse_bytes(OXP_INT8, t->count, nonzero);
    return packed < t->count ? dense - t->count + packed : dense;
}

const oxp_technique oxp_technique_w8 = {
    .name = "w8",
    .summary =
        "weights stored in 8 bits, folded at load: int8 bytes at float speed, for any operator",
    .stage = OXP_STAGE_ENCODE,
    .level = OXP_LEVEL_BYTE,
    .applies = applies,
    .apply = apply,
    .bytes = bytes,
};
