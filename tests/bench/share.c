/* Memory taken out of the guest's allocator and given back: rows 13 to 16.
 *
 * 13  2 GiB that the guest has touched and freed are taken; floor: madvise(MADV_DONTNEED) of as
 *     much memory with pages of the same size
 * 14  as much that was never touched is taken; floor: the same madvise
 * 15  what was taken is given back; floor: the taking of row 13
 * 16  the guest touches it again; floor: a first touch of the host's memory, pages of that size
 * Row 13 stands a second time for pages of 2 MiB, with a floor that has no goal but tells why the
 * first one's is missed: memory that userfaultfd has moved in, and steps as the library has to make
 * them, for faults wait meanwhile.
 * A vCPU runs all the while in rows 13 to 15: how often it leaves the guest is counted.
 */
#include <errno.h>
#include <guestmm/frames.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "lib/bare_vm.h"
#include "lib/harness.h"
#include "lib/managed.h"
#include "lib/moved.h"
#include "lib/placement.h"

#define MIB		  UINT64_C(1048576)
#define SHARE_BYTES	  (2048 * MIB)
#define SHARE_BYTES_QUICK (32 * MIB)
#define KEPT_BYTES	  (16 * MIB)  /* in use by the guest */
#define STEP_BYTES	  (256 * MIB) /* the most that the library drops by one call */

/* ---- A vCPU that runs beside ---- */

struct runner {
	struct bare_vm *vm;
	struct guest_args args;
	pthread_t thread;
	uint64_t n_exits;
};

static void *runner_run(void *arg)
{
	struct runner *r = arg;

	bare_vm_run(r->vm, 0, guest_in_order, &r->args);
	return NULL;
}

/* Writes the page at `base` again and again, which is at `seen` here. */
static void runner_start(struct runner *r, struct bare_vm *vm, uint64_t base,
			 volatile uint64_t *seen)
{
	*r = (struct runner){.vm = vm,
			     .args = {.base = base, .n = 1, .write = 1, .repeat = UINT64_MAX}};
	*seen = 0;
	if (pthread_create(&r->thread, NULL, runner_run, r))
		bench_die("pthread_create");
	while (!*seen)
		nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
	r->n_exits = __atomic_load_n(&vm->vcpus[0].n_exits, __ATOMIC_RELAXED);
}

static void runner_stop(struct runner *r, struct bench_sample *out)
{
	bench_count(out, "exits",
		    __atomic_load_n(&r->vm->vcpus[0].n_exits, __ATOMIC_RELAXED) - r->n_exits);
	bare_vm_stop(r->vm, 0);
	pthread_join(r->thread, NULL);
}

/* ---- The library, with a guest that shares its frames ---- */

struct shared {
	struct managed m;
	struct bare_vm vm;
	struct gmm_balloon *balloon;
	struct gmm_frames *block;
	size_t block_bytes;
	uint64_t bytes;
};

static uint64_t share_bytes(bool quick)
{
	return quick ? SHARE_BYTES_QUICK : SHARE_BYTES;
}

