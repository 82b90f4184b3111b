/* Stores against an oracle: random writes, reads, releases and maintenance in flight at once. What
 * is read is what was written, whatever was released, refused or moved meanwhile. */
#include <errno.h>
#include <poll.h>

#include "store_help.h"
#include "store_slow.h"

#define MAX_LIVE  2000u
#define MAX_OPS	  300u
#define MAX_BATCH 64u
#define N_STEPS	  1500u

struct stored {
	uint64_t slot, seed;
};

struct op {
	struct gmm_store_io io;
	uint64_t seed;
	bool used;
};

struct model {
	struct gmm_store *st;
	bool may_fail; /* errors are injected */
	uint64_t random;
	struct stored live[MAX_LIVE];
	unsigned n_live;
	struct op ops[MAX_OPS];
	unsigned n_under_way;
	unsigned char *pages;
	uint64_t n_written, n_read, n_refused, n_failed, n_again;
};

static uint64_t draw(struct model *m, uint64_t n)
{
	m->random ^= m->random << 13;
	m->random ^= m->random >> 7;
	m->random ^= m->random << 17;
	return (m->random >> 8) % n;
}

/* The seed decides the content: a third noise, a third text, a third one word. */
static void fill(void *page, uint64_t seed)
{
	if (seed % 3 == 0)
		help_fill_noise(page, seed);
	else if (seed % 3 == 1)
		help_fill_text(page, seed);
	else
		memset(page, (int)(seed % 255) + 1, GMM_PAGE_BYTES);
}

static void give_up(const char *what, const struct op *op)
{
	ck_abort_msg("%s: verb %d slot %llu seed %llu result %d", what, (int)op->io.verb,
		     (unsigned long long)op->io.slot, (unsigned long long)op->seed, op->io.result);
}

static void check_read(struct model *m, struct op *op)
{
	static unsigned char expected[GMM_PAGE_BYTES];

	m->n_read++;
	if (op->io.result) {
		if (!m->may_fail || op->io.result != -EIO)
			give_up("a read failed", op);
		m->n_failed++;
		return;
	}
	fill(expected, op->seed);
	if (memcmp(expected, op->io.page, GMM_PAGE_BYTES) != 0)
		give_up("a read returned something else", op);
}

static void check_write(struct model *m, struct op *op)
{
	m->n_written++;
	if (!op->io.result) {
		if (op->io.slot >= GMM_SLOT_NONE)
			give_up("no slot", op);
		m->live[m->n_live++] = (struct stored){op->io.slot, op->seed};
	} else if (op->io.result == -ENOSPC || op->io.result == -E2BIG) {
		m->n_refused++;
	} else if (m->may_fail && op->io.result == -EIO) {
		m->n_failed++;
	} else {
		give_up("a write failed", op);
	}
}

static void reap(struct model *m)
{
	struct gmm_store_io *io, *next;

	for (io = m->st->ops->reap(m->st); io; io = next) {
		struct op *op = io->user;

		next = io->next;
		if (!op->used)
			give_up("ended twice", op);
		if (io->verb == GMM_STORE_READ)
			check_read(m, op);
		else
			check_write(m, op);
		op->used = false;
		m->n_under_way--;
	}
}

static void wait_some(struct model *m)
{
	struct pollfd pfd = {.fd = m->st->ops->fd(m->st), .events = POLLIN};

	if (pfd.fd >= 0 && poll(&pfd, 1, 10000) != 1)
		ck_abort_msg("%u operations never end", m->n_under_way);
	reap(m);
}

static struct op *op_get(struct model *m)
{
	for (unsigned i = 0; i < MAX_OPS; i++) {
		struct op *op = &m->ops[i];

		if (op->used)
			continue;
		op->used = true;
		op->io = (struct gmm_store_io){
			.page = m->pages + i * GMM_PAGE_BYTES, .user = op, .result = 1};
		return op;
	}
	return NULL;
}

static void submit(struct model *m, struct gmm_store_io **list, unsigned n)
{
	int error;

	if (!n)
		return;
	m->n_under_way += n;
	while ((error = m->st->ops->submit(m->st, list, n)) == -EAGAIN) {
		m->n_again++;
		wait_some(m);
	}
	ck_assert_int_eq(error, 0);
}

