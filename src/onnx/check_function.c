/* check_function.c - model-local functions: no two with one name, none that reaches itself, and no
 * more nodes than the limit once every call is replaced by its body.
 *
 * Functions are numbered in the order of (domain, name, overload); the main graph is the number
 * behind the last. Calls are gathered once, subgraphs included, and searched depth first with a
 * stack of our own:
 *
 *     expanded(f) = sum over the nodes of f of (expanded(callee), or 1 for an operator)
 *     height(f)   = 1 + the largest height of a callee */
#include "onnx/check.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CYCLE_TEXT_MAX 400

typedef enum color { WHITE, GRAY, BLACK } color;

typedef struct call_node {
    size_t first_call, call_count; /* in the list of callees */
    size_t operators;              /* nodes that are no calls */
    size_t expanded, height;
    color color;
} call_node;

typedef struct step {
    size_t function, next_call;
} step;

typedef struct call_graph {
    oxp_check *check;
    Onnx__FunctionProto **functions; /* sorted */
    size_t count;
    call_node *nodes; /* count + 1 */
    size_t *callees;
    size_t callee_count, callee_capacity;
    step *stack;
    size_t depth;
} call_graph;

/* ---- names ---- */

static const char *text_or_empty(const char *text)
{
    return text == NULL ? "" : text;
}

static int compare_key(const Onnx__FunctionProto *f, const char *domain, const char *name,
                       const char *overload)
{
    int order = strcmp(oxp_domain(f->domain), domain);
    if (order == 0)
        order = strcmp(text_or_empty(f->name), name);
    return order == 0 ? strcmp(text_or_empty(f->overload), overload) : order;
}

static int compare_functions(const void *a, const void *b)
{
    const Onnx__FunctionProto *x = *(Onnx__FunctionProto *const *)a;
    const Onnx__FunctionProto *y = *(Onnx__FunctionProto *const *)b;
    return compare_key(x, oxp_domain(y->domain), text_or_empty(y->name),
                       text_or_empty(y->overload));
}

/* The number of the function that a node calls; `count` when it is an operator. */
static size_t find_callee(const call_graph *g, const Onnx__NodeProto *n)
{
    size_t low = 0, high = g->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_key(g->functions[middle], oxp_domain(n->domain),
                                text_or_empty(n->op_type), text_or_empty(n->overload));
        if (order == 0)
            return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return g->count;
}

/* Sorts the model's functions into its arena and refuses two of one name. */
static oxp_status sort_functions(oxp_check *c)
{
    const Onnx__ModelProto *m = c->model->proto;
    char domain[OXP_QUOTED_MAX], name[OXP_QUOTED_MAX];
    Onnx__FunctionProto **sorted =
        oxp_arena_alloc(&c->model->arena, m->n_functions, sizeof(Onnx__FunctionProto *));
    if (sorted == NULL)
        return c->ctx->status;
    memcpy(sorted, m->functions, m->n_functions * sizeof(Onnx__FunctionProto *));
    qsort(sorted, m->n_functions, sizeof(Onnx__FunctionProto *), compare_functions);
    for (size_t i = 1; i < m->n_functions; i++)
        if (compare_functions(&sorted[i - 1], &sorted[i]) == 0)
            return oxp_check_fail(
                c, OXP_EFORMAT, "E-FUNC-DUP", "function %s of domain %s stands twice",
                oxp_quote(name, sorted[i]->name), oxp_quote(domain, sorted[i]->domain));
    c->model->functions = sorted;
    return OXP_OK;
}

/* ---- calls ---- */

static oxp_status gather_calls(call_graph *g, size_t function)
{
    oxp_walk walk;
    oxp_walk_event event;
    call_node *node = &g->nodes[function];
    node->first_call = g->callee_count;
    if (function == g->count)
        oxp_walk_begin(&walk, g->check->model->proto->graph);
    else
        oxp_walk_begin_function(&walk, g->functions[function]);
    while ((event = oxp_walk_next(&walk)) != OXP_WALK_END) {
        if (event != OXP_WALK_NODE)
            continue;
        size_t callee = find_callee(g, oxp_walk_node(&walk));
        if (callee == g->count) {
            node->operators++;
            continue;
        }
        OXP_TRY(oxp_grow(&g->callees, &g->callee_capacity, g->check->ctx, g->callee_count + 1,
                         sizeof *g->callees));
        g->callees[g->callee_count++] = callee;
        node->call_count++;
    }
    return OXP_OK;
}

/* "A > B > A", the middle of a long cycle left out. `from` is the place of its first function on
 * the stack. */
static void cycle_text(const call_graph *g, size_t from, char out[CYCLE_TEXT_MAX])
{
    size_t used = 0, length = g->depth - from;
    assert(length > 0);
    for (size_t i = 0; i <= length; i++) {
        char quoted[OXP_QUOTED_MAX];
        if (i == 3 && length > 4) {
            used +=
                (size_t)snprintf(out + used, CYCLE_TEXT_MAX - used, " > (%zu more)", length - 4);
            i = length - 1;
        }
        const char *name = g->functions[g->stack[from + i % length].function]->name;
        oxp_quote(quoted, name);
        if (used + strlen(quoted) + 40 > CYCLE_TEXT_MAX)
            snprintf(quoted, sizeof quoted, "(a long name)");
        used += (size_t)snprintf(out + used, CYCLE_TEXT_MAX - used, "%s%s", i == 0 ? "" : " > ",
                                 quoted);
    }
}

