/* window.c - see window.h. */
#include "operators/window.h"

#include <string.h>

#define VALUE_LIMIT INT32_MAX /* of every attribute here: products of two stay in 64 bits */

typedef enum padding { NOTSET, VALID, SAME_UPPER, SAME_LOWER } padding;

typedef struct attributes {
    padding padding;
    int64_t strides[3], dilations[3], begin[3], end[3];
} attributes;

oxp_status oxp_window_rank(oxp_node *n, const oxp_tensor *x, int *spatial)
{
    if (x->rank < 3)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "input 0 has rank %d, expected at least 3 ([N, C, spatial axes])",
                             x->rank);
    if (x->rank - 2 > OXP_MAX_SPATIAL)
        return oxp_node_fail(n, OXP_EUNSUPPORTED, "E-OP-RANK",
                             "input 0 has %d spatial axes, supported are 1 to %d", x->rank - 2,
                             OXP_MAX_SPATIAL);
    *spatial = x->rank - 2;
    return OXP_OK;
}

/* An attribute of `count` ints of at least `least`; filled with `otherwise` when absent. */
static oxp_status read_list(oxp_node *n, const char *name, int count, int64_t least,
                            int64_t otherwise, int64_t *out)
{
    const int64_t *values;
    size_t found;
    oxp_attr_ints(n, name, &values, &found);
    if (values && found != (size_t)count)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "attribute \"%s\" has %zu values, expected %d for input 0 of rank %d",
                             name, found, count, n->in[0]->rank);
    for (int i = 0; i < count; i++) {
        out[i] = values ? values[i] : otherwise;
        if (out[i] < least || out[i] > VALUE_LIMIT)
            return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                                 "attribute \"%s\" holds %lld at %d, expected %lld to %lld", name,
                                 (long long)out[i], i, (long long)least, (long long)VALUE_LIMIT);
    }
    return OXP_OK;
}

static oxp_status read_padding(oxp_node *n, padding *out)
{
    static const char *const names[] = {"NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"};
    char quoted[OXP_QUOTED_MAX];
    const char *text = oxp_attr_string(n, "auto_pad", "NOTSET");
    for (int i = 0; i < 4; i++)
        if (strcmp(text, names[i]) == 0) {
            *out = (padding)i;
            return OXP_OK;
        }
    return oxp_node_fail(
        n, OXP_EFORMAT, "E-ATTR-VALUE",
        "attribute \"auto_pad\" is %s, expected NOTSET, VALID, SAME_UPPER or SAME_LOWER",
        oxp_quote(quoted, text));
}

static oxp_status read_attributes(oxp_node *n, int spatial, bool dilations, attributes *a)
{
    int64_t pads[2 * OXP_MAX_SPATIAL] = {0};
    *a = (attributes){.dilations = {1, 1, 1}};
    OXP_TRY(read_padding(n, &a->padding));
    OXP_TRY(read_list(n, "strides", spatial, 1, 1, a->strides));
    OXP_TRY(read_list(n, "pads", 2 * spatial, 0, 0, pads));
    if (dilations)
        OXP_TRY(read_list(n, "dilations", spatial, 1, 1, a->dilations));
    for (int i = 0; i < spatial && a->padding == NOTSET; i++) {
        a->begin[i] = pads[i];
        a->end[i] = pads[spatial + i];
    }
    return OXP_OK;
}

oxp_status oxp_window_kernel(oxp_node *n, int spatial, const int64_t *kernel,
                             int64_t out[OXP_MAX_SPATIAL])
{
    if (!kernel && !oxp_attr_present(n, "kernel_shape"))
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "attribute \"kernel_shape\" is missing");
    OXP_TRY(read_list(n, "kernel_shape", spatial, 1, 1, out));
    bool stated = oxp_attr_present(n, "kernel_shape");
    for (int i = 0; kernel && i < spatial; i++) {
        if (stated && out[i] != kernel[i])
            return oxp_node_fail(
                n, OXP_EFORMAT, "E-ATTR-VALUE",
                "attribute \"kernel_shape\" holds %lld at %d, the weights have %lld",
                (long long)out[i], i, (long long)kernel[i]);
        if (kernel[i] < 1 || kernel[i] > VALUE_LIMIT)
            return oxp_node_fail(
                n, OXP_EFORMAT, "E-SHAPE",
                "the weights have %lld taps on spatial axis %d, expected at least 1",
                (long long)kernel[i], i);
        out[i] = kernel[i];
    }
    return OXP_OK;
}

static void split_padding(padding p, int64_t total, int64_t *begin, int64_t *end)
{
    int64_t half = total / 2;
    *begin = p == SAME_UPPER ? half : total - half;
    *end = total - *begin;
}

static int64_t extent(const attributes *a, int i, const int64_t *kernel)
{
    return a->dilations[i] * (kernel[i] - 1) + 1;
}

static oxp_status output_size(oxp_node *n, attributes *a, int i, int64_t in, const int64_t *kernel,
                              bool ceil_mode, int64_t *out)
{
    int64_t d = extent(a, i, kernel), stride = a->strides[i];
    if (a->padding == SAME_UPPER || a->padding == SAME_LOWER) {
        *out = in / stride + (in % stride != 0);
        int64_t total = (*out - 1) * stride + d - in;
        split_padding(a->padding, total > 0 && *out > 0 ? total : 0, &a->begin[i], &a->end[i]);
        return OXP_OK;
    }
    int64_t room = in + a->begin[i] + a->end[i];
    if (d > room)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "the kernel covers %lld on spatial axis %d, the padded input has %lld",
                             (long long)d, i, (long long)room);
    *out = (room - d) / stride + 1;
    if (ceil_mode && (room - d) % stride != 0 && *out * stride < in + a->begin[i])
        ++*out;
    return OXP_OK;
}

