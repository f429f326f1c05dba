/* random.h - counter-based random numbers (SplitMix64 of key and counter): the draw depends on the
 * key and the index alone, never on what was drawn before or by which thread. */
#ifndef OXP_UTIL_RANDOM_H
#define OXP_UTIL_RANDOM_H

#include <stddef.h>
#include <stdint.h>

typedef struct oxp_random {
    uint64_t key, counter;
} oxp_random;

oxp_random oxp_random_make(uint64_t seed, uint64_t sample_hash, uint64_t tensor);
uint64_t oxp_random_bits(oxp_random *r);
double oxp_random_uniform(oxp_random *r); /* [0, 1) */
size_t oxp_random_below(oxp_random *r, size_t n);
double oxp_random_normal(oxp_random *r);
float oxp_random_sign(oxp_random *r); /* +1 or -1 */

#endif
