/* metrics.c - differences between outputs. */
#include "calibration/metrics.h"

#include <math.h>
#include <string.h>

#include "calibration/normalised.h"

/* ---- kinds ---- */

oxp_output_kind oxp_output_kind_of(const oxp_graph *graph, uint32_t value)
{
    const oxp_graph_node *n = graph->values[value].producer;
    if (oxp_is_normalised(graph, value))
        return OXP_KIND_EMBEDDING;
    for (int steps = 0; n && steps < 4; steps++) {
        if (strcmp(n->type, "Softmax") == 0)
            return OXP_KIND_PROBABILITIES;
        if (strcmp(n->type, "LogSoftmax") == 0)
            return OXP_KIND_LOG_PROBABILITIES;
        if (strcmp(n->type, "Sigmoid") == 0)
            return OXP_KIND_BERNOULLI;
        if (strcmp(n->type, "Gemm") == 0)
            return OXP_KIND_LOGITS;
        if (strcmp(n->type, "MatMul") == 0)
            return graph->values[value].declared.rank == 2 ? OXP_KIND_LOGITS : OXP_KIND_GAUSSIAN;
        if (strcmp(n->type, "Identity") != 0 && strcmp(n->type, "Add") != 0)
            break;
        const oxp_graph_node *next = NULL;
        for (size_t i = 0; i < n->input_count && !next; i++)
            if (n->inputs[i] != OXP_NO_VALUE)
                next = graph->values[n->inputs[i]].kind == OXP_VALUE_NODE
                           ? graph->values[n->inputs[i]].producer
                           : NULL;
        n = next;
    }
    return OXP_KIND_GAUSSIAN;
}

/* ---- differences ---- */

static size_t argmax(const oxp_tensor *t, size_t start, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (oxp_tensor_real(t, start + i) > oxp_tensor_real(t, start + best))
            best = i;
    return best;
}

/* log p_i of a row: log_softmax for logits, log(max(p, 1e-30)) for probabilities. */
double oxp_log_normaliser(oxp_output_kind kind, const oxp_tensor *t, size_t start, size_t n)
{
    if (kind != OXP_KIND_LOGITS)
        return 0;
    double most = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, oxp_tensor_real(t, start + i));
    for (size_t i = 0; i < n; i++)
        sum += exp(oxp_tensor_real(t, start + i) - most);
    return most + log(sum);
}

static double log_probability(oxp_output_kind kind, double value, double normaliser)
{
    if (kind == OXP_KIND_PROBABILITIES)
        return log(fmax(value, 1e-30));
    return kind == OXP_KIND_LOGITS ? value - normaliser : value;
}

static double row_kl(oxp_output_kind kind, const oxp_tensor *a, const oxp_tensor *b, size_t start,
                     size_t n)
{
    double za = oxp_log_normaliser(kind, a, start, n), zb = oxp_log_normaliser(kind, b, start, n),
           sum = 0;
    for (size_t i = 0; i < n; i++) {
        double la = log_probability(kind, oxp_tensor_real(a, start + i), za);
        double lb = log_probability(kind, oxp_tensor_real(b, start + i), zb);
        sum += exp(la) * (la - lb);
    }
    return sum;
}

bool oxp_is_categorical(oxp_output_kind kind)
{
    return kind == OXP_KIND_LOGITS || kind == OXP_KIND_PROBABILITIES ||
           kind == OXP_KIND_LOG_PROBABILITIES;
}

static void compare_rows(oxp_difference *d, oxp_output_kind kind, const oxp_tensor *a,
                         const oxp_tensor *b, const int64_t *labels, size_t label_count)
{
    size_t width = a->rank > 0 ? (size_t)a->dims[a->rank - 1] : 0;
    if (width < 2)
        return;
    for (size_t row = 0; row < a->count / width; row++) {
        size_t ca = argmax(a, row * width, width), cb = argmax(b, row * width, width);
        d->rows++;
        d->agree += ca == cb;
        d->kl += row_kl(kind, a, b, row * width, width);
        if (!labels || row >= label_count)
            continue;
        bool right_a = (int64_t)ca == labels[row], right_b = (int64_t)cb == labels[row];
        d->labelled++;
        d->correct_a += right_a;
        d->correct_b += right_b;
        d->only_a += right_a && !right_b;
        d->only_b += right_b && !right_a;
    }
}

