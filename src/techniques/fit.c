/* fit.c - see fit.h. */
#include "techniques/fit.h"

#include <string.h>

#include "techniques/bias_correction.h"
#include "util/parallel.h"

#define GROUP_BYTES ((size_t)160 << 20) /* of H and the rows of a batch, at a time */
#define BLOCK_COLUMNS ((size_t)1152)    /* of a diagonal block of H */

/* Positions of all samples that H is taken from: some times the columns of a block. */
#define ROWS_PER_COLUMN ((size_t)4)
#define LEAST_ROWS ((size_t)1024)
#define MOST_ROWS ((size_t)8192)

typedef struct task { /* one site */
    const oxp_site *site;
    const oxp_graph_node **nodes;
    oxp_moments moments; /* groups is 0 where the layer's input is not seen as rows */
    size_t bytes;
} task;

typedef struct visitor {
    oxp_matrix_visit *visit;
    void *user;
    task *tasks; /* of the group at hand */
} visitor;

/* ---- matrices ---- */

/* Where element k = (outer, inner) of a row stands in the weight. */
static inline size_t element(oxp_weight_layout l, size_t row, size_t k)
{
    size_t block = row / l.channels, channel = row % l.channels;
    return ((block * l.outer + k / l.inner) * l.channels + channel) * l.inner + k % l.inner;
}

void oxp_site_matrix(float *out, const float *weight, const oxp_site *s)
{
    size_t rows = oxp_site_rows(s), columns = oxp_site_columns(s);
    for (size_t r = 0; r < rows; r++)
        for (size_t k = 0; k < columns; k++)
            out[r * columns + k] = weight[element(s->layout, r, k)];
}

void oxp_site_unmatrix(float *weight, const float *matrix, const oxp_site *s)
{
    size_t rows = oxp_site_rows(s), columns = oxp_site_columns(s);
    for (size_t r = 0; r < rows; r++)
        for (size_t k = 0; k < columns; k++)
            weight[element(s->layout, r, k)] = matrix[r * columns + k];
}

oxp_status oxp_edit_fitted_plain(oxp_edit *e, const oxp_site *s)
{
    const oxp_tensor *t = &s->value->constant;
    float *weight = oxp_arena_alloc(&e->arena, t->count, sizeof *weight);
    if (!weight)
        return OXP_ELIMIT;
    oxp_site_unmatrix(weight, e->choices[s->index].fitted->weight, s);
    return oxp_edit_set_tensor(e->model, s->value->proto, OXP_FLOAT, t->rank, t->dims, weight);
}

/* ---- what is seen ---- */

static bool reads_alike(const oxp_consumer *a, const oxp_consumer *b)
{
    return strcmp(a->node->type, b->node->type) == 0 &&
           oxp_graph_node_int(a->node, "transB", 0) == oxp_graph_node_int(b->node, "transB", 0) &&
           oxp_graph_node_int(a->node, "group", 1) == oxp_graph_node_int(b->node, "group", 1);
}

/* Whether the rows of the weight's matrix all meet what input 0 of its consumers holds. */
bool oxp_site_is_seen(const oxp_site *s, size_t *groups, size_t *columns, size_t *unit)
{
    if (oxp_site_is_half(s) || s->other_uses)
        return false;
    for (size_t k = 0; k < s->consumer_count; k++)
        if (s->consumers[k].input != 1 || !reads_alike(&s->consumers[k], &s->consumers[0]))
            return false;
    if (!oxp_moments_shape(s->consumers[0].node, groups, columns, unit))
        return false;
    bool by_rows = s->layout.outer == 1, by_columns = s->layout.blocks == 1 && s->layout.inner == 1;
    return (by_rows || by_columns) && *columns == oxp_site_columns(s) &&
           oxp_site_rows(s) % *groups == 0;
}

/* Columns of a diagonal block of H: whole channels, up to a limit. */
size_t oxp_moments_block_columns(size_t columns, size_t unit, size_t most)
{
    if (columns <= most)
        return columns;
    size_t pieces = (columns + most - 1) / most, block = (columns + pieces - 1) / pieces;
    return (block + unit - 1) / unit * unit;
}

size_t oxp_moments_positions(size_t block, size_t samples, size_t most)
{
    size_t rows = ROWS_PER_COLUMN * block;
    rows = rows < LEAST_ROWS ? LEAST_ROWS : rows > most ? most : rows;
    return (rows + samples - 1) / samples;
}

