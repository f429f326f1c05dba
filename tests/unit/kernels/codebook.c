/* Weighted k-means never gets worse and finds what is there; words for the layer's output beat the
 * nearest ones, and without correlation they are the nearest ones. */
#include "kernels/codebook.h"

#include "util/half.h"
#include "values.h"

/* ---- k-means ---- */

typedef struct cloud {
    oxp_means m;
    float *vectors, *weights;
} cloud;

static cloud make_cloud(oxp_random *r, size_t count, size_t dim, size_t size)
{
    cloud c = {.vectors = random_floats(r, count * dim), .weights = random_floats(r, count * dim)};
    for (size_t i = 0; i < count * dim; i++)
        c.weights[i] = fabsf(c.weights[i]) + 0.05f;
    c.m = (oxp_means){.vectors = c.vectors,
                      .weights = c.weights,
                      .count = count,
                      .dim = dim,
                      .words = make_block(size * dim, sizeof(float)),
                      .size = size,
                      .index = make_block(count, sizeof(uint32_t))};
    return c;
}

static void free_cloud(cloud *c)
{
    free(c->vectors);
    free(c->weights);
    free(c->m.words);
    free(c->m.index);
}

static double distance(const cloud *c, size_t i, size_t k)
{
    double sum = 0;
    for (size_t d = 0; d < c->m.dim; d++) {
        double e = (double)c->vectors[i * c->m.dim + d] - (double)c->m.words[k * c->m.dim + d];
        sum += (double)c->weights[i * c->m.dim + d] * e * e;
    }
    return sum;
}

Test(codebook, a_step_of_k_means_never_makes_it_worse)
{
    oxp_ctx ctx;
    oxp_ctx_init(&ctx);
    oxp_random r = oxp_random_make(1, 2, 3);
    const size_t dims[] = {1, 3, 4, 8}, sizes[] = {16, 7, 64, 100};
    for (int t = 0; t < 4; t++) {
        cloud c = make_cloud(&r, 700, dims[t], sizes[t]);
        double before = INFINITY, first = 0, now = 0;
        cr_assert_eq(oxp_means_seed(&c.m, &ctx, 9), OXP_OK);
        for (int i = 0; i < 12; i++) {
            cr_assert_eq(oxp_means_step(&c.m, &ctx, &now), OXP_OK);
            cr_expect_leq(now, before * (1 + 1e-6), "dim %zu, step %d", dims[t], i);
            first = i == 0 ? now : first;
            before = now;
        }
        cr_expect_lt(now, 0.9 * first, "dim %zu: %g of %g", dims[t], now, first);
        free_cloud(&c);
    }
    cr_expect_eq(ctx.budget->used, 0);
}

Test(codebook, the_chosen_word_is_the_nearest)
{
    oxp_ctx ctx;
    oxp_ctx_init(&ctx);
    oxp_random r = oxp_random_make(4, 5, 6);
    cloud c = make_cloud(&r, 300, 4, 40);
    double now, sum = 0;
    float *words = make_block(160, sizeof *words);
    cr_assert_eq(oxp_means_seed(&c.m, &ctx, 1), OXP_OK);
    memcpy(words, c.m.words, 160 * sizeof *words);
    cr_assert_eq(oxp_means_step(&c.m, &ctx, &now), OXP_OK);
    memcpy(c.m.words, words, 160 * sizeof *words);
    for (size_t i = 0; i < 300; i++) {
        double least = INFINITY;
        for (size_t k = 0; k < 40; k++)
            least = fmin(least, distance(&c, i, k));
        cr_assert_leq(distance(&c, i, c.m.index[i]), least + 1e-5);
        sum += least;
    }
    cr_expect_float_eq(now, sum, 1e-5 * sum);
    free(words);
    free_cloud(&c);
}

Test(codebook, as_many_words_as_distinct_vectors_are_the_vectors)
{
    oxp_ctx ctx;
    oxp_ctx_init(&ctx);
    oxp_random r = oxp_random_make(7, 8, 9);
    cloud c = make_cloud(&r, 500, 3, 32);
    for (size_t i = 20; i < 500; i++)
        memcpy(&c.vectors[3 * i], &c.vectors[3 * (i * 7 % 20)], 3 * sizeof *c.vectors);
    double now = 1;
    cr_assert_eq(oxp_means_seed(&c.m, &ctx, 1), OXP_OK);
    cr_expect_eq(c.m.size, 20);
    cr_assert_eq(oxp_means_step(&c.m, &ctx, &now), OXP_OK);
    cr_expect_eq(now, 0);
    free_cloud(&c);
}

