/* plan_page.c - the frontier with the chosen point, every layer's form, prediction beside
 * measurement. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/plan.h"
#include "report/plot.h"

#define POINTS 400
#define BAR 20
#define LEAD_BITS 4 /* the form by whose loss weights are compared */

/* ---- frontier ---- */

typedef struct curve {
    double *megabytes, *loss, *hull_megabytes, *hull_loss;
    size_t count, hull_count;
} curve;

static oxp_status make_curve(curve *out, oxp_arena *arena, const oxp_plan *p)
{
    size_t n = p->frontier_count, step = n / POINTS + 1;
    double *room = oxp_arena_alloc(arena, 4 * n + 1, sizeof *room);
    if (!room)
        return OXP_ELIMIT;
    *out = (curve){room, room + n, room + 2 * n, room + 3 * n, 0, 0};
    for (size_t i = 0; i < n; i++) {
        double megabytes = (double)p->frontier[i].bytes / 1e6, loss = p->frontier[i].loss;
        if (p->frontier[i].on_hull) {
            out->hull_megabytes[out->hull_count] = megabytes;
            out->hull_loss[out->hull_count++] = loss;
        }
        if (i % step == 0 || i + 1 == n) {
            out->megabytes[out->count] = megabytes;
            out->loss[out->count++] = loss;
        }
    }
    return OXP_OK;
}

static oxp_status draw_frontier(oxp_html *h, oxp_compression *c)
{
    const oxp_plan *p = c->plan;
    curve line;
    double chosen = (double)c->output_bytes / 1e6;
    OXP_TRY(make_curve(&line, &c->arena, p));
    const oxp_plot_series series[] = {
        {"all sizes", line.megabytes, line.loss, line.count, false},
        {"hull", line.hull_megabytes, line.hull_loss, line.hull_count, true},
        {"chosen", &chosen, &p->predicted, 1, true},
        {"measured", &chosen, &p->measured, p->is_measured ? 1 : 0, true},
    };
    const oxp_plot plot = {.title = "Loss against the size of the file: the best plan of every "
                                    "size, the chosen one, and what was measured",
                           .x_label = "MB",
                           .y_label = "loss in nats",
                           .x_log = true,
                           .y_log = true,
                           .series = series,
                           .series_count = 4,
                           .x_mark = (double)p->asked / 1e6,
                           .y_mark = NAN};
    oxp_html_element(h, "h2", "Sizes and losses");
    oxp_plot_draw(h, &plot);
    oxp_html_element(h, "p",
                     "The line adds the losses of single weights, which is what the choice "
                     "minimises; chosen and measured are of the whole model. Models between two "
                     "points do not exist. The thin line is the size that was asked for.");
    return OXP_OK;
}

/* ---- weights ---- */

/* The loss of the first option of the lead's bits; NAN where there is none. */
static double lead_loss(const oxp_plan_row *row)
{
    for (size_t k = 0; k < row->count; k++)
        if (row->options[k].choice.technique == &oxp_technique_w4 &&
            oxp_packed_bits(&row->options[k].choice) == LEAD_BITS)
            return row->options[k].loss;
    return NAN;
}

static double largest_lead(const oxp_compression *c)
{
    double most = 0;
    for (size_t i = 0; i < c->site_count; i++) {
        double loss = lead_loss(&c->plan->rows[i]);
        most = isfinite(loss) && loss > most ? loss : most;
    }
    return most;
}

static const char *bar(char out[BAR + 1], double value, double most)
{
    int length = isfinite(value) && most > 0 ? (int)(BAR * value / most + 0.5) : 0;
    memset(out, '#', (size_t)length);
    out[length] = '\0';
    return out;
}

