/* external.c - the gate of external data: which locations, files and ranges pass, and which never
 * do. */
#include "unit/onnx/encode.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "onnx/external.h"
#include "onnx/sha1.h"

static char root[64];   /* removed after each test */
static char models[80]; /* root/models: where the model is */

static void setup(void)
{
    snprintf(root, sizeof root, "/tmp/onnxpress-external-XXXXXX");
    cr_assert_not_null(mkdtemp(root));
    snprintf(models, sizeof models, "%s/models", root);
    cr_assert_eq(mkdir(models, 0700), 0);
}

static int remove_one(const char *path, const struct stat *about, int kind, struct FTW *where)
{
    (void)about;
    (void)kind;
    (void)where;
    return remove(path);
}

static void teardown(void)
{
    nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

TestSuite(external, .init = setup, .fini = teardown);

/* A path below root; valid until the fourth call after. */
static const char *below(const char *name)
{
    static char paths[4][512];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", root, name);
    return path;
}

static void make_file(const char *name, const void *data, size_t size)
{
    FILE *file = fopen(below(name), "wb");
    cr_assert_not_null(file, "%s", name);
    cr_assert_eq(fwrite(data, 1, size, file), size);
    cr_assert_eq(fclose(file), 0);
}

static const float four[4] = {1, 2, 3, 4};

/* w FLOAT [count] in `location`; other keys follow as pairs, up to NULL. */
static bytes external_tensor(int64_t count, const char *location, const char *const *pairs)
{
    bytes t = tensor("w", OXP_FLOAT, 1, &count);
    put_int(&t, TENSOR_LOCATION, 1);
    if (location != NULL)
        put_message(&t, TENSOR_EXTERNAL, entry("location", location));
    for (; pairs != NULL && *pairs != NULL; pairs += 2)
        put_message(&t, TENSOR_EXTERNAL, entry(pairs[0], pairs[1]));
    return t;
}

#define PAIRS(...) ((const char *const[]){__VA_ARGS__, NULL})

static bytes external_model(int64_t count, const char *location, const char *const *pairs)
{
    return model_with_initializer(external_tensor(count, location, pairs));
}

static void refuse_with(bytes b, const oxp_load_options *options, oxp_status status,
                        const char *code, const char *part)
{
    loaded l;
    load_in(&l, b, models, options);
    cr_expect(l.ctx.status == status && strcmp(l.ctx.code, code) == 0,
              "expected %d %s (%s), found %d %s: %s", status, code, part, l.ctx.status, l.ctx.code,
              l.ctx.message);
    cr_expect(strstr(l.ctx.message, part) != NULL, "no \"%s\" in: %s", part, l.ctx.message);
    unload(&l);
}

static void refuse(bytes b, const char *code, const char *part)
{
    refuse_with(b, NULL, OXP_EFORMAT, code, part);
}

/* The data must be the floats of `four`. */
static void accept_with(bytes b, const oxp_load_options *options)
{
    loaded l;
    oxp_arena arena;
    oxp_tensor w;
    load_in(&l, b, models, options);
    cr_assert_eq(l.ctx.status, OXP_OK, "%s: %s", l.ctx.code, l.ctx.message);
    oxp_arena_init(&arena, &l.ctx);
    cr_assert_eq(oxp_tensor_decode(&w, &arena, l.model,
                                   oxp_graph_proto_initializer(oxp_model_graph(l.model), 0)),
                 OXP_OK);
    cr_expect_eq(memcmp(w.data, four, oxp_tensor_bytes(&w)), 0);
    oxp_arena_free(&arena);
    unload(&l);
}

/* ---- locations ---- */

Test(external, locations_are_plain_relative_paths)
{
    make_file("w.bin", four, sizeof four); /* outside of models/ */
    static const char *const bad[] = {
        "",
        ".",
        "/etc/passwd",
        "C:\\w.bin",
        "\\\\server\\w.bin",
        "file:///etc/passwd",
        "../w.bin",
        "a/../../w",
        "a/..",
        "./../w",
        "..\\w.bin",
        "a//w.bin",
        "w.bin/",
        "..",
        "a/../w.bin",
        "C:w.bin",
        "http://host/w",
        "a/.",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refuse(external_model(4, bad[i], NULL), "E-EXT-PATH", "tensor \"w\"");
    refuse(external_model(4, NULL, PAIRS("offset", "0")), "E-EXT-PATH", "no location");
    char component[300];
    memset(component, 'c', 256);
    component[256] = '\0';
    refuse(external_model(4, component, NULL), "E-EXT-PATH", "255");
    char path[5001];
    for (size_t i = 0; i < 5000; i++)
        path[i] = i % 2 == 0 ? 'd' : '/';
    path[5000] = '\0';
    refuse_with(external_model(4, path, NULL), NULL, OXP_ELIMIT, "E-LIMIT-PATH", "4095");
}

Test(external, files_below_the_model_are_read)
{
    cr_assert_eq(mkdir(below("models/sub"), 0700), 0);
    make_file("models/w.bin", four, sizeof four);
    make_file("models/sub/w x\n.bin", four, sizeof four);
    accept_with(external_model(4, "w.bin", NULL), NULL);
    accept_with(external_model(4, "./w.bin", NULL), NULL);
    accept_with(external_model(4, "sub/w x\n.bin", NULL), NULL);
    accept_with(external_model(2, "w.bin", PAIRS("offset", "0", "length", "8", "basepath", "x")),
                NULL);
}

Test(external, memory_without_a_directory_reads_nothing)
{
    make_file("models/w.bin", four, sizeof four);
    expect_refused(external_model(4, "w.bin", NULL), OXP_EFORMAT, "E-EXT-PATH", "no directory");
}

/* ---- links and other files ---- */

static const oxp_load_options symlinks = {.allow_symlinks = true};
static const oxp_load_options hardlinks = {.allow_hardlinks = true};

Test(external, links_are_not_followed)
{
    make_file("w.bin", four, sizeof four);
    make_file("models/real.bin", four, sizeof four);
    cr_assert_eq(mkdir(below("outside"), 0700), 0);
    make_file("outside/w.bin", four, sizeof four);
    cr_assert_eq(symlink("/etc/passwd", below("models/passwd")), 0);
    cr_assert_eq(symlink("real.bin", below("models/alias.bin")), 0);
    cr_assert_eq(symlink("../outside", below("models/sub")), 0);
    cr_assert_eq(symlink("loop", below("models/loop")), 0);
    refuse(external_model(4, "passwd", NULL), "E-EXT-LINK", "--allow-symlinks");
    refuse(external_model(4, "alias.bin", NULL), "E-EXT-LINK", "--allow-symlinks");
    refuse(external_model(4, "sub/w.bin", NULL), "E-EXT-LINK", "--allow-symlinks");
    refuse(external_model(4, "loop", NULL), "E-EXT-LINK", "link");
    accept_with(external_model(4, "alias.bin", NULL), &symlinks);
    accept_with(external_model(4, "sub/w.bin", NULL), &symlinks);
    refuse_with(external_model(4, "loop", NULL), &symlinks, OXP_EFORMAT, "E-EXT-LINK", "link");
}

Test(external, hard_links_are_refused)
{
    make_file("w.bin", four, sizeof four);
    cr_assert_eq(link(below("w.bin"), below("models/w.bin")), 0);
    refuse(external_model(4, "w.bin", NULL), "E-EXT-HARDLINK", "--allow-hardlinks");
    accept_with(external_model(4, "w.bin", NULL), &hardlinks);
}

Test(external, only_regular_files)
{
    cr_assert_eq(mkfifo(below("models/fifo"), 0600), 0);
    cr_assert_eq(mkdir(below("models/directory"), 0700), 0);
    refuse(external_model(4, "fifo", NULL), "E-NOT-REGULAR", "regular");
    refuse(external_model(4, "directory", NULL), "E-NOT-REGULAR", "regular");
    refuse_with(external_model(4, "absent", NULL), NULL, OXP_EIO, "E-OPEN", "cannot be opened");
    make_file("models/file", four, sizeof four);
    refuse_with(external_model(4, "file/w.bin", NULL), NULL, OXP_EIO, "E-OPEN", "cannot be opened");
    make_file("models/empty", four, 0);
    refuse(external_model(4, "empty", NULL), "E-EXT-RANGE", "0 bytes");
}

/* The older way must come to the same answers as openat2. */
Test(external, both_ways_of_opening_agree)
{
    make_file("w.bin", four, sizeof four);
    cr_assert_eq(mkdir(below("models/sub"), 0700), 0);
    make_file("models/sub/w.bin", four, sizeof four);
    cr_assert_eq(symlink("sub", below("models/alias")), 0);
    cr_assert_eq(symlink("sub/w.bin", below("models/w.bin")), 0);
    static const struct {
        const char *location;
        int error;
    } cases[] = {{"sub/w.bin", 0},    {"alias/w.bin", ELOOP},    {"w.bin", ELOOP},
                 {"../w.bin", EXDEV}, {"absent", ENOENT},        {"sub/absent", ENOENT},
                 {"./sub/w.bin", 0},  {"sub/../../w.bin", EXDEV}};
    int directory = open(models, O_PATH | O_DIRECTORY);
    cr_assert(directory >= 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int modern = 0; modern < 2; modern++) {
            int fd = oxp_external_open_beneath(directory, cases[i].location, modern);
            int error = fd < 0 ? errno : 0;
            cr_expect_eq(error, cases[i].error, "%s, modern %d: %s", cases[i].location, modern,
                         strerror(error));
            if (fd >= 0)
                close(fd);
        }
    }
    close(directory);
}

/* models--x/snapshots/1/{model.onnx,w.bin} are links into blobs/. */
static void make_hub_cache(void)
{
    bytes m = external_model(4, "w.bin", NULL);
    cr_assert_eq(mkdir(below("blobs"), 0700), 0);
    cr_assert_eq(mkdir(below("snapshots"), 0700), 0);
    cr_assert_eq(mkdir(below("snapshots/1"), 0700), 0);
    make_file("blobs/aaaa", m.data, m.size);
    make_file("blobs/bbbb", four, sizeof four);
    make_file("secret", four, sizeof four);
    cr_assert_eq(symlink("../../blobs/aaaa", below("snapshots/1/model.onnx")), 0);
    cr_assert_eq(symlink("../../blobs/bbbb", below("snapshots/1/w.bin")), 0);
    free(m.data);
}

Test(external, the_layout_of_the_hub_cache_is_read)
{
    make_hub_cache();
    oxp_ctx ctx;
    oxp_model *m;
    size_t count;
    oxp_ctx_init(&ctx);
    cr_assert_eq(oxp_model_load(&m, &ctx, below("snapshots/1/model.onnx"), NULL), OXP_OK, "%s %s",
                 ctx.code, ctx.message);
    cr_expect_eq(oxp_model_bytes(m), oxp_model_file_bytes(m) + sizeof four);
    oxp_model_files(m, &count);
    cr_expect_eq(count, 2);
    oxp_model_free(m);
}

Test(external, links_out_of_the_hub_cache_are_refused)
{
    static const char *const targets[] = {"../../secret", "../../blobs2/bbbb", "/etc/passwd",
                                          "../../blobs"};
    make_hub_cache();
    cr_assert_eq(mkdir(below("blobs2"), 0700), 0); /* a name that begins like the right one */
    make_file("blobs2/bbbb", four, sizeof four);
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        cr_assert_eq(unlink(below("snapshots/1/w.bin")), 0);
        cr_assert_eq(symlink(targets[i], below("snapshots/1/w.bin")), 0);
        oxp_ctx ctx;
        oxp_model *m = NULL;
        oxp_ctx_init(&ctx);
        cr_expect_eq(oxp_model_load(&m, &ctx, below("snapshots/1/model.onnx"), NULL), OXP_EFORMAT);
        cr_expect_str_eq(ctx.code, "E-EXT-LINK", "%s: %s", targets[i], ctx.message);
    }
}

