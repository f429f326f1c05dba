/* artefact_collect.c - see artefact_collect.h: which items grow in which pass, and the passes. */
#include "calibration/artefact_collect.h"

#include <math.h>
#include <string.h>
#include <time.h>

#include "calibration/artefact_pass.h"

#define CHUNK_SECONDS 0.5 /* a chunk that took less is followed by one of twice as many samples */
#define CHUNK_MOST 512
#define ROWS_MOST ((size_t)128 << 20) /* bytes of layer inputs that a chunk holds */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- which items ---- */

static size_t available(const oxp_ctx *ctx)
{
    size_t used = ctx->budget->used;
    return used < ctx->budget->limit ? ctx->budget->limit - used : 0;
}

static size_t tensor_bytes(const oxp_collect *c)
{
    return ((size_t)c->artefact->ctx->threads + 1) * sizeof(oxp_histogram);
}

/* What grows; the rows of a chunk are paid from another share. */
static size_t layer_bytes(const oxp_collect *c, size_t i)
{
    const oxp_artefact_layer *l = &c->artefact->layers[i];
    size_t triangle = c->artefact->moments == OXP_KEEP_FULL ? oxp_layer_triangle(l) : 0, bytes;
    return oxp_mul_ok(triangle, sizeof(double), &bytes) ? bytes : SIZE_MAX;
}

static size_t *done_of(oxp_artefact *a, size_t item)
{
    if (item < a->tensor_count)
        return &a->tensors[item].done;
    item -= a->tensor_count;
    return item < a->layer_count ? &a->layers[item].done : &a->fisher.powers_done;
}

static size_t item_bytes(const oxp_collect *c, size_t item)
{
    if (item < c->artefact->tensor_count)
        return tensor_bytes(c);
    item -= c->artefact->tensor_count;
    return item < c->artefact->layer_count ? layer_bytes(c, item) : 0;
}

/* Items of the next pass, all of them equally far: as many as a part of the memory holds, at least
 * one. Those that an interrupted run left half grown come first; what of them does not fit any
 * more begins anew. */
static void choose_items(const oxp_collect *c, oxp_collecting *p, size_t items)
{
    oxp_artefact *a = c->artefact;
    size_t share = available(a->ctx) / p->part, taken = 0;
    p->from = a->used;
    p->any = false;
    for (size_t i = 0; i < items; i++) {
        size_t done = *done_of(a, i);
        if (done < a->used && (p->from == a->used || done > p->from))
            p->from = done;
    }
    for (size_t i = 0; i < items; i++) {
        size_t *done = done_of(a, i), bytes = item_bytes(c, i);
        p->has[i] = false;
        if (*done >= a->used || *done != p->from)
            continue;
        if (!p->any || (taken <= share && bytes <= share - taken)) {
            p->has[i] = p->any = true;
            taken = oxp_add_ok(taken, bytes, &taken) ? taken : SIZE_MAX;
        } else if (*done) {
            oxp_collecting_forget(a, i);
        }
    }
}

/* ---- a pass ---- */

static size_t chunk_limit(const oxp_collect *c, const oxp_collecting *p)
{
    const oxp_artefact *a = c->artefact;
    size_t bytes = 1, share = available(a->ctx) / p->part / 2;
    share = share < ROWS_MOST ? share : ROWS_MOST;
    for (size_t i = 0; i < a->layer_count; i++) {
        const oxp_artefact_layer *l = &a->layers[i];
        if (p->has[a->tensor_count + i])
            bytes += c->positions * l->groups * l->columns * sizeof(float);
    }
    size_t most = share / bytes;
    return most < 1 ? 1 : most > CHUNK_MOST ? CHUNK_MOST : most;
}

static oxp_status write_down(oxp_collecting *p)
{
    const oxp_collect *c = p->collect;
    if (!c->pause || !c->wants_pause(c->user))
        return OXP_OK;
    OXP_TRY(oxp_collecting_settle(p, false));
    return c->pause(c->user);
}

/* The first pass counts the samples; the others do so once more. */
static oxp_status run_chunks(oxp_collecting *p, oxp_runner *runner)
{
    const oxp_collect *c = p->collect;
    size_t used = c->artefact->used, most = chunk_limit(c, p);
    size_t size = 4 * (size_t)c->artefact->ctx->threads;
    for (p->base = p->from; p->base < used; p->base += p->slots) {
        size_t left = used - p->base;
        double start = now();
        size = size < most ? size : most;
        p->slots = size < left ? size : left;
        OXP_TRY(oxp_collecting_open_chunk(p));
        OXP_TRY(oxp_runner_run(runner, c->source, c->which + p->base, p->slots, NULL));
        OXP_TRY(oxp_collecting_close_chunk(p));
        p->done = p->base + p->slots;
        OXP_TRY(oxp_progress(c->artefact->ctx, "calibrate", p->done, used));
        if (p->done < used)
            OXP_TRY(write_down(p));
        size = now() - start < CHUNK_SECONDS ? 2 * size : size;
    }
    return OXP_OK;
}

static oxp_status run_pass(oxp_collecting *p, bool last)
{
    oxp_runner *runner;
    oxp_run_hooks hooks = oxp_collecting_hooks(p);
    oxp_status status = oxp_collecting_open(p);
    if (status == OXP_OK)
        status = oxp_runner_create(&runner, p->collect->artefact->ctx, p->collect->graph, &hooks);
    if (status == OXP_OK) {
        status = run_chunks(p, runner);
        oxp_runner_free(runner);
    }
    if (status == OXP_OK)
        status = oxp_collecting_settle(p, true);
    oxp_collecting_close(p);
    if (status == OXP_OK && !last)
        status = oxp_collecting_put_away(p);
    return status;
}

