/* deploy.h - what `onnxpress deploy` found, between the job and its page. */
#ifndef OXP_REPORT_DEPLOY_H
#define OXP_REPORT_DEPLOY_H

#include "deployment/batch.h"
#include "deployment/kv_cache.h"
#include "report/jobs.h"

typedef struct oxp_deployed { /* one model on the machine */
    const char *path;
    oxp_loaded loaded;
    oxp_runtime runtime;
    oxp_latency latency;
    oxp_batch batch;
    double file_bytes, load_seconds, network_seconds; /* negative: not asked */
    bool has_cache;
    double cache_per_token, cache_bytes, longest_sequence; /* negative: not asked */
    size_t cache_layers;
} oxp_deployed;

typedef struct oxp_deploy_job {
    const oxp_deploy_options *options;
    oxp_machine machine;
    int threads;
    double memory_bytes, disk, network, round_trip, batch;
    oxp_deployed models[2]; /* the second where --against asks for it */
    size_t count;
} oxp_deploy_job;

/* The page: roofline, the times of the nodes, the curve of batches. */
oxp_status oxp_deploy_page(const oxp_deploy_job *job, const oxp_report *r, const char *path);

#endif
