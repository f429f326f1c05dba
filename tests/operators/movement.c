/* movement.c - the operators that move data against values worked out by hand, and what they
 * refuse. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "support/one_node.h"

typedef struct value_case {
    const char *type;
    int opset;
    const char *example; /* the grammar of operators/operator.h */
    const char *shape;   /* of output 0 */
    size_t count;
    double values[24];
} value_case;

static const value_case values[] = {
    {"Transpose", 13, "X[2,3]={1,2,3,4,5,6}", "[3,2]", 6, {1, 4, 2, 5, 3, 6}},
    {"Transpose",
     13,
     "X[1,2,2,2]:i8={1,2,3,4,5,6,7,8}; perm=0,2,3,1",
     "[1,2,2,2]",
     8,
     {1, 5, 2, 6, 3, 7, 4, 8}},
    {"Transpose", 13, "X[2,1,2]:i64={1,2,3,4}; perm=1,0,2", "[1,2,2]", 4, {1, 2, 3, 4}},
    {"Reshape", 14, "X[2,3] S[2]:i64={-1,2}", "[3,2]", 0, {0}},
    {"Reshape", 13, "X[0,3] S[2]:i64={0,-1}", "[0,3]", 0, {0}},
    {"Flatten", 13, "X[2,3,4]; axis=-1", "[6,4]", 0, {0}},
    {"Flatten", 13, "X[]={7}; axis=0", "[1,1]", 1, {7}},
    {"Squeeze", 13, "X[1,2,1] A[1]:i64={-1}", "[1,2]", 0, {0}},
    {"Unsqueeze", 13, "X[2] A[2]:i64={0,-1}", "[1,2,1]", 0, {0}},
    {"Concat", 13, "A[2,1]={1,4} B[2,2]={2,3,5,6}; axis=1", "[2,3]", 6, {1, 2, 3, 4, 5, 6}},
    {"Split", 18, "X[3]={1,2,3}; num_outputs=2", "[2]", 2, {1, 2}},
    {"Slice",
     13,
     "X[5]={0,1,2,3,4} S[1]:i64={-1} E[1]:i64={-9223372036854775808} A[1]:i64={0} "
     "T[1]:i64={-2}",
     "[3]",
     3,
     {4, 2, 0}},
    {"Slice",
     13,
     "X[5]={0,1,2,3,4} S[1]:i64={1} E[1]:i64={99} A[1]:i64={0} T[1]:i64={99}",
     "[1]",
     1,
     {1}},
    {"Slice", 13, "X[5] S[1]:i64={3} E[1]:i64={1}", "[0]", 0, {0}},
    {"Slice",
     13,
     "X[3]={0,1,2} S[1]:i64={2} E[1]:i64={-9} _ T[1]:i64={-9223372036854775808}",
     "[1]",
     1,
     {2}},
    {"Gather", 13, "X[3,2]={1,2,3,4,5,6} I[2]:i64={-1,0}", "[2,2]", 4, {5, 6, 1, 2}},
    {"Gather", 13, "X[2,3]={1,2,3,4,5,6} I[]:i32={1}; axis=1", "[2]", 2, {2, 5}},
    {"GatherElements",
     13,
     "X[2,2]={1,2,3,4} I[2,2]:i64={0,0,1,0}; axis=1",
     "[2,2]",
     4,
     {1, 1, 4, 3}},
    {"GatherND", 13, "X[2,2]={1,2,3,4} I[2,2]:i64={0,0,1,-1}", "[2]", 2, {1, 4}},
    {"ScatterElements",
     18,
     "X[3]={1,2,3} I[3]:i64={0,0,2} U[3]={5,7,1}; reduction='max'",
     "[3]",
     3,
     {7, 2, 3}},
    {"ScatterND",
     18,
     "X[2,2]:i32={1,2,3,4} I[2,1]:i64={1,1} U[2,2]:i32={10,20,30,40}; "
     "reduction='add'",
     "[2,2]",
     4,
     {1, 2, 43, 64}},
    {"Expand", 13, "X[2,1]={1,2} S[3]:i64={2,1,2}", "[2,2,2]", 8, {1, 1, 2, 2, 1, 1, 2, 2}},
    {"Tile", 13, "X[2]={1,2} R[1]:i64={2}", "[4]", 4, {1, 2, 1, 2}},
    {"Pad",
     19,
     "X[3]={1,2,3} P[2]:i64={4,5}; mode='reflect'",
     "[12]",
     12,
     {1, 2, 3, 2, 1, 2, 3, 2, 1, 2, 3, 2}},
    {"Pad", 19, "X[3]={1,2,3} P[2]:i64={2,-1}; mode='edge'", "[4]", 4, {1, 1, 1, 2}},
    {"Pad", 19, "X[3]={1,2,3} P[2]:i64={1,4}; mode='wrap'", "[8]", 8, {3, 1, 2, 3, 1, 2, 3, 1}},
    {"Pad", 13, "X[1]:i8={1} P[2]:i64={1,1} V[]:i8={-5}", "[3]", 3, {-5, 1, -5}},
    {"Range", 11, "A[]:i32={3} B[]:i32={-4} C[]:i32={-3}", "[3]", 3, {3, 0, -3}},
    {"Range", 11, "A[]={1} B[]={0} C[]={1}", "[0]", 0, {0}},
    {"OneHot", 9, "I[2]:i64={-1,1} D[]:i64={2} V[2]={0,1}", "[2,2]", 4, {0, 0, 0, 1}},
    {"OneHot", 11, "I[2]:i64={-1,1} D[]:i64={2} V[2]={0,1}", "[2,2]", 4, {0, 1, 0, 1}},
    {"NonZero", 13, "X[2,2]={0,3,0,-1}", "[2,2]", 4, {0, 1, 1, 1}},
    {"Compress", 11, "X[2,2]={1,2,3,4} C[2]:bool={0,1}; axis=1", "[2,1]", 2, {2, 4}},
    {"Unique", 11, "X[5]={3,1,3,2,1}; sorted=0", "[3]", 3, {3, 1, 2}},
    {"TopK", 11, "X[4]={2,5,5,1} K[1]:i64={3}", "[3]", 3, {5, 5, 2}},
    {"TopK", 11, "X[3]:i64={-5,4,-9} K[1]:i64={2}; largest=0", "[2]", 2, {-9, -5}},
    {"DepthToSpace", 13, "X[1,4,1,1]={1,2,3,4}; blocksize=2", "[1,1,2,2]", 4, {1, 2, 3, 4}},
    {"SpaceToDepth", 13, "X[1,1,2,2]={1,2,3,4}; blocksize=2", "[1,4,1,1]", 4, {1, 2, 3, 4}},
    {"ReverseSequence", 10, "X[3,2]={0,1,2,3,4,5} L[2]:i64={2,3}", "[3,2]", 6, {2, 5, 0, 3, 4, 1}},
    {"Resize",
     13,
     "X[1,1,1,2]={1,3} _ S[4]={1,1,1,2}; mode='linear'",
     "[1,1,1,4]",
     4,
     {1, 1.5, 2.5, 3}},
    {"Resize",
     13,
     "X[1,1,1,4]={1,2,3,4} _ _ T[4]:i64={1,1,1,2}; "
     "coordinate_transformation_mode='half_pixel' nearest_mode='ceil'",
     "[1,1,1,2]",
     2,
     {2, 4}},
    {"Resize", 10, "X[1,1,1,3]={1,2,3} S[4]={1,1,1,2}", "[1,1,1,6]", 6, {1, 1, 2, 2, 3, 3}},
    {"Upsample", 7, "X[1,1,1,2]={1,2}; scales=1.0,1.0,1.0,2.0", "[1,1,1,4]", 4, {1, 1, 2, 2}},
    {"GridSample", 16, "X[1,1,1,2]={1,3} G[1,1,2,2]={-0.5,0.0,0.0,0.0}", "[1,1,1,2]", 2, {1, 2}},
    {"CenterCropPad", 18, "X[3]={1,2,3} S[1]:i64={6}", "[6]", 6, {0, 1, 2, 3, 0, 0}},
    {"Col2Im", 18, "X[1,2,2]={1,2,3,4} I[1]:i64={3} B[1]:i64={2}", "[1,1,3]", 3, {1, 5, 4}},
    {"MaxUnpool",
     11,
     "X[1,1,2]={7,8} I[1,1,2]:i64={1,2}; kernel_shape=2, strides=2,",
     "[1,1,4]",
     4,
     {0, 7, 8, 0}},
    {"TensorScatter",
     24,
     "C[1,3,1]={1,2,3} U[1,2,1]={8,9} W[1]:i64={2}; mode='circular'",
     "[1,3,1]",
     3,
     {9, 2, 8}},
    {"Attention", 23, "Q[1,1,1,1]={0} K[1,1,2,1]={1,2} V[1,1,2,1]={2,4}", "[1,1,1,1]", 1, {3}},
    {"Attention",
     23,
     "Q[1,1,1,1]={0} K[1,1,2,1]={1,2} V[1,1,2,1]={2,4} M[1,2]:bool={0,0}",
     "[1,1,1,1]",
     1,
     {0}},
    {"Shape", 15, "X[2,3,4]; start=-2", "[2]", 2, {3, 4}},
    {"Size", 13, "X[2,3,4]", "[]", 1, {24}},
    {"ConstantOfShape", 9, "S[1]:i64={3}", "[3]", 3, {0, 0, 0}},
};

