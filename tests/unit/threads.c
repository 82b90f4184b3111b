/* Threads: this process's own are told from others', and from none. */
#include <check.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "threads.h"
#include "unit.h"

static void *own_tid(void *arg)
{
	*(int32_t *)arg = (int32_t)syscall(SYS_gettid);
	return NULL;
}

/* One that was joined is still known to the kernel for a moment. */
static bool is_forgotten(int32_t tid)
{
	for (int i = 0; i < 10000; i++) {
		struct threads t = {0};

		if (!threads_has(&t, tid))
			return true;
		usleep(1000);
	}
	return false;
}

START_TEST(own_threads_are_known)
{
	struct threads t = {0};
	pthread_t thread;
	int32_t tid = 0;

	ck_assert(threads_has(&t, (int32_t)syscall(SYS_gettid)));
	ck_assert_int_eq(pthread_create(&thread, NULL, own_tid, &tid), 0);
	pthread_join(thread, NULL);
	ck_assert(is_forgotten(tid)); /* it has ended */
	ck_assert(threads_has(&t, (int32_t)syscall(SYS_gettid)));
}
END_TEST

START_TEST(others_are_not)
{
	struct threads t = {0};

	ck_assert(!threads_has(&t, 0));
	ck_assert(!threads_has(&t, -1));
	ck_assert(!threads_has(&t, (int32_t)getppid()));
	ck_assert(!threads_has(&t, (int32_t)getppid())); /* remembered */
}
END_TEST

UNIT_MAIN("threads", own_threads_are_known, others_are_not)
