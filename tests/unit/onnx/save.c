/* Packing and writing: untouched bytes stay, edited models come back, what was written is
 * checked. */
#include "unit/onnx/edit_build.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Stands in front of the C library's: verification reads through it. */
static struct {
    size_t flip_at; /* offset of a byte to be changed, SIZE_MAX none */
    int write_error;
} fault = {.flip_at = SIZE_MAX};

#pragma GCC visibility push(hidden) /* they are not for the test framework */

ssize_t pread(int fd, void *data, size_t bytes, off_t offset)
{
    ssize_t got = syscall(SYS_pread64, fd, data, bytes, offset);
    if (got > 0 && fault.flip_at >= (size_t)offset && fault.flip_at < (size_t)(offset + got))
        ((uint8_t *)data)[fault.flip_at - (size_t)offset] ^= 1;
    return got;
}

ssize_t write(int fd, const void *data, size_t bytes)
{
    if (fault.write_error != 0) {
        errno = fault.write_error;
        return -1;
    }
    return syscall(SYS_write, fd, data, bytes);
}

#pragma GCC visibility pop

static char directory[64];

static void enter(void)
{
    start();
    strcpy(directory, "/tmp/oxp-save-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    cr_assert(chdir(directory) == 0);
    fault.flip_at = SIZE_MAX;
    fault.write_error = 0;
}

static void leave(void)
{
    unlink("out.onnx");
    unlink("data.bin");
    unlink("in.onnx");
    cr_assert(chdir("/") == 0);
    cr_assert(rmdir(directory) == 0, "a file is left");
    finish();
}

TestSuite(save, .init = enter, .fini = leave);

static oxp_status write_model(oxp_model *model)
{
    oxp_output_file *output;
    oxp_output_options options = {.force = true};
    expect_ok(oxp_output_open(&output, &ctx, "out.onnx", &options));
    oxp_status status = oxp_model_write(output, model);
    if (status == OXP_OK)
        return oxp_output_publish(output);
    oxp_output_discard(output);
    return status;
}

static void expect_file(const void *data, size_t bytes)
{
    uint8_t *found;
    size_t size;
    expect_ok(oxp_file_read(&found, &size, &ctx, "out.onnx", SIZE_MAX, OXP_EIO, NULL));
    cr_assert_eq(size, bytes);
    cr_assert_arr_eq(found, data, bytes);
    oxp_free(found);
}

static oxp_model *load(const void *data, size_t bytes)
{
    oxp_model *model;
    expect_ok(oxp_model_load_memory(&model, &ctx, data, bytes, NULL, NULL));
    return model;
}

/* The bytes of a valid model in a form that protobuf-c would not write: a varint with a needless
 * byte, fields out of order, an unknown field in front. */
static void odd_model(uint8_t **out, size_t *bytes)
{
    static const uint8_t front[] = {0xfa, 0x3f, 3, 'o', 'd', 'd'}; /* field 1023 */
    static const uint8_t back[] = {0x28, 0x81, 0x80, 0x00};        /* model_version 1 */
    oxp_model *model = relu_model(13);
    uint8_t *packed;
    size_t size;
    expect_ok(oxp_model_pack(&packed, &size, model));
    expect_ok(oxp_alloc(out, &ctx, size + sizeof front + sizeof back, 1, "odd"));
    memcpy(*out, front, sizeof front);
    memcpy(*out + sizeof front, packed, size);
    memcpy(*out + sizeof front + size, back, sizeof back);
    *bytes = size + sizeof front + sizeof back;
    oxp_free(packed);
    oxp_model_free(model);
}

/* ---- untouched ---- */

Test(save, an_unedited_model_keeps_its_bytes)
{
    uint8_t *data, *packed;
    size_t bytes, size;
    odd_model(&data, &bytes);
    oxp_model *model = load(data, bytes);
    cr_assert_eq(oxp_model_packed_bytes(model), bytes);
    expect_ok(oxp_model_pack(&packed, &size, model));
    cr_assert_eq(size, bytes);
    cr_assert_arr_eq(packed, data, bytes);
    expect_ok(write_model(model));
    expect_file(data, bytes);
    oxp_free(packed);
    oxp_free(data);
    oxp_model_free(model);
}

Test(save, an_unedited_copy_keeps_the_bytes_whatever_becomes_of_the_original)
{
    uint8_t *data;
    size_t bytes;
    oxp_model *copy, *second;
    odd_model(&data, &bytes);
    oxp_model *model = load(data, bytes);
    expect_ok(oxp_model_clone(&copy, model));
    expect_ok(oxp_edit_set_metadata(model, "k", "v"));
    expect_ok(oxp_model_clone(&second, copy));
    expect_ok(write_model(second));
    expect_file(data, bytes);
    oxp_model_free(second);
    oxp_model_free(copy);
    expect_ok(oxp_model_clone(&copy, model)); /* of an edited model: not the old bytes */
    cr_assert_neq(oxp_model_packed_bytes(copy), bytes);
    oxp_model_free(copy);
    oxp_free(data);
    oxp_model_free(model);
}

/* ---- edited ---- */

Test(save, an_edited_model_keeps_what_it_does_not_know)
{
    uint8_t *data;
    size_t bytes;
    odd_model(&data, &bytes);
    oxp_model *model = load(data, bytes);
    expect_ok(oxp_edit_set_metadata(model, "k", "v"));
    oxp_model *again = reload(model);
    cr_assert_eq(again->proto->base.n_unknown_fields, 1);
    cr_assert_arr_eq(again->proto->base.unknown_fields[0].data + 1, "odd", 3);
    cr_assert_eq(again->proto->model_version, 1);
    expect_same(model, again);
    oxp_model_free(again);
    oxp_free(data);
    oxp_model_free(model);
}

/* Tensors below, at and above the size of the stream's buffer, and very many small ones. */
Test(save, streamed_and_packed_bytes_are_the_same)
{
    static uint8_t data[300000];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7 + i / 251);
    static const int64_t sizes[] = {0, 1, 65535, 65536, 65537, 300000, 3};
    oxp_model *model = relu_model(13);
    oxp_graph_proto *g = oxp_model_graph(model);
    const char *name;
    for (size_t i = 0; i < 7; i++) {
        expect_ok(oxp_edit_unique_name(&name, model, "w"));
        expect_ok(oxp_edit_add_initializer(model, g, name, OXP_UINT8, 1, &sizes[i], data));
    }
    for (int i = 0; i < 5000; i++) {
        expect_ok(oxp_edit_unique_name(&name, model, "s"));
        add_floats(model, g, name, 1, &(float){(float)i});
    }
    uint8_t *packed;
    size_t bytes;
    expect_ok(oxp_model_pack(&packed, &bytes, model));
    expect_ok(write_model(model));
    expect_file(packed, bytes);
    oxp_free(packed);
    oxp_model_free(model);
}