static oxp_status add_row(oxp_html *h, oxp_compression *c, const char *const *heads, size_t i,
                          double most)
{
    const oxp_plan_row *row = &c->plan->rows[i];
    const oxp_plan_option *o = &row->options[row->chosen];
    const oxp_tensor *w = &c->sites[i].value->constant;
    const char *form = oxp_plan_choice_text(&c->arena, &o->choice);
    char shape[OXP_SHAPE_TEXT_MAX], before[32], after[32], bits[32], loss[32], lead[32],
        text[BAR + 1];
    if (!form)
        return OXP_ELIMIT;
    oxp_shape_text(shape, w->rank, w->dims);
    snprintf(bits, sizeof bits, "%.2f", 8 * (double)o->bytes / (double)w->count);
    snprintf(loss, sizeof loss, "%.3g", o->loss);
    double at_lead = lead_loss(row);
    snprintf(lead, sizeof lead, isfinite(at_lead) ? "%.3g" : "-", at_lead);
    const char *cells[] = {c->sites[i].value->name,
                           c->sites[i].consumers[0].node->type,
                           shape,
                           form,
                           oxp_bytes_text(before, (double)oxp_tensor_bytes(w)),
                           oxp_bytes_text(after, (double)o->bytes),
                           bits,
                           loss,
                           lead,
                           bar(text, at_lead, most)};
    oxp_html_row(h, heads, cells, 10);
    return OXP_OK;
}

static oxp_status add_weights(oxp_html *h, oxp_compression *c)
{
    static const char *const heads[] = {"weight", "operator",     "shape", "form",    "#before",
                                        "#after", "#bits/weight", "#loss", "#4 bits", ""};
    double most = largest_lead(c);
    oxp_html_element(h, "h2", "Weights");
    oxp_html_table_begin(h, heads, 10);
    oxp_status status = OXP_OK;
    for (size_t i = 0; i < c->site_count && status == OXP_OK; i++)
        status = add_row(h, c, heads, i, most);
    oxp_html_table_end(h);
    oxp_html_element(h, "p",
                     "Loss: predicted in nats when this weight alone is changed; 4 bits: what "
                     "four bits would cost there, by which the bars compare weights.");
    return status;
}

/* ---- the page ---- */

static void add_verdict(oxp_html *h, const oxp_compression *c)
{
    const oxp_plan *p = c->plan;
    char before[32], after[32], text[320];
    double source = (double)oxp_model_bytes(c->source);
    snprintf(text, sizeof text,
             "%s instead of %s (%.2f times smaller), asked for at most %zu bytes: %zu bytes.",
             oxp_bytes_text(after, (double)c->output_bytes), oxp_bytes_text(before, source),
             source / (double)c->output_bytes, p->asked, c->output_bytes);
    oxp_html_markup(h, "<p class=\"verdict\">");
    oxp_html_text(h, text);
    oxp_html_markup(h, "</p>\n");
    if (p->is_measured)
        snprintf(text, sizeof text,
                 "Loss predicted %.4g nats, measured %.4g on %zu %s samples (%.4g to %.4g, "
                 "bootstrap over inputs, approximate); least output SQNR %.2f dB.",
                 p->predicted, p->measured, c->reference.count,
                 c->in_sample ? "calibration" : "held-out", p->interval.low, p->interval.high,
                 c->sqnr_db);
    else
        snprintf(text, sizeof text, "Loss predicted %.4g nats, not measured.", p->predicted);
    oxp_html_element(h, "p", text);
    snprintf(text, sizeof text,
             "Sum of single losses %.4g, at least %.4g for any plan of this size (dual bound), gap "
             "%.2g %%; a byte more would save %.3g nats.",
             p->additive, p->dual_bound, 100 * p->gap, p->lambda);
    oxp_html_element(h, "p", text);
}

oxp_status oxp_plan_page(oxp_compression *c, const oxp_report *r, const char *path)
{
    oxp_html h;
    oxp_html_begin(&h, r->ctx, "The least loss within a size");
    add_verdict(&h, c);
    oxp_status status = draw_frontier(&h, c);
    if (status == OXP_OK)
        status = add_weights(&h, c);
    if (status != OXP_OK) {
        oxp_html_release(&h);
        return status;
    }
    return oxp_html_save(&h, path, r->inputs, r->input_count);
}
