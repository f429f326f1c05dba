/* plot.h - a line plot as SVG inside a page. Series differ by dash and by the name at their end, so
 * that they can be told apart in black and white. */
#ifndef OXP_REPORT_PLOT_H
#define OXP_REPORT_PLOT_H

#include "report/html.h"

typedef struct oxp_plot_series {
    const char *name;
    const double *x,
        *y; /* points that are not finite, or not positive on a log axis, are left out */
    size_t count;
    bool points; /* marks instead of a line */
} oxp_plot_series;

typedef struct oxp_plot {
    const char *title, *x_label, *y_label; /* title: what a reader who cannot see it is told */
    bool x_log, y_log;
    const oxp_plot_series *series;
    size_t series_count;
    double x_mark, y_mark; /* thin lines across; NAN: none */
} oxp_plot;

void oxp_plot_draw(oxp_html *h, const oxp_plot *plot);

#endif
