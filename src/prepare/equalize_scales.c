/* equalize_scales.c - the factors of least expected noise, by channels that meet in one layer.
 *
 * With x_j = s_j x'_j, W'_mj = s_j W_mj a layer's expected noise, over its output's power P, is
 *   activations: (max_j high_j/s_j + max_j low_j/s_j)^2 / (12 255^2) * sum_mjk W_mjk^2 s_j^2
 *   weights: sum_m max_jk (W_mjk s_j)^2 / (12 127^2) * sum_jk mean(x_j^2)/s_j^2.
 * Factors of its outputs fall out: a scale per output channel follows them. All terms are sums of
 * monomials and of their maxima: convex in log s (a geometric program), minimised here by descent
 * with a diagonal metric, the maximum being a norm of high order.
 *
 * Channels that the samples hardly move keep a size: unseen is not unused. */
#include "prepare/equalize_scales.h"

#include <math.h>
#include <string.h>

#include "kernels/vector.h"

#define ORDER_SQUARINGS 4 /* of the norm that stands for a maximum: 2^4 */
#define ITERATIONS 120
#define LEAST_SHARE (1.0 / 256) /* of the largest channel: what a size is raised to */
#define MOST_LOG 6.0            /* natural logarithm of the largest factor */
#define LEAST_GAIN 0.97         /* of the noise before: a group that gains less is left */
#define RIDGE 1e-4

#define ACTIVATION_STEPS (1.0 / (12.0 * 255 * 255))
#define WEIGHT_STEPS (1.0 / (12.0 * 127 * 127))

typedef struct term { /* a layer of the group */
    const oxp_equalize_layer *layer;
    const size_t *variable; /* by input channel: index in the group, SIZE_MAX when pinned */
    float *largest;         /* [outputs, inputs of a group]: max_k |W| */
    double *gain;           /* by input channel: sum_mk W^2 */
    double *high, *low, *mean_square; /* by input channel */
    double power;
} term;

typedef struct group {
    oxp_equalize_walk *w;
    double activations;
    term *terms;
    size_t term_count, count; /* variables */
    uint32_t *roots;          /* [count] */
    double *log_factor, *gradient, *curvature, *trial;
    double *in_scale, *row, *sum; /* scratch of one term */
} group;

/* ---- the noise of a term ---- */

static double high_power(double x)
{
    for (int i = 0; i < ORDER_SQUARINGS; i++)
        x *= x;
    return x;
}

static double high_root(double x)
{
    return pow(x, 1.0 / (1 << ORDER_SQUARINGS));
}

static void add_slope(group *g, size_t variable, double gradient, double curvature)
{
    if (variable == SIZE_MAX)
        return;
    g->gradient[variable] += gradient;
    g->curvature[variable] += curvature;
}

/* The norm of size[j] / s_j, and what each j has of it. */
static double largest_size(const term *t, const double *size, const double *s, bool exact,
                           double *share)
{
    size_t n = t->layer->linear.inputs;
    double most = 0, sum = 0;
    for (size_t j = 0; j < n; j++)
        most = fmax(most, size[j] / s[j]);
    if (most == 0 || exact)
        return most;
    for (size_t j = 0; j < n; j++)
        sum += share[j] = high_power(size[j] / s[j] / most);
    for (size_t j = 0; j < n; j++)
        share[j] /= sum;
    return most * high_root(sum);
}

static double activation_noise(group *g, const term *t, bool exact)
{
    size_t n = t->layer->linear.inputs;
    const double *s = g->in_scale;
    double *above = g->row, *below = g->sum, gained = 0;
    memset(above, 0, n * sizeof *above);
    memset(below, 0, n * sizeof *below);
    double high = largest_size(t, t->high, s, exact, above);
    double low = largest_size(t, t->low, s, exact, below), width = high + low;
    for (size_t j = 0; j < n; j++)
        gained += t->gain[j] * s[j] * s[j];
    double noise = g->activations * ACTIVATION_STEPS / t->power * width * width * gained;
    for (size_t j = 0; j < n && !exact && noise > 0; j++) {
        double up = 2 * t->gain[j] * s[j] * s[j] / gained;
        double down = 2 * (high * above[j] + low * below[j]) / width;
        add_slope(g, t->variable[j], noise * (up - down), 2 * noise * (up + down));
    }
    return noise;
}

