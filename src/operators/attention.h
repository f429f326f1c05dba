/* attention.h - scaled dot product attention, as the Attention operators of both domains use it. */
#ifndef OXP_OPERATORS_ATTENTION_H
#define OXP_OPERATORS_ATTENTION_H

#include "operators/movement.h"

/* Rows of heads of batch entries: data[b * batch + h * head + r * row] starts a row, which is
 * contiguous. */
typedef struct oxp_heads {
    const float *data;
    int64_t batch, head, row;
} oxp_heads;

/* What is added to the scores; a step of 0 repeats. Keys from `keys` on are masked. */
typedef struct oxp_attention_bias {
    const float *data; /* NULL: nothing */
    int64_t batch, head, row, keys;
} oxp_attention_bias;

/* What of the scores is given out besides. */
typedef enum oxp_attention_tap {
    OXP_TAP_PRODUCT,
    OXP_TAP_CAPPED,
    OXP_TAP_BIASED,
    OXP_TAP_SOFTMAX
} oxp_attention_tap;

typedef struct oxp_attention {
    int64_t batch, heads, kv_heads; /* heads is a multiple of kv_heads: neighbours share keys */
    int64_t queries, keys, size, value_size;
    oxp_heads q, k, v;
    float *y; /* strides as those of oxp_heads */
    int64_t y_batch, y_head, y_row;
    float scale, softcap; /* softcap 0: none */
    oxp_attention_bias bias[2];
    bool causal;          /* query i sees keys up to i + offset */
    int64_t left, right;  /* and from i + offset - left to i + offset + right; -1: no bound */
    int64_t offset;       /* keys in front of the first query */
    const int64_t *valid; /* per batch entry: keys that are none of the padding; NULL: all */
    bool valid_offset;    /* the offset of a batch entry is valid - queries */
    float *tapped;        /* [batch, heads, queries, keys] or NULL */
    oxp_attention_tap tap;
} oxp_attention;

/* y = softmax(cap(scale * q k^T) + bias) v; a query that sees no key gives 0. */
oxp_status oxp_attention_run(oxp_node *n, const oxp_attention *a);

/* Gradients for going back through it. Those of q, k and v are [batch, heads or kv_heads, rows,
 * size] in C order and added to; those of the biases lie as the biases do. */
typedef struct oxp_attention_gradients {
    const float *dy;      /* strides as y's; NULL: zero */
    const float *dtapped; /* NULL: zero */
    float *dq, *dk, *dv;
    float *dbias[2]; /* NULL: not wanted */
} oxp_attention_gradients;

/* Room for dq, dk and dv in scratch, zero. */
oxp_status oxp_attention_gradients_make(oxp_node *n, const oxp_attention *a,
                                        oxp_attention_gradients *g);
/* The scores are made again, one head at a time. */
oxp_status oxp_attention_backward(oxp_node *n, const oxp_attention *a,
                                  const oxp_attention_gradients *g);

/* `rows` of the [batch, heads, all_rows, size] rows in `from`, from `first` on. */
typedef struct oxp_head_rows {
    const float *from;
    int64_t batch, heads, all_rows, first, rows, size;
} oxp_head_rows;
/* to[b * batch + h * head + r * row + i] += each of them; a step of 0 adds rows up. */
void oxp_attention_add_rows(float *to, const oxp_heads *steps, const oxp_head_rows *rows);

/* Multiply-accumulates of both products. */
double oxp_attention_macs(int64_t batch, int64_t heads, int64_t queries, int64_t keys, int64_t size,
                          int64_t value_size);

/* [batch, heads, rows, size] in C order. */
oxp_heads oxp_heads_planar(const float *data, int64_t heads, int64_t rows, int64_t size);
/* [batch, rows, heads * size] in C order. */
oxp_heads oxp_heads_packed(const float *data, int64_t heads, int64_t rows, int64_t size);

/* A key or value cache: to[batch, heads, past + rows, size] = past[batch, heads, past, size], then
 * the new rows, whose strides (in elements) are those of `from`. Elements of `element` bytes;
 * past_data may be NULL when past is 0. */
void oxp_attention_join(void *to, size_t element, const int64_t dims[4], const void *past_data,
                        int64_t past, const void *new_data, const oxp_heads *from);

/* The steps of a mask whose shape broadcasts to [batch, heads, queries, >= its last dimension];
 * E-BROADCAST. */
oxp_status oxp_attention_bias_shape(oxp_node *n, const oxp_tensor *mask, const oxp_attention *a,
                                    oxp_attention_bias *bias);

#endif