static oxp_status plan_moments(task *t, const oxp_fit_options *o, oxp_arena *arena)
{
    const oxp_site *s = t->site;
    oxp_moments *m = &t->moments;
    size_t unit;
    if (!o->source || !o->samples || !oxp_site_is_seen(s, &m->groups, &m->columns, &unit)) {
        m->groups = 0;
        return OXP_OK;
    }
    t->nodes = oxp_arena_alloc(arena, s->consumer_count, sizeof *t->nodes);
    if (!t->nodes)
        return OXP_ELIMIT;
    for (size_t k = 0; k < s->consumer_count; k++)
        t->nodes[k] = s->consumers[k].node;
    m->nodes = t->nodes;
    m->node_count = s->consumer_count;
    m->block = oxp_moments_block_columns(m->columns, unit, BLOCK_COLUMNS);
    m->wanted = oxp_moments_positions(m->block, o->samples, MOST_ROWS);
    m->centred = o->centre && oxp_bias_takes_shift(s, false);
    size_t lanes = (size_t)arena->ctx->threads + 1;
    t->bytes = sizeof(float) * (oxp_moments_floats(m) + m->wanted * m->groups * m->columns * lanes);
    return OXP_OK;
}

/* ---- one site ---- */

static oxp_status visit_with(visitor *v, const task *t, oxp_ctx *ctx, float *matrix)
{
    oxp_fit_input in = {.ctx = ctx,
                        .site = t->site,
                        .w = matrix,
                        .rows = oxp_site_rows(t->site),
                        .columns = oxp_site_columns(t->site),
                        .moments = t->moments.groups && t->moments.rows ? &t->moments : NULL};
    const float *w;
    float *owned;
    OXP_TRY(oxp_site_numbers(&w, &owned, ctx, t->site));
    oxp_site_matrix(matrix, w, t->site);
    oxp_free(owned);
    return v->visit(v->user, &in);
}

static oxp_status visit_one(void *user, oxp_ctx *ctx, size_t i, int worker)
{
    (void)worker;
    visitor *v = user;
    const oxp_value *weight = v->tasks[i].site->value;
    float *matrix;
    OXP_TRY(oxp_alloc_raw(&matrix, ctx, weight->constant.count, sizeof *matrix, "a weight"));
    oxp_status status = visit_with(v, &v->tasks[i], ctx, matrix);
    oxp_free(matrix);
    oxp_model_forget(v->tasks[i].site->graph->model, &weight->constant);
    return status;
}

/* ---- groups of sites ---- */

static oxp_status collect(task *tasks, size_t count, const oxp_fit_options *o, oxp_arena *arena)
{
    size_t seen = 0;
    oxp_moments *moments = oxp_arena_alloc(arena, count, sizeof *moments);
    if (!moments)
        return OXP_ELIMIT;
    for (size_t i = 0; i < count; i++) {
        oxp_moments *m = &tasks[i].moments;
        if (m->groups == 0)
            continue;
        size_t width = m->groups * m->columns;
        m->h = oxp_arena_alloc(arena, oxp_moments_floats(m), sizeof *m->h);
        m->mean = oxp_arena_alloc(arena, 2 * width, sizeof *m->mean);
        if (!m->h || !m->mean)
            return OXP_ELIMIT;
        m->code_mean = m->mean + width;
        moments[seen++] = *m;
    }
    if (seen == 0)
        return OXP_OK;
    OXP_TRY(
        oxp_moments_collect(moments, seen, arena->ctx, o->graph, o->source, o->which, o->samples));
    seen = 0;
    for (size_t i = 0; i < count; i++)
        if (tasks[i].moments.groups)
            tasks[i].moments.rows = moments[seen++].rows;
    return OXP_OK;
}

static oxp_status visit_group(visitor *v, size_t count, const oxp_fit_options *o)
{
    oxp_arena arena;
    oxp_ctx *ctx = o->graph->ctx;
    oxp_arena_init(&arena, ctx);
    oxp_status status = collect(v->tasks, count, o, &arena);
    if (status == OXP_OK)
        status = oxp_parallel_for(ctx, count, visit_one, v);
    oxp_arena_free(&arena);
    return status;
}

static oxp_status visit_all(visitor *v, size_t count, const oxp_fit_options *o)
{
    task *tasks = v->tasks;
    for (size_t first = 0; first < count;) {
        size_t end = first, bytes = 0;
        while (end < count && (end == first || bytes + tasks[end].bytes <= GROUP_BYTES))
            bytes += tasks[end++].bytes;
        v->tasks = &tasks[first];
        OXP_TRY(visit_group(v, end - first, o));
        first = end;
    }
    return OXP_OK;
}

