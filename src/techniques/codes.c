/* codes.c - see codes.h. */
#include "techniques/codes.h"

#include <math.h>
#include <string.h>

#include "calibration/moments.h"
#include "kernels/rounding.h"
#include "techniques/bias_correction.h"
#include "techniques/damped.h"
#include "techniques/fit.h"
#include "util/mapping.h"
#include "util/parallel.h"

#define HELD_BYTES ((size_t)64 << 20)  /* of the rows of the layers that one run serves */
#define BATCH_BYTES ((size_t)24 << 20) /* of H and its factor of the layers worked on at a time */
#define ITEM_ROWS 64                   /* rows of a weight that a thread takes at a time */

#define BLOCK_COLUMNS ((size_t)576) /* of a diagonal block of H */

#define MOST_ROWS ((size_t)4096) /* positions of all samples that H is taken from */

/* Added to the diagonal of H, as a share of its mean: what a few samples never showed must not look
 * free. On eight models 0.01 to 0.2 differ by less than their samples do; without it the codes lose
 * up to 9 dB on other samples. */
#define RIDGE 0.1
/* Of the factor alone, for what rounding leaves of a pivot. */
#define DAMPING 1e-4f

typedef struct task { /* one site */
    const oxp_site *site;
    oxp_codes *codes;
    const oxp_graph_node **nodes;
    oxp_moments moments;
    bool takes_shift;
    size_t rows;             /* of the weight as a matrix [rows, moments.columns] */
    oxp_round_block *blocks; /* [groups * blocks of a group] */
    size_t item_count;
    oxp_round_error *errors; /* by item */
    size_t held_bytes, batch_bytes;
} task;

typedef struct refiner {
    const oxp_refinement *r;
    oxp_arena *arena; /* of the batch */
    task *tasks;      /* of the batch */
    size_t count;
    size_t *task_of, *part_of; /* by item or block */
    size_t part_count;
} refiner;

/* ---- which sites, and what they need ---- */

static oxp_status plan_task(task *t, const oxp_refinement *r, size_t i, oxp_codes *codes,
                            oxp_arena *arena)
{
    const oxp_site *s = &r->sites[i];
    size_t unit;
    *t = (task){.site = s, .codes = &codes[i]};
    if (!r->wanted[i] || !codes[i].codes ||
        !oxp_site_is_seen(s, &t->moments.groups, &t->moments.columns, &unit))
        return OXP_OK;
    t->nodes = oxp_arena_alloc(arena, s->consumer_count, sizeof *t->nodes);
    if (!t->nodes)
        return OXP_ELIMIT;
    for (size_t k = 0; k < s->consumer_count; k++)
        t->nodes[k] = s->consumers[k].node;
    t->takes_shift = r->correct && oxp_bias_takes_shift(s, r->make_biases);
    t->rows = oxp_site_scales(s);
    oxp_moments *m = &t->moments;
    m->nodes = t->nodes;
    m->node_count = s->consumer_count;
    m->scale = r->scales[i];
    m->block = oxp_moments_block_columns(m->columns, unit, BLOCK_COLUMNS);
    m->wanted = oxp_moments_positions(m->block, r->samples, MOST_ROWS);
    m->centred = t->takes_shift;
    size_t lanes = (size_t)arena->ctx->threads + 1, row = m->wanted * m->groups * m->columns;
    size_t h = sizeof(float) * oxp_moments_floats(m);
    t->held_bytes = m->scale ? row * r->samples : row * lanes * sizeof(float) + h;
    t->batch_bytes = 2 * h;
    return OXP_OK;
}

/* ---- a batch of sites ---- */

static oxp_status make_sums(task *t, oxp_arena *arena)
{
    oxp_moments *m = &t->moments;
    size_t width = m->groups * m->columns;
    m->h = oxp_arena_alloc(arena, oxp_moments_floats(m), sizeof *m->h);
    m->mean = oxp_arena_alloc(arena, 2 * width, sizeof *m->mean);
    if (!m->h || !m->mean)
        return OXP_ELIMIT;
    m->code_mean = m->mean + width;
    return OXP_OK;
}

