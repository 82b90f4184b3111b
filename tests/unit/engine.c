/* Both engines, on pages of a userfaultfd: in, out, refused; and the pool's count after each. */
#include "engine/engine.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "pagemap.h"

#include "unit.h"

#define PAGE	4096u
#define N_PAGES 1024u /* more than the pool has */
#define LIMIT	512u

static struct gmm_pool *pool;
static struct pool_member member;
static struct bay bay;
static struct uffd uffd;
static struct engine engine;
static char *mem;

static const struct engine_ops *const all[] = {&engine_move, &engine_copy};

static void setup(const struct engine_ops *ops)
{
	struct gmm_pool_config config = {.size = sizeof(config),
					 .limit_bytes = (uint64_t)LIMIT << GMM_PAGE_SHIFT};
	int ret =
		uffd_open(&uffd, engine_move.features | engine_copy.features | UFFD_FEATURE_POISON);

	if (ret == -EPERM || ret == -ENOSYS)
		UNIT_SKIP("userfaultfd is not to be had here: %s", strerror(-ret));
	ck_assert_int_eq(ret, 0);
	if ((uffd.features & ops->features) != ops->features)
		UNIT_SKIP("this kernel has no engine %s", ops->name);
	ck_assert_int_eq(gmm_pool_new(&config, &pool), 0);
	member.wake_fd = eventfd(0, EFD_NONBLOCK);
	pool_join(pool, &member, member.wake_fd);
	ck_assert_int_eq(bay_init(&bay, &member), 0);
	mem = mmap(NULL, N_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		   0);
	ck_assert_ptr_ne(mem, MAP_FAILED);
	madvise(mem, N_PAGES * PAGE, MADV_NOHUGEPAGE);
	ck_assert_int_eq(uffd_register(&uffd, mem, N_PAGES * PAGE,
				       UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP),
			 0);
	engine = (struct engine){.ops = ops, .uffd = &uffd, .bay = &bay, .pagemap = pagemap_open()};
	ck_assert_int_eq(ops->setup(&engine), 0);
}

static uint64_t n_used(void)
{
	struct gmm_pool_stats stats = {.size = sizeof(stats)};

	gmm_pool_stats(pool, &stats);
	ck_assert_uint_le(stats.used_bytes, stats.limit_bytes);
	return stats.used_bytes >> GMM_PAGE_SHIFT;
}

static char *page(unsigned i)
{
	return mem + (size_t)i * PAGE;
}

static unsigned n_present(unsigned from, unsigned n)
{
	unsigned char there[N_PAGES];
	unsigned sum = 0;

	ck_assert_int_eq(mincore(page(from), (size_t)n * PAGE, there), 0);
	for (unsigned i = 0; i < n; i++)
		sum += there[i] & 1;
	return sum;
}

/* All that is charged is in the bay or in the guest. */
static void check_count(unsigned n_taken)
{
	ck_assert_uint_eq(n_used(), bay_n_free(&bay) + n_present(0, N_PAGES) + n_taken);
}

static void teardown(void)
{
	pool_uncharge(&member, n_present(0, N_PAGES));
	munmap(mem, N_PAGES * PAGE);
	bay_fini(&bay);
	ck_assert_uint_eq(n_used(), 0);
	pool_leave(&member);
	close(member.wake_fd);
	close(engine.pagemap);
	gmm_pool_free(pool);
	uffd_close(&uffd);
}

static void fill(unsigned from, unsigned n)
{
	while (n) {
		unsigned now = n < ENGINE_BATCH_MAX ? n : ENGINE_BATCH_MAX, done;

		ck_assert_int_eq(engine.ops->fill_zero(&engine, page(from), now, &done), 0);
		ck_assert_uint_eq(done, now);
		from += now;
		n -= now;
	}
}

