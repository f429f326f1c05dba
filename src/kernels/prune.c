/* prune.c - see prune.h: what is the smallest, of all or of a group. */
#include "kernels/prune.h"

#include <math.h>
#include <string.h>

#include "kernels/prune_internal.h"

/* ---- the smallest of many ---- */

#define DIGIT_BITS 11
#define DIGITS ((size_t)1 << DIGIT_BITS)

static uint32_t key_of(float score) /* ordered as |score| is */
{
    uint32_t bits;
    memcpy(&bits, &score, sizeof bits);
    return bits & 0x7fffffffu;
}

/* The key of which `*left` more are to be taken after all smaller ones, `*left` = how many keys in
 * all (at least 1) on entry. */
static uint32_t key_of_rank(const float *scores, size_t n, size_t *left)
{
    uint32_t key = 0, decided = 0;
    for (int shift = 2 * DIGIT_BITS; shift >= 0; shift -= DIGIT_BITS) {
        size_t counts[DIGITS] = {0}, digit = 0;
        for (size_t i = 0; i < n; i++)
            if ((key_of(scores[i]) & decided) == key)
                counts[key_of(scores[i]) >> shift & (DIGITS - 1)]++;
        while (counts[digit] < *left)
            *left -= counts[digit++];
        key |= (uint32_t)digit << shift;
        decided |= (uint32_t)(DIGITS - 1) << shift;
    }
    return key;
}

void oxp_prune_drop_smallest(uint8_t *kept, const float *scores, size_t n, size_t zeros)
{
    memset(kept, 1, n);
    if (zeros == 0)
        return;
    size_t left = zeros;
    uint32_t key = key_of_rank(scores, n, &left);
    for (size_t i = 0; i < n; i++) {
        uint32_t k = key_of(scores[i]);
        bool tied = k == key && left > 0;
        left -= tied;
        kept[i] = !(k < key || tied);
    }
}

/* ---- groups of N:M ---- */

oxp_prune_groups oxp_prune_groups_of(const oxp_prune_rule *rule, size_t columns, size_t first,
                                     size_t count)
{
    size_t channel = first / rule->unit;
    return (oxp_prune_groups){rule, columns / rule->unit, channel + count / rule->unit, channel, 0};
}

/* How many of the first channels of a group may stay, `end` behind them. */
static size_t may_stay(const oxp_prune_groups *g, size_t base, size_t end)
{
    const oxp_prune_rule *r = g->rule;
    bool whole = end - base == r->of || end == g->channels;
    return whole ? r->keep : r->keep * (end - base) / r->of;
}

bool oxp_prune_next_group(oxp_prune_groups *g, oxp_prune_group *out)
{
    const oxp_prune_rule *r = g->rule;
    if (g->from >= g->end)
        return false;
    size_t base = g->from / r->of * r->of, end = base + r->of < g->end ? base + r->of : g->end;
    out->count = end - g->from;
    out->keep = may_stay(g, base, end) - may_stay(g, base, g->from);
    out->keep = out->keep < out->count ? out->keep : out->count;
    for (size_t i = 0; i < out->count; i++)
        out->columns[i] = (g->from + i) * r->unit + g->tap;
    if (++g->tap == r->unit) {
        g->tap = 0;
        g->from = end;
    }
    return true;
}

void oxp_prune_drop_in_group(uint8_t *kept, const float *scores, const oxp_prune_group *g)
{
    for (size_t i = 0; i < g->count; i++)
        kept[g->columns[i]] = 1;
    for (size_t dropped = g->keep; dropped < g->count; dropped++) {
        size_t least = SIZE_MAX;
        for (size_t i = 0; i < g->count; i++) {
            size_t c = g->columns[i];
            if (kept[c] && (least == SIZE_MAX || key_of(scores[c]) < key_of(scores[least])))
                least = c;
        }
        kept[least] = 0;
    }
}

static void drop_in_groups(uint8_t *kept, const float *scores, size_t rows, size_t columns,
                           const oxp_prune_rule *rule)
{
    oxp_prune_group g;
    oxp_prune_groups all = oxp_prune_groups_of(rule, columns, 0, columns);
    while (oxp_prune_next_group(&all, &g))
        for (size_t r = 0; r < rows; r++)
            oxp_prune_drop_in_group(kept + r * columns, scores + r * columns, &g);
}

/* ---- by size, and by size times what is read ---- */

static size_t share_of(const oxp_prune_rule *rule, size_t n)
{
    double zeros = nearbyint(rule->sparsity * (double)n);
    return zeros <= 0 ? 0 : zeros >= (double)n ? n : (size_t)zeros;
}

oxp_status oxp_prune_magnitude(uint8_t *kept, oxp_ctx *ctx, const oxp_prune_layer *l,
                               const oxp_prune_rule *rule)
{
    (void)ctx;
    size_t n = l->rows * l->columns;
    if (rule->of)
        drop_in_groups(kept, l->w, l->rows, l->columns, rule);
    else
        oxp_prune_drop_smallest(kept, l->w, n, share_of(rule, n));
    return OXP_OK;
}

/* |w_j| sqrt(H_jj) of a row. */
static void score_row(float *scores, const oxp_prune_layer *l, size_t r)
{
    for (size_t k = 0; k < l->block_count; k++) {
        const oxp_moment_block *b = &l->blocks[k];
        for (size_t i = 0; i < b->count; i++)
            scores[b->first + i] =
                l->w[r * l->columns + b->first + i] * sqrtf(b->h[i * b->count + i]);
    }
}

oxp_status oxp_prune_wanda(uint8_t *kept, oxp_ctx *ctx, const oxp_prune_layer *l,
                           const oxp_prune_rule *rule)
{
    float *scores;
    size_t columns = l->columns;
    OXP_TRY(oxp_alloc_raw(&scores, ctx, columns, sizeof *scores, "scores of a row"));
    for (size_t r = 0; r < l->rows; r++) {
        score_row(scores, l, r);
        if (rule->of)
            drop_in_groups(kept + r * columns, scores, 1, columns, rule);
        else
            oxp_prune_drop_smallest(kept + r * columns, scores, columns, share_of(rule, columns));
    }
    oxp_free(scores);
    return OXP_OK;
}

oxp_status oxp_prune_wanda_overall(uint8_t *kept, oxp_ctx *ctx, const oxp_prune_layer *l,
                                   const oxp_prune_rule *rule)
{
    float *scores;
    size_t n = l->rows * l->columns;
    OXP_TRY(oxp_alloc_raw(&scores, ctx, n, sizeof *scores, "scores of a weight"));
    for (size_t r = 0; r < l->rows; r++)
        score_row(scores + r * l->columns, l, r);
    oxp_prune_drop_smallest(kept, scores, n, share_of(rule, n));
    oxp_free(scores);
    return OXP_OK;
}
