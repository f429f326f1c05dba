/* gradient.c - every backward in the operator table against central differences, over every
 * example of its row.
 *
 * With random weights r the loss is L = sum r y over the float outputs. For an input x and a
 * direction v, (L(x + hv) - L(x - hv)) / 2h must be <dL/dx, v>; several directions, so that a
 * wrong sign or factor cannot hide. A step that crosses a kink is halved. Half types cannot
 * resolve such differences: their gradients are held against those of the same example in
 * FLOAT. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/one_node.h"
#include "util/half.h"

#define DIRECTIONS 4
#define MAX_OUTPUTS 16

/* Float inputs whose gradient is not defined here, and why. */
static const struct {
    const char *type;
    int input;
} constant_inputs[] = {
    {"Resize", 1},   /* roi */
    {"Resize", 2},   /* scales decide the shape */
    {"Upsample", 1}, /* likewise */
    {"OneHot", 0},   /* indices of a float type */
    {"CastLike", 1}, /* a type */
    {"RoiAlign", 1}, /* regions are chosen */
};

/* Rows that have no backward. Codes: their numbers are integers that stand for others, or are
 * rounded to such. Sequences: gradients are those of tensors. The rest is differentiable and has
 * none yet. */
static const char *const without[] = {
    /* codes */
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "MatMulInteger",
    "ConvInteger",
    "QLinearConv",
    "QLinearMatMul",
    "QLinearAdd",
    "QLinearMul",
    "QLinearAveragePool",
    "QLinearConcat",
    "QLinearSigmoid",
    "QLinearLeakyRelu",
    "QLinearSoftmax",
    "QGemm",
    "QLinearGlobalAveragePool",
    "MatMulNBits",
    "DynamicQuantizeLSTM",
    "DynamicQuantizeMatMul",
    "MatMulIntegerToFloat",
    "GatherBlockQuantized",
    /* sequences */
    "ConcatFromSequence",
    "Optional",
    "OptionalGetElement",
    "OptionalHasElement",
    "SequenceAt",
    "SequenceConstruct",
    "SequenceEmpty",
    "SequenceErase",
    "SequenceInsert",
    "SequenceLength",
    "SequenceMap",
    "SplitToSequence",
    /* the rest */
    "DeformConv",
    "LinearAttention",
};

/* ---- one example ---- */

typedef struct trial {
    oxp_ctx ctx;
    one_node node;
    oxp_session *session;
    oxp_gradients gradients;
    const oxp_tensor *fed[ONE_NODE_MAX_INPUTS];
    oxp_tensor found[ONE_NODE_MAX_INPUTS]; /* gradients of the inputs */
    oxp_tensor dout[MAX_OUTPUTS];
    const char *name;
} trial;

static double draw(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(*state >> 11) * 0x1p-53;
}

static bool is_input(void *user, const oxp_graph *graph, const oxp_value *v)
{
    (void)user;
    (void)graph;
    return v->kind == OXP_VALUE_INPUT;
}

static oxp_status take(void *user, const oxp_graph *graph, uint32_t value, const oxp_tensor *t)
{
    trial *test = user;
    for (size_t i = 0; i < graph->input_count; i++)
        if (graph->inputs[i] == value)
            return oxp_tensor_copy(&test->found[i], &test->ctx, t);
    return OXP_EINTERNAL;
}

static bool begin(trial *t, const oxp_operator *op, const char *example)
{
    char why[512] = "";
    memset(t, 0, sizeof *t);
    oxp_ctx_init(&t->ctx);
    t->name = example;
    t->gradients = (oxp_gradients){.wanted = is_input, .complete = take, .user = t};
    oxp_session_options options = {.gradients = &t->gradients};
    cr_assert(one_node_make(&t->node, &t->ctx, op, example, why), "%s: %s", example, why);
    for (size_t i = 0; i < t->node.input_count; i++)
        t->fed[i] = &t->node.inputs[i];
    return oxp_session_create(&t->session, &t->ctx, t->node.graph, &options) == OXP_OK;
}

