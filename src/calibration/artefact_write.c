/* artefact_write.c - an artefact into an open output, section by section. */
#include <string.h>

#include "calibration/artefact.h"
#include "calibration/artefact_sections.h"

/* ---- tables ---- */

static oxp_status put_identity(oxp_oxc_writer *w, const oxp_artefact *a)
{
    const oxp_artefact_identity *id = &a->identity;
    OXP_TRY(oxp_oxc_section_begin(w, OXP_TAG_IDENTITY, 0));
    OXP_TRY(oxp_oxc_put_u64(w, id->model_hash));
    OXP_TRY(oxp_oxc_put_u64(w, id->model_bytes));
    OXP_TRY(oxp_oxc_put_u64(w, id->prepared_hash));
    OXP_TRY(oxp_oxc_put_u64(w, id->data_count));
    for (size_t i = 0; i < id->data_count; i++)
        OXP_TRY(oxp_oxc_put_u64(w, id->data_hashes[i]));
    OXP_TRY(oxp_oxc_put_text(w, id->options));
    OXP_TRY(oxp_oxc_put_text(w, id->isa));
    OXP_TRY(oxp_oxc_put_text(w, id->version));
    return oxp_oxc_put_u8(w, (uint8_t)a->moments);
}

static oxp_status put_samples(oxp_oxc_writer *w, const oxp_artefact *a)
{
    OXP_TRY(oxp_oxc_section_begin(w, OXP_TAG_SAMPLES, 0));
    OXP_TRY(oxp_oxc_put_u64(w, a->sample_count));
    OXP_TRY(oxp_oxc_put(w, a->hashes, a->sample_count * sizeof *a->hashes));
    return oxp_oxc_put(w, a->is_held, a->sample_count);
}

static oxp_status put_tensors(oxp_oxc_writer *w, const oxp_artefact *a)
{
    OXP_TRY(oxp_oxc_section_begin(w, OXP_TAG_TENSORS, 0));
    OXP_TRY(oxp_oxc_put_u64(w, a->tensor_count));
    for (size_t i = 0; i < a->tensor_count; i++) {
        const oxp_artefact_tensor *t = &a->tensors[i];
        OXP_TRY(oxp_oxc_put_text(w, t->name));
        OXP_TRY(oxp_oxc_put_u32(w, (uint32_t)t->graph_id));
        OXP_TRY(oxp_oxc_put_u8(w, t->is_dynamic));
    }
    return OXP_OK;
}

static oxp_status put_layers(oxp_oxc_writer *w, const oxp_artefact *a)
{
    OXP_TRY(oxp_oxc_section_begin(w, OXP_TAG_LAYERS, 0));
    OXP_TRY(oxp_oxc_put_u64(w, a->layer_count));
    for (size_t i = 0; i < a->layer_count; i++) {
        const oxp_artefact_layer *l = &a->layers[i];
        OXP_TRY(oxp_oxc_put_text(w, l->value));
        OXP_TRY(oxp_oxc_put_u32(w, (uint32_t)l->graph_id));
        OXP_TRY(oxp_oxc_put_u64(w, l->groups));
        OXP_TRY(oxp_oxc_put_u64(w, l->columns));
        OXP_TRY(oxp_oxc_put_u64(w, l->node_count));
        for (size_t k = 0; k < l->node_count; k++)
            OXP_TRY(oxp_oxc_put_text(w, l->nodes[k]));
    }
    return OXP_OK;
}

static oxp_status put_fisher(oxp_oxc_writer *w, const oxp_artefact *a)
{
    const oxp_artefact_fisher *f = &a->fisher;
    OXP_TRY(oxp_oxc_section_begin(w, OXP_TAG_FISHER, 0));
    OXP_TRY(oxp_oxc_put_text(w, f->estimator));
    OXP_TRY(oxp_oxc_put_u8(w, f->is_unscaled));
    OXP_TRY(oxp_oxc_put_u64(w, f->output_count));
    OXP_TRY(oxp_oxc_put(w, f->is_powered, f->output_count));
    OXP_TRY(oxp_oxc_put_u64(w, f->target_count));
    for (size_t t = 0; t < f->target_count; t++) {
        OXP_TRY(oxp_oxc_put_text(w, f->targets[t].name));
        OXP_TRY(oxp_oxc_put_u32(w, (uint32_t)f->targets[t].graph_id));
        OXP_TRY(oxp_oxc_put_u64(w, f->targets[t].elements));
    }
    return OXP_OK;
}

static oxp_status put_state(oxp_oxc_writer *w, const oxp_artefact *a)
{
    OXP_TRY(oxp_oxc_section_begin(w, OXP_TAG_STATE, 0));
    for (size_t i = 0; i < a->tensor_count; i++)
        OXP_TRY(oxp_oxc_put_u64(w, a->tensors[i].done));
    for (size_t i = 0; i < a->layer_count; i++)
        OXP_TRY(oxp_oxc_put_u64(w, a->layers[i].done));
    OXP_TRY(oxp_oxc_put_u64(w, a->fisher.powers_done));
    return oxp_oxc_put_u64(w, a->fisher.done);
}

/* ---- statistics ---- */

static oxp_status put_histogram(oxp_oxc_writer *w, oxp_ctx *ctx, const oxp_artefact_tensor *t,
                                uint32_t item)
{
    uint8_t *packed = t->packed;
    size_t bytes = t->packed_bytes;
    if (!packed && !t->seen)
        return OXP_OK; /* a checkpoint that has not come to it */
    OXP_TRY(oxp_oxc_section_begin(w, OXP_TAG_HISTOGRAM, item));
    if (!packed)
        OXP_TRY(oxp_histogram_pack(&packed, &bytes, ctx, t->seen));
    oxp_status status = oxp_oxc_put(w, packed, bytes);
    if (!t->packed)
        oxp_free(packed);
    return status;
}

