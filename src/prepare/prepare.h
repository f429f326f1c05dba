/* prepare.h - what makes a graph ready for compression: constants folded, BatchNormalization in
 * the weights, activations in the spelling that runs fast, scalars in the neighbouring
 * convolution.
 *
 * Every step that changes numbers is checked by running the model before and after: the largest
 * difference of a float output, over the largest value of that output, is at most
 * OXP_PREPARE_TOLERANCE (one unit in the last place of the output's type where that is more).
 * What fails is undone, place by place, and named. A model that cannot be run gets only the
 * steps that are exact. Nothing is changed where no sample comes by. */
#ifndef OXP_PREPARE_PREPARE_H
#define OXP_PREPARE_PREPARE_H

#include "onnx/model.h"

#define OXP_PREPARE_TOLERANCE 1e-4
#define OXP_PREPARE_STEPS 7

typedef struct oxp_prepare_options {
    bool fold_constants, fold_batch_normalization, recognise_activations, fold_scalars,
        fold_padding;
    size_t block_channels; /* > 0: convolutions are kept in blocks of so many (pad_channels.h) */
    /* [sample_count], each one tensor per fed graph input. A few will do, 4 to 16: each is run once
     * per step, and the rounding noise of the model itself grows with their number. Without any,
     * inputs are drawn at random where the declared shapes allow it. */
    const oxp_tensor *const *const *samples;
    size_t sample_count;
} oxp_prepare_options;

typedef enum oxp_prepare_kind {
    OXP_PREPARE_CHANGED, /* the place was rewritten */
    OXP_PREPARE_LEFT,    /* recognised, left as it is for the reason in `text` */
    OXP_PREPARE_UNDONE   /* rewritten, found to change the outputs too much, taken back */
} oxp_prepare_kind;

typedef struct oxp_prepare_entry {
    const char *step;
    oxp_prepare_kind kind;
    const char *value; /* the value that the place makes: what the entry is about */
    const char *text;  /* "BatchNormalization \"bn1\" into Conv \"conv1\"" */
} oxp_prepare_entry;

typedef struct oxp_prepare_step_result {
    const char *name, *summary;
    bool ran; /* asked for, and the model could be checked where the step needs it */
    size_t changed, left, undone;
    double difference; /* of the outputs from the given model's; negative: not measured */
} oxp_prepare_step_result;

typedef struct oxp_prepare_result {
    oxp_prepare_step_result steps[OXP_PREPARE_STEPS];
    oxp_prepare_entry *entries;
    size_t entry_count, entry_capacity;
    const char **tensors; /* constants of the prepared model that were changed or made; */
    size_t tensor_count;  /* the others are those of the given model, bit for bit */
    size_t tensor_capacity;
    size_t nodes_before, nodes_after; /* Constant nodes not counted; subgraphs are */
    bool checked;                     /* the model runs, so that every step was measured */
    bool random_inputs;               /* ... on inputs drawn at random */
    size_t runs;                      /* samples of each check */
    double difference;         /* the largest of the prepared model; negative: not measured */
    const char *why_unchecked; /* "" when checked */
    oxp_arena arena;
} oxp_prepare_result;

/* A prepared clone of `model`, which stays as it is and must outlive it (oxp_model_clone).
 * *result is released with oxp_prepare_release(). Fails when a given sample does not run (not
 * when an operator is missing). */
oxp_status oxp_prepare(oxp_model **out, oxp_prepare_result *result, oxp_model *model,
                       const oxp_prepare_options *options);

/* A clone raised to opset `target`, on the same terms of ownership; ranks and types that the
 * conversion needs are taken from running the samples (or random inputs). The outputs must stay
 * within the tolerance: E-UPGRADE. *difference is negative when the model cannot be run. A model
 * at or above the target is cloned and nothing else. */
oxp_status oxp_prepare_raise_opset(oxp_model **out, double *difference, oxp_model *model,
                                   int64_t target, const oxp_tensor *const *const *samples,
                                   size_t sample_count);

void oxp_prepare_release(oxp_prepare_result *result); /* takes an all-zero result */

#endif
