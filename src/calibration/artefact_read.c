/* artefact_read.c - an artefact out of a file that may be anybody's. */
#include <math.h>
#include <string.h>

#include "calibration/artefact.h"
#include "calibration/artefact_sections.h"

typedef struct reading {
    oxp_artefact *a;
    oxp_oxc_reader r;
    const oxp_artefact_parts *parts;
} reading;

static oxp_status array(void *out_pointer, oxp_oxc_cursor *c, oxp_arena *arena, size_t count,
                        size_t size)
{
    void *memory = oxp_arena_alloc(arena, count + 1, size);
    if (!memory)
        return OXP_ELIMIT;
    memcpy(out_pointer, &memory, sizeof memory);
    if (c)
        oxp_oxc_numbers(c, memory, count, size);
    return OXP_OK;
}

/* ---- tables ---- */

static oxp_status read_identity(reading *rd)
{
    oxp_artefact_identity *id = &rd->a->identity;
    oxp_arena *arena = &rd->a->arena;
    oxp_oxc_cursor c;
    OXP_TRY(oxp_oxc_section_open(&c, &rd->r, OXP_TAG_IDENTITY, 0));
    id->model_hash = oxp_oxc_u64(&c);
    id->model_bytes = oxp_oxc_u64(&c);
    id->prepared_hash = oxp_oxc_u64(&c);
    id->data_count = oxp_oxc_count(&c, sizeof *id->data_hashes);
    OXP_TRY(array(&id->data_hashes, &c, arena, id->data_count, sizeof *id->data_hashes));
    id->options = oxp_oxc_text(&c, arena);
    id->isa = oxp_oxc_text(&c, arena);
    id->version = oxp_oxc_text(&c, arena);
    uint8_t moments = oxp_oxc_u8(&c);
    if (c.status == OXP_OK && (moments > OXP_KEEP_FULL || id->data_count == 0))
        oxp_oxc_refuse(&c, "moments or data that it cannot have");
    rd->a->moments = (oxp_moments_kept)moments;
    return oxp_oxc_section_end(&c);
}

static oxp_status read_samples(reading *rd)
{
    oxp_artefact *a = rd->a;
    oxp_oxc_cursor c;
    OXP_TRY(oxp_oxc_section_open(&c, &rd->r, OXP_TAG_SAMPLES, 0));
    a->sample_count = oxp_oxc_count(&c, sizeof *a->hashes + 1);
    OXP_TRY(array(&a->hashes, &c, &a->arena, a->sample_count, sizeof *a->hashes));
    OXP_TRY(array(&a->is_held, &c, &a->arena, a->sample_count, 1));
    for (size_t i = 0; i < a->sample_count; i++) {
        if (a->is_held[i] > 1)
            oxp_oxc_refuse(&c, "a mark that is neither 0 nor 1");
        a->used += !a->is_held[i];
    }
    if (c.status == OXP_OK && a->used == 0)
        oxp_oxc_refuse(&c, "no sample was used");
    return oxp_oxc_section_end(&c);
}

static oxp_status read_tensors(reading *rd)
{
    oxp_artefact *a = rd->a;
    oxp_oxc_cursor c;
    OXP_TRY(oxp_oxc_section_open(&c, &rd->r, OXP_TAG_TENSORS, 0));
    size_t count = oxp_oxc_count(&c, 9);
    OXP_TRY(array(&a->tensors, NULL, &a->arena, count, sizeof *a->tensors));
    a->tensor_count = count;
    for (size_t i = 0; i < count && c.status == OXP_OK; i++) {
        a->tensors[i].name = oxp_oxc_text(&c, &a->arena);
        a->tensors[i].graph_id = oxp_oxc_u32(&c);
        a->tensors[i].is_dynamic = oxp_oxc_u8(&c) != 0;
    }
    return oxp_oxc_section_end(&c);
}