/* The largest of w[j] s[j]. */
OXP_VECTORISED static double largest_product(const float *restrict w, const double *restrict s,
                                             size_t n)
{
    double most[OXP_LANES] = {0};
    size_t j = 0;
    for (; j + OXP_LANES <= n; j += OXP_LANES)
        for (size_t k = 0; k < OXP_LANES; k++) {
            double x = (double)w[j + k] * s[j + k];
            most[k] = x > most[k] ? x : most[k];
        }
    for (; j < n; j++)
        most[0] = (double)w[j] * s[j] > most[0] ? (double)w[j] * s[j] : most[0];
    for (size_t k = 1; k < OXP_LANES; k++)
        most[0] = most[k] > most[0] ? most[k] : most[0];
    return most[0];
}

/* powers[j] = (w[j] s[j] / most)^(2^ORDER_SQUARINGS); returns their sum. */
OXP_VECTORISED static double high_powers(const float *restrict w, const double *restrict s,
                                         size_t n, double most, double *restrict powers)
{
    double inverse = 1 / most, sums[OXP_LANES] = {0};
    for (size_t j = 0; j < n; j++) {
        double x = (double)w[j] * s[j] * inverse;
        for (int i = 0; i < ORDER_SQUARINGS; i++)
            x *= x;
        powers[j] = x;
    }
    size_t j = 0;
    for (; j + OXP_LANES <= n; j += OXP_LANES)
        for (size_t k = 0; k < OXP_LANES; k++)
            sums[k] += powers[j + k];
    for (; j < n; j++)
        sums[0] += powers[j];
    for (size_t k = 1; k < OXP_LANES; k++)
        sums[0] += sums[k];
    return sums[0];
}

OXP_VECTORISED static void add_multiple(double *restrict to, const double *restrict x,
                                        double factor, size_t n)
{
    for (size_t j = 0; j < n; j++)
        to[j] += factor * x[j];
}

/* The squared sizes of the rows of one group, summed; up: what each input has of it, twice. */
static double row_sizes(group *g, const term *t, size_t q, bool exact, double *up)
{
    const oxp_linear *l = &t->layer->linear;
    size_t in = l->inputs / l->groups, out = l->outputs / l->groups;
    const double *s = g->in_scale + q * in;
    double steps = 0;
    memset(up, 0, in * sizeof *up);
    for (size_t m = q * out; m < (q + 1) * out; m++) {
        const float *w = t->largest + m * in;
        double size = largest_product(w, s, in);
        if (!exact && size > 0) {
            double sum = high_powers(w, s, in, size, g->sum);
            size *= high_root(sum);
            add_multiple(up, g->sum, 2 * size * size / sum, in);
        }
        steps += size * size;
    }
    return steps;
}

/* Per group of a grouped convolution: its inputs meet its outputs alone. */
static double weight_noise(group *g, const term *t, bool exact)
{
    const oxp_linear *l = &t->layer->linear;
    size_t in = l->inputs / l->groups;
    double *up = g->row, noise = 0, factor = WEIGHT_STEPS / t->power;
    const double *s = g->in_scale;
    for (size_t q = 0; q < l->groups; q++) {
        double energy = 0, steps = row_sizes(g, t, q, exact, up);
        for (size_t j = q * in; j < (q + 1) * in; j++)
            energy += (double)l->rest * t->mean_square[j] / (s[j] * s[j]);
        noise += factor * energy * steps;
        for (size_t j = q * in; j < (q + 1) * in && !exact; j++) {
            double rises = factor * energy * up[j - q * in];
            double falls = 2 * factor * steps * (double)l->rest * t->mean_square[j] / (s[j] * s[j]);
            add_slope(g, t->variable[j], rises - falls, 2 * (rises + falls));
        }
    }
    return noise;
}

/* At `logs`, with slopes unless exact. */
static double noise_at(group *g, const double *logs, bool exact)
{
    double noise = 0;
    memset(g->gradient, 0, g->count * sizeof *g->gradient);
    memset(g->curvature, 0, g->count * sizeof *g->curvature);
    for (size_t i = 0; i < g->term_count; i++) {
        const term *t = &g->terms[i];
        for (size_t j = 0; j < t->layer->linear.inputs; j++)
            g->in_scale[j] = t->variable[j] == SIZE_MAX ? 1 : exp(logs[t->variable[j]]);
        noise += weight_noise(g, t, exact);
        if (g->activations > 0)
            noise += activation_noise(g, t, exact);
    }
    return noise;
}

/* ---- descent ---- */

