/* plot.c - axes, ticks, lines. */
#include "report/plot.h"

#include <math.h>
#include <stdio.h>

#define WIDTH 720.0
#define HEIGHT 400.0
#define LEFT 70.0
#define RIGHT 130.0 /* names of series stand here */
#define TOP 15.0
#define BOTTOM 50.0
#define TICKS 6

typedef struct axis {
    bool log;
    double low, high; /* of the data, in axis units: logarithms on a log axis */
    double from, to;  /* on the page */
} axis;

static double units(const axis *a, double value)
{
    return a->log ? log10(value) : value;
}

static bool is_drawn(const axis *a, double value)
{
    return isfinite(value) && (!a->log || value > 0);
}

static double place(const axis *a, double value)
{
    return a->from + (units(a, value) - a->low) / (a->high - a->low) * (a->to - a->from);
}

static void take(axis *a, double value)
{
    if (!is_drawn(a, value))
        return;
    a->low = fmin(a->low, units(a, value));
    a->high = fmax(a->high, units(a, value));
}

/* A log axis ends at powers of ten or their halves, a plain one holds zero. */
static void round_ends(axis *a)
{
    if (!(a->low <= a->high)) { /* nothing to draw */
        a->low = 0;
        a->high = 1;
    }
    if (!a->log) {
        a->low = fmin(a->low, 0);
        a->high = a->high > a->low ? a->low + 1.05 * (a->high - a->low) : a->low + 1;
        return;
    }
    a->low = floor(2 * a->low) / 2;
    a->high = ceil(2 * a->high) / 2;
    if (a->high - a->low < 0.5)
        a->high = a->low + 0.5;
}

/* 1, 2 or 5 times a power of ten, at least `span` / TICKS. */
static double tick_step(double span)
{
    double power = pow(10, floor(log10(span / TICKS))), factor = span / TICKS / power;
    return power * (factor <= 1 ? 1 : factor <= 2 ? 2 : factor <= 5 ? 5 : 10);
}

static void x_tick(oxp_html *h, double at, double value)
{
    oxp_html_markup(h,
                    "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#e4e4e4\"/>"
                    "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%.4g</text>\n",
                    at, at, TOP, HEIGHT - BOTTOM, at, HEIGHT - BOTTOM + 16, value);
}

static void y_tick(oxp_html *h, double at, double value)
{
    oxp_html_markup(h,
                    "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#e4e4e4\"/>"
                    "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%.4g</text>\n",
                    LEFT, WIDTH - RIGHT, at, at, LEFT - 6, at + 4, value);
}

static void ticks(oxp_html *h, const axis *a, void (*draw)(oxp_html *, double, double))
{
    static const double steps[] = {1, 2, 5};
    if (!a->log) {
        double step = tick_step(a->high - a->low);
        for (double v = ceil(a->low / step) * step; v <= a->high + step / 1e6; v += step)
            draw(h, place(a, v), fabs(v) < step / 1e6 ? 0 : v);
        return;
    }
    bool wide = a->high - a->low > 3; /* powers of ten are enough */
    for (double power = floor(a->low); power <= a->high; power++)
        for (size_t i = 0; i < (wide ? 1 : 3); i++) {
            double v = steps[i] * pow(10, power);
            if (units(a, v) >= a->low - 1e-9 && units(a, v) <= a->high + 1e-9)
                draw(h, place(a, v), v);
        }
}

static void draw_marks(oxp_html *h, const oxp_plot *p, const axis *x, const axis *y)
{
    if (is_drawn(x, p->x_mark))
        oxp_html_markup(h,
                        "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#888\"/>\n",
                        place(x, p->x_mark), place(x, p->x_mark), TOP, HEIGHT - BOTTOM);
    if (is_drawn(y, p->y_mark))
        oxp_html_markup(h,
                        "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#888\"/>\n",
                        LEFT, WIDTH - RIGHT, place(y, p->y_mark), place(y, p->y_mark));
}

#define NAMES_MAX 16

typedef struct names { /* heights of the names that stand already */
    double at[NAMES_MAX];
    size_t count;
} names;

/* Moves a name down while it would cover another. */
static double free_height(names *n, double y)
{
    for (size_t i = 0; i < n->count; i++)
        if (fabs(n->at[i] - y) < 13) {
            y = n->at[i] + 13;
            i = (size_t)-1; /* look again from the first */
        }
    if (n->count < NAMES_MAX)
        n->at[n->count++] = y;
    return y;
}

static void draw_series(oxp_html *h, const oxp_plot_series *s, size_t number, const axis *x,
                        const axis *y, names *placed)
{
    static const char *const colours[] = {"#1f5fa8", "#b5410f", "#3c7a2a", "#6b3fa0", "#444"};
    static const char *const dashes[] = {"none", "7 3", "2 3", "9 3 2 3", "4 4"};
    const char *colour = colours[number % 5];
    double last_x = NAN, last_y = NAN;
    if (!s->points)
        oxp_html_markup(h,
                        "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\" "
                        "stroke-dasharray=\"%s\" points=\"",
                        colour, dashes[number % 5]);
    for (size_t i = 0; i < s->count; i++) {
        if (!is_drawn(x, s->x[i]) || !is_drawn(y, s->y[i]))
            continue;
        last_x = place(x, s->x[i]);
        last_y = place(y, s->y[i]);
        if (s->points)
            oxp_html_markup(h, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\" fill=\"%s\"/>\n", last_x,
                            last_y, colour);
        else
            oxp_html_markup(h, "%.1f,%.1f ", last_x, last_y);
    }
    if (!s->points)
        oxp_html_markup(h, "\"/>\n");
    if (isnan(last_x))
        return;
    oxp_html_markup(h, "<text x=\"%.1f\" y=\"%.1f\">", last_x + 6, free_height(placed, last_y + 4));
    oxp_html_text(h, s->name);
    oxp_html_markup(h, "</text>\n");
}

void oxp_plot_draw(oxp_html *h, const oxp_plot *p)
{
    axis x = {p->x_log, INFINITY, -INFINITY, LEFT, WIDTH - RIGHT};
    axis y = {p->y_log, INFINITY, -INFINITY, HEIGHT - BOTTOM, TOP};
    for (size_t s = 0; s < p->series_count; s++)
        for (size_t i = 0; i < p->series[s].count; i++) {
            if (!is_drawn(&x, p->series[s].x[i]) || !is_drawn(&y, p->series[s].y[i]))
                continue;
            take(&x, p->series[s].x[i]);
            take(&y, p->series[s].y[i]);
        }
    take(&x, p->x_mark);
    take(&y, p->y_mark);
    round_ends(&x);
    round_ends(&y);
    oxp_html_markup(h, "<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\">\n<title>", WIDTH, HEIGHT);
    oxp_html_text(h, p->title);
    oxp_html_markup(h, "</title>\n");
    ticks(h, &x, x_tick);
    ticks(h, &y, y_tick);
    draw_marks(h, p, &x, &y);
    names placed = {.count = 0};
    for (size_t s = 0; s < p->series_count; s++)
        draw_series(h, &p->series[s], s, &x, &y, &placed);
    oxp_html_markup(h, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">",
                    (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12);
    oxp_html_text(h, p->x_label);
    oxp_html_markup(h,
                    "</text>\n<text transform=\"translate(14 %.1f) rotate(-90)\" "
                    "text-anchor=\"middle\">",
                    (TOP + HEIGHT - BOTTOM) / 2);
    oxp_html_text(h, p->y_label);
    oxp_html_markup(h, "</text>\n</svg>\n");
}
