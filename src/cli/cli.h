/* cli.h - what the files of the command line share: the command table, flags, messages. Uses the public header alone. */
#ifndef OXP_CLI_CLI_H
#define OXP_CLI_CLI_H

#include "onnxpress.h"

typedef enum flag_kind {
    FLAG_SWITCH, /* bool */
    FLAG_TEXT,   /* const char * */
    FLAG_WORD,   /* const char *, one of `words` (or with ":…" behind a word that ends in ':') */
    FLAG_LIST,   /* flag_list, repeatable; or comma-separated words in one */
    FLAG_COUNT,  /* size_t */
    FLAG_REAL,   /* double */
    FLAG_SIZE    /* size_t bytes: "12MB", "3GiB" */
} flag_kind;

#define FLAG_LIST_MAX 256

typedef struct flag_list {
    const char *items[FLAG_LIST_MAX + 1]; /* NULL-terminated */
    size_t count;
} flag_list;

typedef struct flag {
    const char *name;     /* "--precision"; "-o" stands in `alias` */
    const char *alias;
    flag_kind kind;
    void *target;
    const char *argument; /* shown in help: "FILE" */
    const char *words;    /* FLAG_WORD: "w8a8|w8|none" */
    const char *help;
} flag;

/* Flags that every command has. */
typedef struct shared {
    const char *json;
    bool quiet, verbose, force;
    size_t threads, seed, max_memory;
    double timeout;
    bool set_threads, set_memory;
    flag_list batch_axes, dims;
    bool allow_symlinks, allow_hardlinks;
    const char *nonfinite;
    size_t random;
} shared;

typedef struct command {
    const char *name, *arguments, *summary;
    size_t positional_min, positional_max;
    int (*run)(oxp_ctx *ctx, shared *s, size_t count, const char *const *positional);
    size_t (*flags)(shared *s, flag out[64]); /* the command's own */
} command;

extern const command command_table[];
extern const size_t command_count;
const command *find_command(const char *name);

/* Parses arguments behind the command's name. Returns 0 or 2 after printing the error. */
int parse_flags(const flag *flags, size_t count, int argc, char **argv, const char **positional, size_t *positional_count,
                size_t positional_max);
size_t shared_flags(shared *s, flag *out);
void input_options(oxp_input_options *out, const shared *s);

/* One line on stderr: "onnxpress: error CODE: text"; returns `status`. */
int fail(int status, const char *code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The context's error, in the same form. */
int fail_ctx(oxp_ctx *ctx, oxp_status status);
/* Prints text or JSON as the flags ask, frees the report; returns the exit code. */
int finish(oxp_ctx *ctx, const shared *s, oxp_status status, oxp_report *report);
const char *nearest_word(const char *word, const char *const *words, size_t count);
void print_help(const command *c);
void print_usage(void);

int command_compress(oxp_ctx *ctx, shared *s, size_t count, const char *const *positional);
size_t flags_compress(shared *s, flag *out);
int command_run(oxp_ctx *ctx, shared *s, size_t count, const char *const *positional);
size_t flags_run(shared *s, flag *out);
int command_info(oxp_ctx *ctx, shared *s, size_t count, const char *const *positional);
int command_compare(oxp_ctx *ctx, shared *s, size_t count, const char *const *positional);
size_t flags_compare(shared *s, flag *out);
int command_operators(oxp_ctx *ctx, shared *s, size_t count, const char *const *positional);
int command_techniques(oxp_ctx *ctx, shared *s, size_t count, const char *const *positional);
size_t flags_none(shared *s, flag *out);

#endif
