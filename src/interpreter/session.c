/* session.c - one thread's run of a graph: operators prepared once per shape, memory returned at
 * the last use.
 *
 * Storages that die go to a small cache of the session and come back for the next output of about
 * that size, so a second sample of the same shape allocates nothing. Subgraphs are sessions of
 * their own below the node that holds them; their nesting is bounded by the loader's limit on
 * messages. */
#include <stdio.h>
#include <string.h>

#include "interpreter/session_internal.h"
#include "util/map.h"

/* ---- storage ---- */

static void storage_free(oxp_storage *s)
{
    oxp_free(s); /* header and data are one block */
}

static void cache_clear(oxp_session *root)
{
    while (root->cached)
        storage_free(root->cache[--root->cached]);
}

void oxp_session_clear_cache(oxp_session *s)
{
    cache_clear(s->root);
}

/* Drops the oldest entry when full: what has not come back for long is least likely to. */
static void cache_put(oxp_session *root, oxp_storage *s)
{
    if (root->cached == OXP_CACHE_SLOTS) {
        storage_free(root->cache[0]);
        memmove(root->cache, root->cache + 1, (OXP_CACHE_SLOTS - 1) * sizeof *root->cache);
        root->cached--;
    }
    root->cache[root->cached++] = s;
}

/* The smallest cached storage that fits and is not more than twice too large. */
static oxp_storage *cache_take(oxp_session *root, size_t bytes)
{
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < root->cached; i++)
        if (root->cache[i]->bytes >= bytes && root->cache[i]->bytes / 2 <= bytes + 64 &&
            (best == SIZE_MAX || root->cache[i]->bytes < root->cache[best]->bytes))
            best = i;
    if (best == SIZE_MAX)
        return NULL;
    oxp_storage *s = root->cache[best];
    root->cached--;
    memmove(root->cache + best, root->cache + best + 1,
            (root->cached - best) * sizeof *root->cache);
    s->references = 1;
    return s;
}

oxp_status oxp_session_memory(oxp_session *s, oxp_tensor *t, const oxp_graph_node *node)
{
    oxp_storage *cached = cache_take(s->root, oxp_tensor_bytes(t));
    if (cached) {
        t->storage = cached;
        t->data = cached->data;
        return OXP_OK;
    }
    char what[OXP_NODE_TEXT_MAX];
    size_t bytes = oxp_tensor_bytes(t), limit = s->ctx->budget->limit;
    if (bytes < limit / 2 && s->ctx->budget->used < limit / 2) /* no text for what will not fail */
        return oxp_tensor_alloc(t, s->ctx, node->type);
    if (bytes > limit || s->ctx->budget->used > limit - bytes)
        cache_clear(s->root);
    return oxp_tensor_alloc(t, s->ctx, oxp_graph_node_text(what, node));
}

void oxp_session_drop(oxp_session *s, oxp_tensor *t)
{
    if (t->storage && t->storage->references == 1 && !oxp_is_sequence(t)) {
        cache_put(s->root, t->storage);
        *t = (oxp_tensor){0};
    } else {
        oxp_tensor_release(t);
    }
}

/* ---- creation ---- */

static oxp_status find_operator(oxp_session *s, const oxp_graph_node *node,
                                const oxp_operator **out, int *opset)
{
    int64_t version = oxp_model_opset(s->graph->model, node->domain);
    bool known = false;
    char where[OXP_NODE_TEXT_MAX], quoted[OXP_QUOTED_MAX];
    oxp_graph_node_text(where, node);
    if (oxp_model_is_function(s->graph->model, node->domain, node->type))
        return oxp_fail(s->ctx, OXP_EUNSUPPORTED, "E-OP",
                        "%s: model-local functions cannot be run yet", where);
    if (version == 0 && node->domain[0])
        return oxp_fail(s->ctx, OXP_EFORMAT, "E-OPSET",
                        "%s: the model imports no opset of domain %s", where,
                        oxp_quote(quoted, node->domain));
    *out = oxp_operator_find(node->domain, node->type, version, &known);
    *opset = (int)version;
    if (*out)
        return OXP_OK;
    return oxp_fail(s->ctx, OXP_EUNSUPPORTED, "E-OP",
                    "%s: no operator %s of domain %s%s for opset %lld", where, node->type,
                    oxp_quote(quoted, node->domain), known ? "" : " at any version",
                    (long long)version);
}

