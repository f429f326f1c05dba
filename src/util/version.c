/* version.c - the version, in one place. */
#include "onnxpress.h"

const char *oxp_version(void)
{
    return "0.1.0";
}
