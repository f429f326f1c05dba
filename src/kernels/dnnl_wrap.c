/* dnnl_wrap.c - oneDNN's C API. The two major versions differ in how memory descriptors are held
 * (by value in 2.x, behind pointers in 3.x) and in how a primitive descriptor is made; both
 * differences end in this file. */
#include "kernels/dnnl_wrap.h"

#ifndef OXP_KERNELS_REFERENCE

#include <oneapi/dnnl/dnnl.h>
#include <string.h>

/* omp.h is not where every compiler looks. */
int omp_get_max_threads(void);
void omp_set_num_threads(int threads);

static int enter_one_thread(void)
{
    int threads = omp_get_max_threads();
    if (threads != 1)
        omp_set_num_threads(1);
    return threads;
}

static void leave_one_thread(int threads)
{
    if (threads != 1)
        omp_set_num_threads(threads);
}

bool oxp_dnnl_gemm(const oxp_gemm_shape *s, float alpha, const float *a, const float *b, float beta,
                   float *c)
{
    int threads = enter_one_thread();
    dnnl_status_t status =
        dnnl_sgemm(s->trans_a ? 'T' : 'N', s->trans_b ? 'T' : 'N', (dnnl_dim_t)s->m,
                   (dnnl_dim_t)s->n, (dnnl_dim_t)s->k, alpha, a, (dnnl_dim_t)s->lda, b,
                   (dnnl_dim_t)s->ldb, beta, c, (dnnl_dim_t)s->ldc);
    leave_one_thread(threads);
    return status == dnnl_success;
}

/* ---- what differs between the versions ---- */

#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t layout;
typedef const_dnnl_memory_desc_t layout_view;

static dnnl_status_t layout_make(layout *out, int rank, const dnnl_dims_t dims,
                                 dnnl_format_tag_t tag)
{
    return dnnl_memory_desc_create_with_tag(out, rank, dims, dnnl_f32, tag);
}

static void layout_free(layout *l)
{
    if (*l)
        dnnl_memory_desc_destroy(*l);
}
#define VIEW(l) (l)
#else
typedef dnnl_memory_desc_t layout;
typedef const dnnl_memory_desc_t *layout_view;

static dnnl_status_t layout_make(layout *out, int rank, const dnnl_dims_t dims,
                                 dnnl_format_tag_t tag)
{
    return dnnl_memory_desc_init_by_tag(out, rank, dims, dnnl_f32, tag);
}

static void layout_free(layout *l)
{
    (void)l;
}
#define VIEW(l) (&(l))
#endif

typedef struct conv_layouts {
    layout src, weights, bias, dst, plain_weights;
    dnnl_dims_t strides, dilates, begin, end;
} conv_layouts;

static dnnl_status_t describe_conv(dnnl_primitive_desc_t *out, dnnl_engine_t engine,
                                   dnnl_primitive_attr_t attributes, conv_layouts *l)
{
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_convolution_forward_primitive_desc_create(
        out, engine, dnnl_forward_inference, dnnl_convolution_direct, l->src, l->weights, l->bias,
        l->dst, l->strides, l->dilates, l->begin, l->end, attributes);
#else
    dnnl_convolution_desc_t description;
    dnnl_status_t status = dnnl_dilated_convolution_forward_desc_init(
        &description, dnnl_forward_inference, dnnl_convolution_direct, &l->src, &l->weights,
        &l->bias, &l->dst, l->strides, l->dilates, l->begin, l->end);
    return status == dnnl_success
               ? dnnl_primitive_desc_create(out, &description, attributes, engine, NULL)
               : status;
#endif
}

/* ---- convolution ---- */

enum { SRC, WEIGHTS, BIAS, DST, SCRATCHPAD, PLAIN_WEIGHTS, MEMORIES };

struct oxp_dnnl_conv {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t primitive, reorder;
    dnnl_memory_t memory[MEMORIES];
    size_t packed_bytes, scratch_bytes;
};

