/* plan_forms.c - what a weight could be stored as: a row each, exact duplicates of an earlier row
 * left out weight by weight. Each row costs a fit of all weights. All are computed in float and
 * folded when the model is loaded. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "planner/plan.h"

#define CHANNEL SIZE_MAX

const oxp_plan_form oxp_plan_forms[] = {
    {NULL, 0, 0},
    {&oxp_technique_fp16, 0, 0},
    {&oxp_technique_w8, 0, 0},
    {&oxp_technique_w4, 7, 32},
    {&oxp_technique_w4, 6, 32},
    {&oxp_technique_w4, 6, CHANNEL},
    {&oxp_technique_w4, 5, 32},
    {&oxp_technique_w4, 5, CHANNEL},
    {&oxp_technique_w4, 4, 32},
    {&oxp_technique_w4, 4, 128},
    {&oxp_technique_w4, 4, CHANNEL},
    {&oxp_technique_w4, 3, 32},
    {&oxp_technique_w4, 3, 128},
    {&oxp_technique_w4, 3, CHANNEL},
    {&oxp_technique_w4, 2, 32},
    {&oxp_technique_w4, 2, 128},
    {&oxp_technique_w4, 2, CHANNEL},
};
const size_t oxp_plan_form_count = sizeof oxp_plan_forms / sizeof *oxp_plan_forms;

oxp_choice oxp_plan_choice(const oxp_plan_form *form)
{
    oxp_choice choice = {.technique = form->technique, .limit = 127, .block = form->block};
    if (form->bits)
        choice.limit = (1 << (form->bits - 1)) - 1;
    return choice;
}

const char *oxp_plan_choice_text(oxp_arena *arena, const oxp_choice *choice)
{
    if (!choice->technique)
        return "float";
    if (choice->technique != &oxp_technique_w4)
        return choice->technique->name;
    int bits = oxp_packed_bits(choice);
    if (choice->block == CHANNEL)
        return oxp_arena_printf(arena, "%s:bits=%d,block=channel", choice->technique->name, bits);
    return oxp_arena_printf(arena, "%s:bits=%d,block=%zu", choice->technique->name, bits,
                            choice->block ? choice->block : 32);
}

/* ---- reading ---- */

static bool read_whole(const char *text, size_t length, size_t *out)
{
    *out = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9' || i == 9)
            return false;
        *out = 10 * *out + (size_t)(text[i] - '0');
    }
    return length > 0;
}

/* One "name=value" of w4; returns what is wrong with it, or NULL. */
static const char *read_parameter(oxp_choice *choice, const char *text, size_t length)
{
    size_t number = 0;
    if (length == 13 && strncmp(text, "block=channel", length) == 0) {
        choice->block = CHANNEL;
        return NULL;
    }
    if (length > 6 && strncmp(text, "block=", 6) == 0) {
        choice->block = number;
        if (!read_whole(text + 6, length - 6, &choice->block) || choice->block < 16)
            return "block= takes 16 or more, or channel";
        return NULL;
    }
    if (length <= 5 || strncmp(text, "bits=", 5) != 0)
        return "w4 takes bits= and block=";
    if (!read_whole(text + 5, length - 5, &number) || number < 2 || number > 7)
        return "bits= takes 2 to 7";
    choice->limit = (1 << (number - 1)) - 1;
    return NULL;
}

static const char *read_parameters(oxp_choice *choice, const char *text)
{
    if (choice->technique != &oxp_technique_w4)
        return "this technique takes no parameters in a plan";
    for (;;) {
        size_t length = strcspn(text, ",");
        const char *fault = read_parameter(choice, text, length);
        if (fault || text[length] == '\0')
            return fault;
        text += length + 1;
    }
}

static const oxp_technique *find(const char *name, size_t length)
{
    for (size_t f = 1; f < oxp_plan_form_count; f++) {
        const oxp_technique *t = oxp_plan_forms[f].technique;
        if (strlen(t->name) == length && strncmp(t->name, name, length) == 0)
            return t;
    }
    return NULL;
}

oxp_choice oxp_plan_choice_read(const char *text, const char **fault)
{
    size_t length = strcspn(text, ":");
    oxp_choice choice = {.limit = 127};
    *fault = NULL;
    if (strcmp(text, "float") == 0)
        return choice;
    choice.technique = find(text, length);
    if (choice.technique == &oxp_technique_w4)
        choice.limit = 7;
    if (!choice.technique)
        *fault = "a plan takes float, fp16, w8 and w4";
    else if (text[length] == ':')
        *fault = read_parameters(&choice, text + length + 1);
    return choice;
}

bool oxp_plan_choice_applies(const oxp_site *s, const oxp_choice *choice, const char **why_not)
{
    if (!choice->technique)
        return true;
    if (s->is_operand && choice->technique != &oxp_technique_fp16) {
        *why_not = "no weight of a layer: half precision keeps every element";
        return false;
    }
    return choice->technique->applies(s, why_not);
}
