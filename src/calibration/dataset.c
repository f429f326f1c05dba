/* dataset.c - the handle of a dataset: opening scans every set once, sampling cuts one call out of
 * one.
 *
 * Readers on several threads share the set that was loaded last: references to it are counted under
 * a lock, reading is done outside of it. When two threads want one set at the same time both may
 * read it, and the first one is kept. */
#include "calibration/dataset.h"

#include <math.h>
#include <string.h>

#include "calibration/dataset_internal.h"

#define LABELS_KEY "labels"

/* ---- the model's side ---- */

static oxp_status copy_name(oxp_dataset *d, const char **name)
{
    if (*name == NULL)
        return OXP_OK;
    *name = oxp_arena_strdup(&d->arena, *name);
    return *name == NULL ? OXP_ELIMIT : OXP_OK;
}

static oxp_status copy_info(oxp_dataset *d, size_t slot, const oxp_value_info *info)
{
    data_slot *s = &d->slots[slot];
    s->info = *info;
    s->axis = OXP_AXIS_NONE;
    s->step = 1;
    OXP_TRY(copy_name(d, &s->info.name));
    for (int i = 0; i < s->info.rank; i++)
        OXP_TRY(copy_name(d, &s->info.params[i]));
    return oxp_map_put(&d->slot_of, s->info.name, slot);
}

/* Where one name means several things, an input comes before an output, both before the labels. */
static oxp_status copy_schema(oxp_dataset *d, const oxp_dataset_schema *schema)
{
    d->input_count = schema->input_count;
    d->output_count = schema->output_count;
    d->slot_count = d->input_count + d->output_count + 1;
    d->slots = oxp_arena_alloc(&d->arena, d->slot_count, sizeof *d->slots);
    d->present = oxp_arena_alloc(&d->arena, d->slot_count, sizeof *d->present);
    if (d->slots == NULL || d->present == NULL)
        return OXP_ELIMIT;
    const oxp_value_info labels = {.name = LABELS_KEY, .is_tensor = true, .rank = -1};
    OXP_TRY(copy_info(d, d->slot_count - 1, &labels));
    for (size_t i = 0; i < d->output_count; i++)
        OXP_TRY(copy_info(d, d->input_count + i, &schema->outputs[i]));
    for (size_t i = 0; i < d->input_count; i++) {
        OXP_TRY(copy_info(d, i, &schema->inputs[i]));
        d->slots[i].optional = schema->optional != NULL && schema->optional[i];
    }
    return OXP_OK;
}

/* ---- scanning ---- */

static size_t find_nonfinite_float(const float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!isfinite(x[i]))
            return i;
    return SIZE_MAX;
}

/* Index of the first NaN or infinity; SIZE_MAX: none. */
static size_t find_nonfinite(const oxp_tensor *t)
{
    if (!oxp_dtype_is_float(t->dtype))
        return SIZE_MAX;
    if (t->dtype == OXP_FLOAT)
        return find_nonfinite_float(t->data, t->count);
    for (size_t i = 0; i < t->count; i++)
        if (!isfinite(oxp_tensor_real(t, i)))
            return i;
    return SIZE_MAX;
}

static oxp_status check_finite(oxp_dataset *d, const oxp_tensor *inputs, size_t sample, bool *skip)
{
    char name[OXP_QUOTED_MAX];
    *skip = false;
    for (size_t i = 0; i < d->input_count && d->nonfinite != OXP_DATA_NONFINITE_KEEP; i++) {
        size_t at = find_nonfinite(&inputs[i]);
        if (at == SIZE_MAX)
            continue;
        *skip = true;
        if (d->nonfinite == OXP_DATA_NONFINITE_REFUSE)
            return oxp_fail(d->ctx, OXP_EDATA, "E-CALIB-NONFINITE",
                            "sample %zu: input %s, element %zu is %s", sample,
                            oxp_quote(name, d->slots[i].info.name), at,
                            isnan(oxp_tensor_real(&inputs[i], at)) ? "NaN" : "infinite");
    }
    return OXP_OK;
}

