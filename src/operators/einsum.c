/* einsum.c - Einsum: products of any number of operands, summed over the labels that the output
 * does not name.
 *
 * Operands are joined from left to right; a label is summed as soon as nothing later needs it.
 * Each join is a plain loop nest with strides, in double for floats and in wrapping int64 for
 * integers; rounded once to the output's type. */
#include <string.h>

#include "operators/gradient.h"
#include "operators/cast_integer.h"
#include "operators/einsum_equation.h"
#include "operators/real.h"
#include "operators/vector_math.h"

/* An operand or an intermediate: the step of every label in its 8-byte elements, 0 where it does
 * not move. */
typedef struct view {
    const void *data;
    bool has[OXP_EINSUM_LABELS];
    size_t steps[OXP_EINSUM_LABELS];
} view;

/* A loop over one label. */
typedef struct loop {
    size_t count, a, b;
} loop;

typedef struct join {
    const void *a, *b;
    int kept, summed;
    loop kept_loops[OXP_EINSUM_LABELS], summed_loops[OXP_EINSUM_LABELS]; /* innermost last */
    size_t outputs;
} join;

static oxp_status prepare(oxp_node *n)
{
    oxp_dtype dtype = n->in[0]->dtype;
    oxp_einsum *e = oxp_node_state(n, oxp_einsum_bytes(n->in_count));
    if (!e)
        return n->ctx->status;
    const char *equation = oxp_attr_string(n, "equation", NULL);
    if (!equation)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE", "the equation is missing");
    if (!oxp_dtype_is_float(dtype) && oxp_integer_bytes(dtype) == 0)
        return oxp_node_bad_dtype(n, 0);
    for (int i = 1; i < n->in_count; i++)
        OXP_TRY(oxp_node_want(n, i, dtype));
    OXP_TRY(oxp_einsum_read(n, e, equation));
    int64_t dims[OXP_MAX_RANK];
    for (int d = 0; d < e->output.rank; d++)
        dims[d] = e->dims[e->output.labels[d]];
    return oxp_output(n, 0, dtype, e->output.rank, dims);
}

/* ---- one join ---- */

static bool advance(size_t *index, size_t *a, size_t *b, int rank, const loop *loops)
{
    for (int d = rank - 1; d >= 0; d--) {
        *a += loops[d].a;
        *b += loops[d].b;
        if (++index[d] < loops[d].count)
            return true;
        *a -= loops[d].a * loops[d].count;
        *b -= loops[d].b * loops[d].count;
        index[d] = 0;
    }
    return false;
}

/* out[k] = the sum over all summed labels of a b, for every combination of the kept ones. The
 * innermost summed label is a run of its own. */
#define JOIN(function, T)                                                          \
    static T function##_run(const T *a, const T *b, const loop *l)                 \
    {                                                                              \
        T sum = 0;                                                                 \
        for (size_t i = 0; i < l->count; i++)                                      \
            sum += a[i * l->a] * b[i * l->b];                                      \
        return sum;                                                                \
    }                                                                              \
    static void function(const join *j, T *out)                                    \
    {                                                                              \
        const T *a = j->a, *b = j->b;                                              \
        const loop once = {1, 0, 0};                                               \
        const loop *run = j->summed > 0 ? &j->summed_loops[j->summed - 1] : &once; \
        int outer = j->summed > 0 ? j->summed - 1 : 0;                             \
        size_t index[OXP_EINSUM_LABELS] = {0}, at_a = 0, at_b = 0;                 \
        for (size_t k = 0; k < j->outputs; k++) {                                  \
            size_t inner[OXP_EINSUM_LABELS] = {0}, in_a = at_a, in_b = at_b;       \
            T sum = 0;                                                             \
            do                                                                     \
                sum += function##_run(a + in_a, b + in_b, run);                    \
            while (advance(inner, &in_a, &in_b, outer, j->summed_loops));          \
            out[k] = sum;                                                          \
            advance(index, &at_a, &at_b, j->kept, j->kept_loops);                  \
        }                                                                          \
    }
JOIN(join_reals, double)
JOIN(join_integers, uint64_t)

