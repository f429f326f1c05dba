/* table.c - the operator table, made from operators.def, and its lookup. */
#include <string.h>

#include "operators/operator.h"

#define OXP_OPERATOR(symbol) extern const oxp_operator symbol;
#include "operators/operators.def"
#undef OXP_OPERATOR

#define OXP_OPERATOR(symbol) &symbol,
static const oxp_operator *const table[] = {
#include "operators/operators.def"
};
#undef OXP_OPERATOR

size_t oxp_operator_count(void)
{
    return sizeof table / sizeof *table;
}

const oxp_operator *oxp_operator_at(size_t i)
{
    return table[i];
}

const oxp_operator *oxp_operator_find(const char *domain, const char *type, int64_t opset,
                                      bool *known)
{
    const oxp_operator *best = NULL;
    *known = false;
    for (size_t i = 0; i < oxp_operator_count(); i++) {
        const oxp_operator *op = table[i];
        if (strcmp(op->type, type) != 0 || strcmp(op->domain, domain) != 0)
            continue;
        *known = true;
        if (op->since <= opset && (!best || op->since > best->since))
            best = op;
    }
    return best;
}
