/* write.c - the end of the main job: the choices applied, the file written, and what was written
 * measured. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "calibration/drop.h"
#include "calibration/intervals.h"
#include "kernels/libraries.h"
#include "onnx/save.h"
#include "planner/compress_steps.h"
#include "planner/plan.h"
#include "util/map.h"

static oxp_status add_metadata(oxp_compression *c)
{
    char hex[17];
    if (c->options->no_metadata)
        return OXP_OK;
    OXP_TRY(oxp_edit_set_metadata(c->result, "onnxpress.version", oxp_version()));
    const char *plan = c->plan ? oxp_plan_mark(c) : oxp_compression_plan(c);
    if (!plan)
        return OXP_ELIMIT;
    OXP_TRY(oxp_edit_set_metadata(c->result, "onnxpress.plan", plan));
    if (c->has_samples) /* what is made without data is the same everywhere */
        OXP_TRY(oxp_edit_set_metadata(c->result, "onnxpress.isa", oxp_kernels_instruction_set()));
    oxp_hash_hex(hex, oxp_model_hash(c->source));
    OXP_TRY(oxp_edit_set_metadata(c->result, "onnxpress.source", hex));
    if (!c->has_samples)
        return OXP_OK;
    oxp_hash_hex(hex, oxp_samples_hash(&c->samples));
    return oxp_edit_set_metadata(c->result, "onnxpress.data", c->samples.dataset ? hex : "random");
}

oxp_status oxp_compression_apply(oxp_compression *c)
{
    if (c->placement.precision == OXP_PRECISION_NONE)
        return OXP_OK; /* the source itself is written */
    if (c->result)
        return OXP_OK; /* a plan was applied to see its size */
    OXP_TRY(
        oxp_edit_apply(&c->result, c->raised, c->choices, c->codes, c->narrow_codes, &c->ranges));
    return add_metadata(c);
}

#define POOR_SQNR_DB 10.0
#define POOR_AGREEMENT 0.95

bool oxp_compression_is_poor(const oxp_compression *c)
{
    if (!c->differences)
        return false;
    bool poor = c->sqnr_db < POOR_SQNR_DB;
    for (size_t i = 0; i < c->reference.output_count; i++) {
        const oxp_difference *d = &c->differences[i];
        poor |= d->rows && oxp_interval_proportion(d->agree, d->rows, 0.95).high < POOR_AGREEMENT;
    }
    return poor;
}

static oxp_status find_drop(oxp_compression *c, oxp_model *written)
{
    oxp_graph *graph;
    OXP_TRY(oxp_graph_build(&graph, &c->arena, written));
    const char *name;
    OXP_TRY(oxp_first_drop(&name, &c->dropped_db, c->ctx, c->source_graph, graph,
                           &c->samples.source, c->held[0], c->sqnr_db + OXP_DROP_MARGIN_DB));
    c->dropped = name ? oxp_arena_strdup(&c->arena, name) : NULL;
    return OXP_OK;
}

static oxp_status measure(oxp_compression *c, oxp_model *written)
{
    if (!c->has_samples)
        return OXP_OK;
    OXP_TRY(oxp_reference_check(&c->reference, c->source_graph));
    c->differences =
        oxp_arena_alloc(&c->arena, c->reference.output_count + 1, sizeof *c->differences);
    if (!c->differences)
        return OXP_ELIMIT;
    OXP_TRY(oxp_evaluate(c->differences, &c->reference, written, SIZE_MAX, "verify"));
    c->sqnr_db = oxp_least_sqnr(&c->reference, c->differences);
    if (c->plan)
        OXP_TRY(oxp_plan_measure(c, written));
    return oxp_compression_is_poor(c) ? find_drop(c, written) : OXP_OK;
}

static oxp_status check_bound(oxp_compression *c)
{
    if (c->plan)
        return oxp_plan_verdict(c);
    if (!c->has_samples || c->options->min_sqnr_db <= 0 || c->sqnr_db >= c->options->min_sqnr_db ||
        !oxp_compression_has_integers(c) || c->earlier_count)
        return OXP_OK;
    return oxp_fail(
        c->ctx, OXP_EBOUND, "E-BOUND", "output SQNR %.2f dB is below the bound of %g dB: %s",
        c->sqnr_db, c->options->min_sqnr_db,
        c->options->keep ? "written because of --keep" : "nothing written (--keep would)");
}

static oxp_model *written_model(const oxp_compression *c)
{
    return c->result ? c->result : c->source;
}

/* ---- files beside the model ---- */

#define SCRATCH_FROM_BYTES ((size_t)256 << 20) /* of the source */

void oxp_compression_open_scratch(oxp_compression *c)
{
    if (c->options->dry_run || oxp_model_bytes(c->source) < SCRATCH_FROM_BYTES)
        return;
    const char *slash = strrchr(c->output_path, '/');
    const char *directory =
        slash
            ? oxp_arena_printf(&c->arena, "%.*s", (int)(slash - c->output_path + 1), c->output_path)
            : ".";
    int fd = directory ? open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd < 0)
        return; /* opening the output will say why */
    oxp_scratch_open(c->ctx, fd);
    close(fd);
}