static void put_axis(oxp_window *w, int at, const attributes *a, int i, int64_t kernel)
{
    w->kernel[at] = (size_t)kernel;
    w->stride[at] = (size_t)a->strides[i];
    w->dilation[at] = (size_t)a->dilations[i];
    w->begin[at] = (size_t)a->begin[i];
    w->end[at] = (size_t)a->end[i];
}

static oxp_window unit_window(void)
{
    return (oxp_window){.in = {1, 1, 1},
                        .out = {1, 1, 1},
                        .kernel = {1, 1, 1},
                        .stride = {1, 1, 1},
                        .dilation = {1, 1, 1}};
}

oxp_status oxp_window_read(oxp_node *n, int spatial, const int64_t *in, const int64_t *kernel,
                           oxp_window_options options, oxp_window *w)
{
    attributes a;
    OXP_TRY(read_attributes(n, spatial, options.dilations, &a));
    bool ceil_mode = options.ceil_mode && oxp_attr_int(n, "ceil_mode", 0) != 0;
    *w = unit_window();
    for (int i = 0; i < spatial; i++) {
        int64_t out = 0;
        OXP_TRY(output_size(n, &a, i, in[i], kernel, ceil_mode, &out));
        int at = 3 - spatial + i;
        put_axis(w, at, &a, i, kernel[i]);
        w->in[at] = (size_t)in[i];
        w->out[at] = (size_t)out;
    }
    return OXP_OK;
}

/* output_shape may name the spatial axes or all of them. */
static oxp_status read_output_shape(oxp_node *n, int spatial, bool *given,
                                    int64_t out[OXP_MAX_SPATIAL])
{
    const int64_t *values;
    size_t count;
    oxp_attr_ints(n, "output_shape", &values, &count);
    *given = values != NULL;
    if (!values)
        return OXP_OK;
    if (count != (size_t)spatial && count != (size_t)spatial + 2)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "attribute \"output_shape\" has %zu values, expected %d", count,
                             spatial);
    values += count - (size_t)spatial;
    for (int i = 0; i < spatial; i++) {
        if (values[i] < 1 || values[i] > VALUE_LIMIT)
            return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                                 "attribute \"output_shape\" holds %lld for spatial axis %d",
                                 (long long)values[i], i);
        out[i] = values[i];
    }
    return OXP_OK;
}

/* The size of an axis of y, and its padding when that follows from the size. */
static oxp_status transposed_size(oxp_node *n, attributes *a, int i, int64_t in, int64_t natural,
                                  const int64_t *stated, int64_t *out)
{
    bool same = a->padding == SAME_UPPER || a->padding == SAME_LOWER;
    if (stated || same) {
        int64_t scaled = in * a->strides[i];
        *out = stated ? stated[i] : natural < scaled ? natural : scaled;
        split_padding(a->padding, natural > *out ? natural - *out : 0, &a->begin[i], &a->end[i]);
        return OXP_OK;
    }
    *out = natural - a->begin[i] - a->end[i];
    if (*out < 1)
        return oxp_node_fail(
            n, OXP_EFORMAT, "E-ATTR-VALUE",
            "spatial axis %d of the output has %lld positions before padding, the pads take %lld",
            i, (long long)natural, (long long)(a->begin[i] + a->end[i]));
    return OXP_OK;
}

oxp_status oxp_window_read_transposed(oxp_node *n, int spatial, const int64_t *in,
                                      const int64_t *kernel, oxp_window *w)
{
    attributes a;
    int64_t output_padding[OXP_MAX_SPATIAL], stated[OXP_MAX_SPATIAL];
    bool is_stated;
    OXP_TRY(read_attributes(n, spatial, true, &a));
    OXP_TRY(read_list(n, "output_padding", spatial, 0, 0, output_padding));
    OXP_TRY(read_output_shape(n, spatial, &is_stated, stated));
    *w = unit_window();
    for (int i = 0; i < spatial; i++) {
        int64_t steps, natural, out = 0;
        if (__builtin_mul_overflow(a.strides[i], in[i] - 1, &steps) ||
            __builtin_add_overflow(steps, output_padding[i] + extent(&a, i, kernel), &natural))
            return oxp_node_fail(n, OXP_ELIMIT, "E-SHAPE-OVERFLOW",
                                 "spatial axis %d of the output overflows", i);
        OXP_TRY(transposed_size(n, &a, i, in[i], natural, is_stated ? stated : NULL, &out));
        int at = 3 - spatial + i;
        put_axis(w, at, &a, i, kernel[i]);
        w->in[at] = (size_t)out;
        w->out[at] = (size_t)in[i];
    }
    return OXP_OK;
}

void oxp_window_dims(const size_t axes[3], int spatial, int64_t *dims)
{
    for (int i = 0; i < spatial; i++)
        dims[i] = (int64_t)axes[3 - spatial + i];
}
