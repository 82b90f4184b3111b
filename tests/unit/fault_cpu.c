/* Where faults are served fastest: all three ways are measured, and the thread is left as it was.
 */
#include "vmm/cmd/fault_cpu.h"

#include <errno.h>
#include <sched.h>
#include <time.h>

#include "unit.h"

static int measure(struct fault_cpu *f)
{
	int rc = fault_cpu_measure(f);

	if (rc == -EPERM || rc == -ENOSYS || rc == -EOPNOTSUPP)
		UNIT_SKIP("userfaultfd is not to be had here: %s", strerror(-rc));
	return rc;
}

START_TEST(each_way_is_measured)
{
	struct fault_cpu f;
	struct timespec a, b;
	cpu_set_t before, after;

	sched_getaffinity(0, sizeof(before), &before);
	if (CPU_COUNT(&before) < 2)
		UNIT_SKIP("there is one CPU only");
	clock_gettime(CLOCK_MONOTONIC, &a);
	ck_assert_int_eq(measure(&f), 0);
	clock_gettime(CLOCK_MONOTONIC, &b);
	for (unsigned i = 0; i < FAULT_CPU_N_KINDS; i++) {
		printf("%s %lu ns\n", fault_cpu_names[i], f.ns[i]);
		ck_assert_uint_gt(f.ns[i], 500);
		ck_assert_uint_lt(f.ns[i], 1000000000);
	}
	printf("%.1f ms in all\n",
	       (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6);
	sched_getaffinity(0, sizeof(after), &after);
	ck_assert(CPU_EQUAL(&before, &after));
}
END_TEST

START_TEST(one_cpu_is_no_choice)
{
	struct fault_cpu f;
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET((unsigned)sched_getcpu(), &one);
	ck_assert_int_eq(sched_setaffinity(0, sizeof(one), &one), 0);
	ck_assert_int_eq(measure(&f), -ENODEV);
	ck_assert_uint_eq(f.ns[FAULT_CPU_SAME], 0);
}
END_TEST

UNIT_MAIN("fault_cpu", each_way_is_measured, one_cpu_is_no_choice)
