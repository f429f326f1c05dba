/* scalars.c - Add, Sub, Mul and Div by constants go into the neighbouring operator: behind it
 * always, before a Conv the factors always and what is added only where nothing is padded.
 *
 * It runs after the activations were recognised, whose constants (3 and 1/6 of HardSwish) are
 * not free to move. */
#include "prepare/absorb.h"

oxp_status oxp_step_scalars(oxp_pass *p)
{
    oxp_linear l;
    for (size_t s = 0; s < p->scope_count; s++) {
        const oxp_graph *g = p->scopes[s].graph;
        for (size_t n = 0; n < g->node_count; n++)
            if (!oxp_pass_touched(p, s, &g->nodes[n]) && oxp_linear_read(&l, p, s, &g->nodes[n]))
                OXP_TRY(oxp_absorb_behind(p, &l, OXP_CHAIN_ARITHMETIC));
        for (size_t n = 0; n < g->node_count; n++)
            if (!oxp_pass_touched(p, s, &g->nodes[n]) && oxp_linear_read(&l, p, s, &g->nodes[n]))
                OXP_TRY(oxp_absorb_before(p, &l, OXP_CHAIN_ARITHMETIC));
    }
    return OXP_OK;
}
