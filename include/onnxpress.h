/* onnxpress.h - the public interface of libonnxpress: post-training compression of ONNX models.
 *
 * A trained model and a handful of sample inputs go in; the smallest model that still gives the
 * same answers comes out, in the form that ONNX Runtime runs fast, with numbers that were measured
 * on the written file.
 *
 *     #include <onnxpress.h>
 *     #include <stdio.h>
 *
 *     int main(void)
 *     {
 *         oxp_ctx *ctx = oxp_ctx_new();
 *         oxp_compress_options options = OXP_COMPRESS_OPTIONS_INIT;
 *         options.precision = "w8a8";
 *         options.data = "calibration.npz";
 *         oxp_report *report = NULL;
 *         if (oxp_compress_file(&report, ctx, "model.onnx", "model.int8.onnx", &options) != OXP_OK)
 *             fprintf(stderr, "%s: %s\n", oxp_ctx_error_code(ctx), oxp_ctx_error_message(ctx));
 *         else
 *             fputs(oxp_report_text(report), stdout);
 *         oxp_report_free(report);
 *         oxp_ctx_free(ctx);
 *     }
 *
 * Ownership: what comes back through `**out` is yours to free; every other pointer is borrowed from
 * its handle until that is freed; inputs are only read during the call; a handle dies before its
 * context. A context belongs to one thread at a time. The library never prints, exits or touches
 * signals. */
#ifndef ONNXPRESS_H
#define ONNXPRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define OXP_API __attribute__((visibility("default")))
#else
#define OXP_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- status ---- */

/* What a call came to. The values are the exit codes of the command line. */
typedef enum oxp_status {
    OXP_OK = 0,
    OXP_EBOUND = 1,       /* finished, but a requested bound or target was missed */
    OXP_EUSAGE = 2,       /* the call itself is wrong: an option, a name, a combination */
    OXP_EFORMAT = 3,      /* malformed input, or input refused by a safety rule */
    OXP_EUNSUPPORTED = 4, /* valid ONNX that is not supported */
    OXP_ELIMIT = 5,       /* memory, time, steps, nesting or count limit */
    OXP_EIO = 6,          /* file system error */
    OXP_EEXISTS = 7,      /* refused to overwrite */
    OXP_EDATA = 8,        /* calibration data is bad */
    OXP_EINTERNAL = 70,   /* a self-check failed: a bug of ours */
    OXP_ECANCELLED = 130  /* the progress callback asked to stop */
} oxp_status;

/* ---- context ---- */

typedef struct oxp_ctx oxp_ctx;

typedef enum oxp_log_level {
    OXP_LOG_ERROR,
    OXP_LOG_WARNING,
    OXP_LOG_INFO,
    OXP_LOG_VERBOSE
} oxp_log_level;

/* NULL only when there is no memory at all. */
OXP_API oxp_ctx *oxp_ctx_new(void);
OXP_API void oxp_ctx_free(oxp_ctx *ctx); /* takes NULL */

/* At least 1; default: the processors at hand. */
OXP_API void oxp_ctx_set_threads(oxp_ctx *ctx, int threads);
OXP_API void oxp_ctx_set_seed(oxp_ctx *ctx, uint64_t seed); /* default 0 */
/* Default: 75 % of what the process may have. */
OXP_API void oxp_ctx_set_max_memory(oxp_ctx *ctx, size_t bytes);
OXP_API void oxp_ctx_set_timeout(oxp_ctx *ctx, double seconds); /* from now on; 0 = none */
/* Pins the arithmetic of this process to "baseline", "avx2" or "avx512", so that what is made from
 * data has the same bytes on every processor that has it. Before the first model is run, or
 * OXP_EUSAGE; so too when the processor has not got it. */
OXP_API oxp_status oxp_pin_instruction_set(oxp_ctx *ctx, const char *instruction_set);
/* `log` gets one line without a newline; `progress` a stage's name and how far it is, and cancels
 * by returning non-zero (OXP_ECANCELLED). Either may be NULL. */
