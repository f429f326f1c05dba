/* recurrent_attributes.c - see recurrent.h.
 *
 * Activations take alpha and beta from the attributes' lists in their own order, each only if it
 * has such a parameter. Not stated, they are those of the operator of that name (ONNX Runtime
 * takes 0 for Affine, ThresholdedRelu and ScaledTanh). */
#include <math.h>
#include <string.h>
#include <strings.h>

#include "operators/real.h"
#include "operators/recurrent.h"

typedef struct activation_row {
    const char *name;
    oxp_activation_kind kind;
    bool has_alpha, has_beta;
    float alpha, beta; /* defaults */
} activation_row;

static const activation_row activation_rows[] = {
    {"Relu", OXP_ACT_RELU, false, false, 0, 0},
    {"Tanh", OXP_ACT_TANH, false, false, 0, 0},
    {"Sigmoid", OXP_ACT_SIGMOID, false, false, 0, 0},
    {"Affine", OXP_ACT_AFFINE, true, true, 1, 0},
    {"LeakyRelu", OXP_ACT_LEAKY_RELU, true, false, 0.01f, 0},
    {"ThresholdedRelu", OXP_ACT_THRESHOLDED_RELU, true, false, 1, 0},
    {"ScaledTanh", OXP_ACT_SCALED_TANH, true, true, 1, 1},
    {"HardSigmoid", OXP_ACT_HARD_SIGMOID, true, true, 0.2f, 0.5f},
    {"Elu", OXP_ACT_ELU, true, false, 1, 0},
    {"Softsign", OXP_ACT_SOFTSIGN, false, false, 0, 0},
    {"Softplus", OXP_ACT_SOFTPLUS, false, false, 0, 0},
};

typedef struct parameters {
    const float *alpha, *beta;
    size_t alphas, betas; /* left */
} parameters;

static oxp_status read_activation(oxp_node *n, const char *name, parameters *p, oxp_activation *out)
{
    char quoted[OXP_QUOTED_MAX];
    for (size_t i = 0; i < sizeof activation_rows / sizeof *activation_rows; i++) {
        const activation_row *row = &activation_rows[i];
        if (strcasecmp(row->name, name) != 0)
            continue;
        *out = (oxp_activation){row->kind, row->alpha, row->beta};
        if (row->has_alpha && p->alphas) {
            out->alpha = *p->alpha++;
            p->alphas--;
        }
        if (row->has_beta && p->betas) {
            out->beta = *p->beta++;
            p->betas--;
        }
        return OXP_OK;
    }
    return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                         "attribute \"activations\" names %s, which is no activation",
                         oxp_quote(quoted, name));
}

/* Default activations of one direction: f, g, h. */
static const char *default_activation(oxp_rnn_kind kind, size_t i)
{
    return kind == OXP_RNN_PLAIN || i > 0 ? "Tanh" : "Sigmoid";
}

static oxp_status read_activations(oxp_node *n, oxp_recurrent *r)
{
    parameters p;
    size_t each = r->shape[0].kind == OXP_RNN_PLAIN ? 1 : r->shape[0].kind == OXP_RNN_GRU ? 2 : 3;
    const oxp_attribute *names = oxp_graph_node_attribute(n->def, "activations");
    oxp_attr_floats(n, "activation_alpha", &p.alpha, &p.alphas);
    oxp_attr_floats(n, "activation_beta", &p.beta, &p.betas);
    if (oxp_attr_present(n, "activations") && names->type != OXP_ATTR_STRINGS)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-TYPE",
                             "attribute \"activations\" has type %d, expected %d", (int)names->type,
                             (int)OXP_ATTR_STRINGS);
    if (names && names->count != each * r->directions)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "attribute \"activations\" has %zu names, expected %zu", names->count,
                             each * r->directions);
    for (size_t i = 0; i < each * r->directions; i++) {
        const char *name =
            names ? names->strings[i] : default_activation(r->shape[0].kind, i % each);
        OXP_TRY(read_activation(n, name, &p, &r->shape[i / each].activation[i % each]));
    }
    return OXP_OK;
}

static oxp_status read_direction(oxp_node *n, oxp_recurrent *r, bool *reverse)
{
    char quoted[OXP_QUOTED_MAX];
    const char *text = oxp_attr_string(n, "direction", "forward");
    r->directions = strcmp(text, "bidirectional") == 0 ? 2 : 1;
    *reverse = strcmp(text, "reverse") == 0;
    if (r->directions == 1 && !*reverse && strcmp(text, "forward") != 0)
        return oxp_node_fail(
            n, OXP_EFORMAT, "E-ATTR-VALUE",
            "attribute \"direction\" is %s, expected forward, reverse or bidirectional",
            oxp_quote(quoted, text));
    return OXP_OK;
}

