/* technique.h - the contract of a compression technique.
 *
 * To add one: a file that defines `const oxp_technique oxp_technique_…`, and a row in
 * techniques.def. A technique edits a clone of the prepared model; it is called once with all its
 * chosen sites, so that what they share is placed once. */
#ifndef OXP_TECHNIQUES_TECHNIQUE_H
#define OXP_TECHNIQUES_TECHNIQUE_H

#include "calibration/ranges.h"
#include "calibration/runner.h"
#include "onnx/edit.h"
#include "techniques/params.h"
#include "techniques/site.h"
#include "util/map.h"

/* What can follow what. */
typedef enum oxp_stage {
    OXP_STAGE_FOLD,
    OXP_STAGE_STRUCTURE,
    OXP_STAGE_PRUNE,
    OXP_STAGE_FACTOR,
    OXP_STAGE_QUANTISE,
    OXP_STAGE_ENCODE
} oxp_stage;

/* How far from float a form is. The guard goes down one level at a time. */
typedef enum oxp_level {
    OXP_LEVEL_INTEGER,
    OXP_LEVEL_BYTE,
    OXP_LEVEL_HALF,
    OXP_LEVEL_FLOAT
} oxp_level;

/* The 8-bit codes of a site, made once and used by every form: symmetric, a scale per channel. */
typedef struct oxp_codes {
    int8_t *codes;
    float *scales;        /* oxp_site_scales() of them */
    double signal, noise; /* sum w^2, sum (w - code * scale)^2 */
    bool is_rounded;      /* for the layer's output; else to the nearest code */
    /* mean squared error of the layer's output, summed over channels, with the nearest codes and
     * with these; NAN where the layer's input was not seen */
    double output_before, output_after;
    /* what is added to the bias, by channel, in a stored and in an integer form; NULL: nothing */
    float *stored_shift, *integer_shift;
} oxp_codes;

typedef struct oxp_technique oxp_technique;

/* What a technique's `fit` found for a weight; in an arena of its own. */
typedef struct oxp_fitted {
    void *form;           /* the technique's own: what its `apply` writes */
    float *weight;        /* [rows, columns] as the form decodes */
    double signal, noise; /* sum w^2, sum (w - weight)^2 */
    /* of a form in two factors, weight = left right: [rows, rank], [rank, columns]; else NULL */
    float *left, *right;
    size_t rank;
    /* by row: mean of (w - weight) X, which the layer's bias may take; NULL where X was not seen */
    float *shift;
} oxp_fitted;

typedef struct oxp_choice {         /* one per site */
    const oxp_technique *technique; /* NULL: stays float */
    /* why it is not computed in integers, or stays float; NULL when there is nothing to say */
    const char *reason;
    /* codes in [-limit, limit]: 127, or 64 where 16-bit pair sums could saturate; fewer for w4,
     * whose own is 7 */
    int limit;
    size_t block;      /* w4: input channels that share a scale, at most; 0 is 32, SIZE_MAX all */
    oxp_params params; /* of the technique */
    const oxp_fitted *fitted; /* by the technique's `fit`; NULL where it has none */
    bool is_intermediate;     /* another stage reads the result: plain tensors, no packed form */
    bool packs_zeros;         /* behind a stage that makes them: codes may leave them out */
} oxp_choice;

typedef struct oxp_fit_input oxp_fit_input;

typedef struct oxp_edit {
    oxp_ctx *ctx;
    oxp_model *model; /* a clone of the prepared model */
    oxp_arena arena;  /* of its graph */
    const oxp_graph *const *graphs;
    size_t graph_count;
    oxp_site *sites; /* of the clone: same indices as in the prepared model */
    size_t site_count;
    const oxp_choice *choices;
    const oxp_codes *codes;        /* by site, for limit 127 */
    const oxp_codes *narrow_codes; /* by site, for limit 64; entries may be empty */
    const oxp_ranges *ranges;      /* activation scales by value; NULL without data */
    oxp_map names;                 /* initializers that several nodes share, by what they hold */
    const char **shared;
    size_t shared_count, shared_capacity;
} oxp_edit;

/* For techniques that change more than single weights. */
typedef struct oxp_rewrite {
    oxp_ctx *ctx;
    oxp_model *model; /* is only read */
    const oxp_graph *graph;
    const oxp_site *sites;
    size_t site_count;
    const oxp_choice *choices; /* those with this technique may be changed */
    const oxp_source *source;  /* NULL: no samples */
    const size_t *which;
    size_t samples;
} oxp_rewrite;

