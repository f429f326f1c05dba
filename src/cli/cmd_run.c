/* cmd_run.c - onnxpress run. */
#include "cli/cli.h"

static struct {
    const char *data, *save;
    double atol, rtol;
} options = {NULL, NULL, 1e-5, 1e-3};

static const flag own[] = {
    {"--data", NULL, FLAG_TEXT, &options.data, "D", NULL,
     "samples: .npz, .npy or a folder; expected outputs in it are compared with"},
    {"--save", NULL, FLAG_TEXT, &options.save, "OUT.npz", NULL, "write the outputs"},
    {"--atol", NULL, FLAG_REAL, &options.atol, "X", NULL,
     "absolute tolerance for expected outputs (default 1e-5)"},
    {"--rtol", NULL, FLAG_REAL, &options.rtol, "X", NULL,
     "relative tolerance for expected outputs (default 1e-3)"},
};

static int run(oxp_ctx *ctx, const char *const *positional)
{
    if (check_samples("run", options.data, true))
        return 2;
    oxp_run_options o = OXP_RUN_OPTIONS_INIT;
    input_options(&o.input);
    o.atol = options.atol;
    o.rtol = options.rtol;
    o.save = options.save;
    o.force = shared.force;
    oxp_report *report = NULL;
    oxp_status status = oxp_run_file(&report, ctx, positional[0], options.data, &o);
    return finish(ctx, status, report);
}

const command run_command = {
    .name = "run",
    .arguments = "MODEL --data D",
    .summary = "run the model, compare with expected outputs",
    .positional = 1,
    .reads_model = true,
    .reads_data = true,
    .own = {NULL, own, sizeof own / sizeof *own},
    .run = run,
};