OXP_API void
oxp_ctx_set_callbacks(oxp_ctx *ctx, void (*log)(void *user, oxp_log_level level, const char *line),
                      int (*progress)(void *user, const char *stage, size_t done, size_t total),
                      void *user);

/* The first error since the context was made or cleared. Codes are stable: "E-RAW-LEN". "" when
 * there is none. */
OXP_API const char *oxp_ctx_error_code(const oxp_ctx *ctx);
OXP_API const char *oxp_ctx_error_message(const oxp_ctx *ctx);
OXP_API void oxp_ctx_clear_error(oxp_ctx *ctx);

/* ---- reports ---- */

/* What a call found: a table for people and JSON for programs (the keys are described in
 * docs/json.md). */
typedef struct oxp_report oxp_report;
OXP_API const char *oxp_report_text(const oxp_report *report);
OXP_API const char *oxp_report_json(const oxp_report *report);
/* A number of the JSON by its path, "output.bytes" or "outputs.0.sqnr_db"; `otherwise` when it is
 * not there. */
OXP_API double oxp_report_number(const oxp_report *report, const char *path, double otherwise);
/* Writes the JSON to a file, replacing it atomically; refuses a path that is one of the call's
 * inputs. */
OXP_API oxp_status oxp_report_save_json(const oxp_report *report, oxp_ctx *ctx, const char *path);
OXP_API void oxp_report_free(oxp_report *report); /* takes NULL */

/* ---- inputs shared by the calls ---- */

typedef struct oxp_input_options {
    size_t size;                          /* of this struct; set by the initialiser */
    bool allow_symlinks, allow_hardlinks; /* of external data files */
    const char *nonfinite;                /* NULL or "refuse"; "keep" (weights), "skip" (samples) */
    const char *const *batch_axes;        /* "NAME=K", NULL-terminated, or NULL */
    size_t random_samples;   /* > 0: this many random samples instead of data; the report says so */
    const char *const *dims; /* "N=8", NULL-terminated: symbolic dimensions for random samples */
    const char *const *shapes; /* "NAME:1x3x224x224", likewise: whole inputs */
} oxp_input_options;

#define OXP_INPUT_OPTIONS_INIT                                             \
    {                                                                      \
        sizeof(oxp_input_options), false, false, NULL, NULL, 0, NULL, NULL \
    }

/* ---- the main job ---- */

typedef struct oxp_compress_options {
    size_t size;
    oxp_input_options input;
    const char *precision; /* "none", "w8a8", "dynamic", "w8", "w4", "fp16" */
    const char *data;      /* samples: .npz, .npy or a folder; NULL: none */
    const char *labels;    /* .npy of labels that override those in `data`, or NULL */
    /* "auto", "minmax", "percentile[:P]", "entropy", "mse"; NULL = auto */
    const char *calibration_method;
    const char *quant_format; /* "auto", "qdq", "stored"; NULL = auto */
    const char *reduce_range; /* "auto", "on", "off"; NULL = auto */
    const char *cpu;          /* "avx2", "vnni", "arm"; NULL = vnni */
    double min_sqnr_db;       /* of the outputs; 0 switches the guard off */
    /* globs on node names, NULL-terminated, or NULL */
    const char *const *nodes, *const *exclude_nodes;
    const char *const *op_types, *const *exclude_op_types; /* operator types, likewise */
    const char *const *layers;                             /* "GLOB=TECHNIQUE", likewise */
    const char *ort_min_version; /* oldest ONNX Runtime that must load the result; NULL = 1.17 */
    bool force;                  /* replace an existing output */
    bool keep;                   /* write also when a bound was missed */
    bool dry_run;                /* everything but the file */
    bool no_metadata;
    bool per_channel; /* weights; default true */
    /* Large tensors go into a second file, `output` with ".data" behind its name, which belongs
     * beside it. A model above 2 GiB, which one file cannot hold, is always written so. */
    bool external_data;
    /* factors moved between layers so that 8 bits lose less: "auto" (where the quantised model
     * measurably gains), "on", "off"; NULL = auto */
    const char *equalize;
    /* codes of 8-bit weights: "nearest", "gptq" (for the least error of the layer's output, with
     * samples), "auto" (gptq where there are samples); NULL = auto */
    const char *rounding;
    /* the mean error of a layer taken off its bias, with samples: "auto" (where that costs few
     * bytes), "on", "off"; NULL = auto */
    const char *bias_correction;
    size_t bits;       /* of stored weights, 2 to 8; 0: 8 for "w8", 4 for "w4" */
    size_t block_size; /* below 8 bits: inputs that share a scale, at most; 0 = 32 */
    /* several techniques in place of `precision`: "prune:sparsity=0.5+w8"; NULL: none */
    const char *pipeline;
    const char *order; /* of its stages: "given", "rule", "best"; NULL = best */
    /* In place of a precision: the least loss within a size, "25%" of the input's bytes or "12MB";
     * a ratio of input to output; bits of the file per parameter (0: none). Or a plan's file. */
    const char *target_size;
    double target_ratio, target_bpw;
    const char *plan;
    const char *stats; /* a calibration artefact (.oxc) of this model and data, or NULL */
} oxp_compress_options;

