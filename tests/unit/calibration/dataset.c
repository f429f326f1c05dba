/* Datasets from files: .npz, .npy, folders, TensorProto sets, order, labels, hashes, changes,
 * threads, memory. */
#include "calibration/dataset.h"

#include <criterion/criterion.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "calibration/npy.h"
#include "calibration/npz.h"
#include "util/map.h"
#include "util/parallel.h"

static oxp_ctx ctx;
static char root[64];

static void setup(void)
{
    oxp_ctx_init(&ctx);
    snprintf(root, sizeof root, "/tmp/oxp-dataset-XXXXXX");
    cr_assert_not_null(mkdtemp(root));
}

static int remove_one(const char *path, const struct stat *about, int kind, struct FTW *walk)
{
    (void)about;
    (void)kind;
    (void)walk;
    return remove(path);
}

static void teardown(void)
{
    nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    cr_expect_eq(atomic_load(&ctx.own_budget.used), 0, "a block was not given back");
}

TestSuite(dataset, .init = setup, .fini = teardown);

/* ---- files ---- */

static const char *in_root(const char *name)
{
    static char paths[8][256];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", root, name);
    return path;
}

static void make_folder(const char *name)
{
    cr_assert_eq(mkdir(in_root(name), 0777), 0);
}

static void write_bytes(const char *name, const void *data, size_t bytes)
{
    FILE *file = fopen(in_root(name), "wb");
    cr_assert_not_null(file);
    cr_assert_eq(fwrite(data, 1, bytes, file), bytes);
    cr_assert_eq(fclose(file), 0);
}

static oxp_tensor floats(int rank, const int64_t *dims, float first)
{
    oxp_tensor t;
    cr_assert_eq(oxp_tensor_shape(&t, &ctx, OXP_FLOAT, rank, dims, "t"), OXP_OK);
    cr_assert_eq(oxp_tensor_alloc(&t, &ctx, "t"), OXP_OK);
    for (size_t i = 0; i < t.count; i++)
        ((float *)t.data)[i] = first + (float)i;
    return t;
}

/* A .npy of shape [rows, 2] that counts up from `first`. */
static void write_npy(const char *name, int64_t rows, float first)
{
    char prefix[OXP_NPY_PREFIX_MAX];
    oxp_tensor t = floats(2, (int64_t[]){rows, 2}, first);
    size_t bytes = oxp_npy_prefix(prefix, &t);
    FILE *file = fopen(in_root(name), "wb");
    cr_assert_not_null(file);
    fwrite(prefix, 1, bytes, file);
    fwrite(t.data, 1, oxp_tensor_bytes(&t), file);
    fclose(file);
    oxp_tensor_release(&t);
}

static void write_npz(const char *name, const oxp_npz_array *arrays, size_t count)
{
    oxp_output_file *output;
    oxp_output_options options = {.force = true};
    cr_assert_eq(oxp_output_open(&output, &ctx, in_root(name), &options), OXP_OK);
    cr_assert_eq(oxp_npz_write(output, &ctx, arrays, count), OXP_OK);
    cr_assert_eq(oxp_output_publish(output), OXP_OK);
}

/* A TensorProto of floats: dims 1, data_type 2, name 8, raw_data 9. */
static void write_pb(const char *name, const char *own_name, int64_t rows, float first)
{
    uint8_t bytes[512];
    size_t used = 0, data = (size_t)rows * 2 * sizeof(float);
    cr_assert_lt(rows, 16);
    const uint8_t shape[] = {0x08, (uint8_t)rows, 0x08, 2, 0x10, 1};
    memcpy(bytes, shape, sizeof shape);
    used += sizeof shape;
    if (own_name != NULL) {
        bytes[used++] = 0x42;
        bytes[used++] = (uint8_t)strlen(own_name);
        memcpy(bytes + used, own_name, strlen(own_name));
        used += strlen(own_name);
    }
    bytes[used++] = 0x4a;
    bytes[used++] = (uint8_t)data;
    for (int64_t i = 0; i < rows * 2; i++) {
        float value = first + (float)i;
        memcpy(bytes + used, &value, sizeof value);
        used += sizeof value;
    }
    write_bytes(name, bytes, used);
}

