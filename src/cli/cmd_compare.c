/* cmd_compare.c - onnxpress compare. */
#include "cli/cli.h"

static struct {
    const char *data, *labels;
} options;

static const flag own[] = {
    {"--data", NULL, FLAG_TEXT, &options.data, "D", NULL, "samples: .npz, .npy or a folder"},
    {"--labels", NULL, FLAG_TEXT, &options.labels, "FILE.npy", NULL,
     "labels, in place of those in D"},
};

static int run(oxp_ctx *ctx, const char *const *positional)
{
    if (check_samples("compare", options.data, true))
        return 2;
    oxp_compare_options o = OXP_COMPARE_OPTIONS_INIT;
    input_options(&o.input);
    o.labels = options.labels;
    oxp_report *report = NULL;
    oxp_status status =
        oxp_compare_files(&report, ctx, positional[0], positional[1], options.data, &o);
    return finish(ctx, status, report);
}

const command compare_command = {
    .name = "compare",
    .arguments = "A B --data D",
    .summary = "how two models differ on the same samples",
    .positional = 2,
    .reads_model = true,
    .reads_data = true,
    .own = {NULL, own, sizeof own / sizeof *own},
    .run = run,
};
