/* channels_choose.c - which channels go, see channels.h.
 *
 * The multiplications of a layer are its inputs times its outputs, so what a step saves depends on
 * the steps before: it is counted anew each time, from how many indices of which layers the
 * channels have. */
#include <stdlib.h>

#include "techniques/channels.h"

typedef struct place { /* indices that a root has along an axis of a layer */
    uint32_t layer;
    bool is_input;
    uint32_t count;
    uint32_t next; /* of the root; 0: none, else index + 1 */
} place;

typedef struct family {
    size_t first, count; /* roots in `order`, by rising score; gone: the first of them */
    size_t gone, step;
    bool is_done;
} family;

typedef struct chooser {
    oxp_channels_job *job;
    place *places;
    size_t place_count, place_capacity;
    uint32_t *places_of;      /* by root: index + 1 */
    size_t *inputs, *outputs; /* by layer, that are left */
    size_t *next_inputs, *next_outputs;
    bool *touched;       /* by layer */
    uint32_t *family_of; /* by root: the least root of its family */
    uint32_t *order;
    family *families;
    size_t family_count;
} chooser;

/* ---- where roots are ---- */

static oxp_status add_place(chooser *c, uint32_t root, uint32_t layer, bool is_input)
{
    uint32_t at = c->places_of[root];
    if (at && c->places[at - 1].layer == layer && c->places[at - 1].is_input == is_input) {
        c->places[at - 1].count++;
        return OXP_OK;
    }
    OXP_TRY(oxp_grow(&c->places, &c->place_capacity, c->job->arena->ctx, c->place_count + 1,
                     sizeof *c->places));
    c->places[c->place_count++] = (place){layer, is_input, 1, at};
    c->places_of[root] = (uint32_t)c->place_count;
    return OXP_OK;
}

static oxp_status find_places(chooser *c)
{
    oxp_channels_job *j = c->job;
    for (uint32_t k = 0; k < j->coupling.layer_count; k++) {
        const oxp_coupled_layer *l = &j->coupling.layers[k];
        c->inputs[k] = l->inputs;
        c->outputs[k] = l->outputs;
        for (size_t i = 0; i < l->outputs; i++)
            OXP_TRY(add_place(c, oxp_channels_root(j, l->out[i]), k, false));
        for (size_t i = 0; i < l->inputs && !l->is_depthwise; i++)
            if (l->in[i] != OXP_NO_VARIABLE)
                OXP_TRY(add_place(c, oxp_channels_root(j, l->in[i]), k, true));
    }
    return OXP_OK;
}

static double macs_of(const chooser *c, uint32_t k, size_t inputs, size_t outputs)
{
    const oxp_coupled_layer *l = &c->job->coupling.layers[k];
    return l->macs * (l->is_depthwise ? 1 : (double)inputs) * (double)outputs;
}

static double all_macs(const chooser *c)
{
    double sum = 0;
    for (uint32_t k = 0; k < c->job->coupling.layer_count; k++)
        sum += macs_of(c, k, c->inputs[k], c->outputs[k]);
    return sum;
}

/* ---- families ---- */

static uint32_t family_root(const chooser *c, uint32_t root)
{
    while (c->family_of[root] != root)
        root = c->family_of[root];
    return root;
}

/* Roots that one layer makes are one family, and so are those that share a layer with them. */
static void join_families(chooser *c)
{
    oxp_channels_job *j = c->job;
    for (uint32_t v = 0; v < j->coupling.variables.count; v++)
        c->family_of[v] = v;
    for (size_t k = 0; k < j->coupling.layer_count; k++) {
        const oxp_coupled_layer *l = &j->coupling.layers[k];
        for (size_t i = 1; i < l->outputs && !l->is_depthwise; i++) {
            uint32_t a = family_root(c, oxp_channels_root(j, l->out[0]));
            uint32_t b = family_root(c, oxp_channels_root(j, l->out[i]));
            c->family_of[a < b ? b : a] = a < b ? a : b;
        }
    }
}

/* The most indices that a root of the family has where a layer makes it. */
static size_t width_of(const chooser *c, const family *f)
{
    size_t width = 1;
    for (size_t i = 0; i < f->count; i++)
        for (uint32_t at = c->places_of[c->order[f->first + i]]; at; at = c->places[at - 1].next)
            if (!c->places[at - 1].is_input && c->places[at - 1].count > width)
                width = c->places[at - 1].count;
    return width;
}

typedef struct entry {
    uint32_t family, root;
    double score;
} entry;

static int by_family_and_score(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->family != y->family)
        return x->family < y->family ? -1 : 1;
    if (x->score != y->score)
        return x->score < y->score ? -1 : 1;
    return x->root < y->root ? -1 : x->root > y->root;
}

