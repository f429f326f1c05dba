/* model_internal.h - what the files of src/onnx/ share. Nobody else includes it. */
#ifndef OXP_ONNX_MODEL_INTERNAL_H
#define OXP_ONNX_MODEL_INTERNAL_H

#include <xxhash.h>

#include "onnx.pb-c.h"
#include "onnx/model.h"
#include "util/map.h"

/* One external data file, opened once through the gate; read, or mapped when it is large. */
typedef struct oxp_external_file {
    const char *location; /* as the model spells it */
    uint8_t *data;        /* only read; freed with the model */
    oxp_mapping *mapping; /* NULL: the bytes are on the heap */
    size_t bytes;
    oxp_file_id id;
    uint8_t sha1[20]; /* of the whole file, made when the first tensor states a checksum */
    bool sha1_known;
} oxp_external_file;

/* An array of a message that an edit has grown, and how many elements it has room for. */
typedef struct oxp_grown_array {
    const void *array;
    size_t room;
} oxp_grown_array;

struct oxp_model {
    oxp_ctx *ctx;
    oxp_arena arena; /* unpacked messages, edits, decoded names; behind protobuf-c's allocator */
    Onnx__ModelProto *proto;
    const oxp_model *base;  /* a clone shares leaf data with it */
    char *path, *directory; /* "" when from memory */
    uint8_t *file; /* the model file's bytes; raw_data of unpacked tensors points into it */
    size_t file_bytes;
    oxp_mapping *mapping; /* of the model file; NULL: its bytes are on the heap */
    bool borrows;         /* file and externals are somebody else's (oxp_model_load_borrowed) */
    oxp_external_file *externals;
    size_t external_count, external_capacity;
    oxp_file_id *files; /* identities of the model file and its external files */
    size_t file_count, file_capacity;
    Onnx__FunctionProto *
        *functions; /* model-local functions by domain, name, overload; a clone has its base's */
    oxp_load_options options;
    uint64_t hash;
    bool edited;   /* set by every function of edit.h */
    oxp_map names; /* every name in use, built on the first oxp_edit_unique_name() */
    bool names_ready;
    oxp_grown_array *grown; /* arrays that edits gave room, in the arena, by address */
    size_t grown_capacity, grown_count;
};

/* protobuf-c allocator over the model's arena: allocation counts against the budget, freeing
 * does nothing. */
ProtobufCAllocator oxp_model_allocator(oxp_model *model);

/* The bytes of an EXTERNAL tensor: borrowed from model->externals. All the rules of external
 * data live behind this one function. `needed` is what the shape asks for. */
oxp_status oxp_external_bytes(const uint8_t **out, oxp_model *model, const Onnx__TensorProto *t,
                              size_t needed);

/* Loads from memory that is not copied and outlives the model. What the model calls `location`
 * (NULL: nothing) is `data`; no file is opened. */
oxp_status oxp_model_load_borrowed(oxp_model **out, oxp_ctx *ctx, const oxp_file_bytes *file,
                                   const char *location, const oxp_file_bytes *data,
                                   const oxp_load_options *options);

/* Moves weights of the file to where their type may be read (align.c). */
oxp_status oxp_model_align(oxp_model *model);

/* ---- large data: a piece at a time, each given back (oxp_pages_release) when it is done ---- */
#define OXP_PIECE_BYTES ((size_t)8 << 20)
void oxp_hash_pieces(XXH3_state_t *state, oxp_ctx *ctx, const uint8_t *data, size_t bytes);
oxp_status oxp_write_pieces(oxp_output_file *output, oxp_ctx *ctx, const uint8_t *data,
                            size_t bytes);
bool oxp_same_pieces(oxp_ctx *ctx, const uint8_t *a, const uint8_t *b, size_t bytes);

/* ---- writing (save.c) ---- */

/* Data that the input keeps in files of its own becomes raw_data. */
oxp_status oxp_model_take_in(oxp_model *model);
/* The packed messages as they stand, `bytes` of them. */
oxp_status oxp_model_stream(oxp_output_file *output, oxp_model *model, size_t bytes);
/* OXP_EINTERNAL E-VERIFY unless the bytes load and say what the model says. */
oxp_status oxp_model_verify(const oxp_model *model, const oxp_file_bytes *file,
                            const char *location, const oxp_file_bytes *data);
oxp_status oxp_model_check_bytes(const oxp_model *model, size_t bytes); /* E-LIMIT-FILE */

/* ---- fields of any message (fields.c): iterative, by descriptor ---- */

/* How many values a field holds: 0 or 1 for a single one. */
size_t oxp_field_count(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f);
/* The submessage i of a field of type MESSAGE, and where its pointer is kept. */
ProtobufCMessage **oxp_field_slot(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, size_t i);

/* Copies a message with its arrays of messages and strings; strings, bytes and arrays of numbers
 * are shared. */
oxp_status oxp_message_clone(ProtobufCMessage **out, oxp_arena *arena, const ProtobufCMessage *m);
/* NULL when the two say the same, unknown fields included; else the first differing field
 * ("TensorProto.dims"), in `text`. */
#define OXP_FIELD_TEXT_MAX 128
oxp_status oxp_message_compare(const char **difference, char text[OXP_FIELD_TEXT_MAX], oxp_ctx *ctx,
                               const ProtobufCMessage *a, const ProtobufCMessage *b);
/* Calls `visit` for `m` and everything in it. */
oxp_status oxp_message_visit(oxp_ctx *ctx, ProtobufCMessage *m,
                             oxp_status (*visit)(void *user, ProtobufCMessage *m), void *user);

/* ---- what the files of edit.h share (edit_array.c, edit.c, edit_tensor.c) ---- */

/* Inserts `item` into an array of pointers of a message, doubling its room. `array` is the
 * address of the field. */
oxp_status oxp_array_insert(oxp_model *model, void *array, size_t *count, size_t at,
                            const void *item);
void oxp_array_remove(void *array, size_t *count, size_t at);

/* What to return when the arena gave NULL: the error is in the context. */
static inline oxp_status oxp_out_of_memory(const oxp_model *model)
{
    return model->ctx->status == OXP_OK ? OXP_ELIMIT : model->ctx->status;
}

/* NULL out of budget. */
char *oxp_model_strdup(oxp_model *model, const char *text);
/* A name that an edit brought in is in use from now on. */
oxp_status oxp_model_note_name(oxp_model *model, const char *name);
/* Fills a fresh or emptied TensorProto; keeps its name. */
oxp_status oxp_tensor_fill(oxp_model *model, Onnx__TensorProto *t, oxp_dtype dtype, int rank,
                           const int64_t *dims, const void *data);
Onnx__AttributeProto *oxp_node_find_attribute(const Onnx__NodeProto *n, const char *name);

/* A graph and the graphs in its nodes, outermost first; `parent` is an index into the list,
 * SIZE_MAX for roots. */
typedef struct oxp_scope {
    Onnx__GraphProto *g;
    size_t parent;
} oxp_scope;

typedef struct oxp_scopes {
    oxp_scope *items;
    size_t count, capacity;
} oxp_scopes;

/* Adds `root` and everything below; items is freed with oxp_free(). */
oxp_status oxp_scopes_collect(oxp_scopes *scopes, oxp_ctx *ctx, Onnx__GraphProto *root);
/* Adds the graphs in one node (not those below them). */
oxp_status oxp_scopes_of_node(oxp_scopes *scopes, oxp_ctx *ctx, const Onnx__NodeProto *n,
                              size_t parent);

#endif
