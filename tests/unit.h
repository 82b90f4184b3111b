/* The frame of a Check program: UNIT_MAIN("name", test, test...), at the end of its file. */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The exit status of a program whose tests have run: 77 where none could run, and no test failed
 * but by UNIT_SKIP. */
static inline int unit_status(SRunner *runner)
{
	int n = srunner_ntests_failed(runner), n_skipped = 0;
	TestResult **failures = srunner_failures(runner);

	for (int i = 0; i < n; i++)
		n_skipped += strstr(tr_msg(failures[i]), "exit with return value 77") != NULL;
	free(failures);
	if (n > n_skipped)
		return EXIT_FAILURE;
	return n_skipped && n_skipped == srunner_ntests_run(runner) ? 77 : EXIT_SUCCESS;
}

/* Each test runs n_loops times, with _i from 0. */
static inline int unit_run(const char *name, const TTest *const *tests, size_t n, int n_loops,
			   double timeout_s)
{
	Suite *suite = suite_create(name);
	TCase *tc = tcase_create(name);
	SRunner *runner;
	int status;

	setvbuf(stdout, NULL, _IOLBF, 0); /* a test that fails ends without flushing */
	tcase_set_timeout(tc, timeout_s);
	for (size_t i = 0; i < n; i++)
		tcase_add_loop_test(tc, tests[i], 0, n_loops);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	status = unit_status(runner);
	srunner_free(runner);
	return status;
}

#define UNIT_MAIN_LOOP(name, n_loops, timeout_s, ...)                                              \
	int main(void)                                                                             \
	{                                                                                          \
		const TTest *const tests[] = {__VA_ARGS__};                                        \
		return unit_run(name, tests, sizeof(tests) / sizeof(tests[0]), n_loops,            \
				timeout_s);                                                        \
	}

#define UNIT_MAIN_TIMEOUT(name, timeout_s, ...) UNIT_MAIN_LOOP(name, 1, timeout_s, __VA_ARGS__)
#define UNIT_MAIN(name, ...)			UNIT_MAIN_TIMEOUT(name, 60, __VA_ARGS__)

/* Ends a test as skipped, with the reason; in main(), the whole program: counted apart, never a
 * pass. */
#define UNIT_SKIP(...)                                                                             \
	do {                                                                                       \
		printf("skipped: " __VA_ARGS__);                                                   \
		printf("\n");                                                                      \
		exit(77);                                                                          \
	} while (0)

/* For tests of huge frames: the library makes none where the host's kernel does not say that it
 * gives huge pages. */
static inline void unit_need_huge_pages(void)
{
	FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "re");
	char text[128] = "";

	if (f && !fgets(text, sizeof(text), f))
		text[0] = '\0';
	if (f)
		fclose(f);
	if (!text[0] || strstr(text, "[never]"))
		UNIT_SKIP("this host gives no huge pages");
}

#endif
