/* npz.h - the .npz format of NumPy: a ZIP archive of .npy files, one per array.
 *
 * The key of an array is its entry's name without ".npy". Names are keys, never paths: nothing is
 * unpacked to a disk. Stored and deflated entries, ZIP64, data descriptors. The reader is strict
 * where general ones are lenient: one end record, one directory that ends right before it, local
 * headers that say what the directory says, no two entries over the same bytes, sizes and CRC as
 * declared, no key twice. Errors are OXP_EDATA unless stated and name no file: set ctx->subject. */
#ifndef OXP_CALIBRATION_NPZ_H
#define OXP_CALIBRATION_NPZ_H

#include "util/file.h"
#include "util/tensor.h"

#define OXP_NPZ_ENTRY_LIMIT 65535
#define OXP_NPZ_RATIO_LIMIT 1032 /* deflate cannot do better: 258 bytes from 2 bits */

typedef struct oxp_npz oxp_npz;

/* Reads the directory and holds it against the local headers. `data` must outlive the handle.
 * E-ZIP, E-ZIP-OVERLAP, E-ZIP-BOMB, E-ZIP-METHOD, E-ZIP-DUP, E-CALIB-NAME (a name with a NUL),
 * E-LIMIT-ENTRIES (OXP_ELIMIT). */
oxp_status oxp_npz_open(oxp_npz **out, oxp_ctx *ctx, const uint8_t *data, size_t bytes);
void oxp_npz_free(oxp_npz *npz); /* takes NULL */
size_t oxp_npz_count(const oxp_npz *npz);
const char *oxp_npz_key(const oxp_npz *npz, size_t i); /* in the order of the directory */

/* Reads array i into memory of its own; a large one that is stored as it is in memory is borrowed
 * from the archive's bytes, aligned to nothing. E-ZIP-CRC, E-ZIP-BOMB and what oxp_npy_read()
 * gives. Different threads may read from one handle, each with its own ctx. */
oxp_status oxp_npz_read(oxp_tensor *out, oxp_ctx *ctx, const oxp_npz *npz, size_t i);

typedef struct oxp_npz_array {
    const char *key; /* written as "key.npy" */
    const oxp_tensor *tensor;
} oxp_npz_array;

/* Writes arrays, stored, in the given order, with fixed dates: the same arrays give the same bytes.
 * An element type that .npy does not have is OXP_EUNSUPPORTED, E-NPY-DTYPE. The caller opens and
 * publishes `output`. */
oxp_status oxp_npz_write(oxp_output_file *output, oxp_ctx *ctx, const oxp_npz_array *arrays,
                         size_t count);

#endif
