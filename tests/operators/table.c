/* table.c - every row of the operator table, with every example: it parses, it runs, it is
 * repeatable to the bit, it leaks nothing, it counts its cost. A new row is tested without a new
 * test. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "support/one_node.h"

static void each_example(void (*check)(const oxp_operator *op, const char *example))
{
    size_t examples = 0;
    for (size_t i = 0; i < oxp_operator_count(); i++)
        for (const char *const *e = oxp_operator_at(i)->examples; e && *e; e++, examples++)
            check(oxp_operator_at(i), *e);
    cr_assert_gt(examples, 100);
}

static void expect_same(const oxp_operator *op, const char *example, size_t output,
                        const oxp_tensor *a, const oxp_tensor *b)
{
    bool same = a->dtype == b->dtype && a->rank == b->rank && a->count == b->count &&
                memcmp(a->data, b->data, oxp_tensor_bytes(a)) == 0;
    cr_expect(same, "%s-%d, example \"%s\": output %zu is not the same twice", op->type, op->since,
              example, output);
}

static void must_run(const oxp_operator *op, const char *example)
{
    oxp_ctx ctx;
    char why[512] = "";
    one_node n;
    oxp_tensor first[16] = {0}, second[16] = {0};
    oxp_ctx_init(&ctx);
    if (!one_node_make(&n, &ctx, op, example, why)) {
        cr_expect(false, "%s-%d, example \"%s\": %s", op->type, op->since, example, why);
        return;
    }
    oxp_status status = one_node_run(&n, first);
    cr_expect_eq(status, OXP_OK, "%s-%d, example \"%s\": %s %s", op->type, op->since, example,
                 ctx.code, ctx.message);
    if (status == OXP_OK && one_node_run(&n, second) == OXP_OK)
        for (size_t i = 0; i < n.output_count; i++)
            expect_same(op, example, i, &first[i], &second[i]);
    for (size_t i = 0; i < 16; i++) {
        oxp_tensor_release(&first[i]);
        oxp_tensor_release(&second[i]);
    }
    one_node_free(&n);
    cr_expect_eq(ctx.budget->used, 0, "%s-%d, example \"%s\": %zu bytes are still allocated",
                 op->type, op->since, example, (size_t)ctx.budget->used);
}

Test(operator_table, every_example_runs_and_is_repeatable)
{
    each_example(must_run);
}

/* Bodies, and sequences that no example can write down, have tests of their own. */
Test(operator_table, every_row_of_tensors_has_an_example)
{
    static const char *const exempt_types[] = {"If",
                                               "Loop",
                                               "Scan",
                                               "Constant",
                                               "SequenceConstruct",
                                               "SequenceEmpty",
                                               "SequenceInsert",
                                               "SequenceErase",
                                               "SequenceAt",
                                               "SequenceLength",
                                               "SequenceMap",
                                               "SplitToSequence",
                                               "ConcatFromSequence"};
    for (size_t i = 0; i < oxp_operator_count(); i++) {
        const oxp_operator *op = oxp_operator_at(i);
        bool exempt = false;
        for (size_t k = 0; k < sizeof exempt_types / sizeof *exempt_types; k++)
            exempt |= strcmp(op->type, exempt_types[k]) == 0;
        cr_expect(exempt || (op->examples && op->examples[0]), "%s-%d has no example", op->type,
                  op->since);
    }
}

Test(operator_table, no_two_rows_are_the_same_version)
{
    for (size_t i = 0; i < oxp_operator_count(); i++)
        for (size_t k = i + 1; k < oxp_operator_count(); k++) {
            const oxp_operator *a = oxp_operator_at(i), *b = oxp_operator_at(k);
            bool same = strcmp(a->type, b->type) == 0 && strcmp(a->domain, b->domain) == 0 &&
                        a->since == b->since;
            cr_expect_not(same, "%s-%d stands twice", a->type, a->since);
        }
}

Test(operator_table, the_highest_version_up_to_the_opset_wins)
{
    for (size_t i = 0; i < oxp_operator_count(); i++) {
        const oxp_operator *op = oxp_operator_at(i);
        bool known;
        cr_expect_eq(oxp_operator_find(op->domain, op->type, op->since, &known), op, "%s-%d",
                     op->type, op->since);
        const oxp_operator *older = oxp_operator_find(op->domain, op->type, op->since - 1, &known);
        cr_expect(known && (!older || older->since < op->since), "%s before %d", op->type,
                  op->since);
    }
}

static oxp_status take_cost(void *user, oxp_node *n)
{
    oxp_cost cost = {NAN, NAN, NAN};
    n->op->cost(n, &cost);
    *(bool *)user = cost.macs >= 0 && cost.bytes_read >= 0 && cost.bytes_written >= 0;
    return OXP_OK;
}

static void must_cost(const oxp_operator *op, const char *example)
{
    oxp_ctx ctx;
    char why[512];
    one_node n;
    bool sane = false;
    oxp_session *session;
    oxp_session_options options = {.node_observer = take_cost, .user = &sane};
    oxp_ctx_init(&ctx);
    if (!op->cost || !one_node_make(&n, &ctx, op, example, why))
        return;
    const oxp_tensor *fed[ONE_NODE_MAX_INPUTS];
    oxp_tensor out[16] = {0};
    for (size_t i = 0; i < n.input_count; i++)
        fed[i] = &n.inputs[i];
    if (oxp_session_create(&session, &ctx, n.graph, &options) == OXP_OK) {
        if (oxp_session_run(session, fed, out) == OXP_OK)
            cr_expect(sane, "%s-%d, example \"%s\": cost is not set", op->type, op->since, example);
        for (size_t i = 0; i < n.output_count; i++)
            oxp_tensor_release(&out[i]);
        oxp_session_free(session);
    }
    one_node_free(&n);
}

Test(operator_table, every_cost_is_set)
{
    each_example(must_cost);
}