static void add_loop(join *j, bool kept, const oxp_einsum *e, int label, const view *a,
                     const view *b)
{
    loop *l = kept ? &j->kept_loops[j->kept++] : &j->summed_loops[j->summed++];
    *l = (loop){(size_t)e->dims[label], a->steps[label], b->steps[label]};
}

/* The loops that turn a and b into something with the labels `order`; the others that they have
 * are summed. */
static oxp_status plan_join(oxp_node *n, join *j, const oxp_einsum *e, const view *a, const view *b,
                            int kept, const uint8_t *order)
{
    bool is_kept[OXP_EINSUM_LABELS] = {false};
    *j = (join){.a = a->data, .b = b->data, .outputs = 1};
    for (int k = 0; k < kept; k++) {
        is_kept[order[k]] = true;
        add_loop(j, true, e, order[k], a, b);
        if (!oxp_mul_ok(j->outputs, (size_t)e->dims[order[k]], &j->outputs))
            return oxp_node_fail(n, OXP_ELIMIT, "E-LIMIT-MEM",
                                 "an intermediate product is too large");
    }
    for (int label = 0; label < OXP_EINSUM_LABELS; label++)
        if (!is_kept[label] && (a->has[label] || b->has[label])) {
            if (e->dims[label] == 0) /* nothing to sum: the result is zero, as fresh scratch is */
                j->outputs = 0;
            add_loop(j, false, e, label, a, b);
        }
    return OXP_OK;
}

/* ---- all joins ---- */

/* Steps of an input's labels; a label that stands twice walks the diagonal. */
static void input_view(view *v, const oxp_einsum_term *term, const oxp_tensor *x, const void *data)
{
    size_t step = 1;
    *v = (view){.data = data};
    for (int d = term->rank - 1; d >= 0; d--) {
        v->has[term->labels[d]] = true;
        if (x->dims[d] != 1)
            v->steps[term->labels[d]] += step;
        step *= (size_t)x->dims[d];
    }
}

static void product_view(view *v, const oxp_einsum *e, int rank, const uint8_t *order,
                         const void *data)
{
    size_t step = 1;
    *v = (view){.data = data};
    for (int d = rank - 1; d >= 0; d--) {
        v->has[order[d]] = true;
        v->steps[order[d]] = step;
        step *= (size_t)e->dims[order[d]];
    }
}

static bool needed_after(const oxp_einsum *e, int label, int input)
{
    for (int d = 0; d < e->output.rank; d++)
        if (e->output.labels[d] == label)
            return true;
    for (int i = input + 1; i < e->inputs; i++)
        for (int d = 0; d < e->terms[i].rank; d++)
            if (e->terms[i].labels[d] == label)
                return true;
    return false;
}

/* The input's elements as doubles or int64. */
static oxp_status widen(oxp_node *n, int input, bool is_real, const void **data)
{
    const oxp_tensor *x = n->in[input];
    if (x->dtype == OXP_DOUBLE || x->dtype == OXP_INT64 || x->dtype == OXP_UINT64) {
        *data = x->data;
        return OXP_OK;
    }
    void *wide = oxp_node_scratch(n, x->count, sizeof(double));
    if (!wide)
        return n->ctx->status;
    for (size_t i = 0; i < x->count; i++) {
        if (is_real)
            ((double *)wide)[i] = oxp_tensor_real(x, i);
        else
            ((int64_t *)wide)[i] = oxp_integer_load(x->data, x->dtype, i);
    }
    *data = wide;
    return OXP_OK;
}

static int labels_to_keep(const oxp_einsum *e, const view *a, const view *b, int input,
                          uint8_t *order)
{
    if (input == e->inputs - 1) {
        memcpy(order, e->output.labels, (size_t)e->output.rank);
        return e->output.rank;
    }
    int kept = 0;
    for (int label = 0; label < OXP_EINSUM_LABELS; label++)
        if ((a->has[label] || b->has[label]) && needed_after(e, label, input))
            order[kept++] = (uint8_t)label;
    return kept;
}

