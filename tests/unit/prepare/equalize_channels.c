/* Channel maps against the channel of every element, carried along. */
#include "prepare/equalize_channels.h"

#include <criterion/criterion.h>
#include <string.h>

#define MOST 4096

typedef struct labelled { /* a tensor that holds the channel of each element */
    int rank;
    int64_t dims[8];
    size_t count, channel[MOST];
} labelled;

static size_t index_of(const labelled *t, const int64_t *at)
{
    size_t i = 0;
    for (int k = 0; k < t->rank; k++)
        i = i * (size_t)t->dims[k] + (size_t)at[k];
    return i;
}

static void position(int64_t *at, const labelled *t, size_t i)
{
    for (int k = t->rank - 1; k >= 0; k--) {
        at[k] = (int64_t)(i % (size_t)t->dims[k]);
        i /= (size_t)t->dims[k];
    }
}

static labelled shaped(int rank, const int64_t *dims)
{
    labelled t = {.rank = rank, .count = 1};
    for (int k = 0; k < rank; k++) {
        t.dims[k] = dims[k];
        t.count *= (size_t)dims[k];
    }
    cr_assert_leq(t.count, MOST);
    return t;
}

static labelled along(int axis, int rank, const int64_t *dims)
{
    labelled t = shaped(rank, dims);
    int64_t at[8] = {0};
    for (size_t i = 0; i < t.count; i++) {
        position(at, &t, i);
        t.channel[i] = (size_t)at[axis];
    }
    return t;
}

static void expect_map(const oxp_channels *c, const labelled *t)
{
    int64_t at[8] = {0};
    cr_assert_eq(c->rank, t->rank);
    for (size_t i = 0; i < t->count; i++) {
        size_t channel = c->offset;
        position(at, t, i);
        for (int k = 0; k < t->rank; k++) {
            cr_assert_eq(c->dims[k], t->dims[k]);
            const oxp_channel_part *p = &c->parts[k];
            channel += (size_t)at[k] / p->divide % p->extent * p->stride;
        }
        cr_assert_eq(channel, t->channel[i], "element %zu: %zu, not %zu", i, channel,
                     t->channel[i]);
    }
}

typedef struct shape {
    int rank;
    int64_t dims[6];
} shape;

/* From a tensor with channels on one axis to another shape and back. */
Test(equalize_channels, reshape)
{
    static const struct {
        shape from;
        int axis;
        shape to;
        bool told;
    } cases[] = {
        {{4, {2, 6, 3, 5}}, 1, {2, {2, 90}}, true},    /* Flatten */
        {{4, {2, 6, 3, 5}}, 1, {3, {2, 6, 15}}, true}, /* an image as rows */
        {{3, {2, 5, 12}}, 2, {4, {2, 5, 3, 4}}, true}, /* heads */
        {{3, {2, 5, 12}}, 2, {3, {10, 3, 4}}, true},
        {{3, {2, 5, 12}}, 2, {5, {2, 5, 3, 2, 2}}, true}, /* Q, K, V and heads */
        {{3, {2, 5, 12}}, 2, {2, {10, 12}}, true},
        {{3, {2, 12, 5}}, 1, {4, {2, 3, 4, 5}}, true}, /* groups of channels */
        {{4, {2, 6, 1, 1}}, 1, {2, {2, 6}}, true},     /* Squeeze */
        {{2, {2, 6}}, 1, {4, {2, 6, 1, 1}}, true},     /* Unsqueeze */
        {{3, {2, 5, 12}}, 2, {3, {2, 6, 10}}, false},  /* channels and rows mixed */
        {{3, {2, 12, 5}}, 1, {3, {2, 6, 10}}, true},
        {{2, {4, 6}}, 0, {2, {6, 4}}, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        labelled t = along(cases[i].axis, cases[i].from.rank, cases[i].from.dims);
        oxp_channels c = oxp_channels_along(cases[i].axis, t.rank, t.dims), there, back;
        expect_map(&c, &t);
        bool told = oxp_channels_reshape(&there, &c, cases[i].to.rank, cases[i].to.dims);
        cr_expect_eq(told, cases[i].told, "case %zu", i);
        if (!told)
            continue;
        labelled u = shaped(cases[i].to.rank, cases[i].to.dims);
        memcpy(u.channel, t.channel, sizeof u.channel);
        expect_map(&there, &u);
        if (oxp_channels_reshape(&back, &there, t.rank, t.dims))
            expect_map(&back, &t);
    }
}

Test(equalize_channels, transpose_and_slice)
{
    static const int64_t dims[3] = {2, 5, 12}, heads[5] = {2, 5, 3, 2, 2},
                         order[5] = {2, 0, 3, 1, 4};
    labelled t = along(2, 3, dims), u = shaped(5, (int64_t[]){3, 2, 2, 5, 2});
    oxp_channels c = oxp_channels_along(2, 3, dims);
    cr_assert(oxp_channels_reshape(&c, &c, 5, heads));
    cr_assert(oxp_channels_transpose(&c, &c, order));
    labelled before = shaped(5, heads);
    for (size_t i = 0; i < u.count; i++) {
        int64_t at[8] = {0}, from[8] = {0};
        position(at, &u, i);
        for (int k = 0; k < 5; k++)
            from[order[k]] = at[k];
        u.channel[i] = t.channel[index_of(&before, from)];
    }
    expect_map(&c, &u);
    cr_assert(oxp_channels_slice(&c, &c, 0, 2, 1));
    labelled v = shaped(5, (int64_t[]){1, 2, 2, 5, 2});
    for (size_t i = 0; i < v.count; i++)
        v.channel[i] = u.channel[i + 2 * v.count];
    expect_map(&c, &v);
}

Test(equalize_channels, broadcasting_keeps_channels_on_their_axis)
{
    oxp_channels c = oxp_channels_along(1, 4, (int64_t[]){2, 6, 1, 1}), wide;
    cr_assert(oxp_channels_resize(&wide, &c, 4, (int64_t[]){2, 6, 3, 5}));
    labelled t = along(1, 4, (int64_t[]){2, 6, 3, 5});
    expect_map(&wide, &t);
    cr_expect(oxp_channels_alike(&c, &wide));
    cr_expect_not(oxp_channels_resize(&wide, &c, 4, (int64_t[]){2, 7, 3, 5}));
    oxp_channels other = oxp_channels_along(2, 4, (int64_t[]){2, 6, 6, 5});
    cr_expect_not(oxp_channels_alike(&c, &other));
}

Test(equalize_channels, unions_carry_pins)
{
    oxp_ctx ctx;
    oxp_ctx_init(&ctx);
    oxp_variables v = {.ctx = &ctx};
    uint32_t a, b;
    cr_assert_eq(oxp_variables_add(&a, &v, 3), OXP_OK);
    cr_assert_eq(oxp_variables_add(&b, &v, 3), OXP_OK);
    oxp_variables_pin(&v, b + 1);
    oxp_variables_unite(&v, a, b + 1);
    oxp_variables_unite(&v, a + 2, b);
    cr_expect(v.pinned[oxp_variables_root(&v, a)]);
    cr_expect_not(v.pinned[oxp_variables_root(&v, b)]);
    cr_expect_eq(oxp_variables_root(&v, b), oxp_variables_root(&v, a + 2));
    oxp_variables_free(&v);
    cr_expect_eq(atomic_load(&ctx.own_budget.used), 0);
}
