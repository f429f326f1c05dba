/* signal_windows.c - HannWindow, HammingWindow and BlackmanWindow: y[n] of `size` values,
 *
 *     y[n] = a0 - a1 cos(2 pi n / N) + a2 cos(4 pi n / N)
 *
 * with N = size, or size - 1 when not periodic. A window of one value is 1.
 * https://onnx.ai/onnx/operators/onnx__HannWindow.html */
#include <math.h>
#include <string.h>

#include "operators/cast_integer.h"
#include "operators/movement.h"

#define PI 3.14159265358979323846

typedef struct window_state {
    int64_t size;
    bool periodic;
} window_state;

static const struct {
    const char *type;
    double a[3];
} windows[] = {
    {"HannWindow", {0.5, 0.5, 0.0}},
    {"HammingWindow", {25.0 / 46.0, 21.0 / 46.0, 0.0}},
    {"BlackmanWindow", {0.42, 0.5, 0.08}},
};

static oxp_status prepare(oxp_node *n)
{
    window_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    s->periodic = oxp_attr_int(n, "periodic", 1) != 0;
    int64_t type = oxp_attr_int(n, "output_datatype", OXP_FLOAT);
    OXP_TRY(oxp_move_scalar(n, 0, &s->size));
    if (s->size < 0)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "the size is %lld, expected 0 or more",
                             (long long)s->size);
    if (type <= OXP_UNDEFINED || type >= OXP_DTYPE_COUNT ||
        (!oxp_dtype_is_float((oxp_dtype)type) && oxp_integer_bytes((oxp_dtype)type) == 0))
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "output_datatype is %lld, expected a float or integer type",
                             (long long)type);
    return oxp_output(n, 0, (oxp_dtype)type, 1, &s->size);
}

static oxp_status forward(oxp_node *n)
{
    const window_state *s = n->state;
    oxp_tensor *y = &n->out[0];
    size_t element = oxp_dtype_bits(y->dtype) / 8, which = 0;
    while (strcmp(windows[which].type, n->op->type) != 0)
        which++;
    const double *a = windows[which].a;
    double N = (double)(s->periodic ? s->size : s->size - 1);
    for (int64_t i = 0; i < s->size; i++) {
        double phase = 2.0 * PI * (double)i / N;
        double value = s->size == 1 ? 1.0 : a[0] - a[1] * cos(phase) + a[2] * cos(2.0 * phase);
        oxp_move_write_real(y->dtype, value, (uint8_t *)y->data + (size_t)i * element);
    }
    return OXP_OK;
}

#define SIGNAL_WINDOW(symbol, type_)                                                \
    const oxp_operator symbol = {                                                   \
        .domain = "",                                                               \
        .type = type_,                                                              \
        .since = 17,                                                                \
        .min_in = 1,                                                                \
        .max_in = 1,                                                                \
        .min_out = 1,                                                               \
        .max_out = 1,                                                               \
        .values = 1,                                                                \
        .prepare = prepare,                                                         \
        .forward = forward,                                                         \
        .backward = oxp_backward_zero,                                              \
        .examples = (const char *const[]){"S[]:i64={8}", "S[]:i32={9}; periodic=0", \
                                          "S[]:i64={1}; periodic=0",                \
                                          "S[]:i64={5}; output_datatype=11", NULL}, \
    };
SIGNAL_WINDOW(oxp_op_hann_window_17, "HannWindow")
SIGNAL_WINDOW(oxp_op_hamming_window_17, "HammingWindow")
SIGNAL_WINDOW(oxp_op_blackman_window_17, "BlackmanWindow")