START_TEST(zero_pages_come_up_to_the_limit)
{
	unsigned done, n = 0;
	int ret = 0;

	setup(all[_i]);
	while (ret == 0) {
		ret = engine.ops->fill_zero(&engine, page(n), ENGINE_BATCH_MAX, &done);
		n += done;
		ck_assert_uint_le(n, LIMIT);
		check_count(0);
	}
	ck_assert_int_eq(ret, -ENOMEM);
	ck_assert_uint_ge(n, LIMIT - 16); /* all but what the copy engine evicts through */
	ck_assert_uint_eq(n_present(0, N_PAGES), n);
	for (unsigned i = 0; i < n * PAGE; i += 64)
		ck_assert_int_eq(mem[i], 0);
	ck_assert_int_eq(engine.ops->fill_zero(&engine, page(0), 1, &done), -ENOMEM);
	teardown();
}
END_TEST

START_TEST(pages_leave_with_their_content_and_come_back)
{
	bay_slot slots[32];
	unsigned done;

	setup(all[_i]);
	fill(0, 64);
	for (unsigned i = 0; i < 64; i++)
		memset(page(i), (int)i + 1, PAGE);
	/* The copy engine has 16 buffers and no more where the limit leaves none. */
	ck_assert_int_eq(engine.ops->extract(&engine, page(8), 16, slots, &done), 0);
	ck_assert_uint_eq(done, 16);
	ck_assert_uint_eq(n_present(8, 16), 0);
	ck_assert_uint_eq(n_present(0, 64), 48);
	check_count(16);
	for (unsigned i = 0; i < 16; i++)
		for (unsigned k = 0; k < PAGE; k += 511)
			ck_assert_int_eq(bay_hva(&bay, slots[i])[k], (char)(8 + i + 1));
	for (unsigned i = 16; i-- > 0;)
		ck_assert_int_eq(engine.ops->install(&engine, page(8 + i), slots[i]), 0);
	check_count(0);
	for (unsigned i = 0; i < 64; i++)
		ck_assert_int_eq(page(i)[PAGE - 1], (char)(i + 1));
	teardown();
}
END_TEST

START_TEST(a_copy_leaves_the_slot_alone)
{
	unsigned done;
	bay_slot slot;

	setup(all[_i]);
	fill(0, 1);
	memset(page(0), 7, PAGE);
	ck_assert_int_eq(engine.ops->extract(&engine, page(0), 1, &slot, &done), 0);
	ck_assert_int_eq(engine.ops->install_copy(&engine, page(0), slot), 0);
	memset(page(0), 8, PAGE);
	ck_assert_int_eq(bay_hva(&bay, slot)[100], 7);
	check_count(1);
	bay_put_dirty(&bay, slot);
	check_count(0);
	teardown();
}
END_TEST

/* Slots side by side and others, the last of which cannot be put in place: a page is there. */
START_TEST(neighbours_are_put_in_place_by_one_call)
{
	bay_slot slots[32];
	unsigned done;

	setup(all[_i]);
	ck_assert_uint_eq(bay_get_several(&bay, 32, slots), 32);
	for (unsigned i = 1; i < 32; i++)
		ck_assert_uint_gt(slots[i], slots[i - 1]);
	for (unsigned i = 0; i < 32; i++)
		memset(bay_hva(&bay, slots[i]), (int)i + 1, PAGE);
	bay_put_dirty(&bay, slots[7]); /* a gap */
	memmove(&slots[7], &slots[8], 24 * sizeof(slots[0]));
	ck_assert_int_eq(engine.ops->install_run(&engine, page(100), slots, 31, &done), 0);
	ck_assert_uint_eq(done, 31);
	for (unsigned i = 0; i < 31; i++)
		ck_assert_int_eq(page(100 + i)[PAGE - 1], (char)(i < 7 ? i + 1 : i + 2));
	check_count(0);
	ck_assert_uint_eq(bay_get_several(&bay, 8, slots), 8);
	ck_assert_int_eq(engine.ops->install_run(&engine, page(95), slots, 8, &done), -EEXIST);
	ck_assert_uint_eq(done, 5);
	check_count(3);
	for (unsigned i = 5; i < 8; i++)
		bay_put_dirty(&bay, slots[i]);
	teardown();
}
END_TEST

