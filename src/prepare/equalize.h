/* equalize.h - factors per channel moved between layers, so that 8 bits lose less.
 *
 * For s_c > 0, relu(W1 x) W2 = relu(W1/s x) (s W2): a channel's size is a free choice wherever
 * what stands between the two layers commutes with a positive factor. Equalisation across layers
 * (Nagel et al. 2019, arXiv:1906.04721) and the smoothing of activation outliers into the
 * LayerNormalization or product before (Xiao et al. 2023, arXiv:2211.10438) are both this. Which
 * channels share a factor is read off the graph (equalize_walk.c), the factors are those of least
 * expected noise (equalize_scales.c).
 *
 * Factors are powers of two: products with them are exact, so that the outputs of the float model
 * stay what they are. Only the main graph is looked at. Not for models whose operators stand
 * behind clips, sigmoids and the like: those channels are what they are. */
#ifndef OXP_PREPARE_EQUALIZE_H
#define OXP_PREPARE_EQUALIZE_H

#include "onnx/model.h"

typedef struct oxp_equalize_options {
    /* [sample_count], each one tensor per fed graph input: the ranges of the channels are measured
     * on them, and the outputs compared. At least one. */
    const oxp_tensor *const *const *samples;
    size_t sample_count;
    /* The noise of 8-bit activations counts so many times that of 8-bit weights; 0: weights are
     * all that is quantised. */
    double activations;
    bool any_factor; /* not powers of two alone */
    /* By how much the expected noise of all layers must fall, in dB: otherwise nothing is changed.
     * The second is for models of more than `large_macs` products in one sample. */
    double least_gain_db, least_gain_large_db, large_macs;
} oxp_equalize_options;

/* Channels that were balanced against each other. */
typedef struct oxp_equalized_group {
    const char *value; /* the first tensor of the group */
    size_t channels;   /* with a factor of their own */
    size_t layers;     /* that read them */
    double least, most;
    bool undone; /* it changed the outputs too much */
} oxp_equalized_group;

typedef struct oxp_equalize_result {
    oxp_equalized_group *groups; /* with at least one factor that is not one */
    size_t group_count, undone;
    const char **tensors; /* constants of the model that came out that were changed or made */
    size_t tensor_count;
    double expected_db;        /* by how much the expected noise of all layers falls */
    bool promises_little;      /* less than the least gain: nothing was changed, no groups */
    double difference;         /* of the outputs, as OXP_PREPARE_TOLERANCE has it */
    const char *why_unchecked; /* "" when the model runs; else nothing was changed */
    oxp_arena arena;
} oxp_equalize_result;

/* An equalised clone of `model`, which stays as it is and must outlive it (oxp_model_clone).
 * *result is released with oxp_equalize_release(). A sample that does not run is an error. */
oxp_status oxp_equalize(oxp_model **out, oxp_equalize_result *result, oxp_model *model,
                        const oxp_equalize_options *options);
void oxp_equalize_release(oxp_equalize_result *result); /* takes an all-zero result */

#endif
