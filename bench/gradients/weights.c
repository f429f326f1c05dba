/* weights.c - the gradients of a model's constants, for torch_gradients.py to hold against PyTorch's.
 *
 *     weights MODEL DATA COUNT OUT.npz
 *
 * The loss of a sample is L = sum over its float outputs y and their elements k of r(k) y[k], r(k)
 * in [-1, 1) from a hash of k and of the output's number (`draw`; the other side has the same).
 * OUT.npz gets, for each of the first COUNT samples, "d/I/NAME" for every FLOAT constant of two
 * elements and more that L reaches, and "x/I/NAME", the sample as it was fed. The graph is the
 * file's own: nothing is prepared. */
#include <stdio.h>
#include <stdlib.h>

#include "calibration/npz.h"
#include "calibration/source.h"

#define NAME_MAX_BYTES 1024

typedef struct kept { /* an array of OUT.npz */
    const char *key;
    oxp_tensor tensor;
} kept;

typedef struct job {
    oxp_ctx *ctx;
    oxp_arena arena;
    oxp_graph *graph;
    oxp_session *session;
    oxp_gradients gradients;
    oxp_samples samples;
    size_t index; /* of the sample that is under way */
    kept *items;
    size_t count, capacity;
} job;

static double draw(size_t k, size_t output)
{
    uint32_t h = (uint32_t)k * UINT32_C(2654435761) + (uint32_t)output * UINT32_C(40503);
    h = (h ^ h >> 15) * UINT32_C(2246822519);
    h ^= h >> 13;
    return (double)h * 0x1p-31 - 1.0;
}

/* A copy of t as "what/INDEX/name". */
static oxp_status keep(job *j, const char *what, const char *name, const oxp_tensor *t)
{
    char key[NAME_MAX_BYTES];
    if (j->count == j->capacity)
        return oxp_fail(j->ctx, OXP_ELIMIT, "E-LIMIT", "more than %zu arrays", j->capacity);
    snprintf(key, sizeof key, "%s/%zu/%s", what, j->index, name);
    kept *item = &j->items[j->count++];
    item->key = oxp_arena_strdup(&j->arena, key);
    return item->key ? oxp_tensor_copy(&item->tensor, j->ctx, t) : OXP_ELIMIT;
}

/* ---- gradients ---- */

static bool is_wanted(void *user, const oxp_graph *graph, const oxp_value *value)
{
    (void)user;
    (void)graph;
    return value->kind == OXP_VALUE_CONSTANT && value->constant.dtype == OXP_FLOAT &&
           value->constant.count > 1;
}

static oxp_status on_gradient(void *user, const oxp_graph *graph, uint32_t value,
                              const oxp_tensor *g)
{
    return keep(user, "d", graph->values[value].name, g);
}

/* ---- one sample ---- */

static oxp_status shape_gradient(job *j, oxp_tensor *dy, const oxp_tensor *y, size_t output)
{
    OXP_TRY(oxp_tensor_shape(dy, j->ctx, OXP_FLOAT, y->rank, y->dims, "gradient"));
    OXP_TRY(oxp_tensor_alloc(dy, j->ctx, "gradient"));
    for (size_t k = 0; k < dy->count; k++)
        ((float *)dy->data)[k] = (float)draw(k, output);
    return OXP_OK;
}

/* t: the inputs, then the outputs, then their gradients. */
static oxp_status back(job *j, oxp_tensor *t, const oxp_tensor **fed, const oxp_tensor **dout)
{
    const oxp_graph *g = j->graph;
    oxp_tensor *outputs = t + g->input_count, *dy = outputs + g->output_count;
    OXP_TRY(j->samples.source.get(j->samples.source.user, j->ctx, j->index, t));
    for (size_t i = 0; i < g->input_count; i++) {
        OXP_TRY(keep(j, "x", g->values[g->inputs[i]].name, &t[i]));
        fed[i] = &t[i];
    }
    OXP_TRY(oxp_session_run(j->session, fed, outputs));
    for (size_t i = 0; i < g->output_count; i++) {
        if (!oxp_dtype_is_float(outputs[i].dtype))
            continue;
        OXP_TRY(shape_gradient(j, &dy[i], &outputs[i], i));
        dout[i] = &dy[i];
    }
    return oxp_session_backward(j->session, dout);
}