static void release_all(oxp_tensor *tensors, size_t count)
{
    for (size_t i = 0; i < count; i++)
        oxp_tensor_release(&tensors[i]);
}

/* Cuts the slots [first, first + count) of one call; releases what it made on failure. */
static oxp_status make_tensors(const oxp_dataset *d, oxp_ctx *ctx, const loaded_set *l,
                               size_t index, size_t first, size_t count, oxp_tensor *out)
{
    for (size_t i = 0; i < count; i++) {
        out[i] = (oxp_tensor){0};
        if (l->tensors[first + i].dtype == OXP_UNDEFINED)
            continue;
        oxp_status status = oxp_layout_slice(&out[i], ctx, d, l, first + i, index);
        if (status != OXP_OK) {
            release_all(out, i);
            return status;
        }
    }
    return OXP_OK;
}

static oxp_status hash_inputs(oxp_ctx *ctx, const oxp_tensor *inputs, size_t count, uint64_t *out)
{
    data_hasher *h;
    OXP_TRY(oxp_hasher_new(&h, ctx));
    for (size_t i = 0; i < count; i++)
        if (inputs[i].dtype != OXP_UNDEFINED)
            oxp_hasher_add(h, inputs[i].data, oxp_tensor_bytes(&inputs[i]));
    *out = oxp_hasher_value(h);
    oxp_free(h);
    return OXP_OK;
}

static oxp_status scan_call(oxp_dataset *d, const loaded_set *l, size_t index, size_t first_row,
                            oxp_tensor *inputs)
{
    bool skip;
    data_call call = {.set = l->set, .index = index, .first_row = first_row};
    OXP_TRY(make_tensors(d, d->ctx, l, index, 0, d->input_count, inputs));
    oxp_status status = check_finite(d, inputs, index, &skip);
    if (status == OXP_OK)
        status = hash_inputs(d->ctx, inputs, d->input_count, &call.hash);
    release_all(inputs, d->input_count);
    OXP_TRY(status);
    if (skip) {
        d->skipped++;
        return OXP_OK;
    }
    OXP_TRY(oxp_grow(&d->calls, &d->call_capacity, d->ctx, d->call_count + 1, sizeof *d->calls));
    d->calls[d->call_count++] = call;
    d->row_total += l->rows;
    return OXP_OK;
}

static oxp_status append_labels(oxp_dataset *d, const oxp_tensor *t)
{
    OXP_TRY(oxp_grow(&d->labels, &d->label_capacity, d->ctx, d->label_count + t->count,
                     sizeof *d->labels));
    for (size_t i = 0; i < t->count; i++)
        d->labels[d->label_count++] = oxp_tensor_int(t, i);
    return OXP_OK;
}

/* All sets have the same keys, so that every call has the same things. */
static oxp_status check_presence(oxp_dataset *d, const loaded_set *l)
{
    char name[OXP_QUOTED_MAX];
    for (size_t i = 0; i < d->slot_count; i++) {
        bool here = l->tensors[i].dtype != OXP_UNDEFINED;
        if (l->set == 0)
            d->present[i] = here;
        else if (d->present[i] != here)
            return oxp_fail(d->ctx, OXP_EDATA, "E-CALIB-NAME",
                            "%s is %s here, but the first file of the data has it %s",
                            oxp_quote(name, d->slots[i].info.name), here ? "given" : "not given",
                            here ? "not" : "too");
    }
    return OXP_OK;
}

static oxp_status scan_set(oxp_dataset *d, const loaded_set *l, size_t *rows, oxp_tensor *inputs)
{
    data_set *set = &d->sets[l->set];
    const oxp_tensor *labels = &l->tensors[d->slot_count - 1];
    set->calls = l->calls;
    set->rows = l->rows;
    OXP_TRY(check_presence(d, l));
    if (labels->dtype != OXP_UNDEFINED && !d->separate_labels)
        OXP_TRY(append_labels(d, labels));
    for (size_t i = 0; i < l->calls; i++, *rows += l->rows)
        OXP_TRY(scan_call(d, l, i, *rows, inputs));
    return OXP_OK;
}

