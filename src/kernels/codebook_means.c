/* codebook_means.c - weighted k-means of short vectors, see codebook.h. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/codebook.h"
#include "kernels/gemm.h"
#include "kernels/vector.h"
#include "util/random.h"

#define SCORES ((size_t)1 << 19) /* of a tile */
#define DRAWN_SIZE 1024          /* words drawn by distance; above, at random */

/* ---- the nearest word ---- */

/* scores[r, k] + less[k] at its largest, the first of equals. */
static uint32_t largest(const float *scores, const float *less, size_t size)
{
    uint32_t best = 0;
    float most = -INFINITY;
    for (size_t k = 0; k < size; k++)
        if (scores[k] - less[k] > most) {
            most = scores[k] - less[k];
            best = (uint32_t)k;
        }
    return best;
}

oxp_status oxp_words_choose(uint32_t *index, oxp_ctx *ctx, const float *words, size_t size,
                            size_t dim, const float *linear, size_t n, const float *quad)
{
    size_t tile = SCORES / size + 1;
    tile = tile < n ? tile : n;
    float *scores;
    OXP_TRY(oxp_alloc_raw(&scores, ctx, tile * size, sizeof *scores, "distances to words"));
    for (size_t first = 0; first < n; first += tile) {
        size_t rows = n - first < tile ? n - first : tile;
        oxp_gemm_shape s = oxp_gemm_plain(false, true, rows, size, dim);
        oxp_gemm(&s, 1, linear + first * dim, words, 0, scores);
        for (size_t r = 0; r < rows; r++)
            index[first + r] = largest(&scores[r * size], quad, size);
    }
    oxp_free(scores);
    return OXP_OK;
}

/* ---- seeds ---- */

typedef struct entry {
    const float *vector;
    size_t dim, at;
} entry;

