/* matmul_plan.c - see matmul.h. */
#include <string.h>

#include "operators/matmul.h"

/* One operand: its matrix and its batch axes, as stored. */
typedef struct operand {
    size_t rows, columns, stride; /* as stored; stride: elements from a row to the next */
    int batch_rank;
    size_t batch_dims[OXP_MAX_RANK], steps[OXP_MAX_RANK];
} operand;

static operand read_operand(const oxp_tensor *t, bool vector_is_row, bool trans_batch)
{
    operand o = {0};
    if (t->rank == 1) {
        o.rows = vector_is_row ? 1 : (size_t)t->dims[0];
        o.columns = vector_is_row ? (size_t)t->dims[0] : 1;
        o.stride = o.columns;
        return o;
    }
    int first = trans_batch ? 1 : 0;
    o.batch_rank = t->rank - 2;
    o.columns = (size_t)t->dims[t->rank - 1];
    o.rows = (size_t)t->dims[trans_batch ? 0 : t->rank - 2];
    size_t step = trans_batch ? o.columns : o.columns * o.rows;
    for (int i = o.batch_rank - 1; i >= 0; i--) {
        o.batch_dims[i] = (size_t)t->dims[first + i];
        o.steps[i] = step;
        step *= o.batch_dims[i];
    }
    o.stride = trans_batch ? step : o.columns;
    return o;
}

/* The size of batch axis i of `rank`, counted from the front of the longer shape; 1 where the
 * operand has none. */
static size_t batch_dim(const operand *o, int i, int rank, size_t *step)
{
    int own = i - (rank - o->batch_rank);
    size_t dim = own < 0 ? 1 : o->batch_dims[own];
    *step = dim == 1 ? 0 : o->steps[own];
    return dim;
}

static oxp_status join_batches(oxp_node *n, const operand *a, const operand *b, oxp_matmul_plan *p)
{
    p->batch_rank = a->batch_rank > b->batch_rank ? a->batch_rank : b->batch_rank;
    p->batches = 1;
    for (int i = 0; i < p->batch_rank; i++) {
        size_t da = batch_dim(a, i, p->batch_rank, &p->a_steps[i]),
               db = batch_dim(b, i, p->batch_rank, &p->b_steps[i]);
        if (da != db && da != 1 && db != 1)
            return oxp_node_fail(n, OXP_EFORMAT, "E-BROADCAST",
                                 "batch axis %d has sizes %zu and %zu, which do not broadcast", i,
                                 da, db);
        p->batch_dims[i] = da == 1 ? db : da;
        p->batches *= p->batch_dims[i];
    }
    return OXP_OK;
}

/* With one B for all, [batches, M, K] in one piece is [batches * M, K]. */
static void join_rows(oxp_matmul_plan *p, const operand *a)
{
    if (p->product.trans_a || a->stride != a->columns)
        return;
    size_t expected = a->rows * a->columns;
    for (int i = p->batch_rank - 1; i >= 0; i--) {
        if (p->b_steps[i] != 0 || (p->batch_dims[i] > 1 && p->a_steps[i] != expected))
            return;
        expected *= p->batch_dims[i];
    }
    p->product.m *= p->batches;
    p->batches = 1;
    p->batch_rank = 0;
}

static oxp_status check_ranks(oxp_node *n, int a, int b, oxp_matmul_options *options)
{
    int ranks[2] = {n->in[a]->rank, n->in[b]->rank};
    if (ranks[0] < 1 || ranks[1] < 1)
        return oxp_node_fail(
            n, OXP_EFORMAT, "E-SHAPE",
            "a scalar cannot be multiplied: ranks are %d and %d, expected at least 1", ranks[0],
            ranks[1]);
    if ((options->trans_batch_a && ranks[0] < 3) || (options->trans_batch_b && ranks[1] < 3))
        return oxp_node_fail(
            n, OXP_EFORMAT, "E-SHAPE",
            "ranks are %d and %d, an operand with moved batch axes needs at least 3", ranks[0],
            ranks[1]);
    options->trans_a = options->trans_a && ranks[0] > 1;
    options->trans_b = options->trans_b && ranks[1] > 1;
    return OXP_OK;
}

