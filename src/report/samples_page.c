/* samples_page.c - the verdict, the plot of half-widths against the samples, the table. */
#include <math.h>
#include <stdio.h>

#include "report/plot.h"
#include "report/samples.h"

#define POINTS 40
#define MOST_SAMPLES 100000.0

typedef struct curve {
    double samples[POINTS], half_width[OXP_STATISTIC_COUNT][POINTS];
    bool drawn[OXP_STATISTIC_COUNT];
} curve;

/* The widest of each statistic at a number of samples. */
static oxp_status widest(oxp_samples_job *job, curve *c, size_t point)
{
    oxp_sample_counts counts;
    const oxp_samples_options *o = job->options;
    size_t samples = (size_t)nearbyint(c->samples[point]);
    OXP_TRY(oxp_sample_counts_make(&counts, &job->arena, job->c->graph, &job->c->ranges,
                                   &job->statistics, o->tolerance, o->confidence,
                                   oxp_samples_used(samples)));
    for (size_t i = 0; i < counts.count; i++) {
        double *at = &c->half_width[counts.rows[i].statistic][point];
        *at = fmax(*at, counts.rows[i].half_width);
        c->drawn[counts.rows[i].statistic] = true;
    }
    return OXP_OK;
}

static oxp_status draw_curves(oxp_samples_job *job, oxp_html *h)
{
    curve c = {0};
    double last = 4 * fmax((double)job->asked, 64);
    if (job->needed != SIZE_MAX)
        last = fmax(last, 2 * (double)job->needed);
    last = fmin(last, MOST_SAMPLES);
    for (size_t i = 0; i < POINTS; i++) {
        c.samples[i] = round(4 * pow(last / 4, (double)i / (POINTS - 1)));
        OXP_TRY(widest(job, &c, i));
    }
    oxp_plot_series series[OXP_STATISTIC_COUNT];
    size_t count = 0;
    for (int s = 0; s < OXP_STATISTIC_COUNT; s++)
        if (c.drawn[s])
            series[count++] =
                (oxp_plot_series){.name = oxp_sample_statistic_name((oxp_sample_statistic)s),
                                  .x = c.samples,
                                  .y = c.half_width[s],
                                  .count = POINTS};
    oxp_plot plot = {.title =
                         "The widest half-width of each statistic against the number of samples",
                     .x_label = "samples (a quarter, at most 64, is held out)",
                     .y_label = "half-width",
                     .x_log = true,
                     .y_log = true,
                     .series = series,
                     .series_count = count,
                     .x_mark = (double)job->asked,
                     .y_mark = job->options->tolerance};
    oxp_html_element(h, "h2", "Half-width against the number of samples");
    oxp_plot_draw(h, &plot);
    oxp_html_element(h, "p",
                     "The thin lines are the samples that were asked about and the tolerance: a "
                     "statistic is settled where its curve lies below the tolerance.");
    return OXP_OK;
}

static void add_table(oxp_samples_job *job, oxp_html *h)
{
    static const char *const heads[] = {"tensor",      "statistic", "method",
                                        "#half-width", "#needed",   "enough"};
    oxp_html_element(h, "h2", "Tensors");
    oxp_html_table_begin(h, heads, 6);
    for (size_t i = 0; i < job->counts.count; i++) {
        const oxp_sample_row *row = &job->counts.rows[i];
        char half_width[32], needed[32], method[OXP_METHOD_TEXT_MAX];
        size_t in_all = oxp_samples_in_all(row->needed);
        snprintf(half_width, sizeof half_width, "%.4g", row->half_width);
        snprintf(needed, sizeof needed, in_all == SIZE_MAX ? "no number" : "%zu", in_all);
        const char *cells[] = {oxp_samples_tensor(job, row),
                               oxp_sample_statistic_name(row->statistic),
                               oxp_samples_method(method, row),
                               half_width,
                               needed,
                               row->enough ? "yes" : "no"};
        oxp_html_row(h, heads, cells, 6);
    }
    oxp_html_table_end(h);
    oxp_html_element(h, "p",
                     "outside: the probability that a new input has a value outside the "
                     "calibrated range; scale: the error of the scale as a share of it; mean: the "
                     "error of the mean as a share of the known range. All hold at once with the "
                     "stated confidence; approximate ones only for many inputs and light tails.");
}

static void add_held_out(oxp_html *h, const char *label, const oxp_held_out *held)
{
    char text[160];
    if (!held->measured)
        return;
    snprintf(text, sizeof text, "%s %.4g, interval %.4g to %.4g (%s%s)", label, held->value,
             held->low, held->high, oxp_interval_method_name(held->method),
             oxp_interval_is_guaranteed(held->method) ? "" : ", approximate");
    oxp_html_element(h, "p", text);
}

oxp_status oxp_samples_page(oxp_samples_job *job, const oxp_report *r, const char *verdict,
                            const char *path)
{
    oxp_html h;
    oxp_html_begin(&h, r->ctx, "Is the calibration set large enough?");
    oxp_html_markup(&h, "<p class=\"verdict\">");
    oxp_html_text(&h, verdict);
    oxp_html_markup(&h, "</p>\n");
    add_held_out(&h, "Loss on held-out samples", &job->loss);
    add_held_out(&h, "Top-1 agreement on held-out samples", &job->agreement);
    oxp_status status = job->counts.count ? draw_curves(job, &h) : OXP_OK;
    if (status != OXP_OK) {
        oxp_html_release(&h);
        return status;
    }
    if (job->counts.count)
        add_table(job, &h);
    return oxp_html_save(&h, path, r->inputs, r->input_count);
}