static void end(trial *t)
{
    for (size_t i = 0; i < ONE_NODE_MAX_INPUTS; i++)
        oxp_tensor_release(&t->found[i]);
    for (size_t i = 0; i < MAX_OUTPUTS; i++)
        oxp_tensor_release(&t->dout[i]);
    oxp_session_free(t->session);
    one_node_free(&t->node);
    cr_expect_eq(t->ctx.budget->used, 0, "\"%s\": %zu bytes are still allocated", t->name,
                 (size_t)t->ctx.budget->used);
}

static void release(oxp_tensor *out)
{
    for (size_t i = 0; i < MAX_OUTPUTS; i++)
        oxp_tensor_release(&out[i]);
}

/* One run and the way back; the weights of the loss are drawn at the first run. */
static oxp_status run(trial *t)
{
    oxp_tensor out[MAX_OUTPUTS] = {0};
    const oxp_tensor *dout[MAX_OUTPUTS] = {NULL};
    uint64_t seed = 7;
    OXP_TRY(oxp_session_run(t->session, t->fed, out));
    for (size_t i = 0; i < t->node.output_count; i++) {
        if (!oxp_dtype_is_float(out[i].dtype))
            continue;
        oxp_tensor *d = &t->dout[i];
        OXP_TRY(oxp_tensor_shape(d, &t->ctx, OXP_FLOAT, out[i].rank, out[i].dims, "dout"));
        OXP_TRY(oxp_tensor_alloc(d, &t->ctx, "dout"));
        for (size_t k = 0; k < d->count; k++)
            ((float *)d->data)[k] = (float)(draw(&seed) * 2 - 1);
        dout[i] = d;
    }
    oxp_status status = oxp_session_backward(t->session, dout);
    release(out);
    return status;
}

/* The loss; *size: what its rounding errors are relative to. */
static double loss(trial *t, double *size)
{
    oxp_tensor out[MAX_OUTPUTS] = {0};
    double sum = 0, squares = 0;
    if (oxp_session_run(t->session, t->fed, out) != OXP_OK) {
        t->ctx.status = OXP_OK;
        return NAN;
    }
    for (size_t i = 0; i < t->node.output_count; i++) {
        if (t->dout[i].data && t->dout[i].count != out[i].count)
            sum = NAN; /* data decides the shape, and it is another one */
        for (size_t k = 0; k < t->dout[i].count && k < out[i].count; k++) {
            double part = oxp_tensor_real(&out[i], k) * oxp_tensor_real(&t->dout[i], k);
            sum += part;
            squares += part * part;
        }
    }
    release(out);
    *size = sqrt(squares);
    return sum;
}

/* ---- differences ---- */

static void put(oxp_tensor *x, size_t i, double value)
{
    if (x->dtype == OXP_DOUBLE)
        ((double *)x->data)[i] = value;
    else
        ((float *)x->data)[i] = (float)value;
}

/* The loss at x + h v. */
static double loss_at(trial *t, oxp_tensor *x, const double *start, const double *v, double h,
                      double *size)
{
    for (size_t k = 0; k < x->count; k++)
        put(x, k, start[k] + h * v[k]);
    double value = loss(t, size);
    for (size_t k = 0; k < x->count; k++)
        put(x, k, start[k]);
    return value;
}

