/* sample_counts.c - statements per tensor, and the inputs that each needs. */
#include "calibration/sample_counts.h"

#include <math.h>
#include <string.h>

#include "calibration/scale_error.h"

const char *oxp_sample_statistic_name(oxp_sample_statistic s)
{
    static const char *const names[OXP_STATISTIC_COUNT] = {"outside", "scale", "mean"};
    return s < OXP_STATISTIC_COUNT ? names[s] : "?";
}

/* ---- what the operator that makes a value promises of it ---- */

typedef struct bounds {
    double low, high;
} bounds;

static const struct {
    const char *type;
    bounds bounds;
} bounded_types[] = {
    {"Sigmoid", {0, 1}},     {"HardSigmoid", {0, 1}},     {"Softmax", {0, 1}},
    {"Tanh", {-1, 1}},       {"Relu", {0, INFINITY}},     {"Abs", {0, INFINITY}},
    {"Sqrt", {0, INFINITY}}, {"Softplus", {0, INFINITY}}, {"Exp", {0, INFINITY}},
};

static bounds clip_bounds(const oxp_graph_node *n)
{
    bounds b = {-INFINITY, INFINITY};
    const oxp_value *low = n->input_count > 1 ? oxp_graph_node_constant(n, 1) : NULL;
    const oxp_value *high = n->input_count > 2 ? oxp_graph_node_constant(n, 2) : NULL;
    const oxp_attribute *min = oxp_graph_node_attribute(n, "min"),
                        *max = oxp_graph_node_attribute(n, "max");
    if (low && low->constant.dtype == OXP_FLOAT && low->constant.count == 1)
        b.low = (double)*(const float *)low->constant.data;
    else if (min)
        b.low = (double)min->f;
    if (high && high->constant.dtype == OXP_FLOAT && high->constant.count == 1)
        b.high = (double)*(const float *)high->constant.data;
    else if (max)
        b.high = (double)max->f;
    return b;
}

static bounds bounds_of(const oxp_graph *const *graphs, const oxp_range *r)
{
    bounds none = {-INFINITY, INFINITY};
    const oxp_graph_node *n = graphs[r->graph_id]->values[r->value].producer;
    if (!n || n->domain[0] != '\0')
        return none;
    if (strcmp(n->type, "Clip") == 0)
        return clip_bounds(n);
    for (size_t i = 0; i < sizeof bounded_types / sizeof *bounded_types; i++)
        if (strcmp(n->type, bounded_types[i].type) == 0)
            return bounded_types[i].bounds;
    return none;
}

/* ---- one tensor over the inputs ---- */

typedef struct question {
    const oxp_range *range;
    const oxp_input_statistics *statistics;
    size_t tensor, inputs; /* inputs: the number that is asked about */
    bounds bounds;
    double tolerance, delta;
    double *scores; /* room for one number per input */
} question;

/* Ends of the calibrated range that a new input can pass: 0, 1 or 2. */
static int open_ends(const question *q)
{
    const oxp_scale s = q->range->scale;
    double low = -(double)s.zero_point * (double)s.scale,
           high = (double)(255 - s.zero_point) * (double)s.scale, half = (double)s.scale / 2;
    return (q->bounds.low < low - half) + (q->bounds.high > high + half);
}

static size_t inputs_outside(const question *q)
{
    const oxp_scale s = q->range->scale;
    double low = -((double)s.zero_point + 0.5) * (double)s.scale,
           high = (double)(255 - s.zero_point) * (double)s.scale + (double)s.scale / 2;
    size_t outside = 0;
    for (size_t i = 0; i < q->statistics->inputs; i++) {
        const oxp_input_statistic *c = oxp_input_statistics_at(q->statistics, i, q->tensor);
        outside += c->elements && ((double)c->min < low || (double)c->max > high);
    }
    return outside;
}

/* The range as it was set by the extremes of the same inputs: no new one counted as a trial. */
static void ask_extremes(const question *q, oxp_sample_row *row)
{
    int ends = open_ends(q);
    row->method = OXP_INTERVAL_ORDER_STATISTICS;
    row->needed = 1;
    row->half_width = 0;
    if (ends == 0)
        return;
    row->half_width = ends * oxp_beyond_extreme(q->inputs, q->delta / ends);
    row->half_width = fmin(row->half_width, 1);
    row->needed = oxp_extreme_needed(q->tolerance / ends, q->delta / ends);
}

/* Where values are cut off on purpose, or were seen beyond the range, one value drawn from every
 * input is a draw of its own: their share is binomial. */
static void ask_outside(const question *q, oxp_sample_row *row)
{
    size_t seen = q->statistics->inputs, outside = 0;
    row->statistic = OXP_STATISTIC_OUTSIDE;
    if (inputs_outside(q) == 0) {
        ask_extremes(q, row);
        return;
    }
    for (size_t i = 0; i < seen; i++)
        outside += oxp_input_statistics_at(q->statistics, i, q->tensor)->outside;
    double share = (double)outside / (double)seen;
    size_t expected = (size_t)nearbyint(share * (double)q->inputs);
    oxp_interval i = oxp_interval_proportion(expected, q->inputs, 1 - q->delta);
    row->method = OXP_INTERVAL_CLOPPER_PEARSON;
    row->half_width = fmax(i.high - share, share - i.low);
    row->needed = oxp_proportion_needed(share, q->tolerance, 1 - q->delta);
}

