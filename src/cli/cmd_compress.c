/* cmd_compress.c - onnxpress compress. */
#include "cli/cli.h"

static struct {
    const char *output, *precision, *data, *stats, *labels, *method, *format, *reduce_range, *cpu,
        *ort, *equalize, *rounding, *bias_correction, *pipeline, *order, *target_size, *plan;
    double target_ratio, target_bpw;
    double min_sqnr;
    flag_list nodes, exclude_nodes, op_types, exclude_op_types, layers;
    size_t bits, block_size;
    bool keep, dry_run, no_metadata, per_channel, external_data;
} options = {.min_sqnr = 20.0};

static const flag own[] = {
    {"--output", "-o", FLAG_TEXT, &options.output, "OUT", NULL, "the compressed model"},
    {"--precision", NULL, FLAG_WORD, &options.precision, "P", "w8a8|dynamic|w8|w4|fp16|none",
     "w8a8: integer arithmetic where it is faster and holds, every other weight stored in 8 bits "
     "(needs samples); dynamic: matrix products in integers, scaled at run time; w8: weights "
     "stored in 8 bits, arithmetic in float; w4: in 4 bits; fp16: weights stored in half "
     "precision; none: the "
     "same bytes"},
    {"--pipeline", NULL, FLAG_TEXT, &options.pipeline, "SPEC", NULL,
     "in place of a precision: techniques one behind the other, STAGE+STAGE, each "
     "NAME[:PARAMETER=VALUE,…], such as prune:pattern=2:4+w8; onnxpress techniques lists them"},
    {"--order", NULL, FLAG_WORD, &options.order, "O", "given|rule|best",
     "order of a pipeline's stages, where the model's format leaves a choice; best: all are "
     "measured, rule: what the bound on their errors prefers (default best)"},
    {"--target-size", NULL, FLAG_TEXT, &options.target_size, "SIZE", NULL,
     "in place of a precision: the least loss within so many bytes, 25% of the model's or 12MB"},
    {"--target-ratio", NULL, FLAG_REAL, &options.target_ratio, "R", NULL,
     "the same, so many times smaller at least"},
    {"--target-bpw", NULL, FLAG_REAL, &options.target_bpw, "BITS", NULL,
     "the same, in bits of the file per parameter"},
    {"--plan", NULL, FLAG_TEXT, &options.plan, "PLAN.json", NULL,
     "in place of a precision: the forms that onnxpress plan chose, with the same samples"},
    {"--data", NULL, FLAG_TEXT, &options.data, "D", NULL,
     "calibration samples: .npz, .npy or a folder"},
    {"--stats", NULL, FLAG_TEXT, &options.stats, "S.oxc", NULL,
     "what calibrate found of this model and these samples: ranges are taken from it"},
    {"--labels", NULL, FLAG_TEXT, &options.labels, "FILE.npy", NULL,
     "labels, in place of those in D"},
    {"--min-sqnr", NULL, FLAG_REAL, &options.min_sqnr, "DB", NULL,
     "least signal-to-noise ratio of the outputs, in dB (default 20; 0: no bound)"},
    {"--calibration-method", NULL, FLAG_WORD, &options.method, "M",
     "auto|minmax|percentile[:P]|entropy|mse",
     "how ranges of activations are found; auto: for each tensor the one with the least error "
     "in the layers behind it (default auto; P 99.999)"},
    {"--quant-format", NULL, FLAG_WORD, &options.format, "F", "auto|qdq|stored",
     "form of the weights; qdq: integers wherever a form exists, stored: nowhere (default auto)"},
    {"--per-channel", NULL, FLAG_SWITCH, &options.per_channel, NULL, NULL,
     "a scale per output channel of the weights; always on"},
    {"--reduce-range", NULL, FLAG_WORD, &options.reduce_range, "R", "auto|on|off",
     "7-bit weights, for processors that add products in pairs of 16 bits; auto: where the sums "
     "can saturate (default auto)"},
    {"--equalize", NULL, FLAG_WORD, &options.equalize, "E", "auto|on|off",
     "factors moved between layers so that 8 bits lose less; auto: where the quantised model "
     "gains by it on calibration samples (default auto)"},
    {"--cpu", NULL, FLAG_WORD, &options.cpu, "C", "avx2|vnni|arm",
     "processor that the model is for (default vnni)"},
    {"--ort-min-version", NULL, FLAG_TEXT, &options.ort, "V", NULL,
     "oldest ONNX Runtime that must load the model (default 1.17)"},
    SELECTION_FLAGS(options),
    {"--layer", NULL, FLAG_LIST, &options.layers, "GLOB=T[:PARAMS]", NULL,
     "what to do with these nodes: a technique that onnxpress techniques prints, or float; "
     "repeatable"},
    {"--keep", NULL, FLAG_SWITCH, &options.keep, NULL, NULL, "write also what misses a bound"},
    {"--dry-run", NULL, FLAG_SWITCH, &options.dry_run, NULL, NULL, "do all but write the model"},
    {"--no-metadata", NULL, FLAG_SWITCH, &options.no_metadata, NULL, NULL,
     "do not record in the model what made it"},
    {"--rounding", NULL, FLAG_WORD, &options.rounding, "R", "auto|nearest|gptq",
     "codes of 8-bit weights; gptq: for the least error of the layer's output on the samples, "
     "nearest: for that of the weight; auto: gptq where there are samples (default auto)"},
    {"--bias-correction", NULL, FLAG_WORD, &options.bias_correction, "C", "auto|on|off",
     "the mean error of a layer taken off its bias, with samples; on: also where a bias must be "
     "made for it and costs bytes (default auto)"},
    {"--bits", NULL, FLAG_COUNT, &options.bits, "N", NULL,
     "bits of stored weights, 2 to 8 (default: 8 for w8, 4 for w4)"},
    {"--block-size", NULL, FLAG_COUNT, &options.block_size, "N", NULL,
     "below 8 bits: inputs that share a scale, at most (default 32)"},
    {"--external-data", NULL, FLAG_SWITCH, &options.external_data, NULL, NULL,
     "large tensors go into OUT.data, beside OUT; models above 2 GiB always have it so"},
};