static oxp_status needs_data_file(bool *out, oxp_compression *c)
{
    size_t bytes = oxp_model_packed_bytes(written_model(c));
    *out = c->options->external_data || bytes > OXP_MODEL_BYTES_MAX;
    return bytes == 0 ? c->ctx->status : OXP_OK;
}

/* What the model calls its data: that a reader would refuse the name is known before the work. */
static oxp_status name_data(oxp_compression *c)
{
    const char *path = c->output_path ? c->output_path : "model.onnx";
    const char *slash = strrchr(path, '/');
    c->data_path = oxp_arena_printf(&c->arena, "%s.data", path);
    c->location = oxp_arena_printf(&c->arena, "%s.data", slash ? slash + 1 : path);
    if (!c->data_path || !c->location)
        return OXP_ELIMIT;
    const char *fault = oxp_model_location_fault(c->location);
    char quoted[OXP_QUOTED_MAX];
    if (!fault)
        return OXP_OK;
    return oxp_fail(c->ctx, OXP_EUSAGE, "E-USAGE",
                    "the output's data would be called %s, which no model can refer to: %s",
                    oxp_quote(quoted, c->location), fault);
}

oxp_status oxp_compression_open_data(oxp_compression *c)
{
    if (c->data_output)
        return OXP_OK;
    OXP_TRY(name_data(c));
    return oxp_output_open(&c->data_output, c->ctx, c->data_path, &c->output_options);
}

oxp_status oxp_compression_packed_bytes(size_t *bytes, oxp_compression *c)
{
    bool two;
    uint64_t hash;
    OXP_TRY(needs_data_file(&two, c));
    if (two) {
        OXP_TRY(name_data(c));
        return oxp_model_pair_size(bytes, &hash, written_model(c), c->location);
    }
    *bytes = oxp_model_packed_bytes(written_model(c));
    return *bytes ? OXP_OK : c->ctx->status;
}

/* ---- writing ---- */

/* What was written, loaded like anybody's files. */
static oxp_status measure_written(oxp_compression *c, const oxp_model_pair *pair)
{
    oxp_read_back back;
    oxp_load_options options = {.keep_nonfinite = true};
    OXP_TRY(oxp_read_back_open(&back, c->ctx, pair, &options));
    c->output_bytes = oxp_model_bytes(back.model);
    c->output_hash = oxp_model_hash(back.model);
    oxp_status status = measure(c, back.model);
    oxp_read_back_close(&back);
    return status;
}

static oxp_status check_source(oxp_compression *c)
{
    if (oxp_model_is_unchanged(c->source))
        return OXP_OK;
    return oxp_fail(c->ctx, OXP_EFORMAT, "E-CHANGED", "the model's files changed during the run");
}

static oxp_status write_files(oxp_compression *c, oxp_output_file *file)
{
    bool two;
    OXP_TRY(needs_data_file(&two, c));
    if (two)
        OXP_TRY(oxp_compression_open_data(c));
    oxp_model_pair pair = {.model = file, .data = c->data_output, .location = c->location};
    OXP_TRY(two ? oxp_model_write_pair(&pair, written_model(c))
                : oxp_model_write(file, written_model(c)));
    OXP_TRY(measure_written(c, &pair));
    OXP_TRY(check_source(c));
    return check_bound(c);
}

/* Nothing is written: the model itself is measured where its bytes do not fit into one file. */
static oxp_status measure_dry(oxp_compression *c)
{
    bool two;
    OXP_TRY(needs_data_file(&two, c));
    if (two) {
        OXP_TRY(name_data(c));
        OXP_TRY(
            oxp_model_pair_size(&c->output_bytes, &c->output_hash, written_model(c), c->location));
        OXP_TRY(measure(c, written_model(c)));
        return check_bound(c);
    }
    uint8_t *bytes;
    size_t size;
    OXP_TRY(oxp_model_pack(&bytes, &size, written_model(c)));
    oxp_model *written;
    oxp_load_options options = {.keep_nonfinite = true};
    oxp_status status = oxp_model_load_memory(&written, c->ctx, bytes, size, NULL, &options);
    oxp_free(bytes);
    OXP_TRY(status);
    c->output_bytes = size;
    c->output_hash = oxp_model_hash(written);
    status = measure(c, written);
    oxp_model_free(written);
    return status == OXP_OK ? check_bound(c) : status;
}

oxp_status oxp_compression_write(oxp_compression *c, oxp_output_file *file)
{
    return file ? write_files(c, file) : measure_dry(c);
}

oxp_status oxp_compression_publish(oxp_compression *c, oxp_output_file *file)
{
    oxp_output_file *data = c->data_output;
    c->data_output = NULL;
    return data ? oxp_output_publish_pair(data, file) : oxp_output_publish(file);
}