static bool agrees(trial *t, size_t input, const double *start, const double *v, char why[256])
{
    oxp_tensor *x = &t->node.inputs[input];
    const float *dx = t->found[input].data;
    double wanted = 0, scale = 0;
    for (size_t k = 0; k < x->count; k++) {
        double part = v[k] == 0 ? 0 : v[k] * (double)dx[k];
        wanted += part;
        scale += part * part;
    }
    bool undefined = true; /* a negative base under a changed exponent */
    /* where nothing should change, nothing does: a jump nearby may need a smaller step to see it */
    for (double h = 1e-2; h > (scale == 0 ? 1e-7 : 1e-4); h /= 4) {
        double size = 0, high = loss_at(t, x, start, v, h, &size),
               low = loss_at(t, x, start, v, -h, &size), slope = (high - low) / (2 * h);
        double tolerance = h > 1e-4 ? 1e-2 * sqrt(scale) + 4e-7 * size / h + 1e-6 : 0;
        snprintf(why, 256, "differences give %g, backward %g (tolerance %g)", slope, wanted,
                 tolerance);
        if (fabs(slope - wanted) <= tolerance)
            return true;
        undefined = undefined && isnan(slope);
    }
    return undefined;
}

static bool is_flat(const oxp_operator *op)
{
    static const char *const flat[] = {"Floor", "Ceil", "Round", "Sign"};
    for (size_t i = 0; i < 4; i++)
        if (strcmp(op->type, flat[i]) == 0)
            return true;
    return false;
}

/* Small values move by less, where a function may be steep; where there is no slope or a value
 * was set on a kink, nothing. */
static void draw_direction(const trial *t, const oxp_operator *op, size_t input,
                           const double *start, double *v, uint64_t *seed)
{
    const float *dx = t->found[input].data;
    for (size_t k = 0; k < t->node.inputs[input].count; k++) {
        double reach = fmax(fmin(fabs(start[k]), 1.0), 0.05);
        bool kink = start[k] == 0 || (is_flat(op) && 2 * start[k] == rint(2 * start[k]));
        v[k] = (draw(seed) < 0.5 ? -reach : reach) * (0.5 + draw(seed));
        if (kink || !isfinite(dx[k]))
            v[k] = 0;
    }
}

static void check_input(trial *t, const oxp_operator *op, size_t input, size_t *checked)
{
    const oxp_tensor *x = &t->node.inputs[input];
    uint64_t seed = 11 + input;
    char why[256] = "";
    double *start = calloc(x->count + 1, sizeof *start), *v = calloc(x->count + 1, sizeof *v);
    cr_assert(start && v);
    for (size_t k = 0; k < x->count; k++)
        start[k] = oxp_tensor_real(x, k);
    for (int d = 0; d < DIRECTIONS; d++) {
        draw_direction(t, op, input, start, v, &seed);
        cr_expect(agrees(t, input, start, v, why), "%s-%d, example \"%s\", input %zu: %s", op->type,
                  op->since, t->name, input, why);
    }
    for (size_t k = 0; k < x->count; k++)
        *checked += ((const float *)t->found[input].data)[k] != 0;
    free(start);
    free(v);
}

static bool is_constant(const oxp_operator *op, int input)
{
    if (op->values >> input & 1)
        return true;
    for (size_t i = 0; i < sizeof constant_inputs / sizeof *constant_inputs; i++)
        if (strcmp(constant_inputs[i].type, op->type) == 0 && constant_inputs[i].input == input)
            return true;
    return false;
}

/* The node's number of a graph input: omitted ones are not among these. */
static int node_input(const trial *t, size_t input)
{
    const oxp_graph_node *node = &t->node.graph->nodes[0];
    for (size_t i = 0; i < node->input_count; i++)
        if (node->inputs[i] == t->node.graph->inputs[input])
            return (int)i;
    return -1;
}

static bool has_halves(const char *example)
{
    return strstr(example, ":f16") || strstr(example, ":bf16");
}

/* A Cast to a half type: differences cannot be taken behind it. */
static bool makes_halves(const char *example)
{
    return strstr(example, "; to=10") || strstr(example, "; to=16");
}

static void check_example(const oxp_operator *op, const char *example, size_t *checked)
{
    trial t;
    cr_assert(begin(&t, op, example), "%s-%d \"%s\": %s", op->type, op->since, example,
              t.ctx.message);
    oxp_status status = run(&t);
    cr_expect_eq(status, OXP_OK, "%s-%d, example \"%s\": %s %s", op->type, op->since, example,
                 t.ctx.code, t.ctx.message);
    for (size_t i = 0; status == OXP_OK && i < t.node.input_count; i++)
        if (t.found[i].data && !is_constant(op, node_input(&t, i)))
            check_input(&t, op, i, checked);
    end(&t);
}