static oxp_status run_sample(job *j)
{
    size_t inputs = j->graph->input_count, outputs = j->graph->output_count;
    size_t count = inputs + 2 * outputs;
    oxp_tensor *t = calloc(count + 1, sizeof *t);
    const oxp_tensor **pointers = calloc(inputs + outputs + 1, sizeof *pointers);
    oxp_status status = t && pointers ? back(j, t, pointers, pointers + inputs) : OXP_ELIMIT;
    for (size_t i = 0; t && i < count; i++)
        oxp_tensor_release(&t[i]);
    free(t);
    free(pointers);
    return status;
}

/* ---- the whole ---- */

static oxp_status make_room(job *j, size_t samples)
{
    const oxp_graph *const *graphs;
    size_t graph_count;
    OXP_TRY(oxp_graph_all(&graphs, &graph_count, &j->arena, j->graph));
    j->capacity = samples * j->graph->input_count;
    for (size_t g = 0; g < graph_count; g++)
        j->capacity += samples * graphs[g]->value_count;
    j->items = oxp_arena_alloc(&j->arena, j->capacity + 1, sizeof *j->items);
    return j->items ? OXP_OK : OXP_ELIMIT;
}

static oxp_status save(job *j, const char *path)
{
    oxp_output_file *file;
    oxp_output_options options = {.force = true};
    oxp_npz_array *arrays = oxp_arena_alloc(&j->arena, j->count + 1, sizeof *arrays);
    if (!arrays)
        return OXP_ELIMIT;
    for (size_t i = 0; i < j->count; i++)
        arrays[i] = (oxp_npz_array){j->items[i].key, &j->items[i].tensor};
    OXP_TRY(oxp_output_open(&file, j->ctx, path, &options));
    oxp_status status = oxp_npz_write(file, j->ctx, arrays, j->count);
    if (status == OXP_OK)
        return oxp_output_publish(file);
    oxp_output_discard(file);
    return status;
}

static oxp_status run_all(job *j, size_t count, const char *path)
{
    oxp_session_options options = {.gradients = &j->gradients};
    size_t samples = count < j->samples.source.count ? count : j->samples.source.count;
    OXP_TRY(make_room(j, samples));
    OXP_TRY(oxp_session_create(&j->session, j->ctx, j->graph, &options));
    for (j->index = 0; j->index < samples; j->index++)
        OXP_TRY(run_sample(j));
    return save(j, path);
}

static oxp_status serve(job *j, oxp_model *model, const char *data, size_t count, const char *path)
{
    oxp_input_options options = {.size = sizeof options};
    OXP_TRY(oxp_graph_build(&j->graph, &j->arena, model));
    OXP_TRY(oxp_samples_open(&j->samples, j->ctx, j->graph, data, NULL, &options));
    oxp_status status = run_all(j, count, path);
    for (size_t i = 0; i < j->count; i++)
        oxp_tensor_release(&j->items[i].tensor);
    oxp_session_free(j->session);
    oxp_samples_close(&j->samples);
    return status;
}

int main(int count, char **arguments)
{
    job j = {.ctx = oxp_ctx_new()};
    oxp_model *model = NULL;
    oxp_load_options options = {0};
    if (count != 5 || !j.ctx)
        return 2;
    j.gradients = (oxp_gradients){.wanted = is_wanted, .complete = on_gradient, .user = &j};
    oxp_arena_init(&j.arena, j.ctx);
    oxp_status status = oxp_model_load(&model, j.ctx, arguments[1], &options);
    if (status == OXP_OK)
        status = serve(&j, model, arguments[2], strtoul(arguments[3], NULL, 10), arguments[4]);
    if (status != OXP_OK)
        fprintf(stderr, "%s\n", oxp_ctx_error_message(j.ctx));
    oxp_model_free(model);
    oxp_arena_free(&j.arena);
    oxp_ctx_free(j.ctx);
    return status == OXP_OK ? 0 : 1;
}
