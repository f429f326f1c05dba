/* info.c - onnxpress info: what is in a model, without running it. */
#include <stdio.h>
#include <string.h>

#include "report/observed.h"
#include "techniques/technique.h"

typedef struct totals {
    double parameters, bytes, macs;
    size_t nodes, missing;
    bool has_macs;
} totals;

static const char *kind_of(const oxp_value_info *v)
{
    return v->is_tensor ? oxp_dtype_name(v->dtype) : "no tensor";
}

#define DECLARED_MAX (OXP_MAX_RANK * 24 + 8)

/* "[N,3,224,224]"; a name longer than 20 bytes is cut. */
static void declared_text(char out[DECLARED_MAX], const oxp_value_info *v)
{
    size_t used = 0;
    out[used++] = '[';
    for (int k = 0; k < v->rank; k++) {
        const char *comma = k ? "," : "";
        int length = v->dims[k] >= 0 ? snprintf(out + used, DECLARED_MAX - used, "%s%lld", comma,
                                                (long long)v->dims[k])
                                     : snprintf(out + used, DECLARED_MAX - used, "%s%.20s", comma,
                                                v->params[k] ? v->params[k] : "?");
        used += length > 0 ? (size_t)length : 0;
    }
    out[used++] = ']';
    out[used] = '\0';
}

static oxp_status add_values(oxp_report *r, const char *key, const char *label,
                             const oxp_value_info *infos, size_t count)
{
    json_t *array = oxp_json_array(r->json, key);
    for (size_t i = 0; i < count; i++) {
        const oxp_value_info *v = &infos[i];
        json_t *o = oxp_json_append(array);
        char quoted[OXP_QUOTED_MAX], text[DECLARED_MAX];
        oxp_json_string(o, "name", v->name);
        oxp_json_string(o, "dtype", kind_of(v));
        oxp_json_shape(o, "shape", v->rank, v->dims, v->params);
        declared_text(text, v);
        /* names of dimensions may hold anything; the quotes are not wanted */
        char clean[OXP_QUOTED_MAX];
        int length = (int)strlen(oxp_quote(clean, text)) - 2;
        OXP_TRY(oxp_report_line(r, "%s %s %s %.*s", label, oxp_quote(quoted, v->name), kind_of(v),
                                v->rank < 0 ? 3 : length, v->rank < 0 ? "[?]" : clean + 1));
    }
    return OXP_OK;
}

static oxp_status describe_io(oxp_report *r, const oxp_graph *g)
{
    size_t most = g->input_count > g->output_count ? g->input_count : g->output_count;
    oxp_value_info *infos;
    OXP_TRY(oxp_alloc(&infos, r->ctx, most + 1, sizeof *infos, "inputs"));
    for (size_t i = 0; i < g->input_count; i++)
        infos[i] = g->values[g->inputs[i]].declared;
    oxp_status status = add_values(r, "inputs", "input ", infos, g->input_count);
    for (size_t i = 0; i < g->output_count; i++)
        oxp_graph_proto_output(g->proto, i, &infos[i]);
    if (status == OXP_OK)
        status = add_values(r, "outputs", "output", infos, g->output_count);
    oxp_free(infos);
    return status;
}

static double node_parameters(const oxp_graph_node *n)
{
    double count = 0;
    for (size_t i = 0; i < n->input_count; i++) {
        const oxp_value *v = oxp_graph_node_constant(n, i);
        if (v && oxp_dtype_is_float(v->constant.dtype))
            count += (double)v->constant.count;
    }
    return count;
}

/* ": [1,24,28,28], 5.2 k MACs", or nothing when the node was not run. */
static void observed_text(char out[OXP_SHAPE_TEXT_MAX + 40], json_t *o,
                          const oxp_observed_node *seen, totals *t)
{
    char shape[OXP_SHAPE_TEXT_MAX];
    out[0] = '\0';
    if (!seen || !seen->ran)
        return;
    oxp_json_shape(o, "shape", seen->rank, seen->dims, NULL);
    oxp_json_real(o, "bytes", seen->bytes);
    int length =
        snprintf(out, OXP_SHAPE_TEXT_MAX, ", %s", oxp_shape_text(shape, seen->rank, seen->dims));
    if (seen->macs < 0)
        return;
    oxp_json_real(o, "macs", seen->macs);
    t->macs += seen->macs;
    snprintf(out + length, 40, ", %.4g MACs", seen->macs);
}

