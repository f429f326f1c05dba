/* cli.h - what the files of the command line share: the command table, flags, messages. Of ours it
 * includes the public header alone. */
#ifndef OXP_CLI_CLI_H
#define OXP_CLI_CLI_H

#include "onnxpress.h"

/* ---- flags ---- */

typedef enum flag_kind {
    FLAG_SWITCH, /* bool */
    FLAG_TEXT,   /* const char * */
    FLAG_WORD,   /* const char *, one of `words`; "name[:P]" also takes a parameter */
    FLAG_LIST,   /* flag_list, repeatable */
    FLAG_COUNT,  /* size_t */
    FLAG_REAL,   /* double, not negative */
    FLAG_SIZE    /* size_t bytes: "12MB", "1.5GiB" */
} flag_kind;

typedef struct flag {
    const char *name, *alias; /* "--output", "-o" or NULL */
    flag_kind kind;
    void *target;
    const char *argument; /* as help shows it: "FILE" */
    const char *words;    /* FLAG_WORD: "w8a8|w8|none" */
    const char *help;
} flag;

#define FLAG_LIST_MAX 256

typedef struct flag_list {
    const char *items[FLAG_LIST_MAX + 1]; /* NULL-terminated */
    size_t count;
} flag_list;

typedef struct flag_group {
    const char *title; /* above the group in help; NULL: the command's own */
    const flag *flags;
    size_t count;
} flag_group;

/* What more than one command takes. */
typedef struct settings {
    const char *json;
    bool quiet, verbose, force;
    size_t threads, seed, max_memory; /* threads, max_memory: 0 = the default */
    double timeout;
    flag_list batch_axes, dims, shapes;
    bool allow_symlinks, allow_hardlinks;
    const char *nonfinite, *isa;
    size_t random;
} settings;

#define THREADS_MAX 1024

/* The rows of those that choose weights by their nodes; `options` has the four lists. */
#define SELECTION_FLAGS(options)                                                                  \
    {"--nodes", NULL, FLAG_LIST, &(options).nodes, "GLOB", NULL, "only these nodes; repeatable"}, \
        {"--exclude-nodes",                                                                       \
         NULL,                                                                                    \
         FLAG_LIST,                                                                               \
         &(options).exclude_nodes,                                                                \
         "GLOB",                                                                                  \
         NULL,                                                                                    \
         "not these nodes; repeatable"},                                                          \
        {"--op-types",                                                                            \
         NULL,                                                                                    \
         FLAG_LIST,                                                                               \
         &(options).op_types,                                                                     \
         "GLOB",                                                                                  \
         NULL,                                                                                    \
         "only these operators; repeatable"},                                                     \
    {                                                                                             \
        "--exclude-op-types", NULL, FLAG_LIST, &(options).exclude_op_types, "GLOB", NULL,         \
            "not these operators; repeatable"                                                     \
    }

extern settings shared;                          /* filled by parse_flags() */
extern const flag_group common_flags;            /* of every command */
extern const flag_group model_flags, data_flags; /* of those that read one */

/* Parses what stands behind the command's name. Returns 0, or 2 with the error printed. */
int parse_flags(const flag_group *groups, size_t group_count, int argc, char **argv,
                const char **positional, size_t *positional_count, size_t positional_max);
const char *nearest_word(const char *word, const char *const *words, size_t count);
void input_options(oxp_input_options *out);
/* As the library takes them: NULL-terminated, or NULL for none. */
const char *const *list_or_null(const flag_list *list);
/* Samples come from one place, and from one where they are `needed`. Returns 0, or 2 as above. */
int check_samples(const char *name, const char *data, bool needed);

/* ---- commands ---- */

typedef struct command {
    const char *name, *arguments, *summary;
    size_t positional, positional_more; /* how many it takes, and may take beyond */
    bool reads_model, reads_data;
    flag_group own;
    int (*run)(oxp_ctx *ctx, const char *const *positional); /* behind the last one stands NULL */
} command;

#define COMMAND_GROUPS_MAX 4
#define POSITIONAL_MAX 64

extern const command *const command_table[];
extern const size_t command_count;
extern const command calibrate_command, compress_command, run_command, compare_command,
    info_command, samples_command, sensitivity_command, plan_command, deploy_command,
    operators_command, techniques_command;

/* The groups of flags that a command takes; returns how many. */
size_t command_groups(const command *c, flag_group groups[COMMAND_GROUPS_MAX]);

void print_usage(void);
void print_help(const command *c);

/* ---- messages ---- */

/* "onnxpress: error CODE: text", one line on stderr; returns `status`. */
int fail(int status, const char *code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The context's error, in the same form. Silent where a signal stopped the work. */
int fail_ctx(oxp_ctx *ctx, oxp_status status);
/* Prints text or JSON as the flags ask, frees the report; returns the exit code. */
int finish(oxp_ctx *ctx, oxp_status status, oxp_report *report);
int flush_stdout(int status);
/* Lets the context talk on stderr: log lines, and a progress bar on a terminal after a second. */
void start_talking(oxp_ctx *ctx);
bool stop_requested(void);

#endif