static oxp_status dnnl_failure(oxp_ctx *ctx, dnnl_status_t status, const char *what)
{
    if (status == dnnl_out_of_memory)
        return oxp_fail(ctx, OXP_ELIMIT, "E-LIMIT-MEM", "oneDNN has no memory to %s", what);
    return oxp_fail(ctx, OXP_EINTERNAL, "E-KERNEL", "oneDNN returns %d when asked to %s",
                    (int)status, what);
}

/* Axes in front that are 1 everywhere are left out: a row or a plane, not a volume. */
static int spatial_rank(const oxp_window *w)
{
    bool flat = w->in[0] == 1 && w->out[0] == 1 && w->kernel[0] == 1;
    return flat ? 2 : 3;
}

static void put_dims(dnnl_dims_t dims, int at, const size_t axes[3], int spatial)
{
    for (int i = 0; i < spatial; i++)
        dims[at + i] = (dnnl_dim_t)axes[3 - spatial + i];
}

/* The padding behind the input that gives exactly `out`; negative when the input is not read to
 * its end. */
static dnnl_dim_t end_padding(const oxp_window *w, int axis)
{
    size_t read =
        (w->out[axis] - 1) * w->stride[axis] + (w->kernel[axis] - 1) * w->dilation[axis] + 1;
    return (dnnl_dim_t)read - (dnnl_dim_t)(w->in[axis] + w->begin[axis]);
}

static dnnl_status_t make_layouts(conv_layouts *l, const oxp_conv_shape *s)
{
    const oxp_window *w = &s->window;
    int spatial = spatial_rank(w), grouped = s->groups > 1;
    dnnl_dims_t src = {(dnnl_dim_t)s->batch, (dnnl_dim_t)s->in_channels};
    dnnl_dims_t dst = {(dnnl_dim_t)s->batch, (dnnl_dim_t)s->out_channels};
    dnnl_dims_t bias = {(dnnl_dim_t)s->out_channels};
    dnnl_dims_t weights = {0};
    int at = 0;
    if (grouped)
        weights[at++] = (dnnl_dim_t)s->groups;
    weights[at++] = (dnnl_dim_t)(s->out_channels / s->groups);
    weights[at++] = (dnnl_dim_t)(s->in_channels / s->groups);
    put_dims(weights, at, w->kernel, spatial);
    put_dims(src, 2, w->in, spatial);
    put_dims(dst, 2, w->out, spatial);
    put_dims(l->strides, 0, w->stride, spatial);
    put_dims(l->begin, 0, w->begin, spatial);
    for (int i = 0; i < spatial; i++) {
        l->dilates[i] = (dnnl_dim_t)w->dilation[3 - spatial + i] - 1;
        l->end[i] = end_padding(w, 3 - spatial + i);
    }
    dnnl_format_tag_t last = spatial == 2 ? dnnl_nhwc : dnnl_ndhwc;
    dnnl_format_tag_t plain =
        spatial == 2 ? (grouped ? dnnl_goihw : dnnl_oihw) : (grouped ? dnnl_goidhw : dnnl_oidhw);
    dnnl_status_t status = layout_make(&l->src, spatial + 2, src, last);
    if (status == dnnl_success)
        status = layout_make(&l->dst, spatial + 2, dst, last);
    if (status == dnnl_success)
        status = layout_make(&l->bias, 1, bias, dnnl_x);
    if (status == dnnl_success)
        status = layout_make(&l->weights, at + spatial, weights, dnnl_format_tag_any);
    if (status == dnnl_success)
        status = layout_make(&l->plain_weights, at + spatial, weights, plain);
    return status;
}

static void free_layouts(conv_layouts *l)
{
    layout_free(&l->src);
    layout_free(&l->weights);
    layout_free(&l->bias);
    layout_free(&l->dst);
    layout_free(&l->plain_weights);
}

