#include "support/directional.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MAX_OUTPUTS 64

typedef struct weight_gradient {
    const oxp_graph *graph;
    uint32_t value;
    oxp_tensor gradient;
} weight_gradient;

typedef struct check {
    oxp_ctx *ctx;
    oxp_graph *graph;
    const oxp_tensor *const *inputs;
    oxp_tensor projection[MAX_OUTPUTS];
    weight_gradient *found;
    size_t count, capacity;
    directional *out;
    bool verbose;
} check;

static double draw(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(*state >> 11) * 0x1p-53;
}

static oxp_status take(void *user, const oxp_graph *graph, uint32_t value, const oxp_tensor *t)
{
    check *c = user;
    OXP_TRY(oxp_grow(&c->found, &c->capacity, c->ctx, c->count + 1, sizeof *c->found));
    weight_gradient *w = &c->found[c->count++];
    w->graph = graph;
    w->value = value;
    return oxp_tensor_copy(&w->gradient, c->ctx, t);
}

static void release(oxp_tensor *out)
{
    for (size_t i = 0; i < MAX_OUTPUTS; i++)
        oxp_tensor_release(&out[i]);
}

static oxp_status analytic(check *c, oxp_session *session)
{
    oxp_tensor out[MAX_OUTPUTS] = {0};
    const oxp_tensor *dout[MAX_OUTPUTS] = {NULL};
    uint64_t seed = 5;
    OXP_TRY(oxp_session_run(session, c->inputs, out));
    oxp_status status = OXP_OK;
    for (size_t i = 0; i < c->graph->output_count && status == OXP_OK; i++) {
        oxp_tensor *p = &c->projection[i];
        if (!oxp_dtype_is_float(out[i].dtype))
            continue;
        status = oxp_tensor_shape(p, c->ctx, OXP_FLOAT, out[i].rank, out[i].dims, "projection");
        if (status == OXP_OK)
            status = oxp_tensor_alloc(p, c->ctx, "projection");
        for (size_t k = 0; status == OXP_OK && k < p->count; k++)
            ((float *)p->data)[k] = (float)(draw(&seed) * 2 - 1);
        dout[i] = p;
    }
    if (status == OXP_OK)
        status = oxp_session_backward(session, dout);
    release(out);
    return status;
}

/* Weights may be packed in a session, so each loss has its own. *size: what its rounding errors
 * are relative to. */
static oxp_status loss(check *c, double *value, double *size)
{
    oxp_session *session;
    oxp_tensor out[MAX_OUTPUTS] = {0};
    double sum = 0, squares = 0;
    OXP_TRY(oxp_session_create(&session, c->ctx, c->graph, NULL));
    oxp_status status = oxp_session_run(session, c->inputs, out);
    for (size_t i = 0; status == OXP_OK && i < c->graph->output_count; i++)
        for (size_t k = 0; k < c->projection[i].count && k < out[i].count; k++) {
            double part = oxp_tensor_real(&out[i], k) * oxp_tensor_real(&c->projection[i], k);
            sum += part;
            squares += part * part;
        }
    release(out);
    oxp_session_free(session);
    *value = sum;
    *size = sqrt(squares);
    return status;
}

static oxp_status loss_at(check *c, oxp_tensor *w, float *moved, const float *start, const float *v,
                          double h, double *value, double *size)
{
    for (size_t k = 0; k < w->count; k++)
        moved[k] = (float)((double)start[k] + h * (double)v[k]);
    return loss(c, value, size);
}

/* What differences with one step say. */
typedef struct difference {
    double slope, left, right, noise;
} difference;

static oxp_status differ(check *c, oxp_tensor *w, float *moved, const float *start, const float *v,
                         double h, difference *out)
{
    double high, low, middle, size;
    OXP_TRY(loss_at(c, w, moved, start, v, 0, &middle, &size));
    OXP_TRY(loss_at(c, w, moved, start, v, -h, &low, &size));
    OXP_TRY(loss_at(c, w, moved, start, v, h, &high, &size));
    *out = (difference){(high - low) / (2 * h), (middle - low) / h, (high - middle) / h,
                        1e-7 * size / h};
    return OXP_OK;
}

/* One direction: any step that agrees will do, since a kink may lie in the way of a large one and
 * rounding in that of a small one. A gradient of zero is as good as the noise. */
