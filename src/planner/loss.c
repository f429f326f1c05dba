/* loss.c - KL of whole inputs. */
#include "planner/loss.h"

#include <math.h>

void oxp_output_powers(double *out, const oxp_reference *r)
{
    for (size_t i = 0; i < r->output_count; i++)
        out[i] = 0;
    for (size_t s = 0; s < r->count; s++)
        for (size_t i = 0; i < r->output_count; i++) {
            const oxp_tensor *y = &r->outputs[s * r->output_count + i];
            for (size_t k = 0; oxp_dtype_is_float(y->dtype) && k < y->count; k++) {
                double v = oxp_tensor_real(y, k);
                out[i] += isfinite(v) ? v * v / (double)r->count : 0;
            }
        }
}

double oxp_input_loss(const oxp_reference *r, const oxp_difference *input, const double *powers)
{
    double loss = 0;
    for (size_t i = 0; i < r->output_count; i++) {
        const oxp_difference *d = &input[i];
        if (!oxp_dtype_is_float(r->outputs[i].dtype))
            continue;
        if (oxp_is_categorical(r->kinds[i]) || r->kinds[i] == OXP_KIND_EMBEDDING)
            loss += d->rows ? d->kl / (double)d->rows : 0;
        else if (r->kinds[i] == OXP_KIND_BERNOULLI)
            loss += d->kl;
        else
            loss += powers[i] > 0 ? 0.5 * d->noise / powers[i] : 0;
    }
    return loss;
}
