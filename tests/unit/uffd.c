/* userfaultfd's calls, one by one: what they do, and what they say where they cannot. */
#include "uffd.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "unit.h"

#define PAGE	4096u
#define N_PAGES 16u

static struct uffd u;
static char *mem;

static void *map_pages(void)
{
	void *p = mmap(NULL, N_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	ck_assert_ptr_ne(p, MAP_FAILED);
	return p;
}

static void open_uffd(uint64_t mode)
{
	int ret = uffd_open(&u, UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_POISON |
					UFFD_FEATURE_MOVE | UFFD_FEATURE_THREAD_ID);

	if (ret == -EPERM || ret == -ENOSYS)
		UNIT_SKIP("userfaultfd is not to be had here: %s", strerror(-ret));
	ck_assert_int_eq(ret, 0);
	mem = map_pages();
	ck_assert_int_eq(uffd_register(&u, mem, N_PAGES * PAGE, mode), 0);
}

static void close_uffd(void)
{
	munmap(mem, N_PAGES * PAGE);
	uffd_close(&u);
	ck_assert_int_eq(u.fd, -1);
	uffd_close(&u); /* twice is once */
}

static struct uffd_msg next_event(void)
{
	struct pollfd p = {.fd = u.fd, .events = POLLIN};
	struct uffd_msg msg;
	unsigned n;

	ck_assert_int_eq(poll(&p, 1, 10000), 1);
	ck_assert_int_eq(uffd_read(&u, &msg, 1, &n), 0);
	ck_assert_uint_eq(n, 1);
	return msg;
}

static void *read_byte(void *at)
{
	return (void *)(uintptr_t) * (volatile unsigned char *)at;
}

static void *write_byte(void *at)
{
	*(volatile char *)at = 99;
	return NULL;
}

START_TEST(features_are_those_of_the_kernel)
{
	struct uffd other;

	open_uffd(UFFDIO_REGISTER_MODE_MISSING);
	ck_assert_int_eq(uffd_open(&other, 0), 0);
	ck_assert_uint_eq(other.features, 0);
	uffd_close(&other);
	ck_assert_int_eq(uffd_open(&other, UINT64_C(1) << 63), 0); /* no kernel has that */
	ck_assert_uint_eq(other.features, 0);
	uffd_close(&other);
	close_uffd();
}
END_TEST

START_TEST(a_touch_is_told_and_a_copy_answers)
{
	char page[PAGE];
	struct uffd_msg msg;
	pthread_t t;
	size_t done;
	unsigned n;
	void *got;

	open_uffd(UFFDIO_REGISTER_MODE_MISSING);
	ck_assert_int_eq(uffd_read(&u, &msg, 1, &n), 0);
	ck_assert_uint_eq(n, 0);
	pthread_create(&t, NULL, read_byte, mem + 3 * PAGE + 5);
	msg = next_event();
	ck_assert_uint_eq(msg.event, UFFD_EVENT_PAGEFAULT);
	ck_assert_uint_eq(msg.arg.pagefault.address & ~UINT64_C(4095), (uintptr_t)mem + 3 * PAGE);
	ck_assert_uint_ne(msg.arg.pagefault.feat.ptid, 0);
	memset(page, 42, sizeof(page));
	ck_assert_int_eq(uffd_copy(&u, mem + 3 * PAGE, page, PAGE, &done, true), 0);
	ck_assert_uint_eq(done, PAGE);
	pthread_join(t, &got);
	ck_assert_uint_eq((uintptr_t)got, 42);
	ck_assert_int_eq(uffd_copy(&u, mem + 3 * PAGE, page, PAGE, &done, true), -EEXIST);
	ck_assert_uint_eq(done, 0);
	close_uffd();
}
END_TEST

static void *read_and_tell(void *arg)
{
	atomic_bool *told = arg;
	char got = mem[0];

	*told = true;
	return (void *)(uintptr_t)got;
}

/* In place, but who waits does so until he is woken. */
START_TEST(placing_may_leave_waking_to_another)
{
	char page[PAGE] = {7};
	atomic_bool told = false;
	pthread_t t;
	size_t done;
	void *got;

	open_uffd(UFFDIO_REGISTER_MODE_MISSING);
	pthread_create(&t, NULL, read_and_tell, &told);
	next_event();
	ck_assert_int_eq(uffd_copy(&u, mem, page, PAGE, &done, false), 0);
	ck_assert_uint_eq(done, PAGE);
	nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	ck_assert(!told);
	ck_assert_int_eq(uffd_wake(&u, mem, PAGE), 0);
	pthread_join(t, &got);
	ck_assert_uint_eq((uintptr_t)got, 7);
	close_uffd();
}
END_TEST

/* Who is only woken looks again, and is told of again. */
START_TEST(waking_is_no_answer)
{
	char page[PAGE] = {7};
	pthread_t t;
	size_t done;
	void *got;

	open_uffd(UFFDIO_REGISTER_MODE_MISSING);
	pthread_create(&t, NULL, read_byte, mem);
	next_event();
	ck_assert_int_eq(uffd_wake(&u, mem, PAGE), 0);
	next_event();
	ck_assert_int_eq(uffd_copy(&u, mem, page, PAGE, &done, true), 0);
	pthread_join(t, &got);
	ck_assert_uint_eq((uintptr_t)got, 7);
	close_uffd();
}
END_TEST

START_TEST(moves_flip_pages_and_say_how_far_they_came)
{
	char *from;
	size_t done;

	open_uffd(UFFDIO_REGISTER_MODE_MISSING);
	if (!(u.features & UFFD_FEATURE_MOVE))
		UNIT_SKIP("this kernel has no UFFDIO_MOVE");
	from = map_pages();
	for (unsigned i = 0; i < 4; i++)
		from[i * PAGE] = (char)(i + 1);
	ck_assert_int_eq(uffd_move(&u, mem, from, 2 * PAGE, &done, true), 0);
	ck_assert_uint_eq(done, 2 * PAGE);
	ck_assert_int_eq(mem[0], 1);
	ck_assert_int_eq(mem[PAGE], 2);
	ck_assert_int_eq(uffd_move(&u, mem, from + 2 * PAGE, PAGE, &done, true), -EEXIST);
	ck_assert_uint_eq(done, 0);
	ck_assert_int_eq(uffd_move(&u, mem + 4 * PAGE, from, PAGE, &done, true), -ENOENT);
	ck_assert_uint_eq(done, 0);
	/* Two that are there, then none: so far it came. */
	ck_assert_int_ne(uffd_move(&u, mem + 8 * PAGE, from + 2 * PAGE, 4 * PAGE, &done, true), 0);
	ck_assert_uint_eq(done, 2 * PAGE);
	ck_assert_int_eq(mem[9 * PAGE], 4);
	munmap(from, N_PAGES * PAGE);
	close_uffd();
}
END_TEST

START_TEST(writes_to_protected_pages_are_told)
{
	struct uffd_msg msg;
	pthread_t t;
	char page[PAGE] = {1};
	size_t done;

	open_uffd(UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP);
	ck_assert_int_eq(uffd_copy(&u, mem, page, PAGE, &done, true), 0);
	ck_assert_int_eq(uffd_protect(&u, mem, PAGE, true), 0);
	ck_assert_int_eq(mem[0], 1); /* reads go on */
	pthread_create(&t, NULL, write_byte, mem);
	msg = next_event();
	ck_assert(msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP);
	ck_assert_int_eq(mem[0], 1);
	ck_assert_int_eq(uffd_protect(&u, mem, PAGE, false), 0);
	pthread_join(t, NULL);
	ck_assert_int_eq(mem[0], 99);
	close_uffd();
}
END_TEST

static sigjmp_buf touched;

static void on_bus(int sig)
{
	siglongjmp(touched, sig);
}

START_TEST(poison_is_marked_once_and_raises_sigbus)
{
	struct sigaction sa = {.sa_handler = on_bus};
	char page[PAGE] = {1};
	volatile bool raised = false;
	size_t done;

	open_uffd(UFFDIO_REGISTER_MODE_MISSING);
	if (!(u.features & UFFD_FEATURE_POISON))
		UNIT_SKIP("this kernel has no UFFDIO_POISON");
	ck_assert_int_eq(uffd_poison(&u, mem, PAGE), 0);
	ck_assert_int_eq(uffd_poison(&u, mem, PAGE), -EEXIST);
	sigaction(SIGBUS, &sa, NULL);
	if (sigsetjmp(touched, 1) == 0)
		read_byte(mem);
	else
		raised = true;
	ck_assert(raised);
	ck_assert_int_eq(uffd_copy(&u, mem + PAGE, page, PAGE, &done, true), 0);
	ck_assert_int_eq(uffd_poison(&u, mem + PAGE, PAGE), -EEXIST); /* a page is there */
	close_uffd();
}
END_TEST

START_TEST(who_waits_goes_on_when_a_range_is_let_go)
{
	pthread_t t;
	void *got;

	open_uffd(UFFDIO_REGISTER_MODE_MISSING);
	pthread_create(&t, NULL, read_byte, mem);
	next_event();
	ck_assert_int_eq(uffd_unregister(&u, mem, N_PAGES * PAGE), 0);
	pthread_join(t, &got);
	ck_assert_ptr_null(got);
	close_uffd();
}
END_TEST

UNIT_MAIN("uffd", features_are_those_of_the_kernel, a_touch_is_told_and_a_copy_answers,
	  placing_may_leave_waking_to_another, waking_is_no_answer,
	  moves_flip_pages_and_say_how_far_they_came, writes_to_protected_pages_are_told,
	  poison_is_marked_once_and_raises_sigbus, who_waits_goes_on_when_a_range_is_let_go)
