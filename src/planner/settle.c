/* settle.c - keeps float layers out of the pattern that ONNX Runtime quantises by itself. */
#include <string.h>

#include "calibration/given.h"
#include "planner/placement.h"
#include "techniques/dynamic_lstm.h"
#include "techniques/islands.h"

static const char quantised_in_front[] =
    "ONNX Runtime would quantise the float layer in front of it on its own";
static const char slower[] = "integers would be slower: less than what quantising costs here";

static bool is_exposed_type(const oxp_graph_node *n)
{
    return n->domain[0] == '\0' && n->output_count > 0 && n->outputs[0] != OXP_NO_VALUE &&
           (strcmp(n->type, "Conv") == 0 || strcmp(n->type, "ConvTranspose") == 0 ||
            strcmp(n->type, "Gemm") == 0);
}

/* A float layer between codes and codes: its input is read through DequantizeLinear, its result is
 * quantised for an integer reader. */
static bool is_exposed(const oxp_islands *islands, const oxp_graph_node *n)
{
    if (!is_exposed_type(n))
        return false;
    const oxp_quantised *in = oxp_islands_at(islands, n->graph, n->inputs[0]);
    const oxp_quantised *out = oxp_islands_at(islands, n->graph, oxp_relu_output(n));
    bool from_codes =
        (in && in->kind == OXP_IN_PLACE) || oxp_is_dequantised(n->graph, n->inputs[0]);
    return from_codes && out && out->kind == OXP_BRANCH;
}

static void take_back(oxp_choice *c, const oxp_site *s, const char *reason)
{
    const char *why = NULL;
    *c = (oxp_choice){
        .technique = oxp_technique_w8.applies(s, &why) ? &oxp_technique_w8 : NULL,
        .reason = reason,
        .limit = 127,
    };
}

/* Takes back the integer sites that read the result of exposed layers; returns whether any was. */
static bool settle_graph(const oxp_islands *islands, const oxp_graph *g, const oxp_site *sites,
                         size_t count, oxp_choice *choices)
{
    bool any = false;
    for (size_t n = 0; n < g->node_count; n++) {
        if (!is_exposed(islands, &g->nodes[n]))
            continue;
        uint32_t value = oxp_relu_output(&g->nodes[n]);
        for (size_t i = 0; i < count; i++)
            for (size_t k = 0; k < sites[i].consumer_count; k++) {
                const oxp_graph_node *reader = sites[i].consumers[k].node;
                if (choices[i].technique == &oxp_technique_w8a8 && reader->graph == g &&
                    reader->inputs[0] == value) {
                    take_back(&choices[i], &sites[i], quantised_in_front);
                    any = true;
                }
            }
    }
    return any;
}

static oxp_status settle_once(oxp_arena *arena, const oxp_graph *graph, const oxp_site *sites,
                              size_t count, oxp_choice *choices, bool *changed)
{
    bool *chosen = oxp_arena_alloc(arena, count + 1, sizeof *chosen);
    oxp_islands islands;
    if (!chosen)
        return OXP_ELIMIT;
    for (size_t i = 0; i < count; i++)
        chosen[i] = choices[i].technique == &oxp_technique_w8a8;
    OXP_TRY(oxp_islands_find(&islands, arena, graph, sites, count, chosen));
    *changed = false;
    for (size_t g = 0; g < islands.graph_count; g++)
        *changed |= settle_graph(&islands, islands.graphs[g], sites, count, choices);
    return OXP_OK;
}

/* Takes back a weight of an LSTM whose other weights are not in integers. */
static void settle_pairs(const oxp_site *sites, size_t count, oxp_choice *choices)
{
    for (size_t i = 0; i < count; i++) {
        size_t other = choices[i].technique == &oxp_technique_dynamic
                           ? oxp_lstm_partner(sites, count, i)
                           : SIZE_MAX;
        if (other != SIZE_MAX && choices[other].technique != &oxp_technique_dynamic)
            take_back(&choices[i], &sites[i], "the other weights of its LSTM are not in integers");
    }
}

/* Takes back what costs more in integers than in float; returns whether anything was. */
static oxp_status leave_float(const oxp_regions *regions, const oxp_graph *graph,
                              const oxp_site *sites, size_t count, oxp_choice *choices,
                              bool *changed)
{
    bool *integer;
    OXP_TRY(oxp_alloc(&integer, graph->ctx, count + 1, sizeof *integer, "regions"));
    oxp_status status = oxp_regions_cut(integer, regions, graph, sites, count, choices);
    for (size_t i = 0; status == OXP_OK && i < count; i++)
        if (choices[i].technique == &oxp_technique_w8a8 && !integer[i]) {
            take_back(&choices[i], &sites[i], slower);
            *changed = true;
        }
    oxp_free(integer);
    return status;
}

oxp_status oxp_settle_choices(const oxp_graph *graph, const oxp_site *sites, size_t count,
                              oxp_choice *choices, const oxp_regions *regions)
{
    bool changed = true;
    oxp_status status = OXP_OK;
    settle_pairs(sites, count, choices);
    while (changed && status == OXP_OK) { /* every round takes at least one site back */
        oxp_arena arena;
        bool left = false;
        if (regions)
            status = leave_float(regions, graph, sites, count, choices, &left);
        oxp_arena_init(&arena, graph->ctx);
        if (status == OXP_OK)
            status = settle_once(&arena, graph, sites, count, choices, &changed);
        oxp_arena_free(&arena);
    }
    return status;
}