Test(external, a_path_without_a_slash_starts_here)
{
    bytes m = external_model(4, "w.bin", NULL);
    make_file("models/m.onnx", m.data, m.size);
    make_file("models/w.bin", four, sizeof four);
    free(m.data);
    cr_assert_eq(chdir(models), 0);
    oxp_ctx ctx;
    oxp_model *loaded_model;
    oxp_ctx_init(&ctx);
    cr_assert_eq(oxp_model_load(&loaded_model, &ctx, "m.onnx", NULL), OXP_OK, "%s", ctx.message);
    oxp_model_free(loaded_model);
    cr_expect_eq(oxp_model_load(&loaded_model, &ctx, "absent.onnx", NULL), OXP_EIO);
    cr_expect_not_null(strstr(ctx.message, "absent.onnx"), "%s", ctx.message);
}

/* ---- a file that changes under our hands ---- */

static atomic_bool stop_swapping;

static void *swap_file_and_link(void *unused)
{
    (void)unused;
    char file[128], link_path[128], target[128];
    snprintf(file, sizeof file, "%s/swap.file", models);
    snprintf(link_path, sizeof link_path, "%s/swap.link", models);
    snprintf(target, sizeof target, "%s/w.bin", models);
    while (!atomic_load(&stop_swapping)) {
        FILE *f = fopen(file, "wb");
        if (f != NULL) {
            fwrite(four, 1, sizeof four, f);
            fclose(f);
        }
        rename(file, target);
        if (symlink("../secret", link_path) == 0)
            rename(link_path, target);
    }
    return NULL;
}

