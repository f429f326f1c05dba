/* unread.c - every example with one of its outputs left out: what nobody reads is not written, and
 * the others stay the same to the bit. With all left out nothing but the checks are done. */
#include <criterion/criterion.h>
#include <string.h>

#include "support/one_node.h"

#define OUTPUTS_MAX 16

/* Takes output k from the node and from the graph. */
static void leave_out(one_node *n, size_t k)
{
    oxp_graph *g = n->graph;
    uint32_t id = g->nodes[0].outputs[k];
    size_t kept = 0;
    g->nodes[0].outputs[k] = OXP_NO_VALUE;
    for (size_t i = 0; i < g->output_count; i++)
        if (g->outputs[i] != id)
            g->outputs[kept++] = g->outputs[i];
    g->output_count = kept;
}

static bool make(one_node *n, oxp_ctx *ctx, const oxp_operator *op, const char *example)
{
    char why[512];
    oxp_ctx_init(ctx);
    return one_node_make(n, ctx, op, example, why) && n->graph->node_count == 1;
}

static void release(oxp_tensor *out)
{
    for (size_t i = 0; i < OUTPUTS_MAX; i++)
        oxp_tensor_release(&out[i]);
}

/* Output i with all there is the same tensor as output i, or i - 1 behind the missing one. */
static void expect_same(const oxp_operator *op, const char *example, size_t missing,
                        const oxp_tensor *whole, const oxp_tensor *part, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const oxp_tensor *a = &whole[i], *b = &part[i < missing ? i : i - 1];
        if (i == missing)
            continue;
        cr_expect(a->dtype == b->dtype && a->count == b->count &&
                      memcmp(a->data, b->data, oxp_tensor_bytes(a)) == 0,
                  "%s-%d, example \"%s\": output %zu changes without output %zu", op->type,
                  op->since, example, i, missing);
    }
}

static void without_each(const oxp_operator *op, const char *example)
{
    oxp_ctx ctx, other;
    one_node whole, part;
    oxp_tensor all[OUTPUTS_MAX] = {0}, rest[OUTPUTS_MAX] = {0};
    cr_assert(make(&whole, &ctx, op, example), "%s-%d, example \"%s\"", op->type, op->since,
              example);
    oxp_status status = one_node_run(&whole, all);
    for (size_t k = 0; status == OXP_OK && k < whole.graph->output_count; k++) {
        cr_assert(make(&part, &other, op, example));
        leave_out(&part, k);
        cr_expect_eq(one_node_run(&part, rest), OXP_OK, "%s-%d, example \"%s\" without output %zu",
                     op->type, op->since, example, k);
        expect_same(op, example, k, all, rest, whole.graph->output_count);
        release(rest);
        one_node_free(&part);
    }
    release(all);
    one_node_free(&whole);
}

Test(unread, an_output_that_nobody_reads_is_left_out)
{
    for (size_t i = 0; i < oxp_operator_count(); i++)
        for (const char *const *e = oxp_operator_at(i)->examples; e && *e; e++)
            without_each(oxp_operator_at(i), *e);
}