static oxp_status make_blocks(task *t, oxp_arena *arena)
{
    const oxp_moments *m = &t->moments;
    size_t blocks = oxp_moments_blocks(m);
    float *factor = oxp_arena_alloc(arena, oxp_moments_floats(m), sizeof *factor);
    uint32_t *order = oxp_arena_alloc(arena, m->groups * m->columns, sizeof *order);
    t->blocks = oxp_arena_alloc(arena, m->groups * blocks, sizeof *t->blocks);
    t->item_count = (t->rows + ITEM_ROWS - 1) / ITEM_ROWS;
    t->errors = oxp_arena_alloc(arena, t->item_count, sizeof *t->errors);
    if (!factor || !order || !t->blocks || !t->errors)
        return OXP_ELIMIT;
    for (size_t g = 0; g < m->groups; g++)
        for (size_t b = 0; b < blocks; b++) {
            float *h = oxp_moments_block(m, g, b);
            t->blocks[g * blocks + b] =
                (oxp_round_block){.first = b * m->block,
                                  .count = oxp_moments_width(m, b),
                                  .h = h,
                                  .factor = factor + (h - m->h),
                                  .order = order + g * m->columns + b * m->block};
        }
    return OXP_OK;
}

/* Numbers the parts of all tasks of the batch, `parts(task)` of each. */
static oxp_status number_parts(refiner *f, size_t (*parts)(const task *t))
{
    f->part_count = 0;
    for (size_t i = 0; i < f->count; i++)
        f->part_count += parts(&f->tasks[i]);
    f->task_of = oxp_arena_alloc(f->arena, f->part_count + 1, sizeof *f->task_of);
    f->part_of = oxp_arena_alloc(f->arena, f->part_count + 1, sizeof *f->part_of);
    if (!f->task_of || !f->part_of)
        return OXP_ELIMIT;
    for (size_t at = 0, i = 0; i < f->count; i++)
        for (size_t p = 0; p < parts(&f->tasks[i]); p++, at++) {
            f->task_of[at] = i;
            f->part_of[at] = p;
        }
    return OXP_OK;
}

static size_t block_parts(const task *t)
{
    return t->moments.rows ? t->moments.groups * oxp_moments_blocks(&t->moments) : 0;
}

static size_t item_parts(const task *t)
{
    return t->moments.rows ? t->item_count : 0;
}

static oxp_status factor_part(void *user, oxp_ctx *ctx, size_t part, int worker)
{
    (void)ctx;
    (void)worker;
    refiner *f = user;
    task *t = &f->tasks[f->task_of[part]];
    size_t at = f->part_of[part], blocks = oxp_moments_blocks(&t->moments);
    oxp_add_ridge(oxp_moments_block(&t->moments, at / blocks, at % blocks), t->blocks[at].count,
                  RIDGE);
    oxp_round_factor(&t->blocks[at], DAMPING);
    return OXP_OK;
}

/* ---- rows ---- */

/* Where element k of a row stands in the weight, and how far the next one is. */
static size_t row_at(const oxp_site *s, size_t row, size_t *step)
{
    bool contiguous = s->layout.outer == 1;
    *step = contiguous ? 1 : s->layout.channels;
    return contiguous ? row * s->layout.inner : row;
}

static void take_row(const task *t, size_t row, float *w, int8_t *codes)
{
    size_t step, at = row_at(t->site, row, &step);
    const float *from = t->site->value->constant.data;
    for (size_t k = 0; k < t->moments.columns; k++) {
        w[k] = from[at + k * step];
        codes[k] = t->codes->codes[at + k * step];
    }
}

/* A weight of exactly zero keeps the code zero: pruning put it there. */
static void give_row(const task *t, size_t row, const float *w, const int8_t *codes)
{
    size_t step, at = row_at(t->site, row, &step);
    for (size_t k = 0; k < t->moments.columns; k++)
        t->codes->codes[at + k * step] = w[k] == 0 ? 0 : codes[k];
}