/* ---- half types ---- */

/* The example with its half types taken out. */
static void as_float(char *out, size_t size, const char *example)
{
    size_t used = 0;
    while (*example && used + 1 < size) {
        size_t skip = strncmp(example, ":f16", 4) == 0    ? 4
                      : strncmp(example, ":bf16", 5) == 0 ? 5
                                                          : 0;
        if (skip)
            example += skip;
        else
            out[used++] = *example++;
    }
    out[used] = '\0';
}

/* FLOAT inputs get the values that the half inputs could hold. */
static void copy_values(trial *to, const trial *from)
{
    for (size_t i = 0; i < to->node.input_count; i++)
        for (size_t k = 0; k < to->node.inputs[i].count; k++)
            if (from->node.inputs[i].dtype != to->node.inputs[i].dtype)
                put(&to->node.inputs[i], k, oxp_tensor_real(&from->node.inputs[i], k));
}

static void check_halves(const oxp_operator *op, const char *example)
{
    trial half, full;
    char text[512];
    as_float(text, sizeof text, example);
    cr_assert(begin(&half, op, example) && begin(&full, op, text), "%s-%d \"%s\"", op->type,
              op->since, example);
    copy_values(&full, &half);
    bool runs = run(&half) == OXP_OK && run(&full) == OXP_OK;
    cr_expect(runs, "%s-%d, example \"%s\": %s", op->type, op->since, example, half.ctx.message);
    for (size_t i = 0; runs && i < half.node.input_count; i++) {
        const float *a = half.found[i].data, *b = full.found[i].data;
        cr_expect_eq(!a, !b);
        for (size_t k = 0; a && b && k < half.found[i].count; k++)
            if (isfinite(b[k]))
                cr_expect(fabsf(a[k] - b[k]) <= 0.02f * fmaxf(1, fabsf(b[k])),
                          "%s-%d, example \"%s\", input %zu: %g, in FLOAT %g", op->type, op->since,
                          example, i, (double)a[k], (double)b[k]);
    }
    end(&half);
    end(&full);
}

/* ---- the table ---- */

/* Without subgraphs: those are in tests/unit/interpreter/backward.c. */
static bool is_checked(const oxp_operator *op)
{
    return op->backward && op->backward != oxp_backward_zero && op->examples;
}

static void check_row(const oxp_operator *op)
{
    size_t checked = 0;
    for (const char *const *e = op->examples; *e; e++)
        if (has_halves(*e))
            check_halves(op, *e);
        else if (!makes_halves(*e))
            check_example(op, *e, &checked);
    cr_expect(checked > 0 || is_flat(op), "%s-%d: no example has a gradient that is not zero",
              op->type, op->since);
}

Test(gradient, every_backward_agrees_with_differences)
{
    size_t rows = 0;
    for (size_t i = 0; i < oxp_operator_count(); i++) {
        const oxp_operator *op = oxp_operator_at(i);
        if (!is_checked(op))
            continue;
        check_row(op);
        rows++;
    }
    cr_expect_gt(rows, 190, "%zu rows", rows);
}

Test(gradient, rows_without_a_backward_are_known)
{
    for (size_t i = 0; i < oxp_operator_count(); i++) {
        const oxp_operator *op = oxp_operator_at(i);
        bool known = false;
        for (size_t k = 0; k < sizeof without / sizeof *without; k++)
            known = known || strcmp(without[k], op->type) == 0;
        cr_expect_eq(known, op->backward == NULL, "%s-%d of \"%s\" %s", op->type, op->since,
                     op->domain, op->backward ? "has a backward" : "has no backward");
    }
}
