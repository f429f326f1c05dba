/* help.c - what --help prints, from the tables of commands and flags, 80 columns wide. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

#define TEXT_COLUMN 30
#define LINE_COLUMNS 80

void print_usage(void)
{
    puts("onnxpress: the smallest ONNX model that still gives the same answers\n\n"
         "usage: onnxpress COMMAND ...\n");
    for (size_t i = 0; i < command_count; i++)
        printf("  %-11s %s\n", command_table[i]->name, command_table[i]->summary);
    puts("\nonnxpress help COMMAND explains a command's flags, onnxpress --version prints\n"
         "the versions of the libraries and the instruction set in use.");
}

/* Words from `column` on, broken before the line is full; `column` is TEXT_COLUMN at the end of
 * each line but the last. Returns the column it ends in. */
static size_t print_wrapped(const char *text, size_t column)
{
    while (*text) {
        size_t length = strcspn(text, " ");
        if (column > TEXT_COLUMN && column + 1 + length > LINE_COLUMNS) {
            printf("\n%*s", TEXT_COLUMN, "");
            column = TEXT_COLUMN;
        } else if (column > TEXT_COLUMN) {
            putchar(' ');
            column++;
        }
        printf("%.*s", (int)length, text);
        column += length;
        text += length + (text[length] == ' ');
    }
    return column;
}

static void print_flag(const flag *f)
{
    int column = printf("  %s%s%s%s%s", f->alias ? f->alias : "", f->alias ? ", " : "", f->name,
                        f->argument ? " " : "", f->argument ? f->argument : "");
    printf("%*s", column < TEXT_COLUMN ? TEXT_COLUMN - column : 1, "");
    print_wrapped(f->words ? f->words : f->help, TEXT_COLUMN);
    if (f->words) {
        printf("\n%*s", TEXT_COLUMN, "");
        print_wrapped(f->help, TEXT_COLUMN);
    }
    putchar('\n');
}

void print_help(const command *c)
{
    flag_group groups[COMMAND_GROUPS_MAX];
    size_t count = command_groups(c, groups);
    printf("onnxpress %s: %s\n\nusage: onnxpress %s %s%s[FLAGS]\n", c->name, c->summary, c->name,
           c->arguments, *c->arguments ? " " : "");
    for (size_t g = 0; g < count; g++) {
        putchar('\n');
        if (groups[g].title)
            printf("%s:\n", groups[g].title);
        for (size_t i = 0; i < groups[g].count; i++)
            print_flag(&groups[g].flags[i]);
    }
}
