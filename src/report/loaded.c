/* loaded.c - from a path to a graph. */
#include <string.h>

#include "onnx/inline.h"
#include "report/jobs.h"

const char *oxp_subject(oxp_ctx *ctx, const char *subject)
{
    const char *before = ctx->subject;
    ctx->subject = subject;
    return before;
}

oxp_status oxp_loaded_open(oxp_loaded *out, oxp_ctx *ctx, const char *path,
                           const oxp_input_options *o)
{
    oxp_load_options options = {.allow_symlinks = o->allow_symlinks,
                                .allow_hardlinks = o->allow_hardlinks,
                                .keep_nonfinite =
                                    o->nonfinite && strcmp(o->nonfinite, "keep") == 0};
    *out = (oxp_loaded){0};
    OXP_TRY(oxp_model_load(&out->model, ctx, path, &options));
    oxp_arena_init(&out->arena, ctx);
    out->arena_ready = true;
    const char *before = oxp_subject(ctx, path);
    oxp_status status = oxp_model_inline_functions(out->model);
    if (status == OXP_OK)
        status = oxp_graph_build(&out->graph, &out->arena, out->model);
    oxp_subject(ctx, before);
    if (status != OXP_OK)
        oxp_loaded_close(out);
    return status;
}

void oxp_loaded_close(oxp_loaded *l)
{
    if (l->arena_ready)
        oxp_arena_free(&l->arena);
    oxp_model_free(l->model);
    *l = (oxp_loaded){0};
}

oxp_status oxp_protect_inputs(oxp_report *r, oxp_model *model, const oxp_samples *samples)
{
    size_t count;
    const oxp_file_id *ids = oxp_model_files(model, &count);
    OXP_TRY(oxp_report_protect(r, ids, count));
    if (!samples->dataset)
        return OXP_OK;
    ids = oxp_dataset_files(samples->dataset, &count);
    return oxp_report_protect(r, ids, count);
}
