/* dataset_internal.h - what the files of the dataset reader share. Nobody else includes it.
 *
 * A dataset is a list of sets. A set is what one file (or one folder of .pb files) gives: a tensor
 * for each slot. Slots are the model's inputs, then its outputs, then "labels". Every set holds one
 * or more calls. */
#ifndef OXP_CALIBRATION_DATASET_INTERNAL_H
#define OXP_CALIBRATION_DATASET_INTERNAL_H

#include <pthread.h>

#include "calibration/dataset.h"
#include "util/map.h"

#define OXP_AXIS_NONE (-1)

/* A model input or output with the axis that counts its rows. */
typedef struct data_slot {
    oxp_value_info info; /* rank -1 for labels */
    bool optional;
    int axis;         /* OXP_AXIS_NONE: given once */
    int64_t step;     /* rows of a call along the axis */
    bool names_batch; /* the symbolic name of its axis is the batch's, wherever it stands */
} data_slot;

typedef enum set_kind { SET_NPZ, SET_NPY, SET_PB, SET_MEMORY } set_kind;

typedef struct pb_file {
    char *path;
    bool is_output;
    size_t position; /* the number in its name */
} pb_file;

typedef struct data_set {
    set_kind kind;
    const char *path; /* file, or folder of .pb files */
    pb_file *files;   /* SET_PB */
    size_t file_count;
    size_t calls, rows; /* rows of each call */
} data_set;

/* The tensors of one set in memory. */
typedef struct loaded_set {
    size_t references; /* under the dataset's lock */
    size_t set;
    size_t calls, rows;
    oxp_tensor *tensors; /* one per slot; OXP_UNDEFINED: the set has none */
    size_t slot_count;
    oxp_arena arena;     /* of tensors that borrow */
    oxp_file_bytes file; /* that tensors borrow from; all zero when none does */
} loaded_set;

typedef struct data_call {
    size_t set, index; /* the index-th call of the set */
    size_t first_row;  /* into the labels */
    uint64_t hash;
} data_call;

struct oxp_dataset {
    oxp_ctx *ctx;
    oxp_arena arena; /* names, paths, slots, sets */
    const char *path;
    data_slot *slots;
    size_t input_count, output_count, slot_count;
    oxp_map slot_of; /* by name */
    oxp_data_nonfinite nonfinite;
    bool separate_labels; /* from options->labels */

    data_set *sets;
    size_t set_count, set_capacity;
    data_call *calls;
    size_t call_count, call_capacity;
    size_t skipped, row_total;
    int64_t *labels; /* of every row, those of skipped calls too */
    size_t label_count, label_capacity;
    bool *present; /* per slot: the sets have it */
    oxp_file_id *files;
    size_t file_count, file_capacity;
    uint64_t hash;

    pthread_mutex_t lock;
    loaded_set *current; /* the set that was loaded last */
};

/* ---- dataset_layout.c: shapes ---- */

/* Decides the batch axis of every input and output. E-CALIB-NAME and E-CALIB-SHAPE for an override
 * that fits nothing. */
oxp_status oxp_layout_decide(oxp_dataset *d, const oxp_dataset_options *options);
/* Holds a loaded set against the model and counts its calls and rows. */
oxp_status oxp_layout_check(const oxp_dataset *d, oxp_ctx *ctx, loaded_set *l, set_kind kind);
/* Call `index` of a slot's tensor, in memory of its own. */
oxp_status oxp_layout_slice(oxp_tensor *out, oxp_ctx *ctx, const oxp_dataset *d,
                            const loaded_set *l, size_t slot, size_t index);

/* ---- dataset_files.c: which files ---- */

/* Fills d->sets from d->path. */
oxp_status oxp_data_files_find(oxp_dataset *d);
/* < 0, 0, > 0; runs of digits compare as numbers. */
int oxp_natural_order(const char *a, const char *b);

/* ---- dataset_load.c: what is in them ---- */

typedef struct data_hasher data_hasher;

oxp_status oxp_hasher_new(data_hasher **out, oxp_ctx *ctx);
void oxp_hasher_add(data_hasher *h, const void *data, size_t bytes);
uint64_t oxp_hasher_value(const data_hasher *h);

/* Reads set `index` and checks it. At the first time of a set, `hasher` takes the bytes of its
 * files and d->files their identities; later `hasher` is NULL and the set must have as many calls
 * as before. */
oxp_status oxp_set_load(loaded_set **out, oxp_ctx *ctx, oxp_dataset *d, size_t index,
                        data_hasher *hasher);
oxp_status oxp_set_from_tensors(loaded_set **out, oxp_ctx *ctx, oxp_dataset *d,
                                const oxp_named_tensor *arrays, size_t count, data_hasher *hasher);
oxp_status oxp_load_labels_file(oxp_tensor *out, oxp_ctx *ctx, oxp_dataset *d, const char *path);
void oxp_set_free(loaded_set *l);

#endif
