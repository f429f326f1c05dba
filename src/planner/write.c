/* write.c - the end of the main job: the choices applied, the file written, and what was written
 * measured. */
#include <math.h>

#include "calibration/drop.h"
#include "calibration/intervals.h"
#include "kernels/libraries.h"
#include "onnx/save.h"
#include "planner/compress_steps.h"
#include "util/map.h"

static oxp_status add_metadata(oxp_compression *c)
{
    char hex[17];
    if (c->options->no_metadata)
        return OXP_OK;
    OXP_TRY(oxp_edit_set_metadata(c->result, "onnxpress.version", oxp_version()));
    OXP_TRY(oxp_edit_set_metadata(c->result, "onnxpress.plan", c->options->precision));
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

/* The written bytes, loaded like anybody's file, against the reference outputs. */
static oxp_status measure_written(oxp_compression *c, const uint8_t *bytes, size_t size)
{
    c->output_bytes = size;
    c->output_hash = oxp_hash(bytes, size);
    if (!c->has_samples)
        return OXP_OK;
    oxp_model *written;
    oxp_load_options options = {.keep_nonfinite = true};
    OXP_TRY(oxp_model_load_memory(&written, c->ctx, bytes, size, NULL, &options));
    c->differences =
        oxp_arena_alloc(&c->arena, c->reference.output_count + 1, sizeof *c->differences);
    oxp_status status =
        c->differences ? oxp_evaluate(c->differences, &c->reference, written, SIZE_MAX, "verify")
                       : OXP_ELIMIT;
    if (status == OXP_OK)
        c->sqnr_db = oxp_least_sqnr(&c->reference, c->differences);
    if (status == OXP_OK && oxp_compression_is_poor(c))
        status = find_drop(c, written);
    oxp_model_free(written);
    return status;
}

static oxp_status check_bound(oxp_compression *c)
{
    if (!c->has_samples || c->options->min_sqnr_db <= 0 || c->sqnr_db >= c->options->min_sqnr_db ||
        !oxp_compression_has_integers(c))
        return OXP_OK;
    return oxp_fail(
        c->ctx, OXP_EBOUND, "E-BOUND", "output SQNR %.2f dB is below the bound of %g dB: %s",
        c->sqnr_db, c->options->min_sqnr_db,
        c->options->keep ? "written because of --keep" : "nothing written (--keep would)");
}

static oxp_status write_file(oxp_compression *c, oxp_output_file *file)
{
    OXP_TRY(oxp_model_write(file, c->result ? c->result : c->source));
    uint8_t *bytes;
    size_t size;
    OXP_TRY(oxp_output_read_back(&bytes, &size, file));
    oxp_status status = measure_written(c, bytes, size);
    oxp_free(bytes);
    return status == OXP_OK ? check_bound(c) : status;
}

static oxp_status measure_dry(oxp_compression *c)
{
    uint8_t *bytes;
    size_t size;
    OXP_TRY(oxp_model_pack(&bytes, &size, c->result ? c->result : c->source));
    oxp_status status = measure_written(c, bytes, size);
    oxp_free(bytes);
    return status == OXP_OK ? check_bound(c) : status;
}

oxp_status oxp_compression_write(oxp_compression *c, oxp_output_file *file)
{
    return file ? write_file(c, file) : measure_dry(c);
}