static oxp_status describe_node(oxp_report *r, json_t *array, const oxp_graph_node *n,
                                const oxp_observed_node *seen, totals *t)
{
    bool known;
    const oxp_operator *op =
        oxp_operator_find(n->domain, n->type, oxp_model_opset(n->graph->model, n->domain), &known);
    char label[OXP_NODE_TEXT_MAX], name[OXP_QUOTED_MAX], type[OXP_QUOTED_MAX];
    json_t *o = oxp_json_append(array);
    double parameters = node_parameters(n);
    oxp_json_string(o, "name", oxp_graph_node_label(label, n));
    oxp_json_string(o, "op", n->type);
    oxp_json_string(o, "domain", n->domain);
    oxp_json_integer(o, "parameters", (long long)parameters);
    oxp_json_boolean(o, "runs", op != NULL);
    oxp_json_boolean(o, "differentiable", op && op->backward);
    if (n->graph->depth)
        oxp_json_integer(o, "depth", n->graph->depth);
    t->nodes++;
    t->missing += op == NULL;
    char observed[OXP_SHAPE_TEXT_MAX + 40];
    observed_text(observed, o, seen, t);
    return oxp_report_line(r, "%*snode %zu %s %s: %.0f parameters%s%s", 2 * n->graph->depth, "",
                           n->index, oxp_quote(type, n->type), oxp_quote(name, n->name), parameters,
                           observed, op ? "" : "  CANNOT BE RUN");
}

static oxp_status describe_nodes(oxp_report *r, const oxp_graph *const *graphs, size_t count,
                                 const oxp_observed *seen, totals *t)
{
    json_t *array = oxp_json_array(r->json, "nodes");
    for (size_t g = 0; g < count; g++)
        for (size_t n = 0; n < graphs[g]->node_count; n++)
            if (strcmp(graphs[g]->nodes[n].type, "Constant") != 0)
                OXP_TRY(describe_node(r, array, &graphs[g]->nodes[n],
                                      seen->nodes ? &seen->nodes[g][n] : NULL, t));
    return OXP_OK;
}

static oxp_status describe_weights(oxp_report *r, oxp_arena *arena, const oxp_graph *graph)
{
    oxp_site *sites;
    size_t count;
    OXP_TRY(oxp_sites_find(&sites, &count, arena, graph));
    json_t *array = oxp_json_array(r->json, "weights");
    for (size_t i = 0; i < count; i++) {
        const oxp_site *s = &sites[i];
        const char *why = NULL;
        char label[OXP_NODE_TEXT_MAX], quoted[OXP_QUOTED_MAX], shape[OXP_SHAPE_TEXT_MAX];
        bool compressible = false;
        for (size_t k = 0; k < oxp_technique_count() && !compressible; k++)
            compressible = oxp_technique_at(k)->applies(s, &why);
        json_t *o = oxp_json_append(array);
        oxp_json_string(o, "name", s->value->name);
        oxp_json_string(o, "node", oxp_graph_node_label(label, s->consumers[0].node));
        json_t *nodes = oxp_json_array(o, "nodes");
        for (size_t k = 0; k < s->consumer_count; k++) {
            json_t *text = json_string(oxp_graph_node_label(label, s->consumers[k].node));
            if (text)
                json_array_append_new(nodes, text);
        }
        oxp_json_string(o, "op", s->consumers[0].node->type);
        oxp_json_shape(o, "shape", s->value->constant.rank, s->value->constant.dims, NULL);
        oxp_json_string(o, "dtype", oxp_dtype_name(s->value->constant.dtype));
        oxp_json_integer(o, "bytes", (long long)oxp_tensor_bytes(&s->value->constant));
        oxp_json_boolean(o, "compressible", compressible);
        if (!compressible)
            oxp_json_string(o, "reason", why);
        OXP_TRY(oxp_report_line(
            r, "weight %s %s of %s%s%s", oxp_quote(quoted, s->value->name),
            oxp_shape_text(shape, s->value->constant.rank, s->value->constant.dims),
            s->consumers[0].node->type, compressible ? "" : ": ", compressible ? "" : why));
    }
    return OXP_OK;
}

