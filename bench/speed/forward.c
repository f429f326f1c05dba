/* forward.c - the interpreter as `run` uses it, told by stdin when to run: so that a measuring
 * process can take turns between it and another runtime.
 *
 *     forward MODEL DATA THREADS
 *
 * For every line "N" it runs the first N samples, one session per thread, and answers with the
 * seconds that took. Reading, planning and packing come before: at least one line warms up. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "calibration/source.h"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static oxp_status answer(oxp_runner *runner, const oxp_source *source)
{
    char line[32];
    while (fgets(line, sizeof line, stdin)) {
        size_t count = strtoul(line, NULL, 10);
        double start = now();
        OXP_TRY(oxp_runner_run(runner, source, NULL, count < source->count ? count : source->count,
                               NULL));
        printf("%.9f\n", now() - start);
        fflush(stdout);
    }
    return OXP_OK;
}

static oxp_status serve(oxp_ctx *ctx, oxp_arena *arena, oxp_model *model, const char *data)
{
    oxp_graph *graph;
    oxp_samples samples;
    oxp_runner *runner;
    oxp_input_options options = {.size = sizeof options};
    oxp_run_hooks hooks = {0};
    OXP_TRY(oxp_graph_build(&graph, arena, model));
    OXP_TRY(oxp_samples_open(&samples, ctx, graph, data, NULL, &options));
    oxp_status status = oxp_runner_create(&runner, ctx, graph, &hooks);
    if (status == OXP_OK) {
        status = answer(runner, &samples.source);
        oxp_runner_free(runner);
    }
    oxp_samples_close(&samples);
    return status;
}

int main(int count, char **arguments)
{
    oxp_ctx *ctx = oxp_ctx_new();
    oxp_arena arena;
    oxp_model *model = NULL;
    oxp_load_options options = {0};
    if (count != 4 || !ctx)
        return 2;
    oxp_ctx_set_threads(ctx, atoi(arguments[3]));
    oxp_arena_init(&arena, ctx);
    oxp_status status = oxp_model_load(&model, ctx, arguments[1], &options);
    if (status == OXP_OK)
        status = serve(ctx, &arena, model, arguments[2]);
    if (status != OXP_OK)
        fprintf(stderr, "%s\n", oxp_ctx_error_message(ctx));
    oxp_model_free(model);
    oxp_arena_free(&arena);
    oxp_ctx_free(ctx);
    return status == OXP_OK ? 0 : 1;
}
