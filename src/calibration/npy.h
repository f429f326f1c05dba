/* npy.h - the .npy format of NumPy: one array behind a short text header.
 *     "\x93NUMPY" major minor | header length (2 or 4 bytes, little-endian) | header | data
 *
 * Versions 1.0, 2.0 and 3.0; bool, integers of 1 to 8 bytes, floats of 2, 4 and 8 bytes, either
 * byte order, either dimension order. The header is a Python dict literal with exactly the keys
 * descr, fortran_order and shape; it is parsed by a grammar of its own, nothing is evaluated, and
 * object arrays (pickles) are never loaded. Errors are OXP_EDATA unless stated and name no file:
 * set ctx->subject. */
#ifndef OXP_CALIBRATION_NPY_H
#define OXP_CALIBRATION_NPY_H

#include "util/tensor.h"

#define OXP_NPY_HEADER_LIMIT 10000 /* bytes of header text */

/* Where the bytes of an array come from, front to back. */
typedef struct oxp_npy_source {
    size_t bytes; /* all that there are, header included */
    oxp_status (*read)(void *user, oxp_ctx *ctx, void *out, size_t bytes); /* exactly so many */
    /* Takes so many where they lie, or gives NULL. NULL: never. */
    const uint8_t *(*take)(void *user, oxp_ctx *ctx, size_t bytes);
    void *user;
} oxp_npy_source;

/* Reads one array into C order and the byte order of this machine. What source->take() gives is
 * borrowed as it lies, aligned to nothing. Nothing is allocated before the
 * sizes were held against source->bytes. E-NPY-MAGIC, E-NPY-HEADER, E-NPY-PICKLE, E-NPY-DTYPE,
 * E-NPY-LEN, E-SHAPE-OVERFLOW, E-DATA-RANGE (a bool that is neither 0 nor 1), E-LIMIT-RANK and
 * E-LIMIT-MEM (OXP_ELIMIT). */
oxp_status oxp_npy_read(oxp_tensor *out, oxp_ctx *ctx, const oxp_npy_source *source);
oxp_status oxp_npy_read_memory(oxp_tensor *out, oxp_ctx *ctx, const uint8_t *data, size_t bytes);

/* What a header says. */
typedef struct oxp_npy_header {
    oxp_dtype dtype;
    bool swapped; /* the data is in the other byte order */
    bool fortran_order;
    int rank;
    int64_t dims[OXP_MAX_RANK];
} oxp_npy_header;

oxp_status oxp_npy_parse_header(oxp_npy_header *out, oxp_ctx *ctx, const char *text, size_t bytes);

/* Writes everything before the data of `t` (version 1.0, little-endian, C order) and gives its
 * size, a multiple of 64. 0: the element type has no place in the format. */
#define OXP_NPY_PREFIX_MAX 512
size_t oxp_npy_prefix(char out[OXP_NPY_PREFIX_MAX], const oxp_tensor *t);

#endif
