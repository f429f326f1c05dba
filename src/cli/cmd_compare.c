/* cmd_compare.c - onnxpress compare. */
#include "cli/cli.h"

static struct {
    const char *data, *labels;
} options;

size_t flags_compare(shared *s, flag *out)
{
    (void)s;
    size_t n = 0;
    out[n++] = (flag){"--data", NULL, FLAG_TEXT, &options.data, "D", NULL, "samples: .npz, .npy or a folder"};
    out[n++] = (flag){"--labels", NULL, FLAG_TEXT, &options.labels, "FILE.npy", NULL, "labels, in place of those in D"};
    return n;
}

int command_compare(oxp_ctx *ctx, shared *s, size_t count, const char *const *positional)
{
    (void)count;
    oxp_compare_options o = OXP_COMPARE_OPTIONS_INIT;
    input_options(&o.input, s);
    o.labels = options.labels;
    if (!options.data && !s->random)
        return fail(2, "E-USAGE", "compare needs --data D, or --random N");
    oxp_report *report = NULL;
    oxp_status status = oxp_compare_files(&report, ctx, positional[0], positional[1], options.data, &o);
    return finish(ctx, s, status, report);
}
