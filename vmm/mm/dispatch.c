/* Dispatching: the one loop that joins faults, reads and writes that ended, and reclaim.
 *
 * One thread at a time (space.dispatching), under the space's lock once it has begun. A dispatch
 * makes no system call for a descriptor that has nothing, and leaves what is not urgent to a
 * dispatch that finds nothing else to do; a timer sees to it that there is one.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "clean.h"
#include "fault.h"
#include "read.h"
#include "reclaim.h"
#include "space.h"
#include "writeback.h"

#define DISPATCH_EVENTS_READ  64u
#define DISPATCH_FDS_READ     8
#define DISPATCH_SETTLE_TRIES 8
#define DISPATCH_SCRUB	      16u /* frames zeroed ahead when nothing else is to do */
#define DISPATCH_DECAY_NS     UINT64_C(100000000) /* frames unused for so long go back to the host */
#define DISPATCH_SOON_NS      UINT64_C(100000) /* a frame is still pinned; a read is tried again */
#define DISPATCH_QUIET_NS     UINT64_C(20000000)
#define DISPATCH_MAINTAIN_NS  UINT64_C(1000000000)
#define DISPATCH_TICK_NS      UINT64_C(10000000)

/* What has ended: bits. */
enum { REAPED_READS = 1, REAPED_WRITES = 2 };

static unsigned dispatch_reap_store(struct gmm_space *s, struct gmm_store *st)
{
	struct gmm_store_io *io = st->ops->reap(st), *next;
	struct transfer *reads[READ_BATCH_MAX];
	unsigned reaped = 0, n = 0;

	for (; io; io = next) {
		struct transfer *x = io->user;

		next = io->next;
		if (x->kind == TRANSFER_WRITE) {
			writeback_ended(s, x);
			reaped |= REAPED_WRITES;
			continue;
		}
		reads[n++] = x;
		reaped |= REAPED_READS;
		if (n == READ_BATCH_MAX) {
			read_ended(s, reads, n);
			n = 0;
		}
	}
	read_ended(s, reads, n);
	return reaped;
}

/* Reads whose frame was still pinned when they ended, and those to be tried again. */
static void dispatch_look_again(struct gmm_space *s)
{
	struct transfer *reads[READ_BATCH_MAX];
	uint16_t i = s->transfers.ready;
	unsigned n;

	s->transfers.ready = TRANSFER_NONE;
	while (i != TRANSFER_NONE) {
		for (n = 0; n < READ_BATCH_MAX && i != TRANSFER_NONE; n++) {
			reads[n] = &s->transfers.all[i];
			i = reads[n]->next;
		}
		read_ended(s, reads, n);
	}
}

static unsigned dispatch_reap(struct gmm_space *s)
{
	unsigned reaped = 0;

	dispatch_look_again(s);
	if (s->store)
		reaped |= dispatch_reap_store(s, s->store);
	for (unsigned i = 0; i < s->layout.n_regions; i++)
		if (s->layout.regions[i].backing)
			reaped |= dispatch_reap_store(s, s->layout.regions[i].backing);
	return reaped;
}

/* A thread waits for one page at a time: one that a signal got out of a wait, and that touches a
 * page now, the same or another, does not stand here twice. (In a read that it left it counts until
 * that ends.) But its number may be another's too, of the kernel's or of another PID namespace:
 * whoever does wait for what is dropped here is woken, and asks again. */
static void dispatch_left(struct gmm_space *s, const struct fault *f)
{
	uint32_t n = s->n_waiting, kept = 0;

	if (f->tid == FAULT_TID_UNKNOWN)
		return;
	for (uint32_t i = 0; i < n; i++) {
		struct waiting w = s->waiting[i];

		if (w.tid != f->tid) {
			s->waiting[kept++] = w;
			continue;
		}
		stall_change(&s->stall, f->since_ns, -1);
		if (w.page != f->page)
			uffd_wake(&s->uffd, space_hva(s, w.page), GMM_PAGE_BYTES);
	}
	s->n_waiting = kept;
}

static void dispatch_serve(struct gmm_space *s, const struct fault *f)
{
	enum fault_outcome outcome;

	dispatch_left(s, f);
	outcome = fault_serve(s, f);
	if (outcome == FAULT_WAIT)
		s->waiting[s->n_waiting++] =
			(struct waiting){.page = f->page, .tid = f->tid, .since_ns = f->since_ns};
	if (outcome == FAULT_WAIT || outcome == FAULT_STARTED)
		stall_change(&s->stall, f->since_ns, 1);
	if (outcome == FAULT_SERVED)
		space_changed(s);
	s->has_served |= outcome == FAULT_SERVED;
}

/* Faults that found no frame or no transfer, in the order in which they came. */
static void dispatch_serve_waiting(struct gmm_space *s)
{
	uint32_t n = s->n_waiting, kept = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct waiting w = s->waiting[i];
		struct fault f = {.page = w.page, .tid = w.tid, .since_ns = w.since_ns};
		enum fault_outcome outcome = fault_serve(s, &f);

		if (outcome == FAULT_WAIT) {
			s->waiting[kept++] = w;
			continue;
		}
		if (outcome != FAULT_STARTED && w.tid)
			stall_change(&s->stall, now_ns(), -1);
		if (outcome == FAULT_SERVED)
			space_changed(s);
	}
	s->n_waiting = kept;
}

