/* What `guestmm top` shows fits its screen, whatever the numbers, and is right. */
#include <string.h>

#include "unit.h"
#include "vmm/cmd/top_view.h"
#include "vmm/ctl/stats.h"

static struct run_stats guest(void)
{
	struct run_stats st = {.running = true, .wall_ns = UINT64_C(10) * 1000000000};

	st.mm.engine = "move";
	st.mm.policy = "twogen";
	st.mm.store = "file";
	st.mm.memory_bytes = UINT64_C(512) << 20;
	st.mm.limit_bytes = UINT64_C(128) << 20;
	st.mm.resident_bytes = UINT64_C(64) << 20;
	st.mm.faults.demand_zero = 1000;
	st.mm.faults.p99_ns = 123456;
	st.mm.reclaim.written = 30000;
	st.mm.stall_some_avg[0] = 12.5;
	return st;
}

static const char *find_line(const struct top_screen *screen, const char *with)
{
	for (unsigned i = 0; i < screen->n_lines; i++) {
		if (strstr(screen->lines[i], with))
			return screen->lines[i];
	}
	ck_abort_msg("no line with '%s'", with);
	return "";
}

START_TEST(a_guest_is_shown)
{
	struct run_stats st = guest();
	struct top_screen screen;
	json_t *json = stats_json(&st);
	const char *resident;

	top_render(json, NULL, &screen);
	ck_assert_uint_le(screen.n_lines, TOP_LINES - 1); /* the keys need a line */
	resident = find_line(&screen, "resident");
	ck_assert_msg(strstr(resident, "[#################.................]    64 MiB of 128 MiB"),
		      "%s", resident);
	ck_assert_ptr_nonnull(strstr(find_line(&screen, "served in"), "p99 123 us"));
	ck_assert_ptr_nonnull(strstr(find_line(&screen, "STALL"), " 12.5 %"));
	ck_assert_ptr_nonnull(strstr(find_line(&screen, "written"), "30.0k     3000"));
	ck_assert_ptr_nonnull(strstr(screen.lines[0], "store file  up 10 s"));
	ck_assert_ptr_nonnull(strstr(find_line(&screen, "IN USE"), "not watched"));
	json_decref(json);
	st.mm.working_set.on = true;
	st.mm.working_set.bytes = 50 << 20;
	st.mm.working_set.n_points = 2;
	st.mm.working_set.curve[0] = (struct gmm_curve_point){st.mm.limit_bytes / 2, 12345};
	st.mm.working_set.curve[1] = (struct gmm_curve_point){st.mm.limit_bytes, 67};
	json = stats_json(&st);
	top_render(json, NULL, &screen);
	ck_assert_ptr_nonnull(strstr(find_line(&screen, "IN USE"),
				     "50 MiB   would refault 67/s, with half the limit 12.3k/s"));
	json_decref(json);
}
END_TEST

START_TEST(rates_are_over_the_time_between_two_samples)
{
	struct run_stats st = guest();
	struct top_screen screen;
	json_t *before = stats_json(&st), *now;

	st.wall_ns += UINT64_C(2) * 1000000000;
	st.mm.faults.demand_zero += 500;
	now = stats_json(&st);
	top_render(now, before, &screen);
	ck_assert_ptr_nonnull(strstr(find_line(&screen, "demand_zero"), "1500      250"));
	json_decref(before);
	json_decref(now);
}
END_TEST

/* Sets every number in a JSON value, in place. */
static void set_numbers(json_t *json, json_int_t value)
{
	const char *key;
	json_t *item;
	size_t i;

	json_object_foreach(json, key, item) set_numbers(item, value);
	json_array_foreach(json, i, item) set_numbers(item, value);
	if (json_is_integer(json))
		json_integer_set(json, value);
}

START_TEST(any_numbers_fit_the_screen)
{
	static const json_int_t values[] = {0, -1, 9999, 999950, 99999999, INT64_MAX};
	struct run_stats st = guest();
	struct run_vcpu_stats vcpu = {1, 1};
	struct top_screen screen;
	json_t *json;

	st.vcpus = &vcpu;
	st.n_vcpus = 1;
	st.paused = true;
	st.mm.thrash.on = true;
	st.mm.working_set.on = true;
	json = stats_json(&st);
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		set_numbers(json, values[i]);
		top_render(json, NULL, &screen);
		ck_assert_uint_eq(screen.n_lines, 23);
		/* A line that was cut off would fill all columns. */
		for (unsigned k = 0; k < screen.n_lines; k++)
			ck_assert_msg(strlen(screen.lines[k]) < TOP_COLUMNS, "cut: %s",
				      screen.lines[k]);
	}
	json_decref(json);
}
END_TEST

START_TEST(what_is_missing_counts_as_zero)
{
	struct top_screen screen;
	json_t *odd = json_pack("{s:s, s:[i], s:{s:s}}", "memory_bytes", "lots", "faults", 1,
				"store", "kind", "a name that is much too long for its place");

	top_render(NULL, NULL, &screen);
	ck_assert_ptr_nonnull(strstr(find_line(&screen, "resident"), "0 B of 0 B"));
	top_render(odd, odd, &screen);
	ck_assert_ptr_nonnull(strstr(find_line(&screen, "swapped"), "0 B of 0 B"));
	json_decref(odd);
}
END_TEST

START_TEST(thrashing_is_shown)
{
	struct run_stats st = guest();
	struct top_screen screen;
	json_t *json = stats_json(&st);

	top_render(json, NULL, &screen);
	find_line(&screen, "not thrashing");
	json_decref(json);
	st.mm.thrash.on = true;
	st.mm.thrash.stalled_permille = 634;
	st.mm.thrash.refaults = 41000;
	st.mm.thrash.more_bytes = UINT64_C(96) << 20;
	json = stats_json(&st);
	top_render(json, NULL, &screen);
	ck_assert_ptr_nonnull(
		strstr(find_line(&screen, "THRASHING"),
		       "waits 63 %, 41.0k pages back too soon, 96 MiB more would do"));
	json_decref(json);
}
END_TEST

UNIT_MAIN("top_view", thrashing_is_shown, a_guest_is_shown,
	  rates_are_over_the_time_between_two_samples, any_numbers_fit_the_screen,
	  what_is_missing_counts_as_zero)