static void put_dims(oxp_matmul_plan *p, bool vector_a, bool vector_b)
{
    p->rank = 0;
    for (int i = 0; i < p->batch_rank; i++)
        p->dims[p->rank++] = (int64_t)p->batch_dims[i];
    if (!vector_a)
        p->dims[p->rank++] = (int64_t)p->product.m;
    if (!vector_b)
        p->dims[p->rank++] = (int64_t)p->product.n;
}

oxp_status oxp_matmul_read(oxp_node *n, int a, int b, oxp_matmul_options options,
                           oxp_matmul_plan *plan)
{
    OXP_TRY(check_ranks(n, a, b, &options));
    operand oa = read_operand(n->in[a], true, options.trans_batch_a),
            ob = read_operand(n->in[b], false, options.trans_batch_b);
    size_t a_depth = options.trans_a ? oa.rows : oa.columns,
           b_depth = options.trans_b ? ob.columns : ob.rows;
    if (a_depth != b_depth) {
        char sa[OXP_SHAPE_TEXT_MAX], sb[OXP_SHAPE_TEXT_MAX];
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "shapes %s and %s cannot be multiplied: %zu columns and %zu rows",
                             oxp_shape_text(sa, n->in[a]->rank, n->in[a]->dims),
                             oxp_shape_text(sb, n->in[b]->rank, n->in[b]->dims), a_depth, b_depth);
    }
    *plan = (oxp_matmul_plan){.product = {.trans_a = options.trans_a,
                                          .trans_b = options.trans_b,
                                          .m = options.trans_a ? oa.columns : oa.rows,
                                          .n = options.trans_b ? ob.rows : ob.columns,
                                          .k = a_depth,
                                          .lda = oa.stride,
                                          .ldb = ob.stride}};
    plan->product.ldc = plan->product.n;
    OXP_TRY(join_batches(n, &oa, &ob, plan));
    put_dims(plan, n->in[a]->rank == 1, n->in[b]->rank == 1);
    join_rows(plan, &oa);
    return OXP_OK;
}

void oxp_matmul_at(const oxp_matmul_plan *plan, size_t i, size_t *a, size_t *b)
{
    *a = *b = 0;
    for (int axis = plan->batch_rank - 1; axis >= 0; axis--) {
        size_t at = i % plan->batch_dims[axis];
        i /= plan->batch_dims[axis];
        *a += at * plan->a_steps[axis];
        *b += at * plan->b_steps[axis];
    }
}

void oxp_gemm_backward(const oxp_gemm_shape *s, float alpha, const float *a, const float *b,
                       const float *dy, float *da, float *db)
{
    /* a stored transposed wants its gradient transposed: op(B) dY^T */
    oxp_gemm_shape by_a = s->trans_a ? oxp_gemm_plain(s->trans_b, true, s->k, s->m, s->n)
                                     : oxp_gemm_plain(false, !s->trans_b, s->m, s->k, s->n);
    *(s->trans_a ? &by_a.lda : &by_a.ldb) = s->ldb;
    *(s->trans_a ? &by_a.ldb : &by_a.lda) = s->ldc;
    by_a.ldc = s->lda;
    oxp_gemm_shape by_b = s->trans_b ? oxp_gemm_plain(true, s->trans_a, s->n, s->k, s->m)
                                     : oxp_gemm_plain(!s->trans_a, false, s->k, s->n, s->m);
    *(s->trans_b ? &by_b.ldb : &by_b.lda) = s->lda;
    *(s->trans_b ? &by_b.lda : &by_b.ldb) = s->ldc;
    by_b.ldc = s->ldb;
    if (da)
        oxp_gemm(&by_a, alpha, s->trans_a ? b : dy, s->trans_a ? dy : b, 1, da);
    if (db)
        oxp_gemm(&by_b, alpha, s->trans_b ? dy : a, s->trans_b ? a : dy, 1, db);
}

double oxp_matmul_macs(const oxp_matmul_plan *plan)
{
    const oxp_gemm_shape *s = &plan->product;
    return (double)plan->batches * (double)s->m * (double)s->n * (double)s->k;
}

bool oxp_matmul_weight(int input, int rank, bool trans_a, bool trans_b, int *channel_axis)
{
    if (rank < 2 || input > 1)
        return false;
    bool last = input == 0 ? trans_a : !trans_b;
    *channel_axis = last ? rank - 1 : rank - 2;
    return true;
}
