/* cmd_calibrate.c - onnxpress calibrate. */
#include "cli/cli.h"

static struct {
    const char *output, *data, *labels, *cpu, *moments, *estimator, *output_kind;
    double holdout, checkpoint;
    bool resume, merge;
    flag_list outputs;
} options = {.checkpoint = 10};

static const flag own[] = {
    {"--output", "-o", FLAG_TEXT, &options.output, "OUT.oxc", NULL,
     "the artefact; its checkpoint is OUT.oxc.part"},
    {"--data", NULL, FLAG_TEXT, &options.data, "D", NULL, "samples: .npz, .npy or a folder"},
    {"--moments", NULL, FLAG_WORD, &options.moments, "M", "full|diagonal|none",
     "second moments of what layers read: all of X X^T, its diagonal, or none (default full)"},
    {"--estimator", NULL, FLAG_WORD, &options.estimator, "E", "factor|sampled|exact|none",
     "how gradients are drawn, as in sensitivity; none: no gradients (default factor)"},
    {"--output-kind", NULL, FLAG_WORD, &options.output_kind, "K",
     "categorical|bernoulli|gaussian|embedding",
     "what the outputs are (default: read off the graph's end)"},
    {"--outputs", NULL, FLAG_LIST, &options.outputs, "NAME", NULL,
     "only this output counts; repeatable"},
    {"--holdout", NULL, FLAG_REAL, &options.holdout, "F", NULL,
     "share of the samples, chosen by their hash, that is set aside for measuring (default 0)"},
    {"--cpu", NULL, FLAG_WORD, &options.cpu, "CPU", "avx2|vnni|arm",
     "machine that the model is for (default vnni)"},
    {"--labels", NULL, FLAG_TEXT, &options.labels, "FILE.npy", NULL,
     "labels, in place of those in D"},
    {"--resume", NULL, FLAG_SWITCH, &options.resume, NULL, NULL,
     "go on from the checkpoint where there is one; leave a complete artefact as it is"},
    {"--checkpoint", NULL, FLAG_REAL, &options.checkpoint, "S", NULL,
     "seconds between checkpoints; 0: as often as there can be one (default 10)"},
    {"--merge", NULL, FLAG_SWITCH, &options.merge, NULL, NULL,
     "merge artefacts of one model and of different samples, given in place of MODEL"},
};

static int merge(oxp_ctx *ctx, const char *const *artefacts)
{
    size_t count = 0;
    while (artefacts[count])
        count++;
    if (options.data || options.resume || shared.random)
        return fail(2, "E-USAGE", "--merge takes artefacts alone: no --data, --random or --resume");
    oxp_report *report = NULL;
    oxp_status status =
        oxp_calibrate_merge(&report, ctx, artefacts, count, options.output, shared.force);
    return finish(ctx, status, report);
}

static int run(oxp_ctx *ctx, const char *const *positional)
{
    if (!options.output)
        return fail(2, "E-USAGE", "calibrate needs -o OUT.oxc");
    if (options.merge)
        return merge(ctx, positional);
    if (positional[1])
        return fail(2, "E-USAGE", "one argument too many: \"%.200s\"", positional[1]);
    if (check_samples("calibrate", options.data, true))
        return 2;
    oxp_calibrate_options o = OXP_CALIBRATE_OPTIONS_INIT;
    input_options(&o.input);
    o.labels = options.labels;
    o.cpu = options.cpu;
    o.moments = options.moments;
    o.estimator = options.estimator;
    o.output_kind = options.output_kind;
    o.outputs = list_or_null(&options.outputs);
    o.holdout = options.holdout;
    o.checkpoint_seconds = options.checkpoint;
    o.resume = options.resume;
    o.force = shared.force;
    oxp_report *report = NULL;
    oxp_status status =
        oxp_calibrate_file(&report, ctx, positional[0], options.data, options.output, &o);
    return finish(ctx, status, report);
}

const command calibrate_command = {
    .name = "calibrate",
    .arguments = "MODEL --data D -o OUT.oxc",
    .summary = "what samples show of a model, kept for other commands",
    .positional = 1,
    .positional_more = POSITIONAL_MAX - 1,
    .reads_model = true,
    .reads_data = true,
    .own = {NULL, own, sizeof own / sizeof *own},
    .run = run,
};