static int by_numbers(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    for (size_t d = 0; d < x->dim; d++)
        if (x->vector[d] != y->vector[d])
            return x->vector[d] < y->vector[d] ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

static bool same_vector(const float *a, const float *b, size_t dim)
{
    for (size_t d = 0; d < dim; d++)
        if (a[d] != b[d])
            return false;
    return true;
}

/* chosen[*distinct]: the first place of every distinct vector, in ascending order of numbers. */
static oxp_status find_distinct(const oxp_means *m, oxp_ctx *ctx, size_t *chosen, size_t *distinct)
{
    entry *entries;
    OXP_TRY(oxp_alloc_raw(&entries, ctx, m->count, sizeof *entries, "vectors in order"));
    for (size_t i = 0; i < m->count; i++)
        entries[i] = (entry){m->vectors + i * m->dim, m->dim, i};
    qsort(entries, m->count, sizeof *entries, by_numbers);
    *distinct = 0;
    for (size_t i = 0; i < m->count; i++)
        if (i == 0 || !same_vector(entries[i].vector, entries[i - 1].vector, m->dim))
            chosen[(*distinct)++] = entries[i].at;
    oxp_free(entries);
    return OXP_OK;
}

OXP_VECTORISED static void lower_distances(float *restrict distance, const float *restrict vectors,
                                           const float *restrict weights,
                                           const float *restrict word, size_t count, size_t dim)
{
    for (size_t i = 0; i < count; i++) {
        float sum = 0;
        for (size_t d = 0; d < dim; d++) {
            float e = vectors[i * dim + d] - word[d];
            sum += weights[i * dim + d] * e * e;
        }
        distance[i] = sum < distance[i] ? sum : distance[i];
    }
}

static size_t draw_by(const float *distance, size_t count, oxp_random *r)
{
    double total = 0, at = 0;
    for (size_t i = 0; i < count; i++)
        total += (double)distance[i];
    double wanted = oxp_random_uniform(r) * total;
    size_t last = 0;
    for (size_t i = 0; i < count; i++) {
        if (!(distance[i] > 0))
            continue;
        last = i;
        at += (double)distance[i];
        if (at > wanted)
            break;
    }
    return last;
}

static void take_word(oxp_means *m, size_t k, size_t vector)
{
    memcpy(m->words + k * m->dim, m->vectors + vector * m->dim, m->dim * sizeof *m->words);
}

static oxp_status seed_by_distance(oxp_means *m, oxp_ctx *ctx, oxp_random *r)
{
    float *distance;
    OXP_TRY(oxp_alloc_raw(&distance, ctx, m->count, sizeof *distance, "distances of vectors"));
    for (size_t i = 0; i < m->count; i++)
        distance[i] = FLT_MAX;
    size_t next = oxp_random_below(r, m->count);
    for (size_t k = 0; k < m->size; k++) {
        take_word(m, k, next);
        lower_distances(distance, m->vectors, m->weights, m->words + k * m->dim, m->count, m->dim);
        next = draw_by(distance, m->count, r);
    }
    oxp_free(distance);
    return OXP_OK;
}

/* The first `size` of the distinct vectors in a random order. */
static void seed_at_random(oxp_means *m, size_t *chosen, size_t distinct, oxp_random *r)
{
    for (size_t k = 0; k < m->size; k++) {
        size_t other = k + oxp_random_below(r, distinct - k), kept = chosen[k];
        chosen[k] = chosen[other];
        chosen[other] = kept;
        take_word(m, k, chosen[k]);
    }
}

oxp_status oxp_means_seed(oxp_means *m, oxp_ctx *ctx, uint64_t seed)
{
    size_t *chosen, distinct = 0;
    oxp_random r = oxp_random_make(seed, m->count, m->size);
    OXP_TRY(oxp_alloc_raw(&chosen, ctx, m->count, sizeof *chosen, "distinct vectors"));
    oxp_status status = find_distinct(m, ctx, chosen, &distinct);
    if (status == OXP_OK && distinct <= m->size) {
        m->size = distinct;
        for (size_t k = 0; k < distinct; k++)
            take_word(m, k, chosen[k]);
    } else if (status == OXP_OK && m->size <= DRAWN_SIZE) {
        status = seed_by_distance(m, ctx, &r);
    } else if (status == OXP_OK) {
        seed_at_random(m, chosen, distinct, &r);
    }
    oxp_free(chosen);
    return status;
}

/* ---- a step ---- */

typedef struct sums {
    double *weighted, *weights; /* [size, dim] */
    size_t *members;            /* [size] */
    float *errors;              /* [count] */
} sums;

/* weight * vector and weight stand side by side: the distance is a product of two matrices. */
static oxp_status assign(oxp_means *m, oxp_ctx *ctx)
{
    size_t dim = m->dim;
    float *linear, *pairs, *quad;
    OXP_TRY(oxp_alloc_raw(&linear, ctx, m->count * 2 * dim, sizeof *linear, "weighted vectors"));
    oxp_status status = oxp_alloc_raw(&pairs, ctx, m->size * 2 * dim, sizeof *pairs, "words");
    if (status == OXP_OK)
        status = oxp_alloc(&quad, ctx, m->size, sizeof *quad, "words");
    else
        pairs = quad = NULL;
    if (status == OXP_OK) {
        for (size_t i = 0; i < m->count; i++)
            for (size_t d = 0; d < dim; d++) {
                float weight = m->weights[i * dim + d];
                linear[i * 2 * dim + d] = weight * m->vectors[i * dim + d];
                linear[i * 2 * dim + dim + d] = weight;
            }
        for (size_t k = 0; k < m->size; k++)
            for (size_t d = 0; d < dim; d++) {
                float c = m->words[k * dim + d];
                pairs[k * 2 * dim + d] = c;
                pairs[k * 2 * dim + dim + d] = -0.5f * c * c;
            }
        status = oxp_words_choose(m->index, ctx, pairs, m->size, 2 * dim, linear, m->count, quad);
        oxp_free(quad);
    }
    oxp_free(pairs);
    oxp_free(linear);
    return status;
}

static double add_members(const oxp_means *m, sums *s)
{
    double total = 0;
    for (size_t i = 0; i < m->count; i++) {
        size_t k = m->index[i];
        double error = 0;
        s->members[k]++;
        for (size_t d = 0; d < m->dim; d++) {
            double weight = (double)m->weights[i * m->dim + d];
            double x = (double)m->vectors[i * m->dim + d];
            double e = x - (double)m->words[k * m->dim + d];
            s->weighted[k * m->dim + d] += weight * x;
            s->weights[k * m->dim + d] += weight;
            error += weight * e * e;
        }
        s->errors[i] = (float)error;
        total += error;
    }
    return total;
}

static size_t worst_off(const float *errors, size_t count)
{
    size_t worst = 0;
    for (size_t i = 1; i < count; i++)
        if (errors[i] > errors[worst])
            worst = i;
    return worst;
}

static void move_words(oxp_means *m, sums *s)
{
    for (size_t k = 0; k < m->size; k++) {
        if (s->members[k] == 0) {
            size_t worst = worst_off(s->errors, m->count);
            if (s->errors[worst] > 0)
                take_word(m, k, worst);
            s->errors[worst] = 0;
            continue;
        }
        for (size_t d = 0; d < m->dim; d++)
            if (s->weights[k * m->dim + d] > 0)
                m->words[k * m->dim + d] =
                    (float)(s->weighted[k * m->dim + d] / s->weights[k * m->dim + d]);
    }
}

oxp_status oxp_means_step(oxp_means *m, oxp_ctx *ctx, double *distortion)
{
    oxp_arena arena;
    oxp_arena_init(&arena, ctx);
    sums s = {.weighted = oxp_arena_alloc(&arena, m->size * m->dim, sizeof *s.weighted),
              .weights = oxp_arena_alloc(&arena, m->size * m->dim, sizeof *s.weights),
              .members = oxp_arena_alloc(&arena, m->size, sizeof *s.members),
              .errors = oxp_arena_alloc(&arena, m->count, sizeof *s.errors)};
    bool enough = s.weighted && s.weights && s.members && s.errors;
    oxp_status status = enough ? assign(m, ctx) : OXP_ELIMIT;
    if (status == OXP_OK) {
        *distortion = add_members(m, &s);
        move_words(m, &s);
    }
    oxp_arena_free(&arena);
    return status;
}
