/* packed.h - the form that w4 fits: codes of 2 to 7 bits with scales and zero points per block, of
 * the weight's matrix [rows, columns] (fit.h). */
#ifndef OXP_TECHNIQUES_PACKED_H
#define OXP_TECHNIQUES_PACKED_H

#include "kernels/block_grid.h"
#include "techniques/technique.h"

typedef struct oxp_packed {
    oxp_block_grid grid;
    size_t rows, columns;
    oxp_block_codes codes;
} oxp_packed;

#endif