/* "jit:avx2", "brgconv:avx512_core", … but not "ref:any" or "x64:gemm:jit". */
static bool is_fast(dnnl_primitive_desc_t description)
{
    const char *name = NULL;
    if (dnnl_primitive_desc_query(description, dnnl_query_impl_info_str, 0, (void *)&name) !=
        dnnl_success)
        return false;
    return strncmp(name, "jit", 3) == 0 || strncmp(name, "brg", 3) == 0 ||
           strncmp(name, "brdgmm", 6) == 0;
}

static dnnl_status_t make_memory(oxp_dnnl_conv *c, int which, layout_view view)
{
    return dnnl_memory_create(&c->memory[which], view, c->engine, DNNL_MEMORY_NONE);
}

static dnnl_status_t make_memories(oxp_dnnl_conv *c, dnnl_primitive_desc_t description,
                                   const conv_layouts *l)
{
    layout_view weights = dnnl_primitive_desc_query_md(description, dnnl_query_weights_md, 0);
    layout_view scratchpad = dnnl_primitive_desc_query_md(description, dnnl_query_scratchpad_md, 0);
    c->packed_bytes = dnnl_memory_desc_get_size(weights);
    c->scratch_bytes = dnnl_memory_desc_get_size(scratchpad);
    dnnl_status_t status = make_memory(c, SRC, VIEW(l->src));
    if (status == dnnl_success)
        status = make_memory(c, WEIGHTS, weights);
    if (status == dnnl_success)
        status = make_memory(c, BIAS, VIEW(l->bias));
    if (status == dnnl_success)
        status = make_memory(c, DST, VIEW(l->dst));
    if (status == dnnl_success)
        status = make_memory(c, SCRATCHPAD, scratchpad);
    if (status == dnnl_success)
        status = make_memory(c, PLAIN_WEIGHTS, VIEW(l->plain_weights));
    return status;
}

static dnnl_status_t make_reorder(oxp_dnnl_conv *c, dnnl_primitive_desc_t conv,
                                  const conv_layouts *l)
{
    dnnl_primitive_desc_t description = NULL;
    layout_view weights = dnnl_primitive_desc_query_md(conv, dnnl_query_weights_md, 0);
    dnnl_status_t status = dnnl_reorder_primitive_desc_create(&description, VIEW(l->plain_weights),
                                                              c->engine, weights, c->engine, NULL);
    if (status == dnnl_success)
        status = dnnl_primitive_create(&c->reorder, description);
    if (description)
        dnnl_primitive_desc_destroy(description);
    return status;
}

/* Leaves c->primitive NULL when there is nothing fast; what fails before that is no error
 * either. */
static dnnl_status_t make_conv(oxp_dnnl_conv *c, conv_layouts *l)
{
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_primitive_desc_t description = NULL;
    dnnl_status_t status = dnnl_primitive_attr_create(&attributes);
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user);
    bool fast = status == dnnl_success &&
                describe_conv(&description, c->engine, attributes, l) == dnnl_success &&
                is_fast(description);
    if (fast)
        status = make_memories(c, description, l);
    if (fast && status == dnnl_success)
        status = make_reorder(c, description, l);
    if (fast && status == dnnl_success)
        status = dnnl_primitive_create(&c->primitive, description);
    if (description)
        dnnl_primitive_desc_destroy(description);
    if (attributes)
        dnnl_primitive_attr_destroy(attributes);
    return status;
}

static dnnl_status_t make_all(oxp_dnnl_conv *c, const oxp_conv_shape *shape)
{
    conv_layouts layouts = {0};
    dnnl_status_t status = dnnl_engine_create(&c->engine, dnnl_cpu, 0);
    if (status == dnnl_success)
        status = dnnl_stream_create(&c->stream, c->engine, dnnl_stream_default_flags);
    if (status == dnnl_success)
        status = make_layouts(&layouts, shape);
    if (status == dnnl_success)
        status = make_conv(c, &layouts);
    free_layouts(&layouts);
    return status;
}