static double with_ridge(group *g, const double *logs, double ridge)
{
    double noise = noise_at(g, logs, false);
    for (size_t i = 0; i < g->count; i++) {
        noise += ridge * logs[i] * logs[i];
        g->gradient[i] += 2 * ridge * logs[i];
        g->curvature[i] += 2 * ridge;
    }
    return noise;
}

static void step(group *g, double *direction, double length)
{
    for (size_t i = 0; i < g->count; i++)
        g->trial[i] = fmin(MOST_LOG, fmax(-MOST_LOG, g->log_factor[i] - length * direction[i]));
}

static void aim(group *g, double *direction)
{
    for (size_t i = 0; i < g->count; i++)
        direction[i] = g->gradient[i] / g->curvature[i];
}

static void descend(group *g, double *direction)
{
    double start = noise_at(g, g->log_factor, true), ridge = RIDGE * start / (double)g->count;
    double noise = with_ridge(g, g->log_factor, ridge), length = 1;
    aim(g, direction);
    for (int i = 0; i < ITERATIONS && length > 1e-3; i++) {
        step(g, direction, length);
        double next = with_ridge(g, g->trial, ridge);
        if (next < noise) {
            memcpy(g->log_factor, g->trial, g->count * sizeof *g->trial);
            if (noise - next < 1e-6 * noise)
                break;
            noise = next;
            aim(g, direction);
            length = fmin(2, 1.3 * length);
        } else {
            length /= 2;
        }
    }
}

/* ---- reading a layer ---- */

static void read_weights(term *t)
{
    const oxp_linear *l = &t->layer->linear;
    const float *w = l->weight->constant.data;
    size_t in = l->inputs / l->groups;
    for (size_t i = 0; i < l->first * l->second; i++) {
        size_t j = oxp_linear_input_channel(l, i);
        float most = 0;
        double sum = 0;
        for (size_t k = i * l->rest; k < (i + 1) * l->rest; k++) {
            most = fabsf(w[k]) > most ? fabsf(w[k]) : most;
            sum += (double)w[k] * (double)w[k];
        }
        t->largest[oxp_linear_output_channel(l, i) * in + j % in] = most;
        t->gain[j] += sum;
    }
}

static void raise_small(double *x, size_t n, double share)
{
    double most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, x[i]);
    for (size_t i = 0; i < n; i++)
        x[i] = fmax(x[i], share * most);
}

static void read_sizes(term *t, const oxp_equalize_walk *w, const oxp_channel_sizes *sizes)
{
    const oxp_equalize_layer *l = t->layer;
    const oxp_channel_sizes *x = &sizes[l->read], *y = &sizes[l->made];
    size_t n = l->linear.inputs;
    double power = 0, elements = 0;
    for (size_t j = 0; j < n; j++) {
        size_t c = l->in[j] - w->channels[l->read].first;
        t->high[j] = (double)x->high[c];
        t->low[j] = (double)x->low[c];
        t->mean_square[j] = x->elements[c] > 0 ? x->squares[c] / x->elements[c] : 0;
    }
    raise_small(t->high, n, LEAST_SHARE);
    raise_small(t->low, n, LEAST_SHARE);
    raise_small(t->mean_square, n, LEAST_SHARE * LEAST_SHARE);
    for (size_t m = 0; m < y->channels; m++) {
        power += y->squares[m];
        elements += y->elements[m];
    }
    t->power = elements > 0 && power > 0 ? power / elements * (double)l->linear.outputs : 1;
}

static oxp_status make_term(term *t, group *g, const oxp_equalize_layer *l, const size_t *local,
                            const oxp_channel_sizes *sizes)
{
    oxp_arena *a = g->w->arena;
    size_t n = l->linear.inputs;
    size_t *variable = oxp_arena_alloc(a, n + 1, sizeof *variable);
    t->layer = l;
    t->variable = variable;
    t->largest = oxp_arena_alloc(a, l->linear.first * l->linear.second + 1, sizeof *t->largest);
    t->gain = oxp_arena_alloc(a, n + 1, sizeof *t->gain);
    t->high = oxp_arena_alloc(a, n + 1, sizeof *t->high);
    t->low = oxp_arena_alloc(a, n + 1, sizeof *t->low);
    t->mean_square = oxp_arena_alloc(a, n + 1, sizeof *t->mean_square);
    if (!variable || !t->largest || !t->gain || !t->high || !t->low || !t->mean_square)
        return a->ctx->status;
    for (size_t j = 0; j < n; j++)
        variable[j] = local[oxp_variables_root(&g->w->variables, l->in[j])];
    read_weights(t);
    read_sizes(t, g->w, sizes);
    return OXP_OK;
}

