/* calibrate_tables.c - what of a prepared model is calibrated: values, layer inputs, weights. */
#include <math.h>
#include <string.h>

#include "kernels/libraries.h"
#include "report/calibrate.h"

/* ---- identity and samples ---- */

static oxp_status fill_identity(oxp_calibration *k, oxp_arena *arena)
{
    const oxp_calibrate_options *o = k->options;
    oxp_artefact_identity *id = &k->artefact.identity;
    oxp_stats_options text = {.cpu = o->cpu,
                              .nonfinite = o->input.nonfinite,
                              .estimator = o->estimator,
                              .output_kind = o->output_kind,
                              .moments = o->moments,
                              .outputs = o->outputs,
                              .positions = OXP_STATS_POSITIONS,
                              .holdout = o->holdout};
    id->model_hash = oxp_model_hash(k->c->source);
    id->model_bytes = oxp_model_bytes(k->c->source);
    OXP_TRY(oxp_prepared_hash(&id->prepared_hash, arena->ctx, k->c->prepared));
    id->data_hashes = oxp_arena_alloc(arena, 1, sizeof *id->data_hashes);
    id->options = oxp_stats_options_text(arena, &text, arena->ctx->seed);
    id->isa = oxp_kernels_instruction_set();
    id->version = oxp_version();
    if (!id->data_hashes || !id->options)
        return OXP_ELIMIT;
    id->data_count = 1;
    id->data_hashes[0] = oxp_stats_data_hash(&k->c->samples, o->input.dims);
    return OXP_OK;
}

/* A share of the samples, at least one where there are two and one is asked for. */
static size_t set_aside(double share, size_t n)
{
    size_t count = (size_t)(share * (double)n + 1e-9);
    return share > 0 && count == 0 && n > 1 ? 1 : count;
}

static oxp_status fill_samples(oxp_calibration *k, oxp_arena *arena)
{
    oxp_artefact *a = &k->artefact;
    const oxp_samples *samples = &k->c->samples;
    size_t n = samples->source.count, aside = set_aside(k->options->holdout, n);
    bool *is_held = oxp_arena_alloc(arena, n + 1, sizeof *is_held);
    a->hashes = oxp_arena_alloc(arena, n + 1, sizeof *a->hashes);
    a->is_held = oxp_arena_alloc(arena, n + 1, sizeof *a->is_held);
    k->which = oxp_arena_alloc(&k->settled.arena, n + 1, sizeof *k->which);
    if (!is_held || !a->hashes || !a->is_held || !k->which)
        return OXP_ELIMIT;
    OXP_TRY(oxp_samples_mark_aside(samples, arena, aside, is_held));
    a->sample_count = n;
    for (size_t i = 0; i < n; i++) {
        a->hashes[i] = oxp_samples_key(samples, i);
        a->is_held[i] = is_held[i];
        if (!is_held[i])
            k->which[a->used++] = i;
    }
    return OXP_OK;
}

/* ---- values ---- */

/* Operators that give their input on, element by element or a part of it: a scale may be taken on
 * either side. */
static bool passes_on(const oxp_graph_node *n)
{
    static const char *const types[] = {"Reshape", "Transpose", "Squeeze",     "Unsqueeze",
                                        "Flatten", "Identity",  "MaxPool",     "Slice",
                                        "Split",   "Gather",    "Dropout",     "Expand",
                                        "Concat",  "Tile",      "DepthToSpace"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(n->type, types[i]) == 0)
            return true;
    return false;
}

static void mark_dynamic(oxp_calibration *k, size_t *const *tensor_of, const oxp_graph_node *n)
{
    for (size_t steps = 0; n && n->input_count && steps < 64; steps++) {
        const oxp_graph *g = n->graph;
        uint32_t value = n->inputs[0];
        if (value == OXP_NO_VALUE)
            return;
        const oxp_value *v = &g->values[value];
        if (v->kind == OXP_VALUE_OUTER) {
            g = v->outer_graph;
            v = &g->values[v->outer_value];
        }
        size_t at = tensor_of[g->id][v->id];
        if (at)
            k->artefact.tensors[at - 1].is_dynamic = true;
        n = v->kind == OXP_VALUE_NODE && passes_on(v->producer) ? v->producer : NULL;
    }
}

/* Values that a pass can see: made by a node, or fed to the main graph. */
static bool is_seen(const oxp_graph *g, const oxp_value *v)
{
    return v->kind == OXP_VALUE_NODE || (v->kind == OXP_VALUE_INPUT && !g->parent);
}