static oxp_status read_layer(oxp_oxc_cursor *c, oxp_artefact *a, oxp_artefact_layer *l)
{
    size_t width;
    l->value = oxp_oxc_text(c, &a->arena);
    l->graph_id = oxp_oxc_u32(c);
    l->groups = oxp_oxc_u64(c);
    l->columns = oxp_oxc_u64(c);
    if (c->status == OXP_OK &&
        (l->groups == 0 || l->columns == 0 || !oxp_mul_ok(l->groups, l->columns, &width) ||
         width > SIZE_MAX / 32 || oxp_layer_triangle(l) > SIZE_MAX / 32))
        oxp_oxc_refuse(c, "a layer of a size that no layer has");
    l->node_count = oxp_oxc_count(c, 4);
    OXP_TRY(array(&l->nodes, NULL, &a->arena, l->node_count, sizeof *l->nodes));
    for (size_t k = 0; k < l->node_count && c->status == OXP_OK; k++)
        l->nodes[k] = oxp_oxc_text(c, &a->arena);
    return c->status;
}

static oxp_status read_layers(reading *rd)
{
    oxp_artefact *a = rd->a;
    oxp_oxc_cursor c;
    OXP_TRY(oxp_oxc_section_open(&c, &rd->r, OXP_TAG_LAYERS, 0));
    size_t count = oxp_oxc_count(&c, 32);
    OXP_TRY(array(&a->layers, NULL, &a->arena, count, sizeof *a->layers));
    a->layer_count = count;
    for (size_t i = 0; i < count && c.status == OXP_OK; i++)
        OXP_TRY(read_layer(&c, a, &a->layers[i]));
    return oxp_oxc_section_end(&c);
}

static oxp_status read_fisher(reading *rd)
{
    oxp_artefact *a = rd->a;
    oxp_artefact_fisher *f = &a->fisher;
    oxp_oxc_cursor c;
    OXP_TRY(oxp_oxc_section_open(&c, &rd->r, OXP_TAG_FISHER, 0));
    f->estimator = oxp_oxc_text(&c, &a->arena);
    f->is_unscaled = oxp_oxc_u8(&c) != 0;
    f->output_count = oxp_oxc_count(&c, 1);
    OXP_TRY(array(&f->is_powered, &c, &a->arena, f->output_count, 1));
    size_t count = oxp_oxc_count(&c, 16);
    OXP_TRY(array(&f->targets, NULL, &a->arena, count, sizeof *f->targets));
    f->target_count = count;
    for (size_t t = 0; t < count && c.status == OXP_OK; t++) {
        f->targets[t].name = oxp_oxc_text(&c, &a->arena);
        f->targets[t].graph_id = oxp_oxc_u32(&c);
        f->targets[t].elements = oxp_oxc_u64(&c);
    }
    return oxp_oxc_section_end(&c);
}

/* How far the items are: an artefact's are whole. */
static oxp_status read_state(reading *rd)
{
    oxp_artefact *a = rd->a;
    oxp_oxc_cursor c = {.status = OXP_OK};
    bool growing = rd->r.kind == OXP_OXC_CHECKPOINT;
    size_t most = 0;
    if (growing)
        OXP_TRY(oxp_oxc_section_open(&c, &rd->r, OXP_TAG_STATE, 0));
    size_t *done[2] = {&a->fisher.powers_done, &a->fisher.done};
    for (size_t i = 0; i < a->tensor_count + a->layer_count + 2; i++) {
        size_t *at = i < a->tensor_count ? &a->tensors[i].done
                     : i < a->tensor_count + a->layer_count
                         ? &a->layers[i - a->tensor_count].done
                         : done[i - a->tensor_count - a->layer_count];
        *at = growing ? oxp_oxc_u64(&c) : a->used;
        most = *at > most ? *at : most;
    }
    if (!growing)
        return OXP_OK;
    if (c.status == OXP_OK && most > a->used)
        oxp_oxc_refuse(&c, "more samples are done than there are");
    return oxp_oxc_section_end(&c);
}

/* ---- statistics ---- */