/* False where the formula does not hold. */
static bool ask_scale(const question *q, oxp_sample_row *row)
{
    double elements = 0, sum = 0, squares = 0;
    size_t seen = q->statistics->inputs;
    for (size_t i = 0; i < seen; i++) {
        const oxp_input_statistic *c = oxp_input_statistics_at(q->statistics, i, q->tensor);
        q->scores[i] = c->score;
        elements += (double)c->elements;
        sum += c->score;
        squares += c->score * c->score;
    }
    if (fabs(sum) > 2 * sqrt(squares)) /* not at its minimum on these inputs */
        return false;
    double curvature = oxp_scale_curvature(q->range->seen, q->range->scale, 255);
    double error = oxp_scale_standard_error(q->scores, seen, elements, curvature, 255);
    double share = error / (double)q->range->scale.scale;
    double half_width = oxp_normal_quantile(1 - q->delta / 2) * share;
    if (!isfinite(half_width))
        return false;
    double needed = ceil((double)seen * (half_width / q->tolerance) * (half_width / q->tolerance));
    row->statistic = OXP_STATISTIC_SCALE;
    row->method = OXP_INTERVAL_SANDWICH;
    row->half_width = half_width * sqrt((double)seen / (double)q->inputs);
    row->needed = needed < 2 ? 2 : needed < 0x1p53 ? (size_t)needed : SIZE_MAX;
    return true;
}

static void ask_mean(const question *q, oxp_sample_row *row)
{
    double range = q->bounds.high - q->bounds.low, mean = 0, variance = 0;
    size_t n = q->statistics->inputs;
    for (size_t i = 0; i < n; i++) {
        const oxp_input_statistic *c = oxp_input_statistics_at(q->statistics, i, q->tensor);
        q->scores[i] = c->elements ? c->sum / (double)c->elements : 0;
        mean += q->scores[i] / (double)n;
    }
    for (size_t i = 0; i < n; i++)
        variance += (q->scores[i] - mean) * (q->scores[i] - mean) / (double)(n > 1 ? n - 1 : 1);
    oxp_half_width h = oxp_bounded_half_width(range, variance, q->inputs, q->delta);
    row->statistic = OXP_STATISTIC_MEAN;
    row->method = h.method;
    row->half_width = h.value / range;
    row->needed = oxp_bounded_needed(range, variance, q->tolerance * range, q->delta);
}

/* ---- all tensors ---- */

static bool has_known_range(bounds b)
{
    return isfinite(b.low) && isfinite(b.high) && b.high > b.low;
}

static bool is_statement(const oxp_range *r)
{
    return r->seen && r->seen->count > 0 && !r->fixed;
}

static size_t count_rows(const oxp_graph *const *graphs, const oxp_ranges *ranges)
{
    size_t rows = 0;
    for (size_t t = 0; t < ranges->count; t++)
        if (is_statement(&ranges->items[t]))
            rows += 1 + has_known_range(bounds_of(graphs, &ranges->items[t]));
    return rows;
}

static void finish_row(oxp_sample_counts *c, const question *q, oxp_sample_row *row)
{
    row->tensor = q->tensor;
    row->enough = row->needed <= q->inputs;
    c->short_count += !row->enough;
    c->needed = row->needed > c->needed ? row->needed : c->needed;
    c->count++;
}

oxp_status oxp_sample_counts_make(oxp_sample_counts *out, oxp_arena *arena, const oxp_graph *graph,
                                  const oxp_ranges *ranges, const oxp_input_statistics *statistics,
                                  double tolerance, double confidence, size_t inputs)
{
    oxp_sample_counts c = {.needed = 1};
    const oxp_graph *const *graphs;
    size_t graph_count;
    OXP_TRY(oxp_graph_all(&graphs, &graph_count, arena, graph));
    size_t rows = count_rows(graphs, ranges);
    c.rows = oxp_arena_alloc(arena, rows + 1, sizeof *c.rows);
    question q = {.statistics = statistics,
                  .inputs = inputs ? inputs : statistics->inputs,
                  .tolerance = tolerance,
                  .delta = (1 - confidence) / (double)(rows ? rows : 1),
                  .scores = oxp_arena_alloc(arena, statistics->inputs + 1, sizeof *q.scores)};
    if (!c.rows || !q.scores)
        return OXP_ELIMIT;
    for (q.tensor = 0; q.tensor < ranges->count; q.tensor++) {
        q.range = &ranges->items[q.tensor];
        if (!is_statement(q.range))
            continue;
        q.bounds = bounds_of(graphs, q.range);
        oxp_sample_row *row = &c.rows[c.count];
        if (q.range->method != OXP_METHOD_MSE || !ask_scale(&q, row))
            ask_outside(&q, row);
        finish_row(&c, &q, row);
        if (!has_known_range(q.bounds))
            continue;
        ask_mean(&q, &c.rows[c.count]);
        finish_row(&c, &q, &c.rows[c.count]);
    }
    *out = c;
    return OXP_OK;
}
