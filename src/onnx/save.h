/* save.h - a model's bytes and its files. */
#ifndef OXP_ONNX_SAVE_H
#define OXP_ONNX_SAVE_H

#include "onnx/model.h"

#define OXP_MODEL_BYTES_MAX ((size_t)INT32_MAX) /* of one file: protobuf's own limit */

/* Size of the packed model; one that was loaded and not edited keeps its original bytes. Data
 * that the input keeps in files of its own counts: it is written into the model, and from the
 * first of these calls on the model has it so. 0 when it cannot be read (the error is in the
 * context). */
size_t oxp_model_packed_bytes(oxp_model *model);

/* The packed model in memory. *out is freed with oxp_free(). OXP_ELIMIT E-LIMIT-FILE above
 * OXP_MODEL_BYTES_MAX, which no reader accepts. */
oxp_status oxp_model_pack(uint8_t **out, size_t *bytes, oxp_model *model);

/* Streams the packed model into an open output, tensor by tensor, then reads it back through the
 * strict loader and compares every field: OXP_EINTERNAL E-VERIFY. */
oxp_status oxp_model_write(oxp_output_file *output, oxp_model *model);

/* ---- two files ---- */

/* A model, and beside it the data of its larger initializers. */
typedef struct oxp_model_pair {
    oxp_output_file *model;
    oxp_output_file *data; /* NULL: everything is in `model` */
    const char *location;  /* what the model calls the data file: a name without directory */
} oxp_model_pair;

/* As oxp_model_write(), with the raw data of initializers from 1 KiB on in pair->data, at multiples
 * of 64 bytes, from 1 MiB on of 4096, as readers that map the file want them; tied initializers
 * share their bytes. The rest of the model must fit into its file (E-LIMIT-FILE). `model` stays
 * as it is, but for what oxp_model_packed_bytes() says. */
oxp_status oxp_model_write_pair(const oxp_model_pair *pair, oxp_model *model);

/* The bytes that both files would have, and the hash of the model loaded from them. */
oxp_status oxp_model_pair_size(size_t *bytes, uint64_t *hash, oxp_model *model,
                               const char *location);

/* Why a model cannot refer to a file of this name; NULL when it can. */
const char *oxp_model_location_fault(const char *location);

/* What was written, loaded like anybody's files. */
typedef struct oxp_read_back {
    oxp_model *model;
    oxp_file_bytes file, data;
} oxp_read_back;

oxp_status oxp_read_back_open(oxp_read_back *out, oxp_ctx *ctx, const oxp_model_pair *pair,
                              const oxp_load_options *options);
void oxp_read_back_close(oxp_read_back *back);

#endif
