/* pass.c - the view of a model that a step works on: who reads what, in which graph a name is at
 * home. */
#include "prepare/pass.h"

#include <stdio.h>
#include <string.h>

/* ---- making the view ---- */

static oxp_status make_scopes(oxp_pass *p, const oxp_graph *graph)
{
    const oxp_graph *const *graphs;
    OXP_TRY(oxp_graph_all(&graphs, &p->scope_count, &p->arena, graph));
    p->scopes = oxp_arena_alloc(&p->arena, p->scope_count, sizeof *p->scopes);
    if (!p->scopes)
        return p->ctx->status;
    for (size_t i = 0; i < p->scope_count; i++) {
        const oxp_graph *g = graphs[i];
        oxp_fold_scope *s = &p->scopes[i];
        s->graph = g;
        s->reads = oxp_arena_alloc(&p->arena, g->value_count + 1, sizeof *s->reads);
        s->handed_on = oxp_arena_alloc(&p->arena, g->value_count + 1, sizeof *s->handed_on);
        s->touched = oxp_arena_alloc(&p->arena, g->node_count + 1, sizeof *s->touched);
        if (!s->reads || !s->handed_on || !s->touched)
            return p->ctx->status;
    }
    return OXP_OK;
}

static void count_read(oxp_pass *p, size_t scope, uint32_t id)
{
    size_t home;
    const oxp_value *v = oxp_pass_root(p, scope, id, &home);
    p->scopes[home].reads[v->id]++;
}

static void count_reads(oxp_pass *p, size_t scope)
{
    const oxp_graph *g = p->scopes[scope].graph;
    for (size_t n = 0; n < g->node_count; n++)
        for (size_t i = 0; i < g->nodes[n].input_count; i++)
            if (g->nodes[n].inputs[i] != OXP_NO_VALUE)
                count_read(p, scope, g->nodes[n].inputs[i]);
    for (size_t i = 0; i < g->output_count; i++)
        if (g->values[g->outputs[i]].kind == OXP_VALUE_OUTER) {
            size_t home;
            const oxp_value *v = oxp_pass_root(p, scope, g->outputs[i], &home);
            p->scopes[home].reads[v->id]++;
            p->scopes[home].handed_on[v->id] = true;
        }
}

/* What an earlier view of the same step left alone may have changed since; it is noted anew. */
static void forget_left(oxp_pass *p)
{
    oxp_prepare_result *r = p->result;
    const char *step = r->steps[p->step].name;
    size_t kept = 0;
    for (size_t i = 0; i < r->entry_count; i++)
        if (r->entries[i].kind != OXP_PREPARE_LEFT || strcmp(r->entries[i].step, step) != 0)
            r->entries[kept++] = r->entries[i];
    r->entry_count = kept;
    r->steps[p->step].left = 0;
}

oxp_status oxp_pass_open(oxp_pass *p)
{
    oxp_arena_init(&p->arena, p->ctx);
    p->edits = 0;
    forget_left(p);
    oxp_graph *graph;
    OXP_TRY(oxp_graph_build(&graph, &p->arena, p->model));
    OXP_TRY(make_scopes(p, graph));
    for (size_t s = 0; s < p->scope_count; s++)
        count_reads(p, s);
    return OXP_OK;
}

void oxp_pass_close(oxp_pass *p)
{
    oxp_arena_free(&p->arena);
    p->scopes = NULL;
    p->scope_count = 0;
}

/* ---- questions ---- */

oxp_value *oxp_pass_root(const oxp_pass *p, size_t scope, uint32_t id, size_t *root_scope)
{
    oxp_value *v = &p->scopes[scope].graph->values[id];
    if (v->kind == OXP_VALUE_OUTER) {
        scope = v->outer_graph->id;
        v = &p->scopes[scope].graph->values[v->outer_value];
    }
    *root_scope = scope;
    return v;
}

/* Below IR 4 every initializer is an input as well, and constant all the same. */
static bool is_fixed(const oxp_pass *p, const oxp_value *v)
{
    return v->kind == OXP_VALUE_CONSTANT && v->constant.dtype != OXP_STRING &&
           (v->constant.data || v->constant.count == 0) &&
           !(v->is_overridable && oxp_model_ir_version(p->model) >= 4);
}

/* Sparse initializers and what is not held as a tensor have neither a TensorProto nor a node. */
const oxp_value *oxp_pass_constant(const oxp_pass *p, size_t scope, const oxp_graph_node *node,
                                   size_t i)
{
    if (i >= node->input_count || node->inputs[i] == OXP_NO_VALUE)
        return NULL;
    size_t home;
    const oxp_value *v = oxp_pass_root(p, scope, node->inputs[i], &home);
    return is_fixed(p, v) && (v->proto || v->producer) ? v : NULL;
}

bool oxp_pass_scalar(const oxp_pass *p, size_t scope, const oxp_graph_node *node, size_t i,
                     double *number, int *rank)
{
    const oxp_value *v = oxp_pass_constant(p, scope, node, i);
    if (!v || v->constant.dtype != OXP_FLOAT || v->constant.count != 1)
        return false;
    *number = oxp_tensor_real(&v->constant, 0);
    *rank = v->constant.rank;
    return true;
}

size_t oxp_pass_reads(const oxp_pass *p, size_t scope, uint32_t id)
{
    size_t home;
    const oxp_value *v = oxp_pass_root(p, scope, id, &home);
    return p->scopes[home].reads[v->id] + (v->is_output ? 1 : 0);
}