/* ---- a model: x [N,2] (and y [N,2] where asked) to o [N,2] ---- */

static oxp_value_info value(const char *name)
{
    return (oxp_value_info){.name = name,
                            .dtype = OXP_FLOAT,
                            .is_tensor = true,
                            .rank = 2,
                            .dims = {-1, 2},
                            .params = {"N"}};
}

static oxp_status open_as(oxp_dataset **d, const char *name, size_t inputs,
                          const oxp_dataset_options *options)
{
    oxp_value_info in[2] = {value("x"), value("y")}, out = value("o");
    oxp_dataset_schema schema = {
        .inputs = in, .input_count = inputs, .outputs = &out, .output_count = 1};
    oxp_ctx_clear(&ctx);
    return oxp_dataset_open(d, &ctx, in_root(name), &schema, options);
}

static oxp_dataset *open_well(const char *name)
{
    oxp_dataset *d = NULL;
    cr_assert_eq(open_as(&d, name, 1, NULL), OXP_OK, "%s %s", ctx.code, ctx.message);
    return d;
}

static void expect_refused(const char *name, size_t inputs, oxp_status status, const char *code)
{
    oxp_dataset *d = NULL;
    cr_expect_eq(open_as(&d, name, inputs, NULL), status, "%s", name);
    cr_expect_str_eq(ctx.code, code, "%s: %s %s", name, ctx.code, ctx.message);
    cr_expect_null(d);
    cr_expect_not_null(strstr(ctx.message, root), "names the file: %s", ctx.message);
}

static float first_of(oxp_dataset *d, size_t call)
{
    oxp_tensor x;
    cr_assert_eq(oxp_dataset_sample(d, &ctx, call, &x), OXP_OK, "%s", ctx.message);
    float first = (float)oxp_tensor_real(&x, 0);
    oxp_tensor_release(&x);
    return first;
}

/* ---- single files ---- */

Test(dataset, a_npz_with_everything)
{
    oxp_tensor x = floats(2, (int64_t[]){3, 2}, 0), o = floats(2, (int64_t[]){3, 2}, 100), labels;
    int64_t classes[3] = {5, 6, 7};
    oxp_tensor_shape(&labels, &ctx, OXP_INT64, 1, (int64_t[]){3}, "labels");
    labels.data = classes;
    write_npz("d.npz", (oxp_npz_array[]){{"labels", &labels}, {"o", &o}, {"x", &x}}, 3);
    oxp_dataset *d = open_well("d.npz");
    cr_expect_eq(oxp_dataset_count(d), 3);
    cr_expect_str_eq(oxp_dataset_path(d), in_root("d.npz"));
    for (size_t i = 0; i < 3; i++) {
        oxp_tensor out;
        cr_expect_eq(first_of(d, i), 2.0f * (float)i);
        cr_assert_eq(oxp_dataset_expected(d, &ctx, i, &out), OXP_OK);
        cr_expect_eq(oxp_tensor_real(&out, 1), 101 + 2 * (double)i);
        oxp_tensor_release(&out);
        cr_expect_eq(oxp_dataset_labels(d, i)[0], classes[i]);
        cr_expect_eq(oxp_dataset_sample_hash(d, i), oxp_hash((float *)x.data + 2 * i, 8));
    }
    oxp_dataset_free(d);
    oxp_tensor_release(&x);
    oxp_tensor_release(&o);
}

Test(dataset, a_npy_is_for_a_model_with_one_input)
{
    write_npy("d.npy", 4, 10);
    oxp_dataset *d = open_well("d.npy");
    cr_expect_eq(oxp_dataset_count(d), 4);
    cr_expect_eq(first_of(d, 3), 16.0f);
    oxp_dataset_free(d);
    expect_refused("d.npy", 2, OXP_EDATA, "E-CALIB-NAME");
}