/* `count` rows from `row` on, all of one group. */
static oxp_status round_run(const refiner *f, oxp_ctx *ctx, const task *t, size_t row, size_t count,
                            oxp_round_error *error)
{
    size_t columns = t->moments.columns, blocks = oxp_moments_blocks(&t->moments);
    size_t group = row / (t->rows / t->moments.groups);
    float *w;
    int8_t *codes;
    OXP_TRY(oxp_alloc_raw(&w, ctx, count * columns, sizeof *w, "rows of a weight"));
    oxp_status status = oxp_alloc_raw(&codes, ctx, count * columns, 1, "rows of a weight");
    if (status == OXP_OK) {
        for (size_t i = 0; i < count; i++)
            take_row(t, row + i, w + i * columns, codes + i * columns);
        status = oxp_round_rows(ctx, t->blocks + group * blocks, blocks, w, count, columns,
                                f->r->limit, codes, t->codes->scales + row, error);
        for (size_t i = 0; i < count && status == OXP_OK; i++)
            give_row(t, row + i, w + i * columns, codes + i * columns);
        oxp_free(codes);
    }
    oxp_free(w);
    return status;
}

static oxp_status round_part(void *user, oxp_ctx *ctx, size_t part, int worker)
{
    (void)worker;
    refiner *f = user;
    task *t = &f->tasks[f->task_of[part]];
    size_t item = f->part_of[part], rows = t->rows / t->moments.groups;
    size_t end = (item + 1) * ITEM_ROWS < t->rows ? (item + 1) * ITEM_ROWS : t->rows;
    for (size_t row = item * ITEM_ROWS; row < end;) {
        size_t left = rows - row % rows, count = left < end - row ? left : end - row;
        OXP_TRY(round_run(f, ctx, t, row, count, &t->errors[item]));
        row += count;
    }
    return OXP_OK;
}

/* ---- what is left ---- */

static oxp_status fill_shifts(task *t, oxp_arena *arena)
{
    const oxp_moments *m = &t->moments;
    float *stored = oxp_arena_alloc(arena, t->rows, sizeof *stored);
    float *integer = oxp_arena_alloc(arena, t->rows, sizeof *integer);
    if (!stored || !integer)
        return OXP_ELIMIT;
    const float *w = t->site->value->constant.data;
    for (size_t row = 0; row < t->rows; row++) {
        size_t step, at = row_at(t->site, row, &step);
        size_t first = row / (t->rows / m->groups) * m->columns;
        double of_weight = 0, of_both = 0;
        for (size_t k = 0; k < m->columns; k++, at += step) {
            double float_weight = (double)w[at], mean = m->mean[first + k];
            double coded = (double)((float)t->codes->codes[at] * t->codes->scales[row]);
            of_weight += (float_weight - coded) * mean;
            of_both += float_weight * mean - coded * m->code_mean[first + k];
        }
        stored[row] = (float)of_weight;
        integer[row] = (float)of_both;
    }
    t->codes->stored_shift = stored;
    t->codes->integer_shift = integer;
    return OXP_OK;
}

static oxp_status finish_task(task *t, bool round, oxp_arena *arena)
{
    if (t->moments.rows == 0)
        return OXP_OK;
    t->codes->is_rounded = round;
    t->codes->output_before = t->codes->output_after = round ? 0 : NAN;
    for (size_t i = 0; i < t->item_count; i++) {
        t->codes->output_before += t->errors[i].before;
        t->codes->output_after += t->errors[i].after;
    }
    oxp_codes_measure(t->codes, t->site);
    if (t->takes_shift)
        OXP_TRY(fill_shifts(t, arena));
    oxp_model_forget(t->site->graph->model, &t->site->value->constant);
    oxp_pages_release(arena->ctx, t->codes->codes, t->site->value->constant.count);
    return OXP_OK;
}

