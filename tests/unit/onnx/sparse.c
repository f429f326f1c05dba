/* sparse.c - sparse initializers: what is refused, and the dense tensor that the others stand for.
 * */
#include "unit/onnx/encode.h"

#include <stdio.h>

typedef struct sparse_case {
    size_t rank;
    int64_t dims[3];
    size_t nnz;
    size_t columns; /* 0: flat indices [nnz] */
    int64_t indices[8];
} sparse_case;

static bytes index_tensor(const sparse_case *c, int dtype)
{
    int64_t shape[] = {(int64_t)c->nnz, (int64_t)c->columns};
    bytes t = tensor("i", dtype, c->columns > 0 ? 2 : 1, shape);
    size_t count = c->nnz * (c->columns > 0 ? c->columns : 1);
    for (size_t i = 0; i < count; i++)
        put_int(&t, dtype == OXP_INT32 ? TENSOR_INT32 : TENSOR_INT64, c->indices[i]);
    return t;
}

/* Values are 1, 2, 3, ... */
static bytes value_tensor(size_t nnz)
{
    int64_t shape[] = {(int64_t)nnz};
    bytes t = tensor("s", OXP_FLOAT, 1, shape);
    for (size_t i = 0; i < nnz; i++)
        put_float(&t, TENSOR_FLOAT, (float)(i + 1));
    return t;
}

/* Takes the tensors; an empty one is left out. */
static bytes model_with_sparse(size_t rank, const int64_t *dims, bytes values, bytes indices)
{
    bytes s = {0}, g = graph();
    if (values.size > 0)
        put_message(&s, 1, values);
    if (indices.size > 0)
        put_message(&s, 2, indices);
    for (size_t i = 0; i < rank; i++)
        put_int(&s, 3, dims[i]);
    put_message(&g, GRAPH_SPARSE, s);
    return model(g);
}

static bytes model_of(const sparse_case *c)
{
    return model_with_sparse(c->rank, c->dims, value_tensor(c->nnz), index_tensor(c, OXP_INT64));
}

static void refuse_case(const sparse_case *c, const char *code, const char *part)
{
    expect_refused(model_of(c), OXP_EFORMAT, code, part);
}

Test(sparse, indices_are_int64)
{
    sparse_case c = {1, {4}, 1, 0, {2}};
    expect_refused(model_with_sparse(1, c.dims, value_tensor(1), index_tensor(&c, OXP_INT32)),
                   OXP_EFORMAT, "E-SPARSE", "sparse initializer \"s\" indices: data_type INT32");
}

Test(sparse, both_parts_are_needed)
{
    sparse_case c = {1, {4}, 1, 0, {2}};
    expect_refused(model_with_sparse(1, c.dims, (bytes){0}, index_tensor(&c, OXP_INT64)),
                   OXP_EFORMAT, "E-SPARSE", "values are missing");
    expect_refused(model_with_sparse(1, c.dims, value_tensor(1), (bytes){0}), OXP_EFORMAT,
                   "E-SPARSE", "indices are missing");
}

Test(sparse, indices_stay_inside)
{
    refuse_case(&(sparse_case){2, {2, 3}, 1, 0, {6}}, "E-SPARSE-INDEX", "index 0 is 6");
    refuse_case(&(sparse_case){2, {2, 3}, 1, 0, {-1}}, "E-SPARSE-INDEX", "-1");
    refuse_case(&(sparse_case){2, {2, 3}, 1, 2, {0, 3}}, "E-SPARSE-INDEX", "below 3");
    refuse_case(&(sparse_case){2, {2, 3}, 1, 2, {2, 0}}, "E-SPARSE-INDEX", "below 2");
    refuse_case(&(sparse_case){1, {4}, 1, 0, {INT64_MAX}}, "E-SPARSE-INDEX", "below 4");
    refuse_case(&(sparse_case){1, {0}, 1, 0, {0}}, "E-SPARSE-INDEX", "below 0");
}

Test(sparse, indices_ascend)
{
    refuse_case(&(sparse_case){1, {4}, 2, 0, {3, 1}}, "E-SPARSE-ORDER", "index 1");
    refuse_case(&(sparse_case){1, {4}, 2, 0, {1, 1}}, "E-SPARSE-ORDER", "index 1");
    refuse_case(&(sparse_case){2, {2, 3}, 2, 2, {1, 0, 0, 2}}, "E-SPARSE-ORDER", "index 1");
}

Test(sparse, shapes_agree)
{
    refuse_case(&(sparse_case){2, {2, 3}, 2, 3, {0, 0, 0, 1, 1, 1}}, "E-SPARSE", "[2,3]");
    refuse_case(&(sparse_case){2, {2, 3}, 2, 1, {0, 1}}, "E-SPARSE", "[2,1]");
    sparse_case scalar = {1, {4}, 1, 0, {2}};
    expect_refused(model_with_sparse(0, NULL, value_tensor(1), index_tensor(&scalar, OXP_INT64)),
                   OXP_EFORMAT, "E-SPARSE", "no dimensions");
    bytes rank0 = tensor("i", OXP_INT64, 0, NULL);
    put_int(&rank0, TENSOR_INT64, 1);
    expect_refused(model_with_sparse(1, scalar.dims, value_tensor(1), rank0), OXP_EFORMAT,
                   "E-SPARSE", "shape []");
    int64_t cube[] = {1, 1, 1};
    bytes rank3 = tensor("i", OXP_INT64, 3, cube);
    put_int(&rank3, TENSOR_INT64, 1);
    expect_refused(model_with_sparse(1, scalar.dims, value_tensor(1), rank3), OXP_EFORMAT,
                   "E-SPARSE", "shape [1,1,1]");
    sparse_case fewer = {1, {4}, 1, 0, {2}};
    expect_refused(
        model_with_sparse(1, fewer.dims, value_tensor(2), index_tensor(&fewer, OXP_INT64)),
        OXP_EFORMAT, "E-SPARSE", "expected [2]");
}