/* ---- groups ---- */

static bool is_free(oxp_equalize_walk *w, uint32_t variable)
{
    return variable != OXP_NO_VARIABLE &&
           !w->variables.pinned[oxp_variables_root(&w->variables, variable)];
}

/* Channels meet where one layer reads them. */
static void find_groups(oxp_variables *meeting, oxp_equalize_walk *w)
{
    for (size_t i = 0; i < w->layer_count; i++) {
        const oxp_equalize_layer *l = &w->layers[i];
        uint32_t first = OXP_NO_VARIABLE;
        for (size_t j = 0; j < l->linear.inputs; j++) {
            if (!is_free(w, l->in[j]))
                continue;
            uint32_t root = oxp_variables_root(&w->variables, l->in[j]);
            if (first == OXP_NO_VARIABLE)
                first = root;
            oxp_variables_unite(meeting, first, root);
        }
    }
}

/* The meeting of a layer's channels, OXP_NO_VARIABLE when all are pinned. */
static uint32_t meeting_of(oxp_variables *meeting, oxp_equalize_walk *w,
                           const oxp_equalize_layer *l)
{
    for (size_t j = 0; j < l->linear.inputs; j++)
        if (is_free(w, l->in[j]))
            return oxp_variables_root(meeting, oxp_variables_root(&w->variables, l->in[j]));
    return OXP_NO_VARIABLE;
}

static oxp_status open_group(group *g, const size_t *layers, size_t layer_count, size_t *local,
                             const oxp_channel_sizes *sizes)
{
    oxp_equalize_walk *w = g->w;
    size_t widest = 1;
    g->terms = oxp_arena_alloc(w->arena, layer_count + 1, sizeof *g->terms);
    g->roots = oxp_arena_alloc(w->arena, w->variables.count + 1, sizeof *g->roots);
    if (!g->terms || !g->roots)
        return w->arena->ctx->status;
    for (size_t i = 0; i < layer_count; i++) {
        const oxp_equalize_layer *l = &w->layers[layers[i]];
        for (size_t j = 0; j < l->linear.inputs; j++) {
            uint32_t root = oxp_variables_root(&w->variables, l->in[j]);
            if (is_free(w, root) && local[root] == SIZE_MAX) {
                local[root] = g->count;
                g->roots[g->count++] = root;
            }
        }
        size_t wide = l->linear.inputs > l->linear.outputs ? l->linear.inputs : l->linear.outputs;
        widest = wide > widest ? wide : widest;
        OXP_TRY(make_term(&g->terms[g->term_count++], g, l, local, sizes));
    }
    double **vectors[] = {&g->log_factor, &g->gradient, &g->curvature, &g->trial,
                          &g->in_scale,   &g->row,      &g->sum};
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        size_t n = (i < 4 ? g->count : widest) + 1;
        *vectors[i] = oxp_arena_alloc(w->arena, n, sizeof **vectors[i]);
        if (!*vectors[i])
            return w->arena->ctx->status;
    }
    return OXP_OK;
}

/* Only ratios matter where no channel is pinned: their geometric mean is one. */
static void centre(group *g, bool any_factor)
{
    bool pinned = false;
    double mean = 0;
    for (size_t i = 0; i < g->term_count; i++)
        for (size_t j = 0; j < g->terms[i].layer->linear.inputs; j++)
            pinned = pinned || g->terms[i].variable[j] == SIZE_MAX;
    for (size_t i = 0; i < g->count; i++)
        mean += g->log_factor[i] / (double)g->count;
    for (size_t i = 0; i < g->count; i++) {
        double x = pinned ? g->log_factor[i] : g->log_factor[i] - mean;
        g->log_factor[i] = any_factor ? x : nearbyint(x / M_LN2) * M_LN2;
    }
}

static oxp_status keep_group(oxp_factors *out, group *g, bool any_factor)
{
    oxp_ctx *ctx = g->w->arena->ctx;
    double least = INFINITY, most = 0;
    OXP_TRY(oxp_grow(&out->groups, &out->group_capacity, ctx, out->group_count + 1,
                     sizeof *out->groups));
    for (size_t i = 0; i < g->count; i++) {
        double f = exp(g->log_factor[i]);
        if (!any_factor)
            f = ldexp(1, (int)nearbyint(g->log_factor[i] / M_LN2));
        least = fmin(least, f);
        most = fmax(most, f);
        out->factor[g->roots[i]] = f;
        out->group[g->roots[i]] = out->group_count + 1;
    }
    const oxp_equalize_layer *l = g->terms[0].layer;
    out->groups[out->group_count++] =
        (oxp_equalized_group){.value = g->w->pass->scopes[0].graph->values[l->read].name,
                              .channels = g->count,
                              .layers = g->term_count,
                              .least = least,
                              .most = most};
    return OXP_OK;
}