static oxp_status round_batch(refiner *f, oxp_arena *kept)
{
    oxp_ctx *ctx = f->arena->ctx;
    for (size_t i = 0; i < f->count; i++)
        OXP_TRY(make_blocks(&f->tasks[i], f->arena));
    OXP_TRY(number_parts(f, block_parts));
    OXP_TRY(oxp_parallel_for(ctx, f->part_count, factor_part, f));
    OXP_TRY(number_parts(f, item_parts));
    if (f->r->round)
        OXP_TRY(oxp_parallel_for(ctx, f->part_count, round_part, f));
    for (size_t i = 0; i < f->count; i++)
        OXP_TRY(finish_task(&f->tasks[i], f->r->round, kept));
    return OXP_OK;
}

/* Sums the rows held of tasks first..end-1 and rounds by them. */
static oxp_status refine_batch(task *tasks, size_t first, size_t end, oxp_moments *moments,
                               oxp_moments_held *held, const oxp_refinement *r, oxp_arena *kept)
{
    oxp_arena arena;
    oxp_arena_init(&arena, kept->ctx);
    oxp_status status = OXP_OK;
    for (size_t i = first; i < end && status == OXP_OK; i++) {
        if (!tasks[i].moments.h)
            status = make_sums(&tasks[i], &arena);
        moments[i] = tasks[i].moments;
    }
    if (status == OXP_OK)
        status = oxp_moments_sum(held, first, end);
    for (size_t i = first; i < end; i++)
        tasks[i].moments.rows = moments[i].rows;
    refiner f = {.r = r, .arena = &arena, .tasks = &tasks[first], .count = end - first};
    if (status == OXP_OK)
        status = round_batch(&f, kept);
    oxp_arena_free(&arena);
    return status;
}

static oxp_status refine_batches(task *tasks, size_t count, oxp_moments *moments,
                                 oxp_moments_held *held, const oxp_refinement *r, oxp_arena *kept)
{
    for (size_t first = 0; first < count;) {
        size_t end = first, bytes = 0;
        while (end < count && (end == first || bytes + tasks[end].batch_bytes <= BATCH_BYTES))
            bytes += tasks[end++].batch_bytes;
        OXP_TRY(refine_batch(tasks, first, end, moments, held, r, kept));
        first = end;
    }
    return OXP_OK;
}

/* What one run of the samples serves. */
static oxp_status refine_group(task *tasks, size_t count, const oxp_refinement *r, oxp_arena *arena,
                               oxp_arena *kept)
{
    oxp_moments_held *held;
    oxp_moments *moments = oxp_arena_alloc(arena, count, sizeof *moments);
    if (!moments)
        return OXP_ELIMIT;
    for (size_t i = 0; i < count; i++) {
        if (!tasks[i].moments.scale)
            OXP_TRY(make_sums(&tasks[i], arena));
        moments[i] = tasks[i].moments;
    }
    OXP_TRY(oxp_moments_hold(&held, moments, count, kept->ctx, r->graph, r->source, r->which,
                             r->samples));
    oxp_status status = refine_batches(tasks, count, moments, held, r, kept);
    oxp_moments_release(held);
    return status;
}

static oxp_status refine_all(task *tasks, size_t count, const oxp_refinement *r, oxp_arena *kept)
{
    for (size_t first = 0; first < count;) {
        size_t end = first, bytes = 0;
        while (end < count && (end == first || bytes + tasks[end].held_bytes <= HELD_BYTES))
            bytes += tasks[end++].held_bytes;
        oxp_arena arena;
        oxp_arena_init(&arena, kept->ctx);
        oxp_status status = refine_group(&tasks[first], end - first, r, &arena, kept);
        oxp_arena_free(&arena);
        OXP_TRY(status);
        first = end;
    }
    return OXP_OK;
}

oxp_status oxp_codes_refine(oxp_codes *codes, oxp_arena *arena, const oxp_refinement *r)
{
    size_t count = 0;
    task *tasks = oxp_arena_alloc(arena, r->site_count + 1, sizeof *tasks);
    if (!tasks)
        return OXP_ELIMIT;
    for (size_t i = 0; i < r->site_count; i++) {
        OXP_TRY(plan_task(&tasks[count], r, i, codes, arena));
        count += tasks[count].nodes != NULL;
    }
    return refine_all(tasks, count, r, arena);
}
