/* settings.c - words to settings. */
#include "planner/settings.h"

#include <stdlib.h>
#include <string.h>

#include "planner/compress_steps.h"
#include "planner/plan.h"
#include "util/number.h"

static int word(const char *value, const char *const *words)
{
    for (int i = 0; words[i]; i++)
        if (strcmp(words[i], value) == 0)
            return i;
    return -1;
}

static oxp_status unknown(oxp_ctx *ctx, const char *what, const char *value, const char *expected)
{
    char quoted[OXP_QUOTED_MAX];
    return oxp_fail(ctx, OXP_EUSAGE, "E-USAGE", "%s %s: expected %s", what,
                    oxp_quote(quoted, value), expected);
}

/* --bits turns w8 and w4 into one another; --block-size is for fewer than 8. */
static oxp_status resolve_bits(oxp_compression *c)
{
    oxp_placement_options *p = &c->placement;
    size_t bits = c->options->bits, block = c->options->block_size;
    if (p->precision != OXP_PRECISION_W8 && p->precision != OXP_PRECISION_W4) {
        if (bits || block)
            return oxp_fail(c->ctx, OXP_EUSAGE, "E-USAGE",
                            "--bits and --block-size are for the precisions w8 and w4");
        return OXP_OK;
    }
    bits = bits ? bits : p->precision == OXP_PRECISION_W4 ? 4 : 8;
    if (bits < 2 || bits > 8)
        return oxp_fail(c->ctx, OXP_EUSAGE, "E-USAGE", "--bits %zu: 2 to 8 are possible", bits);
    p->precision = bits == 8 ? OXP_PRECISION_W8 : OXP_PRECISION_W4;
    if (block && (bits == 8 || block < 16))
        return oxp_fail(c->ctx, OXP_EUSAGE, "E-USAGE",
                        bits == 8 ? "--block-size %zu: 8 bits have a scale per channel"
                                  : "--block-size %zu: 16 and more are possible",
                        block);
    p->limit = (1 << (bits - 1)) - 1;
    p->block = block;
    return OXP_OK;
}

static const char *const precisions[] = {"none", "fp16", "w8", "dynamic", "w8a8", "w4", NULL};

/* A pipeline ends as a precision of its last stage's name does, or as that technique does. */
static oxp_status resolve_pipeline(oxp_compression *c)
{
    static const char *const orders[] = {"best", "rule", "given", NULL};
    const oxp_compress_options *o = c->options;
    if (o->precision)
        return oxp_fail(c->ctx, OXP_EUSAGE, "E-USAGE",
                        "--precision and --pipeline exclude each other");
    if (o->bits || o->block_size)
        return oxp_fail(c->ctx, OXP_EUSAGE, "E-USAGE",
                        "--bits and --block-size are not for --pipeline: its stages have "
                        "parameters, such as w4:bits=3,block=64");
    int order = o->order ? word(o->order, orders) : 0;
    if (order < 0)
        return unknown(c->ctx, "order", o->order, "given, rule or best");
    c->order_mode = (oxp_order_mode)order;
    OXP_TRY(oxp_pipeline_parse(&c->pipeline, c->ctx, o->pipeline));
    for (size_t i = 0; i < c->pipeline.count; i++)
        if (c->pipeline.stages[i].technique->needs_data && !o->data && !o->input.random_samples)
            return oxp_fail(c->ctx, OXP_EUSAGE, "E-USAGE", "%s needs samples (--data D)",
                            c->pipeline.stages[i].technique->name);
    const oxp_technique *last = c->pipeline.stages[c->pipeline.count - 1].technique;
    int i = last->fit ? -1 : word(last->name, precisions);
    c->placement.precision = i < 0 ? OXP_PRECISION_TECHNIQUE : (oxp_precision)i;
    return OXP_OK;
}

static oxp_status resolve_precision(oxp_compression *c)
{
    const char *p = c->options->precision;
    if (oxp_plan_is_wanted(c->options)) { /* the plan chooses among what is stored */
        OXP_TRY(oxp_plan_check(c->ctx, c->options));
        c->placement.precision = OXP_PRECISION_W8;
        return resolve_bits(c);
    }
    if (c->options->pipeline)
        return resolve_pipeline(c);
    if (c->options->order)
        return oxp_fail(c->ctx, OXP_EUSAGE, "E-USAGE", "--order is for --pipeline");
    if (!p)
        return oxp_fail(c->ctx, OXP_EUSAGE, "E-USAGE",
                        "a precision is needed: none, fp16, w8, w4, dynamic or w8a8");
    int i = word(p, precisions);
    if (i < 0)
        return unknown(c->ctx, "precision", p, "none, fp16, w8, w4, dynamic or w8a8");
    c->placement.precision = (oxp_precision)i;
    if (c->placement.precision == OXP_PRECISION_W8A8 && !c->options->data &&
        !c->options->input.random_samples)
        return oxp_fail(c->ctx, OXP_EUSAGE, "E-USAGE",
                        "precision w8a8 needs samples (--data D); w8, dynamic and none need none");
    return resolve_bits(c);
}

static bool parse_decimal(const char *text, double *out)
{
    const char *rest = oxp_read_decimal(text, out);
    return rest && *rest == '\0';
}