/* Scans a set that was loaded for the first time, and keeps it as the current one. */
static oxp_status adopt_set(oxp_dataset *d, loaded_set *l, size_t *rows, oxp_tensor *inputs)
{
    const char *subject = d->ctx->subject;
    oxp_set_free(d->current);
    d->current = l;
    d->ctx->subject = d->sets[l->set].path;
    oxp_status status = scan_set(d, l, rows, inputs);
    d->ctx->subject = subject;
    return status;
}

static oxp_status scan_files(oxp_dataset *d, data_hasher *hasher, size_t *rows, oxp_tensor *inputs)
{
    OXP_TRY(oxp_data_files_find(d));
    for (size_t i = 0; i < d->set_count; i++) {
        loaded_set *l;
        OXP_TRY(oxp_progress(d->ctx, "data", i, d->set_count));
        oxp_set_free(d->current); /* never two in memory */
        d->current = NULL;
        OXP_TRY(oxp_set_load(&l, d->ctx, d, i, hasher));
        OXP_TRY(adopt_set(d, l, rows, inputs));
    }
    return OXP_OK;
}

static oxp_status scan_arrays(oxp_dataset *d, const oxp_named_tensor *arrays, size_t count,
                              data_hasher *hasher, size_t *rows, oxp_tensor *inputs)
{
    loaded_set *l;
    const char *subject = d->ctx->subject;
    OXP_TRY(oxp_grow(&d->sets, &d->set_capacity, d->ctx, 1, sizeof *d->sets));
    d->sets[d->set_count++] = (data_set){.kind = SET_MEMORY, .path = d->path};
    d->ctx->subject = d->path;
    oxp_status status = oxp_set_from_tensors(&l, d->ctx, d, arrays, count, hasher);
    d->ctx->subject = subject;
    OXP_TRY(status);
    return adopt_set(d, l, rows, inputs);
}

static oxp_status read_separate_labels(oxp_dataset *d, const char *path, size_t rows)
{
    oxp_tensor t;
    char shape[OXP_SHAPE_TEXT_MAX];
    OXP_TRY(oxp_load_labels_file(&t, d->ctx, d, path));
    oxp_status status;
    if (!oxp_dtype_is_integer(t.dtype))
        status = oxp_fail(d->ctx, OXP_EDATA, "E-CALIB-DTYPE", "labels are %s, expected integers",
                          oxp_dtype_name(t.dtype));
    else if (t.rank < 1 || t.count != rows || (size_t)t.dims[0] != rows)
        status = oxp_fail(d->ctx, OXP_EDATA, "E-CALIB-SHAPE",
                          "labels have shape %s, expected one for each of %zu samples",
                          oxp_shape_text(shape, t.rank, t.dims), rows);
    else
        status = append_labels(d, &t);
    d->present[d->slot_count - 1] = true;
    oxp_tensor_release(&t);
    return status;
}

static oxp_status finish_scan(oxp_dataset *d, const oxp_dataset_options *options, size_t rows)
{
    const char *subject = d->ctx->subject;
    if (options->labels != NULL) {
        d->ctx->subject = options->labels;
        oxp_status status = read_separate_labels(d, options->labels, rows);
        d->ctx->subject = subject;
        OXP_TRY(status);
    }
    if (d->skipped > 0)
        oxp_log(d->ctx, OXP_LOG_WARNING, "%zu of %zu samples hold NaN or infinity, left out",
                d->skipped, d->skipped + d->call_count);
    if (d->call_count > 0)
        return OXP_OK;
    d->ctx->subject = d->path;
    oxp_fail(d->ctx, OXP_EDATA, "E-CALIB-EMPTY", "no sample is left: %zu hold NaN or infinity",
             d->skipped);
    d->ctx->subject = subject;
    return OXP_EDATA;
}

/* ---- opening ---- */