START_TEST(a_page_that_is_there_is_not_replaced)
{
	unsigned done;
	bay_slot slot;

	setup(all[_i]);
	fill(0, 2);
	page(0)[0] = 5;
	page(1)[0] = 6;
	ck_assert_int_eq(engine.ops->extract(&engine, page(1), 1, &slot, &done), 0);
	ck_assert_int_eq(engine.ops->install(&engine, page(0), slot), -EEXIST);
	ck_assert_int_eq(page(0)[0], 5);
	ck_assert_int_eq(bay_hva(&bay, slot)[0], 6); /* and the slot is still the caller's */
	ck_assert_int_eq(engine.ops->install(&engine, page(1), slot), 0);
	check_count(0);
	teardown();
}
END_TEST

START_TEST(discarded_pages_free_their_frames)
{
	setup(all[_i]);
	fill(0, 200);
	ck_assert_int_eq(engine_discard(&engine, page(50), 100), 0);
	ck_assert_uint_eq(n_present(0, 200), 100);
	check_count(0);
	fill(50, 100);
	check_count(0);
	teardown();
}
END_TEST

static sigjmp_buf touched;

static void on_signal(int sig)
{
	siglongjmp(touched, sig);
}

/* The signal that a read of the page raises; 0: none. */
static int touch(unsigned i)
{
	struct sigaction sa = {.sa_handler = on_signal}, old_bus, old_segv;
	volatile int raised = 0;

	sigaction(SIGBUS, &sa, &old_bus);
	sigaction(SIGSEGV, &sa, &old_segv);
	switch (sigsetjmp(touched, 1)) {
	case 0:
		(void)*(volatile char *)page(i);
		break;
	case SIGBUS:
		raised = SIGBUS;
		break;
	default:
		raised = SIGSEGV;
	}
	sigaction(SIGBUS, &old_bus, NULL);
	sigaction(SIGSEGV, &old_segv, NULL);
	return raised;
}

/* Marked twice, for two that came at once, it is marked as once. */
static void mark_and_take_back(int signal)
{
	unsigned done;

	ck_assert_int_eq(engine_poison(&engine, page(3)), 0);
	ck_assert_int_eq(touch(3), signal);
	ck_assert_int_eq(engine_poison(&engine, page(3)), 0);
	ck_assert_int_eq(touch(3), signal);
	ck_assert_int_eq(engine_unpoison(page(3)), 0);
	ck_assert_int_eq(engine.ops->fill_zero(&engine, page(3), 1, &done), 0);
	ck_assert_int_eq(touch(3), 0);
	page(3)[0] = 1;
}

START_TEST(poison_can_be_marked_twice_and_taken_back)
{
	setup(all[_i]);
	mark_and_take_back(uffd.features & UFFD_FEATURE_POISON ? SIGBUS : SIGSEGV);
	teardown();
}
END_TEST

START_TEST(poison_needs_no_mark_of_the_kernels)
{
	setup(all[_i]);
	uffd.features &= ~(uint64_t)UFFD_FEATURE_POISON; /* before Linux 6.6 */
	mark_and_take_back(SIGSEGV);
	teardown();
}
END_TEST

/* ---- moves that the kernel makes and denies ---- */

static bool deny;	  /* each move: made, nobody woken, and said to have found pages there */
static unsigned n_denied; /* such answers, the kernel's own as well */

/* The linker's names for ioctl(), and for what the library calls instead. */
int __real_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg);

int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	struct uffdio_move *move = arg;
	int ret;

	if (request == UFFDIO_MOVE && deny)
		move->mode |= UFFDIO_MOVE_MODE_DONTWAKE;
	ret = __real_ioctl(fd, request, arg);
	if (request != UFFDIO_MOVE)
		return ret;
	if (deny && move->move > 0) {
		move->move = -EEXIST;
		errno = EEXIST;
		ret = -1;
	}
	n_denied += ret && move->move == -EEXIST;
	return ret;
}

