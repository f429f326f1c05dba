/* attention_masks.h - what com.microsoft Attention and MultiHeadAttention share: inputs that may be
 * missing, key masks of several shapes, a bias of the scores, a key and value cache. */
#ifndef OXP_OPERATORS_ATTENTION_MASKS_H
#define OXP_OPERATORS_ATTENTION_MASKS_H

#include "operators/attention.h"

bool oxp_attention_given(const oxp_node *n, int i);
oxp_status oxp_attention_check_float(oxp_node *n, int i); /* FLOAT or FLOAT16 */
oxp_status oxp_attention_fail_shape(oxp_node *n, int i, const char *expected);
/* Fails when the optional input is there. */
oxp_status oxp_attention_refuse(oxp_node *n, int i, const char *name);
/* Attributes scale, unidirectional and mask_filter_value; the size of a head must be known. */
void oxp_attention_read_common(oxp_node *n, oxp_attention *a, float *filter);

/* A mask in input i: INT32 key lengths [B] (with `starts` also [2B]: ends, then starts), [B, T] or
 * [B, S, T]. */
oxp_status oxp_attention_check_mask(oxp_node *n, int i, const oxp_attention *a, bool starts);
/* That mask as a bias of `filter` or 0, in scratch; leaves *bias alone when input i is not
 * there. */
oxp_status oxp_attention_make_mask(oxp_node *n, int i, const oxp_attention *a, float filter,
                                   oxp_attention_bias *bias);
/* A bias of the scores in input i, [B or 1, H or 1, S, T]: its steps become a->bias[1]. */
oxp_status oxp_attention_check_bias(oxp_node *n, int i, oxp_attention *a);

/* The last operands: the mask in input `mask`, the bias of the scores in input `scores`, and the
 * steps of y [B, S, H * size]. */
oxp_status oxp_attention_finish(oxp_node *n, int mask, int scores, float filter, oxp_attention *a);

/* Keys (or values) with what was cached; *whole becomes the view of the joined memory, in
 * scratch. */
oxp_status oxp_attention_cache(oxp_node *n, const oxp_attention *a, int64_t past, int64_t size,
                               const float *old, oxp_heads *whole);
/* Writes floats into t from element `at` on, in its type. */
void oxp_attention_store_part(oxp_tensor *t, size_t at, const float *values, size_t count);
/* The bytes of all inputs and wanted outputs. */
void oxp_attention_add_bytes(const oxp_node *n, oxp_cost *cost);

#endif
