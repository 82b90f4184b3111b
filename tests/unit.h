/* The frame of a Check program: UNIT_MAIN("name", test, test...). */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

static inline int unit_run(const char *name, const TTest *const *tests, size_t n, double timeout_s)
{
	Suite *suite = suite_create(name);
	TCase *tc = tcase_create(name);
	SRunner *runner;
	int n_failed;

	tcase_set_timeout(tc, timeout_s);
	for (size_t i = 0; i < n; i++)
		tcase_add_test(tc, tests[i]);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#define UNIT_MAIN_TIMEOUT(name, timeout_s, ...)                                          \
	int main(void)                                                                  \
	{                                                                               \
		const TTest *const tests[] = {__VA_ARGS__};                             \
		return unit_run(name, tests, sizeof(tests) / sizeof(tests[0]), timeout_s); \
	}

#define UNIT_MAIN(name, ...) UNIT_MAIN_TIMEOUT(name, 60, __VA_ARGS__)

/* Ends a test program as skipped: counted apart, never a pass. */
#define UNIT_SKIP(...)                         \
	do {                                   \
		printf("skipped: " __VA_ARGS__); \
		printf("\n");                  \
		exit(77);                      \
	} while (0)

#endif