/* The pool's other spaces: whether somebody waits here. */
static void dispatch_tell_others(struct gmm_space *s)
{
	bool starving = s->n_waiting != 0;

	if (atomic_load_explicit(&s->member.starving, memory_order_relaxed) != starving)
		pool_starve(&s->member, starving);
}

/* *n_read: not counting what is a fault only because it was laid aside. */
static int dispatch_read_faults(struct gmm_space *s, unsigned *n_read)
{
	struct uffd_msg msgs[DISPATCH_EVENTS_READ];
	unsigned n = 0;
	uint64_t now;
	int ret;

	*n_read = 0;
	if (s->n_waiting + DISPATCH_EVENTS_READ > SPACE_WAITING)
		return 0; /* they keep in the kernel */
	ret = uffd_read(&s->uffd, msgs, DISPATCH_EVENTS_READ, &n);
	if (ret)
		return ret;
	now = now_ns();
	for (unsigned i = 0; i < n; i++) {
		void *at = (void *)(uintptr_t)msgs[i].arg.pagefault.address; /* NOLINT */
		const struct region *r = layout_find_hva(&s->layout, at);
		struct fault f = {.tid = (int32_t)msgs[i].arg.pagefault.feat.ptid, .since_ns = now};

		if (msgs[i].event != UFFD_EVENT_PAGEFAULT || !r)
			continue;
		f.page = r->first + (page_no)(((char *)at - r->hva) >> GMM_PAGE_SHIFT);
		f.tid = f.tid ? f.tid : FAULT_TID_UNKNOWN;
		if (!s->ws.on || !working_set_touch(s, f.page, now)) {
			s->served_ns = s->fault_ns = now;
			++*n_read;
		}
		dispatch_serve(s, &f);
	}
	return 0;
}

/* Zeroed frames ahead of need. */
static void dispatch_restock(struct gmm_space *s, uint32_t least)
{
	if (pool_excess(s->pool) || s->n_waiting || s->bay.n_zero >= least)
		return;
	bay_scrub(&s->bay, DISPATCH_SCRUB);
	if (s->bay.n_zero < SPACE_RESERVE / 2 && pool_available(s->pool) > 4 * SPACE_RESERVE &&
	    s->counters.demand_zero)
		bay_populate(&s->bay, DISPATCH_SCRUB);
}

/* What pays later, or is not urgent. */
static void dispatch_idle(struct gmm_space *s)
{
	if (pool_excess(s->pool) || s->n_waiting)
		return;
	dispatch_restock(s, SPACE_RESERVE);
	if (bay_n_free(&s->bay) > SPACE_RESERVE + s->bay.floor &&
	    now_ns() - s->served_ns > DISPATCH_DECAY_NS)
		bay_trim_above(&s->bay, SPACE_RESERVE, DISPATCH_SCRUB);
	huge_gather(s);
}

/* Stores tidy up when nothing was served for a moment: punching holes into a file keeps its readers
 * out meanwhile. Under a load that never ends they may do a little once a second. */
static void dispatch_maintain(struct gmm_space *s)
{
	uint64_t now = now_ns();
	bool is_quiet = now - s->served_ns > DISPATCH_QUIET_NS;

	if (!s->store)
		return;
	if (!is_quiet && now - s->maintained_ns < DISPATCH_MAINTAIN_NS) {
		s->idle_due = true;
		return;
	}
	s->maintained_ns = now;
	if (s->store->ops->maintain(s->store) == -EAGAIN)
		s->idle_due = true;
}

static void dispatch_drain_fd(int fd)
{
	uint64_t n;

	if (read(fd, &n, sizeof(n)) < 0)
		return; /* nothing was there */
}

/* Work that no descriptor tells of needs a look again soon. A timer that is set already and ends no
 * later is left alone: it costs a system call, and dispatches are many. */
static void dispatch_set_timer(struct gmm_space *s, uint64_t now)
{
	uint64_t blocked = writeback_blocked_until(s), in = 0;
	uint64_t watch = working_set_next_ns(s);
	struct itimerspec t = {0};

	if (s->transfers.ready != TRANSFER_NONE)
		in = DISPATCH_SOON_NS;
	else if (blocked)
		in = blocked > now ? blocked - now : 1;
	else if (s->n_waiting || s->n_staged || pool_excess(s->pool) || s->idle_due ||
		 bay_n_free(&s->bay) > SPACE_RESERVE + s->bay.floor ||
		 s->transfers.n_free < SPACE_TRANSFERS || huge_wants_to_gather(s))
		in = DISPATCH_TICK_NS; /* transfers, too: io_uring may refuse to take them at first
					*/
	if (in == 0 && watch)
		in = watch > now ? watch - now : 1;
	if (in == 0 || (s->timer_ns && s->timer_ns <= now + in))
		return;
	t.it_value.tv_sec = (time_t)(in / 1000000000);
	t.it_value.tv_nsec = (long)(in % 1000000000);
	if (timerfd_settime(s->timer_fd, 0, &t, NULL) == 0)
		s->timer_ns = now + in;
}