static oxp_status read_histogram(reading *rd, uint32_t item)
{
    oxp_artefact_tensor *t = &rd->a->tensors[item];
    oxp_oxc_cursor c;
    if (rd->r.kind == OXP_OXC_CHECKPOINT && t->done == 0)
        return OXP_OK;
    OXP_TRY(oxp_oxc_section_open(&c, &rd->r, OXP_TAG_HISTOGRAM, item));
    OXP_TRY(oxp_alloc(&t->seen, rd->a->ctx, 1, sizeof *t->seen, "histogram"));
    const uint8_t *start = c.at;
    OXP_TRY(oxp_histogram_unpack(t->seen, &c));
    OXP_TRY(oxp_oxc_section_end(&c));
    if (t->done != rd->a->used)
        return OXP_OK;
    t->packed_bytes = (size_t)(c.end - start);
    OXP_TRY(oxp_alloc_raw(&t->packed, rd->a->ctx, t->packed_bytes, 1, "histogram"));
    memcpy(t->packed, start, t->packed_bytes);
    oxp_free(t->seen);
    t->seen = NULL;
    return OXP_OK;
}

/* Per-sample statistics are read whole: first the room is checked, then given. */
static oxp_status read_by_sample(reading *rd, uint32_t item)
{
    oxp_artefact *a = rd->a;
    oxp_artefact_tensor *t = &a->tensors[item];
    oxp_oxc_cursor c;
    OXP_TRY(oxp_oxc_section_open(&c, &rd->r, OXP_TAG_BY_SAMPLE, item));
    size_t each = 8 + (t->is_dynamic ? 8u : 0u);
    if ((size_t)(c.end - c.at) / each != a->used)
        return oxp_oxc_refuse(&c, "it does not hold the samples");
    OXP_TRY(array(&t->low, &c, &a->arena, a->used, sizeof *t->low));
    OXP_TRY(array(&t->high, &c, &a->arena, a->used, sizeof *t->high));
    for (size_t i = 0; i < a->used && c.status == OXP_OK; i++)
        if (!(isnan(t->low[i]) && isnan(t->high[i])) &&
            !(fabsf(t->low[i]) < OXP_HUGE_VALUE && fabsf(t->high[i]) < OXP_HUGE_VALUE &&
              t->low[i] <= t->high[i]))
            oxp_oxc_refuse(&c, "a range that no sample has");
    if (t->is_dynamic)
        OXP_TRY(array(&t->dynamic_errors, &c, &a->arena, a->used, sizeof(double)));
    return oxp_oxc_section_end(&c);
}

static oxp_status read_sums(reading *rd, uint32_t item)
{
    oxp_artefact *a = rd->a;
    oxp_artefact_layer *l = &a->layers[item];
    size_t width = l->groups * l->columns;
    oxp_oxc_cursor c;
    OXP_TRY(oxp_oxc_section_open(&c, &rd->r, OXP_TAG_SUMS, item));
    l->rows = oxp_oxc_u64(&c);
    if (c.status == OXP_OK && (size_t)(c.end - c.at) / 16 != width)
        return oxp_oxc_refuse(&c, "it does not hold the columns");
    OXP_TRY(array(&l->sums, &c, &a->arena, width, sizeof *l->sums));
    OXP_TRY(array(&l->squares, &c, &a->arena, width, sizeof *l->squares));
    return oxp_oxc_section_end(&c);
}

static oxp_status read_h(reading *rd, uint32_t item)
{
    oxp_artefact *a = rd->a;
    oxp_artefact_layer *l = &a->layers[item];
    bool whole = l->done == a->used;
    size_t count = oxp_layer_triangle(l), size = whole ? sizeof *l->h_whole : sizeof *l->h;
    oxp_oxc_cursor c;
    if (l->done == 0)
        return OXP_OK;
    OXP_TRY(oxp_oxc_section_open(&c, &rd->r, whole ? OXP_TAG_H : OXP_TAG_H_GROWING, item));
    if ((size_t)(c.end - c.at) / size != count)
        return oxp_oxc_refuse(&c, "it does not hold the triangles");
    if (!whole) {
        OXP_TRY(oxp_alloc_raw(&l->h, a->ctx, count, size, "second moments"));
        oxp_oxc_numbers(&c, l->h, count, size);
        return oxp_oxc_section_end(&c);
    }
    if (oxp_scratch_piece(&l->mapping, a->ctx, count * size)) {
        void *data = l->mapping->data;
        l->h_whole = data;
    } else {
        OXP_TRY(oxp_alloc_raw(&l->h_whole, a->ctx, count, size, "second moments"));
    }
    oxp_oxc_numbers(&c, l->h_whole, count, size);
    if (l->mapping)
        oxp_pages_release(a->ctx, l->h_whole, count * size);
    return oxp_oxc_section_end(&c);
}

