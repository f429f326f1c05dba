/* random.c - counter-based random numbers.
 *
 * bits(key, n) = mix(key + n * 0x9e3779b97f4a7c15), n = 1, 2, ..., where mix is the output function
 * of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
 * Not for cryptography. */
#include "util/random.h"

#include <assert.h>
#include <math.h>

#define GOLDEN UINT64_C(0x9e3779b97f4a7c15)

static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

oxp_random oxp_random_make(uint64_t seed, uint64_t sample_hash, uint64_t tensor)
{
    uint64_t key = mix(seed + GOLDEN);
    key = mix((key ^ sample_hash) + GOLDEN);
    key = mix((key ^ tensor) + GOLDEN);
    return (oxp_random){.key = key};
}

uint64_t oxp_random_bits(oxp_random *r)
{
    r->counter++;
    return mix(r->key + r->counter * GOLDEN);
}

double oxp_random_uniform(oxp_random *r)
{
    return (double)(oxp_random_bits(r) >> 11) * 0x1p-53;
}

size_t oxp_random_below(oxp_random *r, size_t n)
{
    assert(n > 0);
    /* The upper half of bits * n; draws that would make some results likelier are thrown away. */
    uint64_t range = n;
    uint64_t uneven = (0 - range) % range;
    for (;;) {
        unsigned __int128 product = (unsigned __int128)oxp_random_bits(r) * range;
        if ((uint64_t)product >= uneven)
            return (size_t)(product >> 64);
    }
}

double oxp_random_normal(oxp_random *r)
{
    double radius = sqrt(-2.0 * log(1.0 - oxp_random_uniform(r)));
    return radius * cos(2.0 * 3.14159265358979323846 * oxp_random_uniform(r));
}

float oxp_random_sign(oxp_random *r)
{
    return oxp_random_bits(r) >> 63 != 0 ? 1.0f : -1.0f;
}