/* What is free in the guest goes before anything is evicted. True: there is more of it, and that
 * is worth another call before reclaim's turn. */
static bool dispatch_relieve(struct gmm_space *s)
{
	uint64_t want = s->relief.take ? reclaim_wants(s) : 0, had;

	if (want == 0)
		return false;
	had = s->relief.take(s->relief.user, want);
	reclaim_had(s, had);
	return had && had < want && reclaim_wants(s) > 0;
}

unsigned space_wait(const struct gmm_space *s, int timeout_ms)
{
	struct epoll_event events[DISPATCH_FDS_READ];
	int n = epoll_wait(s->epoll_fd, events, DISPATCH_FDS_READ, timeout_ms);
	unsigned ready = 0;

	/* Interrupted is how io_uring tells of an end: what ended is found without being named. */
	for (int i = 0; i < n; i++) {
		int fd = events[i].data.fd;

		ready |= fd == s->uffd.fd    ? SPACE_READY_FAULTS
			 : fd == s->wake_fd  ? SPACE_READY_WAKE
			 : fd == s->timer_fd ? SPACE_READY_TIMER
					     : SPACE_READY_STORE;
	}
	return ready;
}

/* Everything that is known to have ended. A store that works in memory ends what is begun at once,
 * and has no descriptor to tell of it. */
static unsigned dispatch_settle(struct gmm_space *s)
{
	unsigned reaped = dispatch_reap(s), more = reaped;

	if (s->n_waiting)
		dispatch_serve_waiting(s);
	for (int i = 0; i < DISPATCH_SETTLE_TRIES && more && s->n_waiting; i++) {
		more = dispatch_reap(s);
		reaped |= more;
		dispatch_serve_waiting(s);
	}
	return reaped;
}

/* Who was just served goes first, for he may need this thread's CPU: reclaim that may wait has its
 * turn in the next dispatch. */
static bool dispatch_defers(struct gmm_space *s)
{
	s->deferred = s->has_served && !s->deferred && reclaim_may_wait(s);
	return s->deferred;
}

/* True: more of it is to be done. */
static bool dispatch_reclaim(struct gmm_space *s)
{
	if (reclaim_is_due(s))
		return dispatch_defers(s) || dispatch_relieve(s) || reclaim_balance(s);
	s->deferred = false;
	return false;
}

static int dispatch_locked(struct gmm_space *s, unsigned ready)
{
	unsigned n_read = 0, reaped, reaped_late;
	uint64_t now;
	int ret = 0;
	bool more;

	if (s->dead)
		return -EIO;
	s->has_served = false;
	if (ready & SPACE_READY_WAKE)
		dispatch_drain_fd(s->wake_fd);
	if (ready & SPACE_READY_TIMER) {
		dispatch_drain_fd(s->timer_fd);
		s->timer_ns = 0;
	}
	reaped = dispatch_reap(s);
	if (reaped)
		s->served_ns = now_ns();
	if (ready & SPACE_READY_FAULTS)
		ret = dispatch_read_faults(s, &n_read);
	if (ret) { /* better a guest that hangs, and is told about, than one that reads zeros */
		s->dead = true;
		space_event(s, GMM_EVENT_DEAD, PAGE_NONE, ret, 0);
		return -EIO;
	}
	if (s->n_waiting)
		dispatch_serve_waiting(s);
	dispatch_tell_others(s);
	clean_balance(s);
	more = dispatch_reclaim(s);
	reaped_late = dispatch_settle(s);
	dispatch_tell_others(s);
	more |= prefetch_run(s);
	s->idle_due = reaped || reaped_late || n_read || more;
	if (s->idle_due)
		dispatch_restock(s, SPACE_RESERVE / 2);
	else
		dispatch_idle(s);
	dispatch_maintain(s);
	working_set_tick(s);
	now = now_ns();
	stall_update(&s->stall, now);
	thrash_update(&s->thrash, now, s->stall.some_ns);
	dispatch_set_timer(s, now);
	/* Writes that ended late leave room for others. */
	return more || reaped_late & REAPED_WRITES || n_read == DISPATCH_EVENTS_READ ? -EAGAIN : 0;
}

int space_dispatch(struct gmm_space *s, unsigned ready)
{
	struct gmm_event events[SPACE_EVENTS];
	uint32_t n;
	int ret;

	pthread_mutex_lock(&s->dispatching);
	pthread_mutex_lock(&s->lock);
	ret = dispatch_locked(s, ready);
	n = s->n_events;
	memcpy(events, s->events, n * sizeof(events[0]));
	s->n_events = 0;
	pthread_mutex_unlock(&s->lock);
	pthread_mutex_unlock(&s->dispatching);
	for (uint32_t i = 0; s->on_event && i < n; i++)
		s->on_event(s->user, &events[i]);
	return ret;
}

int gmm_space_dispatch(struct gmm_space *s)
{
	return space_dispatch(s, space_wait(s, 0));
}
