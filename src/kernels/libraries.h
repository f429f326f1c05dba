/* libraries.h - what computes: the library of kernels and the instruction set in use. */
#ifndef OXP_KERNELS_LIBRARIES_H
#define OXP_KERNELS_LIBRARIES_H

void oxp_kernels_library(char out[64]);        /* "oneDNN 2.6.3", or "plain" */
const char *oxp_kernels_instruction_set(void); /* "avx512", "avx2", "baseline" */

#endif