Test(sparse, data_has_the_size_of_its_shape)
{
    int64_t shape[] = {3, 2}, dims[] = {4, 4};
    bytes indices = tensor("i", OXP_INT64, 2, shape);
    for (int64_t i = 0; i < 5; i++)
        put_int(&indices, TENSOR_INT64, i);
    expect_refused(model_with_sparse(2, dims, value_tensor(3), indices), OXP_EFORMAT, "E-DATA-LEN",
                   "needs 6");
}

Test(sparse, dense_sizes_do_not_wrap)
{
    int64_t big = INT64_C(1) << 32;
    refuse_case(&(sparse_case){2, {big, big}, 1, 0, {5}}, "E-SHAPE-OVERFLOW", "dense");
    refuse_case(&(sparse_case){2, {3, -1}, 1, 0, {0}}, "E-DIM", "-1");
}

/* The dense tensor of a model that is accepted; NULL data and the error in the context otherwise.
 * */
static void densify(loaded *l, oxp_arena *arena, oxp_tensor *out, const sparse_case *c,
                    size_t limit)
{
    load_in(l, model_of(c), NULL, NULL);
    cr_assert_eq(l->ctx.status, OXP_OK, "%s", l->ctx.message);
    if (limit > 0)
        l->ctx.own_budget.limit = limit;
    *out = (oxp_tensor){0};
    oxp_arena_init(arena, &l->ctx);
    oxp_graph_proto *g = oxp_model_graph(l->model);
    cr_expect_eq(oxp_graph_proto_sparse_count(g), 1);
    cr_expect_str_eq(oxp_graph_proto_sparse_name(g, 0), "s");
    oxp_status status = oxp_graph_proto_sparse(out, arena, l->model, g, 0);
    cr_expect_eq(status, l->ctx.status);
}

Test(sparse, dense_tensors)
{
    static const sparse_case cases[] = {
        {2, {2, 3}, 3, 0, {0, 4, 5}},
        {2, {2, 3}, 3, 2, {0, 0, 1, 1, 1, 2}},
        {1, {6}, 3, 1, {0, 4, 5}},
        {3, {1, 2, 3}, 0, 0, {0}},
    };
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        loaded l;
        oxp_arena arena;
        oxp_tensor t;
        densify(&l, &arena, &t, &cases[k], 0);
        cr_assert_eq(t.count, 6);
        cr_expect_eq(t.rank, (int)cases[k].rank);
        const float expected[6] = {1, 0, 0, 0, 2, 3}, none[6] = {0};
        cr_expect_eq(memcmp(t.data, cases[k].nnz > 0 ? expected : none, sizeof none), 0, "case %zu",
                     k);
        oxp_arena_free(&arena);
        unload(&l);
    }
}

Test(sparse, a_bomb_meets_the_budget)
{
    loaded l;
    oxp_arena arena;
    oxp_tensor t;
    sparse_case c = {1, {INT64_C(1) << 40}, 1, 0, {7}};
    densify(&l, &arena, &t, &c, 64 << 20);
    cr_expect_eq(l.ctx.status, OXP_ELIMIT);
    cr_expect_str_eq(l.ctx.code, "E-LIMIT-MEM");
    cr_expect_not_null(strstr(l.ctx.message, "\"s\""), "%s", l.ctx.message);
    oxp_arena_free(&arena);
    unload(&l);
}

Test(sparse, small_elements_are_scattered)
{
    int64_t nnz[] = {3}, dims[] = {5};
    bytes values = tensor("s", OXP_INT4, 1, nnz), indices = tensor("i", OXP_INT64, 1, nnz);
    put_blob(&values, TENSOR_RAW, "\x2f\x03", 2); /* -1, 2, 3 */
    put_int(&indices, TENSOR_INT64, 1);
    put_int(&indices, TENSOR_INT64, 2);
    put_int(&indices, TENSOR_INT64, 4);
    loaded l;
    oxp_arena arena;
    oxp_tensor t;
    load_in(&l, model_with_sparse(1, dims, values, indices), NULL, NULL);
    cr_assert_eq(l.ctx.status, OXP_OK, "%s", l.ctx.message);
    oxp_arena_init(&arena, &l.ctx);
    cr_assert_eq(oxp_graph_proto_sparse(&t, &arena, l.model, oxp_model_graph(l.model), 0), OXP_OK);
    static const int64_t expected[] = {0, -1, 2, 0, 3};
    for (size_t i = 0; i < 5; i++)
        cr_expect_eq(oxp_tensor_int(&t, i), expected[i]);
    oxp_arena_free(&arena);
    unload(&l);
}
