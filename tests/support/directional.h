/* directional.h - the gradient of a whole model's weights against differences of its loss. */
#ifndef OXP_TESTS_SUPPORT_DIRECTIONAL_H
#define OXP_TESTS_SUPPORT_DIRECTIONAL_H

#include "interpreter/interpreter.h"

typedef struct directional {
    size_t weights;    /* float constants that an output depends on */
    size_t directions; /* taken, two per weight */
    size_t agreed;
    size_t kinks;    /* of the others, where the slopes on either side differ at every step */
    char first[256]; /* the first that did not */
} directional;

/* With the loss a random projection of the float outputs, the slope of every weight along its own
 * gradient and along a random direction is held against central differences: relative to the
 * terms of the sum, 1e-2. Weights are set back. `verbose` prints a line per weight. */
oxp_status directional_check(oxp_ctx *ctx, oxp_graph *graph, const oxp_tensor *const *inputs,
                             bool verbose, directional *out);

#endif