static oxp_status check_arity(oxp_session *s, const oxp_graph_node *node, const oxp_operator *op)
{
    char where[OXP_NODE_TEXT_MAX];
    size_t in = node->input_count, out = node->output_count;
    if (in < (size_t)op->min_in || (op->max_in >= 0 && in > (size_t)op->max_in))
        return oxp_fail(s->ctx, OXP_EFORMAT, "E-ARITY", "%s: %zu inputs, expected %d to %d",
                        oxp_graph_node_text(where, node), in, op->min_in, op->max_in);
    if (out < (size_t)op->min_out || (op->max_out >= 0 && out > (size_t)op->max_out))
        return oxp_fail(s->ctx, OXP_EFORMAT, "E-ARITY", "%s: %zu outputs, expected %d to %d",
                        oxp_graph_node_text(where, node), out, op->min_out, op->max_out);
    size_t named = op->max_in < 0 ? in : (size_t)op->min_in; /* of any number none is left out */
    for (size_t i = 0; i < named; i++)
        if (node->inputs[i] == OXP_NO_VALUE && !(i < 32 && op->optional >> i & 1))
            return oxp_fail(s->ctx, OXP_EFORMAT, "E-ARITY", "%s: input %zu is required and omitted",
                            oxp_graph_node_text(where, node), i);
    return OXP_OK;
}

static oxp_status session_new(oxp_session **out, oxp_ctx *ctx, const oxp_graph *graph,
                              const oxp_session_options *options, oxp_session *parent);

static oxp_status run_subgraph(struct oxp_host *host, oxp_node *n, size_t which,
                               const oxp_tensor *const *inputs, size_t input_count, oxp_tensor *out,
                               size_t output_count);

static oxp_status cell_create(oxp_session *s, oxp_cell *c, const oxp_graph_node *def)
{
    oxp_node *n = &c->node;
    c->owner = s;
    c->host = (struct oxp_host){.run_subgraph = run_subgraph,
                                .backward_subgraph = oxp_tape_backward_subgraph,
                                .lifetime = &s->lifetime,
                                .shared = s->options.shared};
    *n = (oxp_node){.ctx = s->ctx,
                    .def = def,
                    .in_count = (int)def->input_count,
                    .out_count = (int)def->output_count,
                    .scratch = &s->scratch,
                    .host = &c->host};
    OXP_TRY(find_operator(s, def, &n->op, &n->opset));
    OXP_TRY(check_arity(s, def, n->op));
    n->in = oxp_arena_alloc(&s->lifetime, def->input_count + 1, sizeof *n->in);
    n->out = oxp_arena_alloc(&s->lifetime, def->output_count + 1, sizeof *n->out);
    n->wanted = oxp_arena_alloc(&s->lifetime, def->output_count + 1, sizeof *n->wanted);
    n->alias = oxp_arena_alloc(&s->lifetime, def->output_count + 1, sizeof *n->alias);
    n->overwrite = oxp_arena_alloc(&s->lifetime, def->output_count + 1, sizeof *n->overwrite);
    c->shapes = oxp_arena_alloc(&s->lifetime, def->output_count + 1, sizeof *c->shapes);
    c->seen = oxp_arena_alloc(&s->lifetime, def->input_count + 1, sizeof *c->seen);
    c->bodies = oxp_arena_alloc(&s->lifetime, def->subgraph_count + 1, sizeof *c->bodies);
    if (!n->in || !n->out || !n->wanted || !n->alias || !n->overwrite || !c->shapes || !c->seen ||
        !c->bodies)
        return OXP_ELIMIT;
    for (size_t i = 0; i < def->input_count && i < 64; i++)
        if (oxp_graph_node_constant(def, i))
            n->constant |= UINT64_C(1) << i;
    for (size_t i = 0; i < def->output_count; i++)
        n->wanted[i] = def->outputs[i] != OXP_NO_VALUE;
    for (size_t i = 0; i < def->subgraph_count; i++)
        OXP_TRY(session_new(&c->bodies[i], s->ctx, def->subgraphs[i], &s->options, s));
    return OXP_OK;
}

