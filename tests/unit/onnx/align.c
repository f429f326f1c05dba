/* align.c - weights wherever they lie in the file: readable as their type, the same for every graph
 * of the model and of its clones, and the model still packs to the bytes it came from. */
#include "unit/onnx/encode.h"

#include <string.h>

#include "graph/graph.h"
#include "onnx/edit.h"
#include "onnx/save.h"

enum { FLOATS = 100 };

static const void *weights_of(oxp_model *m, oxp_ctx *ctx)
{
    oxp_arena arena;
    oxp_graph *g;
    oxp_arena_init(&arena, ctx);
    cr_assert_eq(oxp_graph_build(&g, &arena, m), OXP_OK, "%s", ctx->message);
    const oxp_value *v = &g->values[oxp_graph_find_value(g, "w")];
    const void *data = v->constant.data;
    cr_expect_eq((uintptr_t)data % sizeof(float), 0);
    cr_expect_eq(((const float *)data)[FLOATS - 1], FLOATS - 1);
    oxp_arena_free(&arena);
    return data;
}

Test(align, weights_are_moved_once)
{
    float w[FLOATS];
    for (int i = 0; i < FLOATS; i++)
        w[i] = (float)i;
    for (size_t shift = 0; shift < 4; shift++) { /* a doc string in front moves the data */
        bytes t = tensor("w", OXP_FLOAT, 1, (int64_t[]){FLOATS});
        put_blob(&t, 12 /* doc_string */, "doc", shift);
        put_blob(&t, TENSOR_RAW, w, sizeof w);
        bytes b = model_with_initializer(t);
        oxp_ctx ctx;
        oxp_model *m, *clone;
        uint8_t *packed;
        size_t size;
        oxp_ctx_init(&ctx);
        cr_assert_eq(oxp_model_load_memory(&m, &ctx, b.data, b.size, NULL, NULL), OXP_OK, "%s",
                     ctx.message);
        cr_assert_eq(oxp_model_clone(&clone, m), OXP_OK);
        const void *data = weights_of(m, &ctx);
        cr_expect_eq(weights_of(m, &ctx), data);
        cr_expect_eq(weights_of(clone, &ctx), data);
        cr_assert_eq(oxp_model_pack(&packed, &size, m), OXP_OK);
        cr_expect(size == b.size && memcmp(packed, b.data, size) == 0);
        oxp_free(packed);
        oxp_model_free(clone);
        oxp_model_free(m);
        cr_expect_eq(ctx.budget->used, 0);
        free(b.data);
    }
}
