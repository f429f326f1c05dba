/* mel_weight_matrix.c - MelWeightMatrix: W[F, M] that sums the F = dft_length / 2 + 1 bins of a
 * spectrum into M triangles with peak 1, evenly spread over the mel scale:
 *
 *     mel(f) = 2595 log10(1 + f / 700)        edge[i] = mel^-1(low + i (high - low) / (M + 2))
 *
 * Triangle m rises from bin(edge[m]) to bin(edge[m + 1]) and falls to bin(edge[m + 2]), with
 * bin(f) = floor((dft_length + 1) f / sample_rate).
 * https://onnx.ai/onnx/operators/onnx__MelWeightMatrix.html */
#include <math.h>
#include <string.h>

#include "operators/cast_integer.h"
#include "operators/movement.h"

typedef struct mel_state {
    int64_t bands, length, rate;
} mel_state;

static oxp_status prepare(oxp_node *n)
{
    static const char *const names[] = {"num_mel_bins", "dft_length", "sample_rate"};
    mel_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    int64_t type = oxp_attr_int(n, "output_datatype", OXP_FLOAT);
    int64_t *values[] = {&s->bands, &s->length, &s->rate};
    for (int i = 0; i < 3; i++) {
        OXP_TRY(oxp_move_scalar(n, i, values[i]));
        if (*values[i] < 1)
            return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "%s is %lld, expected 1 or more",
                                 names[i], (long long)*values[i]);
    }
    for (int i = 3; i < 5; i++)
        if (!oxp_dtype_is_float(n->in[i]->dtype) || n->in[i]->count != 1)
            return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                                 "input %d holds %zu values of type %s, expected one float", i,
                                 n->in[i]->count, oxp_dtype_name(n->in[i]->dtype));
    if (type <= OXP_UNDEFINED || type >= OXP_DTYPE_COUNT ||
        (!oxp_dtype_is_float((oxp_dtype)type) && oxp_integer_bytes((oxp_dtype)type) == 0))
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "output_datatype is %lld, expected a float or integer type",
                             (long long)type);
    int64_t dims[2] = {s->length / 2 + 1, s->bands};
    return oxp_output(n, 0, (oxp_dtype)type, 2, dims);
}

static double mel(double hertz)
{
    return 2595.0 * log10(1.0 + hertz / 700.0);
}

/* The bin of edge i; E-INDEX outside the spectrum. */
static oxp_status edge_bin(oxp_node *n, int64_t i, int64_t *bin)
{
    const mel_state *s = n->state;
    double low = mel(oxp_tensor_real(n->in[3], 0)), high = mel(oxp_tensor_real(n->in[4], 0));
    double at = low + (double)i * (high - low) / (double)(s->bands + 2);
    double hertz = 700.0 * (pow(10.0, at / 2595.0) - 1.0);
    double value = floor((double)(s->length + 1) * hertz / (double)s->rate);
    if (!(value >= 0.0 && value <= (double)(s->length / 2)))
        return oxp_node_fail(n, OXP_EFORMAT, "E-INDEX",
                             "edge %lld lies at %g Hz, bin %g, expected a bin in [0, %lld]",
                             (long long)i, hertz, value, (long long)(s->length / 2));
    *bin = (int64_t)value;
    return OXP_OK;
}

static void put(const mel_state *s, oxp_tensor *y, int64_t bin, int64_t band, double value)
{
    size_t at = (size_t)(bin * s->bands + band) * (oxp_dtype_bits(y->dtype) / 8);
    oxp_move_write_real(y->dtype, value, (uint8_t *)y->data + at);
}

static oxp_status forward(oxp_node *n)
{
    const mel_state *s = n->state;
    oxp_tensor *y = &n->out[0];
    int64_t left, centre, right;
    memset(y->data, 0, oxp_tensor_bytes(y));
    OXP_TRY(edge_bin(n, 0, &left));
    OXP_TRY(edge_bin(n, 1, &centre));
    for (int64_t m = 0; m < s->bands; m++, left = centre, centre = right) {
        OXP_TRY(edge_bin(n, m + 2, &right));
        put(s, y, centre, m, 1.0);
        for (int64_t j = left; j < centre; j++)
            put(s, y, j, m, (double)(j - left) / (double)(centre - left));
        for (int64_t j = centre; j < right; j++)
            put(s, y, j, m, (double)(right - j) / (double)(right - centre));
    }
    return OXP_OK;
}

const oxp_operator oxp_op_mel_weight_matrix_17 = {
    .domain = "",
    .type = "MelWeightMatrix",
    .since = 17,
    .min_in = 5,
    .max_in = 5,
    .min_out = 1,
    .max_out = 1,
    .values = 7,
    .prepare = prepare,
    .forward = forward,
    .backward = oxp_backward_zero,
    .examples =
        (const char *const[]){"B[]:i64={8} L[]:i64={16} R[]:i64={8192} F[]={0.0} T[]={4096.0}",
                              "B[]:i32={3} L[]:i32={10} R[]:i32={100} F[]:f64={5.0} "
                              "T[]:f64={45.0}; output_datatype=11",
                              NULL},
};
