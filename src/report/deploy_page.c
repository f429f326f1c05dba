/* deploy_page.c - roofline, batches and the dearest nodes as one page. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "report/deploy.h"
#include "report/plot.h"

#define ROOF_POINTS 64
#define DEAREST 25

/* ---- roofline ---- */

typedef struct roof {
    double intensity[ROOF_POINTS], attainable[ROOF_POINTS];
} roof;

static void make_roof(roof *out, const oxp_deploy_job *job, double peak, int level)
{
    double bandwidth = oxp_machine_bandwidth(&job->machine, level, job->threads);
    for (size_t i = 0; i < ROOF_POINTS; i++) {
        out->intensity[i] = pow(10, -2 + 6 * (double)i / (ROOF_POINTS - 1));
        out->attainable[i] = fmin(peak, bandwidth * out->intensity[i]) / 1e9;
    }
}

static oxp_status draw_roofline(oxp_html *h, const oxp_deploy_job *job, const oxp_deployed *d)
{
    const oxp_machine *m = &job->machine;
    double float_peak = m->rates[OXP_WORK_DENSE].peak * job->threads,
           int8_peak = m->rates[OXP_WORK_DENSE_INT8].peak * job->threads;
    roof roofs[3];
    double *x, *y;
    OXP_TRY(oxp_alloc(&x, h->ctx, 2 * d->runtime.count + 1, sizeof *x, "points"));
    y = x + d->runtime.count;
    make_roof(&roofs[0], job, float_peak, m->level_count - 1);
    make_roof(&roofs[1], job, float_peak, 0);
    make_roof(&roofs[2], job, int8_peak, m->level_count - 1);
    for (size_t i = 0; i < d->runtime.count; i++) {
        x[i] = d->latency.nodes[i].intensity;
        y[i] = d->latency.nodes[i].attained / 1e9;
    }
    const oxp_plot_series series[] = {
        {"float, memory", roofs[0].intensity, roofs[0].attainable, ROOF_POINTS, false},
        {"float, L1", roofs[1].intensity, roofs[1].attainable, ROOF_POINTS, false},
        {"int8, memory", roofs[2].intensity, roofs[2].attainable, ROOF_POINTS, false},
        {"nodes", x, y, d->runtime.count, true},
    };
    const oxp_plot plot = {.title = "Roofline: attainable operations per second against operations "
                                    "per byte",
                           .x_label = "operations per byte",
                           .y_label = "GFLOP/s",
                           .x_log = true,
                           .y_log = true,
                           .series = series,
                           .series_count = 4,
                           .x_mark = NAN,
                           .y_mark = NAN};
    oxp_html_element(h, "h2", "Roofline");
    oxp_plot_draw(h, &plot);
    oxp_free(x);
    return OXP_OK;
}

/* ---- batches ---- */

static void draw_batches(oxp_html *h, const oxp_deploy_job *job)
{
    double x[2][OXP_BATCH_POINTS_MAX], y[2][OXP_BATCH_POINTS_MAX];
    oxp_plot_series series[2];
    static const char *const names[] = {"this model", "against"};
    for (size_t k = 0; k < job->count; k++) {
        const oxp_batch *b = &job->models[k].batch;
        for (size_t i = 0; i < b->points; i++) {
            x[k][i] = b->curve[i].batch;
            y[k][i] = b->curve[i].throughput;
        }
        series[k] = (oxp_plot_series){names[k], x[k], y[k], b->points, false};
    }
    const oxp_plot plot = {.title = "Samples per second against the batch",
                           .x_label = "batch",
                           .y_label = "samples per second (slow end)",
                           .x_log = true,
                           .y_log = false,
                           .series = series,
                           .series_count = job->count,
                           .x_mark = NAN,
                           .y_mark = NAN};
    oxp_html_element(h, "h2", "Throughput against the batch");
    oxp_plot_draw(h, &plot);
}

/* ---- nodes ---- */

typedef struct dear {
    double high;
    size_t index;
} dear;

static int by_time(const void *a, const void *b)
{
    const dear *x = a, *y = b;
    if (x->high != y->high)
        return x->high < y->high ? 1 : -1;
    return (x->index > y->index) - (x->index < y->index);
}

static oxp_status dearest_nodes(oxp_html *h, const oxp_deployed *d)
{
    static const char *const heads[] = {"node",     "operator", "#flops",  "#bytes",
                                        "#flops/B", "#low us",  "#high us"};
    dear *order;
    OXP_TRY(oxp_alloc(&order, h->ctx, d->runtime.count + 1, sizeof *order, "nodes"));
    for (size_t i = 0; i < d->runtime.count; i++)
        order[i] = (dear){d->latency.nodes[i].high, i};
    qsort(order, d->runtime.count, sizeof *order, by_time);
    oxp_html_element(h, "h2", "The dearest nodes");
    oxp_html_table_begin(h, heads, 7);
    for (size_t k = 0; k < d->runtime.count && k < DEAREST; k++) {
        const oxp_runtime_node *n = &d->runtime.nodes[order[k].index];
        const oxp_node_time *t = &d->latency.nodes[order[k].index];
        char label[OXP_NODE_TEXT_MAX], numbers[5][32];
        const double values[] = {n->operations, t->bytes, t->intensity, t->low * 1e6,
                                 t->high * 1e6};
        for (size_t i = 0; i < 5; i++)
            snprintf(numbers[i], sizeof numbers[i], "%.4g", values[i]);
        const char *cells[] = {oxp_graph_node_label(label, n->node),
                               n->node->type,
                               numbers[0],
                               numbers[1],
                               numbers[2],
                               numbers[3],
                               numbers[4]};
        oxp_html_row(h, heads, cells, 7);
    }
    oxp_html_table_end(h);
    oxp_free(order);
    return OXP_OK;
}

static void summary(oxp_html *h, const oxp_deployed *d)
{
    char text[256];
    snprintf(text, sizeof text, "%.4g to %.4g ms for one inference; largest batch %.0f, best %.0f",
             d->latency.low * 1e3, d->latency.high * 1e3, d->batch.largest, d->batch.best);
    oxp_html_element(h, "h2", d->path);
    oxp_html_markup(h, "<p class=\"verdict\">");
    oxp_html_text(h, text);
    oxp_html_markup(h, "</p>\n");
}

oxp_status oxp_deploy_page(const oxp_deploy_job *job, const oxp_report *r, const char *path)
{
    oxp_html h;
    oxp_status status = OXP_OK;
    oxp_html_begin(&h, r->ctx, "What the model costs where it runs");
    oxp_html_element(&h, "p", job->machine.name);
    oxp_html_element(&h, "p", job->machine.source);
    for (size_t i = 0; i < job->count; i++)
        summary(&h, &job->models[i]);
    draw_batches(&h, job);
    for (size_t i = 0; i < job->count && status == OXP_OK; i++) {
        oxp_html_element(&h, "h2", job->models[i].path);
        status = draw_roofline(&h, job, &job->models[i]);
        if (status == OXP_OK)
            status = dearest_nodes(&h, &job->models[i]);
    }
    if (status == OXP_OK)
        return oxp_html_save(&h, path, r->inputs, r->input_count);
    oxp_html_release(&h);
    return status;
}
