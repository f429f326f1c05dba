/* fitted_layer.h - a model of one layer, what a technique fits to it on random samples, and the
 * outputs of what it writes. */
#ifndef OXP_TESTS_UNIT_TECHNIQUES_FITTED_LAYER_H
#define OXP_TESTS_UNIT_TECHNIQUES_FITTED_LAYER_H

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "calibration/source.h"
#include "interpreter/interpreter.h"
#include "onnx/edit.h"
#include "onnx/save.h"
#include "support/nodes.h"
#include "techniques/fit.h"
#include "util/random.h"

#define FITTED_SAMPLES 24

typedef struct layer_case {
    const char *type; /* y = type(x, w) */
    int x_rank;
    int64_t x[4];
    int w_rank;
    int64_t w[4];
    const char *attribute; /* "pads" of 1, "transB" 1, "group" one a channel, or NULL */
} layer_case;

typedef struct fitted_layer {
    oxp_ctx ctx;
    oxp_arena arena;
    oxp_model *model;
    oxp_graph *graph;
    oxp_site *sites;
    oxp_samples samples;
    oxp_choice choice;
    oxp_fits fits;
    const layer_case *what;
} fitted_layer;

static inline void add_layer(fitted_layer *f, const float *w)
{
    const layer_case *c = f->what;
    const char *inputs[2] = {"x", "w"};
    oxp_node_proto *node;
    oxp_graph_proto *g = oxp_model_graph(f->model);
    oxp_value_info x = {.name = "x", .dtype = OXP_FLOAT, .is_tensor = true, .rank = c->x_rank};
    oxp_value_info y = {.name = "y", .dtype = OXP_FLOAT, .is_tensor = true, .rank = -1};
    memcpy(x.dims, c->x, sizeof c->x);
    cr_assert_eq(oxp_edit_add_input(f->model, g, &x), OXP_OK);
    cr_assert_eq(oxp_edit_add_output(f->model, g, &y), OXP_OK);
    cr_assert_eq(oxp_edit_add_initializer(f->model, g, "w", OXP_FLOAT, c->w_rank, c->w, w), OXP_OK);
    cr_assert_eq(append_node(f->model, c->type, 2, inputs, "y", &node), OXP_OK);
    if (c->attribute && strcmp(c->attribute, "pads") == 0)
        cr_assert_eq(oxp_edit_set_ints(f->model, node, "pads", 4, (int64_t[]){1, 1, 1, 1}), OXP_OK);
    else if (c->attribute)
        cr_assert_eq(oxp_edit_set_int(f->model, node, c->attribute,
                                      strcmp(c->attribute, "group") == 0 ? c->x[1] : 1),
                     OXP_OK);
}

/* w NULL: random. */
static inline void start_layer(fitted_layer *f, const layer_case *c, const float *w)
{
    size_t count = 1, sites;
    memset(f, 0, sizeof *f);
    f->what = c;
    oxp_ctx_init(&f->ctx);
    oxp_arena_init(&f->arena, &f->ctx);
    for (int i = 0; i < c->w_rank; i++)
        count *= (size_t)c->w[i];
    float *random = oxp_arena_alloc(&f->arena, count, sizeof *random);
    oxp_random r = oxp_random_make(2, 0, 0);
    for (size_t i = 0; i < count; i++)
        random[i] = (float)oxp_random_normal(&r);
    cr_assert_eq(oxp_model_new(&f->model, &f->ctx, 13), OXP_OK);
    add_layer(f, w ? w : random);
    cr_assert_eq(oxp_graph_build(&f->graph, &f->arena, f->model), OXP_OK, "%s", f->ctx.message);
    cr_assert_eq(oxp_sites_find(&f->sites, &sites, &f->arena, f->graph), OXP_OK);
    cr_assert_eq(sites, 1);
    oxp_input_options options = OXP_INPUT_OPTIONS_INIT;
    options.random_samples = FITTED_SAMPLES;
    cr_assert_eq(oxp_samples_open(&f->samples, &f->ctx, f->graph, NULL, NULL, &options), OXP_OK,
                 "%s", f->ctx.message);
}

static inline void stop_layer(fitted_layer *f)
{
    oxp_fits_free(&f->fits);
    oxp_samples_close(&f->samples);
    oxp_arena_free(&f->arena);
    oxp_model_free(f->model);
    cr_expect_eq(f->ctx.budget->used, 0);
}