#define OXP_COMPRESS_OPTIONS_INIT                                                                 \
    {                                                                                             \
        sizeof(oxp_compress_options), OXP_INPUT_OPTIONS_INIT, NULL, NULL, NULL, NULL, NULL, NULL, \
            NULL, 20.0, NULL, NULL, NULL, NULL, NULL, NULL, false, false, false, false, true,     \
            false, NULL, NULL, NULL, 0, 0, NULL, NULL, NULL, 0, 0, NULL, NULL                     \
    }

/* Compresses a model file. `output` appears complete or not at all; the reported errors were
 * measured on what was written. A missed bound returns OXP_EBOUND with a report. */
OXP_API oxp_status oxp_compress_file(oxp_report **out, oxp_ctx *ctx, const char *model,
                                     const char *output, const oxp_compress_options *options);

/* ---- looking at a model ---- */

/* Inputs, outputs, one line per node (shapes and MACs as far as they are known without data),
 * weights, totals. */
OXP_API oxp_status oxp_info_file(oxp_report **out, oxp_ctx *ctx, const char *model,
                                 const oxp_input_options *input);

typedef struct oxp_run_options {
    size_t size;
    oxp_input_options input;
    double atol, rtol; /* largest difference from expected outputs: atol + rtol * |expected| */
    const char *save;  /* .npz that receives the outputs, or NULL */
    bool force;
} oxp_run_options;

#define OXP_RUN_OPTIONS_INIT                                                     \
    {                                                                            \
        sizeof(oxp_run_options), OXP_INPUT_OPTIONS_INIT, 1e-5, 1e-3, NULL, false \
    }

/* Runs the reference interpreter over the samples. OXP_EBOUND when an expected output that the data
 * holds is missed. */
OXP_API oxp_status oxp_run_file(oxp_report **out, oxp_ctx *ctx, const char *model, const char *data,
                                const oxp_run_options *options);

typedef struct oxp_compare_options {
    size_t size;
    oxp_input_options input;
    const char *labels; /* .npy, or NULL */
} oxp_compare_options;

#define OXP_COMPARE_OPTIONS_INIT                                  \
    {                                                             \
        sizeof(oxp_compare_options), OXP_INPUT_OPTIONS_INIT, NULL \
    }

/* Per output SQNR, cosine, KL, largest difference, top-1 agreement; with labels the accuracy of
 * both and of the difference, with their intervals; the first tensor that both models have where
 * the SQNR falls off. */
OXP_API oxp_status oxp_compare_files(oxp_report **out, oxp_ctx *ctx, const char *a, const char *b,
                                     const char *data, const oxp_compare_options *options);

/* ---- is the calibration set large enough? ---- */

typedef struct oxp_samples_options {
    size_t size;
    oxp_input_options input;
    const char *labels;             /* .npy, or NULL */
    const char *precision;          /* "w8a8", "dynamic", "w8", "fp16"; NULL = w8a8 */
    const char *calibration_method; /* as in oxp_compress_options */
    double tolerance;   /* half-width: share of a scale or range, probability, agreement; 0..1 */
    double confidence;  /* of all statements about tensors at once; 0..1 */
    size_t samples;     /* ask about so many; 0: as many as there are */
    bool require_loss;  /* loss and top-1 agreement decide too */
    const char *report; /* an HTML page, replaced atomically; or NULL */
} oxp_samples_options;