static oxp_status refuse_cycle(const call_graph *g, size_t function)
{
    char cycle[CYCLE_TEXT_MAX];
    size_t from = 0;
    while (g->stack[from].function != function)
        from++;
    cycle_text(g, from, cycle);
    return oxp_check_fail(g->check, OXP_EFORMAT, "E-FUNC-CYCLE", "functions call themselves: %s",
                          cycle);
}

/* All callees of `function` are done. */
static oxp_status finish(call_graph *g, size_t function)
{
    char quoted[OXP_QUOTED_MAX];
    call_node *node = &g->nodes[function];
    node->expanded = node->operators;
    for (size_t i = 0; i < node->call_count; i++) {
        const call_node *callee = &g->nodes[g->callees[node->first_call + i]];
        node->expanded += callee->expanded;
        if (node->height < callee->height)
            node->height = callee->height;
        if (node->expanded > OXP_MAX_EXPANDED)
            break;
    }
    bool is_main = function == g->count;
    const char *what = is_main ? "graph" : "function";
    const char *name = is_main ? g->check->model->proto->graph->name : g->functions[function]->name;
    node->height += is_main ? 0 : 1;
    if (node->expanded > OXP_MAX_EXPANDED)
        return oxp_check_fail(g->check, OXP_ELIMIT, "E-LIMIT-EXPAND",
                              "%s %s has more than %d nodes when its calls are expanded", what,
                              oxp_quote(quoted, name), OXP_MAX_EXPANDED);
    if (node->height > OXP_MAX_CALL_DEPTH)
        return oxp_check_fail(g->check, OXP_ELIMIT, "E-LIMIT-EXPAND",
                              "%s %s begins a chain of more than %d calls in one another", what,
                              oxp_quote(quoted, name), OXP_MAX_CALL_DEPTH);
    node->color = BLACK;
    return OXP_OK;
}

static void push(call_graph *g, size_t function)
{
    g->nodes[function].color = GRAY;
    g->stack[g->depth++] = (step){.function = function};
}

static oxp_status search_from(call_graph *g, size_t start)
{
    push(g, start);
    while (g->depth > 0) {
        step *top = &g->stack[g->depth - 1];
        const call_node *node = &g->nodes[top->function];
        if (top->next_call == node->call_count) {
            OXP_TRY(finish(g, top->function));
            g->depth--;
            continue;
        }
        size_t callee = g->callees[node->first_call + top->next_call++];
        if (g->nodes[callee].color == GRAY)
            return refuse_cycle(g, callee);
        if (g->nodes[callee].color == WHITE)
            push(g, callee);
    }
    return OXP_OK;
}

static oxp_status check_calls(call_graph *g)
{
    OXP_TRY(oxp_alloc(&g->nodes, g->check->ctx, g->count + 1, sizeof *g->nodes, "functions"));
    OXP_TRY(oxp_alloc(&g->stack, g->check->ctx, g->count + 1, sizeof *g->stack, "functions"));
    for (size_t i = 0; i <= g->count; i++)
        OXP_TRY(gather_calls(g, i));
    for (size_t i = 0; i <= g->count; i++)
        if (g->nodes[i].color == WHITE)
            OXP_TRY(search_from(g, i));
    return OXP_OK;
}

/* ---- bodies ---- */

static oxp_status check_body(oxp_check *c, const Onnx__FunctionProto *f)
{
    oxp_walk_begin_function(&c->walk, f);
    c->walk.depth = 0; /* the place is the function itself, not a node */
    if (f->name == NULL || f->name[0] == '\0')
        return oxp_check_fail(c, OXP_EFORMAT, "E-NAME", "a function has no name");
    OXP_TRY(oxp_check_opsets(c, f->opset_import, f->n_opset_import));
    OXP_TRY(oxp_check_attributes(c, f->attribute_proto, f->n_attribute_proto, OXP_NONFINITE_KEEP));
    oxp_walk_begin_function(&c->walk, f);
    return oxp_check_nodes(c);
}

oxp_status oxp_check_functions(oxp_check *check)
{
    const Onnx__ModelProto *m = check->model->proto;
    check->walk = (oxp_walk){0};
    if (m->n_functions == 0)
        return OXP_OK;
    if (m->n_functions > OXP_MAX_FUNCTIONS)
        return oxp_check_fail(check, OXP_ELIMIT, "E-LIMIT-FUNCS",
                              "%zu functions, at most %d are read", m->n_functions,
                              OXP_MAX_FUNCTIONS);
    for (size_t i = 0; i < m->n_functions; i++)
        OXP_TRY(check_body(check, m->functions[i]));
    check->walk = (oxp_walk){0};
    OXP_TRY(sort_functions(check));
    call_graph g = {.check = check, .functions = check->model->functions, .count = m->n_functions};
    oxp_status status = check_calls(&g);
    oxp_free(g.nodes);
    oxp_free(g.stack);
    oxp_free(g.callees);
    return status;
}
