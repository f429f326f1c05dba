/* sparse.c - sparse tensors: their check, and the dense tensor that one stands for.
 *
 * values [nnz]; indices INT64 [nnz] into the flattened tensor, or [nnz, rank] one coordinate each;
 * in ascending order without repetition. The dense tensor has `dims` and zeros everywhere else. */
#include <inttypes.h>
#include <string.h>

#include "onnx/check.h"
#include "onnx/tensor_codec.h"

/* One row of indices as a position in the flattened tensor: sum of index[k] * prod(dims[k+1..]). */
typedef struct layout {
    const int64_t *dims;
    size_t rank, columns; /* columns 1: the index is the position already */
    size_t count;         /* elements of the dense tensor */
} layout;

/* false when the row leaves the tensor; *column says where. */
static bool position_of(const layout *l, const int64_t *row, size_t *position, size_t *column)
{
    *position = 0;
    *column = 0;
    if (l->columns == 1 && l->rank != 1) {
        *position = (size_t)row[0];
        return row[0] >= 0 && (size_t)row[0] < l->count;
    }
    for (*column = 0; *column < l->columns; ++*column) {
        int64_t index = row[*column];
        if (index < 0 || index >= l->dims[*column])
            return false;
        *position = *position * (size_t)l->dims[*column] + (size_t)index;
    }
    return true;
}

/* ---- check ---- */

static oxp_status check_dense_shape(const oxp_check *c, const Onnx__SparseTensorProto *s,
                                    layout *out)
{
    char shape[OXP_SHAPE_TEXT_MAX];
    size_t bytes;
    if (s->n_dims == 0)
        return oxp_check_fail(c, OXP_EFORMAT, "E-SPARSE", "the dense tensor has no dimensions");
    if (s->n_dims > OXP_MAX_PROTO_RANK)
        return oxp_check_fail(c, OXP_ELIMIT, "E-LIMIT-RANK", "rank %zu, at most %d is read",
                              s->n_dims, OXP_MAX_PROTO_RANK);
    for (size_t i = 0; i < s->n_dims; i++)
        if (s->dims[i] < 0)
            return oxp_check_fail(c, OXP_EFORMAT, "E-DIM",
                                  "dimension %zu is %" PRId64 ", expected 0 or more", i,
                                  s->dims[i]);
    *out = (layout){.dims = s->dims, .rank = s->n_dims};
    oxp_dtype dtype = oxp_tensor_proto_dtype(s->values);
    if (!oxp_data_extent(dtype, s->n_dims, s->dims, &out->count, &bytes))
        return oxp_check_fail(c, OXP_EFORMAT, "E-SHAPE-OVERFLOW",
                              "dense shape %s of %s has more bytes than can be counted",
                              oxp_shape_text(shape, (int)s->n_dims, s->dims),
                              oxp_dtype_name(dtype));
    return OXP_OK;
}

static oxp_status check_parts(oxp_check *c, const Onnx__SparseTensorProto *s, oxp_nonfinite refused)
{
    if (s->values == NULL || s->indices == NULL)
        return oxp_check_fail(c, OXP_EFORMAT, "E-SPARSE", "%s missing",
                              s->values == NULL ? "values are" : "indices are");
    c->part = "values";
    OXP_TRY(oxp_check_tensor(c, s->values, refused));
    if (s->values->n_dims != 1)
        return oxp_check_fail(c, OXP_EFORMAT, "E-SPARSE", "rank %zu, expected 1",
                              s->values->n_dims);
    c->part = "indices";
    if (s->indices->data_type != ONNX__TENSOR_PROTO__DATA_TYPE__INT64)
        return oxp_check_fail(c, OXP_EFORMAT, "E-SPARSE", "data_type %s, expected INT64",
                              oxp_dtype_name(oxp_tensor_proto_dtype(s->indices)));
    OXP_TRY(oxp_check_tensor(c, s->indices, OXP_NONFINITE_KEEP));
    c->part = NULL;
    return OXP_OK;
}

static oxp_status check_index_shape(const oxp_check *c, const Onnx__SparseTensorProto *s, layout *l)
{
    const Onnx__TensorProto *t = s->indices;
    char found[OXP_SHAPE_TEXT_MAX];
    int64_t nnz = s->values->dims[0];
    bool flat = t->n_dims == 1 && t->dims[0] == nnz;
    bool rows = t->n_dims == 2 && t->dims[0] == nnz && (uint64_t)t->dims[1] == s->n_dims;
    if (!flat && !rows)
        return oxp_check_fail(c, OXP_EFORMAT, "E-SPARSE",
                              "indices have shape %s, expected [%" PRId64 "] or [%" PRId64 ",%zu]",
                              oxp_shape_text(found, (int)t->n_dims, t->dims), nnz, nnz, s->n_dims);
    l->columns = rows ? s->n_dims : 1;
    return OXP_OK;
}

static uint64_t index_limit(const layout *l, size_t column)
{
    return l->columns == 1 && l->rank != 1 ? (uint64_t)l->count : (uint64_t)l->dims[column];
}

