/* cmd_tables.c - onnxpress info, operators, techniques: commands without flags of their own. */
#include "cli/cli.h"

int command_info(oxp_ctx *ctx, shared *s, size_t count, const char *const *positional)
{
    (void)count;
    oxp_input_options input;
    input_options(&input, s);
    oxp_report *report = NULL;
    oxp_status status = oxp_info_file(&report, ctx, positional[0], &input);
    return finish(ctx, s, status, report);
}

int command_operators(oxp_ctx *ctx, shared *s, size_t count, const char *const *positional)
{
    (void)count;
    (void)positional;
    oxp_report *report = NULL;
    oxp_status status = oxp_operators(&report, ctx);
    return finish(ctx, s, status, report);
}

int command_techniques(oxp_ctx *ctx, shared *s, size_t count, const char *const *positional)
{
    (void)count;
    (void)positional;
    oxp_report *report = NULL;
    oxp_status status = oxp_techniques(&report, ctx);
    return finish(ctx, s, status, report);
}