Test(dataset, hash_and_identity_of_the_files)
{
    write_npy("d.npy", 4, 10);
    oxp_dataset *d = open_well("d.npy");
    uint8_t *bytes;
    size_t size, count;
    oxp_file_id id;
    cr_assert_eq(oxp_file_read(&bytes, &size, &ctx, in_root("d.npy"), 1 << 20, OXP_EDATA, &id),
                 OXP_OK);
    cr_expect_eq(oxp_dataset_hash(d), oxp_hash(bytes, size));
    const oxp_file_id *files = oxp_dataset_files(d, &count);
    cr_assert_eq(count, 1);
    cr_expect_eq(files[0].inode, id.inode);
    cr_expect_eq(files[0].device, id.device);
    oxp_free(bytes);
    oxp_dataset_free(d);
}

Test(dataset, labels_of_a_file_of_their_own)
{
    char prefix[OXP_NPY_PREFIX_MAX];
    uint8_t classes[4] = {9, 8, 7, 6};
    oxp_tensor t;
    oxp_tensor_shape(&t, &ctx, OXP_UINT8, 1, (int64_t[]){4}, "labels");
    size_t bytes = oxp_npy_prefix(prefix, &t);
    uint8_t file[OXP_NPY_PREFIX_MAX + 4];
    memcpy(file, prefix, bytes);
    memcpy(file + bytes, classes, 4);
    write_bytes("labels.npy", file, bytes + 4);
    make_folder("f");
    write_npy("f/a.npy", 3, 0);
    write_npy("f/b.npy", 1, 6);
    oxp_dataset_options options = {.labels = in_root("labels.npy")};
    oxp_dataset *d;
    size_t count;
    cr_assert_eq(open_as(&d, "f", 1, &options), OXP_OK, "%s", ctx.message);
    for (size_t i = 0; i < 4; i++)
        cr_expect_eq(oxp_dataset_labels(d, i)[0], 9 - (int)i);
    oxp_dataset_files(d, &count);
    cr_expect_eq(count, 3);
    oxp_dataset_free(d);
    write_npy("f/c.npy", 1, 8);
    cr_expect_eq(open_as(&d, "f", 1, &options), OXP_EDATA);
    cr_expect_str_eq(ctx.code, "E-CALIB-SHAPE");
    cr_expect_not_null(strstr(ctx.message, "labels.npy"));
}

Test(dataset, what_is_wrong_with_the_path)
{
    make_folder("empty");
    expect_refused("empty", 1, OXP_EDATA, "E-CALIB-EMPTY");
    expect_refused("absent.npz", 1, OXP_EIO, "E-OPEN");
    cr_assert_eq(symlink("loop", in_root("loop")), 0);
    expect_refused("loop", 1, OXP_EIO, "E-OPEN");
    write_bytes("nothing.npy", "", 0);
    expect_refused("nothing.npy", 1, OXP_EDATA, "E-EMPTY");
    cr_assert_eq(mkfifo(in_root("fifo.npz"), 0600), 0);
    expect_refused("fifo.npz", 1, OXP_EDATA, "E-NOT-REGULAR");
    write_bytes("text.npz", "this is no archive at all", 25);
    expect_refused("text.npz", 1, OXP_EDATA, "E-ZIP");
    write_bytes("text.csv", "1,2,3", 5);
    expect_refused("text.csv", 1, OXP_EDATA, "E-NPY-MAGIC");
    write_npz("none.npz", NULL, 0);
    expect_refused("none.npz", 1, OXP_EDATA, "E-CALIB-EMPTY");
    write_npy("odd.npy", 0, 0);
    expect_refused("odd.npy", 1, OXP_EDATA, "E-CALIB-EMPTY");
}

/* ---- folders ---- */

static int warnings;

