/* external.h - the parts of external data that stand apart from a model: for the gate, the check
 * and their tests. */
#ifndef OXP_ONNX_EXTERNAL_H
#define OXP_ONNX_EXTERNAL_H

#include "onnx/model_internal.h"

#define OXP_EXTERNAL_MAX_FILES 1024
#define OXP_EXTERNAL_MAX_PATH 4095
#define OXP_EXTERNAL_MAX_COMPONENT 255

/* Why a location is refused before any file is touched; NULL when it is a plain relative path. */
const char *oxp_external_location_fault(const char *location);

/* Digits only, 1 to 20 of them, within int64. */
bool oxp_external_number(const char *text, uint64_t *value);

/* Opens a file below `directory` without following any link, or -1 with errno: ELOOP for a link,
 * EXDEV for a way out. `modern` asks openat2; else, and where the kernel lacks it, each component
 * is opened by itself. */
int oxp_external_open_beneath(int directory, const char *location, bool modern);

/* The first key that ONNX does not define; NULL when there is none. */
const char *oxp_external_unknown_key(const Onnx__TensorProto *t);

/* The file (an index of model->externals) and the offset behind a pointer that oxp_external_bytes()
 * gave. */
void oxp_external_place(const oxp_model *model, const uint8_t *bytes, size_t *file, size_t *offset);

#endif
