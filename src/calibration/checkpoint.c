/* checkpoint.c - see checkpoint.h. */
#include "calibration/checkpoint.h"

#include <string.h>
#include <time.h>

#include "util/map.h"

#define COST_SHARE 10 /* of the time between two, writing one takes this part at most */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void oxp_checkpoint_start(oxp_checkpoint *c, oxp_artefact *artefact, const char *path, double every,
                          const oxp_output_options *output)
{
    *c = (oxp_checkpoint){
        .artefact = artefact, .path = path, .every = every, .output = *output, .last = now()};
    c->output.force = true;
}

bool oxp_checkpoint_is_due(void *checkpoint)
{
    const oxp_checkpoint *c = checkpoint;
    double wait = c->every, cost = COST_SHARE * c->cost;
    if (wait > 0 && cost > wait)
        wait = cost;
    return now() - c->last >= wait;
}

oxp_status oxp_checkpoint_write(void *checkpoint)
{
    oxp_checkpoint *c = checkpoint;
    double start = now();
    oxp_output_file *file;
    OXP_TRY(oxp_output_open(&file, c->artefact->ctx, c->path, &c->output));
    oxp_status status = oxp_artefact_write(file, c->artefact, OXP_OXC_CHECKPOINT, NULL, NULL);
    if (status == OXP_OK)
        status = oxp_output_publish(file);
    else
        oxp_output_discard(file);
    c->last = now();
    c->cost = c->last - start;
    c->count++;
    return status;
}

/* ---- is it of the same work? ---- */

static oxp_status check_hashes(const oxp_artefact *wanted, const oxp_artefact *found,
                               const char *path)
{
    const oxp_artefact_identity *a = &wanted->identity, *b = &found->identity;
    char x[17], y[17];
    oxp_hash_hex(x, a->model_hash);
    oxp_hash_hex(y, b->model_hash);
    if (a->model_hash != b->model_hash || a->model_bytes != b->model_bytes)
        return oxp_fail(wanted->ctx, OXP_EDATA, "E-STATS-MODEL",
                        "%s is of another model: xxh3 %s, this one has %s", path, y, x);
    OXP_TRY(oxp_artefact_same_options(found, path, a->options));
    if (a->prepared_hash != b->prepared_hash)
        return oxp_fail(wanted->ctx, OXP_EDATA, "E-STATS-MODEL",
                        "%s is of the model prepared in another way", path);
    oxp_hash_hex(x, a->data_hashes[0]);
    oxp_hash_hex(y, b->data_hashes[0]);
    if (b->data_count > 1 || a->data_hashes[0] != b->data_hashes[0])
        return oxp_fail(wanted->ctx, OXP_EDATA, "E-STATS-DATA",
                        "%s is of other data: xxh3 %s%s, these have %s", path, y,
                        b->data_count > 1 ? " and others" : "", x);
    if (strcmp(a->isa, b->isa) != 0)
        return oxp_fail(wanted->ctx, OXP_EDATA, "E-STATS-ISA",
                        "%s was computed with instruction set %.40s, this run uses %s: --isa pins "
                        "one",
                        path, b->isa, a->isa);
    return OXP_OK;
}

oxp_status oxp_artefact_same_work(const oxp_artefact *wanted, const oxp_artefact *found,
                                  const char *path)
{
    OXP_TRY(check_hashes(wanted, found, path));
    size_t n = wanted->sample_count;
    if (n != found->sample_count ||
        memcmp(wanted->hashes, found->hashes, n * sizeof *wanted->hashes) != 0 ||
        memcmp(wanted->is_held, found->is_held, n) != 0)
        return oxp_fail(wanted->ctx, OXP_EDATA, "E-STATS-DATA",
                        "%s is of %zu samples, these are %zu others", path, found->sample_count, n);
    if (wanted->moments != found->moments || !oxp_artefact_same_tables(wanted, found))
        return oxp_fail(wanted->ctx, OXP_EDATA, "E-STATS-MODEL", "%s holds other tensors", path);
    return OXP_OK;
}
