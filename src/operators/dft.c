/* dft.c - DFT: the discrete Fourier transform along one axis of X[..., 1 or 2], whose last axis
 * holds the real or the real and imaginary part; Y[..., 2].
 *
 *     Y[k] = sum_j X[j] e^(-2 pi i j k / n)        inverse: the conjugate root and 1 / n
 *
 * n is dft_length or the axis; X is cut or padded with zeros. onesided gives the n / 2 + 1 values
 * that the others follow from; its inverse takes those and gives the real signal Y[..., 1]. The
 * axis is an attribute (default 1) up to opset 19, an input (default -2) from 20 on. The map is
 * linear: backward is its adjoint, the transform with the conjugate root and the same factor.
 * https://onnx.ai/onnx/operators/onnx__DFT.html */
#include <string.h>

#include "operators/fourier.h"
#include "operators/gradient.h"
#include "operators/movement.h"
#include "operators/real.h"

typedef struct dft_state {
    bool inverse, onesided;
    size_t outer, in_axis, inner, length, out_axis;
    size_t in_parts, out_parts; /* of the last axis: 1 real, 2 complex */
} dft_state;

static oxp_status read_axis(oxp_node *n, int *axis)
{
    const oxp_tensor *x = n->in[0];
    int64_t value = n->op->since < 20 ? oxp_attr_int(n, "axis", 1) : -2;
    if (n->op->since >= 20 && oxp_node_has(n, 2))
        OXP_TRY(oxp_move_scalar(n, 2, &value));
    OXP_TRY(oxp_node_axis(n, value, x->rank, false, axis));
    if (*axis == x->rank - 1)
        return oxp_node_fail(n, OXP_EFORMAT, "E-AXIS",
                             "axis %d holds the real and imaginary parts, expected another", *axis);
    return OXP_OK;
}

static oxp_status read_length(oxp_node *n, int64_t otherwise, dft_state *s)
{
    int64_t length = otherwise;
    if (oxp_node_has(n, 1))
        OXP_TRY(oxp_move_scalar(n, 1, &length));
    if (length < 1)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "dft_length is %lld, expected 1 or more",
                             (long long)length);
    s->length = (size_t)length;
    return OXP_OK;
}

static oxp_status check_parts(oxp_node *n, dft_state *s)
{
    const oxp_tensor *x = n->in[0];
    int64_t parts = x->rank < 2 ? 0 : x->dims[x->rank - 1];
    bool wrong_side = s->onesided && parts != (s->inverse ? 2 : 1);
    if ((parts == 1 || parts == 2) && !wrong_side) {
        s->in_parts = (size_t)parts;
        s->out_parts = s->onesided && s->inverse ? 1 : 2;
        return OXP_OK;
    }
    char found[OXP_SHAPE_TEXT_MAX];
    return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "the signal has shape %s, expected [..., %s]",
                         oxp_shape_text(found, x->rank, x->dims),
                         !wrong_side  ? "1 or 2"
                         : s->inverse ? "2] for an inverse of one side"
                                      : "1] for one side");
}

static oxp_status prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    dft_state *s = oxp_node_state(n, sizeof *s);
    int axis;
    if (!s)
        return n->ctx->status;
    OXP_TRY(oxp_real_types(n, 0));
    s->inverse = oxp_attr_int(n, "inverse", 0) != 0;
    s->onesided = oxp_attr_int(n, "onesided", 0) != 0;
    OXP_TRY(check_parts(n, s));
    OXP_TRY(read_axis(n, &axis));
    int64_t dims[OXP_MAX_RANK], size = x->dims[axis];
    OXP_TRY(read_length(n, s->onesided && s->inverse ? 2 * (size - 1) : size, s));
    s->outer = s->inner = 1;
    s->in_axis = (size_t)size;
    s->out_axis = s->onesided && !s->inverse ? s->length / 2 + 1 : s->length;
    for (int d = 0; d < x->rank; d++) {
        dims[d] = d == axis          ? (int64_t)s->out_axis
                  : d == x->rank - 1 ? (int64_t)s->out_parts
                                     : x->dims[d];
        if (d != axis && d != x->rank - 1)
            *(d < axis ? &s->outer : &s->inner) *= (size_t)x->dims[d];
    }
    return oxp_output(n, 0, x->dtype, x->rank, dims);
}

/* The line at `first` (an index of pairs or reals) as `length` pairs; of one side, the other is
 * its conjugate. */
static void read_line(const dft_state *s, const oxp_tensor *x, size_t first, double *line)
{
    bool mirrored = s->inverse && s->onesided;
    size_t kept = mirrored ? s->length / 2 + 1 : s->length;
    for (size_t k = 0; k < s->length; k++) {
        size_t from = k < kept ? k : s->length - k;
        size_t at = (first + from * s->inner) * s->in_parts;
        bool given = from < s->in_axis;
        line[2 * k] = given ? oxp_tensor_real(x, at) : 0.0;
        line[2 * k + 1] = given && s->in_parts == 2 ? oxp_tensor_real(x, at + 1) : 0.0;
        if (k >= kept)
            line[2 * k + 1] = -line[2 * k + 1];
    }
    if (mirrored) { /* these two are their own conjugates */
        line[1] = 0.0;
        if (s->length % 2 == 0)
            line[s->length + 1] = 0.0;
    }
}