static void do_write(struct model *m)
{
	struct gmm_store_io *list[MAX_BATCH];
	unsigned n = 0, max = (unsigned)draw(m, MAX_BATCH) + 1;
	struct op *op;

	while (n < max && m->n_live + m->n_under_way + n < MAX_LIVE && (op = op_get(m))) {
		op->io.verb = GMM_STORE_WRITE;
		op->seed = m->random + n;
		fill(op->io.page, op->seed);
		list[n++] = &op->io;
	}
	submit(m, list, n);
}

static void do_read(struct model *m)
{
	struct gmm_store_io *list[MAX_BATCH];
	unsigned n = 0, max = (unsigned)draw(m, MAX_BATCH) + 1;
	uint64_t at = m->n_live ? draw(m, m->n_live) : 0;
	struct op *op;

	while (n < max && m->n_live && (op = op_get(m))) {
		struct stored *s = &m->live[(at + n) % m->n_live];

		op->io.verb = GMM_STORE_READ;
		op->io.slot = s->slot;
		op->seed = s->seed;
		memset(op->io.page, 0xee, 64);
		list[n++] = &op->io;
	}
	submit(m, list, n);
}

static void do_release(struct model *m, unsigned max)
{
	uint64_t slots[MAX_BATCH];
	unsigned n;

	for (n = 0; n < max && m->n_live; n++) {
		uint64_t at = draw(m, m->n_live);

		slots[n] = m->live[at].slot;
		m->live[at] = m->live[--m->n_live];
	}
	m->st->ops->release(m->st, slots, n);
}

static void drain(struct model *m)
{
	struct gmm_store_stats stats;

	while (m->n_under_way)
		wait_some(m);
	/* Write-backs end by themselves. */
	for (unsigned i = 0; i < 2000; i++) {
		reap(m);
		stats = help_stats(m->st);
		if (stats.n_slots_used == m->n_live)
			break;
		usleep(500);
	}
	ck_assert_uint_eq(stats.n_slots_used, m->n_live);
}

static void step(struct model *m)
{
	while (m->n_under_way > MAX_OPS - MAX_BATCH)
		wait_some(m);
	switch (draw(m, 16)) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4:
	case 5:
		do_write(m);
		break;
	case 6:
	case 7:
	case 8:
	case 9:
		do_read(m);
		break;
	case 10:
	case 11:
	case 12:
		do_release(m, (unsigned)draw(m, MAX_BATCH));
		break;
	case 13:
		m->st->ops->maintain(m->st);
		break;
	default:
		reap(m);
		break;
	}
}

static void run(const char *name, struct gmm_store *st, bool may_fail, unsigned n_steps)
{
	struct model *m = calloc(1, sizeof(*m));

	ck_assert_ptr_nonnull(st);
	m->st = st;
	m->may_fail = may_fail;
	m->random = 88172645463325252;
	m->pages = help_pages(MAX_OPS);
	for (unsigned i = 0; i < n_steps; i++) {
		step(m);
		if (i % 500 == 499)
			drain(m);
		if (i % 700 == 699)
			while (m->n_live > 100)
				do_release(m, MAX_BATCH);
	}
	drain(m);
	while (m->n_live)
		do_release(m, MAX_BATCH);
	drain(m);
	printf("%-28s %llu written (%llu refused), %llu read, %llu failed, %llu again\n", name,
	       (unsigned long long)m->n_written, (unsigned long long)m->n_refused,
	       (unsigned long long)m->n_read, (unsigned long long)m->n_failed,
	       (unsigned long long)m->n_again);
	ck_assert_uint_gt(m->n_written, n_steps);
	ck_assert_uint_gt(m->n_read, n_steps);
	ck_assert(!may_fail == !m->n_failed);
	gmm_store_free(st);
	free(m->pages);
	free(m);
}

static struct gmm_store *parse(const char *spec)
{
	struct gmm_store *st = NULL;
	char error[256] = "";

	if (gmm_store_parse(spec, 16 << 20, &st, error, sizeof(error)) < 0)
		ck_abort_msg("%s", error);
	return st;
}

