/* The state word and its table of transitions. */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include "page.h"
#include "unit.h"

/* The design's table, written down a second time: from, and the states it may lead to. */
static const char *const edges[GMM_PAGE_N_STATES] = {
	[GMM_PAGE_EMPTY] = "FILLING BALLOONED",
	[GMM_PAGE_FILLING] = "FILLING RESIDENT POISONED EMPTY",
	[GMM_PAGE_RESIDENT] = "RESIDENT EVICTING EMPTY BALLOONED SWAPPED",
	[GMM_PAGE_EVICTING] = "RESIDENT SWAPPED EMPTY BALLOONED",
	[GMM_PAGE_SWAPPED] = "FILLING EMPTY BALLOONED",
	[GMM_PAGE_BALLOONED] = "FILLING EMPTY",
	[GMM_PAGE_POISONED] = "EMPTY BALLOONED SWAPPED",
};

START_TEST(edges_are_the_designs)
{
	for (int a = 0; a < GMM_PAGE_N_STATES; a++)
		for (int b = 0; b < GMM_PAGE_N_STATES; b++)
			ck_assert_msg(page_edge_is_legal(a, b) ==
					      (strstr(edges[a], page_state_name(b)) != NULL),
				      "%s -> %s", page_state_name(a), page_state_name(b));
	ck_assert(!page_edge_is_legal(GMM_PAGE_N_STATES, GMM_PAGE_EMPTY));
	ck_assert(!page_edge_is_legal(GMM_PAGE_EMPTY, GMM_PAGE_N_STATES));
}
END_TEST

START_TEST(fields_do_not_overlap)
{
	page_word w = page_make(GMM_PAGE_SWAPPED, GMM_SLOT_NONE - 1);

	w = page_with_stamp(w, 0xabc);
	w = page_with_flags(w, PAGE_HOT);
	w = page_with_holds(w, PAGE_HOLDS_MAX);
	ck_assert_int_eq(page_state(w), GMM_PAGE_SWAPPED);
	ck_assert_uint_eq(page_payload(w), GMM_SLOT_NONE - 1);
	ck_assert_uint_eq(page_stamp(w), 0xabc);
	ck_assert_uint_eq(page_flags(w), PAGE_HOT);
	ck_assert_uint_eq(page_holds(w), PAGE_HOLDS_MAX);
	w = page_with_payload(w, 5);
	w = page_with_stamp(w, 0);
	ck_assert_uint_eq(page_payload(w), 5);
	ck_assert_uint_eq(page_stamp(w), 0);
	ck_assert_uint_eq(page_holds(w), PAGE_HOLDS_MAX);
}
END_TEST

static bool has_memory(const struct page_table *t, page_no p)
{
	uintptr_t at = (uintptr_t)&t->words[p] & ~(uintptr_t)4095;
	unsigned char is_there = 0;

	ck_assert_int_eq(mincore((void *)at, 4096, &is_there), 0); /* NOLINT */
	return is_there & 1;
}

/* As many as a chunk has, and at the table's end as many as there are. */
START_TEST(words_get_memory_many_at_a_time)
{
	const page_no n = 2 * PAGE_POPULATE + 600;
	struct page_table t;

	ck_assert_int_eq(page_table_init(&t, n), 0);
	ck_assert_int_eq(page_table_grow(&t, n, GMM_PAGE_EMPTY), 0);
	madvise((void *)t.words, n * sizeof(uint64_t), MADV_NOHUGEPAGE);
	ck_assert(!has_memory(&t, 0));
	page_table_populate(&t, PAGE_POPULATE + 5);
	ck_assert(!has_memory(&t, PAGE_POPULATE - 1));
	ck_assert(has_memory(&t, PAGE_POPULATE));
	ck_assert(has_memory(&t, 2 * PAGE_POPULATE - 1));
	ck_assert(!has_memory(&t, 2 * PAGE_POPULATE));
	page_table_populate(&t, n - 1);
	ck_assert(has_memory(&t, 2 * PAGE_POPULATE));
	ck_assert(has_memory(&t, n - 1));
	page_change(&t, n - 1, page_get(&t, n - 1), page_make(GMM_PAGE_FILLING, 7));
	page_table_populate(&t, n - 1);
	ck_assert_uint_eq(page_payload(page_get(&t, n - 1)), 7);
	page_table_fini(&t);
	page_table_fini(&t); /* twice is once */
}
END_TEST

START_TEST(changes_are_counted)
{
	struct page_table t;

	ck_assert_int_eq(page_table_init(&t, 100), 0);
	ck_assert_int_eq(page_table_grow(&t, 10, GMM_PAGE_EMPTY), 0);
	ck_assert_int_eq(page_table_grow(&t, 5, GMM_PAGE_SWAPPED), 0);
	ck_assert_int_eq(page_table_grow(&t, 86, GMM_PAGE_EMPTY), -ENOSPC);
	ck_assert_uint_eq(page_payload(page_get(&t, 12)), 2);
	page_change(&t, 3, page_get(&t, 3), page_make(GMM_PAGE_FILLING, 7));
	page_change(&t, 3, page_get(&t, 3), page_make(GMM_PAGE_RESIDENT, 9));
	ck_assert_uint_eq(t.n_in[GMM_PAGE_EMPTY], 9);
	ck_assert_uint_eq(t.n_in[GMM_PAGE_FILLING], 0);
	ck_assert_uint_eq(t.n_in[GMM_PAGE_RESIDENT], 1);
	ck_assert_uint_eq(t.n_in[GMM_PAGE_SWAPPED], 5);
	page_table_fini(&t);
}
END_TEST

static struct page_table table_of_one(void)
{
	struct page_table t;

