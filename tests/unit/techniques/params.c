/* Parameters as text: what is read is what is printed, and what is wrong is named. */
#include "techniques/params.h"

#include <criterion/criterion.h>
#include <string.h>

#include "techniques/technique.h"

static const oxp_param table[] = {
    {"bits", OXP_PARAM_COUNT, 2, 8, NULL, 4, "bits of a code"},
    {"block", OXP_PARAM_COUNT, 16, 256, "channel", 32, "inputs that share a scale"},
    {"sparsity", OXP_PARAM_REAL, 0, 1, NULL, 0.5, "share set to zero"},
    {"pattern", OXP_PARAM_PAIR, 0, 32, "none", -1, "of M, N are kept"},
    {"method", OXP_PARAM_WORD, 0, 0, "rtn|mse|gptq", 2, "how codes are found"},
    {0},
};

static oxp_status parse(oxp_params *p, oxp_ctx *ctx, const char *text)
{
    oxp_ctx_init(ctx);
    return oxp_params_parse(p, ctx, "w4", table, text, strlen(text));
}

static void expect_text(const char *text, const char *printed)
{
    oxp_ctx ctx;
    oxp_params p;
    oxp_arena arena;
    cr_assert_eq(parse(&p, &ctx, text), OXP_OK, "%s: %s", text, ctx.message);
    oxp_arena_init(&arena, &ctx);
    cr_assert_str_eq(oxp_params_text(&arena, &p, table), printed);
    oxp_params again;
    cr_assert_eq(parse(&again, &ctx, printed), OXP_OK);
    cr_assert_arr_eq(again.values, p.values, sizeof p.values);
    oxp_arena_free(&arena);
}

Test(params, what_is_read_is_printed)
{
    expect_text("", "bits=4,block=32,sparsity=0.5,pattern=none,method=gptq");
    expect_text("bits=3", "bits=3,block=32,sparsity=0.5,pattern=none,method=gptq");
    expect_text("method=rtn,block=channel,pattern=2:4,sparsity=0.25",
                "bits=4,block=channel,sparsity=0.25,pattern=2:4,method=rtn");
}

Test(params, pair_has_two_numbers)
{
    oxp_ctx ctx;
    oxp_params p;
    size_t of;
    cr_assert_eq(parse(&p, &ctx, "pattern=4:16"), OXP_OK);
    cr_assert_eq(oxp_params_pair(p.values[3], &of), 4);
    cr_assert_eq(of, 16);
    cr_assert(oxp_params_given(&p, 3) && !oxp_params_given(&p, 0));
}

Test(params, what_is_wrong_is_named)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"bit=3", "has no parameter \"bit\"; it has: bits, block"},
        {"bits=9", "bits=\"9\": expected a whole number from 2 to 8"},
        {"bits=2.5", "expected a whole number"},
        {"bits", "expected a whole number"},
        {"bits=", "expected a whole number"},
        {"bits=3,bits=3", "bits is given twice"},
        {"block=row", "expected a whole number from 16 to 256 or channel"},
        {"sparsity=nan", "expected a number from 0 to 1"},
        {"pattern=4:2", "expected N:M with M up to 32 or none"},
        {"pattern=2:64", "expected N:M"},
        {"pattern=2", "expected N:M"},
        {"method=best", "expected rtn|mse|gptq"},
        {"bits=3,", "a comma ends"},
        {",bits=3", "has no parameter"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        oxp_ctx ctx;
        oxp_params p = {.given = 77};
        cr_assert_eq(parse(&p, &ctx, cases[i].text), OXP_EUSAGE, "%s", cases[i].text);
        cr_assert(strstr(ctx.message, cases[i].message), "%s: %s", cases[i].text, ctx.message);
        cr_assert_eq(p.given, 77, "untouched on failure");
    }
}

/* Every technique's table can be printed and read. */
Test(params, tables_of_all_techniques)
{
    for (size_t i = 0; i < oxp_technique_count(); i++) {
        const oxp_technique *t = oxp_technique_at(i);
        oxp_ctx ctx;
        oxp_params p, again;
        oxp_arena arena;
        size_t count = 0;
        oxp_ctx_init(&ctx);
        oxp_arena_init(&arena, &ctx);
        while (t->params && t->params[count].name)
            cr_assert(t->params[count].help && ++count <= OXP_PARAMS_MAX, "%s", t->name);
        oxp_params_default(&p, t->params);
        const char *text = oxp_params_text(&arena, &p, t->params);
        cr_assert_eq(oxp_params_parse(&again, &ctx, t->name, t->params, text, strlen(text)), OXP_OK,
                     "%s: %s", t->name, ctx.message);
        cr_assert_arr_eq(again.values, p.values, sizeof p.values, "%s", t->name);
        cr_assert((t->apply != NULL) != (t->rewrite != NULL), "%s edits in one way", t->name);
        oxp_arena_free(&arena);
    }
}