oxp_status oxp_dnnl_conv_create(oxp_dnnl_conv **out, oxp_ctx *ctx, const oxp_conv_shape *shape)
{
    oxp_dnnl_conv *c;
    OXP_TRY(oxp_alloc(&c, ctx, 1, sizeof *c, "convolution"));
    int threads = enter_one_thread();
    dnnl_status_t status = make_all(c, shape);
    leave_one_thread(threads);
    if (status != dnnl_success || !c->primitive) {
        oxp_dnnl_conv_free(c);
        if (status == dnnl_out_of_memory)
            return dnnl_failure(ctx, status, "make a convolution");
        c = NULL;
    }
    *out = c;
    return OXP_OK;
}

static dnnl_status_t point_at(const oxp_dnnl_conv *c, int which, const void *data)
{
    return dnnl_memory_set_data_handle(c->memory[which], (void *)(uintptr_t)data);
}

oxp_status oxp_dnnl_conv_pack(const oxp_dnnl_conv *c, oxp_ctx *ctx, const float *weights,
                              void *packed)
{
    int threads = enter_one_thread();
    dnnl_status_t status = point_at(c, PLAIN_WEIGHTS, weights);
    if (status == dnnl_success)
        status = point_at(c, WEIGHTS, packed);
    dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, c->memory[PLAIN_WEIGHTS]},
                                   {DNNL_ARG_TO, c->memory[WEIGHTS]}};
    if (status == dnnl_success)
        status = dnnl_primitive_execute(c->reorder, c->stream, 2, arguments);
    leave_one_thread(threads);
    return status == dnnl_success ? OXP_OK
                                  : dnnl_failure(ctx, status, "reorder convolution weights");
}

size_t oxp_dnnl_conv_packed_bytes(const oxp_dnnl_conv *c)
{
    return c->packed_bytes;
}

size_t oxp_dnnl_conv_scratch(const oxp_dnnl_conv *c)
{
    return c->scratch_bytes;
}

oxp_status oxp_dnnl_conv_run(const oxp_dnnl_conv *c, oxp_ctx *ctx, const void *packed,
                             const float *src, const float *bias, float *dst, void *scratch)
{
    int threads = enter_one_thread();
    dnnl_status_t status = point_at(c, SRC, src);
    if (status == dnnl_success)
        status = point_at(c, WEIGHTS, packed);
    if (status == dnnl_success)
        status = point_at(c, BIAS, bias);
    if (status == dnnl_success)
        status = point_at(c, DST, dst);
    if (status == dnnl_success)
        status = point_at(c, SCRATCHPAD, scratch);
    dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, c->memory[SRC]},
                                   {DNNL_ARG_WEIGHTS, c->memory[WEIGHTS]},
                                   {DNNL_ARG_BIAS, c->memory[BIAS]},
                                   {DNNL_ARG_DST, c->memory[DST]},
                                   {DNNL_ARG_SCRATCHPAD, c->memory[SCRATCHPAD]}};
    if (status == dnnl_success)
        status = dnnl_primitive_execute(c->primitive, c->stream, 5, arguments);
    leave_one_thread(threads);
    return status == dnnl_success ? OXP_OK : dnnl_failure(ctx, status, "run a convolution");
}

void oxp_dnnl_conv_free(oxp_dnnl_conv *c)
{
    if (!c)
        return;
    for (int i = 0; i < MEMORIES; i++)
        if (c->memory[i])
            dnnl_memory_destroy(c->memory[i]);
    if (c->primitive)
        dnnl_primitive_destroy(c->primitive);
    if (c->reorder)
        dnnl_primitive_destroy(c->reorder);
    if (c->stream)
        dnnl_stream_destroy(c->stream);
    if (c->engine)
        dnnl_engine_destroy(c->engine);
    oxp_free(c);
}

#endif
