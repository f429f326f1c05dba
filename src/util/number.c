/* number.c - reading decimals. */
#include "util/number.h"

#include <stddef.h>

const char *oxp_read_decimal(const char *text, double *out)
{
    double whole = 0, unit = 1;
    const char *p = text;
    while (*p >= '0' && *p <= '9')
        whole = 10 * whole + (*p++ - '0');
    size_t digits = (size_t)(p - text);
    if (*p == '.')
        for (p++; *p >= '0' && *p <= '9'; p++, digits++) {
            whole = 10 * whole + (*p - '0');
            unit *= 10;
        }
    if (digits == 0)
        return NULL;
    *out = whole / unit;
    return p;
}
