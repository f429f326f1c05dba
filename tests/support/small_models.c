#include "support/small_models.h"

#include <math.h>
#include <string.h>

#include "support/nodes.h"
#include "util/random.h"

static oxp_status io(oxp_model *m, const char *name, oxp_dtype dtype, int rank, const int64_t *dims,
                     bool output)
{
    oxp_value_info info = {.name = name, .dtype = dtype, .is_tensor = true, .rank = rank};
    memcpy(info.dims, dims, (size_t)rank * sizeof *dims);
    return output ? oxp_edit_add_output(m, oxp_model_graph(m), &info)
                  : oxp_edit_add_input(m, oxp_model_graph(m), &info);
}

static oxp_status weight(oxp_model *m, const char *name, int rank, const int64_t *dims, double size)
{
    float data[8192];
    size_t count = 1;
    for (int i = 0; i < rank; i++)
        count *= (size_t)dims[i];
    oxp_random r = oxp_random_make(4, count, (uint64_t)name[0]);
    for (size_t i = 0; i < count; i++)
        data[i] = (float)(size * oxp_random_normal(&r));
    return oxp_edit_add_initializer(m, oxp_model_graph(m), name, OXP_FLOAT, rank, dims, data);
}

static oxp_status products(oxp_model **out, oxp_ctx *ctx)
{
    OXP_TRY(oxp_model_new(out, ctx, 13));
    oxp_model *m = *out;
    oxp_node_proto *n;
    OXP_TRY(io(m, "x", OXP_FLOAT, 2, (int64_t[]){4, 64}, false));
    OXP_TRY(io(m, "y", OXP_FLOAT, 2, (int64_t[]){4, 16}, true));
    OXP_TRY(weight(m, "w", 2, (int64_t[]){64, 48}, 0.2));
    OXP_TRY(weight(m, "b", 1, (int64_t[]){48}, 0.5));
    OXP_TRY(weight(m, "g", 2, (int64_t[]){16, 48}, 0.2));
    OXP_TRY(weight(m, "c", 1, (int64_t[]){16}, 0.5));
    OXP_TRY(append_node(m, "MatMul", 2, (const char *[]){"x", "w"}, "p", &n));
    OXP_TRY(append_node(m, "Add", 2, (const char *[]){"p", "b"}, "q", &n));
    OXP_TRY(append_node(m, "Relu", 1, (const char *[]){"q"}, "r", &n));
    OXP_TRY(append_node(m, "Gemm", 3, (const char *[]){"r", "g", "c"}, "y", &n));
    return oxp_edit_set_int(m, n, "transB", 1);
}

static oxp_status convolutions(oxp_model **out, oxp_ctx *ctx)
{
    OXP_TRY(oxp_model_new(out, ctx, 13));
    oxp_model *m = *out;
    oxp_node_proto *n;
    OXP_TRY(io(m, "x", OXP_FLOAT, 4, (int64_t[]){1, 3, 12, 12}, false));
    OXP_TRY(io(m, "y", OXP_FLOAT, 4, (int64_t[]){1, 16, 6, 6}, true));
    OXP_TRY(weight(m, "w", 4, (int64_t[]){16, 3, 3, 3}, 0.3));
    OXP_TRY(weight(m, "b", 1, (int64_t[]){16}, 0.3));
    OXP_TRY(weight(m, "v", 4, (int64_t[]){16, 16, 3, 3}, 0.1));
    OXP_TRY(weight(m, "u", 4, (int64_t[]){16, 16, 1, 1}, 0.25));
    OXP_TRY(append_node(m, "Conv", 3, (const char *[]){"x", "w", "b"}, "p", &n));
    OXP_TRY(oxp_edit_set_ints(m, n, "pads", 4, (int64_t[]){1, 1, 1, 1}));
    OXP_TRY(append_node(m, "Relu", 1, (const char *[]){"p"}, "q", &n));
    OXP_TRY(append_node(m, "Conv", 2, (const char *[]){"q", "v"}, "r", &n));
    OXP_TRY(oxp_edit_set_ints(m, n, "pads", 4, (int64_t[]){1, 1, 1, 1}));
    OXP_TRY(append_node(m, "Add", 2, (const char *[]){"q", "r"}, "s", &n)); /* residual */
    OXP_TRY(append_node(m, "MaxPool", 1, (const char *[]){"s"}, "t", &n));
    OXP_TRY(oxp_edit_set_ints(m, n, "kernel_shape", 2, (int64_t[]){2, 2}));
    OXP_TRY(oxp_edit_set_ints(m, n, "strides", 2, (int64_t[]){2, 2}));
    return append_node(m, "Conv", 2, (const char *[]){"t", "u"}, "y", &n);
}

