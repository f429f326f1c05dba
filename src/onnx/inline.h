/* inline.h - model-local functions become plain nodes. */
#ifndef OXP_ONNX_INLINE_H
#define OXP_ONNX_INLINE_H

#include "onnx/model.h"

/* Replaces every call of a function, those in subgraphs and in other functions too, by the nodes
 * of its body, and drops the functions. Values get fresh names, the call's attributes take the
 * place of references to them. A model without calls is left as it is. E-ARITY for more arguments
 * than the function has; E-OPSET where it needs another opset than the model's of a domain,
 * E-UPGRADE or E-OPSET-NEW where that of ai.onnx cannot be made the same; E-NONFINITE for a weight
 * that only a body multiplies. After an error the model
 * is of no more use. */
oxp_status oxp_model_inline_functions(oxp_model *model);

#endif