static const oxp_operator *find(const char *type, int opset)
{
    bool known;
    const oxp_operator *op = oxp_operator_find("", type, opset, &known);
    cr_assert(op, "%s-%d has no row", type, opset);
    return op;
}

static double value_at(const oxp_tensor *t, size_t i)
{
    return oxp_dtype_is_float(t->dtype) ? oxp_tensor_real(t, i) : (double)oxp_tensor_int(t, i);
}

static void compare(const value_case *c, const oxp_tensor *t)
{
    char shape[OXP_SHAPE_TEXT_MAX];
    oxp_shape_text(shape, t->rank, t->dims);
    cr_expect_str_eq(shape, c->shape, "%s %s: shape %s, expected %s", c->type, c->example, shape,
                     c->shape);
    for (size_t i = 0; i < c->count && i < t->count; i++)
        cr_expect_float_eq(value_at(t, i), c->values[i], 1e-6,
                           "%s %s: element %zu is %g, expected %g", c->type, c->example, i,
                           value_at(t, i), c->values[i]);
}

Test(movement, values_by_hand)
{
    for (size_t k = 0; k < sizeof values / sizeof *values; k++) {
        const value_case *c = &values[k];
        oxp_ctx ctx;
        one_node n;
        char why[512];
        oxp_tensor out[16] = {0};
        oxp_ctx_init(&ctx);
        bool made = one_node_make(&n, &ctx, find(c->type, c->opset), c->example, why);
        cr_assert(made, "%s %s: %s", c->type, c->example, why);
        oxp_status status = one_node_run(&n, out);
        cr_expect_eq(status, OXP_OK, "%s %s: %s %s", c->type, c->example, ctx.code, ctx.message);
        if (status == OXP_OK)
            compare(c, &out[0]);
        for (size_t i = 0; i < 16; i++)
            oxp_tensor_release(&out[i]);
        one_node_free(&n);
        cr_expect_eq(ctx.budget->used, 0, "%s %s: memory is left", c->type, c->example);
    }
}

