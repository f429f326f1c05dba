/* batch_normalization.c - BatchNormalization and what exporters write instead (Mul and Add per
 * channel) go into the weights of the Conv, ConvTranspose, Gemm or MatMul before them.
 *
 * Scalars between the operator and the last node with numbers per channel go along. A
 * BatchNormalization before an unpadded Conv is folded forward. Between them may stand the
 * Transpose that turns a convolution's result into the layout that TensorFlow computes in. Weights
 * that something else reads too are not touched. */
#include "prepare/absorb.h"

oxp_status oxp_step_batch_normalization(oxp_pass *p)
{
    oxp_linear l;
    for (size_t s = 0; s < p->scope_count; s++) {
        const oxp_graph *g = p->scopes[s].graph;
        for (size_t n = 0; n < g->node_count; n++)
            if (!oxp_pass_touched(p, s, &g->nodes[n]) && oxp_linear_read(&l, p, s, &g->nodes[n]))
                OXP_TRY(oxp_absorb_behind(p, &l, OXP_CHAIN_TO_CHANNELS));
        for (size_t n = 0; n < g->node_count; n++)
            if (!oxp_pass_touched(p, s, &g->nodes[n]) && oxp_linear_read(&l, p, s, &g->nodes[n]))
                OXP_TRY(oxp_absorb_behind_transpose(p, &l));
        for (size_t n = 0; n < g->node_count; n++)
            if (!oxp_pass_touched(p, s, &g->nodes[n]) && oxp_linear_read(&l, p, s, &g->nodes[n]))
                OXP_TRY(oxp_absorb_before(p, &l, OXP_CHAIN_TO_NORMALIZATION));
    }
    return OXP_OK;
}
