/* main.c - the command line: finds the command, parses its flags, sets up the context, runs it.
 *
 * Talk goes to stderr, data to stdout. SIGINT, SIGTERM and SIGHUP ask the work to stop; temporary files are gone before the
 * signal is raised again. A second signal ends the process at once. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"

static volatile sig_atomic_t caught_signal;

/* ---- messages ---- */

int fail(int status, const char *code, const char *format, ...)
{
    char text[1100];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    for (char *p = text; *p; p++) /* arguments of the user may hold anything */
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
    fprintf(stderr, "onnxpress: error %s: %.990s\n", code, text);
    return status;
}

int fail_ctx(oxp_ctx *ctx, oxp_status status)
{
    if (status == OXP_ECANCELLED && caught_signal)
        return status;
    const char *code = oxp_ctx_error_code(ctx), *message = oxp_ctx_error_message(ctx);
    fprintf(stderr, "onnxpress: error %s: %.990s\n", *code ? code : "E-LIMIT-MEM", *message ? message : "out of memory");
    return status;
}

typedef struct talk {
    bool quiet, verbose, bar, bar_shown;
    time_t started;
} talk;

static void on_log(void *user, oxp_log_level level, const char *line)
{
    talk *t = user;
    if ((t->quiet && level > OXP_LOG_ERROR) || (!t->verbose && level >= OXP_LOG_VERBOSE))
        return;
    fprintf(stderr, "onnxpress: %s%s\n", level == OXP_LOG_WARNING ? "warning: " : "", line);
}

static int on_progress(void *user, const char *stage, size_t done, size_t total)
{
    talk *t = user;
    if (t->bar && stage && total && time(NULL) - t->started > 1) {
        fprintf(stderr, "\r%-12s %3zu %%", stage, done * 100 / total);
        t->bar_shown = true;
        if (done == total)
            fputs("\r                    \r", stderr);
    }
    return caught_signal != 0;
}

static void on_signal(int number)
{
    caught_signal = number;
}

static void install_signals(void)
{
    static const int stops[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++)
        sigaction(stops[i], &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}

/* A closed descriptor 0, 1 or 2 would be taken by the next file that is opened. */
static int fill_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) == -1 && errno == EBADF && open("/dev/null", fd ? O_WRONLY : O_RDONLY) != fd)
            return 6;
    return 0;
}

/* ---- output ---- */

static int flush_stdout(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    return fail(6, "E-WRITE", "standard output: %s", strerror(errno));
}

int finish(oxp_ctx *ctx, const shared *s, oxp_status status, oxp_report *report)
{
    int code = status;
    bool missed = status == OXP_EBOUND && report;
    if (status != OXP_OK && !missed) {
        oxp_report_free(report);
        return fail_ctx(ctx, status);
    }
    if (s->json && strcmp(s->json, "-") == 0) {
        puts(oxp_report_json(report));
    } else {
        if (!s->quiet)
            fputs(oxp_report_text(report), stdout);
        if (s->json) {
            oxp_status saved = oxp_report_save_json(report, ctx, s->json);
            if (saved != OXP_OK)
                code = fail_ctx(ctx, saved);
        }
    }
    oxp_report_free(report);
    if (missed && code == OXP_EBOUND)
        fail_ctx(ctx, status);
    return flush_stdout(code);
}

/* ---- help ---- */

void print_usage(void)
{
    puts("onnxpress: the smallest ONNX model that still gives the same answers\n\nusage: onnxpress COMMAND ...\n");
    for (size_t i = 0; i < command_count; i++)
        printf("  %-11s %s\n", command_table[i].name, command_table[i].summary);
    puts("\nonnxpress help COMMAND explains the flags; onnxpress --version tells the libraries and the instruction set.");
}

static void print_flags(const flag *flags, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const flag *f = &flags[i];
        char left[80];
        snprintf(left, sizeof left, "%s%s%s%s%s", f->alias ? f->alias : "", f->alias ? ", " : "", f->name,
                 f->argument ? " " : "", f->argument ? f->argument : "");
        printf("  %-28s %s\n", left, f->help);
        if (f->words)
            printf("  %-28s %s\n", "", f->words);
    }
}

void print_help(const command *c)
{
    shared s = {0};
    flag flags[64];
    printf("onnxpress %s: %s\n\nusage: onnxpress %s %s [flags]\n\n", c->name, c->summary, c->name, c->arguments);
    size_t count = c->flags(&s, flags);
    print_flags(flags, count);
    puts(count ? "\nflags of every command:" : "flags of every command:");
    print_flags(flags, shared_flags(&s, flags));
}

