/* cmd_run.c - onnxpress run. */
#include "cli/cli.h"

static struct {
    const char *data, *save;
    double atol, rtol;
} options = {NULL, NULL, 1e-5, 1e-3};

size_t flags_run(shared *s, flag *out)
{
    (void)s;
    size_t n = 0;
    out[n++] = (flag){"--data", NULL, FLAG_TEXT, &options.data, "D", NULL, "samples: .npz, .npy or a folder"};
    out[n++] = (flag){"--save", NULL, FLAG_TEXT, &options.save, "OUT.npz", NULL, "write the outputs"};
    out[n++] = (flag){"--atol", NULL, FLAG_REAL, &options.atol, "X", NULL, "absolute tolerance for expected outputs (1e-5)"};
    out[n++] = (flag){"--rtol", NULL, FLAG_REAL, &options.rtol, "X", NULL, "relative tolerance (1e-3)"};
    return n;
}

int command_run(oxp_ctx *ctx, shared *s, size_t count, const char *const *positional)
{
    (void)count;
    oxp_run_options o = OXP_RUN_OPTIONS_INIT;
    input_options(&o.input, s);
    o.atol = options.atol;
    o.rtol = options.rtol;
    o.save = options.save;
    o.force = s->force;
    if (!options.data && !s->random)
        return fail(2, "E-USAGE", "run needs --data D, or --random N");
    oxp_report *report = NULL;
    oxp_status status = oxp_run_file(&report, ctx, positional[0], options.data, &o);
    return finish(ctx, s, status, report);
}
