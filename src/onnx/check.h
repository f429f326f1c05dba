/* check.h - what a model must satisfy before anything runs it, beyond what the wire walker saw.
 *
 * Here: versions, imports, metadata, functions, nodes and attributes by themselves, every tensor's
 * type, shape and data. Names, single assignment and order of the graph are checked where the graph
 * is built. */
#ifndef OXP_ONNX_CHECK_H
#define OXP_ONNX_CHECK_H

#include "onnx/check_walk.h"
#include "onnx/model_internal.h"

#define OXP_MAX_IR_VERSION 14
#define OXP_MAX_OPSET 28 /* of ai.onnx */
#define OXP_MAX_FUNCTIONS 10000
#define OXP_MAX_CALL_DEPTH 100
#define OXP_MAX_EXPANDED 1000000 /* nodes after every call is replaced by its body */

/* External bytes that a tensor refers to. */
typedef struct oxp_check_range {
    size_t file, offset, bytes;
} oxp_check_range;

typedef struct oxp_check {
    oxp_ctx *ctx;
    oxp_model *model; /* NULL: a tensor by itself, without external data */
    oxp_status fail;  /* status for what is wrong with the input */
    oxp_walk walk;    /* where the check stands */
    /* The thing in that place: "initializer", its name, "values"; NULL when there is none. */
    const char *kind, *name, *part;
    oxp_map weights; /* names that convolutions, matrix products and recurrent layers read */
    oxp_map domains; /* imported in the scope that is checked; ai.onnx is "" */
    oxp_check_range *ranges; /* in the order of the tensors */
    size_t range_count, range_capacity;
    bool unknown_key_seen; /* in external_data; one warning is enough */
} oxp_check;

/* `check` holds ctx, model and fail. */
void oxp_check_init(oxp_check *check, oxp_ctx *ctx, oxp_model *model, oxp_status fail);
void oxp_check_free(oxp_check *check);

/* Checks a whole model; check->ranges is filled, model->functions made. */
oxp_status oxp_check_model(oxp_check *check);

/* Fails with the place in front: `graph "g": initializer "w": ...`. OXP_EFORMAT becomes
 * check->fail. */
oxp_status oxp_check_fail(const oxp_check *check, oxp_status status, const char *code,
                          const char *format, ...) __attribute__((format(printf, 4, 5)));

/* ---- the parts ---- */

/* Which values of float tensors are refused. */
typedef enum oxp_nonfinite {
    OXP_NONFINITE_KEEP,
    OXP_NONFINITE_NAN,
    OXP_NONFINITE_ANY
} oxp_nonfinite;

oxp_status oxp_check_tensor(oxp_check *check, const Onnx__TensorProto *t, oxp_nonfinite refused);
oxp_status oxp_check_sparse(oxp_check *check, const Onnx__SparseTensorProto *sparse,
                            oxp_nonfinite refused);
oxp_status oxp_check_opsets(oxp_check *check, Onnx__OperatorSetIdProto **imports, size_t count);
oxp_status oxp_check_nodes(oxp_check *check);   /* everything that check->walk reaches */
oxp_status oxp_check_weights(oxp_check *check); /* fills check->weights from the main graph */
/* The weights of a model without calls that was checked before they were known to be weights. */
oxp_status oxp_check_finite_weights(oxp_check *check);
oxp_status oxp_check_attributes(oxp_check *check, Onnx__AttributeProto **attributes, size_t count,
                                oxp_nonfinite refused);

/* Makes model->functions; refuses duplicates, cycles and what would expand beyond the limits. */
oxp_status oxp_check_functions(oxp_check *check);

const char *oxp_domain(const char *domain); /* "" for NULL, "" and "ai.onnx" */

#endif