struct oxp_technique {
    const char *name, *summary; /* as the command line spells it; one line */
    const oxp_param *params;    /* NULL: none */
    oxp_stage stage;
    oxp_level level;
    bool needs_data;
    int opset; /* the least that its form needs; 0: any */
    /* Whether the site can take this form; else *why_not says it in a few words. */
    bool (*applies)(const oxp_site *s, const char **why_not);
    /* Makes the form of one weight; is called in parallel (fit.h). NULL: the shared 8-bit codes. */
    oxp_status (*fit)(oxp_fitted *out, oxp_arena *arena, const oxp_fit_input *in);
    /* The point nearest to in->w among those that the form `f`, made for another weight, could
     * hold: the same grid, mask size or rank. NULL where the form looks at data or is no such
     * set. */
    oxp_status (*project)(float *out, const oxp_fit_input *in, const oxp_fitted *f);
    /* Edits the clone e->model for all sites whose choice names the technique; NULL where it
     * rewrites. */
    oxp_status (*apply)(oxp_edit *e);
    /* Makes a changed clone, which oxp_model_free() takes while r->model still lives. */
    oxp_status (*rewrite)(oxp_model **out, const oxp_rewrite *r);
    /* of the weight in this form; the writer's total is the truth */
    size_t (*bytes)(const oxp_site *s, const oxp_choice *c);
};

size_t oxp_technique_count(void);
const oxp_technique *oxp_technique_at(size_t i);
const oxp_technique *oxp_technique_find(const char *name);

extern const oxp_technique oxp_technique_w8, oxp_technique_dynamic, oxp_technique_w8a8,
    oxp_technique_fp16, oxp_technique_w4;

static inline oxp_level oxp_choice_level(const oxp_choice *c)
{
    return c->technique ? c->technique->level : OXP_LEVEL_FLOAT;
}

/* What the codes of a form of this level add to the bias, or NULL. */
static inline const float *oxp_codes_shift(const oxp_codes *c, oxp_level level)
{
    return level == OXP_LEVEL_INTEGER ? c->integer_shift
           : level == OXP_LEVEL_BYTE  ? c->stored_shift
                                      : NULL;
}

/* Codes and scales in 8 bits: what the 8-bit forms share. */
static inline size_t oxp_codes_bytes(const oxp_site *s, const oxp_choice *c)
{
    (void)c;
    return s->value->constant.count + 4 * oxp_site_scales(s);
}

/* The bits of a w4 choice (packed.c). */
int oxp_packed_bits(const oxp_choice *c);
/* Elements of the reduction that share a scale. */
size_t oxp_packed_block(const oxp_site *s, const oxp_choice *c);

/* ---- what techniques share (edit_context.c) ---- */

/* Quantises every site's weight (limit 127) and, where `narrow` is set, to 7 bits; in parallel,
 * into the arena. */
oxp_status oxp_codes_make(oxp_codes *codes, oxp_arena *arena, const oxp_site *sites, size_t count,
                          int limit);

/* Applies all choices to a clone of `model` (whose graph has `sites`). *out is freed with
 * oxp_model_free(). */
oxp_status oxp_edit_apply(oxp_model **out, oxp_model *model, const oxp_choice *choices,
                          const oxp_codes *codes, const oxp_codes *narrow_codes,
                          const oxp_ranges *ranges);

static inline const oxp_codes *oxp_edit_codes(const oxp_edit *e, const oxp_site *s)
{
    return e->choices[s->index].limit == 64 ? &e->narrow_codes[s->index] : &e->codes[s->index];
}

/* A fresh short value name. */
oxp_status oxp_edit_name(const char **out, oxp_edit *e, const char *base);
/* A new initializer with a short name. */
oxp_status oxp_edit_constant(const char **out, oxp_edit *e, const oxp_graph *g, const char *base,
                             oxp_dtype dtype, int rank, const int64_t *dims, const void *data);
/* The same, shared by all that ask for the same key in the same graph. */
oxp_status oxp_edit_shared(const char **out, oxp_edit *e, const oxp_graph *g, const char *key,
                           oxp_dtype dtype, int rank, const int64_t *dims, const void *data);
/* A node with one output before position `at`; *output names it (made fresh when NULL on entry). */
oxp_status oxp_edit_node(oxp_node_proto **out, oxp_edit *e, const oxp_graph *g, size_t at,
                         const char *type, size_t input_count, const char *const *inputs,
                         const char **output);
/* Position behind the node that makes a value, or behind the constants at the graph's start when an
 * input makes it. */
size_t oxp_edit_behind(const oxp_graph *g, const oxp_value *v);
/* Takes the site's weight away so that a node may make a value of its name; *at is where that node
 * belongs. */
oxp_status oxp_edit_take_place(size_t *at, oxp_edit *e, const oxp_site *s);
/* Takes a constant away when nothing reads it any more: initializer or Constant node. */
oxp_status oxp_edit_drop_constant(oxp_edit *e, const oxp_graph *g, const oxp_value *v);

#endif