static struct gmm_store *tier(struct gmm_store *a, struct gmm_store *b)
{
	struct gmm_store *stores[] = {a, b}, *st = NULL;

	ck_assert_int_eq(gmm_store_tier_new(stores, 2, &st), 0);
	return st;
}

/* Every 50th operation fails. */
static int fail_some(void *user, enum gmm_store_verb verb, uint64_t n_seen)
{
	(void)user;
	(void)verb;
	return n_seen % 50 == 17 ? EIO : 0;
}

static struct gmm_store *faulty(struct gmm_store *under)
{
	struct gmm_store *st = NULL;

	ck_assert_int_eq(gmm_store_faulty_new(under, fail_some, NULL, &st), 0);
	return st;
}

static struct gmm_store *file_as(struct gmm_store_file_config config)
{
	struct gmm_store *st = NULL;

	config.size = sizeof(config);
	ck_assert_int_eq(gmm_store_file_new(&config, &st), 0);
	return st;
}

static struct gmm_store *file(uint64_t bytes, unsigned depth, bool no_uring)
{
	return file_as((struct gmm_store_file_config){
		.capacity_bytes = bytes, .queue_depth = depth, .no_uring = no_uring});
}

static struct gmm_store *encrypted(uint64_t bytes, bool no_uring)
{
	return file_as((struct gmm_store_file_config){
		.capacity_bytes = bytes, .no_uring = no_uring, .encrypt = true});
}

START_TEST(file_stores)
{
	run("file", parse("file"), false, N_STEPS);
	run("file, nearly full", file(4 << 20, 0, false), false, N_STEPS);
	run("file, short queue", file(8 << 20, 2, false), false, N_STEPS);
	run("file, no io_uring", file(4 << 20, 0, true), false, N_STEPS);
	run("file, faulty", faulty(file(8 << 20, 0, false)), true, N_STEPS);
}
END_TEST

START_TEST(encrypted_stores)
{
	run("file, encrypted", encrypted(16 << 20, false), false, N_STEPS);
	run("file, encrypted, nearly full", encrypted(4 << 20, false), false, N_STEPS);
	run("file, encrypted, no io_uring", encrypted(4 << 20, true), false, N_STEPS);
	run("ram+file, encrypted", tier(parse("ram:1M"), encrypted(16 << 20, false)), false,
	    N_STEPS);
}
END_TEST

START_TEST(ram_stores)
{
	run("ram", parse("ram:1M"), false, N_STEPS);
	run("ram, large", parse("ram:64M"), false, N_STEPS);
	run("ram, zstd", parse("ram:4M,codec=zstd"), false, N_STEPS);
	run("same", parse("same"), false, N_STEPS);
	run("ram, faulty", faulty(parse("ram:1M")), true, N_STEPS);
}
END_TEST

START_TEST(slow_stores)
{
	run("slow", slow_new(1000, 1), false, N_STEPS);
	run("slow, faulty", faulty(slow_new(1000, 2)), true, N_STEPS);
}
END_TEST

START_TEST(tiers)
{
	run("same+ram+file", parse("tier:ram:1M+file,size=16M"), false, N_STEPS);
	run("same+ram+ram+file, small", parse("tier:ram:1M+ram:1M+file,size=1M"), false, N_STEPS);
	run("ram+slow", tier(parse("ram:1M"), slow_new(1500, 3)), false, N_STEPS);
	run("slow+slow", tier(slow_new(300, 4), slow_new(1000, 5)), false, N_STEPS);
	run("slow+slow+slow", tier(slow_new(100, 6), tier(slow_new(200, 7), slow_new(900, 8))),
	    false, N_STEPS);
}
END_TEST

START_TEST(faulty_tiers)
{
	run("faulty ram+file", tier(faulty(parse("ram:1M")), parse("file")), true, N_STEPS);
	run("ram+faulty file", tier(parse("ram:1M"), faulty(parse("file"))), true, N_STEPS);
	run("faulty slow+faulty slow", tier(faulty(slow_new(300, 9)), faulty(slow_new(900, 10))),
	    true, N_STEPS);
}
END_TEST

UNIT_MAIN_TIMEOUT("store model", 100, file_stores, encrypted_stores, ram_stores, slow_stores, tiers,
		  faulty_tiers)
