#include "support/nodes.h"

oxp_status append_node(oxp_model *m, const char *type, size_t count, const char *const *inputs,
                       const char *output, oxp_node_proto **out)
{
    oxp_new_node made = {.type = type,
                         .domain = "",
                         .name = output,
                         .input_count = count,
                         .output_count = 1,
                         .inputs = inputs,
                         .outputs = &output};
    oxp_graph_proto *g = oxp_model_graph(m);
    return oxp_edit_insert_node(out, m, g, oxp_graph_proto_node_count(g), &made);
}
