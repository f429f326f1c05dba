/* small_models.h - small networks with random weights, for tests that walk techniques. */
#ifndef OXP_TESTS_SUPPORT_SMALL_MODELS_H
#define OXP_TESTS_SUPPORT_SMALL_MODELS_H

#include "onnx/edit.h"

typedef struct small_model {
    const char *name;
    oxp_status (*build)(oxp_model **out,
                        oxp_ctx *ctx); /* opset 13, fixed shapes, one input "x", one output "y" */
} small_model;

extern const small_model small_models[];
extern const size_t small_model_count;

#endif
