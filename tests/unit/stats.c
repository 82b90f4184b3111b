/* The JSON of a run: the schema that other programs read, key by key. */
#include <errno.h>
#include <string.h>

#include "unit.h"
#include "vmm/ctl/stats.h"
#include "vmm/ctl/verdict.h"

static const struct run_vcpu_stats vcpus[2] = {{11, 12}, {21, 22}};

static struct run_stats example(void)
{
	struct run_stats st = {
		.exit_status = 3,
		.guest_faults = {.minor = 101, .major = 102, .invalid = 103},
		.rss_peak_bytes = 104,
		.n_vcpus = 2,
		.vcpus = vcpus,
		.boot_ns = 105,
		.wall_ns = 106,
		.guest_free_bytes = 107,
		.balloon_by = "share",
		.fault_cpu = {"same", 1, 41, 42, 43},
	};

	st.mm = (struct gmm_stats){
		.engine = "move",
		.policy = "twogen",
		.memory_bytes = 1,
		.limit_bytes = 2,
		.resident_bytes = 3,
		.resident_peak_bytes = 4,
		.swapped_bytes = 5,
		.ballooned_bytes = 6,
		.poisoned_pages = 7,
		.faults = {.demand_zero = 8,
			   .swap_in = 9,
			   .rescue = 10,
			   .prefetched = 11,
			   .read_ahead = 31,
			   .prefetch_used = 32,
			   .prefetch_wasted = 33,
			   .p50_ns = 12,
			   .p99_ns = 13,
			   .max_ns = 14},
		.reclaim = {.evicted = 15, .zero = 16, .clean = 17, .written = 18, .dropped = 19},
		.io = {.reads = 20,
		       .writes = 21,
		       .read_bytes = 22,
		       .written_bytes = 23,
		       .errors = 24,
		       .flags = GMM_STORE_ENCRYPTED},
		.stall_some_ns = 25,
		.stall_full_ns = 26,
		.stall_some_avg = {1.5, 50, 100},
		.metadata_bytes = 27,
		.free_taken = 28,
		.working_set = {.on = true,
				.bytes = 30 << 20,
				.pages_a_sample = 31,
				.sampled = 32,
				.touches = 33,
				.spent_ns = 34,
				.n_points = 2,
				.curve = {{1, 35}, {2, 0}}},
		.thrash = {.on = true,
			   .stalled_permille = 634,
			   .window_ns = UINT64_C(10) * 1000000000,
			   .refaults = 41000,
			   .more_bytes = (96 << 20) - 5,
			   .most_more_bytes = 29,
			   .total_ns = UINT64_C(12) * 1000000000},
	};
	return st;
}

/* Each path of the schema with the value that example() has there. */
static const struct {
	const char *outer, *inner;
	json_int_t value;
} numbers[] = {
	{NULL, "exit_status", 3},
	{NULL, "memory_bytes", 1},
	{NULL, "limit_bytes", 2},
	{NULL, "resident_bytes", 3},
	{NULL, "resident_peak_bytes", 4},
	{NULL, "swapped_bytes", 5},
	{NULL, "ballooned_bytes", 6},
	{NULL, "poisoned_pages", 7},
	{"faults", "demand_zero", 8},
	{"faults", "swap_in", 9},
	{"faults", "rescue", 10},
	{"faults", "prefetched", 11},
	{"faults", "read_ahead", 31},
	{"faults", "prefetch_used", 32},
	{"faults", "prefetch_wasted", 33},
	{"faults", "invalid", 103},
	{"faults", "p50_ns", 12},
	{"faults", "p99_ns", 13},
	{"faults", "max_ns", 14},
	{"reclaim", "evicted", 15},
	{"reclaim", "zero", 16},
	{"reclaim", "clean", 17},
	{"reclaim", "written", 18},
	{"reclaim", "dropped", 19},
	{"reclaim", "free_taken", 28},
	{"store", "reads", 20},
	{"store", "writes", 21},
	{"store", "read_bytes", 22},
	{"store", "written_bytes", 23},
	{"store", "errors", 24},
	{"stall_ns", "some", 25},
	{"stall_ns", "full", 26},
	{"process", "rss_peak_bytes", 104},
	{"process", "metadata_bytes", 27},
	{NULL, "boot_ns", 105},
	{NULL, "wall_ns", 106},
	{"guest_faults", "minor", 101},
	{"guest_faults", "major", 102},
	{NULL, "guest_free_bytes", 107},
	{"thrash", "stalled_permille", 634},
	{"thrash", "refaults", 41000},
	{"thrash", "more_bytes", (96 << 20) - 5},
	{"thrash", "most_more_bytes", 29},
	{"thrash", "total_ns", INT64_C(12000000000)},
};