oxp_status oxp_matrices_visit(const oxp_fit_options *o, const bool *wanted, oxp_matrix_visit *visit,
                              void *user)
{
    oxp_arena arena;
    size_t count = 0;
    oxp_arena_init(&arena, o->graph->ctx);
    visitor v = {visit, user, oxp_arena_alloc(&arena, o->site_count + 1, sizeof *v.tasks)};
    oxp_status status = v.tasks ? OXP_OK : OXP_ELIMIT;
    for (size_t i = 0; i < o->site_count && status == OXP_OK; i++)
        if (wanted[i]) {
            v.tasks[count].site = &o->sites[i];
            status = plan_moments(&v.tasks[count++], o, &arena);
        }
    if (status == OXP_OK)
        status = visit_all(&v, count, o);
    oxp_arena_free(&arena);
    return status;
}

/* ---- fits ---- */

typedef struct fitter {
    oxp_fits *fits;
    oxp_choice *choices;
    const oxp_fit_options *options;
} fitter;

static oxp_status measure(oxp_fitted *f, oxp_arena *arena, const oxp_fit_input *in)
{
    for (size_t i = 0; i < in->rows * in->columns; i++) {
        double e = (double)in->w[i] - (double)f->weight[i];
        f->signal += (double)in->w[i] * (double)in->w[i];
        f->noise += e * e;
    }
    const oxp_moments *m = in->moments;
    if (!m)
        return OXP_OK;
    f->shift = oxp_arena_alloc(arena, in->rows, sizeof *f->shift);
    if (!f->shift)
        return OXP_ELIMIT;
    for (size_t r = 0; r < in->rows; r++) {
        const double *mean = m->mean + r / (in->rows / m->groups) * m->columns;
        double sum = 0;
        for (size_t k = 0; k < in->columns; k++)
            sum += ((double)in->w[r * in->columns + k] - (double)f->weight[r * in->columns + k]) *
                   mean[k];
        f->shift[r] = (float)sum;
    }
    return OXP_OK;
}

static oxp_status fit_with(fitter *f, oxp_arena *arena, const oxp_fit_input *seen)
{
    oxp_choice *choice = &f->choices[seen->site->index];
    oxp_fitted *fitted = oxp_arena_alloc(arena, 1, sizeof *fitted);
    if (!fitted)
        return OXP_ELIMIT;
    oxp_fit_input in = *seen;
    in.choice = choice;
    OXP_TRY(choice->technique->fit(fitted, arena, &in));
    OXP_TRY(measure(fitted, arena, &in));
    choice->fitted = fitted;
    return f->options->also ? f->options->also(f->options->also_user, &in, fitted) : OXP_OK;
}

static oxp_status fit_one(void *user, const oxp_fit_input *in)
{
    fitter *f = user;
    oxp_arena *arena = &f->fits->arenas[in->site->index];
    oxp_ctx *owner = arena->ctx;
    arena->ctx = in->ctx; /* a failure is this thread's */
    oxp_status status = fit_with(f, arena, in);
    arena->ctx = owner;
    return status;
}

static oxp_status fit_wanted(oxp_fits *out, oxp_choice *choices, const oxp_fit_options *o)
{
    bool *wanted;
    fitter f = {out, choices, o};
    oxp_ctx *ctx = o->graph->ctx;
    OXP_TRY(oxp_alloc(&out->arenas, ctx, o->site_count + 1, sizeof *out->arenas, "fits"));
    for (size_t i = 0; i < o->site_count; i++)
        oxp_arena_init(&out->arenas[out->count++], ctx);
    OXP_TRY(oxp_alloc(&wanted, ctx, o->site_count + 1, sizeof *wanted, "fits"));
    for (size_t i = 0; i < o->site_count; i++) {
        choices[i].fitted = NULL;
        wanted[i] = choices[i].technique && choices[i].technique->fit;
    }
    oxp_status status = oxp_matrices_visit(o, wanted, fit_one, &f);
    oxp_free(wanted);
    return status;
}

oxp_status oxp_techniques_fit(oxp_fits *out, oxp_choice *choices, const oxp_fit_options *o)
{
    *out = (oxp_fits){0};
    oxp_status status = fit_wanted(out, choices, o);
    if (status != OXP_OK) {
        oxp_fits_free(out);
        *out = (oxp_fits){0};
    }
    return status;
}

void oxp_fits_free(oxp_fits *f)
{
    for (size_t i = 0; i < f->count; i++)
        oxp_arena_free(&f->arenas[i]);
    oxp_free(f->arenas);
}
