/* absorb.c - folding an affine chain into the operator next to it.
 *
 * Behind: scale·(W x + b) + shift is one operator. Before: W (scale·x + shift) + b is one, as
 * long as no zeros are padded around the input, which would have been padded around scale·x +
 * shift. With padding, scale·x + shift is written as scale·(x + shift/scale): the factor is
 * folded, one Add stays. */
#include "prepare/absorb.h"

#include <math.h>
#include <string.h>

static const char *name_of(const oxp_pass *p, const oxp_linear *l, uint32_t id)
{
    return p->scopes[l->scope].graph->values[id].name;
}

static oxp_status remove_chain(oxp_pass *p, const oxp_linear *l, const oxp_chain *chain)
{
    const oxp_graph *g = p->scopes[l->scope].graph;
    for (size_t i = 0; i < chain->count; i++) {
        uint32_t out = chain->nodes[i]->outputs[0];
        OXP_TRY(oxp_pass_remove_node(p, l->scope, chain->nodes[i]));
        if (out != chain->to)
            OXP_TRY(oxp_edit_remove_value_info(p->model, g->proto, g->values[out].name));
    }
    return OXP_OK;
}

static oxp_status note(oxp_pass *p, const oxp_linear *l, const oxp_chain *chain, bool left,
                       const char *reason)
{
    char text[OXP_CHAIN_TEXT_MAX], quoted[OXP_QUOTED_MAX];
    const char *to = name_of(p, l, l->node->outputs[0]);
    oxp_chain_text(text, chain);
    oxp_quote(quoted, l->node->name[0] ? l->node->name : to);
    const char *place = name_of(p, l, chain->to);
    if (left)
        return oxp_pass_left(p, place, "%s beside %s %s: %s", text, l->node->type, quoted, reason);
    return oxp_pass_changed(p, place, "%s into %s %s", text, l->node->type, quoted);
}

static bool has_factor(const double *scale, size_t channels)
{
    for (size_t c = 0; c < channels; c++)
        if (scale[c] != 1)
            return true;
    return false;
}

/* NULL when the fold may be tried; else why not. */
static const char *obstacle(const oxp_pass *p, const oxp_linear *l, const oxp_chain *chain,
                            size_t channels)
{
    if (has_factor(chain->scale, channels) && !oxp_linear_owns_weight(p, l))
        return "the weights are shared";
    if (oxp_pass_rank(p, l->scope, l->node->outputs[0]) < 0)
        return "no sample comes by";
    return NULL;
}

/* ---- behind ---- */

static oxp_status put_add(oxp_pass *p, const oxp_linear *l, const oxp_chain *chain,
                          const char *bias)
{
    const oxp_graph *g = p->scopes[l->scope].graph;
    const char *inputs[2] = {name_of(p, l, l->node->outputs[0]), bias};
    const char *outputs[1] = {name_of(p, l, chain->to)};
    const oxp_graph_node *last = chain->nodes[chain->count - 1];
    oxp_new_node add = {.type = "Add",
                        .domain = "",
                        .name = last->name,
                        .input_count = 2,
                        .output_count = 1,
                        .inputs = inputs,
                        .outputs = outputs};
    size_t at = oxp_edit_position(g->proto, last->proto);
    OXP_TRY(oxp_edit_insert_node(NULL, p->model, g->proto, at, &add));
    return remove_chain(p, l, chain);
}

static oxp_status take_behind(oxp_pass *p, const oxp_linear *l, const oxp_chain *chain,
                              const oxp_linear_numbers *numbers)
{
    const oxp_graph *g = p->scopes[l->scope].graph;
    const char *bias, *old = name_of(p, l, l->node->outputs[0]);
    OXP_TRY(note(p, l, chain, false, NULL));
    OXP_TRY(oxp_linear_write(&bias, p, l, numbers));
    if (l->kind == OXP_LINEAR_MATMUL && bias)
        return put_add(p, l, chain, bias);
    OXP_TRY(remove_chain(p, l, chain));
    OXP_TRY(oxp_edit_remove_value_info(p->model, g->proto, old));
    return oxp_edit_set_output(p->model, l->node->proto, 0, name_of(p, l, chain->to));
}

