/* tape.c - keeping what going back needs.
 *
 * A run with gradients keeps, for every node that a gradient can pass, what the operator `saves`
 * (shared storages, so that nothing is copied and nothing kept is overwritten) and the shapes of
 * the rest.
 *
 * When that does not fit the budget, the main graph is cut into segments: a run keeps the values
 * that cross their borders and, for the last one, what backward reads; the others are run again
 * from their borders when their turn comes. */
#include "interpreter/tape.h"

#include <stddef.h>
#include <string.h>

/* ---- creation ---- */

static oxp_status record_create(oxp_session *s, oxp_cell *c)
{
    const oxp_graph_node *def = c->node.def;
    oxp_record *r = oxp_arena_alloc(&s->lifetime, 1, sizeof *r);
    if (!r)
        return OXP_ELIMIT;
    r->in = oxp_arena_alloc(&s->lifetime, def->input_count + 1, sizeof *r->in);
    r->out = oxp_arena_alloc(&s->lifetime, def->output_count + 1, sizeof *r->out);
    r->dout = oxp_arena_alloc(&s->lifetime, def->output_count + 1, sizeof *r->dout);
    r->din = oxp_arena_alloc(&s->lifetime, def->input_count + 1, sizeof *r->din);
    if (!r->in || !r->out || !r->dout || !r->din)
        return OXP_ELIMIT;
    c->record = r;
    return OXP_OK;
}

static bool captured_by(const oxp_value *v, const oxp_graph_node *node)
{
    for (size_t u = 0; u < v->use_count; u++)
        if (v->uses[u].node == node && v->uses[u].input == UINT32_MAX)
            return true;
    return false;
}

static oxp_status find_captures(oxp_session *s, oxp_cell *c)
{
    oxp_record *r = c->record;
    const oxp_graph *g = s->graph;
    r->captures = oxp_arena_alloc(&s->lifetime, g->value_count + 1, sizeof *r->captures);
    if (!r->captures)
        return OXP_ELIMIT;
    for (size_t v = 0; v < g->value_count; v++)
        if (g->values[v].kind != OXP_VALUE_CONSTANT && g->values[v].kind != OXP_VALUE_OUTER &&
            captured_by(&g->values[v], c->node.def))
            r->captures[r->capture_count++] = (uint32_t)v;
    r->captured = oxp_arena_alloc(&s->lifetime, r->capture_count + 1, sizeof *r->captured);
    return r->captured ? OXP_OK : OXP_ELIMIT;
}

static void find_first_uses(oxp_session *s)
{
    for (size_t v = 0; v < s->graph->value_count; v++) {
        const oxp_value *value = &s->graph->values[v];
        s->tape->first_use[v] = SIZE_MAX;
        for (size_t u = 0; u < value->use_count; u++)
            if (value->uses[u].node->graph == s->graph &&
                value->uses[u].node->index < s->tape->first_use[v])
                s->tape->first_use[v] = value->uses[u].node->index;
    }
}

oxp_status oxp_tape_create(oxp_session *s)
{
    oxp_tape *tape = oxp_arena_alloc(&s->lifetime, 1, sizeof *tape);
    if (!tape)
        return OXP_ELIMIT;
    if (s->parent)
        tape->reach = s->root->tape->reach;
    else
        OXP_TRY(oxp_reach_find(&tape->reach, &s->lifetime, s->graph, s->options.gradients));
    tape->gradients =
        oxp_arena_alloc(&s->lifetime, s->graph->value_count + 1, sizeof *tape->gradients);
    tape->first_use =
        oxp_arena_alloc(&s->lifetime, s->graph->value_count + 1, sizeof *tape->first_use);
    if (!tape->gradients || !tape->first_use)
        return OXP_ELIMIT;
    tape->segments = 1;
    tape->starts = oxp_arena_alloc(&s->lifetime, s->graph->node_count + 2, sizeof *tape->starts);
    tape->kept = oxp_arena_alloc(&s->lifetime, s->graph->node_count + 1, sizeof *tape->kept);
    tape->live = oxp_arena_alloc(&s->lifetime, s->graph->node_count + 1, sizeof *tape->live);
    tape->sizes = oxp_arena_alloc(&s->lifetime, s->graph->value_count + 1, sizeof *tape->sizes);
    if (!tape->starts || !tape->kept || !tape->live || !tape->sizes)
        return OXP_ELIMIT;
    tape->starts[1] = s->graph->node_count;
    s->tape = tape;
    find_first_uses(s);
    for (size_t i = 0; i < s->graph->node_count; i++) {
        oxp_cell *c = &s->cells[i];
        if (!c->node.op || !tape->reach.active[s->graph->id][i])
            continue;
        OXP_TRY(record_create(s, c));
        if (c->node.def->subgraph_count)
            OXP_TRY(find_captures(s, c));
        for (size_t k = 0; k < c->node.def->subgraph_count; k++)
            OXP_TRY(oxp_tape_create(c->bodies[k]));
    }
    return OXP_OK;
}