static oxp_status fill_tensors(oxp_calibration *k, oxp_arena *arena, const oxp_graph *const *graphs,
                               size_t graph_count)
{
    oxp_artefact *a = &k->artefact;
    size_t count = 0;
    size_t **tensor_of = oxp_arena_alloc(&k->settled.arena, graph_count, sizeof *tensor_of);
    for (size_t g = 0; g < graph_count; g++)
        count += graphs[g]->value_count;
    a->tensors = oxp_arena_alloc(arena, count + 1, sizeof *a->tensors);
    k->watches = oxp_arena_alloc(&k->settled.arena, count + 1, sizeof *k->watches);
    if (!tensor_of || !a->tensors || !k->watches)
        return OXP_ELIMIT;
    for (size_t g = 0; g < graph_count; g++) {
        tensor_of[g] = oxp_arena_alloc(arena, graphs[g]->value_count + 1, sizeof **tensor_of);
        if (!tensor_of[g])
            return OXP_ELIMIT;
        for (uint32_t v = 0; v < graphs[g]->value_count; v++) {
            const oxp_value *value = &graphs[g]->values[v];
            if (!is_seen(graphs[g], value) || !value->name[0])
                continue;
            k->watches[a->tensor_count] = (oxp_watch){graphs[g], v};
            a->tensors[a->tensor_count++] =
                (oxp_artefact_tensor){.name = value->name, .graph_id = g};
            tensor_of[g][v] = a->tensor_count;
        }
    }
    for (size_t i = 0; i < k->c->site_count; i++) {
        const oxp_site *s = &k->c->sites[i];
        const char *why = NULL;
        for (size_t n = 0; oxp_technique_dynamic.applies(s, &why) && n < s->consumer_count; n++)
            mark_dynamic(k, tensor_of, s->consumers[n].node);
    }
    return OXP_OK;
}

/* ---- layer inputs ---- */

static bool same_attribute(const oxp_graph_node *a, const oxp_graph_node *b, const char *name)
{
    const oxp_attribute *x = oxp_graph_node_attribute(a, name);
    const oxp_attribute *y = oxp_graph_node_attribute(b, name);
    if (!x || !y || x->type != y->type)
        return x == y;
    if (x->type == OXP_ATTR_STRING)
        return x->s && y->s && strcmp(x->s, y->s) == 0;
    return x->i == y->i && x->count == y->count &&
           (x->count == 0 || memcmp(x->ints, y->ints, x->count * sizeof *x->ints) == 0);
}

/* Convolutions read the same patches through the same window alone; everything else reads rows. */
static bool same_window(const oxp_graph_node *a, const oxp_graph_node *b)
{
    static const char *const names[] = {"kernel_shape", "strides",  "pads",
                                        "dilations",    "auto_pad", "group"};
    bool is_conv = strcmp(a->type, "Conv") == 0;
    if (is_conv != (strcmp(b->type, "Conv") == 0))
        return false;
    if (!is_conv)
        return true;
    const oxp_tensor *x = &oxp_graph_node_constant(a, 1)->constant;
    const oxp_tensor *y = &oxp_graph_node_constant(b, 1)->constant;
    bool same = x->rank == y->rank;
    for (int i = 1; same && i < x->rank; i++)
        same = x->dims[i] == y->dims[i];
    for (size_t i = 0; same && i < sizeof names / sizeof *names; i++)
        same = same_attribute(a, b, names[i]);
    return same;
}

/* The layer that reads what the node reads, in the same graph: they run together. */
static oxp_artefact_layer *find_layer(oxp_calibration *k, const oxp_graph_node *n, size_t groups,
                                      size_t columns)
{
    oxp_artefact *a = &k->artefact;
    for (size_t i = 0; i < a->layer_count; i++) {
        const oxp_graph_node *other = k->nodes[i];
        if (other->graph == n->graph && other->inputs[0] == n->inputs[0] &&
            a->layers[i].groups == groups && a->layers[i].columns == columns &&
            same_window(other, n))
            return &a->layers[i];
    }
    return NULL;
}

static oxp_status add_node(oxp_calibration *k, oxp_arena *arena, const oxp_graph_node *n)
{
    oxp_artefact *a = &k->artefact;
    size_t groups, columns, unit;
    char label[OXP_NODE_TEXT_MAX];
    if (!oxp_moments_shape(n, &groups, &columns, &unit))
        return OXP_OK;
    oxp_artefact_layer *l = find_layer(k, n, groups, columns);
    if (!l) {
        l = &a->layers[a->layer_count];
        k->nodes[a->layer_count++] = n;
        *l = (oxp_artefact_layer){.value = n->graph->values[n->inputs[0]].name,
                                  .graph_id = n->graph->id,
                                  .groups = groups,
                                  .columns = columns};
    }
    const char **nodes = oxp_arena_alloc(arena, l->node_count + 1, sizeof *nodes);
    if (!nodes)
        return OXP_ELIMIT;
    if (l->node_count)
        memcpy(nodes, l->nodes, l->node_count * sizeof *nodes);
    nodes[l->node_count] = oxp_arena_strdup(arena, oxp_graph_node_label(label, n));
    l->nodes = nodes;
    return nodes[l->node_count++] ? OXP_OK : OXP_ELIMIT;
}