static void *read_byte(void *at)
{
	return (void *)(uintptr_t) * (volatile unsigned char *)at;
}

static bool can_move(const struct engine_ops *ops)
{
	setup(ops);
	if (ops == &engine_move)
		return true;
	teardown();
	return false;
}

#define N_RUN 16u

START_TEST(moves_that_are_denied_are_found)
{
	struct pollfd p = {.events = POLLIN};
	bay_slot slots[N_RUN];
	pthread_t t;
	unsigned done;
	void *got;

	if (!can_move(all[_i]))
		return;
	fill(0, N_RUN);
	for (unsigned i = 0; i < N_RUN; i++)
		*page(i) = (char)(i + 1);
	deny = true;
	ck_assert_int_eq(engine.ops->extract(&engine, page(0), N_RUN, slots, &done), 0);
	ck_assert_uint_eq(done, N_RUN);
	check_count(N_RUN);
	p.fd = uffd.fd;
	pthread_create(&t, NULL, read_byte, page(N_RUN - 1));
	ck_assert_int_eq(poll(&p, 1, 10000), 1); /* it waits */
	ck_assert_int_eq(engine.ops->install_run(&engine, page(0), slots, N_RUN, &done), 0);
	ck_assert_uint_eq(done, N_RUN);
	pthread_join(t, &got);
	ck_assert_uint_eq((uintptr_t)got, N_RUN);
	ck_assert_uint_eq(n_denied, 2 * N_RUN);
	for (unsigned i = 0; i < N_RUN; i++)
		ck_assert_int_eq(*page(i), (char)(i + 1));
	check_count(0);
	deny = false;
	teardown();
}
END_TEST

static _Atomic bool stop;

/* What a host short of memory does: accessed bits are cleared while others look at the entries. */
static void *age_pages(void *unused)
{
	while (!stop) {
		madvise(page(0), (size_t)N_RUN * PAGE, MADV_COLD);
		madvise(bay.base, (size_t)LIMIT * PAGE, MADV_COLD);
	}
	return unused;
}

START_TEST(moves_that_lose_races_are_counted)
{
	bay_slot slots[N_RUN];
	unsigned done, n = 0, n_wrong = 0;
	time_t end;
	pthread_t t;

	if (!can_move(all[_i]))
		return;
	fill(0, N_RUN);
	pthread_create(&t, NULL, age_pages, NULL);
	for (end = time(NULL) + 3; time(NULL) < end; n++) {
		for (unsigned i = 0; i < N_RUN; i++)
			*page(i) = (char)(n + i);
		done = 0;
		while (engine.ops->extract(&engine, page(0), N_RUN, slots, &done) && done == 0)
			;
		for (unsigned i = 0, now; i < done; i += now)
			engine.ops->install_run(&engine, page(i), &slots[i], done - i, &now);
		for (unsigned i = 0; i < N_RUN; i++)
			n_wrong += *page(i) != (char)(n + i);
	}
	stop = true;
	pthread_join(t, NULL);
	printf("%u times there and back, %u moves that were denied\n", n, n_denied);
	ck_assert_uint_eq(n_wrong, 0);
	check_count(0);
	teardown();
}
END_TEST

UNIT_MAIN_LOOP("engine", 2, 60, zero_pages_come_up_to_the_limit,
	       neighbours_are_put_in_place_by_one_call,
	       pages_leave_with_their_content_and_come_back, a_copy_leaves_the_slot_alone,
	       a_page_that_is_there_is_not_replaced, discarded_pages_free_their_frames,
	       poison_can_be_marked_twice_and_taken_back, poison_needs_no_mark_of_the_kernels,
	       moves_that_are_denied_are_found, moves_that_lose_races_are_counted)
