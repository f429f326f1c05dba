/* dynamic.c - matrix products and LSTM in integers, activations quantised when they come.
 *
 * y = Cast(MatMulInteger(x_codes, W_codes)) * (x_scale * w_scale[column]), x_codes and x_scale
 * from DynamicQuantizeLinear. ONNX Runtime fuses the whole, with a bias Add behind it, into
 * DynamicQuantizeMatMul. One DynamicQuantizeLinear serves all products that read the same
 * tensor. LSTM: dynamic_lstm.h. */
#include <string.h>

#include "calibration/given.h"
#include "techniques/dynamic_lstm.h"
#include "techniques/technique.h"

static bool product(const oxp_consumer *c)
{
    return strcmp(c->node->type, "MatMul") == 0 && c->node->domain[0] == '\0' && c->input == 1;
}

static bool applies(const oxp_site *s, const char **why_not)
{
    if (oxp_site_is_half(s)) {
        *why_not = "no integer form for a layer in half precision";
        return false;
    }
    if (strcmp(s->consumers[0].node->type, "LSTM") == 0)
        return s->consumer_count == 1 && s->other_uses == 0 &&
               oxp_lstm_can_be_dynamic(&s->consumers[0], why_not);
    for (size_t i = 0; i < s->consumer_count; i++) {
        const oxp_graph_node *n = s->consumers[i].node;
        if (!product(&s->consumers[i])) {
            *why_not = "no dynamic integer form for this operator";
            return false;
        }
        if (oxp_is_dequantised(n->graph, n->inputs[0])) {
            *why_not = "what it reads is quantised already, with a fixed scale";
            return false;
        }
    }
    if (s->value->constant.rank != 2) {
        *why_not = "no dynamic integer form for a weight of rank above 2";
        return false;
    }
    if (s->other_uses) {
        *why_not = "also read as something else than a weight";
        return false;
    }
    return true;
}

/* What DynamicQuantizeLinear made of a value in a graph. */
typedef struct quantised {
    size_t graph_id;
    uint32_t value;
    const char *codes, *scale, *zero_point;
} quantised;

typedef struct worker {
    oxp_edit *e;
    quantised *made;
    size_t count, capacity;
} worker;

static oxp_status quantise_input(worker *w, const oxp_graph_node *node, quantised **out)
{
    oxp_edit *e = w->e;
    const oxp_graph *g = node->graph;
    uint32_t value = node->inputs[0];
    for (size_t i = 0; i < w->count; i++)
        if (w->made[i].graph_id == g->id && w->made[i].value == value) {
            *out = &w->made[i];
            return OXP_OK;
        }
    OXP_TRY(oxp_grow(&w->made, &w->capacity, e->ctx, w->count + 1, sizeof *w->made));
    quantised *q = &w->made[w->count++];
    *q = (quantised){.graph_id = g->id, .value = value};
    OXP_TRY(oxp_edit_name(&q->codes, e, "t"));
    OXP_TRY(oxp_edit_name(&q->scale, e, "t"));
    OXP_TRY(oxp_edit_name(&q->zero_point, e, "t"));
    const char *input = oxp_node_proto_input(node->proto, 0),
               *outputs[3] = {q->codes, q->scale, q->zero_point};
    oxp_new_node made = {.type = "DynamicQuantizeLinear",
                         .domain = "",
                         .name = "",
                         .input_count = 1,
                         .output_count = 3,
                         .inputs = &input,
                         .outputs = outputs};
    size_t at = oxp_edit_behind(g, &g->values[value]); /* so that every reader comes later */
    OXP_TRY(oxp_edit_insert_node(NULL, e->model, g->proto, at, &made));
    *out = q;
    return OXP_OK;
}

/* One that the model has already, in front of the node. */
static bool find_given(quantised *out, const oxp_graph_node *node)
{
    const oxp_value *v = &node->graph->values[node->inputs[0]];
    for (size_t i = 0; i < v->use_count; i++) {
        const oxp_graph_node *n = v->uses[i].node;
        if (strcmp(n->type, "DynamicQuantizeLinear") != 0 || n->domain[0] ||
            n->index > node->index || n->outputs[0] == OXP_NO_VALUE ||
            n->outputs[1] == OXP_NO_VALUE || n->outputs[2] == OXP_NO_VALUE)
            continue;
        out->codes = oxp_node_proto_output(n->proto, 0);
        out->scale = oxp_node_proto_output(n->proto, 1);
        out->zero_point = oxp_node_proto_output(n->proto, 2);
        return true;
    }
    return false;
}

