/* A model in two files: what goes where, that both come back, that a wrong byte in either is
 * noticed. */
#include "unit/onnx/edit_build.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "onnx/external.h"

/* Stands in front of the C library's: verification reads through it. */
static size_t flip_at = SIZE_MAX; /* counted over both files: the model, then the data */
static size_t read_before;

#pragma GCC visibility push(hidden) /* it is not for the test framework */

ssize_t pread(int fd, void *data, size_t bytes, off_t offset)
{
    ssize_t got = syscall(SYS_pread64, fd, data, bytes, offset);
    if (got > 0 && flip_at >= read_before && flip_at < read_before + (size_t)got)
        ((uint8_t *)data)[flip_at - read_before] ^= 1;
    read_before += got > 0 ? (size_t)got : 0;
    return got;
}

#pragma GCC visibility pop

static char directory[64];

static void enter(void)
{
    start();
    strcpy(directory, "/tmp/oxp-pair-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    cr_assert(chdir(directory) == 0);
    flip_at = SIZE_MAX;
}

static void leave(void)
{
    unlink("m.onnx");
    unlink("m.onnx.data");
    cr_assert(chdir("/") == 0);
    cr_assert(rmdir(directory) == 0, "a file is left");
    finish();
}

TestSuite(save_pair, .init = enter, .fini = leave);

static oxp_output_file *output(const char *path)
{
    oxp_output_file *file;
    oxp_output_options options = {.force = true};
    expect_ok(oxp_output_open(&file, &ctx, path, &options));
    return file;
}

static oxp_status write_pair(oxp_model *model)
{
    oxp_model_pair pair = {output("m.onnx"), output("m.onnx.data"), "m.onnx.data"};
    read_before = 0;
    oxp_status status = oxp_model_write_pair(&pair, model);
    if (status == OXP_OK)
        return oxp_output_publish_pair(pair.data, pair.model);
    oxp_output_discard(pair.model);
    oxp_output_discard(pair.data);
    return status;
}

static void add_bytes(oxp_model *model, oxp_graph_proto *g, const char *name, size_t bytes)
{
    uint8_t *data = malloc(bytes);
    int64_t dim = (int64_t)bytes;
    cr_assert_not_null(data);
    for (size_t i = 0; i < bytes; i++)
        data[i] = (uint8_t)(i * 7 + (size_t)(unsigned char)name[0]);
    expect_ok(oxp_edit_add_initializer(model, g, name, OXP_UINT8, 1, &dim, data));
    free(data);
}

static const Onnx__TensorProto *initializer(const oxp_model *model, const char *name)
{
    const Onnx__GraphProto *g = model->proto->graph;
    for (size_t i = 0; i < g->n_initializer; i++)
        if (strcmp(g->initializer[i]->name, name) == 0)
            return g->initializer[i];
    cr_assert_fail("no initializer %s", name);
    return NULL;
}

static const char *property(const Onnx__TensorProto *t, const char *key)
{
    for (size_t i = 0; i < t->n_external_data; i++)
        if (strcmp(t->external_data[i]->key, key) == 0)
            return t->external_data[i]->value;
    return "";
}

static void expect_external(const oxp_model *model, const char *name, size_t offset, size_t bytes)
{
    uint64_t number;
    const Onnx__TensorProto *t = initializer(model, name);
    cr_assert_eq(t->data_location, ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL, "%s", name);
    cr_assert_str_eq(property(t, "location"), "m.onnx.data");
    cr_assert(oxp_external_number(property(t, "offset"), &number) && number == offset,
              "%s at %s, expected %zu", name, property(t, "offset"), offset);
    cr_assert(oxp_external_number(property(t, "length"), &number) && number == bytes);
}

static void expect_same_data(oxp_model *a, oxp_model *b, const char *name)
{
    oxp_tensor x, y;
    expect_ok(oxp_tensor_decode(&x, &a->arena, a, initializer(a, name)));
    expect_ok(oxp_tensor_decode(&y, &b->arena, b, initializer(b, name)));
    cr_assert_eq(oxp_tensor_bytes(&x), oxp_tensor_bytes(&y));
    cr_assert_arr_eq(x.data, y.data, oxp_tensor_bytes(&x));
}

static oxp_model *load_pair(void)
{
    oxp_model *loaded;
    expect_ok(oxp_model_load(&loaded, &ctx, "m.onnx", NULL));
    return loaded;
}

#define MEBI ((size_t)1 << 20)

Test(save_pair, large_tensors_go_out_aligned)
{
    oxp_model *model = relu_model(13);
    oxp_graph_proto *g = oxp_model_graph(model);
    add_bytes(model, g, "a_small", 1023);
    add_bytes(model, g, "b", 1025);
    add_bytes(model, g, "c", 2000);
    add_bytes(model, g, "d_large", MEBI);
    add_bytes(model, g, "e", 1024);
    expect_ok(write_pair(model));
    oxp_model *loaded = load_pair();
    cr_assert_eq(initializer(loaded, "a_small")->n_external_data, 0);
    expect_external(loaded, "b", 0, 1025);
    expect_external(loaded, "c", 1088, 2000);
    expect_external(loaded, "d_large", 4096, MEBI);
    expect_external(loaded, "e", 4096 + MEBI, 1024);
    for (size_t i = 0; i < 5; i++)
        expect_same_data(model, loaded, (const char *[]){"a_small", "b", "c", "d_large", "e"}[i]);
    cr_assert_eq(initializer(model, "b")->n_external_data, 0, "the model stays as it is");
    struct stat about;
    cr_assert(stat("m.onnx.data", &about) == 0);
    cr_assert_eq((size_t)about.st_size, 4096 + MEBI + 1024);
    oxp_model_free(loaded);
    oxp_model_free(model);
}

Test(save_pair, tied_tensors_share_their_bytes)
{
    oxp_model *model = relu_model(13);
    add_bytes(model, oxp_model_graph(model), "a", 5000);
    add_bytes(model, oxp_model_graph(model), "b", 5000);
    Onnx__GraphProto *g = model->proto->graph;
    g->initializer[1]->raw_data = g->initializer[0]->raw_data;
    expect_ok(write_pair(model));
    oxp_model *loaded = load_pair();
    expect_external(loaded, "a", 0, 5000);
    expect_external(loaded, "b", 0, 5000);
    oxp_model_free(loaded);
    oxp_model_free(model);
}

Test(save_pair, a_body_has_its_data_outside_too)
{
    oxp_model *model = relu_model(13);
    oxp_node_proto *holder = oxp_graph_proto_node(oxp_model_graph(model), 0);
    oxp_graph_proto *body = add_subgraph(model, holder, "body");
    oxp_value_info y = float_info("by", 1);
    expect_ok(oxp_edit_add_output(model, body, &y));
    add_node(model, body, "Identity", "bw", "by");
    add_bytes(model, body, "bw", 3000);
    add_bytes(model, oxp_model_graph(model), "w", 3000);
    expect_ok(write_pair(model));
    oxp_model *loaded = load_pair();
    expect_external(loaded, "w", 0, 3000);
    const Onnx__GraphProto *g = loaded->proto->graph->node[0]->attribute[0]->g;
    cr_assert_str_eq(property(g->initializer[0], "offset"), "3008");
    oxp_model_free(loaded);
    oxp_model_free(model);
}

/* What a dry run states is what a run would write. */
Test(save_pair, size_and_hash_are_known_beforehand)
{
    oxp_model *model = relu_model(13);
    oxp_graph_proto *g = oxp_model_graph(model);
    oxp_graph_proto *body = add_subgraph(model, oxp_graph_proto_node(g, 0), "body");
    oxp_value_info y = float_info("by", 1);
    expect_ok(oxp_edit_add_output(model, body, &y));
    add_node(model, body, "Identity", "bw", "by");
    add_bytes(model, body, "bw", 3000);
    add_bytes(model, g, "w", 5000);
    add_bytes(model, g, "v", MEBI + 3);
    size_t bytes;
    uint64_t hash;
    expect_ok(oxp_model_pair_size(&bytes, &hash, model, "m.onnx.data"));
    expect_ok(write_pair(model));
    oxp_model *loaded = load_pair();
    cr_assert_eq(bytes, oxp_model_bytes(loaded));
    cr_assert_eq(hash, oxp_model_hash(loaded));
    oxp_model_free(loaded);
    oxp_model_free(model);
}

/* From a pair to one file and back, and from a pair to a pair. */
Test(save_pair, a_pair_is_read_and_written_again)
{
    oxp_model *model = relu_model(13);
    add_bytes(model, oxp_model_graph(model), "w", 5000);
    expect_ok(write_pair(model));
    oxp_model *loaded = load_pair();
    expect_ok(write_pair(loaded));
    oxp_model *again = load_pair();
    expect_same_data(model, again, "w");
    oxp_model_free(again);
    oxp_model_free(loaded);
    oxp_model_free(model);
}

Test(save_pair, more_than_a_file_can_hold_goes_out)
{
    oxp_model *model = relu_model(13);
    add_bytes(model, oxp_model_graph(model), "w", 5000);
    model->proto->graph->initializer[0]->raw_data.len = (size_t)1 << 31; /* only counted */
    size_t bytes = oxp_model_packed_bytes(model), in_two;
    cr_assert_gt(bytes, OXP_MODEL_BYTES_MAX);
    Onnx__TensorProto *t = model->proto->graph->initializer[0];
    t->raw_data.len = 5000;
    uint64_t hash;
    expect_ok(oxp_model_pair_size(&in_two, &hash, model, "m.onnx.data"));
    cr_assert_lt(in_two, bytes);
    oxp_model_free(model);
}

/* What cannot go out must fit in. */
Test(save_pair, more_than_the_model_itself_can_hold)
{
    oxp_model *model = relu_model(13);
    expect_ok(oxp_edit_set_metadata(model, "k", "v"));
    ProtobufCMessageUnknownField *field = oxp_arena_alloc(&model->arena, 1, sizeof *field);
    *field = (ProtobufCMessageUnknownField){
        .tag = 1023, .wire_type = PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED, .len = (size_t)1 << 31};
    model->proto->base.unknown_fields = field; /* only counted */
    model->proto->base.n_unknown_fields = 1;
    expect_error(write_pair(model), OXP_ELIMIT, "E-LIMIT-FILE", "the limit is 2147483647");
    cr_assert_eq(access("m.onnx", F_OK), -1);
    cr_assert_eq(access("m.onnx.data", F_OK), -1);
    model->proto->base.n_unknown_fields = 0;
    oxp_model_free(model);
}

Test(save_pair, a_byte_that_changed_in_either_file)
{
    oxp_model *model = relu_model(13);
    add_bytes(model, oxp_model_graph(model), "w", 1100);
    oxp_model_pair pair = {output("m.onnx"), output("m.onnx.data"), "m.onnx.data"};
    read_before = 0;
    expect_ok(oxp_model_write_pair(&pair, model));
    size_t bytes = read_before;
    cr_assert_gt(bytes, 1100);
    oxp_output_discard(pair.model);
    oxp_output_discard(pair.data);
    for (flip_at = 0; flip_at < bytes; flip_at++) {
        oxp_status status = write_pair(model);
        cr_assert_eq(status, OXP_EINTERNAL, "byte %zu: %d %s", flip_at, status, ctx.message);
        cr_assert_str_eq(ctx.code, "E-VERIFY", "%s", ctx.message);
        cr_assert_eq(access("m.onnx", F_OK), -1);
        cr_assert_eq(access("m.onnx.data", F_OK), -1);
        oxp_ctx_clear(&ctx);
    }
    flip_at = SIZE_MAX;
    expect_ok(write_pair(model));
    oxp_model_free(model);
}

Test(save_pair, running_out_of_memory_anywhere_is_an_error)
{
    oxp_model *model = relu_model(13);
    add_bytes(model, oxp_model_graph(model), "w", 2000);
    size_t limit = atomic_load(&ctx.budget->used), failures = 0, before = limit;
    oxp_status status = OXP_OK;
    do {
        oxp_output_file *a = NULL, *b = NULL;
        ctx.budget->limit = limit;
        status = oxp_output_open(&a, &ctx, "m.onnx", NULL);
        if (status == OXP_OK)
            status = oxp_output_open(&b, &ctx, "m.onnx.data", NULL);
        oxp_model_pair pair = {a, b, "m.onnx.data"};
        if (status == OXP_OK)
            status = oxp_model_write_pair(&pair, model);
        cr_assert(status == OXP_OK || status == OXP_ELIMIT, "%s %s", ctx.code, ctx.message);
        oxp_output_discard(a);
        oxp_output_discard(b);
        cr_assert_eq(atomic_load(&ctx.budget->used), before);
        failures += status != OXP_OK;
        oxp_ctx_clear(&ctx);
        limit += 512;
    } while (status != OXP_OK);
    cr_assert_gt(failures, 20);
    oxp_model_free(model);
}

Test(save_pair, names_that_a_model_can_refer_to)
{
    cr_assert_null(oxp_model_location_fault("m.onnx.data"));
    cr_assert_null(oxp_model_location_fault("m\xc3\xa9.data"));
    cr_assert_not_null(oxp_model_location_fault("m\xff.data"));
    cr_assert_not_null(oxp_model_location_fault("a\\b.data"));
    cr_assert_not_null(oxp_model_location_fault("c:.data"));
}
