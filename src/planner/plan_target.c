/* plan_target.c - how many bytes a target allows: words to a number. */
#include <math.h>
#include <string.h>

#include "planner/plan.h"
#include "util/number.h"

bool oxp_plan_is_wanted(const oxp_compress_options *o)
{
    return o->plan || o->target_size || o->target_ratio > 0 || o->target_bpw > 0;
}

/* "25%": *is_share; else bytes. */
static bool read_size(const char *text, double *out, bool *is_share)
{
    static const struct {
        const char *name;
        double bytes;
    } units[] = {{"", 1},         {"B", 1},        {"kB", 1e3},     {"KB", 1e3},
                 {"MB", 1e6},     {"GB", 1e9},     {"KiB", 0x1p10}, {"kiB", 0x1p10},
                 {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TB", 1e12},    {"TiB", 0x1p40}};
    double number;
    const char *rest = oxp_read_decimal(text, &number);
    *is_share = rest && strcmp(rest, "%") == 0;
    if (!rest || number <= 0 || number > 1e15)
        return false;
    if (*is_share) {
        *out = number / 100;
        return number <= 100;
    }
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(rest, units[i].name) == 0) {
            *out = number * units[i].bytes;
            return *out >= 1;
        }
    return false;
}

static oxp_status check_one(oxp_ctx *ctx, const oxp_compress_options *o)
{
    int count =
        (o->plan != NULL) + (o->target_size != NULL) + (o->target_ratio > 0) + (o->target_bpw > 0);
    if (count > 1)
        return oxp_fail(ctx, OXP_EUSAGE, "E-USAGE",
                        "--target-size, --target-ratio, --target-bpw and --plan exclude each "
                        "other");
    if (o->precision)
        return oxp_fail(ctx, OXP_EUSAGE, "E-USAGE", "--precision and %s exclude each other",
                        o->plan ? "--plan" : "a target");
    if (!o->plan && !o->data && !o->input.random_samples)
        return oxp_fail(ctx, OXP_EUSAGE, "E-USAGE",
                        "a target needs samples (--data D): what the forms cost is not known "
                        "without");
    return OXP_OK;
}

oxp_status oxp_plan_check(oxp_ctx *ctx, const oxp_compress_options *o)
{
    double number;
    bool is_share;
    char quoted[OXP_QUOTED_MAX];
    OXP_TRY(check_one(ctx, o));
    if (o->target_size && !read_size(o->target_size, &number, &is_share))
        return oxp_fail(ctx, OXP_EUSAGE, "E-USAGE",
                        "target size %s: expected a size such as 12MB or 3GiB, or a share of the "
                        "model up to 100%% such as 25%%",
                        oxp_quote(quoted, o->target_size));
    if (o->target_ratio > 0 && !(o->target_ratio >= 1 && o->target_ratio <= 1e6))
        return oxp_fail(ctx, OXP_EUSAGE, "E-USAGE", "target ratio %g: 1 and more are possible",
                        o->target_ratio);
    if (o->target_bpw > 0 && o->target_bpw > 64)
        return oxp_fail(ctx, OXP_EUSAGE, "E-USAGE",
                        "target of %g bits per weight: up to 64 are possible", o->target_bpw);
    return OXP_OK;
}

/* Elements of the source's constants of a float type. */
static oxp_status parameters(double *out, const oxp_compression *c)
{
    oxp_arena arena;
    const oxp_graph *const *graphs;
    size_t count;
    oxp_arena_init(&arena, c->ctx);
    oxp_status status = oxp_graph_all(&graphs, &count, &arena, c->source_graph);
    *out = 0;
    for (size_t g = 0; status == OXP_OK && g < count; g++)
        for (size_t v = 0; v < graphs[g]->value_count; v++)
            if (graphs[g]->values[v].kind == OXP_VALUE_CONSTANT &&
                oxp_dtype_is_float(graphs[g]->values[v].constant.dtype))
                *out += (double)graphs[g]->values[v].constant.count;
    oxp_arena_free(&arena);
    return status;
}

oxp_status oxp_plan_target(oxp_plan *p, const oxp_compression *c)
{
    const oxp_compress_options *o = c->options;
    double source = (double)oxp_model_bytes(c->source), bytes = 0;
    bool is_share;
    if (o->target_size) {
        p->kind = "size";
        if (read_size(o->target_size, &bytes, &is_share) && is_share)
            bytes *= source;
        p->wanted = floor(bytes);
    } else if (o->target_ratio > 0) {
        p->kind = "ratio";
        p->wanted = o->target_ratio;
        bytes = source / o->target_ratio;
    } else {
        double count;
        OXP_TRY(parameters(&count, c));
        p->kind = "bpw";
        p->wanted = o->target_bpw;
        bytes = o->target_bpw * count / 8;
    }
    p->asked = (size_t)floor(bytes);
    return OXP_OK;
}
