/* fisher.h - what a change of a weight costs the model's answers, from gradients.
 *
 * Loss is KL(p || p') in nats of the outputs' distribution, mean over inputs. To second order a
 * change d of a weight costs 1/2 d' F d, F the Fisher information of the model's own distribution;
 * tr F, and for any d the mean of (g . d)^2, come from gradients g of log p(y | x) whose labels are
 * drawn from the model itself:
 *
 *   factor     g = J' B r, B B' the information of the output's distribution, r random signs: no
 *              draw of labels, and unbiased for both (the default)
 *   sampled    labels drawn from p(y | x)
 *   exact      every class of every row, weighted by its probability; outputs of one row
 *   empirical  the labels of the data. It is not the Fisher information, only called so.
 *
 * An output is categorical (logits, probabilities or their logarithms; per row, and the square is
 * divided by the number of rows), bernoulli (after Sigmoid), an embedding (no distribution: the
 * loss is 1 - cos of a row, its second order (I - f f' / |f|^2) / |f|^2 in place of F, per row), or
 * gaussian (everything else: its variance is its own mean power, summed over elements). All outputs
 * of a float type count, added.
 * What is independent is the input: its tokens and pixels are summed before squaring. */
#ifndef OXP_CALIBRATION_FISHER_H
#define OXP_CALIBRATION_FISHER_H

#include "calibration/metrics.h"
#include "calibration/runner.h"

typedef enum oxp_estimator {
    OXP_ESTIMATOR_FACTOR,
    OXP_ESTIMATOR_SAMPLED,
    OXP_ESTIMATOR_EXACT,
    OXP_ESTIMATOR_EMPIRICAL,
    OXP_ESTIMATOR_COUNT
} oxp_estimator;

const char *oxp_estimator_name(oxp_estimator e);

#define OXP_EXACT_CLASSES_MAX 4096

typedef struct oxp_fisher_target { /* a constant of the graph, FLOAT */
    const oxp_graph *graph;
    uint32_t value;
} oxp_fisher_target;

typedef struct oxp_fisher_options {
    oxp_estimator estimator;
    const oxp_output_kind *kinds; /* by output; NULL: read off the graph's end */
    const bool *counts;           /* by output; NULL: all of a float type */
    const double *powers; /* by output, of gaussian ones; NULL: their mean over these inputs */
    /* What draws for an input are keyed by, so that its place in the list does not matter; NULL:
     * its index. */
    uint64_t (*key)(void *user, size_t index);
    /* empirical: the classes of an input's rows (borrowed), and how many; NULL where it has none */
    const int64_t *(*labels)(void *user, size_t index, size_t *count);
    /* Sees one gradient of a target per backward pass, on any thread: weight 1, or with `exact` the
     * probability of the class. A target that no output depends on is not seen. */
    oxp_status (*gradient)(void *user, oxp_ctx *ctx, int worker, size_t slot, size_t target,
                           double weight, const oxp_tensor *g);
    void *user;
} oxp_fisher_options;

typedef struct oxp_fisher {
    size_t targets, inputs;
    double *squares; /* [input * targets + target]: weighted sums of |g|^2 */
    double *powers;  /* by output: mean power of gaussian ones */
} oxp_fisher;

/* Lives in the arena. E-GRADIENT names a node without a gradient on the way from a target (leave
 * such targets out: oxp_fisher_reaches); E-CALIB-LABELS where `empirical` has no labels;
 * E-ESTIMATOR where `exact` would take too many passes. */
oxp_status oxp_fisher_run(oxp_fisher *out, oxp_arena *arena, const oxp_graph *graph,
                          const oxp_source *source, const size_t *which, size_t count,
                          const oxp_fisher_target *targets, size_t target_count,
                          const oxp_fisher_options *options);

/* Whether gradients reach a target from the outputs; else the first node that stops them. */
oxp_status oxp_fisher_reaches(bool *reaches, const oxp_graph_node **stops, oxp_arena *arena,
                              const oxp_graph *graph, const oxp_fisher_target *target);

#endif