static oxp_status describe_totals(oxp_report *r, const oxp_graph *const *graphs, size_t count,
                                  const oxp_model *model, totals *t)
{
    for (size_t g = 0; g < count; g++)
        for (size_t v = 0; v < graphs[g]->value_count; v++)
            if (graphs[g]->values[v].kind == OXP_VALUE_CONSTANT &&
                oxp_dtype_is_float(graphs[g]->values[v].constant.dtype))
                t->parameters += (double)graphs[g]->values[v].constant.count;
    t->bytes = (double)oxp_model_bytes(model);
    json_t *o = oxp_json_object(r->json, "totals");
    oxp_json_integer(o, "parameters", (long long)t->parameters);
    oxp_json_integer(o, "bytes", (long long)t->bytes);
    oxp_json_integer(o, "nodes", (long long)t->nodes);
    if (t->has_macs)
        oxp_json_real(o, "macs", t->macs);
    char bytes[32];
    if (t->has_macs)
        OXP_TRY(oxp_report_line(r, "%.4g MACs in one call", t->macs));
    return oxp_report_line(r, "%zu nodes (%zu cannot be run), %.0f parameters, %s", t->nodes,
                           t->missing, t->parameters, oxp_bytes_text(bytes, t->bytes));
}

static oxp_status job_info(oxp_report *r, oxp_loaded *l, const char *path,
                           const oxp_input_options *input)
{
    oxp_json_string(r->json, "model", path);
    json_t *opsets = oxp_json_object(r->json, "opsets");
    for (size_t i = 0; i < oxp_model_opset_count(l->model); i++) {
        const char *domain;
        int64_t version;
        char quoted[OXP_QUOTED_MAX];
        oxp_model_opset_at(l->model, i, &domain, &version);
        oxp_json_integer(opsets, domain[0] ? domain : "ai.onnx", version);
        OXP_TRY(oxp_report_line(r, "opset %s %lld",
                                oxp_quote(quoted, domain[0] ? domain : "ai.onnx"),
                                (long long)version));
    }
    const oxp_graph *const *graphs;
    size_t count;
    totals t = {0};
    OXP_TRY(oxp_graph_all(&graphs, &count, &l->arena, l->graph));
    OXP_TRY(describe_io(r, l->graph));
    oxp_observed seen;
    OXP_TRY(oxp_observe(&seen, l, input));
    t.has_macs = seen.nodes != NULL;
    OXP_TRY(describe_nodes(r, graphs, count, &seen, &t));
    if (!seen.nodes)
        OXP_TRY(oxp_report_line(r, "shapes and MACs are not known: %s", seen.why_not));
    OXP_TRY(describe_weights(r, &l->arena, l->graph));
    return describe_totals(r, graphs, count, l->model, &t);
}

oxp_status oxp_info_file(oxp_report **out, oxp_ctx *ctx, const char *model,
                         const oxp_input_options *input)
{
    oxp_loaded l;
    oxp_report *r;
    OXP_TRY(oxp_loaded_open(&l, ctx, model, input));
    oxp_status status = oxp_report_new(&r, ctx);
    if (status == OXP_OK) {
        size_t count;
        const oxp_file_id *ids = oxp_model_files(l.model, &count);
        status = oxp_report_protect(r, ids, count);
        if (status == OXP_OK)
            status = job_info(r, &l, model, input);
        if (status == OXP_OK)
            *out = r;
        else
            oxp_report_free(r);
    }
    oxp_loaded_close(&l);
    return status;
}
