/* vector.h - how the loops of this folder become vector code without changing a result.
 *
 * OXP_VECTORISED compiles a function for AVX-512, AVX2 and the baseline and picks one when the
 * program is loaded. Lanes are independent IEEE operations and contraction is off, so all versions
 * give the same bits. A reduction names its own partial sums (OXP_LANES of them), because the
 * compiler may not reorder it. */
#ifndef OXP_KERNELS_VECTOR_H
#define OXP_KERNELS_VECTOR_H

#define OXP_LANES 16

/* KERNELS=reference: every kernel is its plain form. */
#ifdef OXP_KERNELS_REFERENCE
#define OXP_PLAIN 1
#else
#define OXP_PLAIN 0
#endif

#if defined(__GNUC__) && !defined(__clang__)
#define OXP_LOOPS   \
    __attribute__(( \
        optimize("tree-loop-vectorize", "tree-slp-vectorize", "vect-cost-model=dynamic")))
#else
#define OXP_LOOPS
#endif

/* In front of a loop whose destination is one of its sources or apart from them: nothing is
 * carried from turn to turn. */
#if defined(__GNUC__) && !defined(__clang__)
#define OXP_INDEPENDENT _Pragma("GCC ivdep")
#else
#define OXP_INDEPENDENT
#endif

#if defined(__x86_64__) && defined(__linux__)
#define OXP_VECTORISED OXP_LOOPS __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define OXP_VECTORISED OXP_LOOPS
#endif

#endif