/* `arrays` NULL: from the files at `path`. */
static oxp_status fill(oxp_dataset *d, const char *path, const oxp_named_tensor *arrays,
                       size_t count, const oxp_dataset_schema *schema,
                       const oxp_dataset_options *options)
{
    static const oxp_dataset_options defaults = {0};
    if (options == NULL)
        options = &defaults;
    d->nonfinite = options->nonfinite;
    d->separate_labels = options->labels != NULL;
    d->path = oxp_arena_strdup(&d->arena, path);
    if (d->path == NULL)
        return OXP_ELIMIT;
    OXP_TRY(copy_schema(d, schema));
    OXP_TRY(oxp_layout_decide(d, options));
    oxp_tensor *inputs = oxp_arena_alloc(&d->arena, d->input_count, sizeof *inputs);
    data_hasher *hasher;
    if (inputs == NULL)
        return OXP_ELIMIT;
    OXP_TRY(oxp_hasher_new(&hasher, d->ctx));
    size_t rows = 0;
    oxp_status status = arrays == NULL ? scan_files(d, hasher, &rows, inputs)
                                       : scan_arrays(d, arrays, count, hasher, &rows, inputs);
    d->hash = oxp_hasher_value(hasher);
    oxp_free(hasher);
    OXP_TRY(status);
    return finish_scan(d, options, rows);
}

static oxp_status open_dataset(oxp_dataset **out, oxp_ctx *ctx, const char *path,
                               const oxp_named_tensor *arrays, size_t count,
                               const oxp_dataset_schema *schema, const oxp_dataset_options *options)
{
    oxp_dataset *d;
    OXP_TRY(oxp_alloc(&d, ctx, 1, sizeof *d, "dataset"));
    d->ctx = ctx;
    oxp_arena_init(&d->arena, ctx);
    oxp_map_init(&d->slot_of, ctx);
    pthread_mutex_init(&d->lock, NULL);
    oxp_status status = fill(d, path, arrays, count, schema, options);
    if (status != OXP_OK) {
        oxp_dataset_free(d);
        return status;
    }
    *out = d;
    return OXP_OK;
}

oxp_status oxp_dataset_open(oxp_dataset **out, oxp_ctx *ctx, const char *path,
                            const oxp_dataset_schema *schema, const oxp_dataset_options *options)
{
    return open_dataset(out, ctx, path, NULL, 0, schema, options);
}

oxp_status oxp_dataset_from_tensors(oxp_dataset **out, oxp_ctx *ctx, const char *title,
                                    const oxp_named_tensor *arrays, size_t count,
                                    const oxp_dataset_schema *schema,
                                    const oxp_dataset_options *options)
{
    static const oxp_named_tensor none = {0};
    return open_dataset(out, ctx, title, count == 0 ? &none : arrays, count, schema, options);
}

void oxp_dataset_free(oxp_dataset *d)
{
    if (d == NULL)
        return;
    oxp_set_free(d->current);
    pthread_mutex_destroy(&d->lock);
    oxp_free(d->sets);
    oxp_free(d->calls);
    oxp_free(d->labels);
    oxp_free(d->files);
    oxp_map_free(&d->slot_of);
    oxp_arena_free(&d->arena);
    oxp_free(d);
}

/* ---- the set that is in memory ---- */

static void drop_set(oxp_dataset *d, loaded_set *l)
{
    pthread_mutex_lock(&d->lock);
    bool last = --l->references == 0;
    pthread_mutex_unlock(&d->lock);
    if (last)
        oxp_set_free(l);
}

/* The current set when it is `index`, with a reference for the caller. */
static loaded_set *hold_current(oxp_dataset *d, size_t index)
{
    pthread_mutex_lock(&d->lock);
    loaded_set *l = d->current != NULL && d->current->set == index ? d->current : NULL;
    if (l != NULL)
        l->references++;
    pthread_mutex_unlock(&d->lock);
    return l;
}

/* Makes `l` the current set unless another thread did so with the same one; gives the one to use.
 * */