static oxp_status convert(worker *w, const oxp_graph_node *node, const char *codes,
                          const char *scales, const char *zero)
{
    oxp_edit *e = w->e;
    const oxp_graph *g = node->graph;
    quantised given, *q = &given;
    if (!find_given(q, node))
        OXP_TRY(quantise_input(w, node, &q));
    const char *sum = NULL, *real = NULL, *scale = NULL,
               *output = oxp_node_proto_output(node->proto, 0);
    size_t at = oxp_edit_position(g->proto, node->proto);
    const char *operands[4] = {q->codes, codes, q->zero_point, zero},
               *factors[2] = {q->scale, scales};
    oxp_node_proto *made;
    OXP_TRY(oxp_edit_name(&sum, e, "t"));
    oxp_new_node product_node = {.type = "MatMulInteger",
                                 .domain = "",
                                 .name = node->name, /* by which a user knows it */
                                 .input_count = 4,
                                 .output_count = 1,
                                 .inputs = operands,
                                 .outputs = &sum};
    OXP_TRY(oxp_edit_remove_node(e->model, g->proto, node->proto));
    OXP_TRY(oxp_edit_insert_node(NULL, e->model, g->proto, at, &product_node));
    OXP_TRY(oxp_edit_node(&made, e, g, at + 1, "Cast", 1, &sum, &real));
    OXP_TRY(oxp_edit_set_int(e->model, made, "to", OXP_FLOAT));
    OXP_TRY(oxp_edit_node(&made, e, g, at + 2, "Mul", 2, factors, &scale));
    const char *last[2] = {real, scale};
    return oxp_edit_node(&made, e, g, at + 3, "Mul", 2, last, &output);
}

static oxp_status apply_site(worker *w, const oxp_site *s)
{
    oxp_edit *e = w->e;
    const oxp_tensor *t = &s->value->constant;
    const oxp_codes *c = oxp_edit_codes(e, s);
    const char *codes, *scales, *zero;
    const int8_t nothing = 0;
    int64_t columns[1] = {t->dims[1]};
    OXP_TRY(oxp_edit_constant(&codes, e, s->graph, "q", OXP_INT8, t->rank, t->dims, c->codes));
    OXP_TRY(oxp_edit_constant(&scales, e, s->graph, "s", OXP_FLOAT, 1, columns, c->scales));
    OXP_TRY(oxp_edit_shared(&zero, e, s->graph, "zero/i8", OXP_INT8, 0, NULL, &nothing));
    for (size_t i = 0; i < s->consumer_count; i++)
        OXP_TRY(convert(w, s->consumers[i].node, codes, scales, zero));
    return oxp_edit_drop_constant(e, s->graph, s->value);
}

/* The second weight of an LSTM went with the first. */
static bool is_done(const oxp_edit *e, size_t i)
{
    size_t other = oxp_lstm_partner(e->sites, e->site_count, i);
    return other < i && e->choices[other].technique == &oxp_technique_dynamic;
}

static oxp_status apply(oxp_edit *e)
{
    worker w = {.e = e};
    oxp_status status = OXP_OK;
    for (size_t i = 0; i < e->site_count && status == OXP_OK; i++)
        if (e->choices[i].technique == &oxp_technique_dynamic && !is_done(e, i))
            status = strcmp(e->sites[i].consumers[0].node->type, "LSTM") == 0
                         ? oxp_lstm_make_dynamic(e, i)
                         : apply_site(&w, &e->sites[i]);
    oxp_free(w.made);
    return status;
}

const oxp_technique oxp_technique_dynamic = {
    .name = "dynamic",
    .summary =
        "matrix products and LSTM in integers, activations quantised at run time: no data needed",
    .stage = OXP_STAGE_QUANTISE,
    .level = OXP_LEVEL_INTEGER,
    .opset = 11,
    .applies = applies,
    .apply = apply,
    .bytes = oxp_codes_bytes,
};
