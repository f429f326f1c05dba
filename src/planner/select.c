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

static oxp_status split_layer(const chooser *c, const char *text, char glob[512],
                              const oxp_technique **technique)
{
    char quoted[OXP_QUOTED_MAX];
    const char *equals = strrchr(text, '=');
    if (!equals || equals == text || equals - text >= 512)
        return oxp_fail(c->ctx, OXP_EUSAGE, "E-SELECT", "--layer %s: expected GLOB=TECHNIQUE",
                        oxp_quote(quoted, text));
    snprintf(glob, 512, "%.*s", (int)(equals - text), text);
    *technique = strcmp(equals + 1, "float") == 0 ? NULL : oxp_technique_find(equals + 1);
    if (!*technique && strcmp(equals + 1, "float") != 0)
        return oxp_fail(c->ctx, OXP_EUSAGE, "E-SELECT",
                        "--layer %s: no technique of that name; `onnxpress techniques` lists them",
                        oxp_quote(quoted, text));
    return OXP_OK;
}

/* An exact name wins over a glob; among globs the later flag wins. */
static oxp_status force(const chooser *c, const char *text, bool *is_forced,
                        const oxp_technique **forced, bool *exact)
{
    char glob[512], label[OXP_NODE_TEXT_MAX], quoted[OXP_QUOTED_MAX];
    const oxp_technique *technique;
    OXP_TRY(split_layer(c, text, glob, &technique));
    if (!matches_any_node(c->graphs, c->graph_count, glob, false))
        return oxp_fail(c->ctx, OXP_EUSAGE, "E-SELECT", "--layer %s matches no node of the model",
                        oxp_quote(quoted, text));
    for (size_t i = 0; i < c->count; i++)
        for (size_t k = 0; k < c->sites[i].consumer_count; k++) {
            oxp_graph_node_label(label, c->sites[i].consumers[k].node);
            bool same = strcmp(glob, label) == 0;
            if (!oxp_glob(glob, label) || (exact[i] && !same))
                continue;
            is_forced[i] = true;
            forced[i] = technique;
            exact[i] |= same;
        }
    return OXP_OK;
}

oxp_status oxp_select(const oxp_selection *s, const oxp_graph *graph, const oxp_site *sites,
                      size_t count, bool *selected, bool *is_forced, const oxp_technique **forced)
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
        status = force(&c, *l, is_forced, forced, exact);
    oxp_arena_free(&arena);
    return status;
}
