/* nodes.h - nodes behind the others, for tests that build a graph. */
#ifndef OXP_TESTS_SUPPORT_NODES_H
#define OXP_TESTS_SUPPORT_NODES_H

#include "onnx/edit.h"

/* A node of the standard's domain behind the main graph's others, named after its one output. `out`
 * may be NULL. */
oxp_status append_node(oxp_model *m, const char *type, size_t count, const char *const *inputs,
                       const char *output, oxp_node_proto **out);

#endif