static void count_warnings(void *user, oxp_log_level level, const char *line)
{
    (void)user;
    cr_expect_not_null(strstr(line, "notes.txt"), "%s", line);
    warnings += level == OXP_LOG_WARNING;
}

Test(dataset, folders_are_read_in_natural_order)
{
    make_folder("f");
    write_npy("f/x10.npy", 1, 100);
    write_npy("f/x2.npy", 2, 20);
    write_npy("f/x1.npy", 1, 10);
    oxp_tensor x = floats(2, (int64_t[]){1, 2}, 70);
    write_npz("f/x7.npz", &(oxp_npz_array){"x", &x}, 1);
    oxp_tensor_release(&x);
    write_bytes("f/.hidden", "x", 1);
    write_bytes("f/notes.txt", "x", 1);
    ctx.log = count_warnings;
    oxp_dataset *d = open_well("f");
    cr_expect_eq(warnings, 1, "what is passed over is said");
    static const float wanted[5] = {10, 20, 22, 70, 100};
    cr_assert_eq(oxp_dataset_count(d), 5);
    for (size_t i = 0; i < 5; i++)
        cr_expect_eq(first_of(d, i), wanted[i]);
    for (size_t i = 5; i-- > 0;)
        cr_expect_eq(first_of(d, i), wanted[i], "in any order");
    oxp_dataset_free(d);
}

Test(dataset, files_of_a_folder_have_the_same_keys)
{
    oxp_tensor x = floats(2, (int64_t[]){1, 2}, 0);
    make_folder("f");
    write_npz("f/a.npz", (oxp_npz_array[]){{"x", &x}, {"o", &x}}, 2);
    write_npz("f/b.npz", (oxp_npz_array[]){{"x", &x}}, 1);
    oxp_tensor_release(&x);
    expect_refused("f", 1, OXP_EDATA, "E-CALIB-NAME");
    cr_expect_not_null(strstr(ctx.message, "b.npz"));
}

Test(dataset, kinds_are_not_mixed)
{
    make_folder("f");
    write_npy("f/a.npy", 1, 0);
    write_pb("f/input_0.pb", NULL, 1, 0);
    expect_refused("f", 1, OXP_EDATA, "E-CALIB-NAME");
}

Test(dataset, an_error_in_any_file_shows_at_the_start)
{
    make_folder("f");
    write_npy("f/a.npy", 1, 0);
    write_bytes("f/b.npy", "\x93NUMPY\x01\x00", 8);
    expect_refused("f", 1, OXP_EDATA, "E-NPY-HEADER");
    cr_expect_not_null(strstr(ctx.message, "b.npy"));
}

/* ---- TensorProto sets ---- */

Test(dataset, a_folder_of_tensors_is_one_call)
{
    make_folder("set");
    write_pb("set/input_0.pb", NULL, 3, 0);
    write_pb("set/output_0.pb", NULL, 3, 50);
    oxp_dataset *d = open_well("set");
    oxp_tensor x, o;
    size_t count;
    cr_expect_eq(oxp_dataset_count(d), 1);
    cr_expect_eq(oxp_dataset_rows(d, 0), 3);
    cr_assert_eq(oxp_dataset_sample(d, &ctx, 0, &x), OXP_OK);
    cr_assert_eq(oxp_dataset_expected(d, &ctx, 0, &o), OXP_OK);
    cr_expect_eq(x.dims[0], 3);
    cr_expect_eq(oxp_tensor_real(&x, 5), 5.0);
    cr_expect_eq(oxp_tensor_real(&o, 5), 55.0);
    oxp_tensor_release(&x);
    oxp_tensor_release(&o);
    oxp_dataset_files(d, &count);
    cr_expect_eq(count, 2);
    oxp_dataset_free(d);
}