/* ---- external data ---- */

static void put_file(const char *path, const void *data, size_t bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    cr_assert_geq(fd, 0);
    cr_assert_eq(syscall(SYS_write, fd, data, bytes), (long)bytes);
    close(fd);
}

static void add_property(oxp_model *model, Onnx__TensorProto *t, const char *key, const char *value)
{
    Onnx__StringStringEntryProto *entry = oxp_arena_alloc(&model->arena, 1, sizeof *entry);
    onnx__string_string_entry_proto__init(entry);
    entry->key = oxp_model_strdup(model, key);
    entry->value = oxp_model_strdup(model, value);
    expect_ok(
        oxp_array_insert(model, &t->external_data, &t->n_external_data, t->n_external_data, entry));
}

/* in.onnx with initializer "w" = {1, 2, 3} at offset 4 of data.bin. */
static void write_external_model(void)
{
    float data[] = {0, 1, 2, 3};
    put_file("data.bin", data, sizeof data);
    oxp_model *model = relu_model(13);
    add_floats(model, oxp_model_graph(model), "w", 3, data + 1);
    Onnx__TensorProto *t = model->proto->graph->initializer[0];
    t->has_raw_data = 0;
    t->has_data_location = 1;
    t->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
    add_property(model, t, "location", "data.bin");
    add_property(model, t, "offset", "4");
    size_t bytes = protobuf_c_message_get_packed_size(&model->proto->base);
    uint8_t *packed;
    expect_ok(oxp_alloc(&packed, &ctx, bytes, 1, "packed"));
    protobuf_c_message_pack(&model->proto->base, packed);
    put_file("in.onnx", packed, bytes);
    oxp_free(packed);
    oxp_model_free(model);
}

static void expect_inline(void)
{
    oxp_model *written;
    oxp_tensor t;
    unlink("data.bin");
    expect_ok(oxp_model_load(&written, &ctx, "out.onnx", NULL));
    const Onnx__TensorProto *proto = written->proto->graph->initializer[0];
    cr_assert(proto->n_external_data == 0 && !proto->has_data_location);
    expect_ok(oxp_tensor_decode(&t, &written->arena, written, proto));
    cr_assert(t.count == 3 && ((float *)t.data)[0] == 1 && ((float *)t.data)[2] == 3);
    oxp_model_free(written);
}

