/* number.h - decimal numbers as people write them, whatever the locale. */
#ifndef OXP_UTIL_NUMBER_H
#define OXP_UTIL_NUMBER_H

/* Digits, then perhaps a point and digits: no sign, no exponent. Returns what stands behind them,
 * or NULL when `text` begins with no such number. */
const char *oxp_read_decimal(const char *text, double *out);

#endif
