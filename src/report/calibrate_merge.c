/* calibrate_merge.c - onnxpress calibrate --merge: artefacts of disjoint samples into one. */
#include <sys/resource.h>
#include <time.h>

#include "calibration/artefact.h"
#include "report/report.h"

typedef struct merging {
    oxp_artefact sum, part;
    oxp_file_id *ids; /* of the parts, which are only read */
    size_t count, bytes;
    uint64_t hash;
} merging;

static const oxp_artefact_parts everything = {.histograms = true, .moments = true, .fisher = true};

static oxp_status add(merging *m, oxp_ctx *ctx, const char *const *paths, size_t i)
{
    oxp_artefact *a = i ? &m->part : &m->sum;
    oxp_status status =
        oxp_artefact_read(a, ctx, paths[i], OXP_OXC_ARTEFACT, &everything, &m->ids[i]);
    if (status == OXP_OK && i)
        status = oxp_artefact_merge(&m->sum, paths[0], &m->part, paths[i]);
    if (i)
        oxp_artefact_free(&m->part);
    return status;
}

static oxp_status merge(merging *m, oxp_ctx *ctx, const char *const *paths, const char *output,
                        bool force)
{
    oxp_output_file *file;
    for (size_t i = 0; i < m->count; i++)
        OXP_TRY(add(m, ctx, paths, i));
    oxp_output_options options = {.force = force, .inputs = m->ids, .input_count = m->count};
    OXP_TRY(oxp_output_open(&file, ctx, output, &options));
    oxp_status status = oxp_artefact_write(file, &m->sum, OXP_OXC_ARTEFACT, &m->bytes, &m->hash);
    if (status == OXP_OK)
        return oxp_output_publish(file);
    oxp_output_discard(file);
    return status;
}

static oxp_status report(oxp_report *r, const merging *m, const char *output)
{
    const oxp_artefact *a = &m->sum;
    char bytes[32], quoted[OXP_QUOTED_MAX];
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    oxp_json_file(r->json, "output", output, m->bytes, m->hash);
    oxp_json_integer(r->json, "parts", (long long)m->count);
    oxp_json_integer(r->json, "samples", (long long)a->used);
    oxp_json_integer(r->json, "held_out", (long long)(a->sample_count - a->used));
    oxp_json_integer(r->json, "tensors", (long long)a->tensor_count);
    oxp_json_integer(r->json, "layer_inputs", (long long)a->layer_count);
    oxp_json_integer(r->json, "weights", (long long)a->fisher.target_count);
    oxp_json_integer(r->json, "bytes", (long long)m->bytes);
    oxp_json_integer(r->json, "passes", 0);
    oxp_json_integer(r->json, "peak_rss_bytes", (long long)usage.ru_maxrss * 1024);
    OXP_TRY(oxp_report_protect(r, m->ids, m->count));
    return oxp_report_line(r, "%s: %zu artefacts merged, %zu samples used, %zu set aside, %s",
                           oxp_quote(quoted, output), m->count, a->used, a->sample_count - a->used,
                           oxp_bytes_text(bytes, (double)m->bytes));
}

oxp_status oxp_calibrate_merge(oxp_report **out, oxp_ctx *ctx, const char *const *artefacts,
                               size_t count, const char *output, bool force)
{
    merging m = {.count = count};
    oxp_report *r;
    if (count < 2)
        return oxp_fail(ctx, OXP_EUSAGE, "E-USAGE", "merging takes at least two artefacts");
    OXP_TRY(oxp_report_new(&r, ctx));
    oxp_artefact_init(&m.sum, ctx);
    oxp_status status = oxp_alloc(&m.ids, ctx, count, sizeof *m.ids, "artefacts");
    if (status == OXP_OK)
        status = merge(&m, ctx, artefacts, output, force);
    if (status == OXP_OK)
        status = report(r, &m, output);
    oxp_artefact_free(&m.sum);
    oxp_free(m.ids);
    if (status == OXP_OK)
        *out = r;
    else
        oxp_report_free(r);
    return status;
}