static bool is_constant_node(const oxp_graph_node *def)
{
    return def->output_count == 1 && def->outputs[0] != OXP_NO_VALUE &&
           def->graph->values[def->outputs[0]].kind == OXP_VALUE_CONSTANT;
}

static oxp_status session_new(oxp_session **out, oxp_ctx *ctx, const oxp_graph *graph,
                              const oxp_session_options *options, oxp_session *parent)
{
    oxp_session *s;
    OXP_TRY(oxp_alloc(&s, ctx, 1, sizeof *s, "session"));
    s->ctx = ctx;
    s->graph = graph;
    s->parent = parent;
    s->root = parent ? parent->root : s;
    if (options)
        s->options = *options;
    oxp_arena_init(&s->lifetime, ctx);
    oxp_arena_init(&s->scratch, ctx);
    s->cells = oxp_arena_alloc(&s->lifetime, graph->node_count + 1, sizeof *s->cells);
    s->tensors = oxp_arena_alloc(&s->lifetime, graph->value_count + 1, sizeof *s->tensors);
    s->remaining = oxp_arena_alloc(&s->lifetime, graph->value_count + 1, sizeof *s->remaining);
    *out = s; /* owned by the caller from here, also when a cell fails */
    if (!s->cells || !s->tensors || !s->remaining)
        return OXP_ELIMIT;
    for (size_t i = 0; i < graph->node_count; i++)
        if (!is_constant_node(&graph->nodes[i]))
            OXP_TRY(cell_create(s, &s->cells[i], &graph->nodes[i]));
    OXP_TRY(oxp_layout_plan(s));
    return s->options.gradients && !parent ? oxp_tape_create(s) : OXP_OK;
}

oxp_status oxp_session_create(oxp_session **out, oxp_ctx *ctx, const oxp_graph *graph,
                              const oxp_session_options *options)
{
    oxp_session *s = NULL;
    oxp_status status = session_new(&s, ctx, graph, options, NULL);
    if (status != OXP_OK) {
        oxp_session_free(s);
        return status;
    }
    *out = s;
    return OXP_OK;
}

static void release_tensors(oxp_session *s)
{
    for (size_t v = 0; s->tensors && v < s->graph->value_count; v++)
        oxp_tensor_release(&s->tensors[v]);
}

void oxp_session_free(oxp_session *s)
{
    if (!s)
        return;
    for (size_t i = 0; s->cells && i < s->graph->node_count; i++) {
        oxp_cell *c = &s->cells[i];
        if (c->node.op && c->node.op->release && c->node.state)
            c->node.op->release(&c->node);
        for (size_t k = 0; c->bodies && k < c->node.def->subgraph_count; k++)
            oxp_session_free(c->bodies[k]);
        for (int k = 0; c->node.out && k < c->node.out_count; k++)
            oxp_tensor_release(&c->node.out[k]);
    }
    release_tensors(s);
    oxp_tape_free(s);
    cache_clear(s);
    oxp_arena_free(&s->lifetime);
    oxp_arena_free(&s->scratch);
    oxp_free(s);
}

/* ---- running a node ---- */

static const oxp_tensor *find_tensor(const oxp_session *s, uint32_t id)
{
    const oxp_value *v = &s->graph->values[id];
    if (v->kind == OXP_VALUE_OUTER) {
        for (; s->graph != v->outer_graph; s = s->parent)
            ;
        v = &s->graph->values[v->outer_value];
    }
    return v->kind == OXP_VALUE_CONSTANT ? &v->constant : &s->tensors[v->id];
}

static bool same_shape(const oxp_tensor *a, const oxp_tensor *b)
{
    return a->dtype == b->dtype && a->rank == b->rank &&
           (a->rank <= 0 || memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims) == 0);
}

