/* dataset.h - calibration data: the samples that a model is run on, whatever files they come in.
 *
 * One sample of a dataset is one call of the model. What D may be:
 *
 *     FILE.npz          keys are input names; also output names (expected values) and "labels"
 *     FILE.npy          for a model with one input
 *     a folder of       .npz and .npy files, in natural order (x2 before x10), one after the other
 *     a folder of       input_N.pb (TensorProto) and output_N.pb: one call, whatever its shape
 *     a folder of       test_data_set_N folders of these, in natural order: one call each
 *
 * Which axis counts samples: for an input with a symbolic or 1 as leading dimension, axis 0, and
 * each index is one call. A leading dimension k > 1 of a model whose inputs are all fixed: k rows
 * are one call. An input whose leading dimension is neither, but which has the others' symbolic
 * batch dimension elsewhere: that axis. --batch-axis overrules. An input without one is given once,
 * in the model's shape, and serves every call; so does a single row for a leading 1 where other
 * inputs have more.
 *
 * Opening reads everything once: names, types, shapes, NaN and infinity, hashes; so bad data ends a
 * run at its start. A single file then stays in memory, or mapped; of a folder one file at a time
 * is kept. All errors are OXP_EDATA unless stated: E-CALIB-EMPTY, E-CALIB-NAME, E-CALIB-DTYPE,
 * E-CALIB-SHAPE, E-CALIB-NONFINITE, E-CHANGED (a file changed after it was checked), those of
 * npy.h and npz.h, and those of oxp_file_read(). */
#ifndef OXP_CALIBRATION_DATASET_H
#define OXP_CALIBRATION_DATASET_H

#include "onnx/model.h"

/* What the model takes and gives. Copied. */
typedef struct oxp_dataset_schema {
    const oxp_value_info *inputs;
    size_t input_count;
    const bool *optional; /* input i may be left out (it has an initializer); NULL: none may */
    const oxp_value_info *outputs;
    size_t output_count;
} oxp_dataset_schema;

/* --batch-axis NAME=K, of an input or an output. */
typedef struct oxp_batch_axis {
    const char *name;
    int axis;
} oxp_batch_axis;

typedef enum oxp_data_nonfinite {
    OXP_DATA_NONFINITE_REFUSE, /* NaN or infinity in an input is E-CALIB-NONFINITE */
    OXP_DATA_NONFINITE_SKIP,   /* calls that hold one are left out, counted and logged */
    OXP_DATA_NONFINITE_KEEP
} oxp_data_nonfinite;

typedef struct oxp_dataset_options {
    const char *labels; /* a .npy that replaces the key "labels"; may be NULL */
    const oxp_batch_axis *batch_axes;
    size_t batch_axis_count;
    oxp_data_nonfinite nonfinite;
} oxp_dataset_options;

typedef struct oxp_dataset oxp_dataset;

/* `options` may be NULL. Nothing of the arguments but `ctx` must outlive the call. */
oxp_status oxp_dataset_open(oxp_dataset **out, oxp_ctx *ctx, const char *path,
                            const oxp_dataset_schema *schema, const oxp_dataset_options *options);

typedef struct oxp_named_tensor {
    const char *name;
    const oxp_tensor *tensor;
} oxp_named_tensor;

/* The same from memory: arrays as a .npz would hold them, copied. `title` stands for the file in
 * errors. */
oxp_status oxp_dataset_from_tensors(oxp_dataset **out, oxp_ctx *ctx, const char *title,
                                    const oxp_named_tensor *arrays, size_t count,
                                    const oxp_dataset_schema *schema,
                                    const oxp_dataset_options *options);
void oxp_dataset_free(oxp_dataset *d); /* takes NULL */

const char *oxp_dataset_path(const oxp_dataset *d);
size_t oxp_dataset_count(const oxp_dataset *d);   /* calls, those left out not counted; >= 1 */
size_t oxp_dataset_skipped(const oxp_dataset *d); /* calls left out for NaN or infinity */
size_t oxp_dataset_rows(const oxp_dataset *d,
                        size_t call);               /* samples of the model's batch in a call */
size_t oxp_dataset_row_total(const oxp_dataset *d); /* over all calls that are not left out */

/* Makes the inputs of one call: inputs[input_count], each with memory of its own, to be released by
 * the caller; all-zero for an optional input that the data does not have. Threads may call it at
 * once, each with its own ctx. */
oxp_status oxp_dataset_sample(oxp_dataset *d, oxp_ctx *ctx, size_t call, oxp_tensor *inputs);

/* The expected outputs of a call in the same way; all-zero where none is given. Where the model's
 * output has a batch axis they are slices of it, else whole. */
oxp_status oxp_dataset_expected(oxp_dataset *d, oxp_ctx *ctx, size_t call, oxp_tensor *outputs);
bool oxp_dataset_has_expected(const oxp_dataset *d, size_t output);

/* The labels of a call, oxp_dataset_rows() of them; NULL when the data has none. */
const int64_t *oxp_dataset_labels(const oxp_dataset *d, size_t call);

/* XXH3-64 of the bytes of a call's inputs, one after the other in the model's order. */
uint64_t oxp_dataset_sample_hash(const oxp_dataset *d, size_t call);
/* XXH3-64 of the data files' bytes, one after the other; from memory: of the arrays' bytes. */
uint64_t oxp_dataset_hash(const oxp_dataset *d);

/* Files that belong to the data, labels included, for the writer's refusals. */
const oxp_file_id *oxp_dataset_files(const oxp_dataset *d, size_t *count);

/* The axis along which results of calls are joined for output `output`; -1: they are stacked along
 * a new leading axis. */
int oxp_dataset_output_axis(const oxp_dataset *d, size_t output);

/* Joins the results of `count` >= 1 calls along `axis`, or stacks them along a new leading axis
 * when axis is -1 and there is more than one. All must agree in type and in the other dimensions:
 * E-SHAPE (OXP_EDATA). */
oxp_status oxp_dataset_join(oxp_tensor *out, oxp_ctx *ctx, const oxp_tensor *calls, size_t count,
                            int axis, const char *name);

#endif
