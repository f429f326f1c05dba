/* samples.h - what `onnxpress samples` found, between the job and its page. */
#ifndef OXP_REPORT_SAMPLES_H
#define OXP_REPORT_SAMPLES_H

#include "calibration/sample_counts.h"
#include "planner/compress.h"
#include "report/report.h"

/* A number measured on single inputs that were held out, with its interval. */
typedef struct oxp_held_out {
    bool measured;
    double value, low, high;
    size_t needed; /* held-out inputs */
    oxp_interval_method method;
} oxp_held_out;

typedef struct oxp_samples_job {
    const oxp_samples_options *options;
    oxp_compression *c;
    oxp_arena arena;
    oxp_input_statistics statistics;
    oxp_sample_counts counts;
    size_t asked;  /* samples that the question is about */
    size_t used;   /* of them for ranges; the rest is held out */
    size_t needed; /* samples in all; SIZE_MAX: no number is enough */
    oxp_held_out loss, agreement;
    bool enough;
} oxp_samples_job;

/* Samples to hand over so that `used` of them set ranges: a quarter, at most 64, is held out. */
size_t oxp_samples_in_all(size_t used);
/* Which of `samples` set ranges. */
size_t oxp_samples_used(size_t samples);

/* The name of the tensor that a row speaks of. */
const char *oxp_samples_tensor(const oxp_samples_job *job, const oxp_sample_row *row);

/* "sandwich (approximate)" */
#define OXP_METHOD_TEXT_MAX 48
const char *oxp_samples_method(char out[OXP_METHOD_TEXT_MAX], const oxp_sample_row *row);

/* The page with the plot of half-widths against the number of samples. */
oxp_status oxp_samples_page(oxp_samples_job *job, const oxp_report *r, const char *verdict,
                            const char *path);

#endif
