/* params.h - the parameters of a technique: "bits=4,method=gptq".
 *
 * A technique names its parameters in a table; the command line, plans, help and reports read and
 * print them from there. */
#ifndef OXP_TECHNIQUES_PARAMS_H
#define OXP_TECHNIQUES_PARAMS_H

#include "util/memory.h"

#define OXP_PARAMS_MAX 8

typedef enum oxp_param_type {
    OXP_PARAM_COUNT, /* a whole number */
    OXP_PARAM_REAL,
    OXP_PARAM_WORD, /* one of `words`; the value is its place */
    OXP_PARAM_PAIR  /* N:M, whole numbers, 0 < N < M: the value is N * 65536 + M */
} oxp_param_type;

typedef struct oxp_param {
    const char *name; /* NULL ends a table */
    oxp_param_type type;
    double low, high; /* of a number, both allowed; of a pair the largest M */
    /* "rtn|mse|gptq"; beside a number or pair: words in its place, whose values are -1, -2, … */
    const char *words;
    double fallback;  /* the value where none is given */
    const char *help; /* one line, units included */
} oxp_param;

typedef struct oxp_params {
    double values[OXP_PARAMS_MAX];
    unsigned given; /* bit i: values[i] was asked for */
} oxp_params;

static inline size_t oxp_params_pair(double value, size_t *of)
{
    *of = (size_t)value % 65536;
    return (size_t)value / 65536;
}

static inline bool oxp_params_given(const oxp_params *p, int i)
{
    return (p->given >> i & 1) != 0;
}

/* All at their fallbacks. */
void oxp_params_default(oxp_params *out, const oxp_param *table);

/* Reads "name=value,name=value" (text of `length` bytes, may be empty). What is unknown, given
 * twice or out of range: OXP_EUSAGE, E-PARAM, naming the technique, the parameter and what is
 * expected. */
oxp_status oxp_params_parse(oxp_params *out, oxp_ctx *ctx, const char *technique,
                            const oxp_param *table, const char *text, size_t length);

/* Sets one value by name, as from a flag of its own; the parameter must exist. */
void oxp_params_set(oxp_params *p, const oxp_param *table, const char *name, double value);

/* "bits=4,block=32": all values, in the table's order, as parse reads them. NULL: no memory. */
const char *oxp_params_text(oxp_arena *arena, const oxp_params *p, const oxp_param *table);

/* One value as it is written. */
void oxp_params_value_text(char *out, size_t size, const oxp_param *p, double value);

#endif
