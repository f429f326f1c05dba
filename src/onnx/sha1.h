/* sha1.h - SHA-1 (FIPS 180-4), for the checksum that ONNX defines for external data. Not for
 * security. */
#ifndef OXP_ONNX_SHA1_H
#define OXP_ONNX_SHA1_H

#include <stddef.h>
#include <stdint.h>

#define OXP_SHA1_BYTES 20

void oxp_sha1(uint8_t digest[OXP_SHA1_BYTES], const void *data, size_t bytes);

#endif