static loaded_set *make_current(oxp_dataset *d, loaded_set *l)
{
    pthread_mutex_lock(&d->lock);
    loaded_set *old = d->current;
    bool same = old != NULL && old->set == l->set;
    loaded_set *use = same ? old : l;
    use->references++;
    if (!same)
        d->current = l;
    pthread_mutex_unlock(&d->lock);
    if (same)
        oxp_set_free(l); /* nobody else has seen it */
    else if (old != NULL)
        drop_set(d, old);
    return use;
}

static oxp_status hold_set(loaded_set **out, oxp_dataset *d, oxp_ctx *ctx, size_t index)
{
    loaded_set *l = hold_current(d, index);
    if (l == NULL) {
        OXP_TRY(oxp_set_load(&l, ctx, d, index, NULL));
        l = make_current(d, l);
    }
    *out = l;
    return OXP_OK;
}

/* ---- samples ---- */

/* A set that was read again, or that lies in a mapped file, must be what was checked. */
static oxp_status check_hash(const oxp_dataset *d, oxp_ctx *ctx, size_t call, bool mapped,
                             const oxp_tensor *inputs)
{
    uint64_t hash;
    if (d->set_count == 1 && !mapped)
        return OXP_OK;
    OXP_TRY(hash_inputs(ctx, inputs, d->input_count, &hash));
    if (hash == d->calls[call].hash)
        return OXP_OK;
    const char *subject = ctx->subject;
    ctx->subject = d->sets[d->calls[call].set].path;
    oxp_fail(ctx, OXP_EDATA, "E-CHANGED", "the file changed after it was checked");
    ctx->subject = subject;
    return OXP_EDATA;
}

oxp_status oxp_dataset_sample(oxp_dataset *d, oxp_ctx *ctx, size_t call, oxp_tensor *inputs)
{
    loaded_set *l;
    const data_call *c = &d->calls[call];
    OXP_TRY(hold_set(&l, d, ctx, c->set));
    oxp_status status = make_tensors(d, ctx, l, c->index, 0, d->input_count, inputs);
    bool mapped = l->file.mapping != NULL;
    drop_set(d, l);
    OXP_TRY(status);
    status = check_hash(d, ctx, call, mapped, inputs);
    if (status != OXP_OK)
        release_all(inputs, d->input_count);
    return status;
}

oxp_status oxp_dataset_expected(oxp_dataset *d, oxp_ctx *ctx, size_t call, oxp_tensor *outputs)
{
    loaded_set *l;
    const data_call *c = &d->calls[call];
    OXP_TRY(hold_set(&l, d, ctx, c->set));
    oxp_status status = make_tensors(d, ctx, l, c->index, d->input_count, d->output_count, outputs);
    drop_set(d, l);
    return status;
}

/* ---- questions ---- */

const char *oxp_dataset_path(const oxp_dataset *d)
{
    return d->path;
}

size_t oxp_dataset_count(const oxp_dataset *d)
{
    return d->call_count;
}

size_t oxp_dataset_skipped(const oxp_dataset *d)
{
    return d->skipped;
}

size_t oxp_dataset_rows(const oxp_dataset *d, size_t call)
{
    return d->sets[d->calls[call].set].rows;
}

size_t oxp_dataset_row_total(const oxp_dataset *d)
{
    return d->row_total;
}

bool oxp_dataset_has_expected(const oxp_dataset *d, size_t output)
{
    return d->present[d->input_count + output];
}

const int64_t *oxp_dataset_labels(const oxp_dataset *d, size_t call)
{
    return d->present[d->slot_count - 1] ? d->labels + d->calls[call].first_row : NULL;
}

uint64_t oxp_dataset_sample_hash(const oxp_dataset *d, size_t call)
{
    return d->calls[call].hash;
}

uint64_t oxp_dataset_hash(const oxp_dataset *d)
{
    return d->hash;
}

const oxp_file_id *oxp_dataset_files(const oxp_dataset *d, size_t *count)
{
    *count = d->file_count;
    return d->files;
}

int oxp_dataset_output_axis(const oxp_dataset *d, size_t output)
{
    return d->slots[d->input_count + output].axis;
}