static oxp_status table(oxp_model **out, oxp_ctx *ctx)
{
    OXP_TRY(oxp_model_new(out, ctx, 13));
    oxp_model *m = *out;
    oxp_node_proto *n;
    OXP_TRY(io(m, "x", OXP_INT64, 2, (int64_t[]){2, 5}, false));
    OXP_TRY(io(m, "y", OXP_FLOAT, 3, (int64_t[]){2, 5, 40}, true));
    OXP_TRY(weight(m, "w", 2, (int64_t[]){100, 32}, 1.0));
    OXP_TRY(weight(m, "v", 2, (int64_t[]){32, 40}, 0.3));
    OXP_TRY(append_node(m, "Gather", 2, (const char *[]){"w", "x"}, "p", &n));
    return append_node(m, "MatMul", 2, (const char *[]){"p", "v"}, "y", &n);
}

static oxp_status transposed_convolution(oxp_model **out, oxp_ctx *ctx)
{
    OXP_TRY(oxp_model_new(out, ctx, 13));
    oxp_model *m = *out;
    oxp_node_proto *n;
    OXP_TRY(io(m, "x", OXP_FLOAT, 4, (int64_t[]){1, 8, 5, 5}, false));
    OXP_TRY(io(m, "y", OXP_FLOAT, 4, (int64_t[]){1, 12, 11, 11}, true));
    OXP_TRY(weight(m, "w", 4, (int64_t[]){8, 12, 3, 3}, 0.2));
    OXP_TRY(append_node(m, "ConvTranspose", 2, (const char *[]){"x", "w"}, "y", &n));
    return oxp_edit_set_ints(m, n, "strides", 2, (int64_t[]){2, 2});
}

/* Three convolutions in a row, Relu between them. */
static oxp_status chain(oxp_model **out, oxp_ctx *ctx)
{
    OXP_TRY(oxp_model_new(out, ctx, 13));
    oxp_model *m = *out;
    oxp_node_proto *n;
    OXP_TRY(io(m, "x", OXP_FLOAT, 4, (int64_t[]){1, 8, 6, 6}, false));
    OXP_TRY(io(m, "y", OXP_FLOAT, 4, (int64_t[]){1, 8, 6, 6}, true));
    OXP_TRY(weight(m, "w", 4, (int64_t[]){8, 8, 1, 1}, 0.4));
    OXP_TRY(weight(m, "v", 4, (int64_t[]){8, 8, 1, 1}, 0.4));
    OXP_TRY(weight(m, "u", 4, (int64_t[]){8, 8, 1, 1}, 0.4));
    OXP_TRY(append_node(m, "Conv", 2, (const char *[]){"x", "w"}, "p", &n));
    OXP_TRY(append_node(m, "Relu", 1, (const char *[]){"p"}, "q", &n));
    OXP_TRY(append_node(m, "Conv", 2, (const char *[]){"q", "v"}, "r", &n));
    OXP_TRY(append_node(m, "Relu", 1, (const char *[]){"r"}, "s", &n));
    return append_node(m, "Conv", 2, (const char *[]){"s", "u"}, "y", &n);
}

/* One weight read by two products. */
static oxp_status tied(oxp_model **out, oxp_ctx *ctx)
{
    OXP_TRY(oxp_model_new(out, ctx, 13));
    oxp_model *m = *out;
    oxp_node_proto *n;
    OXP_TRY(io(m, "x", OXP_FLOAT, 2, (int64_t[]){3, 32}, false));
    OXP_TRY(io(m, "y", OXP_FLOAT, 2, (int64_t[]){3, 32}, true));
    OXP_TRY(weight(m, "w", 2, (int64_t[]){32, 32}, 0.2));
    OXP_TRY(append_node(m, "MatMul", 2, (const char *[]){"x", "w"}, "p", &n));
    OXP_TRY(append_node(m, "Relu", 1, (const char *[]){"p"}, "q", &n));
    return append_node(m, "MatMul", 2, (const char *[]){"q", "w"}, "y", &n);
}

const small_model small_models[] = {
    {"products", products}, {"convolutions", convolutions},
    {"table", table},       {"transposed", transposed_convolution},
    {"tied", tied},         {"chain", chain},
};
const size_t small_model_count = sizeof small_models / sizeof *small_models;
