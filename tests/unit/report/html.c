/* Pages: whatever a name holds, the markup stays whole; plots draw what can be drawn. */
#include "report/html.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "report/plot.h"

static size_t count(const char *text, const char *word)
{
    size_t n = 0;
    for (const char *p = strstr(text, word); p; p = strstr(p + 1, word))
        n++;
    return n;
}

Test(html, names_of_others_are_text)
{
    oxp_ctx ctx;
    oxp_html h;
    oxp_ctx_init(&ctx);
    oxp_html_begin(&h, &ctx, "<script>\"&\x01\xff\xc0\x80 \xc3\xa9");
    cr_assert_eq(h.status, OXP_OK);
    cr_expect(strstr(h.text, "<h1>&lt;script&gt;&quot;&amp;???? \xc3\xa9</h1>"), "%s", h.text);
    cr_expect_null(strstr(h.text, "<script"));
    oxp_html_release(&h);
    oxp_ctx_clear(&ctx);
}

Test(html, rows_have_as_many_cells_as_heads)
{
    static const char *const heads[] = {"name", "#bytes"}, *const cells[] = {"a<b", "12"};
    oxp_ctx ctx;
    oxp_html h;
    oxp_ctx_init(&ctx);
    oxp_html_begin(&h, &ctx, "t");
    oxp_html_table_begin(&h, heads, 2);
    oxp_html_row(&h, heads, cells, 2);
    oxp_html_table_end(&h);
    cr_expect_eq(count(h.text, "<td"), 2);
    cr_expect_eq(count(h.text, "class=\"n\""), 2);
    cr_expect(strstr(h.text, "<td>a&lt;b</td><td class=\"n\">12</td>"));
    oxp_html_release(&h);
    oxp_ctx_clear(&ctx);
}

Test(plot, leaves_out_what_cannot_be_drawn)
{
    static const double x[] = {1, 10, 100, 1000, 10000}, y[] = {1, NAN, -1, INFINITY, 0.01};
    oxp_plot_series series = {.name = "s & t", .x = x, .y = y, .count = 5};
    oxp_plot plot = {"title", "x", "y", true, true, &series, 1, NAN, 0.05};
    oxp_ctx ctx;
    oxp_html h;
    oxp_ctx_init(&ctx);
    oxp_html_begin(&h, &ctx, "t");
    oxp_plot_draw(&h, &plot);
    cr_assert_eq(h.status, OXP_OK);
    const char *points = strstr(h.text, "points=\"");
    cr_assert(points);
    cr_expect_eq(count(points, ","), 2 + count(strchr(points + 8, '"'), ","), "%s", points);
    cr_expect_null(strstr(h.text, "nan"));
    cr_expect_null(strstr(h.text, "inf"));
    cr_expect(strstr(h.text, "s &amp; t"));
    oxp_html_release(&h);
    oxp_ctx_clear(&ctx);
}

Test(plot, of_nothing_is_an_empty_frame)
{
    oxp_plot plot = {"title", "x", "y", false, true, NULL, 0, NAN, NAN};
    oxp_ctx ctx;
    oxp_html h;
    oxp_ctx_init(&ctx);
    oxp_html_begin(&h, &ctx, "t");
    oxp_plot_draw(&h, &plot);
    cr_expect_eq(h.status, OXP_OK);
    cr_expect(strstr(h.text, "</svg>"));
    cr_expect_null(strstr(h.text, "nan"));
    oxp_html_release(&h);
    oxp_ctx_clear(&ctx);
}