static oxp_status solve_group(oxp_factors *out, group *g, const oxp_equalize_options *options)
{
    double *direction = oxp_arena_alloc(g->w->arena, g->count + 1, sizeof *direction);
    if (!direction)
        return g->w->arena->ctx->status;
    double before = noise_at(g, g->log_factor, true);
    descend(g, direction);
    centre(g, options->any_factor);
    double after = noise_at(g, g->log_factor, true);
    oxp_log(g->w->arena->ctx, OXP_LOG_VERBOSE,
            "equalize: %zu channels, %zu layers: expected noise %.3g -> %.3g", g->count,
            g->term_count, before, after);
    bool keep = after < LEAST_GAIN * before;
    out->noise_before += before;
    out->noise_after += keep ? after : before;
    return keep ? keep_group(out, g, options->any_factor) : OXP_OK;
}

/* What a layer whose inputs all keep their sizes adds to the noise, as far as they have channels.
 * */
static oxp_status add_pinned(oxp_factors *out, group *g, size_t layer, size_t *local,
                             const oxp_channel_sizes *sizes)
{
    const oxp_equalize_layer *l = &g->w->layers[layer];
    for (size_t j = 0; j < l->linear.inputs; j++)
        if (l->in[j] == OXP_NO_VARIABLE)
            return OXP_OK;
    OXP_TRY(open_group(g, &layer, 1, local, sizes));
    double noise = noise_at(g, g->log_factor, true);
    out->noise_before += noise;
    out->noise_after += noise;
    return OXP_OK;
}

static oxp_status solve_meetings(oxp_factors *out, oxp_equalize_walk *w, oxp_variables *meeting,
                                 const oxp_channel_sizes *sizes,
                                 const oxp_equalize_options *options)
{
    size_t *layers = oxp_arena_alloc(w->arena, w->layer_count + 1, sizeof *layers);
    size_t *local = oxp_arena_alloc(w->arena, w->variables.count + 1, sizeof *local);
    bool *done = oxp_arena_alloc(w->arena, w->layer_count + 1, sizeof *done);
    if (!layers || !local || !done)
        return w->arena->ctx->status;
    for (size_t i = 0; i < w->variables.count; i++)
        local[i] = SIZE_MAX;
    for (size_t i = 0; i < w->layer_count; i++) {
        uint32_t own = meeting_of(meeting, w, &w->layers[i]);
        size_t count = 0;
        if (done[i])
            continue;
        group g = {.w = w, .activations = options->activations};
        oxp_arena_mark mark = oxp_arena_mark_now(w->arena);
        if (own == OXP_NO_VARIABLE) {
            OXP_TRY(add_pinned(out, &g, i, local, sizes));
            oxp_arena_release(w->arena, mark);
            continue;
        }
        for (size_t k = i; k < w->layer_count; k++)
            if (meeting_of(meeting, w, &w->layers[k]) == own) {
                layers[count++] = k;
                done[k] = true;
            }
        OXP_TRY(open_group(&g, layers, count, local, sizes));
        OXP_TRY(solve_group(out, &g, options));
        oxp_arena_release(w->arena, mark);
    }
    return OXP_OK;
}

oxp_status oxp_factors_find(oxp_factors *out, oxp_equalize_walk *w, const oxp_channel_sizes *sizes,
                            const oxp_equalize_options *options)
{
    size_t n = w->variables.count;
    oxp_variables meeting = {.ctx = w->arena->ctx};
    uint32_t first;
    *out = (oxp_factors){.factor = oxp_arena_alloc(w->arena, n + 1, sizeof *out->factor),
                         .group = oxp_arena_alloc(w->arena, n + 1, sizeof *out->group)};
    if (!out->factor || !out->group)
        return w->arena->ctx->status;
    for (size_t i = 0; i < n; i++)
        out->factor[i] = 1;
    oxp_status status = oxp_variables_add(&first, &meeting, n);
    if (status == OXP_OK) {
        find_groups(&meeting, w);
        status = solve_meetings(out, w, &meeting, sizes, options);
    }
    oxp_variables_free(&meeting);
    return status;
}
