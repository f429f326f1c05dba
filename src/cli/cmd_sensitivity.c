/* cmd_sensitivity.c - onnxpress sensitivity. */
#include "cli/cli.h"

static struct {
    const char *data, *stats, *labels, *estimator, *output_kind, *report;
    double loss;
    bool measure;
    flag_list outputs;
} options = {.loss = 0.01};

static const flag own[] = {
    {"--data", NULL, FLAG_TEXT, &options.data, "D", NULL,
     "samples: .npz, .npy or a folder; labels in it serve the empirical estimator"},
    {"--stats", NULL, FLAG_TEXT, &options.stats, "S.oxc", NULL,
     "what calibrate found of this model: gradients are taken from it; without --data there are "
     "no losses of candidates"},
    {"--estimator", NULL, FLAG_WORD, &options.estimator, "E",
     "factor|sampled|exact|forward|empirical",
     "factor: random signs through the factor of the outputs' information; sampled: labels drawn "
     "from the model's own distribution; exact: every class; forward: "
     "random changes of each weight, run without gradients; empirical: the data's labels, which "
     "is not the Fisher information (default factor)"},
    {"--output-kind", NULL, FLAG_WORD, &options.output_kind, "K",
     "categorical|bernoulli|gaussian|embedding",
     "what the outputs are (default: read off the graph's end)"},
    {"--outputs", NULL, FLAG_LIST, &options.outputs, "NAME", NULL,
     "only this output counts; repeatable"},
    {"--loss", NULL, FLAG_REAL, &options.loss, "L", NULL,
     "loss in nats that the budgets share (default 0.01)"},
    {"--measure", NULL, FLAG_SWITCH, &options.measure, NULL, NULL,
     "also measure the loss of each candidate alone: a run over the samples for each"},
    {"--labels", NULL, FLAG_TEXT, &options.labels, "FILE.npy", NULL,
     "labels, in place of those in D"},
    {"--report", NULL, FLAG_TEXT, &options.report, "FILE.html", NULL, "a page with the table"},
};

static int run(oxp_ctx *ctx, const char *const *positional)
{
    if (check_samples("sensitivity", options.data, options.stats == NULL))
        return 2;
    oxp_sensitivity_options o = OXP_SENSITIVITY_OPTIONS_INIT;
    input_options(&o.input);
    o.stats = options.stats;
    o.labels = options.labels;
    o.estimator = options.estimator;
    o.output_kind = options.output_kind;
    o.outputs = list_or_null(&options.outputs);
    o.loss = options.loss;
    o.measure = options.measure;
    o.report = options.report;
    oxp_report *report = NULL;
    oxp_status status = oxp_sensitivity_file(&report, ctx, positional[0], options.data, &o);
    return finish(ctx, status, report);
}

const command sensitivity_command = {
    .name = "sensitivity",
    .arguments = "MODEL --data D",
    .summary = "what a change of each weight costs, from gradients",
    .positional = 1,
    .reads_model = true,
    .reads_data = true,
    .own = {NULL, own, sizeof own / sizeof *own},
    .run = run,
};
