/* cmd_samples.c - onnxpress samples. */
#include "cli/cli.h"

static struct {
    const char *data, *labels, *precision, *method, *report;
    double tolerance, confidence;
    size_t samples;
    bool require_loss;
} options = {.tolerance = 0.05, .confidence = 0.95};

static const flag own[] = {
    {"--data", NULL, FLAG_TEXT, &options.data, "D", NULL,
     "the calibration samples: .npz, .npy or a folder"},
    {"--tolerance", NULL, FLAG_REAL, &options.tolerance, "T", NULL,
     "half-width that is asked for: a share of the scale or of the known range, the probability "
     "of a new value outside the calibrated range, absolute for top-1 agreement (default 0.05)"},
    {"--confidence", NULL, FLAG_REAL, &options.confidence, "C", NULL,
     "of all statements about tensors at once (default 0.95)"},
    {"--samples", NULL, FLAG_COUNT, &options.samples, "N", NULL,
     "ask about N samples instead of those in D"},
    {"--precision", NULL, FLAG_WORD, &options.precision, "P", "w8a8|dynamic|w8|fp16",
     "what the samples are for (default w8a8)"},
    {"--calibration-method", NULL, FLAG_WORD, &options.method, "M",
     "auto|minmax|percentile[:P]|entropy|mse",
     "how ranges of activations are found, as in compress (default auto)"},
    {"--labels", NULL, FLAG_TEXT, &options.labels, "FILE.npy", NULL,
     "labels, in place of those in D"},
    {"--require-loss", NULL, FLAG_SWITCH, &options.require_loss, NULL, NULL,
     "the loss and the top-1 agreement must be within the tolerance too"},
    {"--report", NULL, FLAG_TEXT, &options.report, "FILE.html", NULL,
     "a page with the plot and the table"},
};

static int run(oxp_ctx *ctx, const char *const *positional)
{
    if (check_samples("samples", options.data, true))
        return 2;
    oxp_samples_options o = OXP_SAMPLES_OPTIONS_INIT;
    input_options(&o.input);
    o.labels = options.labels;
    o.precision = options.precision;
    o.calibration_method = options.method;
    o.tolerance = options.tolerance;
    o.confidence = options.confidence;
    o.samples = options.samples;
    o.require_loss = options.require_loss;
    o.report = options.report;
    oxp_report *report = NULL;
    oxp_status status = oxp_samples_file(&report, ctx, positional[0], options.data, &o);
    return finish(ctx, status, report);
}

const command samples_command = {
    .name = "samples",
    .arguments = "MODEL --data D",
    .summary = "is the calibration set large enough?",
    .positional = 1,
    .reads_model = true,
    .reads_data = true,
    .own = {NULL, own, sizeof own / sizeof *own},
    .run = run,
};