const oxp_graph_node *oxp_pass_only_reader(const oxp_pass *p, size_t scope, uint32_t id)
{
    const oxp_value *v = &p->scopes[scope].graph->values[id];
    if (v->kind != OXP_VALUE_NODE || v->use_count != 1 || v->uses[0].input == UINT32_MAX ||
        oxp_pass_reads(p, scope, id) != 1 || oxp_pass_touched(p, scope, v->uses[0].node))
        return NULL;
    return v->uses[0].node;
}

const oxp_graph_node *oxp_pass_producer(const oxp_pass *p, size_t scope, uint32_t id)
{
    const oxp_value *v = &p->scopes[scope].graph->values[id];
    if (v->kind != OXP_VALUE_NODE || oxp_pass_touched(p, scope, v->producer))
        return NULL;
    return v->producer;
}

int oxp_pass_rank(const oxp_pass *p, size_t scope, uint32_t id)
{
    size_t home;
    const oxp_value *v = oxp_pass_root(p, scope, id, &home);
    if (v->kind == OXP_VALUE_CONSTANT)
        return v->constant.rank;
    return oxp_seen_rank(p->seen, home, v->name);
}

bool oxp_pass_is(const oxp_graph_node *node, const char *type)
{
    return node && node->domain[0] == '\0' && strcmp(node->type, type) == 0;
}

bool oxp_pass_touched(const oxp_pass *p, size_t scope, const oxp_graph_node *node)
{
    return p->scopes[scope].touched[node->index];
}

void oxp_pass_touch(oxp_pass *p, size_t scope, const oxp_graph_node *node)
{
    p->scopes[scope].touched[node->index] = true;
}

/* ---- permission ---- */

bool oxp_pass_admit(oxp_pass *p, const char *value)
{
    oxp_admission *own = &p->admissions[p->step];
    if (own->admitted >= own->limit)
        return false;
    for (size_t s = 0; s <= p->step; s++)
        for (size_t i = 0; i < p->admissions[s].refused_count; i++)
            if (strcmp(p->admissions[s].refused[i], value) == 0)
                return false;
    own->admitted++;
    own->last = value;
    return true;
}

/* ---- edits ---- */

/* The result of a fold stands only in the view: there is nothing to remove yet. */
static oxp_status remove_constant(oxp_pass *p, size_t home, const oxp_value *v)
{
    const oxp_graph *g = p->scopes[home].graph;
    if (!v->producer)
        return oxp_edit_remove_initializer(p->model, g->proto, v->name);
    if (!oxp_pass_is(v->producer, "Constant"))
        return OXP_OK;
    oxp_pass_touch(p, home, v->producer);
    return oxp_edit_remove_node(p->model, g->proto, v->producer->proto);
}

oxp_status oxp_pass_forget(oxp_pass *p, size_t scope, uint32_t id)
{
    size_t home;
    if (id == OXP_NO_VALUE)
        return OXP_OK;
    const oxp_value *v = oxp_pass_root(p, scope, id, &home);
    uint32_t *reads = &p->scopes[home].reads[v->id];
    if (*reads == 0)
        return OXP_OK;
    --*reads;
    if (*reads == 0 && !v->is_output && is_fixed(p, v) && (v->proto || v->producer))
        return remove_constant(p, home, v);
    return OXP_OK;
}

oxp_status oxp_pass_remove_node(oxp_pass *p, size_t scope, const oxp_graph_node *node)
{
    const oxp_graph *g = p->scopes[scope].graph;
    OXP_TRY(oxp_edit_remove_node(p->model, g->proto, node->proto));
    oxp_pass_touch(p, scope, node);
    p->edits++;
    for (size_t i = 0; i < node->input_count; i++)
        OXP_TRY(oxp_pass_forget(p, scope, node->inputs[i]));
    return OXP_OK;
}

oxp_status oxp_pass_read(oxp_pass *p, size_t scope, const oxp_graph_node *node, size_t i,
                         uint32_t id)
{
    size_t home;
    const oxp_value *v = oxp_pass_root(p, scope, id, &home);
    p->scopes[home].reads[v->id]++;
    if (i < node->input_count)
        OXP_TRY(oxp_pass_forget(p, scope, node->inputs[i]));
    oxp_pass_touch(p, scope, node);
    p->edits++;
    return oxp_edit_set_input(p->model, node->proto, i, v->name);
}

oxp_status oxp_pass_new_constant(const char **name, oxp_pass *p, size_t scope, const char *base,
                                 oxp_dtype dtype, int rank, const int64_t *dims, const void *data)
{
    OXP_TRY(oxp_edit_unique_name(name, p->model, base));
    OXP_TRY(oxp_edit_add_initializer(p->model, p->scopes[scope].graph->proto, *name, dtype, rank,
                                     dims, data));
    return oxp_pass_note_tensor(p, *name);
}

oxp_status oxp_pass_read_constant(oxp_pass *p, size_t scope, const oxp_graph_node *node, size_t i,
                                  const char *name)
{
    if (i < node->input_count)
        OXP_TRY(oxp_pass_forget(p, scope, node->inputs[i]));
    oxp_pass_touch(p, scope, node);
    p->edits++;
    return oxp_edit_set_input(p->model, node->proto, i, name);
}

oxp_status oxp_pass_set_constant(oxp_pass *p, const oxp_value *value, int rank, const int64_t *dims,
                                 const float *data)
{
    OXP_TRY(oxp_edit_set_tensor(p->model, value->proto, OXP_FLOAT, rank, dims, data));
    p->edits++;
    return oxp_pass_note_tensor(p, value->name);
}
