/* pipeline.c - see pipeline.h. */
#include "planner/pipeline.h"

#include <string.h>

const char *oxp_pipeline_conflict(const oxp_technique *a, const oxp_technique *b)
{
    if (a == b)
        return "a technique stands in a pipeline once";
    if (a->stage >= OXP_STAGE_QUANTISE)
        return "its codes are what is stored, and nothing can change them afterwards";
    if (b->stage == OXP_STAGE_STRUCTURE)
        return "channels go before anything is done to what remains";
    return NULL;
}

static oxp_status add_stage(oxp_pipeline *p, oxp_ctx *ctx, const char *text, size_t length)
{
    char name[64], quoted[OXP_QUOTED_MAX];
    const char *colon = memchr(text, ':', length);
    size_t size = colon ? (size_t)(colon - text) : length;
    if (size == 0)
        return oxp_fail(ctx, OXP_EUSAGE, "E-PIPELINE", "stage %zu is empty", p->count + 1);
    if (p->count == OXP_PIPELINE_MAX)
        return oxp_fail(ctx, OXP_EUSAGE, "E-PIPELINE", "more than %d stages", OXP_PIPELINE_MAX);
    size_t kept = size < sizeof name ? size : sizeof name - 1;
    memcpy(name, text, kept);
    name[kept] = '\0';
    oxp_pipeline_stage *s = &p->stages[p->count];
    s->technique = oxp_technique_find(name);
    if (!s->technique || kept < size)
        return oxp_fail(ctx, OXP_EUSAGE, "E-PIPELINE",
                        "no technique is called %s; `onnxpress techniques` lists them",
                        oxp_quote(quoted, name));
    for (size_t i = 0; i < p->count; i++) {
        const oxp_technique *before = p->stages[i].technique;
        const char *why = oxp_pipeline_conflict(before, s->technique);
        if (why)
            return oxp_fail(ctx, OXP_EUSAGE, "E-PIPELINE", "%s cannot follow %s: %s",
                            s->technique->name, before->name, why);
    }
    p->count++;
    return colon
               ? oxp_params_parse(&s->params, ctx, s->technique->name, s->technique->params,
                                  colon + 1, length - size - 1)
               : oxp_params_parse(&s->params, ctx, s->technique->name, s->technique->params, "", 0);
}

oxp_status oxp_pipeline_parse(oxp_pipeline *out, oxp_ctx *ctx, const char *text)
{
    oxp_pipeline p = {.count = 0};
    for (const char *at = text;; at++) {
        const char *plus = strchr(at, '+');
        size_t length = plus ? (size_t)(plus - at) : strlen(at);
        OXP_TRY(add_stage(&p, ctx, at, length));
        if (!plus)
            break;
        at = plus;
    }
    *out = p;
    return OXP_OK;
}

const char *oxp_pipeline_text(oxp_arena *arena, const oxp_pipeline *p, const size_t *order)
{
    const char *text = "";
    for (size_t i = 0; text && i < p->count; i++) {
        const oxp_pipeline_stage *s = &p->stages[order ? order[i] : i];
        const char *params = oxp_params_text(arena, &s->params, s->technique->params);
        text = params ? oxp_arena_printf(arena, "%s%s%s%s%s", text, i ? "+" : "",
                                         s->technique->name, *params ? ":" : "", params)
                      : NULL;
    }
    return text;
}
