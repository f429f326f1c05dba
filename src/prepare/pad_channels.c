/* pad_channels.c - channels that are nothing but zeros, up to what ONNX Runtime reads in blocks.
 *
 * A Conv that makes channels C gets rows of zeros and zeros in its bias up to C', one that reads
 * them columns of zeros: W [M, C, kh, kw] becomes [M', C', kh, kw]. What stands between hands zeros
 * (or other finite numbers) on, which then meet the columns of zeros: the outputs stay what they
 * are. Measured: a pool needs whole blocks, else its surroundings leave the blocked layout; half a
 * block or less is read in the plain layout by a slower kernel; above that a multiple of four is
 * enough, since the Conv pads by itself. */
#include "prepare/pad_channels.h"

#include <string.h>

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

static size_t padded(size_t channels, bool pooled, size_t block)
{
    return pooled || channels <= block / 2 ? round_up(channels, block) : round_up(channels, 4);
}

/* ---- the numbers ---- */

typedef struct change {
    oxp_linear linear;
    size_t outputs, inputs; /* as they will be */
} change;

static oxp_status pad_weight(oxp_pass *p, const change *c)
{
    const oxp_linear *l = &c->linear;
    const oxp_tensor *w = &l->weight->constant;
    size_t second = oxp_is_depthwise(l) ? 1 : c->inputs, row = 0, count = 0;
    if (!oxp_mul_ok(second, l->rest, &row) || !oxp_mul_ok(c->outputs, row, &count))
        return oxp_fail(p->ctx, OXP_ELIMIT, "E-LIMIT", "padded weight of \"%.100s\" is too large",
                        l->weight->name);
    float *data = oxp_arena_alloc(&p->arena, count, sizeof *data);
    if (!data)
        return p->ctx->status;
    for (size_t m = 0; m < l->first; m++)
        memcpy(data + m * row, (const float *)w->data + m * l->second * l->rest,
               l->second * l->rest * sizeof *data);
    int64_t dims[4] = {(int64_t)c->outputs, (int64_t)second, w->dims[2], w->dims[3]};
    return oxp_pass_set_constant(p, l->weight, 4, dims, data);
}

static oxp_status pad_bias(oxp_pass *p, const change *c)
{
    const oxp_linear *l = &c->linear;
    int64_t dims[1] = {(int64_t)c->outputs};
    if (!l->bias || c->outputs == l->outputs)
        return OXP_OK;
    float *data = oxp_arena_alloc(&p->arena, c->outputs, sizeof *data);
    if (!data)
        return p->ctx->status;
    memcpy(data, l->bias->constant.data, l->outputs * sizeof *data);
    if (l->bias->proto && oxp_pass_reads(p, l->scope, l->node->inputs[2]) == 1)
        return oxp_pass_set_constant(p, l->bias, 1, dims, data);
    const char *name, *base = oxp_arena_printf(&p->arena, "%s_padded", l->bias->name);
    if (!base)
        return p->ctx->status;
    OXP_TRY(oxp_pass_new_constant(&name, p, l->scope, base, OXP_FLOAT, 1, dims, data));
    return oxp_pass_read_constant(p, l->scope, l->node, 2, name);
}

static oxp_status pad_conv(oxp_pass *p, const change *c)
{
    OXP_TRY(pad_weight(p, c));
    OXP_TRY(pad_bias(p, c));
    if (oxp_is_depthwise(&c->linear))
        OXP_TRY(oxp_edit_set_int(p->model, c->linear.node->proto, "group", (int64_t)c->outputs));
    oxp_pass_touch(p, c->linear.scope, c->linear.node);
    return OXP_OK;
}

/* ---- the step ---- */

/* What the group of a value will have; `sizes` by root, asked for in the order of the values. */
static size_t size_of(const oxp_channel_groups *groups, const size_t *sizes, uint32_t value,
                      size_t now)
{
    size_t size = sizes[oxp_channel_group(groups, value)];
    return size ? size : now;
}

static oxp_status choose_sizes(size_t *sizes, oxp_pass *p, size_t scope,
                               const oxp_channel_groups *groups)
{
    const oxp_graph *g = p->scopes[scope].graph;
    for (uint32_t v = 0; v < groups->value_count; v++) {
        uint32_t root = oxp_channel_group(groups, v);
        size_t now = groups->channels[v], size;
        if (root != v || groups->fixed[root] || now == 0)
            continue;
        size = padded(now, groups->pooled[root], p->block_channels);
        if (size == now || !oxp_pass_admit(p, g->values[v].name))
            continue;
        sizes[root] = size;
        OXP_TRY(oxp_pass_changed(p, g->values[v].name, "%zu channels padded to %zu", now, size));
    }
    return OXP_OK;
}

/* Dimensions that the model declares for padded values are no longer true. */
static oxp_status forget_shapes(oxp_pass *p, size_t scope, const oxp_channel_groups *groups,
                                const size_t *sizes)
{
    const oxp_graph *g = p->scopes[scope].graph;
    for (uint32_t v = 0; v < groups->value_count; v++)
        if (sizes[oxp_channel_group(groups, v)])
            OXP_TRY(oxp_edit_remove_value_info(p->model, g->proto, g->values[v].name));
    return OXP_OK;
}

static oxp_status pad_graph(oxp_pass *p, size_t scope, const oxp_channel_groups *groups)
{
    const oxp_graph *g = p->scopes[scope].graph;
    size_t *sizes = oxp_arena_alloc(&p->arena, groups->value_count + 1, sizeof *sizes);
    if (!sizes)
        return p->ctx->status;
    OXP_TRY(choose_sizes(sizes, p, scope, groups));
    for (size_t n = 0; n < g->node_count; n++) {
        change c;
        if (!oxp_padded_conv(&c.linear, p, scope, &g->nodes[n]))
            continue;
        c.outputs = size_of(groups, sizes, g->nodes[n].outputs[0], c.linear.outputs);
        c.inputs = size_of(groups, sizes, g->nodes[n].inputs[0], c.linear.inputs);
        if (c.outputs != c.linear.outputs || c.inputs != c.linear.inputs)
            OXP_TRY(pad_conv(p, &c));
    }
    return forget_shapes(p, scope, groups, sizes);
}

oxp_status oxp_step_channels(oxp_pass *p)
{
    for (size_t s = 0; s < p->scope_count; s++) {
        oxp_channel_groups groups;
        size_t before = p->edits;
        OXP_TRY(oxp_channel_groups_find(&groups, p, s));
        OXP_TRY(oxp_spell_in_blocks(p, s, &groups));
        if (p->edits == before) /* else the view is stale: padding waits for the next one */
            OXP_TRY(pad_graph(p, s, &groups));
    }
    return OXP_OK;
}
