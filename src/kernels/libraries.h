/* libraries.h - what computes: the library of kernels and the instruction set in use. */
#ifndef OXP_KERNELS_LIBRARIES_H
#define OXP_KERNELS_LIBRARIES_H

#include <stdbool.h>

void oxp_kernels_library(char out[64]); /* "oneDNN 2.6.3", or "plain" */
const char *oxp_kernels_instruction_set(void);

/* Pins the kernels of this process to at most "baseline", "avx2" or "avx512"; possible before the
 * first kernel runs. False when that is past, or when the processor has not got it. */
bool oxp_kernels_pin(const char *instruction_set); /* "avx512", "avx2", "baseline" */

#endif
