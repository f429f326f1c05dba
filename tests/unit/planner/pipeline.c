/* Pipelines as text, and what cannot follow what. */
#include "planner/pipeline.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static oxp_status parse(oxp_pipeline *p, oxp_ctx *ctx, const char *text)
{
    oxp_ctx_init(ctx);
    return oxp_pipeline_parse(p, ctx, text);
}

Test(pipeline, one_stage_is_one_technique)
{
    for (size_t i = 0; i < oxp_technique_count(); i++) {
        oxp_ctx ctx;
        oxp_pipeline p;
        cr_assert_eq(parse(&p, &ctx, oxp_technique_at(i)->name), OXP_OK, "%s", ctx.message);
        cr_assert_eq(p.count, 1);
        cr_assert_eq(p.stages[0].technique, oxp_technique_at(i));
    }
}

/* Every pair of techniques: one order at least is refused, and no pair of codes is taken. */
Test(pipeline, pairs)
{
    for (size_t i = 0; i < oxp_technique_count(); i++)
        for (size_t k = 0; k < oxp_technique_count(); k++) {
            const oxp_technique *a = oxp_technique_at(i), *b = oxp_technique_at(k);
            char text[64];
            oxp_ctx ctx;
            oxp_pipeline p;
            snprintf(text, sizeof text, "%s+%s", a->name, b->name);
            bool can = oxp_pipeline_conflict(a, b) == NULL;
            cr_assert_eq(parse(&p, &ctx, text), can ? OXP_OK : OXP_EUSAGE, "%s", text);
            cr_assert(can || strstr(ctx.message, "cannot follow"), "%s", ctx.message);
            cr_assert(!can || a->stage < OXP_STAGE_QUANTISE, "%s", text);
            cr_assert(!can || a != b, "%s", text);
        }
}

Test(pipeline, printed_text_is_read_back)
{
    oxp_ctx ctx;
    oxp_pipeline p, again;
    oxp_arena arena;
    cr_assert_eq(parse(&p, &ctx, "w8"), OXP_OK);
    oxp_arena_init(&arena, &ctx);
    const char *text = oxp_pipeline_text(&arena, &p, NULL);
    cr_assert_eq(parse(&again, &ctx, text), OXP_OK, "%s", text);
    cr_assert_eq(again.count, p.count);
    cr_assert_eq(again.stages[0].technique, p.stages[0].technique);
    oxp_arena_free(&arena);
}

Test(pipeline, what_is_wrong_is_named)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "stage 1 is empty"},
        {"w8+", "stage 2 is empty"},
        {"+w8", "stage 1 is empty"},
        {":bits=3", "stage 1 is empty"},
        {"w7", "no technique is called \"w7\""},
        {"w8w8w8w8w8w8w8w8w8w8w8w8w8w8w8w8w8w8w8w8w8w8w8w8w8w8w8w8w8w8w8w8w8w8w8w8w8",
         "no technique"},
        {"w8:colour=red", "has no parameter"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        oxp_ctx ctx;
        oxp_pipeline p = {.count = 77};
        cr_assert_eq(parse(&p, &ctx, cases[i].text), OXP_EUSAGE, "%s", cases[i].text);
        cr_assert(strstr(ctx.message, cases[i].message), "%s: %s", cases[i].text, ctx.message);
        cr_assert_eq(p.count, 77, "untouched on failure");
    }
}
