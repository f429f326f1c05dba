/* sensitivity.c - onnxpress sensitivity: weights ranked by what changing them costs. */
#include "planner/sensitivity.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "planner/stats.h"
#include "report/html.h"
#include "report/jobs.h"

#define BAR 20
#define LEAD 3 /* the candidate that ranks: 4 bits */

/* ---- order ---- */

/* By the predicted loss at 4 bits, largest first; what no gradient reaches stands last. */
static int by_loss(const void *a, const void *b)
{
    const oxp_sensitivity_row *x = *(const oxp_sensitivity_row *const *)a,
                              *y = *(const oxp_sensitivity_row *const *)b;
    double p = x->candidates[LEAD].predicted_loss, q = y->candidates[LEAD].predicted_loss;
    if (isnan(p) != isnan(q))
        return isnan(p) ? 1 : -1;
    if (isnan(p)) { /* without samples there are traces alone */
        p = x->fisher_trace;
        q = y->fisher_trace;
    }
    if (p != q && !isnan(p) && !isnan(q))
        return p < q ? 1 : -1;
    return (x->site->index > y->site->index) - (x->site->index < y->site->index);
}

static oxp_status sorted(const oxp_sensitivity_row ***out, oxp_sensitivity *s)
{
    const oxp_sensitivity_row **rows = oxp_arena_alloc(&s->arena, s->count + 1, sizeof *rows);
    if (!rows)
        return OXP_ELIMIT;
    for (size_t i = 0; i < s->count; i++)
        rows[i] = &s->rows[i];
    qsort(rows, s->count, sizeof *rows, by_loss);
    *out = rows;
    return OXP_OK;
}

static const oxp_graph_node *first_node(const oxp_sensitivity_row *row)
{
    return row->site->consumers[0].node;
}

static const char *estimator_name(const oxp_sensitivity *s)
{
    return s->without_gradients ? "forward" : oxp_estimator_name(s->estimator);
}

/* ---- JSON ---- */

static const char *kind_name(oxp_output_kind kind)
{
    return kind == OXP_KIND_BERNOULLI   ? "bernoulli"
           : kind == OXP_KIND_GAUSSIAN  ? "gaussian"
           : kind == OXP_KIND_EMBEDDING ? "embedding"
                                        : "categorical";
}

static void candidate_json(json_t *array, const oxp_candidate *c)
{
    json_t *o = oxp_json_append(array);
    oxp_json_string(o, "technique", c->technique);
    oxp_json_string(o, "parameters", c->parameters);
    oxp_json_real(o, "bits_per_weight", c->bits_per_weight);
    oxp_json_integer(o, "bytes", (long long)c->bytes);
    oxp_json_real(o, "perturbation_norm", c->perturbation_norm);
    oxp_json_real(o, "predicted_loss", c->predicted_loss);
    oxp_json_real(o, "predicted_loss_low", c->interval.low);
    oxp_json_real(o, "predicted_loss_high", c->interval.high);
    oxp_json_real(o, "measured_loss", c->measured_loss);
}

static void row_json(json_t *array, const oxp_sensitivity_row *row)
{
    const oxp_tensor *w = &row->site->value->constant;
    char label[OXP_NODE_TEXT_MAX];
    json_t *o = oxp_json_append(array);
    oxp_json_string(o, "name", row->site->value->name);
    oxp_json_string(o, "node", oxp_graph_node_label(label, first_node(row)));
    oxp_json_string(o, "op", first_node(row)->type);
    oxp_json_shape(o, "shape", w->rank, w->dims, NULL);
    oxp_json_real(o, "norm", row->norm);
    if (isfinite(row->fisher_trace)) {
        json_t *trace = oxp_json_object(o, "fisher_trace");
        oxp_json_real(trace, "value", row->fisher_trace);
        oxp_json_real(trace, "low", row->interval.low);
        oxp_json_real(trace, "high", row->interval.high);
        oxp_json_string(trace, "method", "bootstrap");
        oxp_json_boolean(trace, "approximate", true);
        oxp_json_real(o, "fisher_trace_per_weight", row->fisher_trace / (double)w->count);
        oxp_json_real(o, "budget", row->budget);
    }
    if (row->stops)
        oxp_json_string(o, "no_gradient_through", oxp_graph_node_label(label, row->stops));
    json_t *candidates = oxp_json_array(o, "candidates");
    for (size_t k = 0; k < OXP_CANDIDATES; k++)
        candidate_json(candidates, &row->candidates[k]);
}