START_TEST(the_schema_is_kept_to_the_letter)
{
	struct run_stats st = example();
	json_t *json = stats_json(&st);

	ck_assert_ptr_nonnull(json);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		json_t *in = numbers[i].outer ? json_object_get(json, numbers[i].outer) : json;
		json_t *value = json_object_get(in, numbers[i].inner);

		ck_assert_msg(json_is_integer(value), "%s is no integer", numbers[i].inner);
		ck_assert_msg(json_integer_value(value) == numbers[i].value, "%s is %lld",
			      numbers[i].inner, (long long)json_integer_value(value));
	}
	ck_assert_str_eq(json_string_value(json_object_get(json, "schema")), "guestmm-stats-1");
	ck_assert_str_eq(json_string_value(json_object_get(json, "version")), gmm_version());
	ck_assert_str_eq(json_string_value(json_object_get(json, "engine")), "move");
	json_decref(json);
}
END_TEST

START_TEST(every_vcpu_is_there)
{
	struct run_stats st = example();
	json_t *json = stats_json(&st), *list = json_object_get(json, "vcpus");

	ck_assert_uint_eq(json_array_size(list), 2);
	ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(list, 1), "exits")), 21);
	ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(list, 1), "run_ns")),
			 22);
	json_decref(json);
}
END_TEST

START_TEST(a_running_guest_has_no_exit_status)
{
	struct run_stats st = example();
	json_t *json;

	st.running = true;
	st.mm.engine = NULL;
	st.n_vcpus = 0;
	json = stats_json(&st);
	ck_assert(json_is_null(json_object_get(json, "exit_status")));
	ck_assert(json_is_true(json_object_get(json, "running")));
	json_decref(json);
}
END_TEST

START_TEST(stalls_are_thousandths)
{
	struct run_stats st = example();
	json_t *json = stats_json(&st);
	json_t *some = json_object_get(json_object_get(json, "stall_permille"), "some");

	ck_assert_int_eq(json_integer_value(json_array_get(some, 0)), 15);
	ck_assert_int_eq(json_integer_value(json_array_get(some, 1)), 500);
	ck_assert_int_eq(json_integer_value(json_array_get(some, 2)), 1000);
	json_decref(json);
}
END_TEST

START_TEST(it_is_written_as_one_line)
{
	struct run_stats st = example();
	char *text = NULL;
	size_t n;
	FILE *to = open_memstream(&text, &n);
	json_t *back;

	ck_assert_int_eq(stats_write(to, &st), 0);
	fclose(to);
	ck_assert_ptr_eq(strchr(text, '\n'), text + n - 1);
	back = json_loads(text, 0, NULL);
	ck_assert_ptr_nonnull(back);
	json_decref(back);
	free(text);
}
END_TEST

START_TEST(a_full_disk_is_reported)
{
	struct run_stats st = example();
	FILE *to = fopen("/dev/full", "we");

	ck_assert_int_eq(stats_write(to, &st), -ENOSPC);
	fclose(to);
}
END_TEST

START_TEST(resident_memory_is_measured)
{
	uint64_t now, peak, before;
	char *block;

	ck_assert_int_eq(stats_rss(&before, &peak), 0);
	block = malloc(32 << 20);
	ck_assert_ptr_nonnull(block);
	for (size_t i = 0; i < 32 << 20; i += 4096)
		((volatile char *)block)[i] = 1;
	ck_assert_int_eq(stats_rss(&now, &peak), 0);
	ck_assert_uint_ge(now, before + (30 << 20));
	ck_assert_uint_ge(peak, now);
	free(block);
}
END_TEST