/* ---- recording ---- */

static void keep(oxp_tensor *to, const oxp_tensor *from, bool with_data)
{
    if (with_data) {
        oxp_tensor_share(to, from);
        return;
    }
    *to = *from;
    to->data = NULL;
    to->storage = NULL;
}

static bool saves_input(const oxp_node *n, int i)
{
    return (n->op->saves >> (i < 15 ? i : 15) & 1) != 0;
}

static bool saves_output(const oxp_node *n, int i)
{
    return i < 16 && (n->op->saves >> (16 + i) & 1);
}

void oxp_tape_inputs(oxp_session *s, oxp_cell *c)
{
    oxp_record *r = c->record;
    oxp_node *n = &c->node;
    if (!r)
        return;
    size_t bytes = 0;
    for (int i = 0; i < n->in_count; i++)
        if (n->in[i] && n->in[i]->storage && saves_input(n, i))
            bytes += n->in[i]->storage->bytes;
    for (size_t i = 0; i < r->capture_count; i++)
        bytes += oxp_tensor_bytes(&s->tensors[r->captures[i]]);
    s->tape->kept[n->def->index] = bytes;
    if (!s->recording)
        return;
    r->kept = true;
    for (int i = 0; i < n->in_count; i++)
        if (n->in[i])
            keep(&r->in[i], n->in[i], saves_input(n, i) || !n->in[i]->storage);
    for (size_t i = 0; i < r->capture_count; i++)
        oxp_tensor_share(&r->captured[i], &s->tensors[r->captures[i]]);
}

void oxp_tape_outputs(oxp_session *s, oxp_cell *c)
{
    oxp_record *r = c->record;
    for (int i = 0; s->tape && i < c->node.out_count; i++) {
        const oxp_tensor *t = &c->node.out[i];
        size_t bytes = t->storage ? t->storage->bytes : 0;
        if (bytes > s->root->tape->largest)
            s->root->tape->largest = bytes;
        if (c->node.def->outputs[i] != OXP_NO_VALUE)
            s->tape->sizes[c->node.def->outputs[i]] = bytes;
        if (r && saves_output(&c->node, i))
            s->tape->kept[c->node.def->index] += bytes;
    }
    if (!r || !s->recording)
        return;
    for (int i = 0; i < c->node.out_count; i++)
        keep(&r->out[i], &c->node.out[i], saves_output(&c->node, i));
}

void oxp_record_clear(oxp_session *s, oxp_cell *c)
{
    oxp_record *r = c->record;
    for (int i = 0; i < c->node.in_count; i++)
        oxp_session_drop(s, &r->in[i]);
    for (int i = 0; i < c->node.out_count; i++)
        oxp_session_drop(s, &r->out[i]);
    for (size_t i = 0; i < r->capture_count; i++)
        oxp_session_drop(s, &r->captured[i]);
    r->kept = false;
}

void oxp_checkpoint_clear(oxp_session *s, oxp_checkpoint *c)
{
    for (size_t i = 0; i < c->count; i++)
        oxp_session_drop(s, &c->tensors[i]);
    oxp_free(c->ids);
    oxp_free(c->tensors);
    *c = (oxp_checkpoint){.count = 0};
}

static void clear_checkpoints(oxp_session *s)
{
    for (size_t i = 0; i < s->tape->taken; i++)
        oxp_checkpoint_clear(s, &s->tape->checkpoints[i]);
    oxp_free(s->tape->checkpoints);
    s->tape->checkpoints = NULL;
    s->tape->taken = 0;
}