#define OXP_SAMPLES_OPTIONS_INIT                                                              \
    {                                                                                         \
        sizeof(oxp_samples_options), OXP_INPUT_OPTIONS_INIT, NULL, NULL, NULL, 0.05, 0.95, 0, \
            false, NULL                                                                       \
    }

/* For every activation whose scale comes from the samples: the half-width that they give and the
 * samples that the tolerance takes, by order statistics and Clopper-Pearson (values outside the
 * range), the sandwich formula (scales of least squared error), Hoeffding and empirical Bernstein
 * (means inside a known range). OXP_EBOUND with a report when they are not enough. */
OXP_API oxp_status oxp_samples_file(oxp_report **out, oxp_ctx *ctx, const char *model,
                                    const char *data, const oxp_samples_options *options);

/* ---- calibration ---- */

typedef struct oxp_calibrate_options {
    size_t size;
    oxp_input_options input;
    const char *labels;    /* .npy, or NULL; part of the data */
    const char *cpu;       /* as in oxp_compress_options: what the model is prepared for */
    const char *moments;   /* of layer inputs: "full", "diagonal", "none"; NULL = full */
    const char *estimator; /* "factor", "sampled", "exact", "none"; NULL = factor */
    const char *output_kind;
    const char *const *outputs;
    double holdout;            /* share of the samples that is set aside for measuring; 0..1 */
    double checkpoint_seconds; /* between checkpoints (OUT.part); 0: after every chunk */
    bool resume;               /* go on from OUT.part where there is one */
    bool force;                /* replace an existing output and checkpoint */
} oxp_calibrate_options;

#define OXP_CALIBRATE_OPTIONS_INIT                                                                 \
    {                                                                                              \
        sizeof(oxp_calibrate_options), OXP_INPUT_OPTIONS_INIT, NULL, NULL, NULL, NULL, NULL, NULL, \
            0, 10, false, false                                                                    \
    }

/* Runs the samples and writes what they show into a calibration artefact (docs/oxc.md): per value
 * histograms and ranges, per layer input the second moments, per weight the squared gradients that
 * the trace of the Fisher information is the mean of. What does not fit the memory takes further
 * passes. The bytes depend on model, data, options and instruction set alone. With `resume`, an
 * output that is complete and of this work is left as it is; OXP_EDATA names what differs. */
OXP_API oxp_status oxp_calibrate_file(oxp_report **out, oxp_ctx *ctx, const char *model,
                                      const char *data, const char *output,
                                      const oxp_calibrate_options *options);

/* Merges artefacts of the same model and options and of disjoint samples; at least two, each only
 * read. OXP_EDATA names what differs, or how many samples are in two of them. */
OXP_API oxp_status oxp_calibrate_merge(oxp_report **out, oxp_ctx *ctx, const char *const *artefacts,
                                       size_t count, const char *output, bool force);

/* ---- what a change of a weight costs ---- */

typedef struct oxp_sensitivity_options {
    size_t size;
    oxp_input_options input;
    const char *labels;    /* .npy, or NULL; for "empirical" */
    const char *estimator; /* "factor", "sampled", "exact", "forward", "empirical"; NULL = factor */
    /* "categorical", "bernoulli", "gaussian", "embedding"; NULL: read off the graph's end */
    const char *output_kind;
    const char *const *outputs; /* names of those that count, NULL-terminated; NULL: all */
    double loss;                /* that the budgets share, in nats */
    bool measure;               /* also the loss of each candidate alone: a run for each */
    const char *report;         /* an HTML page, replaced atomically; or NULL */
    const char *stats;          /* a calibration artefact (.oxc); then data may be NULL; or NULL */
} oxp_sensitivity_options;

#define OXP_SENSITIVITY_OPTIONS_INIT                                                           \
    {                                                                                          \
        sizeof(oxp_sensitivity_options), OXP_INPUT_OPTIONS_INIT, NULL, NULL, NULL, NULL, 0.01, \
            false, NULL, NULL                                                                  \
    }