static oxp_status list_families(chooser *c, size_t multiple)
{
    oxp_channels_job *j = c->job;
    size_t count = 0, n = j->coupling.variables.count + 1;
    entry *entries = oxp_arena_alloc(j->arena, n, sizeof *entries);
    c->order = oxp_arena_alloc(j->arena, n, sizeof *c->order);
    c->families = oxp_arena_alloc(j->arena, n, sizeof *c->families);
    if (!entries || !c->order || !c->families)
        return OXP_ELIMIT;
    join_families(c);
    for (uint32_t v = 0; v + 1 < n; v++)
        if (j->removable[v])
            entries[count++] = (entry){family_root(c, v), v, j->scores[v]};
    qsort(entries, count, sizeof *entries, by_family_and_score);
    for (size_t i = 0; i < count; i++) {
        c->order[i] = entries[i].root;
        if (i == 0 || entries[i].family != entries[i - 1].family)
            c->families[c->family_count++] = (family){.first = i};
        c->families[c->family_count - 1].count++;
    }
    for (size_t i = 0; i < c->family_count; i++) {
        size_t width = width_of(c, &c->families[i]);
        c->families[i].step = multiple > width ? (multiple + width - 1) / width : 1;
    }
    j->channels = j->left = count;
    return OXP_OK;
}

/* ---- steps ---- */

/* Roots of the next step, so that a multiple is left; 0: none can go. */
static size_t next_step(const family *f)
{
    size_t left = f->count - f->gone, kept = left > 0 ? (left - 1) / f->step * f->step : 0;
    return kept >= f->step ? left - kept : 0;
}

/* Inputs and outputs of the layers concerned, without the next `count` roots of the family. */
static void count_without(chooser *c, const family *f, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (uint32_t at = c->places_of[c->order[f->first + f->gone + i]]; at;
             at = c->places[at - 1].next) {
            const place *p = &c->places[at - 1];
            if (!c->touched[p->layer]) {
                c->touched[p->layer] = true;
                c->next_inputs[p->layer] = c->inputs[p->layer];
                c->next_outputs[p->layer] = c->outputs[p->layer];
            }
            *(p->is_input ? &c->next_inputs[p->layer] : &c->next_outputs[p->layer]) -= p->count;
        }
}

/* What the step saves; `take`: it is taken. */
static double step_saves(chooser *c, family *f, size_t count, bool take)
{
    double saved = 0;
    count_without(c, f, count);
    for (uint32_t k = 0; k < c->job->coupling.layer_count; k++) {
        if (!c->touched[k])
            continue;
        c->touched[k] = false;
        saved += macs_of(c, k, c->inputs[k], c->outputs[k]) -
                 macs_of(c, k, c->next_inputs[k], c->next_outputs[k]);
        if (take) {
            c->inputs[k] = c->next_inputs[k];
            c->outputs[k] = c->next_outputs[k];
        }
    }
    for (size_t i = 0; i < count && take; i++)
        c->job->gone[c->order[f->first + f->gone + i]] = true;
    if (take) {
        f->gone += count;
        c->job->left -= count;
    }
    return saved;
}

static double step_costs(const chooser *c, const family *f, size_t count)
{
    double cost = 0;
    for (size_t i = 0; i < count; i++)
        cost += c->job->scores[c->order[f->first + f->gone + i]];
    return cost;
}

static void choose_by_macs(chooser *c, double wanted)
{
    while (c->job->macs_after > wanted) {
        family *best = NULL;
        double least = 0;
        for (size_t i = 0; i < c->family_count; i++) {
            family *f = &c->families[i];
            size_t count = next_step(f);
            if (count == 0)
                continue;
            double rate = step_costs(c, f, count) / step_saves(c, f, count, false);
            if (!best || rate < least) {
                best = f;
                least = rate;
            }
        }
        if (!best)
            return;
        c->job->macs_after -= step_saves(c, best, next_step(best), true);
    }
}

static void choose_by_ratio(chooser *c, double ratio)
{
    for (size_t i = 0; i < c->family_count; i++) {
        family *f = &c->families[i];
        for (size_t count = next_step(f);
             count && (double)(f->count - f->gone - count) >= ratio * (double)f->count - 1e-9;
             count = next_step(f))
            c->job->macs_after -= step_saves(c, f, count, true);
    }
}

/* ---- all of it ---- */

static bool make_tables(chooser *c)
{
    oxp_arena *a = c->job->arena;
    size_t layers = c->job->coupling.layer_count + 1, n = c->job->coupling.variables.count + 1;
    c->inputs = oxp_arena_alloc(a, layers, sizeof *c->inputs);
    c->outputs = oxp_arena_alloc(a, layers, sizeof *c->outputs);
    c->next_inputs = oxp_arena_alloc(a, layers, sizeof *c->next_inputs);
    c->next_outputs = oxp_arena_alloc(a, layers, sizeof *c->next_outputs);
    c->touched = oxp_arena_alloc(a, layers, sizeof *c->touched);
    c->places_of = oxp_arena_alloc(a, n, sizeof *c->places_of);
    c->family_of = oxp_arena_alloc(a, n, sizeof *c->family_of);
    return c->inputs && c->outputs && c->next_inputs && c->next_outputs && c->touched &&
           c->places_of && c->family_of;
}

oxp_status oxp_channels_choose(oxp_channels_job *j, const oxp_channels_wanted *wanted)
{
    chooser c = {.job = j};
    oxp_status status = make_tables(&c) ? find_places(&c) : OXP_ELIMIT;
    if (status == OXP_OK)
        status = list_families(&c, wanted->multiple);
    if (status == OXP_OK) {
        j->macs_before = j->macs_after = all_macs(&c);
        if (wanted->ratio > 0)
            choose_by_ratio(&c, wanted->ratio);
        else
            choose_by_macs(&c, wanted->macs * j->macs_before);
    }
    oxp_free(c.places);
    return status;
}
