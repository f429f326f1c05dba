/* artefact_sections.h - the tags of an artefact's sections, for its writer and its reader. What is
 * in each is written once, in docs/oxc.md. */
#ifndef OXP_CALIBRATION_ARTEFACT_SECTIONS_H
#define OXP_CALIBRATION_ARTEFACT_SECTIONS_H

enum oxp_oxc_tag {
    OXP_TAG_IDENTITY = 1,
    OXP_TAG_SAMPLES,
    OXP_TAG_TENSORS,
    OXP_TAG_LAYERS,
    OXP_TAG_FISHER,
    OXP_TAG_STATE,     /* of a checkpoint: how far each item is */
    OXP_TAG_HISTOGRAM, /* item: the tensor */
    OXP_TAG_BY_SAMPLE, /* item: the tensor */
    OXP_TAG_SUMS,      /* item: the layer */
    OXP_TAG_H,         /* item: the layer; float */
    OXP_TAG_H_GROWING, /* item: the layer; double, of a checkpoint */
    OXP_TAG_POWERS,
    OXP_TAG_SQUARES
};

#endif
