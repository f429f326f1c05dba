/* cmd_tables.c - onnxpress info, operators, techniques: commands without flags of their own. */
#include "cli/cli.h"

static int run_info(oxp_ctx *ctx, const char *const *positional)
{
    oxp_input_options input;
    input_options(&input);
    oxp_report *report = NULL;
    oxp_status status = oxp_info_file(&report, ctx, positional[0], &input);
    return finish(ctx, status, report);
}

static int run_operators(oxp_ctx *ctx, const char *const *positional)
{
    (void)positional;
    oxp_report *report = NULL;
    oxp_status status = oxp_operators(&report, ctx);
    return finish(ctx, status, report);
}

static int run_techniques(oxp_ctx *ctx, const char *const *positional)
{
    (void)positional;
    oxp_report *report = NULL;
    oxp_status status = oxp_techniques(&report, ctx);
    return finish(ctx, status, report);
}

const command info_command = {
    .name = "info",
    .arguments = "MODEL",
    .summary = "inputs, outputs, nodes and weights of a model",
    .positional = 1,
    .reads_model = true,
    .run = run_info,
};

const command operators_command = {
    .name = "operators",
    .arguments = "",
    .summary = "the operators that can be run",
    .run = run_operators,
};

const command techniques_command = {
    .name = "techniques",
    .arguments = "",
    .summary = "what can be done to a weight",
    .run = run_techniques,
};