/* Whether the operator can take the chain behind it, and its numbers then; where not, that is
 * noted. */
static oxp_status admit_outputs(oxp_linear_numbers *numbers, bool *admitted, oxp_pass *p,
                                const oxp_linear *l, const oxp_chain *chain)
{
    const char *why_not = obstacle(p, l, chain, l->outputs);
    bool finite;
    *admitted = false;
    if (why_not)
        return note(p, l, chain, true, why_not);
    OXP_TRY(oxp_linear_scale_outputs(numbers, &finite, p, l, chain->scale, chain->shift));
    if (!finite)
        return note(p, l, chain, true, "the result is not finite");
    *admitted = oxp_pass_admit(p, name_of(p, l, chain->to));
    return OXP_OK;
}

oxp_status oxp_absorb_behind(oxp_pass *p, const oxp_linear *l, oxp_chain_end end)
{
    oxp_chain chain;
    OXP_TRY(
        oxp_chain_behind(&chain, p, l->scope, l->node->outputs[0], l->rank, 1, l->outputs, end));
    if (chain.count == 0 || (l->kind == OXP_LINEAR_MATMUL && !chain.normalization))
        return OXP_OK;
    oxp_linear_numbers numbers;
    bool admitted;
    OXP_TRY(admit_outputs(&numbers, &admitted, p, l, &chain));
    if (!admitted)
        return OXP_OK;
    return take_behind(p, l, &chain, &numbers);
}

/* ---- behind a Transpose ---- */

/* Where the channels of an operator's result stand behind the Transpose that alone reads it; NULL
 * when there is none. */
static const oxp_graph_node *turned(const oxp_pass *p, const oxp_linear *l, int *axis)
{
    const oxp_graph_node *t = oxp_pass_only_reader(p, l->scope, l->node->outputs[0]);
    const oxp_attribute *perm =
        oxp_pass_is(t, "Transpose") ? oxp_graph_node_attribute(t, "perm") : NULL;
    if (!perm || perm->type != OXP_ATTR_INTS || perm->count != (size_t)l->rank ||
        t->outputs[0] == OXP_NO_VALUE)
        return NULL;
    for (*axis = 0; *axis < l->rank && perm->ints[*axis] != 1; ++*axis)
        continue;
    return *axis < l->rank ? t : NULL;
}

oxp_status oxp_absorb_behind_transpose(oxp_pass *p, const oxp_linear *l)
{
    int axis;
    oxp_chain chain;
    const oxp_graph_node *t = turned(p, l, &axis);
    if (!t || (l->kind != OXP_LINEAR_CONV && l->kind != OXP_LINEAR_CONV_TRANSPOSE))
        return OXP_OK;
    OXP_TRY(oxp_chain_behind(&chain, p, l->scope, t->outputs[0], l->rank, axis, l->outputs,
                             OXP_CHAIN_TO_CHANNELS));
    if (chain.count == 0)
        return OXP_OK;
    oxp_linear_numbers numbers;
    bool admitted;
    OXP_TRY(admit_outputs(&numbers, &admitted, p, l, &chain));
    if (!admitted)
        return OXP_OK;
    const char *unused, *old = name_of(p, l, t->outputs[0]);
    OXP_TRY(note(p, l, &chain, false, NULL));
    OXP_TRY(oxp_linear_write(&unused, p, l, &numbers));
    OXP_TRY(remove_chain(p, l, &chain));
    OXP_TRY(oxp_edit_remove_value_info(p->model, p->scopes[l->scope].graph->proto, old));
    oxp_pass_touch(p, l->scope, t);
    return oxp_edit_set_output(p->model, t->proto, 0, name_of(p, l, chain.to));
}

/* ---- before ---- */

