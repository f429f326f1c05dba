/* machine.h - what a machine can do, as far as the cost of a model depends on it: arithmetic per
 * core, bandwidth per memory level, the cost of starting a node.
 *
 * Every rate is a pair: `peak`, which no kernel passes, and `typical`, what ordinary shapes reach.
 * The estimates of latency.h are brackets between the two. */
#ifndef OXP_DEPLOYMENT_MACHINE_H
#define OXP_DEPLOYMENT_MACHINE_H

#include "util/file.h"

/* Kinds of work that run at unlike rates. */
typedef enum oxp_work {
    OXP_WORK_DENSE,          /* products and convolutions in float */
    OXP_WORK_DENSE_INT8,     /* the same in 8-bit integers */
    OXP_WORK_DEPTHWISE,      /* depthwise convolution in float */
    OXP_WORK_DEPTHWISE_INT8, /* the same in 8-bit integers */
    OXP_WORK_SIMPLE,         /* elementwise: add, multiply, compare, round */
    OXP_WORK_FUNCTION,       /* elementwise: exp, tanh, erf, division by a norm */
    OXP_WORK_COUNT
} oxp_work;

const char *oxp_work_name(oxp_work w);

typedef struct oxp_rate { /* of one core, per second: 2 operations per multiply-accumulate */
    double peak, typical;
} oxp_rate;

#define OXP_MEMORY_LEVELS_MAX 5

typedef struct oxp_memory_level { /* nearest first; the last is main memory */
    char name[16];
    double bytes;            /* that one core can use of it */
    double bandwidth;        /* bytes per second, one core */
    double bandwidth_of_all; /* all cores together */
} oxp_memory_level;

typedef struct oxp_machine {
    char name[64];
    char source[320]; /* where the figures come from */
    int cores;
    oxp_rate rates[OXP_WORK_COUNT];
    oxp_memory_level levels[OXP_MEMORY_LEVELS_MAX];
    int level_count;
    double dispatch_low, dispatch_high; /* seconds per node */
    double disk_bandwidth;              /* bytes per second; 0: unknown */
    bool has_file;                      /* it was read from one */
    oxp_file_id file;
} oxp_machine;

/* The machines that are described in the code. */
size_t oxp_machine_count(void);
const oxp_machine *oxp_machine_at(size_t i);

/* A described machine by name, or one from a JSON file (docs/json.md): E-MACHINE names what is
 * missing or out of range. */
oxp_status oxp_machine_load(oxp_machine *out, oxp_ctx *ctx, const char *name_or_path);

/* This machine, by running the library's own kernels for a few seconds on one core. What the
 * kernels here cannot tell (8-bit rates, the cost of a node in ONNX Runtime) is taken in
 * proportion, and `source` says so. */
oxp_status oxp_machine_measure(oxp_machine *out, oxp_ctx *ctx);

/* Bandwidth of `threads` cores at a level. */
double oxp_machine_bandwidth(const oxp_machine *m, int level, int threads);
/* The nearest level that holds so many bytes. */
int oxp_machine_level(const oxp_machine *m, double bytes);

#endif
