/* directional.c - directional MODEL [SIZE]: the gradient of every weight of a model, on inputs
 * drawn at random for its declared shapes (SIZE stands for symbolic dimensions, 8), against
 * differences of a random projection of its outputs. Exits with 1 when a direction disagrees. */
#include <stdio.h>
#include <stdlib.h>

#include "prepare/runs.h"
#include "support/directional.h"

static oxp_status run(oxp_ctx *ctx, oxp_arena *arena, oxp_model *model, int64_t size,
                      directional *result)
{
    oxp_graph *graph;
    const oxp_tensor *const *inputs;
    const oxp_graph_node *const *nodes;
    size_t count;
    oxp_gradients all = {.wanted = NULL};
    OXP_TRY(oxp_graph_build(&graph, arena, model));
    OXP_TRY(oxp_graph_differentiable(graph, &all, arena, &nodes, &count));
    for (size_t i = 0; i < count; i++) {
        char text[OXP_NODE_TEXT_MAX];
        printf("no gradient: %s\n", oxp_graph_node_text(text, nodes[i]));
    }
    OXP_TRY(oxp_random_inputs(&inputs, arena, graph, size));
    if (!inputs)
        return oxp_fail(ctx, OXP_EUNSUPPORTED, "E-INPUT", "no inputs can be drawn for size %lld",
                        (long long)size);
    return directional_check(ctx, graph, inputs, getenv("VERBOSE") != NULL, result);
}

int main(int argc, char **argv)
{
    oxp_ctx ctx;
    oxp_arena arena;
    oxp_model *model = NULL;
    directional result = {.weights = 0};
    if (argc < 2) {
        fprintf(stderr, "usage: directional MODEL [SIZE]\n");
        return 2;
    }
    oxp_ctx_init(&ctx);
    oxp_arena_init(&arena, &ctx);
    oxp_status status = oxp_model_load(&model, &ctx, argv[1], NULL);
    if (status == OXP_OK)
        status = run(&ctx, &arena, model, argc > 2 ? atoll(argv[2]) : 8, &result);
    if (status != OXP_OK)
        printf("%s: %s\n", ctx.code, ctx.message);
    else
        printf("%zu weights, %zu of %zu directions agree, %zu stand on a kink%s%s\n",
               result.weights, result.agreed, result.directions, result.kinks,
               result.first[0] ? "; " : "", result.first);
    oxp_arena_free(&arena);
    oxp_model_free(model);
    return status != OXP_OK || result.agreed + result.kinks < result.directions;
}
