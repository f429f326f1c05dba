/* metrics.h - how far one set of outputs is from another.
 *
 * Sums are kept per sample and added in sample order, so that they are the same at any thread
 * count. */
#ifndef OXP_CALIBRATION_METRICS_H
#define OXP_CALIBRATION_METRICS_H

#include "graph/graph.h"

/* What an output's numbers are, read off the graph's end. */
typedef enum oxp_output_kind {
    OXP_KIND_GAUSSIAN,      /* real values */
    OXP_KIND_LOGITS,        /* categorical, before Softmax */
    OXP_KIND_PROBABILITIES, /* categorical, after Softmax */
    OXP_KIND_LOG_PROBABILITIES,
    OXP_KIND_BERNOULLI, /* after Sigmoid */
    OXP_KIND_EMBEDDING  /* rows whose direction counts: divided by their own norm */
} oxp_output_kind;

oxp_output_kind oxp_output_kind_of(const oxp_graph *graph, uint32_t value);
/* Classes along the last axis, in whatever spelling. */
bool oxp_is_categorical(oxp_output_kind kind);
/* The log of the sum of exponentials of the n logits from `start` on; 0 where they are none. */
double oxp_log_normaliser(oxp_output_kind kind, const oxp_tensor *t, size_t start, size_t n);

/* What one sample adds. */
typedef struct oxp_difference {
    double signal;     /* sum a^2 */
    double noise;      /* sum (a - b)^2 */
    double dot, other; /* sum a b, sum b^2 */
    double max_abs;
    /* sum over rows (categorical) or elements (bernoulli) of KL(a || b) in nats; over rows of
     * 1 - cos (embedding) */
    double kl;
    size_t rows, agree;
    size_t labelled, correct_a, correct_b, only_a,
        only_b;               /* rows with a label; right in one alone */
    size_t elements, numbers; /* numbers: finite in a */
    size_t nonfinite;         /* elements that are NaN or infinite in b and not the same in a */
} oxp_difference;

/* Compares output tensors of one shape and a float type (others: elements only). `labels`, if not
 * NULL, has one class per row of the last axis. */
void oxp_difference_of(oxp_difference *out, oxp_output_kind kind, const oxp_tensor *a,
                       const oxp_tensor *b, const int64_t *labels, size_t label_count);
void oxp_difference_add(oxp_difference *into, const oxp_difference *from);

double oxp_sqnr_db(const oxp_difference *d); /* +200 when there is no noise */
double oxp_cosine(const oxp_difference *d);

#endif
