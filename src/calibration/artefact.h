/* artefact.h - what a calibration found, in memory and as a file (.oxc, artefact_file.h).
 *
 * Per value of the prepared graph a histogram (integers, merged exactly) and the least and largest
 * element of every sample; per layer input x, rows of X, the sums of x, of x^2 and of X X^T; per
 * weight the squared length of its gradient in every sample. Nothing is a mean: sums and their
 * counts stand side by side, so that artefacts of disjoint samples merge. What stands per sample
 * does so in the order of the samples that were used, those set aside left out.
 *
 * Sums are held in double while they grow; H is stored in float, its diagonal (the sums of x^2) in
 * double. So merged artefacts agree with one calibration of all samples: integers exactly, sums to
 * 1e-12 of their size, the rest of H to float's rounding of each part (6e-8 each). */
#ifndef OXP_CALIBRATION_ARTEFACT_H
#define OXP_CALIBRATION_ARTEFACT_H

#include "calibration/artefact_file.h"
#include "kernels/statistics.h"

typedef enum oxp_moments_kept { OXP_KEEP_NONE, OXP_KEEP_DIAGONAL, OXP_KEEP_FULL } oxp_moments_kept;

typedef struct oxp_artefact_identity {
    uint64_t model_hash;
    size_t model_bytes;
    uint64_t prepared_hash; /* of the graph that was run (oxp_prepared_hash) */
    uint64_t *data_hashes;  /* one, or, merged, one of each part */
    size_t data_count;
    const char *options; /* "name=value\n" each, in a fixed order */
    const char *isa;     /* instruction set of the kernels; "mixed" when parts differ */
    const char *version; /* of the program that wrote it first */
} oxp_artefact_identity;

typedef struct oxp_artefact_tensor { /* a value */
    const char *name;
    size_t graph_id;
    bool is_dynamic; /* dynamic_errors are kept */
    size_t done;     /* samples that are in */
    /* its histogram: as it grows, and as bytes of the file once it is whole (packed wins) */
    oxp_histogram *seen;
    uint8_t *packed;
    size_t packed_bytes;
    float *low, *high;      /* by sample; NaN where it had no element */
    double *dynamic_errors; /* by sample: squared error at a scale of the sample's own */
} oxp_artefact_tensor;

typedef struct oxp_artefact_layer { /* an input that layers multiply their weights with */
    const char *value;
    size_t graph_id;
    const char **nodes; /* that read it this way */
    size_t node_count;
    size_t groups, columns; /* of one group */
    size_t done;
    uint64_t rows;
    double *sums, *squares; /* [groups * columns] */
    double *h;              /* upper triangles by group, as they grow */
    float *h_whole;         /* the same, once they are whole */
    oxp_mapping *mapping;   /* of h_whole, or NULL: it is on the heap */
} oxp_artefact_layer;

typedef struct oxp_artefact_target { /* a weight */
    const char *name;
    size_t graph_id;
    uint64_t elements;
} oxp_artefact_target;

typedef struct oxp_artefact_fisher {
    const char *estimator; /* "none": there is nothing else */
    size_t output_count;
    double *powers;      /* [sample * outputs]: sum of y^2 of real-valued outputs that count */
    uint8_t *is_powered; /* by output: its power scales the gradients */
    /* Only one output counts and is real-valued: squares are those at power 1, and dividing them by
     * the mean power gives the trace; so parts with other means merge. */
    bool is_unscaled;
    size_t target_count;
    oxp_artefact_target *targets;
    double *squares;          /* [sample * targets + target] */
    size_t powers_done, done; /* samples that are in */
} oxp_artefact_fisher;

typedef struct oxp_artefact {
    oxp_ctx *ctx;
    oxp_arena arena; /* of names and tables */
    oxp_artefact_identity identity;
    oxp_moments_kept moments;
    size_t sample_count; /* with those set aside */
    uint64_t *hashes;    /* by sample */
    uint8_t *is_held;    /* by sample: set aside for measuring */
    size_t used;         /* samples that are not */
    oxp_artefact_tensor *tensors;
    size_t tensor_count;
    oxp_artefact_layer *layers;
    size_t layer_count;
    oxp_artefact_fisher fisher;
} oxp_artefact;

void oxp_artefact_init(oxp_artefact *a, oxp_ctx *ctx);
void oxp_artefact_free(oxp_artefact *a); /* takes one that was only initialised */

/* Gives everything that stands per sample its memory, zero. */
oxp_status oxp_artefact_make_room(oxp_artefact *a);

/* Elements of the upper triangles of a layer; SIZE_MAX when they do not fit a size. */
size_t oxp_layer_triangle(const oxp_artefact_layer *layer);
/* Where [i, j], i <= j, of a triangle of n columns lies. */
static inline size_t oxp_triangle_at(size_t n, size_t i, size_t j)
{
    return i * n - i * (i + 1) / 2 + j;
}

/* The value of an option of the identity, in the arena; NULL when it is not there. */
const char *oxp_artefact_option(const oxp_artefact *a, const char *name, oxp_arena *arena);
/* Options as oxp_artefact_identity holds them, compared: OXP_EDATA E-STATS-OPTION naming the first
 * that differs. */
oxp_status oxp_artefact_same_options(const oxp_artefact *a, const char *path, const char *options);

/* What squares are multiplied with: the mean over samples is tr F then. */
double oxp_artefact_scale(const oxp_artefact *a);

/* ---- histograms as bytes ---- */

/* i32 exponent, f32 least and largest, u64 counted, huge, NaN, u32 filled bins of each side; then
 * per filled bin, positive ones first, varint bins since the last one and varint count. */
oxp_status oxp_histogram_pack(uint8_t **out, size_t *bytes, oxp_ctx *ctx, const oxp_histogram *h);
/* E-OXC-SECTION for what no histogram can be. */
oxp_status oxp_histogram_unpack(oxp_histogram *out, oxp_oxc_cursor *c);

/* ---- files ---- */

/* Writes an artefact or, where not all is `done`, a checkpoint. The output stays open. `bytes` and
 * `hash`, of the file, may be NULL. */
oxp_status oxp_artefact_write(oxp_output_file *file, oxp_artefact *a, oxp_oxc_kind kind,
                              size_t *bytes, uint64_t *hash);

/* What is read beside the tables. */
typedef struct oxp_artefact_parts {
    bool histograms; /* with what stands by tensor and sample */
    bool moments, fisher;
} oxp_artefact_parts;

/* Reads the tables and the wanted parts. Free the artefact in any case. *id may
 * be NULL; it names the file, which no output may replace. */
oxp_status oxp_artefact_read(oxp_artefact *out, oxp_ctx *ctx, const char *path, oxp_oxc_kind kind,
                             const oxp_artefact_parts *parts, oxp_file_id *id);

/* The histogram of a tensor that was read or packed. */
oxp_status oxp_artefact_histogram(oxp_histogram *out, const oxp_artefact *a, size_t tensor);

/* ---- merging ---- */

/* Whether two artefacts hold the same tensors, layers, outputs and weights. */
bool oxp_artefact_same_tables(const oxp_artefact *a, const oxp_artefact *b);

/* Adds `part` to `into`, both read with everything. OXP_EDATA: E-STATS-MODEL, E-STATS-OPTION,
 * E-STATS-OVERLAP (a sample is in both), E-STATS-MERGE. */
oxp_status oxp_artefact_merge(oxp_artefact *into, const char *into_path, const oxp_artefact *part,
                              const char *part_path);

#endif