static oxp_status fill_layers(oxp_calibration *k, oxp_arena *arena, const oxp_graph *const *graphs,
                              size_t graph_count)
{
    oxp_artefact *a = &k->artefact;
    size_t count = 0;
    for (size_t g = 0; g < graph_count; g++)
        count += graphs[g]->node_count;
    a->layers = oxp_arena_alloc(arena, count + 1, sizeof *a->layers);
    k->nodes = oxp_arena_alloc(&k->settled.arena, count + 1, sizeof *k->nodes);
    if (!a->layers || !k->nodes)
        return OXP_ELIMIT;
    for (size_t g = 0; g < graph_count && a->moments != OXP_KEEP_NONE; g++)
        for (size_t i = 0; i < graphs[g]->node_count; i++)
            OXP_TRY(add_node(k, arena, &graphs[g]->nodes[i]));
    for (size_t i = 0; i < a->layer_count; i++)
        if (oxp_layer_triangle(&a->layers[i]) == SIZE_MAX)
            return oxp_fail(arena->ctx, OXP_ELIMIT, "E-LIMIT-MEM",
                            "second moments of %zu columns: too many", a->layers[i].columns);
    return OXP_OK;
}

/* ---- weights ---- */

static oxp_status fill_outputs(oxp_calibration *k, oxp_arena *arena)
{
    const oxp_graph *g = k->c->graph;
    const oxp_sensitivity *s = &k->settled;
    oxp_artefact_fisher *f = &k->artefact.fisher;
    size_t counted = 0;
    f->output_count = g->output_count;
    f->is_powered = oxp_arena_alloc(arena, g->output_count + 1, sizeof *f->is_powered);
    if (!f->is_powered)
        return OXP_ELIMIT;
    bool draws = s->estimator < OXP_ESTIMATOR_EXACT; /* from distributions, with their power */
    for (size_t i = 0; i < g->output_count; i++) {
        oxp_dtype dtype = g->values[g->outputs[i]].declared.dtype;
        bool counts =
            (!s->counts || s->counts[i]) && (dtype == OXP_UNDEFINED || oxp_dtype_is_float(dtype));
        counted += counts;
        f->is_powered[i] = counts && draws && s->kinds[i] == OXP_KIND_GAUSSIAN;
    }
    for (size_t i = 0; i < g->output_count; i++)
        f->is_unscaled |= counted == 1 && f->is_powered[i];
    return OXP_OK;
}

static oxp_status fill_fisher(oxp_calibration *k, oxp_arena *arena)
{
    const oxp_compression *c = k->c;
    oxp_artefact_fisher *f = &k->artefact.fisher;
    f->estimator = k->options->estimator ? k->options->estimator : "factor";
    f->targets = oxp_arena_alloc(arena, c->site_count + 1, sizeof *f->targets);
    k->targets = oxp_arena_alloc(&k->settled.arena, c->site_count + 1, sizeof *k->targets);
    if (!f->targets || !k->targets)
        return OXP_ELIMIT;
    if (strcmp(f->estimator, "none") == 0)
        return OXP_OK;
    OXP_TRY(fill_outputs(k, arena));
    for (size_t i = 0; i < c->site_count; i++) {
        const oxp_site *s = &c->sites[i];
        oxp_fisher_target t = {s->graph, s->value->id};
        const oxp_graph_node *stops;
        bool reaches;
        OXP_TRY(oxp_fisher_reaches(&reaches, &stops, arena, c->graph, &t));
        if (!reaches)
            continue;
        k->targets[f->target_count] = t;
        f->targets[f->target_count++] =
            (oxp_artefact_target){s->value->name, s->graph->id, s->value->constant.count};
    }
    return OXP_OK;
}

oxp_status oxp_calibration_tables(oxp_calibration *k)
{
    oxp_arena *arena = &k->artefact.arena;
    const oxp_graph *const *graphs;
    size_t count;
    OXP_TRY(fill_identity(k, arena));
    OXP_TRY(fill_samples(k, arena));
    OXP_TRY(oxp_graph_all(&graphs, &count, arena, k->c->graph));
    OXP_TRY(fill_tensors(k, arena, graphs, count));
    OXP_TRY(fill_layers(k, arena, graphs, count));
    OXP_TRY(fill_fisher(k, arena));
    return oxp_artefact_make_room(&k->artefact);
}