static void store(oxp_node *n, bool is_real, const void *result)
{
    oxp_tensor *y = &n->out[0];
    float *floats = y->dtype == OXP_DOUBLE || !is_real ? NULL : oxp_real_out(n, 0);
    if (y->dtype == OXP_DOUBLE)
        memcpy(y->data, result, y->count * sizeof(double));
    for (size_t i = 0; i < y->count && (floats || !is_real); i++) {
        if (is_real)
            floats[i] = (float)((const double *)result)[i];
        else
            oxp_integer_store(y->data, y->dtype, i, ((const int64_t *)result)[i]);
    }
    if (floats)
        oxp_real_done(n, 0, floats);
}

static oxp_status forward(oxp_node *n)
{
    static const double one_real = 1.0;
    static const uint64_t one_integer = 1;
    const oxp_einsum *e = n->state;
    bool is_real = oxp_dtype_is_float(n->in[0]->dtype);
    view product = {.data = is_real ? (const void *)&one_real : (const void *)&one_integer},
         operand;
    uint8_t order[OXP_EINSUM_LABELS];
    join j;
    for (int i = 0; i < e->inputs; i++) {
        const void *data = NULL;
        OXP_TRY(widen(n, i, is_real, &data));
        input_view(&operand, &e->terms[i], n->in[i], data);
        if (i == 0 && e->inputs > 1) {
            product = operand;
            continue;
        }
        int kept = labels_to_keep(e, &product, &operand, i, order);
        OXP_TRY(plan_join(n, &j, e, &product, &operand, kept, order));
        size_t room = 1;
        for (int k = 0; k < kept; k++)
            room *= (size_t)e->dims[order[k]];
        void *result = oxp_node_scratch(n, room, sizeof(double));
        if (!result)
            return n->ctx->status;
        if (is_real)
            join_reals(&j, result);
        else
            join_integers(&j, result);
        product_view(&product, e, kept, order, result);
    }
    store(n, is_real, product.data);
    return n->ctx->status;
}

/* ---- backward ---- */

/* One nest over every label that occurs: places in the output and in each operand step together. */
typedef struct nest {
    int labels, operands; /* operand 0 is the output */
    size_t counts[OXP_EINSUM_LABELS];
    view *views;
    size_t *at; /* per operand */
} nest;

static void nest_advance(nest *t, const uint8_t *order, size_t *index)
{
    for (int d = t->labels - 1; d >= 0; d--) {
        bool carries = ++index[d] == t->counts[d];
        for (int v = 0; v < t->operands; v++) {
            t->at[v] += t->views[v].steps[order[d]];
            if (carries)
                t->at[v] -= t->views[v].steps[order[d]] * t->counts[d];
        }
        if (!carries)
            return;
        index[d] = 0;
    }
}

/* sums[place of the wanted operand] += dy times all other operands. */
static void back_operand(nest *t, const uint8_t *order, size_t turns, int wanted, double *sums)
{
    size_t index[OXP_EINSUM_LABELS] = {0};
    memset(t->at, 0, (size_t)t->operands * sizeof *t->at);
    for (size_t i = 0; i < turns; i++, nest_advance(t, order, index)) {
        double product = 1;
        for (int v = 0; v < t->operands; v++)
            if (v != wanted)
                product *= ((const double *)t->views[v].data)[t->at[v]];
        sums[t->at[wanted]] += product;
    }
}

static oxp_status make_nest(oxp_node *n, const oxp_einsum *e, nest *t)
{
    double *dy = oxp_node_scratch(n, n->out[0].count, sizeof *dy);
    t->operands = e->inputs + 1;
    t->views = oxp_node_scratch(n, (size_t)t->operands, sizeof *t->views);
    t->at = oxp_node_scratch(n, (size_t)t->operands, sizeof *t->at);
    if (!dy || !t->views || !t->at)
        return n->ctx->status;
    for (size_t i = 0; i < n->out[0].count; i++)
        dy[i] = (double)oxp_dout(n, 0)[i];
    product_view(&t->views[0], e, e->output.rank, e->output.labels, dy);
    for (int i = 0; i < e->inputs; i++) {
        const void *data;
        OXP_TRY(widen(n, i, true, &data));
        input_view(&t->views[i + 1], &e->terms[i], n->in[i], data);
    }
    return OXP_OK;
}

