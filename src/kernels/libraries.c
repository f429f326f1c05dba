/* libraries.c - asks oneDNN and the processor. */
#include "kernels/libraries.h"

#include <stdio.h>
#include <string.h>

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

#ifdef OXP_KERNELS_REFERENCE

const char *oxp_kernels_instruction_set(void)
{
    return "baseline";
}

bool oxp_kernels_pin(const char *instruction_set)
{
    return strcmp(instruction_set, "baseline") == 0;
}

#else

static const struct {
    const char *name;
    dnnl_cpu_isa_t most;
} instruction_sets[] = {
    {"baseline", dnnl_cpu_isa_sse41}, {"avx2", dnnl_cpu_isa_avx2}, {"avx512", dnnl_cpu_isa_all}};

#define INSTRUCTION_SETS (sizeof instruction_sets / sizeof *instruction_sets)

/* oneDNN numbers instruction sets so that a larger one holds the bits of those it includes. */
const char *oxp_kernels_instruction_set(void)
{
    dnnl_cpu_isa_t now = dnnl_get_effective_cpu_isa();
    if ((now & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core)
        return "avx512";
    return (now & dnnl_cpu_isa_avx2) == dnnl_cpu_isa_avx2 ? "avx2" : "baseline";
}

bool oxp_kernels_pin(const char *instruction_set)
{
    for (size_t i = 0; i < INSTRUCTION_SETS; i++)
        if (strcmp(instruction_sets[i].name, instruction_set) == 0)
            return dnnl_set_max_cpu_isa(instruction_sets[i].most) == dnnl_success &&
                   strcmp(oxp_kernels_instruction_set(), instruction_set) == 0;
    return false;
}

#endif
