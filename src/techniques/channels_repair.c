/* channels_repair.c - new numbers for layers that lose inputs, see channels.h.
 *
 * The mean of what a layer reads goes into its bias where it has one: H is then that of X - mean,
 * and the bias takes (W - W') mean. What layers read is that of the whole model: what the layers
 * before change themselves is not seen. */
#include <string.h>

#include "calibration/moments.h"
#include "kernels/fewer_columns.h"
#include "techniques/bias_correction.h"
#include "techniques/channels.h"
#include "techniques/fit.h"
#include "util/parallel.h"

#define GROUP_BYTES ((size_t)256 << 20) /* of H and the rows of a batch, at a time */
#define MOST_COLUMNS ((size_t)4608)     /* of a layer; wider ones keep their numbers */
#define ROWS_PER_COLUMN ((size_t)4)
#define LEAST_ROWS ((size_t)1024)
#define MOST_ROWS ((size_t)16384)

/* Added to the diagonal of H, as a share of its mean. */
#define RIDGE 0.01f

typedef struct task {
    const oxp_coupled_layer *layer;
    const oxp_site *site;
    const oxp_value *bias; /* NULL: none that takes a mean */
    const oxp_graph_node *node;
    oxp_moments moments;
    size_t bytes;
    float *weight, *shifted; /* results: as the constants have them */
} task;

typedef struct repairer {
    oxp_channels_job *job;
    task *tasks; /* of the group at hand */
} repairer;

/* ---- which layers ---- */

static const oxp_site *site_of(const oxp_rewrite *r, const oxp_value *weight)
{
    for (size_t i = 0; i < r->site_count; i++)
        if (r->sites[i].graph->id == 0 && r->sites[i].value->id == weight->id)
            return &r->sites[i];
    return NULL;
}

static bool loses_inputs(oxp_channels_job *j, const oxp_coupled_layer *l)
{
    for (size_t i = 0; i < l->inputs && !l->is_depthwise && l->groups == 1; i++)
        if (l->in[i] != OXP_NO_VARIABLE && j->gone[oxp_channels_root(j, l->in[i])])
            return true;
    return false;
}

/* A bias of its own with a number for every output. */
static const oxp_value *bias_of(const task *t)
{
    oxp_bias b;
    if (!oxp_bias_find(&b, t->site, &t->site->consumers[0]) || !b.value)
        return NULL;
    const oxp_value *v = b.value;
    return v->kind == OXP_VALUE_CONSTANT && v->proto && v->use_count == 1 && !v->is_output &&
                   !v->is_overridable && v->constant.dtype == OXP_FLOAT &&
                   v->constant.count == t->layer->outputs
               ? v
               : NULL;
}

static bool plan(task *t, oxp_channels_job *j, const oxp_coupled_layer *l)
{
    size_t unit;
    oxp_moments *m = &t->moments;
    *t = (task){.layer = l, .node = l->node, .site = site_of(j->r, l->weight)};
    if (!loses_inputs(j, l) || !t->site ||
        !oxp_site_is_seen(t->site, &m->groups, &m->columns, &unit) || m->groups != 1 ||
        m->columns > MOST_COLUMNS || m->columns != l->inputs * unit)
        return false;
    t->bias = bias_of(t);
    m->node_count = 1;
    m->block = m->columns;
    m->centred = t->bias != NULL;
    size_t rows = ROWS_PER_COLUMN * m->columns;
    rows = rows < LEAST_ROWS ? LEAST_ROWS : rows > MOST_ROWS ? MOST_ROWS : rows;
    m->wanted = (rows + j->r->samples - 1) / j->r->samples;
    t->bytes = sizeof(float) * (oxp_moments_floats(m) +
                                m->wanted * m->columns * ((size_t)j->arena->ctx->threads + 1));
    return true;
}

/* ---- one layer ---- */

static void shift_bias(task *t, const float *w, const float *repaired)
{
    const float *old = t->bias->constant.data;
    size_t columns = t->moments.columns;
    for (size_t r = 0; r < t->layer->outputs; r++) {
        double sum = (double)old[r];
        for (size_t k = 0; k < columns; k++)
            sum += ((double)w[r * columns + k] - (double)repaired[r * columns + k]) *
                   t->moments.mean[k];
        t->shifted[r] = (float)sum;
    }
}