/* ---- commands ---- */

const command command_table[] = {
    {"compress", "MODEL -o OUT --precision P [--data D]", "the main job: a smaller model that gives the same answers", 1, 1,
     command_compress, flags_compress},
    {"run", "MODEL --data D", "run the reference interpreter, compare with expected outputs", 1, 1, command_run, flags_run},
    {"compare", "A B --data D", "how two models differ on the same samples", 2, 2, command_compare, flags_compare},
    {"info", "MODEL", "inputs, outputs, nodes and weights of a model", 1, 1, command_info, flags_none},
    {"operators", "", "the operators that the interpreter runs", 0, 0, command_operators, flags_none},
    {"techniques", "", "what can be done to a weight", 0, 0, command_techniques, flags_none},
};
const size_t command_count = sizeof command_table / sizeof *command_table;

const command *find_command(const char *name)
{
    for (size_t i = 0; i < command_count; i++)
        if (strcmp(command_table[i].name, name) == 0)
            return &command_table[i];
    return NULL;
}

static int unknown_command(const char *name)
{
    const char *names[16];
    for (size_t i = 0; i < command_count; i++)
        names[i] = command_table[i].name;
    const char *near = nearest_word(name, names, command_count);
    if (near)
        return fail(2, "E-USAGE", "unknown command \"%.100s\" (did you mean %s?)", name, near);
    return fail(2, "E-USAGE", "unknown command \"%.100s\"; onnxpress --help lists them", name);
}

size_t flags_none(shared *s, flag *out)
{
    (void)s;
    (void)out;
    return 0;
}

static int run_command(const command *c, int argc, char **argv)
{
    shared s = {0};
    flag flags[64];
    const char *positional[4];
    size_t positional_count = 0;
    size_t count = c->flags(&s, flags);
    count += shared_flags(&s, flags + count);
    int status = parse_flags(flags, count, argc, argv, positional, &positional_count, c->positional_max);
    if (status)
        return status;
    if (positional_count < c->positional_min)
        return fail(2, "E-USAGE", "usage: onnxpress %s %s", c->name, c->arguments);
    oxp_ctx *ctx = oxp_ctx_new();
    if (!ctx)
        return fail(5, "E-LIMIT-MEM", "out of memory");
    talk t = {s.quiet, s.verbose, isatty(2) && !s.quiet, false, time(NULL)};
    oxp_ctx_set_callbacks(ctx, on_log, on_progress, &t);
    if (s.threads)
        oxp_ctx_set_threads(ctx, s.threads < 1024 ? (int)s.threads : 1024);
    if (s.max_memory)
        oxp_ctx_set_max_memory(ctx, s.max_memory);
    oxp_ctx_set_seed(ctx, s.seed);
    oxp_ctx_set_timeout(ctx, s.timeout);
    status = c->run(ctx, &s, positional_count, positional);
    oxp_ctx_free(ctx);
    return status;
}

static int print_version(void)
{
    oxp_ctx *ctx = oxp_ctx_new();
    oxp_report *report = NULL;
    if (!ctx)
        return fail(5, "E-LIMIT-MEM", "out of memory");
    oxp_status status = oxp_version_report(&report, ctx);
    if (status == OXP_OK)
        fputs(oxp_report_text(report), stdout);
    else
        fail_ctx(ctx, status);
    oxp_report_free(report);
    oxp_ctx_free(ctx);
    return flush_stdout(status);
}

static int dispatch(int argc, char **argv)
{
    if (argc < 2) {
        fail(2, "E-USAGE", "no command; onnxpress --help lists them");
        return 2;
    }
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0)
        return print_version();
    bool help = strcmp(name, "help") == 0;
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || (help && argc == 2)) {
        print_usage();
        return flush_stdout(0);
    }
    const command *c = find_command(help ? argv[2] : name);
    if (!c)
        return unknown_command(help ? argv[2] : name);
    for (int i = 2; i < argc && !help; i++)
        help = strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0;
    if (help) {
        print_help(c);
        return flush_stdout(0);
    }
    return run_command(c, argc - 2, argv + 2);
}

int main(int argc, char **argv)
{
    if (fill_descriptors())
        return 6;
    install_signals();
    int status = dispatch(argc, argv);
    if (caught_signal) {
        signal(caught_signal, SIG_DFL);
        raise(caught_signal);
    }
    return status;
}