static inline const oxp_fitted *fit_layer(fitted_layer *f, const oxp_technique *t,
                                          const char *params, bool with_samples)
{
    const char *why;
    oxp_fits_free(&f->fits);
    f->choice = (oxp_choice){.technique = t, .limit = 127};
    cr_assert(t->applies(&f->sites[0], &why), "%s", why);
    cr_assert_eq(
        oxp_params_parse(&f->choice.params, &f->ctx, t->name, t->params, params, strlen(params)),
        OXP_OK, "%s", f->ctx.message);
    oxp_fit_options options = {.graph = f->graph,
                               .sites = f->sites,
                               .site_count = 1,
                               .source = with_samples ? &f->samples.source : NULL,
                               .which = NULL,
                               .samples = FITTED_SAMPLES};
    size_t which[FITTED_SAMPLES];
    for (size_t i = 0; i < FITTED_SAMPLES; i++)
        which[i] = i;
    options.which = which;
    cr_assert_eq(oxp_techniques_fit(&f->fits, &f->choice, &options), OXP_OK, "%s", f->ctx.message);
    return f->choice.fitted;
}

/* What the technique writes, read back from its bytes. */
static inline oxp_model *write_layer(fitted_layer *f, size_t *size)
{
    oxp_model *edited, *read;
    oxp_codes codes = {0};
    uint8_t *bytes;
    oxp_load_options options = {0};
    cr_assert_eq(oxp_edit_apply(&edited, f->model, &f->choice, &codes, NULL, NULL), OXP_OK, "%s",
                 f->ctx.message);
    cr_assert_eq(oxp_model_pack(&bytes, size, edited), OXP_OK);
    oxp_model_free(edited);
    uint8_t *kept = oxp_arena_alloc(&f->arena, *size, 1); /* the model borrows from it */
    memcpy(kept, bytes, *size);
    oxp_free(bytes);
    cr_assert_eq(oxp_model_load_memory(&read, &f->ctx, kept, *size, NULL, &options), OXP_OK, "%s",
                 f->ctx.message);
    return read;
}

/* The model with the fitted weight as plain numbers. */
static inline oxp_model *plain_layer(fitted_layer *f)
{
    oxp_model *plain;
    oxp_graph *graph;
    const oxp_tensor *t = &f->sites[0].value->constant;
    float *w = oxp_arena_alloc(&f->arena, t->count, sizeof *w);
    oxp_site_unmatrix(w, f->choice.fitted->weight, &f->sites[0]);
    cr_assert_eq(oxp_model_clone(&plain, f->model), OXP_OK);
    cr_assert_eq(oxp_graph_build(&graph, &f->arena, plain), OXP_OK);
    oxp_value *v = &graph->values[oxp_graph_find_value(graph, "w")];
    cr_assert_eq(oxp_edit_set_tensor(plain, v->proto, OXP_FLOAT, t->rank, t->dims, w), OXP_OK);
    return plain;
}

static inline void run_layer(fitted_layer *f, oxp_model *model, oxp_tensor *y)
{
    oxp_graph *graph;
    oxp_session *session;
    oxp_tensor x = {0};
    const oxp_tensor *fed[1] = {&x};
    oxp_random r = oxp_random_make(3, 0, 0);
    cr_assert_eq(oxp_graph_build(&graph, &f->arena, model), OXP_OK, "%s", f->ctx.message);
    cr_assert_eq(oxp_session_create(&session, &f->ctx, graph, NULL), OXP_OK, "%s", f->ctx.message);
    cr_assert_eq(oxp_tensor_shape(&x, &f->ctx, OXP_FLOAT, f->what->x_rank, f->what->x, "x"),
                 OXP_OK);
    cr_assert_eq(oxp_tensor_alloc(&x, &f->ctx, "x"), OXP_OK);
    for (size_t i = 0; i < x.count; i++)
        ((float *)x.data)[i] = (float)oxp_random_normal(&r);
    cr_assert_eq(oxp_session_run(session, fed, y), OXP_OK, "%s", f->ctx.message);
    oxp_tensor_release(&x);
    oxp_session_free(session);
}

/* Largest difference of the outputs of two models, of the largest output. Frees both models. */
static inline double outputs_apart(fitted_layer *f, oxp_model *a, oxp_model *b)
{
    oxp_tensor x = {0}, y = {0};
    double most = 0, size = 0;
    run_layer(f, a, &x);
    run_layer(f, b, &y);
    cr_assert_eq(x.count, y.count);
    for (size_t i = 0; i < x.count; i++) {
        double p = (double)((float *)x.data)[i], q = (double)((float *)y.data)[i];
        most = fmax(most, fabs(p - q));
        size = fmax(size, fabs(q));
    }
    oxp_tensor_release(&x);
    oxp_tensor_release(&y);
    oxp_model_free(a);
    oxp_model_free(b);
    cr_assert_gt(size, 0);
    return most / size;
}

#endif