static void set_options(oxp_compress_options *o)
{
    input_options(&o->input);
    o->precision = options.precision;
    o->pipeline = options.pipeline;
    o->order = options.order;
    o->target_size = options.target_size;
    o->target_ratio = options.target_ratio;
    o->target_bpw = options.target_bpw;
    o->plan = options.plan;
    o->data = options.data;
    o->stats = options.stats;
    o->labels = options.labels;
    o->calibration_method = options.method;
    o->quant_format = options.format;
    o->reduce_range = options.reduce_range;
    o->cpu = options.cpu;
    o->equalize = options.equalize;
    o->rounding = options.rounding;
    o->bias_correction = options.bias_correction;
    o->min_sqnr_db = options.min_sqnr;
    o->nodes = list_or_null(&options.nodes);
    o->exclude_nodes = list_or_null(&options.exclude_nodes);
    o->op_types = list_or_null(&options.op_types);
    o->exclude_op_types = list_or_null(&options.exclude_op_types);
    o->layers = list_or_null(&options.layers);
    o->ort_min_version = options.ort;
    o->force = shared.force;
    o->keep = options.keep;
    o->dry_run = options.dry_run;
    o->no_metadata = options.no_metadata;
    o->external_data = options.external_data;
    o->bits = options.bits;
    o->block_size = options.block_size;
}

static int run(oxp_ctx *ctx, const char *const *positional)
{
    if (!options.output && !options.dry_run)
        return fail(2, "E-USAGE", "compress needs -o OUT");
    bool planned =
        options.plan || options.target_size || options.target_ratio > 0 || options.target_bpw > 0;
    if (!options.precision && !options.pipeline && !planned)
        return fail(
            2, "E-USAGE",
            "compress needs --precision: w8a8 (with samples, --data D), or dynamic, w8, fp16 or "
            "none (without)");
    if (check_samples("compress", options.data, false))
        return 2;
    oxp_compress_options o = OXP_COMPRESS_OPTIONS_INIT;
    set_options(&o);
    oxp_report *report = NULL;
    oxp_status status = oxp_compress_file(&report, ctx, positional[0], options.output, &o);
    return finish(ctx, status, report);
}

const command compress_command = {
    .name = "compress",
    .arguments = "MODEL -o OUT --precision P [--data D]",
    .summary = "the main job: a smaller model that gives the same answers",
    .positional = 1,
    .reads_model = true,
    .reads_data = true,
    .own = {NULL, own, sizeof own / sizeof *own},
    .run = run,
};
