/* cmd_deploy.c - onnxpress deploy. */
#include "cli/cli.h"

static struct {
    const char *data, *against, *machine, *disk, *network, *kv, *report;
    size_t memory, batch, sequence;
    double slo_ms;
    bool measure, kv_shared;
} options;

static const flag own[] = {
    {"--data", NULL, FLAG_TEXT, &options.data, "D", NULL,
     "samples whose shapes are taken: .npz, .npy or a folder; without them declared shapes and "
     "--dim"},
    {"--against", NULL, FLAG_TEXT, &options.against, "OTHER", NULL,
     "another model, on the same machine, beside it"},
    {"--measure", NULL, FLAG_SWITCH, &options.measure, NULL, NULL,
     "measure this machine, some seconds (default)"},
    {"--machine", NULL, FLAG_TEXT, &options.machine, "M", NULL,
     "laptop, server-vnni, server-avx2, arm-board, datacenter-gpu, or a FILE.json; --threads is "
     "the number of its cores that work on one inference (default 1)"},
    {"--memory", NULL, FLAG_SIZE, &options.memory, "SIZE", NULL,
     "memory for batches and sequences (default: the machine's)"},
    {"--disk", NULL, FLAG_TEXT, &options.disk, "RATE", NULL,
     "bandwidth that the file is loaded with: 500MB/s"},
    {"--network", NULL, FLAG_TEXT, &options.network, "RATE", NULL,
     "bandwidth that the file travels with, and a round trip: 100Mbit/s:20ms"},
    {"--batch", NULL, FLAG_COUNT, &options.batch, "N", NULL,
     "samples per inference of the latency (default 1)"},
    {"--slo-ms", NULL, FLAG_REAL, &options.slo_ms, "T", NULL,
     "latency in milliseconds that the best batch must keep"},
    {"--kv", NULL, FLAG_TEXT, &options.kv, "SHAPE", NULL,
     "key-value cache: layers=32,kv_heads=8,head_dim=128,bytes=2 (default: from the inputs)"},
    {"--sequence", NULL, FLAG_COUNT, &options.sequence, "N", NULL, "tokens in the cache"},
    {"--kv-shared", NULL, FLAG_SWITCH, &options.kv_shared, NULL, NULL,
     "past and present share their buffer: half the cache"},
    {"--report", NULL, FLAG_TEXT, &options.report, "FILE.html", NULL,
     "a page with the roofline and the curves"},
};

static int run(oxp_ctx *ctx, const char *const *positional)
{
    if (check_samples("deploy", options.data, false))
        return 2;
    if (options.measure && options.machine)
        return fail(2, "E-USAGE", "--measure and --machine exclude each other");
    oxp_deploy_options o = OXP_DEPLOY_OPTIONS_INIT;
    input_options(&o.input);
    o.data = options.data;
    o.against = options.against;
    o.machine = options.machine;
    o.threads = shared.threads;
    o.memory_bytes = options.memory;
    o.disk = options.disk;
    o.network = options.network;
    o.batch = options.batch;
    o.slo_ms = options.slo_ms;
    o.kv = options.kv;
    o.sequence = options.sequence;
    o.kv_shared = options.kv_shared;
    o.report = options.report;
    oxp_report *report = NULL;
    oxp_status status = oxp_deploy_file(&report, ctx, positional[0], &o);
    return finish(ctx, status, report);
}

const command deploy_command = {
    .name = "deploy",
    .arguments = "MODEL",
    .summary = "latency, batch and cache on a measured or described machine",
    .positional = 1,
    .reads_model = true,
    .reads_data = true,
    .own = {NULL, own, sizeof own / sizeof *own},
    .run = run,
};
