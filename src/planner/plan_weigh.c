/* plan_weigh.c - every option of every weight with its bytes and its loss.
 *
 * The changes are kept in 16 bits to be multiplied with every gradient; weights are taken in
 * groups, so that they fit into memory. */
#include <math.h>

#include "onnx/save.h"
#include "planner/compress_steps.h"
#include "planner/plan_weigh.h"

#define GROUP_BYTES ((size_t)512 << 20) /* of changes at once */
#define LEAST_SLOTS 128                 /* draws: with few inputs several for each */
#define MOST_DRAWS 4
#define MOST_INPUTS 512 /* more are spread over */
#define LEAST_BITS_UNREACHED 8

/* ---- options ---- */

static bool is_known(const oxp_plan_row *row, const oxp_site *s, const oxp_choice *choice)
{
    for (size_t k = 0; k < row->count; k++) {
        const oxp_choice *o = &row->options[k].choice;
        if (o->technique == choice->technique && o->limit == choice->limit &&
            (choice->technique != &oxp_technique_w4 ||
             oxp_packed_block(s, o) == oxp_packed_block(s, choice)))
            return true;
    }
    return false;
}

size_t oxp_plan_own_bytes(const oxp_site *s, const oxp_choice *choice)
{
    return choice->technique ? choice->technique->bytes(s, choice)
                             : oxp_tensor_bytes(&s->value->constant);
}

static void add_option(oxp_plan_weigher *w, oxp_plan_row *row, const oxp_site *s, size_t form,
                       oxp_choice choice)
{
    row->options[row->count++] = (oxp_plan_option){.form = form,
                                                   .choice = choice,
                                                   .bytes = oxp_plan_own_bytes(s, &choice),
                                                   .column = w->p->columns++};
}

static oxp_status list_options(oxp_plan_weigher *w, size_t site, bool selected)
{
    oxp_compression *c = w->c;
    oxp_plan_row *row = &w->p->rows[site];
    const oxp_site *s = &c->sites[site];
    row->options = oxp_arena_alloc(&c->arena, oxp_plan_form_count + 1, sizeof *row->options);
    if (!row->options)
        return OXP_ELIMIT;
    if (c->is_forced[site]) {
        add_option(w, row, s, SIZE_MAX, c->choices[site]);
        return OXP_OK;
    }
    for (size_t f = 0; f < oxp_plan_form_count; f++) {
        oxp_choice choice = oxp_plan_choice(&oxp_plan_forms[f]);
        const char *why = NULL;
        if (f > 0 && (!selected || !oxp_plan_choice_applies(s, &choice, &why)))
            continue;
        if (!is_known(row, s, &choice))
            add_option(w, row, s, f, choice);
    }
    return OXP_OK;
}

static oxp_status list_rows(oxp_plan_weigher *w)
{
    oxp_compression *c = w->c;
    const oxp_compress_options *o = c->options;
    size_t n = c->site_count + 1;
    bool *selected = oxp_arena_alloc(&w->arena, n, sizeof *selected);
    w->p->rows = oxp_arena_alloc(&c->arena, n, sizeof *w->p->rows);
    if (!selected || !w->p->rows)
        return OXP_ELIMIT;
    oxp_selection selection = {o->nodes, o->exclude_nodes, o->op_types, o->exclude_op_types, NULL};
    OXP_TRY(oxp_select(&selection, c->graph, c->sites, c->site_count, selected, NULL, NULL, NULL));
    for (size_t i = 0; i < c->site_count; i++)
        OXP_TRY(list_options(w, i, selected[i]));
    return OXP_OK;
}

/* ---- groups ---- */

static size_t change_bytes(const oxp_plan_weigher *w, size_t site)
{
    return 2 * w->c->sites[site].value->constant.count * w->p->rows[site].count;
}

static oxp_status make_room(oxp_plan_weigher *w)
{
    for (size_t i = w->first; i < w->last; i++)
        for (size_t k = 0; k < w->p->rows[i].count; k++) {
            const oxp_plan_option *o = &w->p->rows[i].options[k];
            if (!o->choice.technique)
                continue;
            w->steps[o->column] = NAN;
            OXP_TRY(oxp_alloc_raw(&w->codes[o->column], w->c->ctx,
                                  w->c->sites[i].value->constant.count + 1, sizeof(int16_t),
                                  "changes"));
        }
    return OXP_OK;
}

static void free_room(oxp_plan_weigher *w)
{
    for (size_t k = 0; w->codes && k < w->p->columns; k++) {
        oxp_free(w->codes[k]);
        w->codes[k] = NULL;
    }
}

static oxp_status weigh_group(oxp_plan_weigher *w)
{
    OXP_TRY(make_room(w));
    for (size_t f = 1; f < oxp_plan_form_count; f++)
        OXP_TRY(oxp_plan_try_form(w, f));
    OXP_TRY(oxp_plan_try_form(w, SIZE_MAX));
    return oxp_plan_gradients(w);
}

static oxp_status weigh_groups(oxp_plan_weigher *w)
{
    while (w->first < w->c->site_count) {
        size_t bytes = change_bytes(w, w->first);
        w->last = w->first + 1;
        while (w->last < w->c->site_count && bytes + change_bytes(w, w->last) <= GROUP_BYTES)
            bytes += change_bytes(w, w->last++);
        oxp_status status = weigh_group(w);
        free_room(w);
        OXP_TRY(status);
        w->first = w->last;
    }
    return OXP_OK;
}

/* ---- losses ---- */

/* Half of it from a^2, half from sum_j (g_j delta_j)^2, what that is on average where the changes
 * of single elements are independent, as rounding nearly makes them: less exact, but far steadier
 * over few inputs. */
