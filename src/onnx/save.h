/* save.h - a model's bytes and its file. */
#ifndef OXP_ONNX_SAVE_H
#define OXP_ONNX_SAVE_H

#include "onnx/model.h"

/* Size of the packed model; one that was loaded and not edited keeps its original bytes. Data
 * that the input keeps in files of its own counts: it is written into the model, and from the
 * first of these calls on the model has it so. 0 when it cannot be read (the error is in the
 * context). */
size_t oxp_model_packed_bytes(oxp_model *model);

/* The packed model in memory. *out is freed with oxp_free(). OXP_ELIMIT E-LIMIT-FILE above 2^31-1
 * bytes, which no reader accepts. */
oxp_status oxp_model_pack(uint8_t **out, size_t *bytes, oxp_model *model);

/* Streams the packed model into an open output, tensor by tensor, then reads it back through the
 * strict loader and compares every field: OXP_EINTERNAL E-VERIFY. */
oxp_status oxp_model_write(oxp_output_file *output, oxp_model *model);

#endif
