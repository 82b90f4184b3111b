/* Options of the programs: strict, so that a slip is told and not run. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "program.h"

_Noreturn void usage_die(const struct program *program, const char *what, const char *word)
{
	eprintf("%s: %s: %s\nusage: %s%s%s\n", program->name, what, word, program->name,
		*program->usage ? " " : "", program->usage);
	exit(EXIT_USAGE);
}

static const struct option *find(const struct option *options, const char *name, size_t n)
{
	for (; options->name; options++)
		if (strlen(options->name) == n && strncmp(options->name, name, n) == 0)
			return options;
	return NULL;
}

static int parse_number(const char *text, int base, uint64_t *value)
{
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	*value = strtoull(text, &end, base);
	return errno || *end ? -EINVAL : 0;
}

/* "0.99" -> 990000 */
static int parse_scaled(const char *text, uint64_t *value)
{
	uint64_t whole = 0, part = 0, unit = 1000000;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	for (; *text >= '0' && *text <= '9' && whole < 1000000; text++)
		whole = whole * 10 + (uint64_t)(*text - '0');
	if (*text == '.')
		for (text++; *text >= '0' && *text <= '9'; text++) {
			unit /= 10;
			part += unit * (uint64_t)(*text - '0');
		}
	*value = whole * 1000000 + part;
	return *text ? -EINVAL : 0;
}

static int parse(const struct option *option, const char *text)
{
	uint64_t value = 0;
	int result = 0;

	switch (option->kind) {
	case OPTION_SIZE:
		result = parse_size(text, &value);
		break;
	case OPTION_NUMBER:
		result = parse_number(text, 10, &value);
		break;
	case OPTION_ADDRESS:
		result = parse_number(text, 0, &value);
		break;
	case OPTION_SCALED:
		result = parse_scaled(text, &value);
		break;
	case OPTION_TEXT:
		*(const char **)option->value = text;
		return 0;
	case OPTION_FLAG:
		return -EINVAL;
	}
	if (result == 0)
		*(uint64_t *)option->value = value;
	return result;
}

void options_read(const struct program *program, int argc, char **argv,
		  const struct option *options)
{
	for (int i = 1; i < argc; i++) {
		const char *word = argv[i], *equals = strchr(word, '='), *value;
		const struct option *option = NULL;

		if (strncmp(word, "--", 2) == 0)
			option = find(options, word + 2,
				      equals ? (size_t)(equals - word) - 2 : strlen(word) - 2);
		if (!option)
			usage_die(program, "unknown option", word);
		if (option->kind == OPTION_FLAG && !equals) {
			*(bool *)option->value = true;
			continue;
		}
		value = equals ? equals + 1 : i + 1 < argc ? argv[++i] : NULL;
		if (!value)
			usage_die(program, "a value is missing after", word);
		if (parse(option, value) != 0)
			usage_die(program, "not a valid value", value);
	}
}