static double mean_loss(const oxp_plan_weigher *w, size_t column)
{
    const oxp_plan *p = w->p;
    double sum = 0;
    for (size_t s = 0; s < p->slots; s++) {
        double a = p->changes[s * p->columns + column];
        sum += 0.25 * (a * a + w->singles[s * p->columns + column]);
    }
    return sum / (double)p->slots;
}

static int bits_of(const oxp_choice *choice)
{
    return choice->technique == &oxp_technique_w4 ? oxp_packed_bits(choice) : LEAST_BITS_UNREACHED;
}

static void set_losses(oxp_plan_weigher *w, size_t site)
{
    oxp_plan_row *row = &w->p->rows[site];
    if (row->source == OXP_PLAN_GRADIENTS && !w->reached[site])
        row->source = OXP_PLAN_UNREACHED;
    for (size_t k = 0; k < row->count; k++) {
        oxp_plan_option *o = &row->options[k];
        if (!o->choice.technique)
            o->loss = 0;
        else if (row->source == OXP_PLAN_GRADIENTS)
            o->loss = mean_loss(w, o->column);
        else if (row->source == OXP_PLAN_UNREACHED)
            o->loss = bits_of(&o->choice) >= LEAST_BITS_UNREACHED ? 0 : INFINITY;
        if (row->count == 1 && !isfinite(o->loss))
            o->loss = 0; /* there is nothing to choose */
        size_t form = o->form == SIZE_MAX ? oxp_plan_form_count : o->form;
        if (o->choice.technique && w->extra_count[form])
            o->bytes = (size_t)fmax(
                0, ceil((double)o->bytes + w->extra[form] / (double)w->extra_count[form]));
    }
}

/* ---- the whole ---- */

static oxp_status make_room_for_all(oxp_plan_weigher *w)
{
    oxp_compression *c = w->c;
    size_t n = c->site_count + 1, columns = w->p->columns + 1;
    w->bare = oxp_arena_alloc(&w->arena, n, sizeof *w->bare);
    w->choices = oxp_arena_alloc(&w->arena, n, sizeof *w->choices);
    w->taken = oxp_arena_alloc(&w->arena, n, sizeof *w->taken);
    w->reached = oxp_arena_alloc(&w->arena, n, sizeof *w->reached);
    w->codes = oxp_arena_alloc(&w->arena, columns, sizeof *w->codes);
    w->steps = oxp_arena_alloc(&w->arena, columns, sizeof *w->steps);
    w->extra = oxp_arena_alloc(&w->arena, oxp_plan_form_count + 1, sizeof *w->extra);
    w->extra_count = oxp_arena_alloc(&w->arena, oxp_plan_form_count + 1, sizeof *w->extra_count);
    w->p->changes =
        oxp_arena_alloc(&c->arena, w->p->slots * w->p->columns + 1, sizeof *w->p->changes);
    w->singles = oxp_arena_alloc(&w->arena, w->p->slots * w->p->columns + 1, sizeof *w->singles);
    w->shifts = oxp_arena_alloc(&w->arena, columns, sizeof *w->shifts);
    w->trial = oxp_arena_alloc(&w->arena, n, sizeof *w->trial);
    if (!w->singles || !w->shifts || !w->trial || !w->bare || !w->choices || !w->taken ||
        !w->reached || !w->codes || !w->steps || !w->extra || !w->extra_count || !w->p->changes)
        return OXP_ELIMIT;
    for (size_t i = 0; i < c->site_count; i++) {
        w->bare[i] = c->codes[i];
        w->bare[i].stored_shift = w->bare[i].integer_shift = NULL;
    }
    w->base = oxp_model_packed_bytes(c->raised);
    return w->base ? OXP_OK : c->ctx->status;
}

static oxp_status weigh(oxp_plan_weigher *w)
{
    oxp_compression *c = w->c;
    oxp_plan *p = w->p;
    OXP_TRY(list_rows(w));
    w->which = oxp_arena_alloc(&w->arena, MOST_INPUTS, sizeof *w->which);
    if (!w->which)
        return OXP_ELIMIT;
    p->inputs = oxp_compression_spread(c, w->which, MOST_INPUTS);
    size_t draws = (LEAST_SLOTS + p->inputs - 1) / p->inputs;
    p->slots = p->inputs * (draws < MOST_DRAWS ? draws : MOST_DRAWS);
    OXP_TRY(make_room_for_all(w));
    OXP_TRY(weigh_groups(w));
    OXP_TRY(oxp_plan_measure_alone(w));
    p->fixed = (double)w->base;
    for (size_t i = 0; i < c->site_count; i++) {
        set_losses(w, i);
        p->fixed -= (double)oxp_tensor_bytes(&c->sites[i].value->constant);
    }
    return OXP_OK;
}

oxp_status oxp_plan_weigh(oxp_plan *p, oxp_compression *c)
{
    oxp_plan_weigher w = {.p = p, .c = c};
    oxp_arena_init(&w.arena, c->ctx);
    oxp_status status = weigh(&w);
    free_room(&w);
    oxp_arena_free(&w.arena);
    return status;
}

double oxp_plan_predicted(const oxp_plan *p, const oxp_compression *c)
{
    double sum = 0, alone = 0;
    for (size_t i = 0; i < c->site_count; i++)
        if (p->rows[i].source == OXP_PLAN_MEASURED)
            alone += p->rows[i].options[p->rows[i].chosen].loss;
    for (size_t s = 0; s < p->slots; s++) {
        double a = 0;
        for (size_t i = 0; i < c->site_count; i++)
            a += p->changes[s * p->columns + p->rows[i].options[p->rows[i].chosen].column];
        sum += 0.5 * a * a;
    }
    return alone + sum / (double)p->slots;
}
