/* libraries.c - asks oneDNN and the processor. */
#include "kernels/libraries.h"

#include <stdio.h>

#ifndef OXP_KERNELS_REFERENCE
#include <oneapi/dnnl/dnnl.h>
#endif

void oxp_kernels_library(char out[64])
{
#ifdef OXP_KERNELS_REFERENCE
    snprintf(out, 64, "plain");
#else
    const dnnl_version_t *v = dnnl_version();
    snprintf(out, 64, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
#endif
}

const char *oxp_kernels_instruction_set(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f"))
        return "avx512";
    if (__builtin_cpu_supports("avx2"))
        return "avx2";
#endif
    return "baseline";
}
