/* damped.h - H of a layer as the kernels take it: with a ridge on its diagonal, because what a few
 * samples never showed must not look free. */
#ifndef OXP_TECHNIQUES_DAMPED_H
#define OXP_TECHNIQUES_DAMPED_H

#include "calibration/moments.h"
#include "kernels/moment_block.h"

/* Adds `ridge` times the mean of its diagonal to that of h [n, n]; returns what it added. */
float oxp_add_ridge(float *h, size_t n, double ridge);

/* The blocks of all groups, [m->groups * oxp_moments_blocks(m)], in the arena: `ridge` times the
 * mean of its diagonal is added to each; the identity where nothing was read. */
oxp_status oxp_damped_blocks(oxp_moment_block **out, oxp_arena *arena, const oxp_moments *m,
                             double ridge);

#endif
