/* corpus.c - the models of Debian's libonnx-testdata, which nobody here wrote: all load, all come
 * back byte for byte, and no damage to one of them does more than make it be refused. */
#include "unit/onnx/encode.h"

#include <ftw.h>
#include <stdio.h>

#include "onnx/model_internal.h"
#include "onnx/tensor_file.h"
#include "onnx/unpack.h"

#define CORPUS "/usr/share/libonnx-testdata/data"

typedef struct paths {
    char **items;
    size_t count;
} paths;

static paths found; /* nftw() hands nothing through */
static const char *wanted;

static int collect(const char *path, const struct stat *about, int kind, struct FTW *where)
{
    (void)about;
    (void)where;
    size_t length = strlen(path), tail = strlen(wanted);
    if (kind != FTW_F || length < tail || strcmp(path + length - tail, wanted) != 0)
        return 0;
    found.items = realloc(found.items, (found.count + 1) * sizeof *found.items);
    found.items[found.count++] = strdup(path);
    return 0;
}

/* All files of the corpus that end so. */
static void list_corpus(const char *ending, size_t least)
{
    wanted = ending;
    nftw(CORPUS, collect, 16, FTW_PHYS);
    cr_assert(found.count >= least,
              "%s: %zu files %s, expected %zu: is libonnx-testdata installed?", CORPUS, found.count,
              ending, least);
}

static void free_list(void)
{
    for (size_t i = 0; i < found.count; i++)
        free(found.items[i]);
    free(found.items);
}

static bytes read_bytes(const char *path)
{
    bytes b = {0};
    oxp_ctx ctx;
    oxp_ctx_init(&ctx);
    uint8_t *data;
    cr_assert_eq(oxp_file_read(&data, &b.size, &ctx, path, INT32_MAX, OXP_EFORMAT, NULL), OXP_OK,
                 "%s", ctx.message);
    b.data = malloc(b.size);
    memcpy(b.data, data, b.size);
    oxp_free(data);
    return b;
}

Test(corpus, every_model_loads)
{
    list_corpus("/model.onnx", 1072);
    for (size_t i = 0; i < found.count; i++) {
        oxp_ctx ctx;
        oxp_model *m = NULL;
        oxp_ctx_init(&ctx);
        oxp_status status = oxp_model_load(&m, &ctx, found.items[i], NULL);
        cr_expect_eq(status, OXP_OK, "%s: %s", ctx.code, ctx.message);
        oxp_model_free(m);
        cr_expect_eq(atomic_load(&ctx.own_budget.used), 0, "%s", found.items[i]);
    }
    free_list();
}

Test(corpus, every_model_comes_back_byte_for_byte)
{
    size_t different = 0;
    list_corpus("/model.onnx", 1072);
    for (size_t i = 0; i < found.count; i++) {
        bytes b = read_bytes(found.items[i]);
        oxp_ctx ctx;
        oxp_arena arena;
        ProtobufCMessage *m;
        oxp_ctx_init(&ctx);
        oxp_arena_init(&arena, &ctx);
        cr_assert_eq(
            oxp_unpack(&m, &arena, &onnx__model_proto__descriptor, b.data, b.size, OXP_EFORMAT),
            OXP_OK, "%s: %s", found.items[i], ctx.message);
        size_t size = protobuf_c_message_get_packed_size(m);
        uint8_t *packed = malloc(size + 1);
        protobuf_c_message_pack(m, packed);
        if (size != b.size || memcmp(packed, b.data, size) != 0) {
            different++;
            cr_expect(false, "%s: %zu bytes came back as %zu others", found.items[i], b.size, size);
        }
        free(packed);
        free(b.data);
        oxp_arena_free(&arena);
    }
    cr_expect_eq(different, 0);
    free_list();
}

/* Sequences and optionals are other messages, and are refused as such. */
Test(corpus, every_tensor_file_is_read)
{
    size_t refused = 0;
    list_corpus(".pb", 3000);
    for (size_t i = 0; i < found.count; i++) {
        oxp_ctx ctx;
        oxp_arena arena;
        oxp_tensor t;
        const char *name;
        oxp_ctx_init(&ctx);
        oxp_arena_init(&arena, &ctx);
        if (oxp_tensor_file_read(&t, &name, &arena, &ctx, found.items[i]) != OXP_OK) {
            refused++;
            cr_expect_eq(ctx.status, OXP_EDATA, "%s", ctx.message);
            cr_expect(strstr(found.items[i], "seq") != NULL ||
                          strstr(found.items[i], "opt") != NULL,
                      "%s: %s", ctx.code, ctx.message);
        }
        oxp_arena_free(&arena);
        cr_expect_eq(atomic_load(&ctx.own_budget.used), 0, "%s", found.items[i]);
    }
    cr_expect(refused < 60, "%zu refused", refused);
    free_list();
}

/* ---- damage ---- */

/* Small models that hold subgraphs, raw and typed data, attributes of most types, and training. */
static const char *const victims[] = {
    CORPUS "/node/test_if/model.onnx",
    CORPUS "/pytorch-converted/test_Conv1d/model.onnx",
    CORPUS "/node/test_loop11/model.onnx",
};