static bool all_done(oxp_artefact *a, size_t items)
{
    for (size_t i = 0; i < items; i++)
        if (*done_of(a, i) < a->used)
            return false;
    return true;
}

/* What running the samples takes is only known when they run: where it did not fit beside the
 * statistics, these get less, and then fewer threads work at once. */
static bool try_less(oxp_collecting *p, size_t items)
{
    oxp_ctx *ctx = p->collect->artefact->ctx;
    size_t count = 0;
    for (size_t i = 0; i < items; i++)
        count += p->has[i];
    if (strcmp(ctx->code, "E-LIMIT-MEM") != 0 || (count < 2 && ctx->threads < 2))
        return false;
    if (count < 2)
        ctx->threads /= 2;
    p->part *= 2;
    for (size_t i = 0; i < items; i++)
        if (p->has[i])
            oxp_collecting_forget(p->collect->artefact, i);
    oxp_log(ctx, OXP_LOG_VERBOSE, "calibrate: begun anew with less at once: %s", ctx->message);
    oxp_ctx_clear(ctx);
    return true;
}

static oxp_status run_passes(oxp_collect *c, oxp_arena *arena)
{
    oxp_artefact *a = c->artefact;
    size_t items = a->tensor_count + a->layer_count + 1;
    oxp_collecting p = {.collect = c, .part = 2};
    p.has = oxp_arena_alloc(arena, items, sizeof *p.has);
    bool *after = oxp_arena_alloc(arena, items, sizeof *after);
    if (!p.has || !after)
        return OXP_ELIMIT;
    while (!all_done(a, items)) {
        choose_items(c, &p, items);
        bool last = a->fisher.done == a->used || a->fisher.target_count == 0;
        for (size_t i = 0; i < items; i++)
            last = last && (p.has[i] || *done_of(a, i) >= a->used);
        oxp_status status = run_pass(&p, last);
        if (status == OXP_ELIMIT && try_less(&p, items))
            continue;
        OXP_TRY(status);
        c->passes++;
    }
    return OXP_OK;
}

/* ---- gradients ---- */

static oxp_status fill_powers(oxp_collect *c, oxp_arena *arena)
{
    const oxp_artefact *a = c->artefact;
    const oxp_artefact_fisher *f = &a->fisher;
    double *powers = oxp_arena_alloc(arena, f->output_count + 1, sizeof *powers);
    if (!powers)
        return OXP_ELIMIT;
    for (size_t o = 0; o < f->output_count; o++) {
        for (size_t i = 0; i < a->used && f->is_powered[o]; i++)
            powers[o] += f->powers[i * f->output_count + o] / (double)a->used;
        if (f->is_unscaled && powers[o] > 0)
            powers[o] = 1;
    }
    c->fisher.powers = powers;
    return OXP_OK;
}

static oxp_status gradient_chunk(oxp_collect *c, size_t count)
{
    oxp_artefact_fisher *f = &c->artefact->fisher;
    oxp_fisher found;
    oxp_arena arena;
    oxp_arena_init(&arena, c->artefact->ctx);
    oxp_status status = oxp_fisher_run(&found, &arena, c->graph, c->source, c->which + f->done,
                                       count, c->targets, f->target_count, &c->fisher);
    if (status == OXP_OK) {
        memcpy(f->squares + f->done * f->target_count, found.squares,
               count * f->target_count * sizeof *f->squares);
        f->done += count;
    }
    oxp_arena_free(&arena);
    return status;
}

static oxp_status run_gradients(oxp_collect *c, oxp_arena *arena)
{
    oxp_artefact *a = c->artefact;
    oxp_artefact_fisher *f = &a->fisher;
    if (f->target_count == 0)
        f->done = a->used;
    if (f->done == a->used)
        return OXP_OK;
    OXP_TRY(fill_powers(c, arena));
    c->passes++;
    for (size_t size = 4 * (size_t)a->ctx->threads; f->done < a->used;) {
        size_t left = a->used - f->done;
        double start = now();
        oxp_status status = gradient_chunk(c, size < left ? size : left);
        if (status == OXP_ELIMIT && a->ctx->threads > 1 &&
            strcmp(a->ctx->code, "E-LIMIT-MEM") == 0) {
            a->ctx->threads /= 2; /* each thread holds the gradients of all weights */
            oxp_ctx_clear(a->ctx);
            continue;
        }
        OXP_TRY(status);
        if (c->pause && f->done < a->used && c->wants_pause(c->user))
            OXP_TRY(c->pause(c->user));
        size = now() - start < 4 * CHUNK_SECONDS && size < CHUNK_MOST ? 2 * size : size;
    }
    return OXP_OK;
}

oxp_status oxp_collect_run(oxp_collect *c)
{
    oxp_arena arena;
    int threads = c->artefact->ctx->threads;
    oxp_arena_init(&arena, c->artefact->ctx);
    oxp_status status = run_passes(c, &arena);
    c->artefact->ctx->threads = threads;
    if (status == OXP_OK)
        status = run_gradients(c, &arena);
    c->artefact->ctx->threads = threads;
    oxp_arena_free(&arena);
    return status;
}
