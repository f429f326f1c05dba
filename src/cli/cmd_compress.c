/* cmd_compress.c - onnxpress compress. */
#include "cli/cli.h"

static struct {
    const char *output, *precision, *data, *labels, *method, *format, *reduce_range, *cpu, *ort;
    double min_sqnr;
    flag_list nodes, exclude_nodes, op_types, exclude_op_types, layers;
    bool keep, dry_run, no_metadata, per_channel;
} options = {.min_sqnr = 20.0};

size_t flags_compress(shared *s, flag *out)
{
    (void)s;
    size_t n = 0;
    out[n++] = (flag){"--output", "-o", FLAG_TEXT, &options.output, "OUT", NULL, "the compressed model"};
    out[n++] = (flag){"--precision", NULL, FLAG_WORD, &options.precision, "P", "none|w8a8|dynamic|w8",
                      "w8a8: integers where that is faster and holds, the rest stored in 8 bits; w8: weights only"};
    out[n++] = (flag){"--data", NULL, FLAG_TEXT, &options.data, "D", NULL, "calibration samples: .npz, .npy or a folder"};
    out[n++] = (flag){"--labels", NULL, FLAG_TEXT, &options.labels, "FILE.npy", NULL, "labels, in place of those in D"};
    out[n++] = (flag){"--calibration-method", NULL, FLAG_WORD, &options.method, "M", "auto|minmax|percentile:|entropy|mse",
                      "how activation ranges are found (auto: per tensor, the least error of the layers it feeds)"};
    out[n++] = (flag){"--quant-format", NULL, FLAG_WORD, &options.format, "F", "auto|qdq|stored", "form of the quantised weights"};
    out[n++] = (flag){"--per-channel", NULL, FLAG_SWITCH, &options.per_channel, NULL, NULL, "a scale per output channel (always so)"};
    out[n++] = (flag){"--reduce-range", NULL, FLAG_WORD, &options.reduce_range, "R", "auto|on|off",
                      "7-bit weights where sums of pairs can saturate (auto: computed per layer)"};
    out[n++] = (flag){"--cpu", NULL, FLAG_WORD, &options.cpu, "C", "avx2|vnni|arm", "the machine that the model is for (vnni)"};
    out[n++] = (flag){"--min-sqnr", NULL, FLAG_REAL, &options.min_sqnr, "DB", NULL, "least output SQNR (20); 0: no guard"};
    out[n++] = (flag){"--nodes", NULL, FLAG_LIST, &options.nodes, "GLOB", NULL, "only these nodes"};
    out[n++] = (flag){"--exclude-nodes", NULL, FLAG_LIST, &options.exclude_nodes, "GLOB", NULL, "not these nodes"};
    out[n++] = (flag){"--op-types", NULL, FLAG_LIST, &options.op_types, "TYPE", NULL, "only these operator types"};
    out[n++] = (flag){"--exclude-op-types", NULL, FLAG_LIST, &options.exclude_op_types, "TYPE", NULL, "not these operator types"};
    out[n++] = (flag){"--layer", NULL, FLAG_LIST, &options.layers, "GLOB=TECHNIQUE", NULL, "force a technique on nodes"};
    out[n++] = (flag){"--ort-min-version", NULL, FLAG_TEXT, &options.ort, "V", NULL, "oldest ONNX Runtime that must load it (1.17)"};
    out[n++] = (flag){"--keep", NULL, FLAG_SWITCH, &options.keep, NULL, NULL, "write also when a bound was missed"};
    out[n++] = (flag){"--dry-run", NULL, FLAG_SWITCH, &options.dry_run, NULL, NULL, "everything but the file"};
    out[n++] = (flag){"--no-metadata", NULL, FLAG_SWITCH, &options.no_metadata, NULL, NULL, "leave metadata_props out"};
    return n;
}

static const char *const *list_or_null(const flag_list *list)
{
    return list->count ? list->items : NULL;
}

int command_compress(oxp_ctx *ctx, shared *s, size_t count, const char *const *positional)
{
    (void)count;
    oxp_compress_options o = OXP_COMPRESS_OPTIONS_INIT;
    input_options(&o.input, s);
    o.precision = options.precision;
    o.data = options.data;
    o.labels = options.labels;
    o.calibration_method = options.method;
    o.quant_format = options.format;
    o.reduce_range = options.reduce_range;
    o.cpu = options.cpu;
    o.min_sqnr_db = options.min_sqnr;
    o.nodes = list_or_null(&options.nodes);
    o.exclude_nodes = list_or_null(&options.exclude_nodes);
    o.op_types = list_or_null(&options.op_types);
    o.exclude_op_types = list_or_null(&options.exclude_op_types);
    o.layers = list_or_null(&options.layers);
    o.ort_min_version = options.ort;
    o.force = s->force;
    o.keep = options.keep;
    o.dry_run = options.dry_run;
    o.no_metadata = options.no_metadata;
    if (!options.output && !options.dry_run)
        return fail(2, "E-USAGE", "compress needs -o OUT");
    if (!options.precision)
        return fail(2, "E-USAGE", "compress needs --precision: none, w8a8, dynamic or w8 (none and w8 and dynamic need no data)");
    oxp_report *report = NULL;
    oxp_status status = oxp_compress_file(&report, ctx, positional[0], options.output, &o);
    return finish(ctx, s, status, report);
}
