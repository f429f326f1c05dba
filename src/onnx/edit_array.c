/* edit_array.c - arrays of messages that grow, and the list of a model's graphs.
 *
 * protobuf-c knows only how many elements an array has. How many it has room for stands in a table
 * of the model, by the array's address; small arrays are copied exactly instead. So n insertions
 * cost memory for O(n) pointers, not O(n²). */
#include "onnx/model_internal.h"

#include <string.h>

#define EXACT_MAX 16u /* elements up to which an array is copied at each insertion */
#define FIRST_ROWS 64u

/* ---- room ---- */

static size_t row_of(const oxp_grown_array *rows, size_t capacity, const void *array)
{
    uint64_t hash = (uint64_t)(uintptr_t)array * UINT64_C(0x9e3779b97f4a7c15);
    size_t row = (size_t)(hash >> 32) & (capacity - 1);
    while (rows[row].array != NULL && rows[row].array != array)
        row = (row + 1) & (capacity - 1);
    return row;
}

static size_t room_of(const oxp_model *model, const void *array, size_t count)
{
    if (model->grown_count == 0 || array == NULL)
        return count;
    const oxp_grown_array *found =
        &model->grown[row_of(model->grown, model->grown_capacity, array)];
    return found->array == NULL ? count : found->room;
}

static oxp_status grow_table(oxp_model *model)
{
    size_t capacity = model->grown_capacity == 0 ? FIRST_ROWS : model->grown_capacity * 2;
    oxp_grown_array *rows = oxp_arena_alloc(&model->arena, capacity, sizeof *rows);
    if (rows == NULL)
        return oxp_out_of_memory(model);
    for (size_t i = 0; i < model->grown_capacity; i++)
        if (model->grown[i].array != NULL)
            rows[row_of(rows, capacity, model->grown[i].array)] = model->grown[i];
    model->grown = rows;
    model->grown_capacity = capacity;
    return OXP_OK;
}

static oxp_status remember_room(oxp_model *model, const void *array, size_t room)
{
    if (model->grown_count * 2 >= model->grown_capacity)
        OXP_TRY(grow_table(model));
    model->grown[row_of(model->grown, model->grown_capacity, array)] =
        (oxp_grown_array){array, room};
    model->grown_count++;
    return OXP_OK;
}

/* ---- insertion ---- */

/* A copy of the array with room for one more element at least. */
static oxp_status copy_with_room(unsigned char **out, oxp_model *model, const unsigned char *array,
                                 size_t count)
{
    size_t room = count + 1;
    if (room > EXACT_MAX && !oxp_mul_ok(room, 2, &room))
        room = count + 1;
    unsigned char *copy = oxp_arena_alloc(&model->arena, room, sizeof(void *));
    if (copy == NULL)
        return oxp_out_of_memory(model);
    if (count > 0)
        memcpy(copy, array, count * sizeof(void *));
    if (room > count + 1)
        OXP_TRY(remember_room(model, copy, room));
    *out = copy;
    return OXP_OK;
}

oxp_status oxp_array_insert(oxp_model *model, void *array, size_t *count, size_t at,
                            const void *item)
{
    unsigned char *elements;
    memcpy(&elements, array, sizeof elements);
    if (room_of(model, elements, *count) <= *count)
        OXP_TRY(copy_with_room(&elements, model, elements, *count));
    unsigned char *place = elements + at * sizeof(void *);
    memmove(place + sizeof(void *), place, (*count - at) * sizeof(void *));
    memcpy(place, &item, sizeof(void *));
    memcpy(array, &elements, sizeof elements);
    *count += 1;
    return OXP_OK;
}

void oxp_array_remove(void *array, size_t *count, size_t at)
{
    unsigned char *elements;
    memcpy(&elements, array, sizeof elements);
    unsigned char *place = elements + at * sizeof(void *);
    *count -= 1;
    memmove(place, place + sizeof(void *), (*count - at) * sizeof(void *));
}

/* ---- graphs ---- */

static oxp_status add_scope(oxp_scopes *scopes, oxp_ctx *ctx, Onnx__GraphProto *g, size_t parent)
{
    if (g == NULL)
        return OXP_OK;
    OXP_TRY(
        oxp_grow(&scopes->items, &scopes->capacity, ctx, scopes->count + 1, sizeof *scopes->items));
    scopes->items[scopes->count++] = (oxp_scope){g, parent};
    return OXP_OK;
}

oxp_status oxp_scopes_of_node(oxp_scopes *scopes, oxp_ctx *ctx, const Onnx__NodeProto *n,
                              size_t parent)
{
    for (size_t i = 0; i < n->n_attribute; i++) {
        const Onnx__AttributeProto *a = n->attribute[i];
        OXP_TRY(add_scope(scopes, ctx, a->g, parent));
        for (size_t j = 0; j < a->n_graphs; j++)
            OXP_TRY(add_scope(scopes, ctx, a->graphs[j], parent));
    }
    return OXP_OK;
}

oxp_status oxp_scopes_collect(oxp_scopes *scopes, oxp_ctx *ctx, Onnx__GraphProto *root)
{
    size_t next = scopes->count;
    OXP_TRY(add_scope(scopes, ctx, root, SIZE_MAX));
    for (; next < scopes->count; next++) {
        const Onnx__GraphProto *g = scopes->items[next].g;
        for (size_t i = 0; i < g->n_node; i++)
            OXP_TRY(oxp_scopes_of_node(scopes, ctx, g->node[i], next));
    }
    return OXP_OK;
}