Test(dataset, a_tensors_own_name_wins_over_its_position)
{
    make_folder("set");
    write_pb("set/input_0.pb", "y", 1, 10);
    write_pb("set/input_1.pb", "x", 1, 20);
    oxp_dataset *d;
    oxp_tensor in[2];
    cr_assert_eq(open_as(&d, "set", 2, NULL), OXP_OK, "%s", ctx.message);
    cr_assert_eq(oxp_dataset_sample(d, &ctx, 0, in), OXP_OK);
    cr_expect_eq(oxp_tensor_real(&in[0], 0), 20.0);
    cr_expect_eq(oxp_tensor_real(&in[1], 0), 10.0);
    oxp_tensor_release(&in[0]);
    oxp_tensor_release(&in[1]);
    oxp_dataset_free(d);

    write_pb("set/input_1.pb", "z", 1, 20);
    expect_refused("set", 2, OXP_EDATA, "E-CALIB-NAME");
    write_pb("set/input_1.pb", "y", 1, 20);
    expect_refused("set", 2, OXP_EDATA, "E-CALIB-NAME");
    write_pb("set/input_1.pb", NULL, 1, 20);
    expect_refused("set", 1, OXP_EDATA, "E-CALIB-NAME");
    unlink(in_root("set/input_1.pb"));
    expect_refused("set", 2, OXP_EDATA, "E-CALIB-NAME");
}

Test(dataset, test_data_sets_of_different_shapes)
{
    static const char *const names[] = {"test_data_set_10", "test_data_set_2", "test_data_set_0"};
    make_folder("model");
    for (int i = 0; i < 3; i++) {
        char path[64];
        snprintf(path, sizeof path, "model/%s", names[i]);
        make_folder(path);
        snprintf(path, sizeof path, "model/%s/input_0.pb", names[i]);
        write_pb(path, "x", i + 1, (float)(10 * i));
    }
    oxp_dataset *d = open_well("model");
    cr_assert_eq(oxp_dataset_count(d), 3);
    for (size_t i = 0; i < 3; i++) {
        cr_expect_eq(oxp_dataset_rows(d, i), 3 - i);
        cr_expect_eq(first_of(d, i), 20.0f - 10.0f * (float)i);
    }
    cr_expect_eq(oxp_dataset_row_total(d), 6);
    oxp_dataset_free(d);
}

Test(dataset, damaged_tensors_are_bad_data)
{
    make_folder("set");
    write_bytes("set/input_0.pb", "\x08\x01\x10\x01\x4a\x7f", 6);
    expect_refused("set", 1, OXP_EDATA, "E-TRUNCATED");
}

/* ---- later reads ---- */

Test(dataset, a_file_that_changes_is_noticed)
{
    make_folder("f");
    write_npy("f/a.npy", 2, 0);
    write_npy("f/b.npy", 2, 50);
    oxp_dataset *d = open_well("f");
    oxp_tensor x = {0};
    write_npy("f/a.npy", 2, 1);
    cr_expect_eq(oxp_dataset_sample(d, &ctx, 0, &x), OXP_EDATA);
    cr_expect_str_eq(ctx.code, "E-CHANGED");
    oxp_ctx_clear(&ctx);
    cr_expect_eq(first_of(d, 2), 50.0f);
    write_npy("f/a.npy", 3, 0);
    cr_expect_eq(oxp_dataset_sample(d, &ctx, 0, &x), OXP_EDATA);
    cr_expect_str_eq(ctx.code, "E-CHANGED");
    oxp_ctx_clear(&ctx);
    unlink(in_root("f/a.npy"));
    cr_expect_eq(oxp_dataset_sample(d, &ctx, 1, &x), OXP_EIO);
    cr_expect_str_eq(ctx.code, "E-OPEN");
    oxp_dataset_free(d);
}