void oxp_tape_forget(oxp_session *s, bool constants)
{
    if (s->tape && !s->parent)
        clear_checkpoints(s);
    for (size_t i = 0; s->tape && i < s->graph->node_count; i++)
        if (s->cells[i].record)
            oxp_record_clear(s, &s->cells[i]);
    for (size_t v = 0; s->tape && v < s->graph->value_count; v++)
        if (constants || s->graph->values[v].kind != OXP_VALUE_CONSTANT)
            oxp_session_drop(s, &s->tape->gradients[v]);
}

void oxp_tape_clear(oxp_session *s)
{
    oxp_tape_forget(s, s->parent == NULL);
}

void oxp_tape_free(oxp_session *s)
{
    oxp_tape_forget(s, true);
}

/* ---- segments ---- */

static void drop_tensors(oxp_session *s)
{
    for (size_t v = 0; v < s->graph->value_count; v++)
        if (s->tensors[v].data || s->tensors[v].storage)
            oxp_session_drop(s, &s->tensors[v]);
}

/* Whether a value is read from node `first` on; an output is always. */
static uint32_t uses_from(const oxp_session *s, size_t v, size_t first)
{
    const oxp_value *value = &s->graph->values[v];
    uint32_t uses = value->is_output ? 1 : 0;
    for (size_t u = 0; u < value->use_count; u++)
        uses += value->uses[u].node->graph == s->graph && value->uses[u].node->index >= first;
    return uses;
}

static oxp_status take_checkpoint(oxp_session *s, size_t first)
{
    oxp_tape *t = s->tape;
    oxp_checkpoint *c = &t->checkpoints[t->taken++];
    size_t count = 0;
    for (size_t v = 0; v < s->graph->value_count; v++)
        count += s->tensors[v].data != NULL;
    c->first = first;
    OXP_TRY(oxp_alloc(&c->ids, s->ctx, count + 1, sizeof *c->ids, "checkpoint"));
    OXP_TRY(oxp_alloc(&c->tensors, s->ctx, count + 1, sizeof *c->tensors, "checkpoint"));
    for (size_t v = 0; v < s->graph->value_count; v++) {
        if (!s->tensors[v].data || uses_from(s, v, first) == 0)
            continue;
        c->ids[c->count] = (uint32_t)v;
        oxp_tensor_share(&c->tensors[c->count++], &s->tensors[v]);
    }
    return OXP_OK;
}

void oxp_tape_start(oxp_session *s)
{
    oxp_tape *t = s->tape;
    s->recording = t && t->segments == 1 && !t->measuring;
    if (!t)
        return;
    t->ran = true;
    t->largest = 0;
}

/* A storage that several values share counts in parts. */
static size_t live_bytes(const oxp_session *s)
{
    size_t bytes = 0;
    for (size_t v = 0; v < s->graph->value_count; v++)
        if (s->tensors[v].storage)
            bytes += s->tensors[v].storage->bytes / (size_t)s->tensors[v].storage->references;
    return bytes;
}

oxp_status oxp_tape_enter(oxp_session *s, size_t node)
{
    oxp_tape *t = s->tape;
    if (!t || s->parent || s->going_back)
        return OXP_OK;
    if (t->measuring)
        t->live[node] = live_bytes(s);
    if (t->measuring || t->segments == 1)
        return OXP_OK;
    if (!t->checkpoints)
        OXP_TRY(
            oxp_alloc(&t->checkpoints, s->ctx, t->segments, sizeof *t->checkpoints, "checkpoints"));
    while (t->taken < t->segments && node >= t->starts[t->taken]) {
        s->recording = t->taken + 1 == t->segments;
        OXP_TRY(take_checkpoint(s, t->starts[t->taken]));
    }
    return OXP_OK;
}

/* What a step back may need besides what is kept: gradients and scratch of the largest output and
 * the largest weight. */
static size_t reserve(const oxp_session *s)
{
    size_t weight = 0;
    for (size_t v = 0; v < s->graph->value_count; v++) {
        size_t bytes = s->tape->reach.wanted[s->graph->id][v]
                           ? s->graph->values[v].constant.count * sizeof(float)
                           : 0;
        weight = bytes > weight ? bytes : weight;
    }
    return 4 * s->tape->largest + 2 * weight;
}

