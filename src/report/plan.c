/* plan.c - onnxpress plan: which form every weight gets, what that costs, what other sizes would.
 * */
#include "report/plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/jobs.h"

#define FRONTIER_POINTS 400 /* and the hull's */
#define CONFIDENCE 0.95

/* ---- target and loss ---- */

/* In the unit that was asked for. */
static double reached(const oxp_compression *c)
{
    const oxp_plan *p = c->plan;
    if (strcmp(p->kind, "ratio") == 0)
        return (double)oxp_model_bytes(c->source) / (double)c->output_bytes;
    if (strcmp(p->kind, "bpw") == 0)
        return p->asked ? p->wanted * (double)c->output_bytes / (double)p->asked : NAN;
    return (double)c->output_bytes;
}

void oxp_report_plan(json_t *root, const oxp_compression *c)
{
    const oxp_plan *p = c->plan;
    if (!p)
        return;
    if (p->kind) {
        json_t *target = oxp_json_object(root, "target");
        oxp_json_string(target, "kind", p->kind);
        oxp_json_real(target, "asked", p->wanted);
        oxp_json_real(target, "reached", reached(c));
        oxp_json_integer(target, "bytes", (long long)p->asked);
    }
    json_t *loss = oxp_json_object(root, "loss");
    oxp_json_string(loss, "kind", "kl");
    if (p->kind)
        oxp_json_real(loss, "predicted", p->predicted);
    if (!p->is_measured)
        return;
    oxp_json_real(loss, "measured", p->measured);
    oxp_json_real(loss, "low", p->interval.low);
    oxp_json_real(loss, "high", p->interval.high);
    oxp_json_real(loss, "confidence", CONFIDENCE);
    oxp_json_string(loss, "method", "bootstrap");
    oxp_json_boolean(loss, "approximate", true);
    oxp_json_integer(loss, "samples", (long long)c->reference.count);
    oxp_json_boolean(loss, "in_sample", c->in_sample);
}

oxp_status oxp_report_plan_text(oxp_report *r, const oxp_compression *c)
{
    const oxp_plan *p = c->plan;
    const char *samples = c->in_sample ? "the same" : "held-out";
    if (!p)
        return OXP_OK;
    if (p->kind && p->is_measured)
        OXP_TRY(oxp_report_line(
            r, "  loss predicted %.3g nats, measured %.3g (%.3g to %.3g) on %zu %s samples",
            p->predicted, p->measured, p->interval.low, p->interval.high, c->reference.count,
            samples));
    else if (p->is_measured)
        OXP_TRY(oxp_report_line(r, "  loss measured %.3g nats (%.3g to %.3g) on %zu %s samples",
                                p->measured, p->interval.low, p->interval.high, c->reference.count,
                                samples));
    if (!p->kind)
        return OXP_OK;
    if (!isfinite(p->gap))
        return oxp_report_line(r, "  target %zu bytes, smallest plan %zu", p->asked,
                               c->output_bytes);
    return oxp_report_line(r,
                           "  target %zu bytes, file %zu; within %.2g %% of the best sum of "
                           "single losses",
                           p->asked, c->output_bytes, 100 * p->gap);
}

/* ---- JSON of the plan ---- */

static oxp_status add_choices(json_t *root, oxp_compression *c)
{
    json_t *plan = oxp_json_object(root, "plan");
    for (size_t i = 0; i < c->site_count; i++) {
        const char *form = oxp_plan_choice_text(&c->arena, &c->choices[i]);
        if (!form)
            return OXP_ELIMIT;
        oxp_json_string(plan, c->sites[i].value->name, form);
    }
    return OXP_OK;
}

static void add_data(json_t *root, const oxp_compression *c)
{
    char hex[17];
    json_t *data = oxp_json_object(root, "data");
    oxp_json_string(data, "path", c->options->data);
    oxp_json_integer(data, "samples", (long long)c->samples.source.count);
    oxp_json_boolean(data, "random", c->samples.dataset == NULL);
    oxp_hash_hex(hex, oxp_samples_hash(&c->samples));
    if (c->samples.dataset)
        oxp_json_string(data, "xxh3", hex);
}