/* Loads what may be anything. Accepted, it must come back from its own packed form. */
static oxp_status load_damaged(const uint8_t *data, size_t size, const char *what, size_t at)
{
    oxp_ctx ctx;
    oxp_model *m = NULL;
    oxp_ctx_init(&ctx);
    oxp_status status = oxp_model_load_memory(&m, &ctx, data, size, NULL, NULL);
    bool known = status == OXP_OK || status == OXP_EFORMAT || status == OXP_EUNSUPPORTED ||
                 status == OXP_ELIMIT;
    cr_expect(known, "%s, byte %zu: status %d %s", what, at, status, ctx.message);
    if (status == OXP_OK) {
        size_t packed_size = protobuf_c_message_get_packed_size(&m->proto->base);
        uint8_t *packed = malloc(packed_size + 1);
        oxp_model *again = NULL;
        protobuf_c_message_pack(&m->proto->base, packed);
        cr_expect_eq(oxp_model_load_memory(&again, &ctx, packed, packed_size, NULL, NULL), OXP_OK,
                     "%s, byte %zu: written, but not readable: %s", what, at, ctx.message);
        oxp_model_free(again);
        free(packed);
    } else
        cr_expect(ctx.code[0] == 'E' && ctx.message[0] != '\0', "%s, byte %zu: no message", what,
                  at);
    oxp_model_free(m);
    cr_expect_eq(atomic_load(&ctx.own_budget.used), 0, "%s, byte %zu: memory kept", what, at);
    return status;
}

Test(corpus, every_truncation_is_refused)
{
    for (size_t v = 0; v < sizeof victims / sizeof victims[0]; v++) {
        bytes b = read_bytes(victims[v]);
        size_t accepted = 0;
        for (size_t size = 0; size < b.size; size++)
            accepted += load_damaged(b.data, size, victims[v], size) == OXP_OK;
        cr_expect_eq(accepted, 0, "%s: %zu truncations accepted", victims[v], accepted);
        free(b.data);
    }
}

Test(corpus, every_changed_byte_is_survived)
{
    for (size_t v = 0; v < sizeof victims / sizeof victims[0]; v++) {
        bytes b = read_bytes(victims[v]);
        for (size_t at = 0; at < b.size; at++) {
            uint8_t old = b.data[at];
            const uint8_t others[] = {
                0x00, 0x7f, 0x80, 0xff, (uint8_t)(old + 1), (uint8_t)(old - 1), (uint8_t)~old};
            for (size_t k = 0; k < sizeof others; k++) {
                b.data[at] = others[k];
                load_damaged(b.data, b.size, victims[v], at);
            }
            b.data[at] = old;
        }
        free(b.data);
    }
}

/* ---- tensor files by themselves ---- */

static void expect_tensor_file(bytes b, const char *code)
{
    char path[] = "/tmp/onnxpress-tensor-XXXXXX";
    int fd = mkstemp(path);
    FILE *file = fdopen(fd, "wb");
    cr_assert_not_null(file);
    cr_assert_eq(fwrite(b.data, 1, b.size, file), b.size);
    fclose(file);
    free(b.data);
    oxp_ctx ctx;
    oxp_arena arena;
    oxp_tensor t;
    const char *name = NULL;
    oxp_ctx_init(&ctx);
    oxp_arena_init(&arena, &ctx);
    oxp_status status = oxp_tensor_file_read(&t, &name, &arena, &ctx, path);
    cr_expect_str_eq(ctx.code, code, "%s", ctx.message);
    if (code[0] == '\0') {
        cr_expect_str_eq(name, "w");
        cr_expect_eq(oxp_tensor_int(&t, 1), 2);
    } else {
        cr_expect_eq(status, OXP_EDATA);
        cr_expect_not_null(strstr(ctx.message, path), "%s", ctx.message);
    }
    oxp_arena_free(&arena);
    remove(path);
}

static bytes two_bytes(void)
{
    int64_t dims[] = {2};
    bytes t = tensor("w", OXP_UINT8, 1, dims);
    return t;
}

Test(corpus, tensor_files_are_read_as_strictly_as_models)
{
    bytes good = two_bytes(), cut = two_bytes(), longer = two_bytes(), external = two_bytes();
    bytes twice = two_bytes(), segment = two_bytes(), packed = two_bytes();
    put_blob(&good, TENSOR_RAW, "\1\2", 2);
    expect_tensor_file(good, "");
    put_blob(&cut, TENSOR_RAW, "\1\2", 2);
    cut.size--;
    expect_tensor_file(cut, "E-TRUNCATED");
    put_blob(&longer, TENSOR_RAW, "\1\2\3", 3);
    expect_tensor_file(longer, "E-RAW-LEN");
    put_int(&external, TENSOR_LOCATION, 1);
    put_message(&external, TENSOR_EXTERNAL, entry("location", "w.bin"));
    expect_tensor_file(external, "E-EXT-PATH");
    put_blob(&packed, TENSOR_INT32, "\1\x82", 2); /* the file goes on, the field does not */
    put_text(&packed, 12, "documentation");
    expect_tensor_file(packed, "E-WIRE");
    put_text(&twice, TENSOR_NAME, "w");
    expect_tensor_file(twice, "E-DUP-FIELD");
    put_message(&segment, TENSOR_SEGMENT, (bytes){0});
    expect_tensor_file(segment, "E-SEGMENT");
}