static oxp_status solve(const repairer *p, task *t, oxp_ctx *ctx, oxp_arena *arena)
{
    oxp_coupling *c = &p->job->coupling;
    size_t columns = t->moments.columns, rows = t->layer->outputs;
    size_t unit = columns / t->layer->inputs;
    oxp_fewer_columns f = {.rows = rows, .columns = columns, .h = t->moments.h, .ridge = RIDGE};
    float *w = oxp_arena_alloc(arena, rows * columns, sizeof *w);
    float *repaired = oxp_arena_alloc(arena, rows * columns, sizeof *repaired);
    uint32_t *kept = oxp_arena_alloc(arena, columns, sizeof *kept);
    if (!w || !repaired || !kept)
        return OXP_ELIMIT;
    for (uint32_t k = 0; k < columns; k++) {
        uint32_t variable = t->layer->in[k / unit];
        if (variable == OXP_NO_VARIABLE || !p->job->gone[c->variables.parent[variable]])
            kept[f.kept_count++] = k;
    }
    oxp_site_matrix(w, t->site->value->constant.data, t->site);
    f.w = w;
    f.kept = kept;
    OXP_TRY(oxp_fewer_columns_fit(repaired, ctx, &f));
    oxp_site_unmatrix(t->weight, repaired, t->site);
    if (t->bias)
        shift_bias(t, w, repaired);
    return OXP_OK;
}

static oxp_status solve_one(void *user, oxp_ctx *ctx, size_t i, int worker)
{
    (void)worker;
    const repairer *p = user;
    oxp_arena arena;
    if (p->tasks[i].moments.rows == 0)
        return OXP_OK;
    oxp_arena_init(&arena, ctx);
    oxp_status status = solve(p, &p->tasks[i], ctx, &arena);
    oxp_arena_free(&arena);
    return status;
}

/* ---- groups of layers ---- */

static oxp_status collect(repairer *p, size_t count, oxp_arena *arena)
{
    oxp_channels_job *j = p->job;
    const oxp_rewrite *r = j->r;
    oxp_moments *moments = oxp_arena_alloc(arena, count, sizeof *moments);
    if (!moments)
        return OXP_ELIMIT;
    for (size_t i = 0; i < count; i++) {
        task *t = &p->tasks[i];
        oxp_moments *m = &t->moments;
        m->nodes = &t->node;
        m->h = oxp_arena_alloc(arena, oxp_moments_floats(m), sizeof *m->h);
        m->mean = oxp_arena_alloc(arena, 2 * m->columns, sizeof *m->mean);
        t->weight = oxp_arena_alloc(j->arena, t->site->value->constant.count, sizeof(float));
        t->shifted = oxp_arena_alloc(j->arena, t->layer->outputs, sizeof(float));
        if (!m->h || !m->mean || !t->weight || !t->shifted)
            return OXP_ELIMIT;
        m->code_mean = m->mean + m->columns;
        moments[i] = *m;
    }
    OXP_TRY(
        oxp_moments_collect(moments, count, arena->ctx, r->graph, r->source, r->which, r->samples));
    for (size_t i = 0; i < count; i++)
        p->tasks[i].moments.rows = moments[i].rows;
    return OXP_OK;
}

static oxp_status repair_group(repairer *p, size_t count)
{
    oxp_channels_job *j = p->job;
    oxp_arena arena;
    oxp_arena_init(&arena, j->arena->ctx);
    oxp_status status = collect(p, count, &arena);
    if (status == OXP_OK)
        status = oxp_parallel_for(arena.ctx, count, solve_one, p);
    for (size_t i = 0; i < count && status == OXP_OK; i++) {
        const task *t = &p->tasks[i];
        if (t->moments.rows == 0)
            continue;
        j->numbers[t->layer->weight->id] = t->weight;
        if (t->bias)
            j->numbers[t->bias->id] = t->shifted;
    }
    oxp_arena_free(&arena);
    return status;
}

oxp_status oxp_channels_repair(oxp_channels_job *j)
{
    size_t count = 0;
    if (!j->r->source || !j->r->samples)
        return OXP_OK;
    task *tasks = oxp_arena_alloc(j->arena, j->coupling.layer_count + 1, sizeof *tasks);
    if (!tasks)
        return OXP_ELIMIT;
    for (uint32_t v = 0; v < j->coupling.variables.count; v++) /* parents are roots: read alone */
        j->coupling.variables.parent[v] = oxp_channels_root(j, v);
    for (size_t k = 0; k < j->coupling.layer_count; k++)
        count += plan(&tasks[count], j, &j->coupling.layers[k]);
    for (size_t first = 0; first < count;) {
        size_t end = first, bytes = 0;
        while (end < count && (end == first || bytes + tasks[end].bytes <= GROUP_BYTES))
            bytes += tasks[end++].bytes;
        repairer p = {.job = j, .tasks = &tasks[first]};
        OXP_TRY(repair_group(&p, end - first));
        first = end;
    }
    return OXP_OK;
}
