/* damped.c - see damped.h. */
#include "techniques/damped.h"

#include <string.h>

float oxp_add_ridge(float *h, size_t n, double ridge)
{
    double trace = 0;
    for (size_t i = 0; i < n; i++)
        trace += (double)h[i * (n + 1)];
    float added = (float)(ridge * trace / (double)n);
    for (size_t i = 0; i < n; i++)
        h[i * (n + 1)] += added;
    return added;
}

oxp_status oxp_damped_blocks(oxp_moment_block **out, oxp_arena *arena, const oxp_moments *m,
                             double ridge)
{
    size_t count = oxp_moments_blocks(m), floats = oxp_moments_floats(m);
    oxp_moment_block *blocks = oxp_arena_alloc(arena, m->groups * count, sizeof *blocks);
    float *h = oxp_arena_alloc(arena, floats, sizeof *h);
    if (!blocks || !h)
        return OXP_ELIMIT;
    memcpy(h, m->h, floats * sizeof *h);
    for (size_t g = 0; g < m->groups; g++)
        for (size_t b = 0; b < count; b++) {
            size_t width = oxp_moments_width(m, b);
            float *block = h + (oxp_moments_block(m, g, b) - m->h);
            if (oxp_add_ridge(block, width, ridge) <= 0)
                for (size_t i = 0; i < width; i++)
                    block[i * (width + 1)] += 1;
            blocks[g * count + b] = (oxp_moment_block){b * m->block, width, block};
        }
    *out = blocks;
    return OXP_OK;
}