/* ---- refusals ---- */

typedef struct refusal {
    const char *type;
    int opset;
    const char *example;
    oxp_status status;
    const char *code;
} refusal;

static const refusal refusals[] = {
    {"Reshape", 14, "X[2,3] S[2]:i64={-1,-1}", OXP_EFORMAT, "E-SHAPE"},
    {"Reshape", 14, "X[2,3] S[2]:i64={4,-1}", OXP_EFORMAT, "E-SHAPE"},
    {"Reshape", 14, "X[2,3] S[2]:i64={-2,3}", OXP_EFORMAT, "E-SHAPE"},
    {"Reshape", 14, "X[2,3] S[3]:i64={2,3,0}", OXP_EFORMAT, "E-SHAPE"},
    {"Reshape", 14, "X[0] S[2]:i64={0,-1}; allowzero=1", OXP_EFORMAT, "E-SHAPE"},
    {"Reshape", 14, "X[2] S[2]:i64={4294967296,4294967296}", OXP_EFORMAT, "E-SHAPE-OVERFLOW"},
    {"Flatten", 13, "X[2,3]; axis=3", OXP_EFORMAT, "E-AXIS"},
    {"Squeeze", 13, "X[2,1] A[1]:i64={0}", OXP_EFORMAT, "E-SHAPE"},
    {"Unsqueeze", 13, "X[2] A[2]:i64={0,0}", OXP_EFORMAT, "E-AXIS"},
    {"Unsqueeze", 13, "X[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1] A[1]:i64={0}", OXP_ELIMIT,
     "E-LIMIT-RANK"},
    {"Transpose", 13, "X[2,3]; perm=0,0", OXP_EFORMAT, "E-ATTR-VALUE"},
    {"Transpose", 13, "X[2,3]; perm=0,2", OXP_EFORMAT, "E-ATTR-VALUE"},
    {"Concat", 13, "A[2,3] B[3,3]; axis=1", OXP_EFORMAT, "E-SHAPE"},
    {"Concat", 13, "A[2,3] B[2,3]:i64; axis=1", OXP_EFORMAT, "E-OP-DTYPE"},
    {"Concat", 13, "A[2] B[2]; axis=1", OXP_EFORMAT, "E-AXIS"},
    {"Split", 13, "X[4] S[2]:i64={1,2}; outputs=2", OXP_EFORMAT, "E-SHAPE"},
    {"Split", 13, "X[4] S[2]:i64={5,-1}; outputs=2", OXP_EFORMAT, "E-SHAPE"},
    {"Split", 13, "X[4]; outputs=3", OXP_EFORMAT, "E-SHAPE"},
    {"Slice", 13, "X[4] S[1]:i64={0} E[1]:i64={2} A[1]:i64={0} T[1]:i64={0}", OXP_EFORMAT,
     "E-SHAPE"},
    {"Slice", 13, "X[4] S[1]:i64={0} E[1]:i64={2} A[1]:i64={1}", OXP_EFORMAT, "E-AXIS"},
    {"Slice", 13, "X[4] S[1]:i64={0} E[2]:i64={2,3}", OXP_EFORMAT, "E-SHAPE"},
    {"Gather", 13, "X[3,2] I[1]:i64={3}", OXP_EFORMAT, "E-INDEX"},
    {"Gather", 13, "X[3,2] I[1]:i64={-4}", OXP_EFORMAT, "E-INDEX"},
    {"Gather", 13, "X[0,2] I[1]:i64={0}", OXP_EFORMAT, "E-INDEX"},
    {"Gather", 13, "X[3] I[1]", OXP_EUNSUPPORTED, "E-OP-DTYPE"},
    {"GatherElements", 13, "X[2,2] I[1,3]:i64={0,0,0}; axis=0", OXP_EFORMAT, "E-SHAPE"},
    {"GatherElements", 13, "X[2,2] I[1,1]:i64={2}; axis=0", OXP_EFORMAT, "E-INDEX"},
    {"GatherND", 13, "X[2,2] I[1,3]:i64={0,0,0}", OXP_EFORMAT, "E-SHAPE"},
    {"GatherND", 13, "X[2,2] I[1,2]:i64={0,2}", OXP_EFORMAT, "E-INDEX"},
    {"ScatterElements", 18, "X[2] I[1]:i64={2} U[1]", OXP_EFORMAT, "E-INDEX"},
    {"ScatterElements", 18, "X[2]:bool I[1]:i64={1} U[1]:bool; reduction='add'", OXP_EUNSUPPORTED,
     "E-OP-DTYPE"},
    {"ScatterND", 18, "X[2] I[1,1]:i64={-3} U[1]", OXP_EFORMAT, "E-INDEX"},
    {"ScatterND", 18, "X[2] I[1,1]:i64={0} U[2]", OXP_EFORMAT, "E-SHAPE"},
    {"ScatterND", 18, "X[2] I[1,1]:i64={0} U[1]; reduction='sub'", OXP_EFORMAT, "E-ATTR-VALUE"},
    {"Expand", 13, "X[3] S[1]:i64={2}", OXP_EFORMAT, "E-BROADCAST"},
    {"Expand", 13, "X[1] S[1]:i64={-1}", OXP_EFORMAT, "E-DIM"},
    {"Expand", 13, "X[1] S[1]:i64={1099511627776}", OXP_ELIMIT, "E-LIMIT-MEM"},
    {"Tile", 13, "X[2] R[1]:i64={4611686018427387904}", OXP_EFORMAT, "E-SHAPE-OVERFLOW"},
    {"Tile", 13, "X[2] R[1]:i64={549755813888}", OXP_ELIMIT, "E-LIMIT-MEM"},
    {"Tile", 13, "X[2] R[1]:i64={-1}", OXP_EFORMAT, "E-SHAPE"},
    {"Pad", 13, "X[2] P[2]:i64={0,-3}", OXP_EFORMAT, "E-SHAPE"},
    {"Pad", 13, "X[2] P[2]:i64={0,1099511627776}", OXP_ELIMIT, "E-LIMIT-MEM"},
    {"Pad", 13, "X[0] P[2]:i64={1,0}; mode='edge'", OXP_EFORMAT, "E-SHAPE"},
    {"Pad", 13, "X[2] P[3]:i64={1,0,1}", OXP_EFORMAT, "E-SHAPE"},
    {"ConstantOfShape", 9, "S[1]:i64={17592186044800}", OXP_ELIMIT, "E-LIMIT-MEM"},
    {"ConstantOfShape", 9, "S[1]:i64={1152921504606846976}", OXP_ELIMIT, "E-LIMIT-MEM"},
    {"ConstantOfShape", 9, "S[1]:i64={-1}", OXP_EFORMAT, "E-DIM"},
    {"Range", 11, "A[]:i64={0} B[]:i64={5} C[]:i64={0}", OXP_EFORMAT, "E-SHAPE"},
    {"Range", 11, "A[]={0} B[]={nan} C[]={1}", OXP_EFORMAT, "E-SHAPE"},
    {"Range", 11, "A[]={0} B[]={inf} C[]={1}", OXP_EFORMAT, "E-SHAPE-OVERFLOW"},
    {"Range", 11, "A[]:i64={0} B[]:i64={4611686018427387904} C[]:i64={1}", OXP_EFORMAT,
     "E-SHAPE-OVERFLOW"},
    {"OneHot", 11, "I[1]:i64={0} D[]:i64={-1} V[2]", OXP_EFORMAT, "E-SHAPE"},
    {"OneHot", 11, "I[1]:i64={0} D[]:i64={1099511627776} V[2]", OXP_ELIMIT, "E-LIMIT-MEM"},
    {"Compress", 11, "X[2] C[3]:bool={0,0,1}", OXP_EFORMAT, "E-INDEX"},
    {"TopK", 11, "X[2] K[1]:i64={3}; outputs=2", OXP_EFORMAT, "E-SHAPE"},
    {"DepthToSpace", 13, "X[1,3,1,1]; blocksize=2", OXP_EFORMAT, "E-SHAPE"},
    {"DepthToSpace", 13, "X[1,4,1,1]; blocksize=0", OXP_EFORMAT, "E-ATTR-VALUE"},
    {"ReverseSequence", 10, "X[3,1] L[1]:i64={4}", OXP_EFORMAT, "E-INDEX"},
    {"Resize", 13, "X[1,1,2,2] _ S[4]={1,1,0,1}", OXP_EFORMAT, "E-SHAPE"},
    {"Resize", 13, "X[1,1,2,2] _ S[4]={1,1,1e30,1}", OXP_EFORMAT, "E-SHAPE-OVERFLOW"},
    {"Resize", 13, "X[1,1,2,2] _ S[4]={1,1,1e12,1}", OXP_ELIMIT, "E-LIMIT-MEM"},
    {"Resize", 13, "X[1,1,2,2]", OXP_EFORMAT, "E-ARITY"},
    {"Resize", 13, "X[1,1,2,2] _ S[4]={1,1,2,2}; mode='quadratic'", OXP_EFORMAT, "E-ATTR-VALUE"},
    {"RoiAlign", 16, "X[1,1,2,2] R[1,4]={0,0,1,1} B[1]:i64={1}", OXP_EFORMAT, "E-INDEX"},
    {"RoiAlign", 16, "X[1,1,2,2] R[1,4]={0,0,1e6,1e6} B[1]:i64={0}", OXP_ELIMIT, "E-LIMIT-STEPS"},
    {"RoiAlign", 16, "X[1,1,2,2] R[1,4]={0,0,nan,1} B[1]:i64={0}", OXP_EFORMAT, "E-INDEX"},
    {"MaxUnpool", 11, "X[1,1,2]={7,8} I[1,1,2]:i64={1,4}; kernel_shape=2, strides=2,", OXP_EFORMAT,
     "E-INDEX"},
    {"Col2Im", 18, "X[1,2,2] I[1]:i64={1} B[1]:i64={2}", OXP_EFORMAT, "E-SHAPE"},
    {"TensorScatter", 24, "C[1,3,1] U[1,2,1] W[1]:i64={2}", OXP_EFORMAT, "E-INDEX"},
    {"Attention", 23, "Q[1,3,2,4] K[1,2,2,4] V[1,2,2,4]", OXP_EFORMAT, "E-SHAPE"},
};

Test(movement, refusals)
{
    for (size_t k = 0; k < sizeof refusals / sizeof *refusals; k++) {
        const refusal *r = &refusals[k];
        oxp_ctx ctx;
        one_node n;
        char why[512];
        oxp_tensor out[16] = {0};
        oxp_ctx_init(&ctx);
        ctx.budget->limit = (size_t)1 << 30;
        bool made = one_node_make(&n, &ctx, find(r->type, r->opset), r->example, why);
        cr_assert(made, "%s %s: %s", r->type, r->example, why);
        oxp_status status = one_node_run(&n, out);
        cr_expect_eq(status, r->status, "%s %s: status %d (%s), expected %d", r->type, r->example,
                     (int)status, ctx.message, (int)r->status);
        cr_expect_str_eq(ctx.code, r->code, "%s %s: code %s, expected %s (%s)", r->type, r->example,
                         ctx.code, r->code, ctx.message);
        cr_expect(strstr(ctx.message, r->type), "%s: the message names no node: %s", r->type,
                  ctx.message);
        one_node_free(&n);
        cr_expect_eq(ctx.budget->used, 0, "%s %s: memory is left", r->type, r->example);
    }
}
