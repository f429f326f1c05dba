/* compress.h - the main job, and what it found. */
#ifndef OXP_PLANNER_COMPRESS_H
#define OXP_PLANNER_COMPRESS_H

#include "calibration/source.h"
#include "planner/composition.h"
#include "planner/guard.h"
#include "planner/placement.h"
#include "prepare/equalize.h"
#include "prepare/prepare.h"

/* Whether channels were equalised, and what told so. */
typedef struct oxp_equalization {
    oxp_equalize_result result;
    bool is_tried, is_measured, is_used;
    double plain_db, equalized_db; /* of the quantised models, on `samples` of the calibration */
    size_t samples;
    const char *why_not; /* NULL where it is used */
} oxp_equalization;

typedef enum oxp_order_mode { OXP_ORDER_BEST, OXP_ORDER_RULE, OXP_ORDER_GIVEN } oxp_order_mode;

typedef struct oxp_compression {
    oxp_ctx *ctx;
    const oxp_compress_options *options;
    const char *model_path, *output_path;
    oxp_placement_options placement;
    oxp_calibration_options calibration;

    oxp_arena arena;
    oxp_model *source, *prepared, *raised,
        *result;                     /* raised: prepared at the opset that the forms need */
    oxp_graph *source_graph, *graph; /* graph: of `raised` */
    oxp_samples samples;
    bool has_samples, in_sample;
    size_t *fit, fit_count, *held, held_count;
    oxp_prepare_result prepare;
    bool was_prepared;
    oxp_equalization equalization;
    oxp_model *plain;      /* what `raised` borrows from where it is equalised; else NULL */
    oxp_pipeline pipeline; /* no stages without --pipeline */
    oxp_order_mode order_mode;
    size_t order[OXP_PIPELINE_MAX]; /* of its stages, as they ran */
    oxp_composition composition;
    oxp_model *earlier[OXP_PIPELINE_MAX]; /* what `raised` borrows from behind stages */
    size_t earlier_count;
    int64_t opset_before, opset_after;
    const char *opset_reason; /* why the opset could not be raised, or NULL */

    oxp_site *sites;
    size_t site_count;
    oxp_choice *choices;
    bool *is_forced; /* by --layer */
    oxp_regions region_costs;
    const oxp_regions *regions; /* what decides where integers pay, or NULL */
    oxp_codes *codes, *narrow_codes;
    oxp_fits fits;                       /* what the choices' `fitted` point into */
    bool rounds, corrects, makes_biases; /* --rounding, --bias-correction */
    size_t narrowed;                     /* sites narrowed to 7 bits */
    size_t unseen;                       /* sites in branches that no sample ran */
    double *cost;                        /* by site: noise share alone, NAN */
    struct oxp_plan *plan;               /* a target's or a file's (plan.h), or NULL */
    struct oxp_stats *stats;             /* --stats (stats.h), or NULL */
    oxp_ranges ranges;
    oxp_watch *watches;
    size_t watch_count;

    oxp_reference reference;
    oxp_difference *differences; /* of the written file, by output */
    double sqnr_db;              /* least over float outputs; NAN without samples */
    const char *dropped;         /* first tensor that fell, when the result is poor; or NULL */
    double dropped_db;
    oxp_output_options output_options; /* force, and the inputs, which are never replaced */
    oxp_output_file *data_output;      /* beside the output, for large tensors; or NULL */
    const char *data_path, *location;  /* its path, and what the model calls it */
    size_t output_bytes;               /* of both */
    uint64_t output_hash;
    double seconds_load, seconds_calibrate, seconds_search, seconds_apply, seconds_verify,
        seconds_total;
} oxp_compression;

/* Runs the job. On OXP_OK and OXP_EBOUND the result can be reported. Free it in any case. */
/* Below 10 dB, or with an agreement whose 95 % interval lies below 95 %. */
bool oxp_compression_is_poor(const oxp_compression *c);

oxp_status oxp_compression_run(oxp_compression *c, oxp_ctx *ctx, const char *model,
                               const char *output, const oxp_compress_options *options);
/* Its beginning alone: the prepared model, its graph and sites, the samples. Free it in any case.
 * */
oxp_status oxp_compression_prepare(oxp_compression *c, oxp_ctx *ctx, const char *model,
                                   const oxp_compress_options *options);
void oxp_compression_free(oxp_compression *c);

#endif
