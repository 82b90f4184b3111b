/* `guestmm check-host`: what this host offers, what is missing, and the remedy. */
#include <argp.h>
#include <stdbool.h>
#include <stdio.h>

#include "cmd.h"
#include "probe.h"

#include <guestmm/guestmm.h>

static error_t parse(int key, char *arg, struct argp_state *state)
{
	(void)arg;
	if (key == ARGP_KEY_ARG)
		argp_error(state, "too many arguments");
	return key == ARGP_KEY_ARG ? 0 : ARGP_ERR_UNKNOWN;
}

/* Prints text in lines of at most `width`, each after `indent` blanks. */
static void print_wrapped(const char *text, int indent, int width)
{
	int at = 0;

	while (*text) {
		int n = 0;

		while (text[n] && text[n] != ' ')
			n++;
		if (at && at + 1 + n > width) {
			putchar('\n');
			at = 0;
		}
		at += at ? printf(" %.*s", n, text) : printf("%*s%.*s", indent, "", n, text);
		text += n;
		while (*text == ' ')
			text++;
	}
	putchar('\n');
}

static void print_result(const struct probe *probe, const struct probe_result *result)
{
	static const char *const words[] = {
		[PROBE_OK] = "ok", [PROBE_LESS] = "less", [PROBE_MISSING] = "MISSING"};

	printf("%-8s %-15s %s\n", words[result->verdict], probe->name, result->found);
	if (result->remedy[0])
		print_wrapped(result->remedy, 25, 96);
}

int cmd_check_host(int argc, char **argv)
{
	static const struct argp argp = {
		.parser = parse,
		.doc = "Says what this host offers to guestmm, what is missing, and what to do "
		       "about it.\vExit status: 0 where guests can run, 77 where they cannot.",
	};
	static char name[] = "guestmm check-host";
	unsigned engines = probe_engines(), n_missing = 0;

	argv[0] = name;
	argp_err_exit_status = CMD_EXIT_USAGE;
	argp_parse(&argp, argc, argv, 0, NULL, NULL);
	printf("guestmm %s\n", gmm_version());
	for (size_t i = 0; i < n_probes; i++) {
		struct probe_result result = {.verdict = PROBE_OK};

		probes[i].run(&result);
		print_result(&probes[i], &result);
		n_missing += result.verdict == PROBE_MISSING;
	}
	if (!n_missing && !engines) {
		printf("\nGuests cannot run here: the kernel offers neither engine.\n");
		return CMD_EXIT_NO_KVM;
	}
	if (n_missing) {
		printf("\nGuests cannot run here: see MISSING above.\n");
		return CMD_EXIT_NO_KVM;
	}
	printf("\nGuests can run here, with engine %s.\n", engines & 1 ? "move" : "copy");
	return fflush(stdout) ? CMD_EXIT_FAILED : 0;
}