/* ---- words for a layer's output ---- */

typedef struct layer {
    size_t rows, columns, groups;
    float *w, *h; /* [rows, columns], [groups, columns, columns] */
    oxp_moment_block blocks[4];
    oxp_codebook_problem p;
    oxp_arena arena;
    oxp_ctx ctx;
} layer;

/* H of inputs whose columns share a few causes. */
static void make_layer(layer *l, oxp_random *r, size_t rows, size_t columns, size_t groups)
{
    size_t causes = columns / 3 + 1, square = columns * columns;
    *l = (layer){.rows = rows, .columns = columns, .groups = groups};
    oxp_ctx_init(&l->ctx);
    oxp_arena_init(&l->arena, &l->ctx);
    l->w = random_floats(r, rows * columns);
    l->h = make_block(groups * square, sizeof *l->h);
    for (size_t g = 0; g < groups; g++) {
        float *mix = random_floats(r, causes * columns);
        for (size_t i = 0; i < columns; i++)
            for (size_t j = 0; j < columns; j++) {
                double sum = i == j ? 0.1 : 0;
                for (size_t c = 0; c < causes; c++)
                    sum += (double)mix[c * columns + i] * (double)mix[c * columns + j];
                l->h[g * square + i * columns + j] = (float)sum;
            }
        l->blocks[g] = (oxp_moment_block){0, columns, l->h + g * square};
        free(mix);
    }
    l->p = (oxp_codebook_problem){.w = l->w,
                                  .rows = rows,
                                  .columns = columns,
                                  .groups = groups,
                                  .blocks = l->blocks,
                                  .block_count = 1,
                                  .seed = 3};
}

static void free_layer(layer *l)
{
    free(l->w);
    free(l->h);
    oxp_arena_free(&l->arena);
    cr_expect_eq(l->ctx.budget->used, 0);
}

static oxp_codebook fit(layer *l, size_t dim, size_t size, size_t books, double *error)
{
    oxp_codebook b = {.dim = dim, .size = size, .books = books};
    cr_assert_eq(oxp_codebook_fit(&b, error, &l->arena, &l->p), OXP_OK, "%s", l->ctx.message);
    return b;
}

/* sum of e^T H e, from the decoded numbers alone */
static double direct_error(const layer *l, const oxp_codebook *b)
{
    double total = 0;
    float *w = make_block(l->rows * l->columns, sizeof *w);
    oxp_codebook_decode(w, b);
    for (size_t r = 0; r < l->rows; r++) {
        const float *h = l->h + r / (l->rows / l->groups) * l->columns * l->columns;
        for (size_t i = 0; i < l->columns; i++)
            for (size_t j = 0; j < l->columns; j++)
                total += ((double)l->w[r * l->columns + i] - (double)w[r * l->columns + i]) *
                         (double)h[i * l->columns + j] *
                         ((double)l->w[r * l->columns + j] - (double)w[r * l->columns + j]);
    }
    free(w);
    return total;
}

/* Lengths that `dim` does not divide, groups, one book and two. */
Test(codebook, words_for_the_output_beat_the_nearest)
{
    oxp_random r = oxp_random_make(10, 11, 12);
    double gain = 0, swept_gain = 0;
    const size_t columns[] = {24, 37, 9, 50}, groups[] = {1, 2, 4, 1}, dims[] = {4, 4, 2, 8},
                 sizes[] = {64, 64, 16, 32}, books[] = {1, 1, 1, 2};
    for (int t = 0; t < 4; t++) {
        layer l;
        double plain, swept, refined;
        make_layer(&l, &r, 64, columns[t], groups[t]);
        l.p.effort = OXP_CODEBOOK_NEAREST;
        oxp_codebook nearest = fit(&l, dims[t], sizes[t], books[t], &plain);
        l.p.effort = OXP_CODEBOOK_SWEPT;
        fit(&l, dims[t], sizes[t], books[t], &swept);
        l.p.effort = OXP_CODEBOOK_REFINED;
        oxp_codebook best = fit(&l, dims[t], sizes[t], books[t], &refined);
        double direct = direct_error(&l, &nearest);
        cr_expect_float_eq(plain, direct, 1e-3 * direct, "%g and %g", plain, direct);
        direct = direct_error(&l, &best);
        cr_expect_float_eq(refined, direct, 1e-3 * plain, "%g and %g", refined, direct);
        cr_expect_leq(swept, plain);
        cr_expect_lt(refined, swept);
        swept_gain += 10 * log10(plain / swept) / 4;
        gain += 10 * log10(plain / refined) / 4;
        free_layer(&l);
    }
    /* 3.4 and 7.8; what is handed on with the wrong sign loses */
    cr_expect_gt(swept_gain, 3, "mean gain %.2f dB", swept_gain);
    cr_expect_gt(gain, 7, "mean gain %.2f dB", gain);
}