static bool has_shift(const oxp_chain *chain, size_t channels)
{
    for (size_t c = 0; c < channels; c++)
        if (chain->shift[c] != 0)
            return true;
    return false;
}

static oxp_status take_before(oxp_pass *p, const oxp_linear *l, const oxp_chain *chain,
                              const oxp_linear_numbers *numbers)
{
    const oxp_graph *g = p->scopes[l->scope].graph;
    const char *bias, *to = name_of(p, l, chain->to);
    OXP_TRY(note(p, l, chain, false, NULL));
    OXP_TRY(oxp_linear_write(&bias, p, l, numbers));
    OXP_TRY(oxp_pass_read(p, l->scope, l->node, 0, chain->from));
    OXP_TRY(remove_chain(p, l, chain));
    return oxp_edit_remove_value_info(p->model, g->proto, to);
}

/* The chain becomes x + shift/scale in the place of its last node. */
static oxp_status keep_shift(oxp_pass *p, const oxp_linear *l, const oxp_chain *chain,
                             const oxp_linear_numbers *numbers)
{
    const oxp_graph *g = p->scopes[l->scope].graph;
    float moved = (float)(chain->shift[0] / chain->scale[0]);
    const char *unused, *inputs[2], *outputs[1] = {name_of(p, l, chain->to)};
    const char *base = oxp_arena_printf(&p->arena, "%s_shift", outputs[0]);
    if (!base)
        return p->ctx->status;
    OXP_TRY(note(p, l, chain, false, NULL));
    OXP_TRY(oxp_linear_write(&unused, p, l, numbers));
    inputs[0] = name_of(p, l, chain->from);
    OXP_TRY(oxp_pass_new_constant(&inputs[1], p, l->scope, base, OXP_FLOAT, 0, NULL, &moved));
    const oxp_graph_node *last = chain->nodes[chain->count - 1];
    oxp_new_node add = {.type = "Add",
                        .domain = "",
                        .name = last->name,
                        .input_count = 2,
                        .output_count = 1,
                        .inputs = inputs,
                        .outputs = outputs};
    OXP_TRY(oxp_edit_insert_node(NULL, p->model, g->proto, oxp_edit_position(g->proto, last->proto),
                                 &add));
    return remove_chain(p, l, chain);
}

oxp_status oxp_absorb_before(oxp_pass *p, const oxp_linear *l, oxp_chain_end end)
{
    oxp_chain chain;
    if (l->kind != OXP_LINEAR_CONV || l->node->inputs[0] == OXP_NO_VALUE)
        return OXP_OK;
    OXP_TRY(oxp_chain_before(&chain, p, l->scope, l->node->inputs[0], l->rank, 1, l->inputs, end));
    if (chain.count == 0)
        return OXP_OK;
    bool split = l->padded && has_shift(&chain, l->inputs);
    if (split && (!chain.scalar || chain.count < 2 || !has_factor(chain.scale, 1)))
        return chain.normalization ? note(p, l, &chain, true, "zeros are padded around its result")
                                   : OXP_OK;
    if (split && !isfinite((float)(chain.shift[0] / chain.scale[0])))
        return note(p, l, &chain, true, "the result is not finite");
    const char *why_not = obstacle(p, l, &chain, l->inputs);
    if (why_not)
        return note(p, l, &chain, true, why_not);
    double *none = oxp_arena_alloc(&p->arena, l->inputs, sizeof *none);
    if (!none)
        return p->ctx->status;
    oxp_linear_numbers numbers;
    bool finite;
    OXP_TRY(
        oxp_linear_scale_inputs(&numbers, &finite, p, l, chain.scale, split ? none : chain.shift));
    if (!finite)
        return note(p, l, &chain, true, "the result is not finite");
    if (!oxp_pass_admit(p, name_of(p, l, chain.to)))
        return OXP_OK;
    return split ? keep_shift(p, l, &chain, &numbers) : take_before(p, l, &chain, &numbers);
}
