/* select.c - selectors against sites. */
#include "planner/select.h"

#include <stdio.h>
#include <string.h>

bool oxp_glob(const char *pattern, const char *text)
{
    const char *star = NULL, *resume = NULL;
    while (*text) {
        if (*pattern == '*') {
            star = pattern++;
            resume = text;
        } else if (*pattern == *text || *pattern == '?') {
            pattern++;
            text++;
        } else if (star) {
            pattern = star + 1;
            text = ++resume;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

static bool node_matches(const oxp_graph_node *n, const char *pattern, bool by_type)
{
    char label[OXP_NODE_TEXT_MAX];
    return by_type ? strcmp(n->type, pattern) == 0
                   : oxp_glob(pattern, oxp_graph_node_label(label, n));
}

static bool matches_any_node(const oxp_graph *const *graphs, size_t count, const char *pattern,
                             bool by_type)
{
    for (size_t g = 0; g < count; g++)
        for (size_t n = 0; n < graphs[g]->node_count; n++)
            if (node_matches(&graphs[g]->nodes[n], pattern, by_type))
                return true;
    return false;
}

typedef struct chooser {
    oxp_ctx *ctx;
    const oxp_graph *const *graphs;
    size_t graph_count;
    const oxp_site *sites;
    size_t count;
} chooser;

static oxp_status check_list(const chooser *c, const char *flag, const char *const *list,
                             bool by_type)
{
    char quoted[OXP_QUOTED_MAX];
    for (; list && *list; list++)
        if (!matches_any_node(c->graphs, c->graph_count, *list, by_type))
            return oxp_fail(c->ctx, OXP_EUSAGE, "E-SELECT", "%s %s matches no node of the model",
                            flag, oxp_quote(quoted, *list));
    return OXP_OK;
}

static bool site_matches(const oxp_site *s, const char *const *list, bool by_type)
{
    for (; list && *list; list++)
        for (size_t k = 0; k < s->consumer_count; k++)
            if (node_matches(s->consumers[k].node, *list, by_type))
                return true;
    return false;
}

typedef struct layer { /* "GLOB=TECHNIQUE[:PARAMETERS]" */
    char glob[512];
    const oxp_technique *technique; /* NULL: float */
    oxp_params params;
} layer;

/* The technique that a text begins with, up to its end or a colon; NULL and false: none. */
static bool starts_with_technique(const char *text, const oxp_technique **out)
{
    char name[64];
    size_t length = strcspn(text, ":");
    if (length >= sizeof name)
        return false;
    snprintf(name, sizeof name, "%.*s", (int)length, text);
    *out = oxp_technique_find(name);
    return *out || strcmp(text, "float") == 0;
}

/* Both names of nodes and parameters may hold `=`: the first behind which a technique stands. */
static oxp_status split_layer(const chooser *c, const char *text, layer *l)
{
    char quoted[OXP_QUOTED_MAX];
    const char *equals = strchr(text, '=');
    if (!equals || equals == text || strlen(text) >= sizeof l->glob)
        return oxp_fail(c->ctx, OXP_EUSAGE, "E-SELECT",
                        "--layer %s: expected GLOB=TECHNIQUE[:PARAMETERS]",
                        oxp_quote(quoted, text));
    while (equals && !starts_with_technique(equals + 1, &l->technique))
        equals = strchr(equals + 1, '=');
    if (!equals)
        return oxp_fail(c->ctx, OXP_EUSAGE, "E-SELECT",
                        "--layer %s: no technique of that name; `onnxpress techniques` lists them",
                        oxp_quote(quoted, text));
    snprintf(l->glob, sizeof l->glob, "%.*s", (int)(equals - text), text);
    if (!l->technique)
        return OXP_OK;
    const char *params = equals + 1 + strcspn(equals + 1, ":");
    params += *params == ':';
    return oxp_params_parse(&l->params, c->ctx, l->technique->name, l->technique->params, params,
                            strlen(params));
}

/* An exact name wins over a glob; among globs the later flag wins. */
static oxp_status force(const chooser *c, const char *text, bool *is_forced,
                        const oxp_technique **forced, oxp_params *params, bool *exact)
{
    char label[OXP_NODE_TEXT_MAX], quoted[OXP_QUOTED_MAX];
    layer l = {0};
    OXP_TRY(split_layer(c, text, &l));
    if (!matches_any_node(c->graphs, c->graph_count, l.glob, false))
        return oxp_fail(c->ctx, OXP_EUSAGE, "E-SELECT", "--layer %s matches no node of the model",
                        oxp_quote(quoted, text));
    for (size_t i = 0; i < c->count; i++)
        for (size_t k = 0; k < c->sites[i].consumer_count; k++) {
            oxp_graph_node_label(label, c->sites[i].consumers[k].node);
            bool same = strcmp(l.glob, label) == 0;
            if (!oxp_glob(l.glob, label) || (exact[i] && !same))
                continue;
            is_forced[i] = true;
            forced[i] = l.technique;
            if (params)
                params[i] = l.params;
            exact[i] |= same;
        }
    return OXP_OK;
}

oxp_status oxp_select(const oxp_selection *s, const oxp_graph *graph, const oxp_site *sites,
                      size_t count, bool *selected, bool *is_forced, const oxp_technique **forced,
                      oxp_params *params)
{
    chooser c = {.ctx = graph->ctx, .sites = sites, .count = count};
    oxp_arena arena;
    oxp_arena_init(&arena, graph->ctx);
    bool *exact = oxp_arena_alloc(&arena, count + 1, sizeof *exact);
    oxp_status status =
        exact ? oxp_graph_all(&c.graphs, &c.graph_count, &arena, graph) : OXP_ELIMIT;
    const struct {
        const char *flag;
        const char *const *list;
        bool by_type;
    } lists[] = {{"--nodes", s->nodes, false},
                 {"--exclude-nodes", s->exclude_nodes, false},
                 {"--op-types", s->op_types, true},
                 {"--exclude-op-types", s->exclude_op_types, true}};
    for (size_t i = 0; i < 4 && status == OXP_OK; i++)
        status = check_list(&c, lists[i].flag, lists[i].list, lists[i].by_type);
    for (size_t i = 0; i < count && status == OXP_OK; i++)
        selected[i] = (!s->nodes || site_matches(&sites[i], s->nodes, false)) &&
                      (!s->op_types || site_matches(&sites[i], s->op_types, true)) &&
                      !site_matches(&sites[i], s->exclude_nodes, false) &&
                      !site_matches(&sites[i], s->exclude_op_types, true);
    for (const char *const *l = s->layers; l && *l && status == OXP_OK; l++)
        status = force(&c, *l, is_forced, forced, params, exact);
    oxp_arena_free(&arena);
    return status;
}