static oxp_status backward(oxp_node *n)
{
    const oxp_einsum *e = n->state;
    nest t = {.labels = 0};
    uint8_t order[OXP_EINSUM_LABELS];
    size_t turns = 1;
    if (!oxp_dout(n, 0))
        return OXP_OK;
    OXP_TRY(make_nest(n, e, &t));
    for (int label = 0; label < OXP_EINSUM_LABELS; label++) {
        if (e->dims[label] < 0)
            continue;
        order[t.labels] = (uint8_t)label;
        t.counts[t.labels++] = (size_t)e->dims[label];
        if (!oxp_mul_ok(turns, (size_t)e->dims[label], &turns))
            return oxp_node_fail(n, OXP_ELIMIT, "E-LIMIT-MEM", "the product is too large");
    }
    for (int i = 0; i < e->inputs; i++) {
        float *dx = oxp_din(n, i);
        if (!dx)
            continue;
        double *sums = oxp_node_scratch(n, n->in[i]->count, sizeof *sums);
        if (!sums)
            return n->ctx->status;
        back_operand(&t, order, turns, i + 1, sums);
        for (size_t k = 0; k < n->in[i]->count; k++)
            dx[k] += (float)sums[k];
    }
    return OXP_OK;
}

/* Every join multiplies once per combination of its labels; a single operand is only added up. */
static void cost(const oxp_node *n, oxp_cost *c)
{
    const oxp_einsum *e = n->state;
    double macs = 0.0;
    bool has[OXP_EINSUM_LABELS] = {false};
    for (int i = 0; i < e->inputs; i++) {
        for (int d = 0; d < e->terms[i].rank; d++)
            has[e->terms[i].labels[d]] = true;
        double combinations = i == 0 ? 0.0 : 1.0;
        for (int label = 0; label < OXP_EINSUM_LABELS; label++) {
            if (has[label])
                combinations *= (double)e->dims[label];
            has[label] = has[label] && needed_after(e, label, i);
        }
        macs += combinations;
    }
    oxp_cost_of(n, macs, c);
}

/* An operand that keeps its last label in the output: a column of it goes into that column alone.
 * Without "->" or with an ellipsis it is not looked into. */
static bool weight(const oxp_graph_node *def, int input, int rank, int *channel_axis)
{
    const oxp_attribute *a = oxp_graph_node_attribute(def, "equation");
    const char *text = a && a->type == OXP_ATTR_STRING ? a->s : "", *output = strstr(text, "->");
    if (!output || strchr(text, '.') || strchr(text, ' '))
        return false;
    for (int i = 0; i < input; i++) {
        text = strchr(text, ',');
        if (!text)
            return false;
        text++;
    }
    size_t length = strcspn(text, ",-");
    *channel_axis = rank - 1;
    return rank >= 2 && length == (size_t)rank && strchr(output + 2, text[rank - 1]) != NULL;
}

const oxp_operator oxp_op_einsum_12 = {
    .domain = "",
    .type = "Einsum",
    .since = 12,
    .min_in = 1,
    .max_in = -1,
    .min_out = 1,
    .max_out = 1,
    .prepare = prepare,
    .forward = forward,
    .backward = backward,
    .saves = 0xffff,
    .cost = cost,
    .weight = weight,
    .examples =
        (const char *const[]){"A[2,3] B[3,4]; equation='ij,jk->ik'", "A[2,3]; equation='ij->ji'",
                              "A[3,3]; equation='ii->i'", "A[2,3,4] B[2,4,5]; equation='bij,bjk'",
                              "A[2,3,4] B[4,5]; equation='...ij,jk->...ik'",
                              "A[2,3] B[3,4] C[4,2]; equation='ij,jk,kl->il'",
                              "A[3] B[2]; equation='i,j->ij'", "A[2,3]:i32; equation='ij->i'",
                              "A[2,3]:f64 B[3]:f64; equation='ij,j->i'",
                              "A[2,3]:f16 B[2,3]:f16; equation='ij,ij->'", NULL},
};