Test(external, a_swapped_file_is_never_followed)
{
    static const float secret[4] = {9, 9, 9, 9};
    pthread_t thread;
    size_t accepted = 0, refused = 0;
    make_file("secret", secret, sizeof secret);
    make_file("models/w.bin", four, sizeof four);
    cr_assert_eq(pthread_create(&thread, NULL, swap_file_and_link, NULL), 0);
    for (int i = 0; i < 10000; i++) {
        loaded l;
        load_in(&l, external_model(4, "w.bin", NULL), models, NULL);
        if (l.ctx.status == OXP_OK) {
            accepted++;
            cr_expect_eq(memcmp(l.model->externals[0].data, four, sizeof four), 0, "try %d", i);
        } else
            refused++;
        unload(&l);
    }
    atomic_store(&stop_swapping, true);
    pthread_join(thread, NULL);
    cr_expect(accepted > 0 && refused > 0, "%zu accepted, %zu refused", accepted, refused);
}

/* ---- numbers and ranges ---- */

Test(external, numbers_are_plain_digits)
{
    make_file("models/w.bin", four, sizeof four);
    static const char *const bad[] = {"-1",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "1e3",
                                      "0x10",
                                      "",
                                      "1_0",
                                      "1.0",
                                      "99999999999999999999",
                                      "18446744073709551616",
                                      "000000000000000000000000000001",
                                      "9223372036854775808"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        refuse(external_model(1, "w.bin", PAIRS("offset", bad[i], "length", "4")), "E-EXT-NUM",
               "offset");
        refuse(external_model(1, "w.bin", PAIRS("length", bad[i])), "E-EXT-NUM", "length");
    }
    accept_with(external_model(1, "w.bin", PAIRS("offset", "00", "length", "0004")), NULL);
}

