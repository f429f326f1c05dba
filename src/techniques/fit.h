/* fit.h - runs the `fit` of techniques: weights as matrices, with what their layers read.
 *
 * A weight is the matrix W [rows, columns] that its layer multiplies with: a row for each output
 * channel (of all groups), columns = the reduction of one group. H = X X^T / n over the samples, of
 * each group; group g owns rows [g * rows / groups, (g + 1) * rows / groups). */
#ifndef OXP_TECHNIQUES_FIT_H
#define OXP_TECHNIQUES_FIT_H

#include "calibration/moments.h"
#include "techniques/technique.h"

struct oxp_fit_input {
    oxp_ctx *ctx; /* of the thread at hand; one fit runs on one thread */
    const oxp_site *site;
    const oxp_choice *choice; /* its technique and parameters; NULL in a visit */
    const float *w;           /* [rows, columns]; may be that of an earlier stage */
    size_t rows, columns;
    const oxp_moments *moments; /* h, mean, groups; NULL: what the layer reads was not seen */
};

typedef struct oxp_fits {
    oxp_arena *arenas; /* by site */
    size_t count;
} oxp_fits;

typedef struct oxp_fit_options {
    const oxp_graph *graph;
    const oxp_site *sites;
    size_t site_count;
    const oxp_source *source; /* NULL: no samples, every fit takes its form without data */
    const size_t *which;
    size_t samples;
    /* is called with every fit, by the thread that made it; may be NULL */
    oxp_status (*also)(void *user, const oxp_fit_input *in, const oxp_fitted *fitted);
    void *also_user;
    bool centre; /* H of X - mean where the layer's bias can take the mean error */
} oxp_fit_options;

/* Shows the matrices of the wanted sites and what their layers read, in parallel. Memory stays
 * within a budget: sites are taken in groups, the samples run once for each. */
typedef oxp_status oxp_matrix_visit(void *user, const oxp_fit_input *in);
oxp_status oxp_matrices_visit(const oxp_fit_options *options, const bool *wanted,
                              oxp_matrix_visit *visit, void *user);

/* Fits every site whose choice's technique has a `fit`, and lets choice->fitted point to the
 * result, which lives until oxp_fits_free(). */
oxp_status oxp_techniques_fit(oxp_fits *out, oxp_choice *choices, const oxp_fit_options *options);
void oxp_fits_free(oxp_fits *f);

/* Whether the layer's input is seen as rows that the weight's matrix multiplies; *unit: columns
 * that belong together, the taps of a channel. */
bool oxp_site_is_seen(const oxp_site *s, size_t *groups, size_t *columns, size_t *unit);
/* Columns of a diagonal block of H, at most about `most`: whole units. */
size_t oxp_moments_block_columns(size_t columns, size_t unit, size_t most);
/* Positions of each sample that H is taken from: some times the columns of a block, at most `most`
 * of all samples. */
size_t oxp_moments_positions(size_t block, size_t samples, size_t most);

/* Writes the fitted weight as plain numbers in its place, for another stage. */
oxp_status oxp_edit_fitted_plain(oxp_edit *e, const oxp_site *s);

/* The weight as its matrix, and back; element order by the site's layout. */
void oxp_site_matrix(float *out, const float *weight, const oxp_site *s);
void oxp_site_unmatrix(float *weight, const float *matrix, const oxp_site *s);
static inline size_t oxp_site_rows(const oxp_site *s)
{
    return s->layout.blocks * s->layout.channels;
}
static inline size_t oxp_site_columns(const oxp_site *s)
{
    return s->layout.outer * s->layout.inner;
}

#endif
