/* kept.c - constants of 16 bits an element or less, of two dimensions or more, that are no site:
 * codes of an earlier quantisation, and weights that a Cast turns into floats. They are written as
 * they came. */
#include "report/kept.h"

static bool is_kept(const oxp_value *v)
{
    const oxp_tensor *t = &v->constant;
    return v->kind == OXP_VALUE_CONSTANT && v->use_count > 0 && t->rank >= 2 && t->count > 1 &&
           t->dtype != OXP_BOOL && oxp_dtype_bits(t->dtype) > 0 && oxp_dtype_bits(t->dtype) <= 16;
}

static bool is_site(const oxp_compression *c, const oxp_value *v)
{
    for (size_t i = 0; i < c->site_count; i++)
        if (c->sites[i].value == v)
            return true;
    return false;
}

static void add(json_t *array, const oxp_value *v)
{
    char label[OXP_NODE_TEXT_MAX];
    const oxp_tensor *t = &v->constant;
    json_t *o = oxp_json_append(array);
    oxp_json_string(o, "name", v->name);
    oxp_json_string(o, "dtype", oxp_dtype_name(t->dtype));
    oxp_json_shape(o, "shape", t->rank, t->dims, NULL);
    oxp_json_integer(o, "bytes", (long long)oxp_tensor_bytes(t));
    oxp_json_string(o, "node", oxp_graph_node_label(label, v->uses[0].node));
    oxp_json_string(o, "op", v->uses[0].node->type);
}

oxp_status oxp_report_kept(oxp_report *r, const oxp_compression *c)
{
    if (!c->graph)
        return OXP_OK;
    oxp_arena arena;
    oxp_arena_init(&arena, c->ctx);
    const oxp_graph *const *graphs;
    size_t graph_count, count = 0, bytes = 0;
    oxp_status status = oxp_graph_all(&graphs, &graph_count, &arena, c->graph);
    json_t *array = oxp_json_array(r->json, "kept");
    for (size_t g = 0; status == OXP_OK && g < graph_count; g++)
        for (size_t i = 0; i < graphs[g]->value_count; i++) {
            const oxp_value *v = &graphs[g]->values[i];
            if (!is_kept(v) || is_site(c, v))
                continue;
            add(array, v);
            count++;
            bytes += oxp_tensor_bytes(&v->constant);
        }
    oxp_arena_free(&arena);
    char text[32];
    if (status == OXP_OK && count)
        status = oxp_report_line(r,
                                 "  %-8s %4zu weights  %10s: quantised or in half precision "
                                 "before, kept as they came",
                                 "kept", count, oxp_bytes_text(text, (double)bytes));
    return status;
}