static bool needs_prepare(const oxp_cell *c)
{
    const oxp_node *n = &c->node;
    if (!c->prepared)
        return true;
    for (int i = 0; i < n->in_count; i++) {
        if (!n->in[i])
            continue;
        if (!same_shape(n->in[i], &c->seen[i]))
            return true;
        if (i < 32 && (n->op->values >> i & 1) && !(n->constant >> i & 1))
            return true;
    }
    return false;
}

static oxp_status check_attributes_known(oxp_node *n)
{
    for (size_t i = 0; i < n->def->attribute_count && i < 64; i++)
        if (!(n->attributes_read >> i & 1)) {
            char quoted[OXP_QUOTED_MAX];
            return oxp_node_fail(n, OXP_EUNSUPPORTED, "E-ATTR", "unknown attribute %s",
                                 oxp_quote(quoted, n->def->attributes[i].name));
        }
    return OXP_OK;
}

static oxp_status prepare(oxp_cell *c)
{
    oxp_node *n = &c->node;
    for (int i = 0; i < n->out_count; i++) {
        n->out[i] = (oxp_tensor){0};
        n->alias[i] = n->overwrite[i] = -1;
    }
    c->prepared = false;
    oxp_status status = n->op->prepare(n);
    if (status == OXP_OK && n->ctx->status != OXP_OK)
        status = n->ctx->status; /* a getter met an attribute of the wrong type */
    OXP_TRY(status);
    OXP_TRY(check_attributes_known(n));
    for (int i = 0; i < n->in_count; i++)
        if (n->in[i]) {
            c->seen[i] = *n->in[i];
            c->seen[i].data = NULL;
            c->seen[i].storage = NULL;
        }
    for (int i = 0; i < n->out_count; i++)
        c->shapes[i] = n->out[i];
    c->prepared = true;
    return OXP_OK;
}

/* Input j dies in this node, and nobody else holds its memory. */
static bool may_overwrite(const oxp_session *s, const oxp_node *n, int j)
{
    uint32_t id = n->def->inputs[j];
    const oxp_value *v = &s->graph->values[id];
    if (v->kind != OXP_VALUE_NODE || s->remaining[id] != 1)
        return false;
    const oxp_tensor *t = &s->tensors[id];
    return t->storage && t->storage->references == 1 && t->data == t->storage->data;
}

static oxp_status give_outputs(oxp_session *s, oxp_cell *c)
{
    oxp_node *n = &c->node;
    for (int i = 0; i < n->out_count; i++) {
        n->out[i] = c->shapes[i];
        if (!n->wanted[i] || n->out[i].rank < 0)
            continue;
        int from = n->alias[i] >= 0 ? n->alias[i] : n->overwrite[i];
        if (n->alias[i] >= 0 || (from >= 0 && may_overwrite(s, n, from))) {
            oxp_tensor shape = n->out[i];
            oxp_tensor_share(&n->out[i], n->in[from]);
            n->out[i].dtype = shape.dtype;
            n->out[i].rank = shape.rank;
            n->out[i].count = shape.count;
            memcpy(n->out[i].dims, shape.dims, sizeof shape.dims);
            continue;
        }
        OXP_TRY(oxp_session_memory(s, &n->out[i], n->def));
    }
    return OXP_OK;
}

/* A node that nobody reads anything of is prepared, so that what is wrong with it is found. */
static bool wants_output(const oxp_node *n)
{
    for (int i = 0; i < n->out_count; i++)
        if (n->wanted[i])
            return true;
    return false;
}

static void keep_outputs(oxp_session *s, oxp_node *n)
{
    for (int i = 0; i < n->out_count; i++) {
        if (n->def->outputs[i] != OXP_NO_VALUE)
            s->tensors[n->def->outputs[i]] = n->out[i];
        else
            oxp_tensor_release(&n->out[i]);
        n->out[i] = (oxp_tensor){0};
    }
}

