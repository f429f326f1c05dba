/* drop.c - keeps the tensors of one run, holds those of the other against them: as many at a time
 * as PIECE_BYTES takes, in the first run's order, until one has dropped. */
#include "calibration/drop.h"

#include "calibration/metrics.h"
#include "util/map.h"

#define PIECE_BYTES ((size_t)16 << 20)

typedef struct drop_job {
    oxp_ctx *ctx;
    oxp_map names; /* A's tensors of this piece */
    oxp_tensor *kept;
    size_t count, capacity, bytes;
    size_t next, seen; /* of A's tensors: the first that was not kept yet; so far in this run */
    double threshold;
    const char *found;
    double found_db;
} drop_job;

static oxp_status keep_value(void *user, oxp_ctx *ctx, int worker, size_t slot,
                             const oxp_graph *graph, uint32_t value, const oxp_tensor *t)
{
    (void)worker;
    (void)slot;
    drop_job *d = user;
    if (graph->parent || t->dtype != OXP_FLOAT || d->seen++ != d->next)
        return OXP_OK;
    if (d->count && d->bytes + oxp_tensor_bytes(t) > PIECE_BYTES)
        return OXP_OK;
    d->next++;
    d->bytes += oxp_tensor_bytes(t);
    OXP_TRY(oxp_grow(&d->kept, &d->capacity, d->ctx, d->count + 1, sizeof *d->kept));
    OXP_TRY(oxp_tensor_copy(&d->kept[d->count], ctx, t));
    return oxp_map_put(&d->names, graph->values[value].name, d->count++);
}

static oxp_status test_value(void *user, oxp_ctx *ctx, int worker, size_t slot,
                             const oxp_graph *graph, uint32_t value, const oxp_tensor *t)
{
    (void)ctx;
    (void)worker;
    (void)slot;
    drop_job *d = user;
    size_t at = d->found || graph->parent ? OXP_MAP_NONE
                                          : oxp_map_get(&d->names, graph->values[value].name);
    if (at == OXP_MAP_NONE || t->dtype != OXP_FLOAT || d->kept[at].count != t->count)
        return OXP_OK;
    oxp_difference difference;
    oxp_difference_of(&difference, OXP_KIND_GAUSSIAN, &d->kept[at], t, NULL, 0);
    double db = oxp_sqnr_db(&difference);
    if (db <= d->threshold) {
        d->found = graph->values[value].name;
        d->found_db = db;
    }
    return OXP_OK;
}

/* Holds the next piece of A's tensors against B's. */
static oxp_status test_piece(drop_job *d, const oxp_graph *a, const oxp_graph *b,
                             const oxp_source *source, size_t which)
{
    oxp_run_hooks keep = {.user = d, .value = keep_value}, test = {.user = d, .value = test_value};
    oxp_map_init(&d->names, d->ctx);
    d->count = d->bytes = d->seen = 0;
    oxp_status status = oxp_run_samples(d->ctx, a, source, &which, 1, &keep, NULL);
    if (status == OXP_OK && d->count)
        status = oxp_run_samples(d->ctx, b, source, &which, 1, &test, NULL);
    for (size_t i = 0; i < d->count; i++)
        oxp_tensor_release(&d->kept[i]);
    oxp_map_free(&d->names);
    return status;
}

oxp_status oxp_first_drop(const char **name, double *db, oxp_ctx *ctx, const oxp_graph *a,
                          const oxp_graph *b, const oxp_source *source, size_t which,
                          double threshold_db)
{
    drop_job d = {.ctx = ctx, .threshold = threshold_db};
    oxp_status status = OXP_OK;
    *name = NULL;
    if (threshold_db >= 200) /* the models are the same */
        return OXP_OK;
    do {
        status = test_piece(&d, a, b, source, which);
    } while (status == OXP_OK && !d.found && d.next < d.seen);
    oxp_free(d.kept);
    *name = d.found;
    *db = d.found_db;
    return status;
}