Test(dataset, a_folder_stays_flat_in_memory)
{
    enum { FILES = 30, WIDTH = 20000 };
    oxp_value_info wide = value("x");
    wide.dims[1] = WIDTH;
    oxp_dataset_schema schema = {.inputs = &wide, .input_count = 1};
    make_folder("f");
    for (int i = 0; i < FILES; i++) {
        char name[32];
        snprintf(name, sizeof name, "f/%d.npz", i);
        oxp_tensor x = floats(2, (int64_t[]){2, WIDTH}, (float)i);
        write_npz(name, &(oxp_npz_array){"x", &x}, 1);
        oxp_tensor_release(&x);
    }
    size_t file = 2 * WIDTH * sizeof(float);
    oxp_dataset *d;
    ctx.own_budget.limit = 5 * file; /* of 30 */
    atomic_store(&ctx.own_budget.peak, 0);
    cr_assert_eq(oxp_dataset_open(&d, &ctx, in_root("f"), &schema, NULL), OXP_OK, "%s",
                 ctx.message);
    cr_expect_lt(atomic_load(&ctx.own_budget.used), 2 * file);
    for (size_t i = 0; i < 2 * FILES; i++)
        cr_expect_eq(first_of(d, i), (float)(i / 2 + i % 2 * WIDTH));
    cr_expect_lt(atomic_load(&ctx.own_budget.peak), 5 * file);
    oxp_dataset_free(d);
}

typedef struct reading {
    oxp_dataset *d;
    float first[64];
} reading;

static oxp_status read_one(void *user, oxp_ctx *worker, size_t index, int number)
{
    reading *r = user;
    oxp_tensor x;
    (void)number;
    OXP_TRY(oxp_dataset_sample(r->d, worker, index, &x));
    r->first[index] = (float)oxp_tensor_real(&x, 0);
    oxp_tensor_release(&x);
    return OXP_OK;
}

Test(dataset, threads_read_at_once)
{
    make_folder("f");
    for (int i = 0; i < 16; i++) {
        char name[32];
        snprintf(name, sizeof name, "f/%d.npy", i);
        write_npy(name, 4, 8.0f * (float)i);
    }
    reading r = {.d = open_well("f")};
    cr_assert_eq(oxp_dataset_count(r.d), 64);
    for (int round = 0; round < 10; round++) {
        memset(r.first, 0, sizeof r.first);
        ctx.threads = 8;
        cr_assert_eq(oxp_parallel_for(&ctx, 64, read_one, &r), OXP_OK, "%s", ctx.message);
        for (int i = 0; i < 64; i++)
            cr_assert_eq(r.first[i], 2.0f * (float)i);
    }
    oxp_dataset_free(r.d);
}

static int cancel(void *user, const char *stage, size_t done, size_t total)
{
    (void)user;
    (void)stage;
    (void)total;
    return done == 1;
}

Test(dataset, opening_can_be_cancelled)
{
    make_folder("f");
    write_npy("f/a.npy", 1, 0);
    write_npy("f/b.npy", 1, 0);
    oxp_dataset *d;
    ctx.progress = cancel;
    cr_expect_eq(open_as(&d, "f", 1, NULL), OXP_ECANCELLED);
}

/* Opening with less and less memory ends in an error, never in a crash or a leak. */
Test(dataset, every_limit_of_memory_is_survived)
{
    oxp_tensor x = floats(2, (int64_t[]){3, 2}, 0);
    make_folder("f");
    write_npz("f/a.npz", (oxp_npz_array[]){{"x", &x}, {"o", &x}}, 2);
    write_npz("f/b.npz", (oxp_npz_array[]){{"x", &x}, {"o", &x}}, 2);
    oxp_tensor_release(&x);
    bool opened = false;
    for (size_t limit = 0; !opened; limit += 1000) {
        oxp_dataset *d;
        ctx.own_budget.limit = limit;
        oxp_status status = open_as(&d, "f", 1, NULL);
        opened = status == OXP_OK;
        if (opened)
            oxp_dataset_free(d);
        else
            cr_assert_eq(status, OXP_ELIMIT, "at %zu: %s %s", limit, ctx.code, ctx.message);
        cr_assert_eq(atomic_load(&ctx.own_budget.used), 0, "a leak at %zu", limit);
    }
}
