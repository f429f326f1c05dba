/* resize.h - how Resize and Upsample pass their settings to the code that samples. */
#ifndef OXP_OPERATORS_RESIZE_H
#define OXP_OPERATORS_RESIZE_H

#include "operators/movement.h"

typedef enum oxp_resize_mode {
    OXP_RESIZE_NEAREST,
    OXP_RESIZE_LINEAR,
    OXP_RESIZE_CUBIC
} oxp_resize_mode;

/* How an output place becomes a place in the input; the names of coordinate_transformation_mode. */
typedef enum oxp_resize_place {
    OXP_PLACE_HALF_PIXEL,
    OXP_PLACE_HALF_PIXEL_SYMMETRIC,
    OXP_PLACE_PYTORCH_HALF_PIXEL,
    OXP_PLACE_ALIGN_CORNERS,
    OXP_PLACE_ASYMMETRIC,
    OXP_PLACE_TF_HALF_PIXEL_FOR_NN,
    OXP_PLACE_TF_CROP_AND_RESIZE
} oxp_resize_place;

typedef enum oxp_resize_round {
    OXP_ROUND_PREFER_FLOOR,
    OXP_ROUND_PREFER_CEIL,
    OXP_ROUND_FLOOR,
    OXP_ROUND_CEIL,
    OXP_ROUND_BY_SCALE /* before opset 11: up when the axis shrinks, else down */
} oxp_resize_round;

typedef struct oxp_resize {
    oxp_resize_mode mode;
    oxp_resize_place place;
    oxp_resize_round round;
    bool exclude_outside, antialias;
    float cubic_a, extrapolation;
    int rank;
    int64_t in[OXP_MAX_RANK], out[OXP_MAX_RANK];
    float scale[OXP_MAX_RANK];
    float roi_start[OXP_MAX_RANK], roi_end[OXP_MAX_RANK];
    bool moves[OXP_MAX_RANK]; /* false: the axis stays as it is */
} oxp_resize;

/* Samples of one axis: output k is the sum of weight[k*taps+t] times input index[k*taps+t]. */
typedef struct oxp_taps {
    int64_t taps;
    int64_t *index; /* inside the axis */
    float *weight;
    bool *outside; /* output k lies outside (tf_crop_and_resize) */
} oxp_taps;

/* The tables live in the node's scratch memory. */
oxp_status oxp_resize_taps(oxp_node *n, const oxp_resize *r, int axis, oxp_taps *out);
/* Nearest: the input place of each output, -1 outside. */
oxp_status oxp_resize_nearest(oxp_node *n, const oxp_resize *r, int axis, int64_t **map);

/* y from x by linear or cubic interpolation, one axis after the other. */
oxp_status oxp_resize_interpolate(oxp_node *n, const oxp_resize *r);
/* Its adjoint: dx += J^T dy. */
oxp_status oxp_resize_interpolate_backward(oxp_node *n, const oxp_resize *r, const float *dy,
                                           float *dx);

#endif