static void fill_json(json_t *root, const oxp_sensitivity *s, const oxp_sensitivity_row **rows,
                      const char *data)
{
    const oxp_compression *c = s->c;
    oxp_json_file(root, "model", c->model_path, oxp_model_bytes(c->source),
                  oxp_model_hash(c->source));
    if (data)
        oxp_json_string(root, "data", data);
    oxp_json_string(root, "stats", c->stats ? c->stats->path : NULL);
    oxp_json_boolean(root, "random", data == NULL && c->has_samples);
    oxp_json_integer(root, "samples", (long long)s->inputs);
    json_t *outputs = oxp_json_array(root, "outputs");
    for (size_t i = 0; i < c->graph->output_count; i++) {
        json_t *o = oxp_json_append(outputs);
        oxp_json_string(o, "name", c->graph->values[c->graph->outputs[i]].name);
        oxp_json_string(o, "output_kind", kind_name(s->kinds[i]));
    }
    oxp_json_string(root, "output_kind",
                    c->graph->output_count ? kind_name(s->kinds[0]) : "gaussian");
    oxp_json_string(root, "estimator", estimator_name(s));
    oxp_json_boolean(root, "is_fisher", s->estimator != OXP_ESTIMATOR_EMPIRICAL);
    oxp_json_real(root, "rank_stability", s->rank_stability);
    json_t *weights = oxp_json_array(root, "weights");
    for (size_t i = 0; i < s->count; i++)
        row_json(weights, rows[i]);
}

/* ---- text ---- */

static const char *bar(char out[BAR + 1], double value, double most)
{
    int length = value > 0 && most > 0 ? (int)(BAR * value / most + 0.5) : 0;
    memset(out, '#', (size_t)length);
    memset(out + length, ' ', (size_t)(BAR - length));
    out[BAR] = '\0';
    return out;
}

/* Statistics without samples: traces and budgets alone. */
static oxp_status trace_text(oxp_report *r, const oxp_sensitivity_row *row, const char *quoted)
{
    return oxp_report_line(r, "%10.3g %10.3g %10.3g %10.3g %10.3g  %s %s", row->fisher_trace,
                           row->interval.low, row->interval.high,
                           row->fisher_trace / (double)row->site->value->constant.count,
                           row->budget, first_node(row)->type, quoted);
}

static oxp_status row_text(oxp_report *r, const oxp_sensitivity *s, const oxp_sensitivity_row *row,
                           double most)
{
    char text[BAR + 1], quoted[OXP_QUOTED_MAX], label[OXP_NODE_TEXT_MAX];
    const oxp_candidate *c = row->candidates;
    oxp_quote(quoted, row->site->value->name);
    if (!row->stops && !s->has_losses)
        return trace_text(r, row, quoted);
    if (row->stops)
        return oxp_report_line(r, "%s %s: no gradient comes through %s", first_node(row)->type,
                               quoted, oxp_graph_node_text(label, row->stops));
    return oxp_report_line(
        r, "%10.3g %10.3g %10.3g %10.3g %10.3g %10.3g  %s %s %s", c[1].predicted_loss,
        c[LEAD].predicted_loss, c[OXP_CANDIDATES - 1].predicted_loss, row->fisher_trace,
        row->fisher_trace / (double)row->site->value->constant.count, row->budget,
        bar(text, c[LEAD].predicted_loss, most), first_node(row)->type, quoted);
}