static oxp_status read_hidden(oxp_node *n, const oxp_rnn_shape *s)
{
    int64_t hidden = oxp_attr_int(n, "hidden_size", (int64_t)s->hidden);
    if (hidden != (int64_t)s->hidden || s->hidden == 0)
        return oxp_node_fail(
            n, OXP_EFORMAT, "E-ATTR-VALUE",
            "attribute \"hidden_size\" is %lld, the recurrence weights have %zu columns",
            (long long)hidden, s->hidden);
    return OXP_OK;
}

oxp_status oxp_recurrent_read(oxp_node *n, oxp_recurrent *r, bool has_layout)
{
    oxp_rnn_shape *s = &r->shape[0];
    bool reverse, batch_first = has_layout && oxp_attr_int(n, "layout", 0) != 0;
    OXP_TRY(read_hidden(n, s));
    OXP_TRY(read_direction(n, r, &reverse));
    if (batch_first) { /* the caller read [T, B, I] */
        size_t batch = s->steps;
        s->steps = s->batch;
        s->batch = batch;
    }
    s->batch_first = batch_first;
    s->reverse = reverse;
    s->clip = oxp_attr_float(n, "clip", INFINITY);
    if (!(s->clip > 0))
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "attribute \"clip\" is %g, expected above 0", (double)s->clip);
    s->y_step = batch_first ? r->directions * s->hidden : r->directions * s->batch * s->hidden;
    s->y_batch = batch_first ? s->steps * r->directions * s->hidden : s->hidden;
    s->state_batch = batch_first ? r->directions * s->hidden : s->hidden;
    r->shape[1] = *s;
    r->shape[1].reverse = true;
    return read_activations(n, r);
}

oxp_status oxp_recurrent_outputs(oxp_node *n, const oxp_recurrent *r, oxp_dtype dtype)
{
    const oxp_rnn_shape *s = &r->shape[0];
    int64_t t = (int64_t)s->steps, b = (int64_t)s->batch, d = (int64_t)r->directions,
            h = (int64_t)s->hidden;
    const int64_t first[4] = {b, t, d, h}, last[4] = {t, d, b, h};
    OXP_TRY(oxp_output(n, 0, dtype, 4, s->batch_first ? first : last));
    for (int i = 1; i < (s->kind == OXP_RNN_LSTM ? 3 : 2); i++)
        OXP_TRY(
            oxp_output(n, i, dtype, 3,
                       s->batch_first ? (const int64_t[]){b, d, h} : (const int64_t[]){d, b, h}));
    return OXP_OK;
}

oxp_status oxp_recurrent_want_shape(oxp_node *n, int i, int rank, const int64_t *dims)
{
    char expected[OXP_SHAPE_TEXT_MAX], found[OXP_SHAPE_TEXT_MAX];
    if (!oxp_node_has(n, i))
        return OXP_OK;
    const oxp_tensor *t = n->in[i];
    if (t->rank == rank && memcmp(t->dims, dims, (size_t)rank * sizeof *dims) == 0)
        return OXP_OK;
    return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "input %d has shape %s, expected %s", i,
                         oxp_shape_text(found, t->rank, t->dims),
                         oxp_shape_text(expected, rank, dims));
}

oxp_status oxp_recurrent_want_state(oxp_node *n, int i, const oxp_recurrent *r)
{
    const oxp_rnn_shape *s = &r->shape[0];
    int64_t d = (int64_t)r->directions, b = (int64_t)s->batch, h = (int64_t)s->hidden;
    const int64_t first[3] = {b, d, h}, last[3] = {d, b, h};
    return oxp_recurrent_want_shape(n, i, 3, s->batch_first ? first : last);
}

oxp_status oxp_recurrent_lengths(oxp_node *n, int i, const oxp_recurrent *r,
                                 const int32_t **lengths)
{
    *lengths = NULL;
    if (!oxp_node_has(n, i))
        return OXP_OK;
    const int32_t *values = n->in[i]->data;
    for (size_t b = 0; b < r->shape[0].batch; b++)
        if (values[b] < 0 || (size_t)values[b] > r->shape[0].steps)
            return oxp_node_fail(n, OXP_EFORMAT, "E-INDEX",
                                 "sequence length %d at %zu is outside 0..%zu", (int)values[b], b,
                                 r->shape[0].steps);
    *lengths = values;
    return OXP_OK;
}

size_t oxp_recurrent_at(const oxp_recurrent *r, size_t d)
{
    const oxp_rnn_shape *s = &r->shape[0];
    return d * s->hidden * (s->batch_first ? 1 : s->batch);
}

double oxp_recurrent_macs(const oxp_recurrent *r)
{
    const oxp_rnn_shape *s = &r->shape[0];
    double gates = (double)oxp_rnn_gates(s->kind) * (double)s->hidden;
    return (double)r->directions * (double)s->steps * (double)s->batch * gates *
           (double)(s->input + s->hidden);
}
