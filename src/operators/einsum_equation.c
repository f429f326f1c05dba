/* einsum_equation.c - reading "ij,jk->ik", "...ab,bc", "ii". */
#include "operators/einsum_equation.h"

#include <string.h>

/* Stands in a term for an ellipsis until its rank is known. */
#define ELLIPSIS UINT8_MAX

/* A term as written: an ellipsis takes one place. */
typedef struct written {
    int count, letters;
    bool has_ellipsis;
    uint8_t labels[OXP_MAX_RANK + 1];
} written;

size_t oxp_einsum_bytes(int inputs)
{
    return sizeof(oxp_einsum) + (size_t)inputs * sizeof(oxp_einsum_term);
}

static oxp_status bad_equation(oxp_node *n, const char *equation, const char *why)
{
    char quoted[OXP_QUOTED_MAX];
    return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE", "equation %s: %s",
                         oxp_quote(quoted, equation), why);
}

static int letter(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    return c >= 'a' && c <= 'z' ? c - 'a' + 26 : -1;
}

/* Reads up to a comma, an arrow or the end. */
static oxp_status read_term(oxp_node *n, const char *equation, const char **at, written *w)
{
    *w = (written){0};
    for (; **at && **at != ',' && **at != '-'; (*at)++) {
        if (**at == ' ')
            continue;
        if (w->count > OXP_MAX_RANK)
            return bad_equation(n, equation, "a term has too many labels");
        if (strncmp(*at, "...", 3) == 0) {
            if (w->has_ellipsis)
                return bad_equation(n, equation, "a term has two ellipses");
            w->has_ellipsis = true;
            w->labels[w->count++] = ELLIPSIS;
            *at += 2;
            continue;
        }
        int label = letter(**at);
        if (label < 0)
            return bad_equation(n, equation, "expected letters, commas, ellipses and one arrow");
        w->labels[w->count++] = (uint8_t)label;
        w->letters++;
    }
    return OXP_OK;
}

static oxp_status expand(oxp_node *n, const char *equation, const written *w, int ellipsis_rank,
                         oxp_einsum_term *term)
{
    if (w->letters + ellipsis_rank > OXP_MAX_RANK)
        return bad_equation(n, equation, "a term has too many dimensions");
    term->rank = 0;
    for (int i = 0; i < w->count; i++) {
        if (w->labels[i] != ELLIPSIS) {
            term->labels[term->rank++] = w->labels[i];
            continue;
        }
        for (int k = 0; k < ellipsis_rank; k++)
            term->labels[term->rank++] = (uint8_t)(OXP_EINSUM_LABELS - ellipsis_rank + k);
    }
    return OXP_OK;
}

/* Joins the sizes of an input's dimensions with what is known of their labels; 1 repeats. */
static oxp_status take_sizes(oxp_node *n, oxp_einsum *e, int input)
{
    const oxp_tensor *x = n->in[input];
    for (int d = 0; d < x->rank; d++) {
        int64_t *size = &e->dims[e->terms[input].labels[d]];
        if (*size >= 0 && *size != x->dims[d] && *size != 1 && x->dims[d] != 1) {
            return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                                 "dimension %d of input %d is %lld, its label stands for %lld", d,
                                 input, (long long)x->dims[d], (long long)*size);
        }
        if (*size < 0 || *size == 1)
            *size = x->dims[d];
    }
    return OXP_OK;
}

static oxp_status read_input(oxp_node *n, oxp_einsum *e, const char *equation, const char **at,
                             int input, int *ellipsis)
{
    written w;
    int rank = n->in[input]->rank;
    OXP_TRY(read_term(n, equation, at, &w));
    if (w.has_ellipsis ? w.letters > rank : w.letters != rank) {
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "input %d has rank %d, its term names %d dimensions", input, rank,
                             w.letters);
    }
    if (w.has_ellipsis && rank - w.letters > *ellipsis)
        *ellipsis = rank - w.letters;
    OXP_TRY(expand(n, equation, &w, w.has_ellipsis ? rank - w.letters : 0, &e->terms[input]));
    return take_sizes(n, e, input);
}

/* No arrow: the ellipsis, then the labels that occur once, in the order of their letters. */
static oxp_status implicit_output(oxp_node *n, const char *equation, oxp_einsum *e, int ellipsis)
{
    written w = {.has_ellipsis = true, .labels = {ELLIPSIS}, .count = 1};
    for (int label = 0; label < OXP_EINSUM_LETTERS; label++) {
        int occurs = 0;
        for (int i = 0; i < e->inputs; i++)
            for (int d = 0; d < e->terms[i].rank; d++)
                occurs += e->terms[i].labels[d] == label;
        if (occurs != 1)
            continue;
        if (w.count > OXP_MAX_RANK)
            return bad_equation(n, equation, "the output has too many dimensions");
        w.labels[w.count++] = (uint8_t)label;
        w.letters++;
    }
    return expand(n, equation, &w, ellipsis, &e->output);
}

static oxp_status explicit_output(oxp_node *n, const char *equation, const char *at, oxp_einsum *e,
                                  int ellipsis)
{
    written w;
    OXP_TRY(read_term(n, equation, &at, &w));
    if (*at)
        return bad_equation(n, equation, "expected one term after the arrow");
    OXP_TRY(expand(n, equation, &w, w.has_ellipsis ? ellipsis : 0, &e->output));
    for (int i = 0; i < e->output.rank; i++) {
        if (e->dims[e->output.labels[i]] < 0)
            return bad_equation(n, equation, "the output names a label that no input has");
        for (int k = 0; k < i; k++)
            if (e->output.labels[k] == e->output.labels[i])
                return bad_equation(n, equation, "the output names a label twice");
    }
    return OXP_OK;
}

oxp_status oxp_einsum_read(oxp_node *n, oxp_einsum *e, const char *equation)
{
    const char *at = equation;
    int ellipsis = 0;
    e->inputs = n->in_count;
    for (int label = 0; label < OXP_EINSUM_LABELS; label++)
        e->dims[label] = -1;
    for (int i = 0; i < n->in_count; i++) {
        if (i > 0 && *at++ != ',')
            return bad_equation(n, equation, "it has fewer terms than the node has inputs");
        OXP_TRY(read_input(n, e, equation, &at, i, &ellipsis));
    }
    if (*at == '\0')
        return implicit_output(n, equation, e, ellipsis);
    if (at[0] != '-' || at[1] != '>')
        return bad_equation(n, equation, "expected an arrow, or as many terms as inputs");
    return explicit_output(n, equation, at + 2, e, ellipsis);
}