/* What --plan reads, and what it promises. */
static oxp_status fill_plan(json_t *root, oxp_compression *c)
{
    const oxp_plan *p = c->plan;
    oxp_json_string(root, "onnxpress", oxp_version());
    oxp_json_file(root, "model", c->model_path, oxp_model_bytes(c->source),
                  oxp_model_hash(c->source));
    add_data(root, c);
    OXP_TRY(add_choices(root, c));
    oxp_report_plan(root, c);
    oxp_json_integer(root, "bytes", (long long)c->output_bytes);
    oxp_json_real(root, "macs", p->macs);
    oxp_json_real(root, "predicted_loss", p->predicted);
    oxp_json_real(root, "additive_loss", p->additive);
    oxp_json_real(root, "lambda", p->lambda);
    oxp_json_real(root, "dual_bound", p->dual_bound);
    oxp_json_real(root, "gap", p->gap);
    return OXP_OK;
}

static const char *source_name(oxp_plan_source source)
{
    static const char *const names[] = {"gradients", "measured", "unreached"};
    return names[source];
}

static oxp_status add_row(json_t *array, oxp_compression *c, size_t site)
{
    const oxp_plan_row *row = &c->plan->rows[site];
    const oxp_site *s = &c->sites[site];
    char label[OXP_NODE_TEXT_MAX];
    json_t *o = oxp_json_append(array);
    oxp_json_string(o, "name", s->value->name);
    oxp_json_string(o, "node", oxp_graph_node_label(label, s->consumers[0].node));
    oxp_json_string(o, "op", s->consumers[0].node->type);
    oxp_json_shape(o, "shape", s->value->constant.rank, s->value->constant.dims, NULL);
    oxp_json_string(o, "losses", source_name(row->source));
    oxp_json_integer(o, "chosen", (long long)row->chosen);
    json_t *candidates = oxp_json_array(o, "candidates");
    for (size_t k = 0; k < row->count; k++) {
        const oxp_plan_option *option = &row->options[k];
        const char *form = oxp_plan_choice_text(&c->arena, &option->choice);
        json_t *candidate = oxp_json_append(candidates);
        if (!form)
            return OXP_ELIMIT;
        oxp_json_string(candidate, "form", form);
        oxp_json_integer(candidate, "bytes", (long long)option->bytes);
        oxp_json_real(candidate, "perturbation_norm", option->norm);
        oxp_json_real(candidate, "predicted_loss", option->loss);
    }
    return OXP_OK;
}

static void add_frontier(json_t *root, const oxp_plan *p)
{
    json_t *array = oxp_json_array(root, "frontier");
    size_t step = p->frontier_count / FRONTIER_POINTS + 1;
    for (size_t i = 0; i < p->frontier_count; i++) {
        const oxp_frontier_point *point = &p->frontier[i];
        if (i % step != 0 && !point->on_hull && i + 1 < p->frontier_count)
            continue;
        json_t *o = oxp_json_append(array);
        oxp_json_integer(o, "bytes", (long long)point->bytes);
        oxp_json_real(o, "macs", p->macs);
        oxp_json_real(o, "predicted_loss", point->loss);
        oxp_json_boolean(o, "on_hull", point->on_hull);
    }
}

static oxp_status fill_json(json_t *root, oxp_compression *c)
{
    OXP_TRY(fill_plan(root, c));
    oxp_json_integer(root, "inputs", (long long)c->plan->inputs);
    oxp_json_integer(root, "draws", (long long)c->plan->slots);
    oxp_json_integer(root, "rounds", (long long)c->plan->rounds);
    json_t *weights = oxp_json_array(root, "weights");
    for (size_t i = 0; i < c->site_count; i++)
        OXP_TRY(add_row(weights, c, i));
    add_frontier(root, c->plan);
    return OXP_OK;
}

/* ---- text ---- */

