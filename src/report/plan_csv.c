/* plan_csv.c - every candidate of every weight, a line each. */
#include <stdio.h>
#include <string.h>

#include "report/plan.h"

/* In quotation marks, those inside doubled. */
static oxp_status write_text(oxp_output_file *file, const char *text)
{
    oxp_status status = oxp_output_write(file, "\"", 1);
    for (const char *p = text; *p && status == OXP_OK;) {
        size_t length = strcspn(p, "\"");
        status = oxp_output_write(file, p, length);
        p += length;
        if (*p == '"' && status == OXP_OK) {
            status = oxp_output_write(file, "\"\"", 2);
            p++;
        }
    }
    return status == OXP_OK ? oxp_output_write(file, "\"", 1) : status;
}

static oxp_status write_option(oxp_output_file *file, oxp_compression *c, size_t site, size_t k)
{
    const oxp_plan_row *row = &c->plan->rows[site];
    const oxp_plan_option *o = &row->options[k];
    const oxp_site *s = &c->sites[site];
    const char *form = oxp_plan_choice_text(&c->arena, &o->choice);
    char line[256];
    if (!form)
        return OXP_ELIMIT;
    OXP_TRY(write_text(file, s->value->name));
    int length = snprintf(line, sizeof line, ",%s,\"%s\",%zu,%.6g,%.9g,%.9g,%d\n",
                          s->consumers[0].node->type, form, o->bytes,
                          8 * (double)o->bytes / (double)s->value->constant.count, o->loss, o->norm,
                          k == row->chosen);
    return oxp_output_write(file, line,
                            length < (int)sizeof line ? (size_t)length : sizeof line - 1);
}

static oxp_status write_all(oxp_output_file *file, oxp_compression *c)
{
    static const char head[] = "weight,operator,form,bytes,bits_per_weight,predicted_loss,"
                               "perturbation_norm,chosen\n";
    OXP_TRY(oxp_output_write(file, head, sizeof head - 1));
    for (size_t i = 0; i < c->site_count; i++)
        for (size_t k = 0; k < c->plan->rows[i].count; k++)
            OXP_TRY(write_option(file, c, i, k));
    return OXP_OK;
}

oxp_status oxp_plan_csv(oxp_compression *c, const oxp_report *r, const char *path)
{
    oxp_output_options options = {
        .force = true, .inputs = r->inputs, .input_count = r->input_count};
    oxp_output_file *file;
    OXP_TRY(oxp_output_open(&file, c->ctx, path, &options));
    oxp_status status = write_all(file, c);
    if (status == OXP_OK)
        return oxp_output_publish(file);
    oxp_output_discard(file);
    return status;
}