static oxp_status resolve_method(oxp_compression *c)
{
    const char *m = c->options->calibration_method ? c->options->calibration_method : "auto";
    c->calibration = (oxp_calibration_options){.percentile = 99.999, .second_pass = 8};
    if (strcmp(m, "auto") == 0) {
        c->calibration.automatic = true;
        return OXP_OK;
    }
    static const char *const words[] = {"minmax", "percentile", "entropy", "mse", NULL};
    int i = word(m, words);
    if (i < 0 && strncmp(m, "percentile:", 11) == 0) {
        if (!parse_decimal(m + 11, &c->calibration.percentile) || c->calibration.percentile <= 50 ||
            c->calibration.percentile > 100)
            return unknown(c->ctx, "calibration method", m, "a percentile above 50 and up to 100");
        i = OXP_METHOD_PERCENTILE;
    }
    if (i < 0)
        return unknown(c->ctx, "calibration method", m,
                       "auto, minmax, percentile[:P], entropy or mse");
    c->calibration.method = (oxp_method)i;
    return OXP_OK;
}

static bool is_word(const char *value, const char *expected)
{
    return value && strcmp(value, expected) == 0;
}

/* What needs samples is asked for by name only where there are some. */
static oxp_status resolve_rounding(oxp_compression *c)
{
    static const char *const words[] = {"auto", "nearest", "gptq", NULL};
    const oxp_compress_options *o = c->options;
    bool samples = o->data || o->input.random_samples;
    if (o->rounding && word(o->rounding, words) < 0)
        return unknown(c->ctx, "rounding", o->rounding, "auto, nearest or gptq");
    if (!samples && (is_word(o->rounding, "gptq") || is_word(o->bias_correction, "on")))
        return oxp_fail(c->ctx, OXP_EUSAGE, "E-USAGE", "%s needs samples (--data D)",
                        is_word(o->rounding, "gptq") ? "rounding gptq" : "bias correction");
    c->rounds = !is_word(o->rounding, "nearest");
    c->corrects = !is_word(o->bias_correction, "off");
    c->makes_biases = is_word(o->bias_correction, "on");
    return OXP_OK;
}

static oxp_status resolve_words(oxp_compression *c)
{
    static const char *const formats[] = {"auto", "qdq", "stored", NULL};
    static const char *const ranges[] = {"auto", "on", "off", NULL};
    static const char *const cpus[] = {"avx2", "vnni", "arm", NULL};
    const oxp_compress_options *o = c->options;
    int format = o->quant_format ? word(o->quant_format, formats) : 0;
    if (format < 0)
        return unknown(c->ctx, "quant format", o->quant_format, "auto, qdq or stored");
    c->placement.everywhere = format == 1;
    c->placement.stored_only = format == 2;
    if (o->reduce_range && word(o->reduce_range, ranges) < 0)
        return unknown(c->ctx, "reduce range", o->reduce_range, "auto, on or off");
    if (o->equalize && word(o->equalize, ranges) < 0)
        return unknown(c->ctx, "equalize", o->equalize, "auto, on or off");
    if (oxp_settings_equalize(c) == OXP_EQUALIZE_ON && !o->data && !o->input.random_samples)
        return oxp_fail(c->ctx, OXP_EUSAGE, "E-USAGE", "--equalize on needs samples (--data D)");
    if (o->bias_correction && word(o->bias_correction, ranges) < 0)
        return unknown(c->ctx, "bias correction", o->bias_correction, "auto, on or off");
    OXP_TRY(resolve_rounding(c));
    if (o->cpu && word(o->cpu, cpus) < 0)
        return unknown(c->ctx, "cpu", o->cpu, "avx2, vnni or arm");
    return OXP_OK;
}

/* Every form that is written loads from ONNX Runtime 1.17 on. */
static oxp_status resolve_ort(oxp_compression *c)
{
    const char *v = c->options->ort_min_version;
    if (!v)
        return OXP_OK;
    char *end = NULL;
    long major = strtol(v, &end, 10), minor = end && *end == '.' ? strtol(end + 1, &end, 10) : -1;
    if (major < 0 || minor < 0 || (*end && *end != '.'))
        return unknown(c->ctx, "ONNX Runtime version", v, "MAJOR.MINOR such as 1.17");
    if (c->placement.precision != OXP_PRECISION_NONE && (major < 1 || (major == 1 && minor < 17)))
        return oxp_fail(c->ctx, OXP_EUSAGE, "E-ORT-VERSION",
                        "ONNX Runtime %ld.%ld: the forms of %s are known to load from 1.17 on",
                        major, minor, oxp_compression_plan(c));
    return OXP_OK;
}

oxp_equalize_mode oxp_settings_equalize(const oxp_compression *c)
{
    const char *mode = c->options->equalize ? c->options->equalize : "auto";
    return strcmp(mode, "on") == 0    ? OXP_EQUALIZE_ON
           : strcmp(mode, "off") == 0 ? OXP_EQUALIZE_OFF
                                      : OXP_EQUALIZE_AUTO;
}

oxp_status oxp_settings_resolve(oxp_compression *c)
{
    OXP_TRY(resolve_precision(c));
    OXP_TRY(resolve_method(c));
    OXP_TRY(resolve_words(c));
    return resolve_ort(c);
}

const char *oxp_compression_plan(const oxp_compression *c)
{
    if (oxp_plan_is_wanted(c->options))
        return "as planned";
    return c->options->pipeline ? c->options->pipeline : c->options->precision;
}

void oxp_settings_log(const oxp_compression *c)
{
    const oxp_compress_options *o = c->options;
    oxp_log(c->ctx, OXP_LOG_INFO,
            "compress %s: %s %s, data %s, calibration %s, equalize %s, format %s, cpu %s, least "
            "SQNR %g dB",
            c->model_path, o->pipeline ? "pipeline" : "precision", oxp_compression_plan(c),
            o->data                   ? o->data
            : o->input.random_samples ? "random samples"
                                      : "none",
            o->calibration_method ? o->calibration_method : "auto",
            o->equalize ? o->equalize : "auto", o->quant_format ? o->quant_format : "auto",
            o->cpu ? o->cpu : "vnni", o->min_sqnr_db);
}