static oxp_status check_indices(const oxp_check *c, const layout *l, const int64_t *indices,
                                size_t nnz)
{
    size_t previous = 0;
    for (size_t i = 0; i < nnz; i++) {
        size_t position, column;
        const int64_t *row = indices + i * l->columns;
        if (!position_of(l, row, &position, &column))
            return oxp_check_fail(c, OXP_EFORMAT, "E-SPARSE-INDEX",
                                  "index %zu is %" PRId64 ", expected 0 or more and below %" PRIu64,
                                  i, row[column], index_limit(l, column));
        if (i > 0 && position <= previous)
            return oxp_check_fail(c, OXP_EFORMAT, "E-SPARSE-ORDER",
                                  "index %zu does not follow the one before", i);
        previous = position;
    }
    return OXP_OK;
}

oxp_status oxp_check_sparse(oxp_check *check, const Onnx__SparseTensorProto *sparse,
                            oxp_nonfinite refused)
{
    layout l = {0};
    oxp_arena scratch;
    oxp_tensor indices;
    OXP_TRY(check_parts(check, sparse, refused));
    OXP_TRY(check_dense_shape(check, sparse, &l));
    OXP_TRY(check_index_shape(check, sparse, &l));
    oxp_arena_init(&scratch, check->ctx);
    oxp_status status = oxp_tensor_decode(&indices, &scratch, check->model, sparse->indices);
    if (status == OXP_OK)
        status = check_indices(check, &l, indices.data, (size_t)sparse->values->dims[0]);
    oxp_arena_free(&scratch);
    return status;
}

/* ---- dense ---- */

static void put_element(uint8_t *dense, const uint8_t *values, unsigned bits, size_t to,
                        size_t from)
{
    if (bits >= 8) {
        size_t bytes = bits / 8;
        memcpy(dense + to * bytes, values + from * bytes, bytes);
        return;
    }
    unsigned per_byte = 8 / bits, mask = (1u << bits) - 1;
    unsigned value = (unsigned)values[from / per_byte] >> (from % per_byte * bits) & mask;
    dense[to / per_byte] = (uint8_t)(dense[to / per_byte] | value << (to % per_byte * bits));
}

static oxp_status scatter(oxp_tensor *dense, const layout *l, const oxp_tensor *values,
                          const int64_t *indices)
{
    for (size_t i = 0; i < values->count; i++) {
        size_t position, column;
        if (!position_of(l, indices + i * l->columns, &position, &column))
            return OXP_EINTERNAL;
        put_element(dense->data, values->data, oxp_dtype_bits(values->dtype), position, i);
    }
    return OXP_OK;
}

static oxp_status make_dense(oxp_tensor *out, oxp_arena *arena, oxp_arena *scratch,
                             const oxp_model *model, const Onnx__SparseTensorProto *s)
{
    char quoted[OXP_QUOTED_MAX];
    oxp_ctx *ctx = arena->ctx;
    oxp_tensor values, indices, dense;
    OXP_TRY(oxp_tensor_decode(&values, scratch, model, s->values));
    OXP_TRY(oxp_tensor_decode(&indices, scratch, model, s->indices));
    if (s->n_dims > OXP_MAX_RANK)
        return oxp_fail(ctx, OXP_ELIMIT, "E-LIMIT-RANK",
                        "sparse tensor %s: rank %zu, at most %d can be run",
                        oxp_quote(quoted, s->values->name), s->n_dims, OXP_MAX_RANK);
    OXP_TRY(oxp_tensor_shape(&dense, ctx, values.dtype, (int)s->n_dims, s->dims,
                             s->values->name == NULL ? "" : s->values->name));
    if (values.dtype == OXP_STRING) {
        *out = dense;
        return OXP_OK;
    }
    size_t bytes = oxp_tensor_bytes(&dense);
    if (bytes > ctx->budget->limit)
        return oxp_fail(ctx, OXP_ELIMIT, "E-LIMIT-MEM",
                        "sparse tensor %s: dense it has %zu bytes, the limit is %zu",
                        oxp_quote(quoted, s->values->name), bytes, ctx->budget->limit);
    dense.data = oxp_arena_alloc(arena, bytes, 1);
    if (dense.data == NULL)
        return ctx->status;
    layout l = {.dims = s->dims, .rank = s->n_dims, .count = dense.count};
    l.columns = s->indices->n_dims == 2 ? s->n_dims : 1;
    if (scatter(&dense, &l, &values, indices.data) != OXP_OK)
        return oxp_fail(ctx, OXP_EINTERNAL, "E-INTERNAL",
                        "sparse tensor %s: an index was not checked",
                        oxp_quote(quoted, s->values->name));
    *out = dense;
    return OXP_OK;
}

oxp_status oxp_graph_proto_sparse(oxp_tensor *out, oxp_arena *arena, const oxp_model *model,
                                  const oxp_graph_proto *g, size_t i)
{
    oxp_arena scratch;
    oxp_arena_init(&scratch, arena->ctx);
    oxp_status status = make_dense(out, arena, &scratch, model, g->sparse_initializer[i]);
    oxp_arena_free(&scratch);
    return status;
}