static oxp_status observe(oxp_session *s, oxp_node *n)
{
    if (s->root->going_back)
        return OXP_OK;
    if (s->options.node_observer)
        OXP_TRY(s->options.node_observer(s->options.user, n));
    for (int i = 0; s->options.observer && i < n->out_count; i++)
        if (n->def->outputs[i] != OXP_NO_VALUE && n->out[i].data && !oxp_is_sequence(&n->out[i]))
            OXP_TRY(s->options.observer(s->options.user, s->graph, n->def->outputs[i], &n->out[i]));
    return OXP_OK;
}

static void let_die(oxp_session *s, uint32_t id)
{
    if (s->remaining[id] && --s->remaining[id] == 0 && s->graph->values[id].kind == OXP_VALUE_NODE)
        oxp_session_drop(s, &s->tensors[id]);
}

static void finish_uses(oxp_session *s, const oxp_graph_node *def)
{
    for (size_t i = 0; i < def->input_count; i++)
        if (def->inputs[i] != OXP_NO_VALUE)
            let_die(s, def->inputs[i]);
    for (size_t i = 0; i < def->output_count; i++) /* made and never read */
        if (def->outputs[i] != OXP_NO_VALUE && s->remaining[def->outputs[i]] == 0)
            oxp_session_drop(s, &s->tensors[def->outputs[i]]);
}

/* Values that bodies of this node read from here count one use each (graph.h: input UINT32_MAX). */
static void finish_captures(oxp_session *s, const oxp_graph_node *def)
{
    for (size_t k = 0; k < def->subgraph_count; k++)
        for (size_t i = 0; i < def->subgraphs[k]->captured_count; i++) {
            const oxp_value *v = &def->subgraphs[k]->values[def->subgraphs[k]->captured[i]];
            if (v->outer_graph == s->graph)
                let_die(s, v->outer_value);
        }
}

static oxp_status count_step(oxp_session *s, const oxp_node *n)
{
    if (++s->root->steps > s->ctx->step_limit) {
        char where[OXP_NODE_TEXT_MAX];
        return oxp_fail(s->ctx, OXP_ELIMIT, "E-LIMIT-STEPS",
                        "%s: more than %llu node executions in one run",
                        oxp_graph_node_text(where, n->def), (unsigned long long)s->ctx->step_limit);
    }
    return s->root->steps % 64 == 0 ? oxp_progress(s->ctx, NULL, 0, 0) : OXP_OK;
}

static oxp_status run_cell(oxp_session *s, oxp_cell *c)
{
    oxp_node *n = &c->node;
    OXP_TRY(count_step(s, n));
    for (int i = 0; i < n->in_count; i++)
        n->in[i] = n->def->inputs[i] == OXP_NO_VALUE ? NULL : find_tensor(s, n->def->inputs[i]);
    oxp_arena_mark mark = oxp_arena_mark_now(&s->scratch);
    oxp_status status = oxp_layout_inputs(s, c);
    if (status == OXP_OK && needs_prepare(c))
        status = prepare(c);
    if (status == OXP_OK) {
        oxp_tape_inputs(s, c);
        status = give_outputs(s, c);
    }
    if (status == OXP_OK && n->op->forward && wants_output(n))
        status = n->op->forward(n);
    if (status == OXP_OK) {
        oxp_layout_outputs(s, c);
        oxp_tape_outputs(s, c);
    }
    if (status == OXP_OK)
        status = observe(s, n);
    for (int i = 0; i < n->in_count && i < 32; i++)
        if (n->in[i] && (n->constant >> i & 1))
            oxp_model_forget(s->graph->model, n->in[i]);
    oxp_arena_release(&s->scratch, mark);
    if (status != OXP_OK) {
        for (int i = 0; i < n->out_count; i++)
            oxp_tensor_release(&n->out[i]);
        return status;
    }
    keep_outputs(s, n);
    finish_uses(s, n->def);
    finish_captures(s, n->def);
    return OXP_OK;
}

/* ---- running a graph ---- */

static void start_uses(oxp_session *s)
{
    for (size_t v = 0; v < s->graph->value_count; v++) {
        const oxp_value *value = &s->graph->values[v];
        s->remaining[v] = (uint32_t)value->use_count + (value->is_output ? 1 : 0);
    }
}

