/* cmd_plan.c - onnxpress plan. */
#include "cli/cli.h"

static struct {
    const char *output, *data, *labels, *target_size, *csv, *report;
    double target_ratio, target_bpw;
    flag_list nodes, exclude_nodes, op_types, exclude_op_types, layers;
} options;

static const flag own[] = {
    {"--output", "-o", FLAG_TEXT, &options.output, "PLAN.json", NULL,
     "the plan, which compress --plan takes; it may be edited by hand"},
    {"--data", NULL, FLAG_TEXT, &options.data, "D", NULL,
     "samples: .npz, .npy or a folder; a quarter is set aside to measure on"},
    {"--target-size", NULL, FLAG_TEXT, &options.target_size, "SIZE", NULL,
     "most bytes of the file: 25% of the model's, or 12MB"},
    {"--target-ratio", NULL, FLAG_REAL, &options.target_ratio, "R", NULL,
     "so many times smaller at least"},
    {"--target-bpw", NULL, FLAG_REAL, &options.target_bpw, "BITS", NULL,
     "most bits of the file per parameter"},
    SELECTION_FLAGS(options),
    {"--layer", NULL, FLAG_LIST, &options.layers, "GLOB=TECHNIQUE", NULL,
     "what to do with these nodes, whatever it costs; repeatable"},
    {"--labels", NULL, FLAG_TEXT, &options.labels, "FILE.npy", NULL,
     "labels, in place of those in D"},
    {"--csv", NULL, FLAG_TEXT, &options.csv, "FILE.csv", NULL,
     "every form of every weight with its bytes and losses"},
    {"--report", NULL, FLAG_TEXT, &options.report, "FILE.html", NULL,
     "a page with the frontier and the choices"},
};

static int run(oxp_ctx *ctx, const char *const *positional)
{
    if (check_samples("plan", options.data, true))
        return 2;
    if (!options.target_size && options.target_ratio <= 0 && options.target_bpw <= 0)
        return fail(2, "E-USAGE", "plan needs --target-size, --target-ratio or --target-bpw");
    oxp_plan_options o = OXP_PLAN_OPTIONS_INIT;
    oxp_compress_options *c = &o.compress;
    input_options(&c->input);
    c->data = options.data;
    c->labels = options.labels;
    c->target_size = options.target_size;
    c->target_ratio = options.target_ratio;
    c->target_bpw = options.target_bpw;
    c->nodes = list_or_null(&options.nodes);
    c->exclude_nodes = list_or_null(&options.exclude_nodes);
    c->op_types = list_or_null(&options.op_types);
    c->exclude_op_types = list_or_null(&options.exclude_op_types);
    c->layers = list_or_null(&options.layers);
    o.output = options.output;
    o.csv = options.csv;
    o.report = options.report;
    o.force = shared.force;
    oxp_report *report = NULL;
    oxp_status status = oxp_plan_file(&report, ctx, positional[0], &o);
    return finish(ctx, status, report);
}

const command plan_command = {
    .name = "plan",
    .arguments = "MODEL --data D --target-size SIZE",
    .summary = "which form every weight gets for the least loss within a size",
    .positional = 1,
    .reads_model = true,
    .reads_data = true,
    .own = {NULL, own, sizeof own / sizeof *own},
    .run = run,
};
