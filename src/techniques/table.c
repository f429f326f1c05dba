/* table.c - the technique table, made from techniques.def. */
#include <string.h>

#include "techniques/technique.h"

#define OXP_TECHNIQUE(symbol) extern const oxp_technique symbol;
#include "techniques/techniques.def"
#undef OXP_TECHNIQUE

#define OXP_TECHNIQUE(symbol) &symbol,
static const oxp_technique *const table[] = {
#include "techniques/techniques.def"
};
#undef OXP_TECHNIQUE

size_t oxp_technique_count(void)
{
    return sizeof table / sizeof *table;
}

const oxp_technique *oxp_technique_at(size_t i)
{
    return table[i];
}

const oxp_technique *oxp_technique_find(const char *name)
{
    for (size_t i = 0; i < oxp_technique_count(); i++)
        if (strcmp(table[i]->name, name) == 0)
            return table[i];
    return NULL;
}
