/* machine.c - the described machines, and questions to any. */
#include "deployment/machine.h"

#include <string.h>

const char *oxp_work_name(oxp_work w)
{
    static const char *const names[OXP_WORK_COUNT] = {"dense",          "dense_int8", "depthwise",
                                                      "depthwise_int8", "simple",     "function"};
    return w < OXP_WORK_COUNT ? names[w] : "?";
}

#define G 1e9
#define KIB 1024.0
#define MIB (1024.0 * 1024.0)

/* Peak: cores' multiply-add lanes times their base clock. Typical rates and dispatch are not in any
 * data sheet: they are the shares that the kernels here reach on the machine that was measured
 * (dense half of peak, depthwise a twentieth, elementwise and functions by the bandwidth of the
 * second level), and mark the slow end of the bracket. Cache bandwidths of one core are bytes per
 * cycle times clock as the vendors' optimisation guides give them. */
static const oxp_machine machines[] = {
    {.name = "laptop",
     .source = "Intel Core i7-1165G7: 4 cores, 2.8 GHz, one 512-bit multiply-add per cycle, VNNI, "
               "48 KiB/1.25 MiB/12 MiB caches, DDR4-3200 two channels 51.2 GB/s (Intel ARK, "
               "Tiger Lake optimisation guide); typical rates in proportion",
     .cores = 4,
     .rates = {{89.6 * G, 45 * G},
               {358 * G, 90 * G},
               {30 * G, 4.5 * G},
               {60 * G, 4.5 * G},
               {22 * G, 2 * G},
               {5 * G, 0.4 * G}},
     .levels = {{"L1", 48 * KIB, 180 * G, 720 * G},
                {"L2", 1.25 * MIB, 90 * G, 360 * G},
                {"L3", 12 * MIB, 45 * G, 120 * G},
                {"DRAM", 16e9, 20 * G, 51.2 * G}},
     .level_count = 4,
     .dispatch_low = 0.2e-6,
     .dispatch_high = 4e-6,
     .disk_bandwidth = 2e9},
    {.name = "server-vnni",
     .source = "Intel Xeon Platinum 8380: 40 cores, 2.3 GHz, two 512-bit multiply-adds per cycle, "
               "VNNI, 48 KiB/1.25 MiB/60 MiB caches, DDR4-3200 eight channels 204.8 GB/s (Intel "
               "ARK, Ice Lake optimisation guide); typical rates in proportion",
     .cores = 40,
     .rates = {{147 * G, 74 * G},
               {588 * G, 147 * G},
               {49 * G, 7.4 * G},
               {98 * G, 7.4 * G},
               {36 * G, 3 * G},
               {8 * G, 0.6 * G}},
     .levels = {{"L1", 48 * KIB, 290 * G, 11600 * G},
                {"L2", 1.25 * MIB, 100 * G, 4000 * G},
                {"L3", 60 * MIB, 25 * G, 600 * G},
                {"DRAM", 256e9, 14 * G, 204.8 * G}},
     .level_count = 4,
     .dispatch_low = 0.2e-6,
     .dispatch_high = 4e-6,
     .disk_bandwidth = 3e9},
    {.name = "server-avx2",
     .source = "Intel Xeon E5-2699 v4: 22 cores, 2.2 GHz, two 256-bit multiply-adds per cycle, no "
               "VNNI, 32 KiB/256 KiB/55 MiB caches, DDR4-2400 four channels 76.8 GB/s (Intel ARK, "
               "Broadwell optimisation guide); typical rates in proportion",
     .cores = 22,
     .rates = {{70.4 * G, 35 * G},
               {140 * G, 40 * G},
               {23 * G, 3.5 * G},
               {35 * G, 3.5 * G},
               {17 * G, 1.5 * G},
               {4 * G, 0.3 * G}},
     .levels = {{"L1", 32 * KIB, 140 * G, 3080 * G},
                {"L2", 256 * KIB, 55 * G, 1210 * G},
                {"L3", 55 * MIB, 20 * G, 350 * G},
                {"DRAM", 128e9, 11 * G, 76.8 * G}},
     .level_count = 4,
     .dispatch_low = 0.3e-6,
     .dispatch_high = 6e-6,
     .disk_bandwidth = 2e9},
    {.name = "arm-board",
     .source = "Raspberry Pi 4 (BCM2711): 4 Cortex-A72 cores, 1.5 GHz, one 128-bit multiply-add "
               "per cycle, no dot-product instructions, 32 KiB/1 MiB caches, LPDDR4-3200 on 32 "
               "bits 12.8 GB/s (Raspberry Pi and Arm data sheets); typical rates in proportion",
     .cores = 4,
     .rates = {{12 * G, 6 * G},
               {24 * G, 7 * G},
               {4 * G, 0.6 * G},
               {6 * G, 0.6 * G},
               {3 * G, 0.25 * G},
               {0.7 * G, 0.05 * G}},
     .levels = {{"L1", 32 * KIB, 24 * G, 96 * G},
                {"L2", 1 * MIB, 12 * G, 24 * G},
                {"DRAM", 4e9, 4 * G, 12.8 * G}},
     .level_count = 3,
     .dispatch_low = 1e-6,
     .dispatch_high = 20e-6,
     .disk_bandwidth = 40e6},
    {.name = "datacenter-gpu",
     .source = "NVIDIA A100 40 GB SXM: 19.5 TFLOP/s float32, 624 TOP/s int8 on tensor cores, 40 "
               "MiB L2, HBM2 1,555 GB/s (NVIDIA A100 data sheet); one device counts as one core; "
               "typical rates in proportion, a kernel launch 3 to 10 us",
     .cores = 1,
     .rates = {{19500 * G, 8000 * G},
               {624000 * G, 60000 * G},
               {19500 * G, 1000 * G},
               {39000 * G, 1000 * G},
               {9700 * G, 500 * G},
               {2400 * G, 200 * G}},
     .levels = {{"L2", 40 * MIB, 4000 * G, 4000 * G}, {"HBM", 40e9, 1555 * G, 1555 * G}},
     .level_count = 2,
     .dispatch_low = 3e-6,
     .dispatch_high = 10e-6,
     .disk_bandwidth = 3e9},
};

size_t oxp_machine_count(void)
{
    return sizeof machines / sizeof *machines;
}

const oxp_machine *oxp_machine_at(size_t i)
{
    return &machines[i];
}

double oxp_machine_bandwidth(const oxp_machine *m, int level, int threads)
{
    double alone = m->levels[level].bandwidth * threads, all = m->levels[level].bandwidth_of_all;
    return alone < all ? alone : all;
}

int oxp_machine_level(const oxp_machine *m, double bytes)
{
    int level = 0;
    while (level + 1 < m->level_count && m->levels[level].bytes < bytes)
        level++;
    return level;
}
