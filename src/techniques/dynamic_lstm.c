/* dynamic_lstm.c - rewrites LSTM into DynamicQuantizeLSTM. */
#include "techniques/dynamic_lstm.h"

#include <string.h>

enum { W = 1, R = 2, W_SCALE = 8, R_SCALE = 10 }; /* a zero point behind each scale */

static bool is_lstm(const oxp_graph_node *n)
{
    return n->domain[0] == '\0' && strcmp(n->type, "LSTM") == 0;
}

/* A constant that the LSTM alone reads. */
static bool is_own(const oxp_graph_node *n, size_t input)
{
    const oxp_value *v = oxp_graph_node_constant(n, input);
    return v && v->constant.dtype == OXP_FLOAT && v->constant.rank == 3 && v->use_count == 1 &&
           !v->is_output;
}

bool oxp_lstm_can_be_dynamic(const oxp_consumer *c, const char **why_not)
{
    *why_not = "no dynamic integer form for this operator";
    if (!is_lstm(c->node) || (c->input != W && c->input != R) ||
        oxp_graph_node_int(c->node, "layout", 0) != 0)
        return false;
    *why_not = "an LSTM in integers needs both weights constant and its own";
    return is_own(c->node, W) && is_own(c->node, R);
}

size_t oxp_lstm_partner(const oxp_site *sites, size_t count, size_t i)
{
    const oxp_consumer *c = &sites[i].consumers[0];
    for (size_t k = 0; k < count && is_lstm(c->node); k++)
        if (k != i && sites[k].consumers[0].node == c->node)
            return k;
    return SIZE_MAX;
}

/* Codes [D, 4H, K] as [D, K, 4H], scales and zero points [D, 4H]. */
static oxp_status add_weight(oxp_edit *e, const oxp_site *s, size_t input, size_t scale)
{
    const oxp_tensor *t = &s->value->constant;
    const oxp_codes *c = oxp_edit_codes(e, s);
    oxp_node_proto *node = s->consumers[0].node->proto;
    size_t rows = (size_t)t->dims[1], columns = (size_t)t->dims[2];
    int8_t *turned = oxp_arena_alloc(&e->arena, t->count, 1);
    int8_t *zeros = oxp_arena_alloc(&e->arena, oxp_site_scales(s), 1);
    const char *key = oxp_arena_printf(&e->arena, "zero/i8/%lldx%zu", (long long)t->dims[0], rows);
    if (!turned || !zeros || !key)
        return OXP_ELIMIT;
    for (size_t d = 0; d < (size_t)t->dims[0]; d++)
        for (size_t r = 0; r < rows; r++)
            for (size_t k = 0; k < columns; k++)
                turned[(d * columns + k) * rows + r] = c->codes[(d * rows + r) * columns + k];
    int64_t dims[3] = {t->dims[0], t->dims[2], t->dims[1]}, vector[2] = {t->dims[0], t->dims[1]};
    const char *codes, *scales, *zero;
    OXP_TRY(oxp_edit_constant(&codes, e, s->graph, "q", OXP_INT8, 3, dims, turned));
    OXP_TRY(oxp_edit_constant(&scales, e, s->graph, "s", OXP_FLOAT, 2, vector, c->scales));
    OXP_TRY(oxp_edit_shared(&zero, e, s->graph, key, OXP_INT8, 2, vector, zeros));
    OXP_TRY(oxp_edit_set_input(e->model, node, input, codes));
    OXP_TRY(oxp_edit_set_input(e->model, node, scale, scales));
    OXP_TRY(oxp_edit_set_input(e->model, node, scale + 1, zero));
    return oxp_edit_drop_constant(e, s->graph, s->value);
}

oxp_status oxp_lstm_make_dynamic(oxp_edit *e, size_t i)
{
    const oxp_site *s = &e->sites[i];
    const oxp_graph_node *n = s->consumers[0].node;
    size_t other = oxp_lstm_partner(e->sites, e->site_count, i);
    if (other == SIZE_MAX)
        return oxp_fail(e->ctx, OXP_EINTERNAL, "E-INTERNAL", "LSTM %zu has one weight", n->index);
    const oxp_site *w = s->consumers[0].input == W ? s : &e->sites[other];
    const oxp_site *r = w == s ? &e->sites[other] : s;
    OXP_TRY(add_weight(e, w, W, W_SCALE));
    OXP_TRY(add_weight(e, r, R, R_SCALE));
    OXP_TRY(oxp_edit_set_type(e->model, n->proto, "DynamicQuantizeLSTM", "com.microsoft"));
    OXP_TRY(oxp_edit_remove_attribute(e->model, n->proto, "layout"));
    if (oxp_model_opset(e->model, "com.microsoft") >= 1)
        return OXP_OK;
    return oxp_edit_set_opset(e->model, "com.microsoft", 1);
}
