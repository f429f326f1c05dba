/* artefact_file.h - the container of a calibration artefact: sections behind one another, an index
 * at the end, so that a reader takes only what it needs.
 *
 *     16 bytes   "\x89OXC\r\n\x1a\n", u32 version, u32 kind
 *     sections   each at a multiple of 8, zeros between
 *     index      per section u32 tag, u32 item, u64 offset, u64 bytes, u64 xxh3 of its bytes
 *     40 bytes   u64 offset of the index, u64 sections, u64 bytes of the file,
 *                u64 xxh3 of the first 16 bytes, of the index and of the three numbers,
 *                "OXC-END\n"
 *
 * All numbers are little-endian. Sections stand in ascending order of (tag, item), cover the file
 * without holes and do not overlap. Nothing is allocated from a claim: a count is believed when
 * the section has the bytes for it. Whatever is wrong with a file is OXP_EFORMAT: E-OXC-MAGIC,
 * E-OXC-VERSION, E-OXC-KIND, E-OXC-LENGTH, E-OXC-INDEX, E-OXC-HASH, E-OXC-SECTION. */
#ifndef OXP_CALIBRATION_ARTEFACT_FILE_H
#define OXP_CALIBRATION_ARTEFACT_FILE_H

#include "util/file.h"

#define OXP_OXC_VERSION 1u

typedef enum oxp_oxc_kind { OXP_OXC_ARTEFACT = 1, OXP_OXC_CHECKPOINT = 2 } oxp_oxc_kind;

typedef struct oxp_oxc_section {
    uint32_t tag, item;
    uint64_t offset, bytes, hash;
} oxp_oxc_section;

/* ---- writing ---- */

typedef struct oxp_oxc_writer oxp_oxc_writer;

/* Puts the head into an open output. */
oxp_status oxp_oxc_begin(oxp_oxc_writer **out, oxp_ctx *ctx, oxp_output_file *file,
                         oxp_oxc_kind kind);
/* What follows belongs to this section; (tag, item) above that of the section before. */
oxp_status oxp_oxc_section_begin(oxp_oxc_writer *w, uint32_t tag, uint32_t item);
oxp_status oxp_oxc_put(oxp_oxc_writer *w, const void *data, size_t bytes);
oxp_status oxp_oxc_put_u8(oxp_oxc_writer *w, uint8_t value);
oxp_status oxp_oxc_put_u32(oxp_oxc_writer *w, uint32_t value);
oxp_status oxp_oxc_put_u64(oxp_oxc_writer *w, uint64_t value);
/* Seven bits a byte, the lowest first. */
oxp_status oxp_oxc_put_varint(oxp_oxc_writer *w, uint64_t value);
oxp_status oxp_oxc_put_text(oxp_oxc_writer *w, const char *text);
/* Index and end, and the file read back against the index: OXP_EINTERNAL E-VERIFY. */
oxp_status oxp_oxc_finish(oxp_oxc_writer *w);
size_t oxp_oxc_bytes(const oxp_oxc_writer *w);
uint64_t oxp_oxc_hash(const oxp_oxc_writer *w); /* XXH3-64 of the whole file, once it is finished */
void oxp_oxc_writer_free(oxp_oxc_writer *w);    /* takes NULL; the output stays open */

/* ---- reading ---- */

typedef struct oxp_oxc_reader {
    oxp_ctx *ctx;
    oxp_file_bytes file;
    oxp_oxc_kind kind;
    oxp_oxc_section *sections;
    size_t count;
    const char *path; /* for errors; borrowed */
} oxp_oxc_reader;

/* Opens a file and checks its index. Zero or opened: close takes both. */
oxp_status oxp_oxc_open(oxp_oxc_reader *out, oxp_ctx *ctx, const char *path);
void oxp_oxc_close(oxp_oxc_reader *r);

/* What is left of a section. The first failure stays: later calls give zeros and change nothing. */
typedef struct oxp_oxc_cursor {
    const oxp_oxc_reader *reader;
    oxp_oxc_section section;
    const uint8_t *at, *end;
    oxp_status status;
} oxp_oxc_cursor;

bool oxp_oxc_has(const oxp_oxc_reader *r, uint32_t tag, uint32_t item);
/* Finds a section and holds its bytes against their hash; E-OXC-SECTION when it is not there. */
oxp_status oxp_oxc_section_open(oxp_oxc_cursor *out, const oxp_oxc_reader *r, uint32_t tag,
                                uint32_t item);
uint8_t oxp_oxc_u8(oxp_oxc_cursor *c);
uint32_t oxp_oxc_u32(oxp_oxc_cursor *c);
uint64_t oxp_oxc_u64(oxp_oxc_cursor *c);
uint64_t oxp_oxc_varint(oxp_oxc_cursor *c);
/* Copied into the arena; at most 64 KiB, without NUL. */
const char *oxp_oxc_text(oxp_oxc_cursor *c, oxp_arena *arena);
/* `count` of `size` bytes each, copied to `out`. */
void oxp_oxc_numbers(oxp_oxc_cursor *c, void *out, size_t count, size_t size);
/* A count of things that take at least `least` bytes each: no more than are left. */
size_t oxp_oxc_count(oxp_oxc_cursor *c, size_t least);
/* The cursor's failure, or E-OXC-SECTION when not everything was read. */
oxp_status oxp_oxc_section_end(oxp_oxc_cursor *c);
/* Something that was read cannot be: E-OXC-SECTION with `what`. */
oxp_status oxp_oxc_refuse(oxp_oxc_cursor *c, const char *what);

#endif