oxp_status oxp_session_run_nodes(oxp_session *s, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++) {
        if (!s->cells[i].node.op)
            continue;
        OXP_TRY(oxp_tape_enter(s, i));
        OXP_TRY(run_cell(s, &s->cells[i]));
    }
    return OXP_OK;
}

oxp_status oxp_session_run_graph(oxp_session *s, const oxp_tensor *const *inputs,
                                 oxp_tensor *outputs)
{
    release_tensors(s);
    oxp_tape_clear(s);
    start_uses(s);
    memset(s->lies_last, 0, s->graph->value_count * sizeof *s->lies_last);
    for (size_t i = 0; i < s->graph->input_count; i++)
        oxp_tensor_share(&s->tensors[s->graph->inputs[i]], inputs[i]);
    OXP_TRY(oxp_session_run_nodes(s, 0, s->graph->node_count));
    for (size_t i = 0; i < s->graph->output_count; i++)
        oxp_tensor_share(&outputs[i], find_tensor(s, s->graph->outputs[i]));
    for (size_t v = 0; v < s->graph->value_count; v++)
        if (s->tensors[v].data || s->tensors[v].storage)
            oxp_session_drop(s, &s->tensors[v]);
    return OXP_OK;
}

static oxp_status run_subgraph(struct oxp_host *host, oxp_node *n, size_t which,
                               const oxp_tensor *const *inputs, size_t input_count, oxp_tensor *out,
                               size_t output_count)
{
    oxp_cell *c = (oxp_cell *)((char *)host - offsetof(oxp_cell, host));
    oxp_session *body = c->bodies[which];
    if (body->graph->input_count != input_count || body->graph->output_count != output_count)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SUBGRAPH",
                             "body has %zu inputs and %zu outputs, expected %zu and %zu",
                             body->graph->input_count, body->graph->output_count, input_count,
                             output_count);
    body->recording = false;
    return oxp_session_run_graph(body, inputs, out);
}

/* Sequences are values of control flow; what a caller gets are tensors. */
static oxp_status refuse_sequences(const oxp_session *s, const oxp_tensor *outputs)
{
    char quoted[OXP_QUOTED_MAX];
    for (size_t i = 0; i < s->graph->output_count; i++)
        if (oxp_is_sequence(&outputs[i]))
            return oxp_fail(s->ctx, OXP_EUNSUPPORTED, "E-OP-DTYPE",
                            "output %s is a sequence, which is not supported",
                            oxp_quote(quoted, s->graph->values[s->graph->outputs[i]].name));
    return OXP_OK;
}

static void release_outputs(const oxp_session *s, oxp_tensor *outputs)
{
    for (size_t i = 0; i < s->graph->output_count; i++)
        oxp_tensor_release(&outputs[i]);
}

oxp_status oxp_session_run(oxp_session *s, const oxp_tensor *const *inputs, oxp_tensor *outputs)
{
    for (int attempt = 0;; attempt++) {
        s->steps = 0;
        oxp_tape_start(s);
        oxp_status status = oxp_session_run_graph(s, inputs, outputs);
        if (status == OXP_OK)
            status = refuse_sequences(s, outputs);
        bool again = s->tape && oxp_tape_wants_another_run(s, status, attempt);
        if (again || status != OXP_OK)
            release_outputs(s, outputs);
        if (!again)
            return status;
    }
}

bool oxp_graph_runs(const oxp_graph *graph, const oxp_graph_node **first_missing)
{
    for (size_t i = 0; i < graph->node_count; i++) {
        const oxp_graph_node *n = &graph->nodes[i];
        bool known;
        if (!oxp_operator_find(n->domain, n->type, oxp_model_opset(graph->model, n->domain),
                               &known)) {
            *first_missing = n;
            return false;
        }
        for (size_t k = 0; k < n->subgraph_count; k++)
            if (!oxp_graph_runs(n->subgraphs[k], first_missing))
                return false;
    }
    return true;
}