	ck_assert_int_eq(page_table_init(&t, 8), 0);
	ck_assert_int_eq(page_table_grow(&t, 1, GMM_PAGE_EMPTY), 0);
	return t;
}

/* Of runs that begin and end anywhere, the first page that differs, and only in what is asked. */
START_TEST(runs_end_where_a_page_differs)
{
	const page_word resident = page_make(GMM_PAGE_RESIDENT, GMM_SLOT_NONE);
	struct page_table t;

	ck_assert_int_eq(page_table_init(&t, 200), 0);
	ck_assert_int_eq(page_table_grow(&t, 200, GMM_PAGE_EMPTY), 0);
	page_change_run(&t, 0, 200, page_make(GMM_PAGE_FILLING, GMM_SLOT_NONE));
	page_change_run(&t, 0, 200, resident);
	for (page_no odd = 0; odd < 200; odd += 7) {
		page_change(&t, odd, resident, page_with_holds(resident, 1));
		for (page_no from = 0; from <= odd; from += 3)
			for (page_no end = from; end <= 200; end += 11) {
				page_no stop = odd < end ? odd : end;

				ck_assert_uint_eq(page_run_end(&t, from, end, resident,
							       PAGE_STATE_MASK | PAGE_HOLDS_MASK),
						  stop);
				ck_assert_uint_eq(page_run_end(&t, from, end, resident,
							       PAGE_STATE_MASK | PAGE_PAYLOAD_MASK),
						  end);
			}
		page_change(&t, odd, page_get(&t, odd), resident);
	}
	page_table_fini(&t);
}
END_TEST

/* Stretches of several states become one, each counted. */
START_TEST(runs_change_and_are_counted)
{
	struct page_table t;

	ck_assert_int_eq(page_table_init(&t, 200), 0);
	ck_assert_int_eq(page_table_grow(&t, 200, GMM_PAGE_EMPTY), 0);
	page_change_run(&t, 20, 50, page_make(GMM_PAGE_FILLING, GMM_SLOT_NONE));
	page_change_run(&t, 20, 49, page_make(GMM_PAGE_RESIDENT, GMM_SLOT_NONE));
	page_change_run(&t, 70, 3, page_make(GMM_PAGE_BALLOONED, 0));
	ck_assert_uint_eq(t.n_in[GMM_PAGE_RESIDENT], 49);
	ck_assert_uint_eq(t.n_in[GMM_PAGE_FILLING], 1);
	page_change_run(&t, 20, 53, page_make(GMM_PAGE_EMPTY, 0));
	page_change_run(&t, 7, 0, page_make(GMM_PAGE_EMPTY, 0));
	page_change_all(&t, 200, 0, GMM_PAGE_EMPTY, page_make(GMM_PAGE_FILLING, 1));
	ck_assert_uint_eq(t.n_in[GMM_PAGE_EMPTY], 200);
	page_change_all(&t, 30, 9, GMM_PAGE_EMPTY, page_make(GMM_PAGE_FILLING, 1));
	ck_assert_uint_eq(t.n_in[GMM_PAGE_FILLING], 9);
	page_change_all(&t, 30, 9, GMM_PAGE_FILLING, page_make(GMM_PAGE_EMPTY, 0));
	ck_assert_uint_eq(t.n_in[GMM_PAGE_EMPTY], 200);
	for (page_no p = 0; p < 200; p++)
		ck_assert_uint_eq(page_get(&t, p).v, 0);
	page_table_fini(&t);
}
END_TEST

START_TEST(illegal_edge_stops)
{
	struct page_table t = table_of_one();

	page_change(&t, 0, page_get(&t, 0), page_make(GMM_PAGE_SWAPPED, 1));
}
END_TEST

START_TEST(stale_word_stops)
{
	struct page_table t = table_of_one();

	page_change(&t, 0, page_with_stamp(page_get(&t, 0), 1), page_make(GMM_PAGE_FILLING, 1));
}
END_TEST

START_TEST(run_in_another_state_stops)
{
	struct page_table t;

	page_table_init(&t, 20);
	page_table_grow(&t, 20, GMM_PAGE_EMPTY);
	page_change(&t, 9, page_get(&t, 9), page_make(GMM_PAGE_FILLING, 1));
	page_change_all(&t, 0, 10, GMM_PAGE_EMPTY, page_make(GMM_PAGE_FILLING, 1));
}
END_TEST

START_TEST(page_outside_stops)
{
	struct page_table t = table_of_one();

	page_change(&t, 1, page_get(&t, 0), page_make(GMM_PAGE_FILLING, 1));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("page");
	TCase *tc = tcase_create("page"), *stops = tcase_create("stops");
	SRunner *runner;
	int status;

	tcase_add_test(tc, edges_are_the_designs);
	tcase_add_test(tc, fields_do_not_overlap);
	tcase_add_test(tc, words_get_memory_many_at_a_time);
	tcase_add_test(tc, changes_are_counted);
	tcase_add_test(tc, runs_end_where_a_page_differs);
	tcase_add_test(tc, runs_change_and_are_counted);
	/* A change that would lose content ends the process, in every build. */
	tcase_add_test_raise_signal(stops, illegal_edge_stops, SIGABRT);
	tcase_add_test_raise_signal(stops, stale_word_stops, SIGABRT);
	tcase_add_test_raise_signal(stops, run_in_another_state_stops, SIGABRT);
	tcase_add_test_raise_signal(stops, page_outside_stops, SIGABRT);
	suite_add_tcase(suite, tc);
	suite_add_tcase(suite, stops);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	status = unit_status(runner);
	srunner_free(runner);
	return status;
}