Test(save, external_data_comes_in)
{
    oxp_model *model;
    write_external_model();
    expect_ok(oxp_model_load(&model, &ctx, "in.onnx", NULL));
    cr_assert_eq(oxp_model_packed_bytes(model), oxp_model_packed_bytes(model));
    expect_ok(write_model(model));
    expect_inline();
    oxp_model_free(model);
}

Test(save, external_data_of_a_copy_comes_in)
{
    oxp_model *model, *copy;
    write_external_model();
    expect_ok(oxp_model_load(&model, &ctx, "in.onnx", NULL));
    expect_ok(oxp_model_clone(&copy, model));
    expect_ok(write_model(copy));
    cr_assert_eq(model->proto->graph->initializer[0]->n_external_data, 2,
                 "the original is as it was");
    cr_assert_not(model->edited);
    expect_inline();
    oxp_model_free(copy);
    oxp_model_free(model);
}

/* ---- errors ---- */

Test(save, more_than_a_file_can_hold)
{
    oxp_model *model = relu_model(13);
    add_floats(model, oxp_model_graph(model), "w", 1, &(float){1});
    model->proto->graph->initializer[0]->raw_data.len = (size_t)1 << 31; /* only counted */
    uint8_t *data;
    size_t bytes, expected = oxp_model_packed_bytes(model);
    char text[64];
    cr_assert_gt(expected, (size_t)1 << 31);
    snprintf(text, sizeof text, "has %zu bytes, the limit is 2147483647", expected);
    expect_error(oxp_model_pack(&data, &bytes, model), OXP_ELIMIT, "E-LIMIT-FILE", text);
    expect_error(write_model(model), OXP_ELIMIT, "E-LIMIT-FILE", text);
    oxp_model_free(model);
}

Test(save, a_full_disk)
{
    oxp_model *model = relu_model(13);
    fault.write_error = ENOSPC;
    expect_error(write_model(model), OXP_EIO, "E-WRITE", "No space left");
    oxp_model_free(model);
}

/* Whichever byte of the file is not what was written, it is noticed. */
static void expect_noticed(oxp_model *model)
{
    size_t bytes = oxp_model_packed_bytes(model);
    for (fault.flip_at = 0; fault.flip_at < bytes; fault.flip_at++) {
        oxp_status status = write_model(model);
        cr_assert_eq(status, OXP_EINTERNAL, "byte %zu: %d %s", fault.flip_at, status, ctx.message);
        cr_assert_str_eq(ctx.code, "E-VERIFY", "%s", ctx.message);
        cr_assert_eq(access("out.onnx", F_OK), -1);
        oxp_ctx_clear(&ctx);
    }
    fault.flip_at = SIZE_MAX;
    expect_ok(write_model(model));
}

Test(save, a_byte_that_changed_in_an_edited_model)
{
    oxp_model *model = relu_model(13);
    add_floats(model, oxp_model_graph(model), "w", 2, (float[]){1, 2});
    expect_noticed(model);
    oxp_model_free(model);
}

Test(save, a_byte_that_changed_in_an_unedited_model)
{
    uint8_t *data;
    size_t bytes;
    odd_model(&data, &bytes);
    oxp_model *model = load(data, bytes);
    expect_noticed(model);
    oxp_free(data);
    oxp_model_free(model);
}

Test(save, what_the_loader_would_not_take_is_our_error)
{
    oxp_model *model = relu_model(13);
    model->proto->graph->node[0]->op_type = (char *)"";
    expect_error(write_model(model), OXP_EINTERNAL, "E-VERIFY", "does not load: E-");
    oxp_model_free(model);
}

Test(save, running_out_of_memory_anywhere_is_an_error)
{
    oxp_model *model = relu_model(13);
    add_floats(model, oxp_model_graph(model), "w", 2, (float[]){1, 2});
    size_t limit = atomic_load(&ctx.budget->used), failures = 0, before = limit;
    oxp_status status = OXP_OK;
    do {
        oxp_output_file *output = NULL;
        ctx.budget->limit = limit;
        status = oxp_output_open(&output, &ctx, "out.onnx", NULL);
        if (status == OXP_OK)
            status = oxp_model_write(output, model);
        cr_assert(status == OXP_OK || status == OXP_ELIMIT, "%s %s", ctx.code, ctx.message);
        oxp_output_discard(output);
        cr_assert_eq(atomic_load(&ctx.budget->used), before);
        failures += status != OXP_OK;
        oxp_ctx_clear(&ctx);
        limit += 512;
    } while (status != OXP_OK);
    cr_assert_gt(failures, 20);
    oxp_model_free(model);
}
