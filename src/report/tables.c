/* tables.c - the operator and technique tables as the code has them, and the version. */
#include <stdio.h>
#include <string.h>

#include <xxhash.h>
#include <zlib.h>

#include "kernels/libraries.h"
#include "report/jobs.h"
#include "techniques/technique.h"

static oxp_status operators(oxp_report *r)
{
    json_t *rows = oxp_json_array(r->json, "rows");
    for (size_t i = 0; i < oxp_operator_count(); i++) {
        const oxp_operator *op = oxp_operator_at(i);
        json_t *row = oxp_json_append(rows);
        oxp_json_string(row, "domain", op->domain);
        oxp_json_string(row, "type", op->type);
        oxp_json_integer(row, "since", op->since);
        oxp_json_boolean(row, "differentiable", op->backward != NULL);
        oxp_json_boolean(row, "compressible", op->weight != NULL);
        OXP_TRY(oxp_report_line(r, "%-14s %-30s since %2d%s",
                                op->domain[0] ? op->domain : "ai.onnx", op->type, op->since,
                                op->weight ? "  weights can be compressed" : ""));
    }
    return oxp_report_line(r, "%zu rows", oxp_operator_count());
}

static const char *stage_name(oxp_stage s)
{
    static const char *const names[] = {"fold",   "structure", "prune",
                                        "factor", "quantise",  "encode"};
    return names[s];
}

/* What a parameter takes, as `pattern=N:M` or `bits=2..8`. */
static void values_text(char *out, size_t size, const oxp_param *p)
{
    const char *more = p->words ? "|" : "", *words = p->words ? p->words : "";
    if (p->type == OXP_PARAM_WORD)
        snprintf(out, size, "%s", words);
    else if (p->type == OXP_PARAM_PAIR)
        snprintf(out, size, "N:M%s%s", more, words);
    else
        snprintf(out, size, "%g..%g%s%s", p->low, p->high, more, words);
}

static oxp_status parameters(oxp_report *r, json_t *row, const oxp_param *table)
{
    json_t *array = oxp_json_array(row, "parameters");
    for (size_t i = 0; table && table[i].name; i++) {
        char values[128], fallback[64];
        json_t *o = oxp_json_append(array);
        values_text(values, sizeof values, &table[i]);
        oxp_params_value_text(fallback, sizeof fallback, &table[i], table[i].fallback);
        oxp_json_string(o, "name", table[i].name);
        oxp_json_string(o, "values", values);
        oxp_json_string(o, "default", fallback);
        oxp_json_string(o, "help", table[i].help);
        OXP_TRY(oxp_report_line(r, "    %s=%s  %s (default %s)", table[i].name, values,
                                table[i].help, fallback));
    }
    return OXP_OK;
}

static oxp_status techniques(oxp_report *r)
{
    json_t *rows = oxp_json_array(r->json, "rows");
    for (size_t i = 0; i < oxp_technique_count(); i++) {
        const oxp_technique *t = oxp_technique_at(i);
        json_t *row = oxp_json_append(rows);
        oxp_json_string(row, "name", t->name);
        oxp_json_string(row, "summary", t->summary);
        oxp_json_string(row, "stage", stage_name(t->stage));
        oxp_json_boolean(row, "needs_data", t->needs_data);
        OXP_TRY(oxp_report_line(r, "%-8s %-8s %s%s", t->name, stage_name(t->stage), t->summary,
                                t->needs_data ? " (needs samples)" : ""));
        OXP_TRY(parameters(r, row, t->params));
    }
    return OXP_OK;
}

static oxp_status version(oxp_report *r)
{
    OXP_TRY(oxp_report_line(r, "onnxpress %s", oxp_version()));
    char kernels[64];
    oxp_kernels_library(kernels);
    OXP_TRY(oxp_report_line(r, "protobuf-c %s, %s, zlib %s, jansson %s, xxHash %u",
                            oxp_model_library(), kernels, zlibVersion(), jansson_version_str(),
                            XXH_versionNumber()));
    return oxp_report_line(r, "instruction set %s", oxp_kernels_instruction_set());
}

static oxp_status make(oxp_report **out, oxp_ctx *ctx, oxp_status (*fill)(oxp_report *r))
{
    oxp_report *r;
    OXP_TRY(oxp_report_new(&r, ctx));
    oxp_status status = fill(r);
    if (status == OXP_OK)
        *out = r;
    else
        oxp_report_free(r);
    return status;
}

oxp_status oxp_operators(oxp_report **out, oxp_ctx *ctx)
{
    return make(out, ctx, operators);
}

oxp_status oxp_techniques(oxp_report **out, oxp_ctx *ctx)
{
    return make(out, ctx, techniques);
}

oxp_status oxp_version_report(oxp_report **out, oxp_ctx *ctx)
{
    return make(out, ctx, version);
}