static bool has_room(oxp_session *s)
{
    const oxp_budget *b = s->ctx->budget;
    size_t needed = reserve(s);
    if (b->used > b->limit || b->limit - b->used < needed)
        oxp_session_clear_cache(s);
    return b->used <= b->limit && b->limit - b->used >= needed;
}

/* Bytes of what nodes first..end-1 made that is read from `end` on. */
static size_t crossing(const oxp_session *s, size_t first, size_t end)
{
    size_t bytes = 0;
    for (size_t i = first; i < end; i++)
        for (size_t k = 0; k < s->graph->nodes[i].output_count; k++) {
            uint32_t id = s->graph->nodes[i].outputs[k];
            if (id != OXP_NO_VALUE && s->tape->sizes[id] && uses_from(s, id, end) > 0)
                bytes += s->tape->sizes[id];
        }
    return bytes;
}

/* Cuts where `most` bytes would be passed; the bytes that going back needs at its worst: one
 * segment's records, all checkpoints, and gradients of as much as ever lives. */
static size_t cut(oxp_session *s, size_t most)
{
    oxp_tape *t = s->tape;
    size_t kept = 0, worst = 0, borders = 0, live = 0;
    t->segments = 1;
    t->starts[0] = 0;
    for (size_t i = 0; i < s->graph->node_count; i++) {
        if (kept > 0 && kept + t->kept[i] > most) {
            borders += crossing(s, t->starts[t->segments - 1], i);
            t->starts[t->segments++] = i;
            kept = 0;
        }
        kept += t->kept[i];
        worst = kept > worst ? kept : worst;
        live = t->live[i] > live ? t->live[i] : live;
    }
    t->starts[t->segments] = s->graph->node_count;
    return worst + borders + live + reserve(s);
}

/* The fewest segments whose need fits `room`, or those that need least. */
static void plan(oxp_session *s, size_t room)
{
    size_t total = 0, best = SIZE_MAX, best_need = SIZE_MAX;
    for (size_t i = 0; i < s->graph->node_count; i++)
        total += s->tape->kept[i];
    for (size_t parts = 2; parts <= s->graph->node_count && best_need > room; parts++) {
        size_t need = cut(s, total / parts);
        if (need < best_need) {
            best_need = need;
            best = total / parts;
        }
    }
    cut(s, best);
    oxp_log(s->ctx, OXP_LOG_INFO,
            "gradients: %zu segments that need %zu bytes, %zu would be kept in all",
            s->tape->segments, best_need, total);
}

bool oxp_tape_wants_another_run(oxp_session *s, oxp_status status, int attempt)
{
    oxp_tape *t = s->tape;
    bool failed = status == OXP_ELIMIT && strcmp(s->ctx->code, "E-LIMIT-MEM") == 0;
    bool is_short = failed || (status == OXP_OK && t->segments == 1 && !has_room(s));
    if ((!is_short && !t->measuring) || (failed && t->measuring) || attempt > 3 ||
        (status != OXP_OK && !failed) || s->graph->node_count < 2) {
        t->measuring = false;
        return false;
    }
    if (failed)
        oxp_ctx_clear(s->ctx);
    oxp_tape_forget(s, true);
    drop_tensors(s);
    oxp_session_clear_cache(s);
    t->measuring = !t->measuring;
    if (t->measuring)
        return true;
    size_t room = s->ctx->budget->limit - s->ctx->budget->used;
    plan(s, attempt < 3 ? room : room / 2);
    return true;
}

oxp_status oxp_tape_run_segment(oxp_session *s, size_t segment)
{
    oxp_checkpoint *c = &s->tape->checkpoints[segment];
    drop_tensors(s);
    for (size_t v = 0; v < s->graph->value_count; v++)
        s->remaining[v] = uses_from(s, v, c->first);
    for (size_t i = 0; i < c->count; i++) {
        s->tensors[c->ids[i]] = c->tensors[i];
        c->tensors[i] = (oxp_tensor){.rank = 0};
    }
    s->recording = true;
    oxp_status status = oxp_session_run_nodes(s, c->first, s->tape->starts[segment + 1]);
    s->recording = false;
    drop_tensors(s);
    return status;
}
