/* kv_cache.h - the memory of keys and values that a decoder keeps.
 *
 *   bytes = kappa * 2 * layers * kv_heads * head_dim * sequence * batch * bytes per element
 *
 * with the heads of keys and values, not of queries (grouped attention has fewer). kappa is 2 where
 * past and present are separate tensors, 1 where the runtime shares the buffer. */
#ifndef OXP_DEPLOYMENT_KV_CACHE_H
#define OXP_DEPLOYMENT_KV_CACHE_H

#include "graph/graph.h"

typedef struct oxp_kv_shape {
    double layers, kv_heads, head_dim, bytes; /* bytes: of an element */
} oxp_kv_shape;

/* From "layers=32,kv_heads=8,head_dim=128,bytes=2": E-USAGE names what is missing. */
oxp_status oxp_kv_parse(oxp_kv_shape *out, oxp_ctx *ctx, const char *text);

/* From the graph's inputs: pairs of past keys and values [batch, kv_heads, sequence, head_dim],
 * float, whose names hold "past" and "key" or "value". Bytes of one token over all layers, 0 when
 * there are none. *layers counts the pairs. */
double oxp_kv_find(const oxp_graph *graph, size_t *layers);

/* Bytes of one token of one sequence, both buffers not counted. */
double oxp_kv_bytes_per_token(const oxp_kv_shape *s);

/* The longest sequence for which batch * (kappa * per_token * T + activation(T)) fits into
 * `room` bytes, activation(T) = activation_bytes * T / at + quadratic_bytes * (T / at)^2 with what
 * was seen at length `at`; by bisection. */
double oxp_kv_longest(double room, double batch, double kappa, double per_token,
                      double activation_bytes, double quadratic_bytes, double at);

#endif