static oxp_codebook fit_identity(layer *l, bool as_blocks, double *error)
{
    for (size_t i = 0; i < l->columns * l->columns; i++)
        l->h[i] = i % (l->columns + 1) == 0 ? 1 : 0;
    l->p.blocks = as_blocks ? l->blocks : NULL;
    return fit(l, 4, 16, 1, error);
}

Test(codebook, without_correlation_there_is_nothing_to_hand_on)
{
    oxp_random r = oxp_random_make(13, 14, 15);
    layer l;
    double with, without;
    make_layer(&l, &r, 40, 30, 1);
    oxp_codebook a = fit_identity(&l, true, &with), b = fit_identity(&l, false, &without);
    cr_expect_float_eq(with, without, 1e-5 * without);
    cr_expect_eq(memcmp(a.indices, b.indices, 40 * oxp_codebook_vectors(&a) * sizeof *a.indices),
                 0);
    free_layer(&l);
}

/* Blocks of H that end inside a vector are the H with zeros outside them. */
Test(codebook, blocks_may_end_inside_a_vector)
{
    oxp_random r = oxp_random_make(16, 17, 18);
    layer l;
    double whole, parts;
    make_layer(&l, &r, 32, 23, 1);
    float *first = make_block(100, sizeof *first), *second = make_block(169, sizeof *second);
    for (size_t i = 0; i < 23; i++)
        for (size_t j = 0; j < 23; j++) {
            float h = l.h[i * 23 + j];
            if (i < 10 && j < 10)
                first[i * 10 + j] = h;
            else if (i >= 10 && j >= 10)
                second[(i - 10) * 13 + j - 10] = h;
            else
                l.h[i * 23 + j] = 0;
        }
    oxp_codebook a = fit(&l, 4, 16, 1, &whole);
    const oxp_moment_block two[2] = {{0, 10, first}, {10, 13, second}};
    l.p.blocks = two;
    l.p.block_count = 2;
    oxp_codebook b = fit(&l, 4, 16, 1, &parts);
    cr_expect_float_eq(parts, direct_error(&l, &b), 1e-3 * parts);
    cr_expect_float_eq(whole, parts, 0.02 * whole, "%g and %g", whole, parts);
    (void)a;
    free(first);
    free(second);
    free_layer(&l);
}

/* Rows that are few vectors, times a scale of their own, come back. */
Test(codebook, what_a_book_can_hold_comes_back)
{
    oxp_random r = oxp_random_make(19, 20, 21);
    layer l;
    double error;
    make_layer(&l, &r, 30, 64, 1);
    for (size_t row = 0; row < 30; row++)
        for (size_t v = 0; v < 16; v++)
            for (size_t d = 0; d < 4; d++) /* every row holds the same 16, in another order */
                l.w[row * 64 + v * 4 + d] = (float)(1 << row % 3) * l.w[(v * 7 + row) % 16 * 4 + d];
    for (size_t i = 0; i < 64; i++) /* row 0 of the loop above was read while it was written */
        l.w[i] = l.w[3 * 64 + i];
    memset(&l.w[5 * 64], 0, 64 * sizeof *l.w);
    l.p.blocks = NULL;
    oxp_codebook b = fit(&l, 4, 64, 1, &error);
    double size = 0;
    for (size_t i = 0; i < 30 * 64; i++)
        size += (double)l.w[i] * (double)l.w[i];
    cr_expect_lt(error, 1e-6 * size, "%g of %g", error, size);
    cr_expect_eq(b.scales[5], 0);
    for (size_t i = 0; i < 2 * b.size; i++)
        cr_expect_eq(oxp_half_to_float(oxp_float_to_half(b.words[i])), b.words[i]);
    free_layer(&l);
}

Test(codebook, the_same_problem_gives_the_same_words)
{
    oxp_random r = oxp_random_make(22, 23, 24);
    layer l;
    double first, second;
    make_layer(&l, &r, 64, 40, 2);
    oxp_codebook a = fit(&l, 4, 32, 2, &first), b = fit(&l, 4, 32, 2, &second);
    cr_expect_eq(first, second);
    cr_expect_eq(memcmp(a.words, b.words, 2 * 32 * 4 * sizeof *a.words), 0);
    cr_expect_eq(memcmp(a.indices, b.indices, 2 * 64 * 10 * sizeof *a.indices), 0);
    free_layer(&l);
}