static void share_balloon(struct shared *s, uint64_t all)
{
	struct gmm_balloon_config config = {.size = sizeof(config), .space = s->m.space};
	struct gmm_balloon_share share = {.size = sizeof(share),
					  .n_frames = (BARE_DATA_GPA + all) / BARE_PAGE};
	int ret;

	s->block_bytes = gmm_frames_bytes(share.n_frames);
	s->block = mmap(NULL, s->block_bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (s->block == MAP_FAILED ||
	    gmm_frames_init_zeroed(s->block, s->block_bytes, share.n_frames) ||
	    gmm_frames_claim(s->block, 0, BARE_DATA_GPA / BARE_PAGE) ||
	    gmm_frames_claim(s->block, (BARE_DATA_GPA + s->bytes) / BARE_PAGE,
			     KEPT_BYTES / BARE_PAGE))
		bench_die("no block");
	share.block = s->block;
	share.block_bytes = s->block_bytes;
	ret = gmm_balloon_new(&config, &s->balloon);
	if (!ret)
		ret = gmm_balloon_share(s->balloon, &share);
	if (ret)
		bench_die("gmm_balloon_share: %s", strerror(-ret));
}

static void shared_new(struct shared *s, bool quick, bool huge)
{
	const uint64_t bytes = share_bytes(quick), all = bytes + KEPT_BYTES;
	struct gmm_pool_config pool = {.size = sizeof(pool), .limit_bytes = 2 * all};
	struct gmm_space_config space = {.size = sizeof(space),
					 .huge = huge ? GMM_HUGE_AUTO : GMM_HUGE_NEVER};
	struct gmm_worker_config worker = {.size = sizeof(worker), .cpu = placement_at(0)->handler};

	memset(s, 0, sizeof(*s));
	s->bytes = bytes;
	if (gmm_pool_new(&pool, &s->m.pool))
		bench_die("gmm_pool_new");
	space.pool = s->m.pool;
	if (gmm_space_new(&space, &s->m.space))
		bench_unavailable("no space can be made");
	if (gmm_space_add_ram(s->m.space, (gmm_gpa){BARE_DATA_GPA}, all, &s->m.data))
		bench_die("gmm_space_add_ram");
	worker.space = s->m.space;
	if (gmm_worker_new(&worker, &s->m.worker))
		bench_die("gmm_worker_new");
	share_balloon(s, all);
	bare_vm_new(&s->vm, 1, s->m.data, all);
}

static void shared_free(struct shared *s)
{
	managed_detach(&s->m);
	bare_vm_free(&s->vm);
	s->balloon = gmm_balloon_free(s->balloon);
	managed_free(&s->m);
	munmap(s->block, s->block_bytes);
}

static void shared_touch(struct shared *s)
{
	struct guest_args touch = {.n = s->bytes / BARE_PAGE, .write = 1};

	bare_vm_run(&s->vm, 0, guest_in_order, &touch);
}

static void shared_target(struct shared *s, uint64_t bytes)
{
	int ret = gmm_balloon_set_target(s->balloon, bytes);

	if (ret || gmm_balloon_bytes(s->balloon) != bytes)
		bench_die("the balloon has %llu bytes",
			  (unsigned long long)gmm_balloon_bytes(s->balloon));
}

static double gib_a_second(uint64_t bytes, uint64_t ns)
{
	return (double)bytes / (double)(1024 * MIB) / ((double)ns / 1e9);
}

static void shared_start(struct shared *s, struct runner *r)
{
	runner_start(r, &s->vm, BARE_DATA_GPA + s->bytes,
		     (volatile uint64_t *)(void *)((char *)s->m.data + s->bytes));
}

/* arg of a row: how its memory is laid and what is measured. */
struct how {
	bool huge, touched, give_back;
};

static void take_ours(const struct bench_row *row, bool quick, struct bench_sample *out)
{
	const struct how *how = row->arg;
	struct runner runner;
	struct shared s;

	shared_new(&s, quick, how->huge);
	if (how->touched)
		shared_touch(&s);
	if (how->give_back)
		shared_target(&s, s.bytes);
	shared_start(&s, &runner);
	managed_mark(&s.m);
	bench_begin(out);
	shared_target(&s, how->give_back ? 0 : s.bytes);
	bench_end(out);
	runner_stop(&runner, out);
	managed_count(&s.m, out);
	out->value[0] = gib_a_second(s.bytes, out->elapsed_ns);
	shared_free(&s);
}

/* The same, but taken in any case. */
static void take_as_floor(const struct bench_row *row, bool quick, struct bench_sample *out)
{
	struct how how = *(const struct how *)row->arg;
	struct bench_row taking = *row;

	how.give_back = false;
	taking.arg = &how;
	take_ours(&taking, quick, out);
}

static void take_floor(const struct bench_row *row, bool quick, struct bench_sample *out)
{
	const struct how *how = row->arg;
	const uint64_t bytes = share_bytes(quick), all = bytes + KEPT_BYTES;
	struct guest_args touch = {.n = bytes / BARE_PAGE, .write = 1};
	char *data = bare_data_new(all, how->huge);
	struct runner runner;
	struct bare_vm vm;

	bare_vm_new(&vm, 1, data, all);
	if (how->touched)
		bare_vm_run(&vm, 0, guest_in_order, &touch);
	runner_start(&runner, &vm, BARE_DATA_GPA + bytes,
		     (volatile uint64_t *)(void *)(data + bytes));
	bench_begin(out);
	if (madvise(data, bytes, MADV_DONTNEED))
		bench_die("madvise: %s", strerror(errno));
	bench_end(out);
	runner_stop(&runner, out);
	out->value[0] = gib_a_second(bytes, out->elapsed_ns);
	bare_vm_free(&vm);
	bare_data_free(data, all);
}

/* The kernel's share of it: no books, but the same sort of memory and the same steps. */
static void take_in_steps(const struct bench_row *row, bool quick, struct bench_sample *out)
{
	const uint64_t bytes = share_bytes(quick);
	struct guest_args touch = {.n = bytes / BARE_PAGE, .write = 1};
	struct runner runner;
	struct moved m;
	struct bare_vm vm;

	(void)row;
	moved_new(&m, bytes + KEPT_BYTES);
	bare_vm_new(&vm, 1, m.data, m.bytes);
	bare_vm_run(&vm, 0, guest_in_order, &touch);
	runner_start(&runner, &vm, BARE_DATA_GPA + bytes,
		     (volatile uint64_t *)(void *)((char *)m.data + bytes));
	bench_begin(out);
	moved_drop(&m, bytes, STEP_BYTES);
	bench_end(out);
	runner_stop(&runner, out);
	out->value[0] = gib_a_second(bytes, out->elapsed_ns);
	bare_vm_free(&vm);
	moved_free(&m);
}

/* ---- Row 16 ---- */

static void touch_ours(const struct bench_row *row, bool quick, struct bench_sample *out)
{
	const struct how *how = row->arg;
	struct guest_args read = {.zero = 1};
	struct shared s;

	shared_new(&s, quick, how->huge);
	shared_touch(&s);
	shared_target(&s, s.bytes);
	managed_mark(&s.m);
	bench_begin(out);
	shared_target(&s, 0);
	shared_touch(&s);
	bench_end(out);
	managed_count(&s.m, out);
	out->value[0] = gib_a_second(s.bytes, out->elapsed_ns);
	/* And what comes back is zero: once more, read this time. */
	shared_target(&s, s.bytes);
	shared_target(&s, 0);
	read.n = s.bytes / BARE_PAGE;
	bare_vm_run(&s.vm, 0, guest_in_order, &read);
	shared_free(&s);
}

static void touch_floor(const struct bench_row *row, bool quick, struct bench_sample *out)
{
	const struct how *how = row->arg;
	const uint64_t bytes = share_bytes(quick), all = bytes + KEPT_BYTES;
	struct guest_args touch = {.n = bytes / BARE_PAGE, .write = 1};
	char *data = bare_data_new(all, how->huge);
	struct bare_vm vm;

	bare_vm_new(&vm, 1, data, all);
	bench_begin(out);
	bare_vm_run(&vm, 0, guest_in_order, &touch);
	bench_end(out);
	out->value[0] = gib_a_second(bytes, out->elapsed_ns);
	bare_vm_free(&vm);
	bare_data_free(data, all);
}

static const struct how touched_small = {.touched = true};
static const struct how touched_huge = {.touched = true, .huge = true};
static const struct how untouched = {.huge = true};
static const struct how back_small = {.touched = true, .give_back = true};
static const struct how back_huge = {.touched = true, .huge = true, .give_back = true};

#define SHARE_ROW(n, what, pages, floor_is, how, least, ours_fn, floor_fn)                         \
	{                                                                                          \
		.number = (n), .title = what, .variant = pages, .against = floor_is,               \
		.metrics = {{"rate", "GiB/s", least, '>'}}, .ours = ours_fn, .floor = floor_fn,    \
		.arg = &(how)                                                                      \
	}

int main(int argc, char **argv)
{
	static const struct bench_row rows[] = {
		SHARE_ROW(13, "free memory taken: touched", "4K pages", "madvise, 4K pages",
			  touched_small, 0.9, take_ours, take_floor),
		SHARE_ROW(13, "free memory taken: touched", "2M pages", "madvise, 2M pages",
			  touched_huge, 0.9, take_ours, take_floor),
		SHARE_ROW(14, "free memory taken: untouched", NULL, "madvise, untouched", untouched,
			  0, take_ours, take_floor),
		SHARE_ROW(15, "free memory given back", "4K pages", "taking it", back_small, 100,
			  take_ours, take_as_floor),
		SHARE_ROW(15, "free memory given back", "2M pages", "taking it", back_huge, 100,
			  take_ours, take_as_floor),
		SHARE_ROW(16, "given back and touched", "4K pages", "first touch, 4K pages",
			  touched_small, 0, touch_ours, touch_floor),
		SHARE_ROW(16, "given back and touched", "2M pages", "first touch, 2M pages",
			  touched_huge, 0, touch_ours, touch_floor),
		/* The last one takes a kernel that moves pages. */
		SHARE_ROW(13, "free memory taken: touched", "2M pages, why",
			  "madvise, 2M pages moved in, 256 MiB at a time", touched_huge, 0,
			  take_ours, take_in_steps),
	};

	return bench_main(argc, argv, rows,
			  sizeof(rows) / sizeof(rows[0]) - (moved_is_possible() ? 0 : 1));
}