static oxp_status fill_text(oxp_report *r, oxp_compression *c)
{
    char before[32], after[32], quoted[OXP_QUOTED_MAX];
    double source = (double)oxp_model_bytes(c->source);
    OXP_TRY(oxp_report_line(r, "%-28s %12s %10s  %s", "form", "bytes", "loss", "weight"));
    for (size_t i = 0; i < c->site_count; i++) {
        const oxp_plan_row *row = &c->plan->rows[i];
        const oxp_plan_option *o = &row->options[row->chosen];
        const char *form = oxp_plan_choice_text(&c->arena, &o->choice);
        if (!form)
            return OXP_ELIMIT;
        OXP_TRY(oxp_report_line(r, "%-28s %12zu %10.3g  %s %s%s", form, o->bytes, o->loss,
                                c->sites[i].consumers[0].node->type,
                                oxp_quote(quoted, c->sites[i].value->name),
                                row->source == OXP_PLAN_UNREACHED  ? " (no sample reaches it)"
                                : row->source == OXP_PLAN_MEASURED ? " (measured alone)"
                                                                   : ""));
    }
    OXP_TRY(oxp_report_plan_text(r, c));
    return oxp_report_line(r, "%s -> %s (%.2f x smaller, %.1f %%)", oxp_bytes_text(before, source),
                           oxp_bytes_text(after, (double)c->output_bytes),
                           source / (double)c->output_bytes,
                           100 * (double)c->output_bytes / source);
}

/* ---- files ---- */

static oxp_status save_plan(oxp_compression *c, const oxp_report *r, const oxp_plan_options *o)
{
    json_t *root = json_object();
    oxp_status status = root ? fill_plan(root, c) : OXP_ELIMIT;
    char *text =
        status == OXP_OK
            ? json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(9) | JSON_PRESERVE_ORDER)
            : NULL;
    json_decref(root);
    OXP_TRY(status);
    if (!text)
        return oxp_fail(c->ctx, OXP_ELIMIT, "E-LIMIT-MEM", "out of memory for the plan");
    oxp_output_options options = {
        .force = o->force, .inputs = r->inputs, .input_count = r->input_count};
    oxp_output_file *file = NULL;
    status = oxp_output_open(&file, c->ctx, o->output, &options);
    if (status == OXP_OK)
        status = oxp_output_write(file, text, strlen(text));
    if (status == OXP_OK)
        status = oxp_output_write(file, "\n", 1);
    free(text);
    if (status == OXP_OK)
        return oxp_output_publish(file);
    oxp_output_discard(file);
    return status;
}

static oxp_status save(oxp_compression *c, const oxp_report *r, const oxp_plan_options *o)
{
    if (o->output)
        OXP_TRY(save_plan(c, r, o));
    if (o->csv)
        OXP_TRY(oxp_plan_csv(c, r, o->csv));
    return o->report ? oxp_plan_page(c, r, o->report) : OXP_OK;
}

/* ---- the job ---- */

static oxp_status check(oxp_ctx *ctx, const oxp_plan_options *o)
{
    if (o->compress.plan || !oxp_plan_is_wanted(&o->compress))
        return oxp_fail(ctx, OXP_EUSAGE, "E-USAGE",
                        "a plan needs a target: a size, a ratio or bits per weight");
    if (!o->output)
        return OXP_OK;
    oxp_output_file *file; /* a name that is taken shows before the work */
    oxp_output_options options = {.force = o->force};
    OXP_TRY(oxp_output_open(&file, ctx, o->output, &options));
    oxp_output_discard(file);
    return OXP_OK;
}

static oxp_status report(oxp_report *r, oxp_compression *c, oxp_status status,
                         const oxp_plan_options *o)
{
    OXP_TRY(fill_json(r->json, c));
    OXP_TRY(oxp_protect_inputs(r, c->source, &c->samples));
    OXP_TRY(fill_text(r, c));
    return status == OXP_OK ? save(c, r, o) : OXP_OK;
}

oxp_status oxp_plan_file(oxp_report **out, oxp_ctx *ctx, const char *model,
                         const oxp_plan_options *options)
{
    oxp_report *r;
    oxp_compression *c;
    oxp_compress_options compress = options->compress;
    compress.dry_run = true;
    OXP_TRY(check(ctx, options));
    OXP_TRY(oxp_report_new(&r, ctx));
    oxp_status status = oxp_alloc(&c, ctx, 1, sizeof *c, "compression");
    if (status != OXP_OK) {
        oxp_report_free(r);
        return status;
    }
    status = oxp_compression_run(c, ctx, model, NULL, &compress);
    bool usable = (status == OXP_OK || status == OXP_EBOUND) && c->plan && c->plan->rows;
    if (usable) {
        oxp_status filled = report(r, c, status, options);
        usable = filled == OXP_OK;
        status = usable ? status : filled;
    }
    oxp_compression_free(c);
    oxp_free(c);
    if (usable)
        *out = r;
    else
        oxp_report_free(r);
    return status;
}