/* p log(p / q) + (1 - p) log((1 - p) / (1 - q)), summed over elements. */
static double bernoulli_kl(const oxp_tensor *a, const oxp_tensor *b)
{
    double sum = 0;
    for (size_t i = 0; i < a->count; i++) {
        double p = oxp_tensor_real(a, i), q = oxp_tensor_real(b, i);
        q = fmin(fmax(q, 1e-30), 1 - 1e-12);
        sum += (p > 0 ? p * log(p / q) : 0) + (p < 1 ? (1 - p) * log((1 - p) / (1 - q)) : 0);
    }
    return sum;
}

/* 1 - cos = |a/|a| - b/|b||^2 / 2, which keeps its digits where both are nearly the same. */
static double row_turn(const oxp_tensor *a, const oxp_tensor *b, size_t start, size_t n)
{
    double aa = 0, bb = 0, sum = 0;
    for (size_t i = start; i < start + n; i++) {
        aa += oxp_tensor_real(a, i) * oxp_tensor_real(a, i);
        bb += oxp_tensor_real(b, i) * oxp_tensor_real(b, i);
    }
    if (!(aa > 0) || !(bb > 0))
        return aa > 0 || bb > 0 ? 1 : 0;
    for (size_t i = start; i < start + n; i++) {
        double e = oxp_tensor_real(a, i) / sqrt(aa) - oxp_tensor_real(b, i) / sqrt(bb);
        sum += e * e;
    }
    return sum / 2;
}

static void compare_directions(oxp_difference *d, const oxp_tensor *a, const oxp_tensor *b)
{
    size_t width = a->rank > 0 ? (size_t)a->dims[a->rank - 1] : 0;
    for (size_t row = 0; width && row < a->count / width; row++) {
        d->rows++;
        d->kl += row_turn(a, b, row * width, width);
    }
}

void oxp_difference_of(oxp_difference *out, oxp_output_kind kind, const oxp_tensor *a,
                       const oxp_tensor *b, const int64_t *labels, size_t label_count)
{
    *out = (oxp_difference){.elements = a->count};
    if (!oxp_dtype_is_float(a->dtype) || a->count != b->count)
        return;
    for (size_t i = 0; i < a->count; i++) {
        double x = oxp_tensor_real(a, i), y = oxp_tensor_real(b, i);
        out->numbers += isfinite(x) != 0;
        if (!isfinite(x) || !isfinite(y)) { /* a mask that both hold is no difference */
            out->nonfinite += !(x == y || (isnan(x) && isnan(y)));
            continue;
        }
        double e = x - y;
        out->signal += x * x;
        out->noise += e * e;
        out->dot += x * y;
        out->other += y * y;
        out->max_abs = fmax(out->max_abs, fabs(e));
    }
    if (kind == OXP_KIND_BERNOULLI)
        out->kl = bernoulli_kl(a, b);
    if (kind == OXP_KIND_EMBEDDING)
        compare_directions(out, a, b);
    if (oxp_is_categorical(kind))
        compare_rows(out, kind, a, b, labels, label_count);
}

void oxp_difference_add(oxp_difference *into, const oxp_difference *from)
{
    into->signal += from->signal;
    into->noise += from->noise;
    into->dot += from->dot;
    into->other += from->other;
    into->max_abs = fmax(into->max_abs, from->max_abs);
    into->kl += from->kl;
    into->rows += from->rows;
    into->agree += from->agree;
    into->labelled += from->labelled;
    into->correct_a += from->correct_a;
    into->correct_b += from->correct_b;
    into->only_a += from->only_a;
    into->only_b += from->only_b;
    into->elements += from->elements;
    into->numbers += from->numbers;
    into->nonfinite += from->nonfinite;
}

double oxp_sqnr_db(const oxp_difference *d)
{
    if (d->nonfinite)
        return -200.0;
    if (d->noise <= 0)
        return 200.0;
    if (d->signal <= 0)
        return -200.0;
    double db = 10.0 * log10(d->signal / d->noise);
    return db > 200.0 ? 200.0 : db < -200.0 ? -200.0 : db;
}

double oxp_cosine(const oxp_difference *d)
{
    if (d->signal <= 0 || d->other <= 0)
        return d->noise <= 0 ? 1.0 : 0.0;
    return d->dot / sqrt(d->signal * d->other);
}