static oxp_status read_matrix(double **out, reading *rd, uint32_t tag, size_t columns)
{
    size_t count;
    oxp_oxc_cursor c;
    OXP_TRY(oxp_oxc_section_open(&c, &rd->r, tag, 0));
    if (!oxp_mul_ok(rd->a->used, columns, &count) || (size_t)(c.end - c.at) / 8 != count)
        return oxp_oxc_refuse(&c, "it does not hold the samples");
    OXP_TRY(array(out, &c, &rd->a->arena, count, sizeof **out));
    return oxp_oxc_section_end(&c);
}

static oxp_status read_tables(reading *rd)
{
    OXP_TRY(read_identity(rd));
    OXP_TRY(read_samples(rd));
    OXP_TRY(read_tensors(rd));
    OXP_TRY(read_layers(rd));
    OXP_TRY(read_fisher(rd));
    return read_state(rd);
}

static oxp_status read_statistics(reading *rd)
{
    oxp_artefact *a = rd->a;
    for (size_t i = 0; i < a->tensor_count && rd->parts->histograms; i++) {
        OXP_TRY(read_histogram(rd, (uint32_t)i));
        OXP_TRY(read_by_sample(rd, (uint32_t)i));
    }
    for (size_t i = 0; i < a->layer_count && rd->parts->moments; i++) {
        OXP_TRY(read_sums(rd, (uint32_t)i));
        if (a->moments == OXP_KEEP_FULL)
            OXP_TRY(read_h(rd, (uint32_t)i));
    }
    if (!rd->parts->fisher)
        return OXP_OK;
    OXP_TRY(read_matrix(&a->fisher.powers, rd, OXP_TAG_POWERS, a->fisher.output_count));
    return read_matrix(&a->fisher.squares, rd, OXP_TAG_SQUARES, a->fisher.target_count);
}

static oxp_status check_kind(const reading *rd, oxp_oxc_kind kind)
{
    if (rd->r.kind == kind)
        return OXP_OK;
    return oxp_fail(rd->r.ctx, OXP_EFORMAT, "E-OXC-KIND",
                    kind == OXP_OXC_ARTEFACT
                        ? "%s: the checkpoint of a calibration that has not ended, not an artefact"
                        : "%s: an artefact, not a checkpoint",
                    rd->r.path);
}

oxp_status oxp_artefact_read(oxp_artefact *out, oxp_ctx *ctx, const char *path, oxp_oxc_kind kind,
                             const oxp_artefact_parts *parts, oxp_file_id *id)
{
    reading rd = {.a = out, .parts = parts};
    oxp_artefact_init(out, ctx);
    oxp_status status = oxp_oxc_open(&rd.r, ctx, path);
    if (status == OXP_OK)
        status = check_kind(&rd, kind);
    if (status == OXP_OK)
        status = read_tables(&rd);
    if (status == OXP_OK)
        status = read_statistics(&rd);
    if (status == OXP_OK && id)
        *id = rd.r.file.id;
    oxp_oxc_close(&rd.r);
    return status;
}

oxp_status oxp_artefact_histogram(oxp_histogram *out, const oxp_artefact *a, size_t tensor)
{
    const oxp_artefact_tensor *t = &a->tensors[tensor];
    oxp_oxc_reader r = {.ctx = a->ctx, .path = t->name};
    if (!t->packed) {
        *out = *t->seen;
        return OXP_OK;
    }
    oxp_oxc_cursor c = {.reader = &r, .at = t->packed, .end = t->packed + t->packed_bytes};
    OXP_TRY(oxp_histogram_unpack(out, &c));
    return oxp_oxc_section_end(&c);
}
