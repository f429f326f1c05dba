/* main.c - the command line: finds the command, parses its flags, sets up the context, runs it.
 *
 * Talk goes to stderr, data to stdout. SIGINT, SIGTERM and SIGHUP ask the work to stop; temporary
 * files are gone before the signal is raised again. A second signal ends the process at once. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

static volatile sig_atomic_t caught_signal;

bool stop_requested(void)
{
    return caught_signal != 0;
}

static void on_signal(int number)
{
    caught_signal = number;
}

/* A mapped input that somebody cuts short while it is read; anything else is a bug of ours. */
static void on_bus_error(int number, siginfo_t *about, void *context)
{
    static const char line[] =
        "onnxpress: error E-READ: an input file became shorter while it was read\n";
    (void)context;
    if (about->si_code == BUS_ADRERR && write(STDERR_FILENO, line, sizeof line - 1) > 0)
        _exit(OXP_EIO);
    signal(number, SIG_DFL);
    raise(number);
}

/* A signal that the caller wants ignored (nohup, a shell's background job) stays ignored. */
static void install_signals(void)
{
    static const int stops[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND}, before;
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++)
        if (sigaction(stops[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(stops[i], &action, NULL);
    struct sigaction bus = {.sa_sigaction = on_bus_error, .sa_flags = (int)SA_SIGINFO};
    sigaction(SIGBUS, &bus, NULL);
    signal(SIGPIPE, SIG_IGN); /* these two come back as EPIPE and EFBIG */
    signal(SIGXFSZ, SIG_IGN);
}

/* A closed descriptor 0, 1 or 2 would be taken by the next file that is opened. */
static int fill_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) == -1 && errno == EBADF &&
            open("/dev/null", fd ? O_WRONLY : O_RDONLY) != fd)
            return OXP_EIO;
    return OXP_OK;
}

/* ---- commands ---- */

const command *const command_table[] = {
    &compress_command, &calibrate_command, &run_command,         &compare_command,
    &info_command,     &samples_command,   &sensitivity_command, &plan_command,
    &deploy_command,   &operators_command, &techniques_command,
};
const size_t command_count = sizeof command_table / sizeof *command_table;

static const command *find_command(const char *name)
{
    for (size_t i = 0; i < command_count; i++)
        if (strcmp(command_table[i]->name, name) == 0)
            return command_table[i];
    return NULL;
}

static int unknown_command(const char *name)
{
    const char *names[sizeof command_table / sizeof *command_table];
    for (size_t i = 0; i < command_count; i++)
        names[i] = command_table[i]->name;
    const char *near = nearest_word(name, names, command_count);
    if (near)
        return fail(2, "E-USAGE", "unknown command \"%.100s\" (did you mean %s?)", name, near);
    return fail(2, "E-USAGE", "unknown command \"%.100s\"; onnxpress --help lists them", name);
}

size_t command_groups(const command *c, flag_group groups[COMMAND_GROUPS_MAX])
{
    size_t count = 0;
    if (c->own.count)
        groups[count++] = c->own;
    if (c->reads_data)
        groups[count++] = data_flags;
    if (c->reads_model)
        groups[count++] = model_flags;
    groups[count++] = common_flags;
    return count;
}

static void set_up(oxp_ctx *ctx)
{
    if (shared.threads)
        oxp_ctx_set_threads(ctx, (int)shared.threads);
    if (shared.max_memory)
        oxp_ctx_set_max_memory(ctx, shared.max_memory);
    oxp_ctx_set_seed(ctx, shared.seed);
    oxp_ctx_set_timeout(ctx, shared.timeout);
    start_talking(ctx);
}

static int run_command_line(const command *c, int argc, char **argv)
{
    flag_group groups[COMMAND_GROUPS_MAX];
    size_t group_count = command_groups(c, groups), positional_count = 0;
    const char *positional[POSITIONAL_MAX + 1] = {NULL};
    int status = parse_flags(groups, group_count, argc, argv, positional, &positional_count,
                             c->positional + c->positional_more);
    if (status)
        return status;
    if (positional_count < c->positional)
        return fail(2, "E-USAGE", "usage: onnxpress %s %s", c->name, c->arguments);
    oxp_ctx *ctx = oxp_ctx_new();
    if (!ctx)
        return fail(5, "E-LIMIT-MEM", "out of memory");
    set_up(ctx);
    oxp_status pinned = shared.isa ? oxp_pin_instruction_set(ctx, shared.isa) : OXP_OK;
    status = pinned == OXP_OK ? c->run(ctx, positional) : fail_ctx(ctx, pinned);
    oxp_ctx_free(ctx);
    return status;
}

static int print_version(void)
{
    oxp_ctx *ctx = oxp_ctx_new();
    if (!ctx)
        return fail(5, "E-LIMIT-MEM", "out of memory");
    oxp_report *report = NULL;
    oxp_status status = oxp_version_report(&report, ctx);
    int code = finish(ctx, status, report);
    oxp_ctx_free(ctx);
    return code;
}

static bool is_help(const char *argument)
{
    return strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0;
}

static int help_on(const char *name)
{
    const command *c = find_command(name);
    if (!c)
        return unknown_command(name);
    print_help(c);
    return flush_stdout(0);
}

static int dispatch(int argc, char **argv)
{
    if (argc < 2)
        return fail(2, "E-USAGE", "no command; onnxpress --help lists them");
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0)
        return print_version();
    if (is_help(name) || (strcmp(name, "help") == 0 && argc == 2)) {
        print_usage();
        return flush_stdout(0);
    }
    if (strcmp(name, "help") == 0 && argc > 3)
        return fail(2, "E-USAGE", "one argument too many: \"%.200s\"", argv[3]);
    if (strcmp(name, "help") == 0)
        return help_on(argv[2]);
    const command *c = find_command(name);
    if (!c)
        return unknown_command(name);
    for (int i = 2; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (is_help(argv[i]))
            return help_on(name);
    return run_command_line(c, argc - 2, argv + 2);
}

int main(int argc, char **argv)
{
    if (fill_descriptors())
        return OXP_EIO;
    install_signals();
    int status = dispatch(argc, argv);
    if (caught_signal) {
        signal(caught_signal, SIG_DFL);
        raise(caught_signal);
    }
    return status;
}
