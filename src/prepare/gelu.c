/* gelu.c - GELU with Erf, x·(1 + erf(x/√2))/2, in the one order that ONNX Runtime fuses.
 *
 * It fuses Div(x, √2) → Erf → Add(1) → Mul with x → Mul(½), with the two products in
 * either order of operands, or x·½ first. Not Mul(x, 1/√2), not (1 + erf)·½ first, not
 * Div(2): those are rewritten to the first form. */
#include <math.h>

#include "prepare/activations.h"

typedef struct gelu {
    uint32_t x, gate; /* gate = 1 + erf(x/√2) */
    const oxp_graph_node *add, *erf, *scale;
    bool divides; /* scale is a Div */
} gelu;

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-5 * fabs(b);
}

static bool read_scale(gelu *out, const oxp_pass *p, size_t scope, uint32_t id)
{
    double number;
    uint32_t other;
    const oxp_graph_node *div = oxp_private_producer(p, scope, id, "Div");
    out->scale = div ? div : oxp_private_producer(p, scope, id, "Mul");
    out->divides = div != NULL;
    if (!out->scale || !oxp_scalar_operand(p, scope, out->scale, &number, &other) ||
        other != out->x)
        return false;
    if (div)
        return div->inputs[0] == out->x && near(number, sqrt(2));
    return near(number, sqrt(0.5));
}

static bool read_gelu(gelu *out, const oxp_pass *p, size_t scope, uint32_t x, uint32_t gate)
{
    double one;
    uint32_t other;
    *out = (gelu){.x = x, .gate = gate};
    out->add = oxp_private_producer(p, scope, gate, "Add");
    if (!out->add || !oxp_scalar_operand(p, scope, out->add, &one, &other) || one != 1)
        return false;
    out->erf = oxp_private_producer(p, scope, other, "Erf");
    return out->erf && out->erf->inputs[0] != OXP_NO_VALUE &&
           read_scale(out, p, scope, out->erf->inputs[0]);
}

/* Two Mul nodes, of which the inner one reads x. */
static bool is_fused_as_it_is(const oxp_product *product, const gelu *g)
{
    if (!g->divides || product->divisions || product->node_count != 2)
        return false;
    const oxp_graph_node *inner = product->nodes[1];
    return inner->inputs[0] == g->x || inner->inputs[1] == g->x;
}

static oxp_status set_scale(oxp_pass *p, size_t scope, const gelu *g, const char *made)
{
    float root = (float)sqrt(2);
    const char *name, *base = oxp_arena_printf(&p->arena, "%s_sqrt2", made);
    if (!base)
        return p->ctx->status;
    if (g->divides)
        return OXP_OK;
    OXP_TRY(oxp_pass_new_constant(&name, p, scope, base, OXP_FLOAT, 0, NULL, &root));
    OXP_TRY(oxp_edit_set_type(p->model, g->scale->proto, "Div", ""));
    OXP_TRY(oxp_pass_read(p, scope, g->scale, 0, g->x));
    return oxp_pass_read_constant(p, scope, g->scale, 1, name);
}

static oxp_status rewrite(oxp_pass *p, size_t scope, const oxp_product *product, const gelu *g,
                          const char *made)
{
    const oxp_graph_node *root = product->nodes[0];
    float half = 0.5f;
    size_t home;
    const char *inner, *constant, *inputs[2], *base = oxp_arena_printf(&p->arena, "%s_half", made);
    if (!base)
        return p->ctx->status;
    inputs[0] = oxp_pass_root(p, scope, g->x, &home)->name;
    inputs[1] = oxp_pass_root(p, scope, g->gate, &home)->name;
    OXP_TRY(set_scale(p, scope, g, made));
    OXP_TRY(oxp_pass_new_constant(&constant, p, scope, base, OXP_FLOAT, 0, NULL, &half));
    OXP_TRY(oxp_insert_before(NULL, &inner, p, scope, root, "Mul", 2, inputs));
    OXP_TRY(oxp_edit_set_type(p->model, root->proto, "Mul", ""));
    OXP_TRY(oxp_pass_read_constant(p, scope, root, 0, inner));
    OXP_TRY(oxp_pass_read_constant(p, scope, root, 1, constant));
    OXP_TRY(oxp_product_remove_inner(p, scope, product));
    oxp_pass_touch(p, scope, g->add);
    oxp_pass_touch(p, scope, g->erf);
    return OXP_OK;
}

oxp_status oxp_recognise_gelu(oxp_pass *p, size_t scope, const oxp_product *product)
{
    if (!near(product->constant, 0.5))
        return OXP_OK;
    for (size_t i = 0; i < 2; i++) {
        gelu g;
        if (!read_gelu(&g, p, scope, product->factors[i], product->factors[1 - i]))
            continue;
        const char *made = p->scopes[scope].graph->values[product->nodes[0]->outputs[0]].name;
        if (is_fused_as_it_is(product, &g))
            return oxp_pass_left(p, made, "GELU in an order that ONNX Runtime fuses");
        if (oxp_pass_rank(p, scope, product->nodes[0]->outputs[0]) < 0)
            return oxp_pass_left(p, made, "GELU: no sample comes by");
        if (!oxp_pass_admit(p, made))
            return OXP_OK;
        OXP_TRY(oxp_pass_changed(p, made, "GELU in the order that ONNX Runtime fuses"));
        return rewrite(p, scope, product, &g, made);
    }
    return OXP_OK;
}