static oxp_status compare(check *c, oxp_tensor *w, float *moved, const float *start,
                          const float *gradient, const float *v, const char *label)
{
    double wanted = 0, scale = 0;
    bool agreed = false, kink = true;
    char line[256] = "";
    for (size_t k = 0; k < w->count; k++) {
        double part = (double)gradient[k] * (double)v[k];
        wanted += part;
        scale += part * part;
    }
    double expected = fmax(sqrt(scale), fabs(wanted));
    for (double h = 3e-2; h > 1e-6 && !agreed; h /= 4) {
        difference d;
        OXP_TRY(differ(c, w, moved, start, v, h, &d));
        bool zero = expected < 1e-3 * d.noise;
        double tolerance = zero ? 20 * d.noise : 1e-2 * expected + fmin(d.noise, 2e-2 * expected);
        agreed = fabs(d.slope - wanted) <= tolerance;
        kink = kink && (isnan(d.slope) || fabs(d.right - d.left) > 0.02 * expected);
        snprintf(line, sizeof line, "%s: differences give %g, backward %g (step %g, tolerance %g)",
                 label, d.slope, wanted, h, tolerance);
    }
    c->out->directions++;
    c->out->agreed += agreed;
    c->out->kinks += !agreed && kink;
    if (!agreed && !kink && !c->out->first[0])
        memcpy(c->out->first, line, sizeof line);
    if (c->verbose)
        printf("%s %s\n", agreed ? "ok  " : kink ? "kink" : "BAD ", line);
    return OXP_OK;
}

/* Directions have the length of the weight, so that a step is relative. */
static void scale_to(float *v, size_t count, double length)
{
    double squares = 0;
    for (size_t k = 0; k < count; k++)
        squares += (double)v[k] * (double)v[k];
    for (size_t k = 0; k < count; k++)
        v[k] = squares > 0 ? (float)((double)v[k] * length / sqrt(squares)) : 0;
}

static oxp_status check_weight(check *c, const weight_gradient *found)
{
    oxp_tensor *w = &((oxp_graph *)(uintptr_t)found->graph)->values[found->value].constant;
    const float *start = w->data, *gradient = found->gradient.data;
    uint64_t seed = found->value + 1;
    float *moved, *v;
    double squares = 0;
    if (w->dtype != OXP_FLOAT)
        return OXP_OK;
    OXP_TRY(oxp_alloc(&moved, c->ctx, 2 * w->count + 1, sizeof *moved, "moved weight"));
    v = moved + w->count;
    for (size_t k = 0; k < w->count; k++)
        squares += (double)start[k] * (double)start[k];
    double length = squares > 0 ? sqrt(squares) : 1;
    const char *name = found->graph->values[found->value].name;
    w->data = moved;
    memcpy(v, gradient, w->count * sizeof *v);
    scale_to(v, w->count, length);
    oxp_status status = compare(c, w, moved, start, gradient, v, name);
    for (size_t k = 0; k < w->count; k++)
        v[k] = (float)(draw(&seed) < 0.5 ? -1 : 1);
    scale_to(v, w->count, length);
    if (status == OXP_OK)
        status = compare(c, w, moved, start, gradient, v, name);
    w->data = (void *)(uintptr_t)start;
    c->out->weights++;
    oxp_free(moved);
    return status;
}

oxp_status directional_check(oxp_ctx *ctx, oxp_graph *graph, const oxp_tensor *const *inputs,
                             bool verbose, directional *out)
{
    oxp_session *session;
    *out = (directional){.weights = 0};
    check c = {.ctx = ctx, .graph = graph, .inputs = inputs, .out = out, .verbose = verbose};
    oxp_gradients gradients = {.complete = take, .user = &c};
    oxp_session_options options = {.gradients = &gradients};
    OXP_TRY(oxp_session_create(&session, ctx, graph, &options));
    oxp_status status = analytic(&c, session);
    oxp_session_free(session);
    for (size_t i = 0; i < c.count; i++) {
        if (status == OXP_OK)
            status = check_weight(&c, &c.found[i]);
        oxp_tensor_release(&c.found[i].gradient);
    }
    oxp_free(c.found);
    release(c.projection);
    return status;
}