static void write_line(const dft_state *s, oxp_tensor *y, size_t first, const double *line)
{
    size_t element = oxp_dtype_bits(y->dtype) / 8;
    for (size_t k = 0; k < s->out_axis; k++)
        for (size_t part = 0; part < s->out_parts; part++) {
            size_t at = (first + k * s->inner) * s->out_parts + part;
            oxp_move_write_real(y->dtype, line[2 * k + part], (uint8_t *)y->data + at * element);
        }
}

static oxp_status forward(oxp_node *n)
{
    const dft_state *s = n->state;
    oxp_fourier fourier;
    OXP_TRY(oxp_fourier_open(&fourier, n, s->length));
    double *line = oxp_node_scratch(n, 2 * s->length, sizeof *line);
    if (!line)
        return n->ctx->status;
    for (size_t o = 0; o < s->outer; o++)
        for (size_t i = 0; i < s->inner; i++) {
            read_line(s, n->in[0], o * s->in_axis * s->inner + i, line);
            oxp_fourier_run(&fourier, line, s->inverse);
            write_line(s, &n->out[0], o * s->out_axis * s->inner + i, line);
        }
    return OXP_OK;
}

/* ---- backward ---- */

/* dY of one line, zero where nothing was written. */
static void read_dy(const dft_state *s, const float *dy, size_t first, double *line)
{
    memset(line, 0, 2 * s->length * sizeof *line);
    for (size_t k = 0; k < s->out_axis; k++)
        for (size_t part = 0; part < s->out_parts; part++)
            line[2 * k + part] = (double)dy[(first + k * s->inner) * s->out_parts + part];
}

/* The adjoint of oxp_fourier_run(). */
static void run_adjoint(const oxp_fourier *f, double *line, bool inverse)
{
    double n = (double)f->n;
    oxp_fourier_run(f, line, !inverse);
    for (size_t i = 0; i < 2 * f->n; i++)
        line[i] *= inverse ? 1 / n : n;
}

/* The adjoint of read_line(): what came from one element is added to it. */
static void add_line(const dft_state *s, float *dx, size_t first, const double *line)
{
    bool mirrored = s->inverse && s->onesided;
    size_t kept = mirrored ? s->length / 2 + 1 : s->length;
    for (size_t k = 0; k < s->length; k++) {
        size_t from = k < kept ? k : s->length - k;
        bool is_real = mirrored && (k == 0 || 2 * k == s->length);
        float *to = dx + (first + from * s->inner) * s->in_parts;
        if (from >= s->in_axis)
            continue;
        to[0] += (float)line[2 * k];
        if (s->in_parts == 2 && !is_real)
            to[1] += (float)(k < kept ? line[2 * k + 1] : -line[2 * k + 1]);
    }
}

static oxp_status backward(oxp_node *n)
{
    const dft_state *s = n->state;
    const float *dy = oxp_dout(n, 0);
    float *dx = oxp_din(n, 0);
    oxp_fourier fourier;
    if (!dy || !dx)
        return OXP_OK;
    OXP_TRY(oxp_fourier_open(&fourier, n, s->length));
    double *line = oxp_node_scratch(n, 2 * s->length, sizeof *line);
    if (!line)
        return n->ctx->status;
    for (size_t o = 0; o < s->outer; o++)
        for (size_t i = 0; i < s->inner; i++) {
            read_dy(s, dy, o * s->out_axis * s->inner + i, line);
            run_adjoint(&fourier, line, s->inverse);
            add_line(s, dx, o * s->in_axis * s->inner + i, line);
        }
    return OXP_OK;
}

const oxp_operator oxp_op_dft_17 = {
    .domain = "",
    .type = "DFT",
    .since = 17,
    .min_in = 1,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .values = 1 << 1,
    .prepare = prepare,
    .forward = forward,
    .backward = backward,
    .examples =
        (const char *const[]){"X[1,8,2]", "X[2,5,3,1]; axis=2 onesided=1",
                              "X[1,5,2] L[]:i64={7}; inverse=1", "X[1,9,2] L[]:i64={6}", NULL},
};

const oxp_operator oxp_op_dft_20 = {
    .domain = "",
    .type = "DFT",
    .since = 20,
    .min_in = 1,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .values = 1 << 1 | 1 << 2,
    .prepare = prepare,
    .forward = forward,
    .backward = backward,
    .examples = (const char *const[]){"X[1,8,2]", "X[2,5,3,1] _ A[]:i64={1}; onesided=1",
                                      "X[1,4,2]:f64 L[]:i64={6}; inverse=1 onesided=1",
                                      "X[2,3,2] L[]:i64={7}; inverse=1 onesided=1",
                                      "X[1,6,1]:f16 L[]:i32={4}", NULL},
};
