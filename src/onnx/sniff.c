/* sniff.c - what a file that is no ONNX model looks like, from its first bytes.
 *
 * No model begins like that: most signatures hold a field number of 0, a group, a wire type that
 * does not exist or a field of the wrong type, the others fields that no schema has; and a model is
 * never free of control characters, as its tags and lengths are such. */
#include <string.h>

#include "onnx/unpack.h"

typedef struct signature {
    const char *what;
    size_t bytes;
    const char *magic;
} signature;

static const signature signatures[] = {
    {"a PNG image", 8, "\x89PNG\r\n\x1a\n"},
    {"a JPEG image", 3, "\xff\xd8\xff"},
    {"a ZIP archive", 4, "PK\x03\x04"},
    {"a GGUF model", 4, "GGUF"},
    {"an HDF5 file", 8, "\x89HDF\r\n\x1a\n"},
    {"a gzip file", 3, "\x1f\x8b\x08"},
    {"a zstd file", 4, "\x28\xb5\x2f\xfd"},
    {"an xz file", 6, "\xfd\x37zXZ\x00"},
    {"a NumPy array", 6, "\x93NUMPY"},
    {"a PyTorch file", 6, "\x80\x02\x8a\x0a\x6c\xfc"},
    {"a pickle", 3, "\x80\x04\x95"},
    {"an ELF file", 4, "\x7f\x45LF"},
    {"a PDF document", 5, "%PDF-"},
    {"a pointer of Git LFS, not the file itself", 34, "version https://git-lfs.github.com"},
};

/* A flatbuffer: offset of the root table, below 64 KiB, then four letters. */
static const char *flatbuffer(const uint8_t *data, size_t bytes)
{
    if (bytes < 8 || data[2] != 0 || data[3] != 0)
        return NULL;
    if (memcmp(data + 4, "TFL3", 4) == 0)
        return "a TensorFlow Lite model";
    return memcmp(data + 4, "ORTM", 4) == 0 ? "a model in ORT format" : NULL;
}

/* Eight bytes of header length, then a JSON object. */
static bool is_safetensors(const uint8_t *data, size_t bytes)
{
    uint64_t length = 0;
    if (bytes < 10 || data[8] != '{')
        return false;
    for (size_t i = 0; i < 8; i++)
        length |= (uint64_t)data[i] << (8 * i);
    return length >= 2 && length <= 100000000 && (data[9] == '"' || data[9] == '}');
}

static bool is_text(const uint8_t *data, size_t bytes)
{
    size_t looked_at = bytes < 4096 ? bytes : 4096;
    for (size_t i = 0; i < looked_at; i++) {
        bool blank = data[i] == '\n' || data[i] == '\r' || data[i] == '\t';
        if ((data[i] < 0x20 && !blank) || data[i] == 0x7f)
            return false;
    }
    return looked_at > 0 && data[0] < 0x80;
}

const char *oxp_sniff(const uint8_t *data, size_t bytes)
{
    for (size_t i = 0; i < sizeof signatures / sizeof signatures[0]; i++) {
        const signature *s = &signatures[i];
        if (bytes >= s->bytes && memcmp(data, s->magic, s->bytes) == 0)
            return s->what;
    }
    if (is_safetensors(data, bytes))
        return "a safetensors file";
    if (is_text(data, bytes))
        return "text";
    return flatbuffer(data, bytes);
}