/* Per weight the trace of the Fisher information with its interval, the budget, and the predicted
 * loss of each candidate with its real change: 1/2 mean (g . delta)^2, g gradients of the model's
 * own log-probabilities (KL to second order). */
OXP_API oxp_status oxp_sensitivity_file(oxp_report **out, oxp_ctx *ctx, const char *model,
                                        const char *data, const oxp_sensitivity_options *options);

/* ---- the least loss within a size ---- */

typedef struct oxp_plan_options {
    size_t size;
    oxp_compress_options compress; /* the target among them; nothing is written */
    const char *output;            /* the plan as JSON, for oxp_compress_options.plan; or NULL */
    const char *csv;               /* weights with all their candidates, replaced; or NULL */
    const char *report;            /* an HTML page, replaced atomically; or NULL */
    bool force;                    /* replace an existing output */
} oxp_plan_options;

#define OXP_PLAN_OPTIONS_INIT                                                        \
    {                                                                                \
        sizeof(oxp_plan_options), OXP_COMPRESS_OPTIONS_INIT, NULL, NULL, NULL, false \
    }

/* Which form every weight gets so that the file has at most the target's bytes at the least loss:
 * a knapsack over the losses that gradients predict, its gap to the optimum stated; the frontier of
 * all sizes; the loss measured beside the predicted one. OXP_EBOUND with a report where no plan is
 * small enough. */
OXP_API oxp_status oxp_plan_file(oxp_report **out, oxp_ctx *ctx, const char *model,
                                 const oxp_plan_options *options);

/* ---- what a model costs where it runs ---- */

typedef struct oxp_deploy_options {
    size_t size;
    oxp_input_options input;
    const char *data;    /* samples whose shapes are taken; NULL: declared shapes and input.dims */
    const char *against; /* another model on the same machine, or NULL */
    const char *machine; /* a described machine or FILE.json; NULL: this one, measured */
    size_t threads;      /* cores that work on one inference; 0 = 1 */
    size_t memory_bytes; /* for batches and sequences; 0: the machine's */
    const char *disk;    /* "500MB/s", or NULL: the machine's */
    const char *network; /* "100Mbit/s" or "100Mbit/s:20ms", or NULL */
    double slo_ms;       /* latency that a batch must keep; 0 = none */
    size_t batch;        /* samples per inference of the latency; 0 = 1 */
    const char *kv;      /* "layers=32,kv_heads=8,head_dim=128,bytes=2"; NULL: from the graph */
    size_t sequence;     /* tokens in the cache; 0: bytes per token alone */
    bool kv_shared;      /* past and present share their buffer */
    const char *report;  /* an HTML page, replaced atomically; or NULL */
} oxp_deploy_options;

#define OXP_DEPLOY_OPTIONS_INIT                                                                    \
    {                                                                                              \
        sizeof(oxp_deploy_options), OXP_INPUT_OPTIONS_INIT, NULL, NULL, NULL, 0, 0, NULL, NULL, 0, \
            0, NULL, 0, false, NULL                                                                \
    }

/* Per node operations, bytes, intensity, the bound that holds; latency as a bracket with load and
 * network apart; the largest and the best batch with the curve between; key-value cache and
 * longest sequence. The forms are those that ONNX Runtime executes after folding and fusion. */
OXP_API oxp_status oxp_deploy_file(oxp_report **out, oxp_ctx *ctx, const char *model,
                                   const oxp_deploy_options *options);

/* ---- the tables of the code ---- */

OXP_API oxp_status oxp_operators(oxp_report **out, oxp_ctx *ctx);
OXP_API oxp_status oxp_techniques(oxp_report **out, oxp_ctx *ctx);

/* ---- version ---- */

/* "0.1.0", and a line each for the libraries and the instruction set in use. */
OXP_API const char *oxp_version(void);
OXP_API oxp_status oxp_version_report(oxp_report **out, oxp_ctx *ctx);

#ifdef __cplusplus
}
#endif
#endif
