/* padding.c - zeros that a Pad puts around the input of a Conv become the Conv's own.
 *
 * Exporters of TensorFlow and Keras write Pad and an unpadded Conv for every convolution with a
 * stride. One node less, and the Conv reads what the layer before it makes: with the Pad between
 * them, quantised codes end there. Only zeros, only in the spatial dimensions, none cut away. */
#include <string.h>

#include "prepare/pass.h"

#define SPATIAL_MAX 4

typedef struct padding {
    int64_t pads[2 * SPATIAL_MAX]; /* begins, then ends, as Conv has them */
    int spatial;
} padding;

/* The pads of all dimensions: begins, then ends. */
static const int64_t *pads_of(const oxp_pass *p, size_t scope, const oxp_graph_node *pad,
                              size_t *count)
{
    *count = 0;
    if (oxp_model_opset(p->model, "") < 11) {
        const oxp_attribute *a = oxp_graph_node_attribute(pad, "pads");
        if (!a || a->type != OXP_ATTR_INTS)
            return NULL;
        *count = a->count;
        return a->ints;
    }
    const oxp_value *v = oxp_pass_constant(p, scope, pad, 1);
    if (!v || v->constant.dtype != OXP_INT64)
        return NULL;
    *count = v->constant.count;
    return v->constant.data;
}

static bool pads_zeros(const oxp_pass *p, size_t scope, const oxp_graph_node *pad)
{
    const oxp_attribute *mode = oxp_graph_node_attribute(pad, "mode");
    if (mode && (mode->type != OXP_ATTR_STRING || strcmp(mode->s, "constant") != 0))
        return false;
    if (oxp_model_opset(p->model, "") < 11) {
        const oxp_attribute *value = oxp_graph_node_attribute(pad, "value");
        return !value || (value->type == OXP_ATTR_FLOAT && value->f == 0);
    }
    double number;
    int rank;
    if (pad->input_count > 3 && pad->inputs[3] != OXP_NO_VALUE)
        return false; /* axes */
    return pad->input_count < 3 || pad->inputs[2] == OXP_NO_VALUE ||
           (oxp_pass_scalar(p, scope, pad, 2, &number, &rank) && number == 0);
}

static bool read_padding(padding *out, const oxp_pass *p, size_t scope, const oxp_graph_node *pad)
{
    size_t count;
    const int64_t *all = pads_of(p, scope, pad, &count);
    if (!all || count % 2 || count < 6 || count > 2 * (2 + SPATIAL_MAX) ||
        !pads_zeros(p, scope, pad))
        return false;
    int rank = (int)(count / 2);
    out->spatial = rank - 2;
    for (int i = 0; i < rank; i++)
        for (int end = 0; end < 2; end++) {
            int64_t zeros = all[i + end * rank];
            if (zeros < 0 || zeros > INT32_MAX || (i < 2 && zeros != 0))
                return false;
            if (i >= 2)
                out->pads[i - 2 + end * out->spatial] = zeros;
        }
    return true;
}

/* Adds the Conv's own pads; false when it computes them from the size of its input. */
static bool add_own(padding *sum, const oxp_graph_node *conv)
{
    const oxp_attribute *automatic = oxp_graph_node_attribute(conv, "auto_pad");
    const oxp_attribute *own = oxp_graph_node_attribute(conv, "pads");
    bool given =
        !automatic || (automatic->type == OXP_ATTR_STRING && strcmp(automatic->s, "NOTSET") == 0);
    if (!given && (automatic->type != OXP_ATTR_STRING || strcmp(automatic->s, "VALID") != 0))
        return false;
    if (!given || !own)
        return true;
    if (own->type != OXP_ATTR_INTS || own->count != 2 * (size_t)sum->spatial)
        return false;
    for (size_t i = 0; i < own->count; i++)
        sum->pads[i] += own->ints[i];
    return true;
}

static oxp_status fold(oxp_pass *p, size_t scope, const oxp_graph_node *pad,
                       const oxp_graph_node *conv, const padding *sum)
{
    const oxp_graph *g = p->scopes[scope].graph;
    const char *made = g->values[conv->outputs[0]].name, *padded = g->values[pad->outputs[0]].name;
    char text[OXP_NODE_TEXT_MAX], into[OXP_NODE_TEXT_MAX];
    if (!oxp_pass_admit(p, made))
        return OXP_OK;
    OXP_TRY(oxp_pass_changed(p, made, "%s into %s", oxp_graph_node_text(text, pad),
                             oxp_graph_node_text(into, conv)));
    if (oxp_graph_node_attribute(conv, "auto_pad"))
        OXP_TRY(oxp_edit_remove_attribute(p->model, conv->proto, "auto_pad"));
    OXP_TRY(oxp_edit_set_ints(p->model, conv->proto, "pads", 2 * (size_t)sum->spatial, sum->pads));
    OXP_TRY(oxp_pass_read(p, scope, conv, 0, pad->inputs[0]));
    OXP_TRY(oxp_pass_remove_node(p, scope, pad));
    return oxp_edit_remove_value_info(p->model, g->proto, padded);
}

oxp_status oxp_step_padding(oxp_pass *p)
{
    for (size_t s = 0; s < p->scope_count; s++) {
        const oxp_graph *g = p->scopes[s].graph;
        for (size_t n = 0; n < g->node_count; n++) {
            const oxp_graph_node *pad = &g->nodes[n];
            padding sum;
            if (!oxp_pass_is(pad, "Pad") || oxp_pass_touched(p, s, pad) ||
                pad->inputs[0] == OXP_NO_VALUE || pad->outputs[0] == OXP_NO_VALUE)
                continue;
            const oxp_graph_node *conv = oxp_pass_only_reader(p, s, pad->outputs[0]);
            if (oxp_pass_is(conv, "Conv") && conv->inputs[0] == pad->outputs[0] &&
                conv->outputs[0] != OXP_NO_VALUE && oxp_pass_rank(p, s, conv->outputs[0]) >= 0 &&
                read_padding(&sum, p, s, pad) && add_own(&sum, conv))
                OXP_TRY(fold(p, s, pad, conv, &sum));
        }
    }
    return OXP_OK;
}