static oxp_status fill_text(oxp_report *r, const oxp_sensitivity *s,
                            const oxp_sensitivity_row **rows)
{
    double most = s->count ? rows[0]->candidates[LEAD].predicted_loss : 0;
    OXP_TRY(oxp_report_line(
        r, "%zu weights, %zu samples, estimator %s%s, output %s; losses in nats", s->count,
        s->inputs, estimator_name(s),
        s->estimator == OXP_ESTIMATOR_EMPIRICAL ? " (of the data's labels: not the Fisher)" : "",
        s->c->graph->output_count ? kind_name(s->kinds[0]) : "none"));
    if (isfinite(s->rank_stability))
        OXP_TRY(oxp_report_line(r, "rank stability between halves of the samples: %.3f (Kendall)",
                                s->rank_stability));
    if (s->has_losses)
        OXP_TRY(oxp_report_line(r, "\n%10s %10s %10s %10s %10s %10s  %-*s %s", "8 bits", "4 bits",
                                "2 bits", "tr F", "tr F / d", "budget", BAR, "4 bits", "weight"));
    else
        OXP_TRY(oxp_report_line(r, "\n%10s %10s %10s %10s %10s  %s", "tr F", "low", "high",
                                "tr F / d", "budget", "weight"));
    for (size_t i = 0; i < s->count; i++)
        OXP_TRY(row_text(r, s, rows[i], most));
    return OXP_OK;
}

/* ---- page ---- */

static oxp_status page(const oxp_sensitivity *s, const oxp_sensitivity_row **rows,
                       const oxp_report *r, const char *path)
{
    static const char *const heads[] = {"weight",  "operator", "#4 bits", "",      "#8 bits",
                                        "#2 bits", "#tr F",    "#low",    "#high", "#budget"};
    oxp_html h;
    double most = s->count ? rows[0]->candidates[LEAD].predicted_loss : 0;
    oxp_html_begin(&h, r->ctx, "What changing each weight costs");
    oxp_html_element(&h, "p",
                     "Predicted loss in nats (KL to second order) when the weight alone is rounded "
                     "to 8, 4 and 2 bits; the trace of the Fisher information with its interval "
                     "(bootstrap over inputs, approximate); the size of a random change that "
                     "spends the weight's share of the allowed loss.");
    oxp_html_table_begin(&h, heads, 10);
    for (size_t i = 0; i < s->count; i++) {
        const oxp_sensitivity_row *row = rows[i];
        const oxp_candidate *c = row->candidates;
        const double values[] = {c[LEAD].predicted_loss,
                                 c[1].predicted_loss,
                                 c[OXP_CANDIDATES - 1].predicted_loss,
                                 row->fisher_trace,
                                 row->interval.low,
                                 row->interval.high,
                                 row->budget};
        char numbers[7][32], text[BAR + 1];
        for (size_t k = 0; k < 7; k++)
            snprintf(numbers[k], sizeof numbers[k], isfinite(values[k]) ? "%.3g" : "-", values[k]);
        const char *cells[] = {row->site->value->name,
                               first_node(row)->type,
                               numbers[0],
                               bar(text, values[0], most),
                               numbers[1],
                               numbers[2],
                               numbers[3],
                               numbers[4],
                               numbers[5],
                               numbers[6]};
        oxp_html_row(&h, heads, cells, 10);
    }
    oxp_html_table_end(&h);
    return oxp_html_save(&h, path, r->inputs, r->input_count);
}

/* ---- the job ---- */

static oxp_status report(oxp_report *r, oxp_sensitivity *s, const char *data,
                         const oxp_sensitivity_options *options)
{
    const oxp_sensitivity_row **rows;
    OXP_TRY(sorted(&rows, s));
    fill_json(r->json, s, rows, data);
    OXP_TRY(fill_text(r, s, rows));
    OXP_TRY(oxp_protect_inputs(r, s->c->source, &s->c->samples));
    if (s->c->stats)
        OXP_TRY(oxp_report_protect(r, &s->c->stats->id, 1));
    return options->report ? page(s, rows, r, options->report) : OXP_OK;
}

oxp_status oxp_sensitivity_file(oxp_report **out, oxp_ctx *ctx, const char *model, const char *data,
                                const oxp_sensitivity_options *options)
{
    oxp_report *r;
    oxp_sensitivity s;
    if (!(options->loss > 0))
        return oxp_fail(ctx, OXP_EUSAGE, "E-USAGE", "--loss needs a positive number, found %g",
                        options->loss);
    OXP_TRY(oxp_report_new(&r, ctx));
    oxp_status status = oxp_sensitivity_run(&s, ctx, model, data, options);
    if (status == OXP_OK)
        status = report(r, &s, data, options);
    oxp_sensitivity_free(&s);
    if (status == OXP_OK)
        *out = r;
    else
        oxp_report_free(r);
    return status;
}
