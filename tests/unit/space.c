/* A space's lifecycle and regions: what is refused, and what a region is like. */
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault/vm.h"

static struct gmm_pool *pool;

static struct gmm_space *space_alone(void)
{
	struct gmm_pool_config limit = {.size = sizeof(limit), .limit_bytes = 4 * MIB};
	struct gmm_space_config config = {.size = sizeof(config)};
	struct gmm_space *s;
	int ret;

	ck_assert_int_eq(gmm_pool_new(&limit, &pool), 0);
	config.pool = pool;
	ret = gmm_space_new(&config, &s);
	if (ret == -EPERM || ret == -ENOSYS)
		UNIT_SKIP("userfaultfd is not to be had here: %s", strerror(-ret));
	ck_assert_int_eq(ret, 0);
	return s;
}

static void space_end(struct gmm_space *s)
{
	ck_assert_ptr_null(gmm_space_free(s));
	ck_assert_ptr_null(gmm_pool_free(pool));
}

START_TEST(wrong_configurations_are_refused)
{
	struct gmm_space *s = space_alone(), *none = NULL;
	struct gmm_space_config config = {.size = sizeof(config)};

	ck_assert_int_eq(gmm_space_new(&config, &none), -EINVAL); /* no pool */
	config.pool = pool;
	config.size = offsetof(struct gmm_space_config, user); /* what the first version had */
	ck_assert_int_eq(gmm_space_new(&config, &none), -EINVAL);
	config.size = 0;
	ck_assert_int_eq(gmm_space_new(&config, &none), -EINVAL);
	ck_assert_ptr_null(none);
	ck_assert_ptr_null(gmm_space_free(NULL));
	space_end(s);
}
END_TEST

START_TEST(wrong_regions_are_refused)
{
	struct gmm_space *s = space_alone();
	void *hva = NULL;

	ck_assert_int_eq(gmm_space_add_ram(s, (gmm_gpa){0}, 0, &hva), -EINVAL);
	ck_assert_int_eq(gmm_space_add_ram(s, (gmm_gpa){1}, MIB, &hva), -EINVAL);
	ck_assert_int_eq(gmm_space_add_ram(s, (gmm_gpa){0}, MIB + 1, &hva), -EINVAL);
	ck_assert_int_eq(gmm_space_add_ram(s, (gmm_gpa){-4096ul}, 8192, &hva), -EINVAL);
	ck_assert_int_eq(gmm_space_add_ram(s, (gmm_gpa){UINT64_C(1) << 52}, MIB, &hva), -EINVAL);
	ck_assert_ptr_null(hva);
	ck_assert_int_eq(gmm_space_add_ram(s, (gmm_gpa){4 * MIB}, MIB, &hva), 0);
	ck_assert_int_eq(gmm_space_add_ram(s, (gmm_gpa){4 * MIB}, 4096, &hva), -EEXIST);
	ck_assert_int_eq(gmm_space_add_ram(s, (gmm_gpa){3 * MIB}, MIB + 4096, &hva), -EEXIST);
	ck_assert_int_eq(gmm_space_add_ram(s, (gmm_gpa){0}, 64 * MIB, &hva), -EEXIST);
	ck_assert_int_eq(gmm_space_add_ram(s, (gmm_gpa){3 * MIB}, MIB, &hva), 0);
	ck_assert_int_eq(gmm_space_add_ram(s, (gmm_gpa){5 * MIB}, MIB, &hva), 0);
	space_end(s);
}
END_TEST

START_TEST(sixteen_regions_are_enough)
{
	struct gmm_space *s = space_alone();
	void *hva;

	for (uint64_t i = 0; i < 16; i++)
		ck_assert_int_eq(gmm_space_add_ram(s, (gmm_gpa){i * MIB}, 4096, &hva), 0);
	ck_assert_int_eq(gmm_space_add_ram(s, (gmm_gpa){16 * MIB}, 4096, &hva), -ENOSPC);
	space_end(s);
}
END_TEST

