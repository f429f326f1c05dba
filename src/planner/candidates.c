/* candidates.c - the forms that a weight could take, and what each changes. */
#include <math.h>

#include "kernels/perturbation.h"
#include "planner/sensitivity_pass.h"

static const struct {
    const char *technique, *parameters;
    int bits;
} kinds_of_candidates[OXP_CANDIDATES] = {
    {"fp16", "", 16},
    {"w8", "bits=8,method=rtn", 8},
    {"w4", "bits=6,method=rtn", 6},
    {"w4", "bits=4,method=rtn", 4},
    {"w4", "bits=3,method=rtn", 3},
    {"w4", "bits=2,method=rtn", 2},
};

static int limit_of(int bits)
{
    return (1 << (bits - 1)) - 1;
}

double oxp_candidate_change(const oxp_sensitivity_pass *p, size_t site, size_t candidate,
                            const float *g)
{
    const oxp_site *at = &p->s->c->sites[site];
    const float *w = p->weights[site];
    int bits = kinds_of_candidates[candidate].bits;
    if (bits == 16)
        return oxp_half_change(g, w, at->value->constant.count);
    return oxp_rounding_change(g, w, p->scales[site * OXP_CANDIDATES + candidate], at->layout,
                               limit_of(bits));
}

oxp_status oxp_candidate_scales(oxp_sensitivity_pass *p)
{
    oxp_sensitivity *s = p->s;
    size_t most = 0;
    for (size_t i = 0; i < s->count; i++)
        most = s->c->sites[i].value->constant.count > most ? s->c->sites[i].value->constant.count
                                                           : most;
    int8_t *codes;
    p->scales = oxp_arena_alloc(&s->arena, s->count * OXP_CANDIDATES + 1, sizeof *p->scales);
    if (!p->scales)
        return OXP_ELIMIT;
    OXP_TRY(oxp_alloc_raw(&codes, s->c->ctx, most + 1, 1, "codes"));
    oxp_status status = OXP_OK;
    for (size_t i = 0; i < s->count && status == OXP_OK; i++)
        for (size_t k = 0; k < OXP_CANDIDATES && status == OXP_OK; k++) {
            const oxp_site *site = &s->c->sites[i];
            int bits = kinds_of_candidates[k].bits;
            if (bits == 16)
                continue;
            float *scales = oxp_arena_alloc(&s->arena, oxp_site_scales(site), sizeof *scales);
            p->scales[i * OXP_CANDIDATES + k] = scales;
            if (!scales)
                status = OXP_ELIMIT;
            else
                oxp_quantise_weight(codes, scales, p->weights[i], site->layout, limit_of(bits));
        }
    oxp_free(codes);
    return status;
}

void oxp_candidate_describe(const oxp_sensitivity_pass *p, size_t site)
{
    oxp_sensitivity_row *row = &p->s->rows[site];
    const oxp_site *at = &p->s->c->sites[site];
    double count = (double)at->value->constant.count;
    for (size_t k = 0; k < OXP_CANDIDATES; k++) {
        oxp_candidate *c = &row->candidates[k];
        int bits = kinds_of_candidates[k].bits;
        double scales = bits == 16 ? 0 : 4 * (double)oxp_site_scales(at);
        *c = (oxp_candidate){.technique = kinds_of_candidates[k].technique,
                             .parameters = kinds_of_candidates[k].parameters,
                             .bits = bits,
                             .bytes = ceil(count * bits / 8) + scales,
                             .predicted_loss = NAN,
                             .interval = {NAN, NAN},
                             .measured_loss = NAN};
        c->bits_per_weight = count > 0 ? 8 * c->bytes / count : 0;
        c->perturbation_norm = sqrt(oxp_candidate_change(p, site, k, NULL));
    }
}

void oxp_candidate_weight(float *out, const oxp_sensitivity_pass *p, size_t site, size_t candidate,
                          int8_t *codes)
{
    const oxp_site *at = &p->s->c->sites[site];
    const float *w = p->weights[site];
    int bits = kinds_of_candidates[candidate].bits;
    const float *scales = p->scales[site * OXP_CANDIDATES + candidate];
    if (bits == 16) {
        oxp_half_round(out, w, at->value->constant.count);
        return;
    }
    oxp_quantise_weight_with(codes, scales, w, at->layout, limit_of(bits));
    oxp_dequantise_weight(out, codes, scales, at->layout);
}