START_TEST(where_faults_are_served_is_told)
{
	struct run_stats st = example();
	json_t *json = stats_json(&st), *at = json_object_get(json, "fault_cpu");

	ck_assert_str_eq(json_string_value(json_object_get(at, "choice")), "same");
	ck_assert_int_eq(json_integer_value(json_object_get(at, "cpu")), 1);
	ck_assert_int_eq(json_integer_value(json_object_get(at, "same_ns")), 41);
	ck_assert_int_eq(json_integer_value(json_object_get(at, "other_ns")), 42);
	ck_assert_int_eq(json_integer_value(json_object_get(at, "spin_ns")), 43);
	json_decref(json);
}
END_TEST

START_TEST(the_working_set_is_told)
{
	struct run_stats st = example();
	char text[VERDICT_BYTES];
	json_t *json = stats_json(&st), *set = json_object_get(json, "working_set"), *point;

	ck_assert(json_is_true(json_object_get(set, "on")));
	ck_assert_int_eq(json_integer_value(json_object_get(set, "bytes")), 30 << 20);
	ck_assert_int_eq(json_integer_value(json_object_get(set, "pages_a_sample")), 31);
	ck_assert_int_eq(json_integer_value(json_object_get(set, "sampled")), 32);
	ck_assert_int_eq(json_integer_value(json_object_get(set, "touches")), 33);
	ck_assert_int_eq(json_integer_value(json_object_get(set, "spent_ns")), 34);
	ck_assert_uint_eq(json_array_size(json_object_get(set, "curve")), 2);
	point = json_array_get(json_object_get(set, "curve"), 0);
	ck_assert_int_eq(json_integer_value(json_object_get(point, "limit_bytes")), 1);
	ck_assert_int_eq(json_integer_value(json_object_get(point, "refaults_per_s")), 35);
	ck_assert_str_eq(
		json_string_value(json_object_get(set, "in_words")),
		"30 MiB are in use; it would refault 35 times a second with 1 MiB, 0 times "
		"a second with 1 MiB");
	json_decref(json);
	memset(&st.mm.working_set, 255, sizeof(st.mm.working_set)); /* the longest there is */
	st.mm.working_set.on = true;
	st.mm.working_set.n_points = 3;
	st.mm.limit_bytes = UINT64_C(1) << 62;
	for (unsigned i = 0; i < 3; i++)
		st.mm.working_set.curve[i].limit_bytes = st.mm.limit_bytes / 2 << i;
	ck_assert_uint_lt(strlen(verdict_working_set(&st.mm, text)), VERDICT_BYTES - 1);
	st.mm.working_set.on = false;
	ck_assert_str_eq(verdict_working_set(&st.mm, text), "");
}
END_TEST

START_TEST(the_verdict_is_said_in_words)
{
	struct run_stats st = example();
	char text[VERDICT_BYTES];
	json_t *json = stats_json(&st), *thrash = json_object_get(json, "thrash");

	ck_assert(json_is_true(json_object_get(thrash, "thrashing")));
	ck_assert_str_eq(
		json_string_value(json_object_get(thrash, "verdict")),
		"thrashing: in the last 10 s the guest waited for memory 63 % of the time; "
		"41000 pages came back that had left a moment ago; with about 96 MiB more it "
		"would stop");
	ck_assert_ptr_nonnull(strstr(verdict_past(&st.mm, text), "thrashing for 12 s"));
	ck_assert_ptr_nonnull(strstr(text, "about 1 MiB more"));
	json_decref(json);
	st.mm.thrash.on = false;
	ck_assert_str_eq(
		verdict_text(&st.mm, text),
		"not thrashing: in the last 10 s the guest waited for memory 63 % of the time");
	st.mm.thrash.total_ns = 0;
	ck_assert_str_eq(verdict_past(&st.mm, text), "");
	memset(&st.mm.thrash, 255, sizeof(st.mm.thrash)); /* the longest there is */
	st.mm.thrash.on = true;
	ck_assert_uint_lt(strlen(verdict_text(&st.mm, text)), VERDICT_BYTES - 1);
	ck_assert_uint_lt(strlen(verdict_past(&st.mm, text)), VERDICT_BYTES - 1);
}
END_TEST

UNIT_MAIN("stats", the_schema_is_kept_to_the_letter, the_working_set_is_told,
	  where_faults_are_served_is_told, the_verdict_is_said_in_words, every_vcpu_is_there,
	  a_running_guest_has_no_exit_status, stalls_are_thousandths, it_is_written_as_one_line,
	  a_full_disk_is_reported, resident_memory_is_measured)
