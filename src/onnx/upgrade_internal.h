/* upgrade_internal.h - what the files of upgrade.h share. Nobody else includes it. */
#ifndef OXP_ONNX_UPGRADE_INTERNAL_H
#define OXP_ONNX_UPGRADE_INTERNAL_H

#include "onnx/edit.h"
#include "onnx/model_internal.h"
#include "onnx/upgrade.h"

#include <string.h>

static inline bool oxp_is_default_domain(const char *domain)
{
    return domain == NULL || domain[0] == '\0' || strcmp(domain, "ai.onnx") == 0;
}

/* Element types and ranks of the values of one graph. */
typedef struct oxp_facts {
    oxp_map map;
    bool ready;
} oxp_facts;

/* One step of one node: from version - 1 to version. */
typedef struct oxp_upgrade {
    oxp_model *model;
    oxp_upgrade_options options;
    int64_t version, target;
    oxp_scopes scopes;
    oxp_facts *facts;   /* of each scope, made on demand */
    oxp_map names_read; /* by any node, or handed out by any graph; made on demand */
    bool names_read_ready;
    size_t scope;        /* that the node stands in */
    Onnx__GraphProto *g; /* its graph */
    Onnx__NodeProto *n;
    size_t at;     /* position of the node */
    size_t behind; /* nodes that the step put behind it */
} oxp_upgrade;

/* OXP_EUNSUPPORTED E-UPGRADE with the node's place, name and type. */
oxp_status oxp_upgrade_refuse(const oxp_upgrade *u, const char *why);

/* Imports of functions below `target` become `target`; refused where that changes a node. */
oxp_status oxp_upgrade_functions(oxp_model *model, int64_t target);

/* ---- attributes: *out keeps its value when the node does not have the attribute ---- */
oxp_status oxp_upgrade_int(const oxp_upgrade *u, const char *name, int64_t *out);
oxp_status oxp_upgrade_float(const oxp_upgrade *u, const char *name, float *out, bool *present);
oxp_status oxp_upgrade_ints(const oxp_upgrade *u, const char *name, const int64_t **out,
                            size_t *count, bool *present);
bool oxp_upgrade_string_is(const oxp_upgrade *u, const char *name, const char *value);

/* ---- new parts ---- */

/* A new name that begins with that of the node's first output. */
oxp_status oxp_upgrade_name(const char **out, oxp_upgrade *u, const char *suffix);
/* An initializer of the node's graph. */
oxp_status oxp_upgrade_constant(const char **out, oxp_upgrade *u, const char *suffix,
                                oxp_dtype dtype, int rank, const int64_t *dims, const void *data);
oxp_status oxp_upgrade_int_list(const char **out, oxp_upgrade *u, const char *suffix, size_t count,
                                const int64_t *values);
/* A scalar of a float type. */
oxp_status oxp_upgrade_scalar(const char **out, oxp_upgrade *u, const char *suffix, oxp_dtype dtype,
                              float value);
/* A node of up to two inputs and one output before or behind the one at hand. */
oxp_status oxp_upgrade_insert_before(Onnx__NodeProto **out, oxp_upgrade *u, const char *type,
                                     const char *input, const char *output);
oxp_status oxp_upgrade_insert_behind(Onnx__NodeProto **out, oxp_upgrade *u, const char *type,
                                     const char *first, const char *second, const char *output);

/* ---- knowledge about values (upgrade_facts.c) ---- */
oxp_status oxp_upgrade_dtype(oxp_dtype *out, oxp_upgrade *u, const char *value); /* UNDEFINED */
oxp_status oxp_upgrade_rank(int *out, oxp_upgrade *u, const char *value);        /* -1 */
oxp_status oxp_upgrade_is_read(bool *out, oxp_upgrade *u, const char *value);
/* The tensor of a value that nothing can change, NULL when it is none. */
const Onnx__TensorProto *oxp_upgrade_constant_of(const oxp_upgrade *u, const char *value);
void oxp_upgrade_forget(oxp_upgrade *u);

/* ---- conversions: those that upgrade.def names ---- */
#define SAME(type, version)
#define REFUSE(type, version, why)
#define CONVERT(type, version, function) oxp_status oxp_upgrade_##function(oxp_upgrade *u);
#include "onnx/upgrade.def"
#undef SAME
#undef REFUSE
#undef CONVERT

#endif