Test(external, ranges_stay_inside_the_file)
{
    make_file("models/w.bin", four, sizeof four);
    static const char *const bad[][2] = {
        {"17", "16"},
        {"1", "16"},
        {"16", "4"},
        {"0", "1125899906842624"},
        {"9223372036854775807", "9223372036854775807"},
        {"9223372036854775807", "16"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refuse(external_model(4, "w.bin", PAIRS("offset", bad[i][0], "length", bad[i][1])),
               "E-EXT-RANGE", "16 bytes");
    refuse(external_model(4, "w.bin", PAIRS("offset", "4")), "E-EXT-RANGE", "16 bytes");
    refuse(external_model(INT64_C(1) << 48, "w.bin", NULL), "E-EXT-RANGE", "16 bytes");
}

Test(external, lengths_are_those_of_the_shape)
{
    make_file("models/w.bin", four, sizeof four);
    refuse(external_model(4, "w.bin", PAIRS("length", "12")), "E-EXT-LEN", "needs 16");
    refuse(external_model(2, "w.bin", PAIRS("length", "12")), "E-EXT-LEN", "needs 8");
    accept_with(external_model(2, "w.bin", NULL), NULL); /* without a length the shape decides */
}

Test(external, empty_tensors_pass_the_gate_too)
{
    make_file("models/w.bin", four, sizeof four);
    accept_with(external_model(0, "w.bin", PAIRS("length", "0")), NULL);
    refuse(external_model(0, "../w.bin", NULL), "E-EXT-PATH", "..");
}

Test(external, data_is_in_one_place)
{
    make_file("models/w.bin", four, sizeof four);
    bytes both = external_tensor(4, "w.bin", NULL);
    put_blob(&both, TENSOR_RAW, four, sizeof four);
    refuse(model_with_initializer(both), "E-DATA-BOTH", "external_data and raw_data");
    int64_t dims[] = {4};
    bytes unmarked = tensor("w", OXP_FLOAT, 1, dims);
    put_message(&unmarked, TENSOR_EXTERNAL, entry("location", "w.bin"));
    put_blob(&unmarked, TENSOR_RAW, four, sizeof four);
    refuse(model_with_initializer(unmarked), "E-DATA-BOTH", "DEFAULT");
    bytes text = tensor("w", OXP_STRING, 1, dims);
    put_int(&text, TENSOR_LOCATION, 1);
    put_message(&text, TENSOR_EXTERNAL, entry("location", "w.bin"));
    refuse(model_with_initializer(text), "E-DATA-FIELD", "STRING");
}

Test(external, keys)
{
    make_file("models/w.bin", four, sizeof four);
    refuse(external_model(4, "w.bin", PAIRS("location", "w.bin")), "E-EXT-KEY", "\"location\"");
    accept_with(external_model(4, "w.bin", PAIRS("__class__", "x", "other", "y")), NULL);
}

/* ---- many tensors ---- */

static bytes two_tensors(const char *const *first, const char *const *second)
{
    bytes g = graph();
    put_message(&g, GRAPH_INITIALIZER, external_tensor(2, "w.bin", first));
    put_message(&g, GRAPH_INITIALIZER, external_tensor(2, "w.bin", second));
    return model(g);
}

Test(external, ranges_are_shared_whole_or_not_at_all)
{
    make_file("models/w.bin", four, sizeof four);
    accept_with(two_tensors(PAIRS("offset", "0"), PAIRS("offset", "8")), NULL);
    accept_with(two_tensors(PAIRS("offset", "0"), PAIRS("offset", "0")), NULL);
    refuse(two_tensors(PAIRS("offset", "0"), PAIRS("offset", "4")), "E-EXT-OVERLAP",
           "[0,8) and [4,12)");
    refuse(two_tensors(PAIRS("offset", "7"), PAIRS("offset", "0")), "E-EXT-OVERLAP",
           "[0,8) and [7,15)");
}

Test(external, files_have_a_number_limit)
{
    bytes g = graph();
    for (int i = 0; i < 1025; i++) {
        char name[32], path[48];
        snprintf(name, sizeof name, "w%d.bin", i);
        snprintf(path, sizeof path, "models/%s", name);
        make_file(path, four, sizeof four);
        put_message(&g, GRAPH_INITIALIZER, external_tensor(4, name, NULL));
    }
    refuse_with(model(g), NULL, OXP_ELIMIT, "E-LIMIT-EXTERNAL", "1024");
}

/* Constants and sparse tensors have no gate of their own. */
Test(external, every_tensor_goes_through_the_gate)
{
    make_file("w.bin", four, sizeof four);
    bytes a = attribute("value", OXP_ATTR_TENSOR), n = node("Constant", NULL, "c"), g = graph();
    put_message(&a, ATTR_T, external_tensor(4, "../w.bin", NULL));
    put_message(&n, NODE_ATTRIBUTE, a);
    put_message(&g, GRAPH_NODE, n);
    refuse(model(g), "E-EXT-PATH", "..");
    for (unsigned part = 1; part <= 2; part++) {
        int64_t one[] = {1};
        bytes s = {0}, values = tensor("s", OXP_FLOAT, 1, one),
              indices = tensor("i", OXP_INT64, 1, one);
        bytes *moved = part == 1 ? &values : &indices, *kept = part == 1 ? &indices : &values;
        put_int(moved, TENSOR_LOCATION, 1);
        put_message(moved, TENSOR_EXTERNAL, entry("location", "../w.bin"));
        if (kept == &values)
            put_float(kept, TENSOR_FLOAT, 1);
        else
            put_int(kept, TENSOR_INT64, 0);
        put_message(&s, 1, values);
        put_message(&s, 2, indices);
        put_int(&s, 3, 4);
        bytes holder = graph();
        put_message(&holder, GRAPH_SPARSE, s);
        refuse(model(holder), "E-EXT-PATH", "..");
    }
}

Test(external, values_are_checked_like_inner_ones)
{
    make_file("models/w.bin", "\x00\x00\x80\x3f\x00\x00\xc0\x7f", 8); /* 1, NaN */
    refuse(external_model(2, "w.bin", NULL), "E-NONFINITE", "NaN at index 1");
}

Test(external, the_hash_covers_the_data_in_tensor_order)
{
    make_file("models/w.bin", four, sizeof four);
    bytes b = two_tensors(PAIRS("offset", "8"), PAIRS("offset", "0")), whole = {0};
    put(&whole, b.data, b.size);
    put(&whole, &four[2], 8);
    put(&whole, &four[0], 8);
    loaded l;
    load_in(&l, b, models, NULL);
    cr_assert_eq(l.ctx.status, OXP_OK);
    cr_expect_eq(oxp_model_hash(l.model), XXH3_64bits(whole.data, whole.size));
    free(whole.data);
    unload(&l);
}

/* ---- checksums ---- */

static void expect_sha1(const void *data, size_t size, const char *expected)
{
    uint8_t digest[OXP_SHA1_BYTES];
    char hex[41];
    oxp_sha1(digest, data, size);
    for (size_t i = 0; i < sizeof digest; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    cr_expect_str_eq(hex, expected, "%zu bytes", size);
}

Test(external, sha1)
{
    expect_sha1("", 0, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    expect_sha1("abc", 3, "a9993e364706816aba3e25717850c26c9cd0d89d");
    expect_sha1("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
                "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
    char *million = malloc(1000000);
    memset(million, 'a', 1000000);
    expect_sha1(million, 1000000, "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
    expect_sha1(million, 55, "c1c8bbdc22796e28c0e15163d20899b65621d65a");
    expect_sha1(million, 63, "03f09f5b158a7a8cdad920bddc29b81c18a551f5");
    expect_sha1(million, 64, "0098ba824b5c16427bd7a1122a5a442a25ec644d");
    free(million);
}

Test(external, checksums_are_verified)
{
    make_file("models/w.bin", "abc\0", 4);
    static const char good[] = "7b4ae5abb2236ad39b7e2bdac3e2bf9f7bcc9af0";
    uint8_t digest[OXP_SHA1_BYTES];
    char hex[41];
    oxp_sha1(digest, "abc\0", 4);
    for (size_t i = 0; i < sizeof digest; i++)
        snprintf(hex + 2 * i, 3, "%02X", digest[i]);
    loaded l;
    load_in(&l, external_model(1, "w.bin", PAIRS("checksum", hex)), models, NULL);
    cr_expect_eq(l.ctx.status, OXP_OK, "%s", l.ctx.message);
    unload(&l);
    refuse(external_model(1, "w.bin", PAIRS("checksum", good)), "E-EXT-SUM", "SHA-1");
    refuse(external_model(1, "w.bin", PAIRS("checksum", "abc")), "E-EXT-SUM", "SHA-1");
}
