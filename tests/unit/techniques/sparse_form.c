/* Constants with zeros: in every form the model reads back the same numbers, bit for bit, in about
 * the bytes that were told, and the form is the smallest. */
#include "techniques/sparse_form.h"

#include "fitted_layer.h"

static const layer_case identity = {"MatMul", 2, {1, 1}, 2, {1, 2}, NULL};

typedef struct pattern {
    const char *name;
    size_t count;
    double density;
    size_t first; /* nothing before it */
    oxp_sparse_kind kind;
} pattern;

static const pattern patterns[] = {
    {"dense", 5000, 1, 0, OXP_SPARSE_DENSE},
    {"half", 5003, 0.5, 0, OXP_SPARSE_MASK},
    {"tenth", 50000, 0.1, 0, OXP_SPARSE_GAPS8},
    {"few", 5000, 0.002, 0, OXP_SPARSE_LIST},
    {"apart", 300000, 0.0005, 0, OXP_SPARSE_GAPS16},
    {"late", 9000, 0.3, 2000, OXP_SPARSE_MASK},
    {"late and thin", 40000, 0.05, 9001, OXP_SPARSE_GAPS8},
    {"none", 3000, 0, 0, OXP_SPARSE_LIST},
    {"small", 60, 0.5, 0, OXP_SPARSE_DENSE},
};

static void fill(void *data, oxp_dtype dtype, const pattern *p)
{
    oxp_random r = oxp_random_make(7, p->count, 0);
    for (size_t i = 0; i < p->count; i++) {
        bool kept = i >= p->first && oxp_random_uniform(&r) < p->density;
        double value = 1 + (double)oxp_random_below(&r, 100);
        value *= (double)oxp_random_sign(&r);
        if (dtype == OXP_FLOAT)
            ((float *)data)[i] = kept ? (float)(value / 7) : 0;
        else
            ((int8_t *)data)[i] = (int8_t)(kept ? value : 0);
    }
}

static size_t packed_size(oxp_model *m)
{
    uint8_t *bytes;
    size_t size;
    cr_assert_eq(oxp_model_pack(&bytes, &size, m), OXP_OK);
    oxp_free(bytes);
    return size;
}

/* Writes the constant as "c", and an output that is it; returns what it took. */
static double write_and_read(const pattern *p, oxp_dtype dtype, const void *data,
                             const oxp_sparse_form *form)
{
    fitted_layer f;
    start_layer(&f, &identity, NULL);
    size_t before = packed_size(f.model);
    const char *name = "c";
    int64_t dims[2] = {1, (int64_t)p->count};
    oxp_edit e = {.ctx = &f.ctx, .model = f.model};
    oxp_arena_init(&e.arena, &f.ctx);
    oxp_map_init(&e.names, &f.ctx);
    oxp_expression x = {.e = &e, .graph = f.graph};
    cr_assert_eq(oxp_sparse_form_write(&name, &x, form, dtype, 2, dims, data), OXP_OK, "%s: %s",
                 p->name, f.ctx.message);
    double taken = (double)packed_size(f.model) - (double)before;
    const char *inputs[1] = {"c"};
    cr_assert_eq(append_node(f.model, "Identity", 1, inputs, "z", NULL), OXP_OK);
    oxp_value_info z = {.name = "z", .dtype = dtype, .is_tensor = true, .rank = -1};
    cr_assert_eq(oxp_edit_add_output(f.model, oxp_model_graph(f.model), &z), OXP_OK);
    oxp_graph *graph;
    oxp_session *session;
    float one = 1;
    oxp_tensor in = {.dtype = OXP_FLOAT, .rank = 2, .dims = {1, 1}, .count = 1, .data = &one};
    oxp_tensor out[2] = {{0}, {0}};
    const oxp_tensor *fed[1] = {&in};
    cr_assert_eq(oxp_graph_build(&graph, &f.arena, f.model), OXP_OK, "%s", f.ctx.message);
    cr_assert_eq(oxp_session_create(&session, &f.ctx, graph, NULL), OXP_OK, "%s", f.ctx.message);
    cr_assert_eq(oxp_session_run(session, fed, out), OXP_OK, "%s", f.ctx.message);
    cr_assert_eq(out[1].count, p->count);
    cr_expect_eq(memcmp(out[1].data, data, p->count * oxp_dtype_bits(dtype) / 8), 0, "%s", p->name);
    oxp_tensor_release(&out[0]);
    oxp_tensor_release(&out[1]);
    oxp_session_free(session);
    oxp_map_free(&e.names);
    oxp_free(e.shared);
    oxp_arena_free(&e.arena);
    stop_layer(&f);
    return taken;
}

Test(sparse_form, every_form_holds_the_same_numbers)
{
    static const oxp_dtype types[] = {OXP_FLOAT, OXP_INT8};
    for (size_t k = 0; k < sizeof patterns / sizeof *patterns; k++)
        for (int t = 0; t < 2; t++) {
            const pattern *p = &patterns[k];
            float *data = malloc(p->count * sizeof *data);
            fill(data, types[t], p);
            oxp_sparse_form form = oxp_sparse_form_of(types[t], data, p->count);
            if (types[t] == OXP_FLOAT)
                cr_expect_eq(form.kind, p->kind, "%s: %d", p->name, (int)form.kind);
            double taken = write_and_read(p, types[t], data, &form);
            cr_expect_lt(fabs(taken - (double)form.bytes), 60, "%s: %g bytes, told %zu (%d)",
                         p->name, taken, form.bytes, (int)form.kind);
            free(data);
        }
}

/* A mask and the codes of half the weights: 5 eighths of the bytes. */
Test(sparse_form, codes_of_which_half_are_zero)
{
    pattern p = {"codes", 40000, 0.5, 0, OXP_SPARSE_MASK};
    int8_t *codes = malloc(p.count);
    fill(codes, OXP_INT8, &p);
    oxp_sparse_form form = oxp_sparse_form_of(OXP_INT8, codes, p.count);
    cr_expect_eq(form.kind, OXP_SPARSE_MASK);
    cr_expect_lt(fabs((double)form.bytes / (double)p.count - 0.625), 0.03);
    cr_expect_lt(
        fabs((double)oxp_sparse_bytes(OXP_INT8, p.count, p.count / 2) / (double)form.bytes - 1),
        0.02);
    write_and_read(&p, OXP_INT8, codes, &form);
    free(codes);
}