START_TEST(memory_is_bounded)
{
	struct gmm_space *s = space_alone();
	void *hva;

	ck_assert_int_eq(gmm_space_add_ram(s, (gmm_gpa){0}, UINT64_C(9) << 40, &hva), -ENOMEM);
	ck_assert_int_eq(gmm_space_add_ram(s, (gmm_gpa){0}, MIB, &hva), 0);
	space_end(s);
}
END_TEST

/* Large pages of guest, host and KVM can only match where addresses do. */
START_TEST(regions_lie_as_their_addresses_do)
{
	static const uint64_t starts[] = {0, 0x40000000, 0x80001000, 0x123456000, 0xffffff000};
	struct gmm_space *s = space_alone();
	void *hva;

	for (unsigned i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
		ck_assert_int_eq(gmm_space_add_ram(s, (gmm_gpa){starts[i]}, MIB, &hva), 0);
		ck_assert_uint_eq(((uintptr_t)hva ^ starts[i]) & 0x3fffffff, 0);
	}
	space_end(s);
}
END_TEST

START_TEST(regions_come_before_touches)
{
	struct gmm_space *s = space_alone();
	char byte = 1;
	void *hva;

	ck_assert_int_eq(gmm_space_add_ram(s, (gmm_gpa){0}, MIB, &hva), 0);
	ck_assert_int_eq(gmm_space_write(s, (gmm_gpa){0}, &byte, 1), 0);
	ck_assert_int_eq(gmm_space_add_ram(s, (gmm_gpa){MIB}, MIB, &hva), -EBUSY);
	space_end(s);
}
END_TEST

/* A child would share frames that the pool counts once. */
START_TEST(a_child_does_not_have_the_memory)
{
	struct gmm_space *s = space_alone();
	char byte = 1;
	void *hva;
	int status;
	pid_t pid;

	ck_assert_int_eq(gmm_space_add_ram(s, (gmm_gpa){0}, MIB, &hva), 0);
	ck_assert_int_eq(gmm_space_write(s, (gmm_gpa){0}, &byte, 1), 0);
	pid = fork();
	if (pid == 0) {
		int pipes[2];

		/* The kernel looks, so that no sanitizer gets to say anything. */
		_exit(pipe(pipes) == 0 && write(pipes[1], hva, 1) < 0 && errno == EFAULT ? 7 : 0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	space_end(s);
}
END_TEST

START_TEST(statistics_of_an_older_caller_are_shorter)
{
	struct gmm_space *s = space_alone();
	union {
		struct gmm_stats stats;
		unsigned char bytes[sizeof(struct gmm_stats)];
	} u;
	const size_t size = offsetof(struct gmm_stats, swapped_bytes);

	memset(&u, 0xa5, sizeof(u));
	u.stats.size = (uint32_t)size;
	gmm_space_stats(s, &u.stats);
	ck_assert_uint_eq(u.stats.limit_bytes, 4 * MIB);
	for (size_t i = size; i < sizeof(u); i++)
		ck_assert_uint_eq(u.bytes[i], 0xa5);
	space_end(s);
}
END_TEST

static void *read_word(void *arg)
{
	return (void *)(uintptr_t) * (volatile uint64_t *)arg;
}

/* Nobody serves any more, but who still waits must not wait for ever. */
START_TEST(after_detaching_nobody_waits)
{
	struct gmm_space *s = space_alone();
	pthread_t thread;
	void *hva, *got;
	char byte;

	ck_assert_int_eq(gmm_space_add_ram(s, (gmm_gpa){0}, MIB, &hva), 0);
	pthread_create(&thread, NULL, read_word, hva);
	sleep_ms(50);
	gmm_space_detach(s);
	pthread_join(thread, &got);
	ck_assert_ptr_null(got);
	ck_assert_int_eq(gmm_space_dispatch(s), -EIO);
	ck_assert_int_eq(gmm_space_read(s, (gmm_gpa){4096}, &byte, 1), -EIO);
	space_end(s);
}
END_TEST

UNIT_MAIN("space", wrong_configurations_are_refused, wrong_regions_are_refused,
	  sixteen_regions_are_enough, memory_is_bounded, regions_lie_as_their_addresses_do,
	  regions_come_before_touches, a_child_does_not_have_the_memory,
	  statistics_of_an_older_caller_are_shorter, after_detaching_nobody_waits)
