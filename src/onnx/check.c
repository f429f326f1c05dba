/* check.c - the model as a whole: versions, imports, metadata, external ranges, and the order of
 * the checks. */
#include "onnx/check.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void oxp_check_init(oxp_check *check, oxp_ctx *ctx, oxp_model *model, oxp_status fail)
{
    *check = (oxp_check){.ctx = ctx, .model = model, .fail = fail};
    oxp_map_init(&check->weights, ctx);
    oxp_map_init(&check->domains, ctx);
}

void oxp_check_free(oxp_check *check)
{
    oxp_map_free(&check->weights);
    oxp_map_free(&check->domains);
    oxp_free(check->ranges);
}

oxp_status oxp_check_fail(const oxp_check *check, oxp_status status, const char *code,
                          const char *format, ...)
{
    char place[OXP_WALK_TEXT_MAX] = "", quoted[OXP_QUOTED_MAX], thing[OXP_QUOTED_MAX + 64] = "";
    char text[OXP_MESSAGE_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (check->walk.depth > 0 || check->walk.function != NULL)
        oxp_walk_text(place, &check->walk);
    if (check->kind != NULL)
        snprintf(thing, sizeof thing, "%s %s%s%s: ", check->kind, oxp_quote(quoted, check->name),
                 check->part == NULL ? "" : " ", check->part == NULL ? "" : check->part);
    bool of_input = status == OXP_EFORMAT || (status == OXP_EUNSUPPORTED && check->model == NULL);
    return oxp_fail(check->ctx, of_input ? check->fail : status, code, "%s%s%s%s", place,
                    place[0] == '\0' ? "" : ": ", thing, text);
}

const char *oxp_domain(const char *domain)
{
    return domain == NULL || strcmp(domain, "ai.onnx") == 0 ? "" : domain;
}

/* ---- versions ---- */

static oxp_status check_ir_version(const oxp_check *c)
{
    const Onnx__ModelProto *m = c->model->proto;
    if (!m->has_ir_version)
        return oxp_check_fail(c, OXP_EFORMAT, "E-IR", "ir_version is missing");
    if (m->ir_version < 1)
        return oxp_check_fail(c, OXP_EFORMAT, "E-IR", "ir_version is %" PRId64 ", expected 1 to %d",
                              m->ir_version, OXP_MAX_IR_VERSION);
    if (m->ir_version > OXP_MAX_IR_VERSION)
        return oxp_check_fail(c, OXP_EUNSUPPORTED, "E-IR-NEW",
                              "ir_version is %" PRId64 ", the newest known is %d", m->ir_version,
                              OXP_MAX_IR_VERSION);
    return OXP_OK;
}

oxp_status oxp_check_opsets(oxp_check *check, Onnx__OperatorSetIdProto **imports, size_t count)
{
    char quoted[OXP_QUOTED_MAX];
    oxp_map_free(&check->domains);
    for (size_t i = 0; i < count; i++) {
        const char *domain = oxp_domain(imports[i]->domain);
        int64_t version = imports[i]->version;
        if (version < 1)
            return oxp_check_fail(check, OXP_EFORMAT, "E-OPSET",
                                  "opset_import of domain %s has version %" PRId64
                                  ", expected 1 or more",
                                  oxp_quote(quoted, domain), version);
        if (domain[0] == '\0' && version > OXP_MAX_OPSET)
            return oxp_check_fail(check, OXP_EUNSUPPORTED, "E-OPSET-NEW",
                                  "opset %" PRId64 ", the newest known is %d", version,
                                  OXP_MAX_OPSET);
        size_t known = oxp_map_get(&check->domains, domain);
        if (known != OXP_MAP_NONE && known != (size_t)version)
            return oxp_check_fail(check, OXP_EFORMAT, "E-OPSET-DUP",
                                  "opset_import of domain %s has versions %zu and %" PRId64,
                                  oxp_quote(quoted, domain), known, version);
        OXP_TRY(oxp_map_put(&check->domains, domain, (size_t)version));
    }
    return OXP_OK;
}

static oxp_status check_model_opsets(oxp_check *c)
{
    const Onnx__ModelProto *m = c->model->proto;
    if (m->n_opset_import == 0 && m->ir_version >= 3)
        return oxp_check_fail(c, OXP_EFORMAT, "E-OPSET",
                              "opset_import is missing, IR version %" PRId64 " requires it",
                              m->ir_version);
    OXP_TRY(oxp_check_opsets(c, m->opset_import, m->n_opset_import));
    /* Before IR 3 a model had opset 1 without saying so. */
    return m->n_opset_import == 0 ? oxp_map_put(&c->domains, "", 1) : OXP_OK;
}

/* ---- metadata ---- */

static const char *value_of(const Onnx__StringStringEntryProto *entry)
{
    return entry->value == NULL ? "" : entry->value;
}

/* Tools that append their mark a second time are many, so equal entries pass; what contradicts
 * itself does not. */
static oxp_status check_metadata(const oxp_check *c)
{
    const Onnx__ModelProto *m = c->model->proto;
    char quoted[OXP_QUOTED_MAX];
    oxp_map keys;
    oxp_map_init(&keys, c->ctx);
    oxp_status status = OXP_OK;
    for (size_t i = 0; i < m->n_metadata_props && status == OXP_OK; i++) {
        const Onnx__StringStringEntryProto *entry = m->metadata_props[i];
        const char *key = entry->key == NULL ? "" : entry->key;
        size_t known = oxp_map_get(&keys, key);
        if (known == OXP_MAP_NONE)
            status = oxp_map_put(&keys, key, i);
        else if (strcmp(value_of(m->metadata_props[known]), value_of(entry)) != 0)
            status = oxp_check_fail(c, OXP_EFORMAT, "E-META-DUP",
                                    "metadata_props: key %s stands twice with different values",
                                    oxp_quote(quoted, key));
    }
    oxp_map_free(&keys);
    return status;
}

/* ---- external ranges ---- */

static int compare_ranges(const void *a, const void *b)
{
    const oxp_check_range *x = a, *y = b;
    if (x->file != y->file)
        return x->file < y->file ? -1 : 1;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* Tensors may share a range whole (tied weights), not in part. */
static oxp_status check_overlaps(const oxp_check *c)
{
    oxp_check_range *sorted;
    char quoted[OXP_QUOTED_MAX];
    oxp_status status = OXP_OK;
    if (c->range_count < 2)
        return OXP_OK;
    OXP_TRY(oxp_alloc_raw(&sorted, c->ctx, c->range_count, sizeof *sorted, "external ranges"));
    memcpy(sorted, c->ranges, c->range_count * sizeof *sorted);
    qsort(sorted, c->range_count, sizeof *sorted, compare_ranges);
    for (size_t i = 1; i < c->range_count && status == OXP_OK; i++) {
        const oxp_check_range *a = &sorted[i - 1], *b = &sorted[i];
        if (a->file != b->file || b->offset >= a->offset + a->bytes || compare_ranges(a, b) == 0)
            continue;
        status = oxp_check_fail(c, OXP_EFORMAT, "E-EXT-OVERLAP",
                                "external data %s: ranges [%zu,%zu) and [%zu,%zu) overlap in part",
                                oxp_quote(quoted, c->model->externals[a->file].location), a->offset,
                                a->offset + a->bytes, b->offset, b->offset + b->bytes);
    }
    oxp_free(sorted);
    return status;
}

/* ---- everything ---- */

static oxp_status check_header(oxp_check *c)
{
    const Onnx__ModelProto *m = c->model->proto;
    OXP_TRY(check_ir_version(c));
    if (m->graph == NULL)
        return oxp_check_fail(c, OXP_EFORMAT, "E-NO-GRAPH", "the model has no graph");
    OXP_TRY(check_model_opsets(c));
    OXP_TRY(check_metadata(c));
    if (m->graph->n_output == 0)
        return oxp_check_fail(c, OXP_EFORMAT, "E-NO-OUTPUT", "the graph has no outputs");
    if (m->graph->name == NULL || m->graph->name[0] == '\0')
        oxp_log(c->ctx, OXP_LOG_WARNING, "the graph has no name");
    if (m->n_training_info > 0)
        oxp_log(c->ctx, OXP_LOG_WARNING, "training_info is kept as it is, not checked");
    return OXP_OK;
}

oxp_status oxp_check_model(oxp_check *check)
{
    const Onnx__ModelProto *m = check->model->proto;
    OXP_TRY(check_header(check));
    OXP_TRY(oxp_check_weights(check));
    oxp_walk_begin(&check->walk, m->graph);
    OXP_TRY(oxp_check_nodes(check));
    OXP_TRY(oxp_check_functions(check));
    check->walk = (oxp_walk){0};
    return check_overlaps(check);
}
