/* channels.h - what the files of the technique `channels` share: which channels go, and new numbers
 * for the layers that read the others. Channels are roots of the coupling's variables. */
#ifndef OXP_TECHNIQUES_CHANNELS_H
#define OXP_TECHNIQUES_CHANNELS_H

#include "techniques/coupling.h"
#include "techniques/technique.h"

extern const oxp_technique oxp_technique_channels;

typedef struct oxp_channels_job {
    const oxp_rewrite *r;
    oxp_arena *arena;
    oxp_coupling coupling;
    bool *removable; /* by root */
    double *scores;  /* by root: what taking it away costs, in nats, or a share where unknown */
    bool *gone;      /* by root */
    double macs_before, macs_after;
    size_t channels, left; /* that could go, and those of them that stay */
    const float **numbers; /* by value id: in place of a constant's own; NULL: as they are */
} oxp_channels_job;

static inline uint32_t oxp_channels_root(oxp_channels_job *j, uint32_t variable)
{
    return oxp_variables_root(&j->coupling.variables, variable);
}

/* scores: half the mean over samples of (g . d)^2, d = - the columns that read the channel, by the
 * Fisher information of the model's own outputs (calibration/fisher.h). Without samples or
 * gradients: how much of the weights before and behind it the channel has. */
oxp_status oxp_channels_score(oxp_channels_job *j);

/* gone: of each family (the channels of one layer, with all that are coupled to them) those of
 * least score, in steps that leave multiples of `multiple`. */
typedef struct oxp_channels_wanted {
    double macs;     /* share of the multiplications to keep, by least score for what is saved */
    double ratio;    /* share of the channels of every family to keep; 0: by macs */
    size_t multiple; /* of channels */
} oxp_channels_wanted;
oxp_status oxp_channels_choose(oxp_channels_job *j, const oxp_channels_wanted *wanted);

/* numbers: weights and biases of the layers that lose inputs, for the least squared change of their
 * outputs on the samples (kernels/fewer_columns.h). */
oxp_status oxp_channels_repair(oxp_channels_job *j);

#endif
