/* tensor_file.h - a TensorProto in a file of its own, as test data and calibration samples are
 * kept. */
#ifndef OXP_ONNX_TENSOR_FILE_H
#define OXP_ONNX_TENSOR_FILE_H

#include "util/tensor.h"

/* Reads a TensorProto file as strictly as a model. Tensor data and *name ("" when it has none) are
 * in `arena`; a STRING tensor has a shape and no data. What is wrong with the file is OXP_EDATA;
 * external data is refused. */
oxp_status oxp_tensor_file_read(oxp_tensor *out, const char **name, oxp_arena *arena, oxp_ctx *ctx,
                                const char *path);

#endif