static oxp_status put_by_sample(oxp_oxc_writer *w, const oxp_artefact *a, uint32_t item)
{
    const oxp_artefact_tensor *t = &a->tensors[item];
    OXP_TRY(oxp_oxc_section_begin(w, OXP_TAG_BY_SAMPLE, item));
    OXP_TRY(oxp_oxc_put(w, t->low, a->used * sizeof *t->low));
    OXP_TRY(oxp_oxc_put(w, t->high, a->used * sizeof *t->high));
    return t->is_dynamic ? oxp_oxc_put(w, t->dynamic_errors, a->used * sizeof(double)) : OXP_OK;
}

static oxp_status put_sums(oxp_oxc_writer *w, const oxp_artefact_layer *l, uint32_t item)
{
    size_t width = l->groups * l->columns;
    OXP_TRY(oxp_oxc_section_begin(w, OXP_TAG_SUMS, item));
    OXP_TRY(oxp_oxc_put_u64(w, l->rows));
    OXP_TRY(oxp_oxc_put(w, l->sums, width * sizeof *l->sums));
    return oxp_oxc_put(w, l->squares, width * sizeof *l->squares);
}

#define PIECE ((size_t)4096)

static oxp_status put_rounded(oxp_oxc_writer *w, const double *h, size_t count)
{
    float piece[PIECE];
    for (size_t start = 0; start < count; start += PIECE) {
        size_t n = count - start < PIECE ? count - start : PIECE;
        for (size_t i = 0; i < n; i++)
            piece[i] = (float)h[start + i];
        OXP_TRY(oxp_oxc_put(w, piece, n * sizeof *piece));
    }
    return OXP_OK;
}

static oxp_status put_h(oxp_oxc_writer *w, const oxp_artefact_layer *l, uint32_t item, size_t used)
{
    size_t count = oxp_layer_triangle(l);
    if (l->done != used || (!l->h && !l->h_whole))
        return OXP_OK;
    OXP_TRY(oxp_oxc_section_begin(w, OXP_TAG_H, item));
    if (!l->h_whole)
        return put_rounded(w, l->h, count);
    OXP_TRY(oxp_oxc_put(w, l->h_whole, count * sizeof *l->h_whole));
    return OXP_OK;
}

static oxp_status put_growing(oxp_oxc_writer *w, const oxp_artefact_layer *l, uint32_t item,
                              size_t used)
{
    if (l->done == 0 || l->done == used || !l->h)
        return OXP_OK;
    OXP_TRY(oxp_oxc_section_begin(w, OXP_TAG_H_GROWING, item));
    return oxp_oxc_put(w, l->h, oxp_layer_triangle(l) * sizeof *l->h);
}

static oxp_status put_all_fisher(oxp_oxc_writer *w, const oxp_artefact *a)
{
    const oxp_artefact_fisher *f = &a->fisher;
    OXP_TRY(oxp_oxc_section_begin(w, OXP_TAG_POWERS, 0));
    OXP_TRY(oxp_oxc_put(w, f->powers, a->used * f->output_count * sizeof *f->powers));
    OXP_TRY(oxp_oxc_section_begin(w, OXP_TAG_SQUARES, 0));
    return oxp_oxc_put(w, f->squares, a->used * f->target_count * sizeof *f->squares);
}

static oxp_status put_tables(oxp_oxc_writer *w, const oxp_artefact *a)
{
    OXP_TRY(put_identity(w, a));
    OXP_TRY(put_samples(w, a));
    OXP_TRY(put_tensors(w, a));
    OXP_TRY(put_layers(w, a));
    return put_fisher(w, a);
}

static oxp_status put_statistics(oxp_oxc_writer *w, oxp_artefact *a)
{
    for (size_t i = 0; i < a->tensor_count; i++)
        OXP_TRY(put_histogram(w, a->ctx, &a->tensors[i], (uint32_t)i));
    for (size_t i = 0; i < a->tensor_count; i++)
        OXP_TRY(put_by_sample(w, a, (uint32_t)i));
    for (size_t i = 0; i < a->layer_count; i++)
        OXP_TRY(put_sums(w, &a->layers[i], (uint32_t)i));
    for (size_t i = 0; i < a->layer_count; i++) {
        const oxp_artefact_layer *l = &a->layers[i];
        OXP_TRY(put_h(w, l, (uint32_t)i, a->used));
        if (l->mapping)
            oxp_pages_release(a->ctx, l->h_whole, oxp_layer_triangle(l) * sizeof *l->h_whole);
    }
    for (size_t i = 0; i < a->layer_count; i++)
        OXP_TRY(put_growing(w, &a->layers[i], (uint32_t)i, a->used));
    return put_all_fisher(w, a);
}

oxp_status oxp_artefact_write(oxp_output_file *file, oxp_artefact *a, oxp_oxc_kind kind,
                              size_t *bytes, uint64_t *hash)
{
    oxp_oxc_writer *w;
    OXP_TRY(oxp_oxc_begin(&w, a->ctx, file, kind));
    oxp_status status = put_tables(w, a);
    if (status == OXP_OK && kind == OXP_OXC_CHECKPOINT)
        status = put_state(w, a);
    if (status == OXP_OK)
        status = put_statistics(w, a);
    if (status == OXP_OK)
        status = oxp_oxc_finish(w);
    if (bytes)
        *bytes = oxp_oxc_bytes(w);
    if (hash)
        *hash = oxp_oxc_hash(w);
    oxp_oxc_writer_free(w);
    return status;
}
