/* Spaces: lifecycle, dispatch, events. The public face is <guestmm/space.h>. */
#include "space.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "clean.h"
#include "fatal.h"
#include "fault.h"
#include "pagemap.h"
#include "reclaim.h"
#include "store/window.h"

#define SPACE_MAX_PAGES	   (UINT64_C(1) << 31) /* 8 TiB of guest memory */
#define SPACE_MIN_PAGES	   (UINT64_C(1) << 22) /* 16 GiB */
#define SPACE_EVENTS_READ  64u
#define SPACE_FDS_READ	   8
#define SPACE_SETTLE_TRIES 8
#define SPACE_SCRUB	   16u		       /* frames zeroed ahead when nothing else is to do */
#define SPACE_RESERVE	   64u		       /* of them kept ready */
#define SPACE_DECAY_NS	   UINT64_C(100000000) /* frames unused for so long go back to the host */
#define SPACE_SOON_NS	   UINT64_C(100000) /* a frame is still pinned; a read is to be tried again */
#define SPACE_TICK_NS	   UINT64_C(10000000)
#define GIB		   (UINT64_C(1) << 30)

uint64_t space_free_frames(const struct gmm_space *s)
{
	uint64_t mine = bay_n_free(&s->bay);

	mine = mine > s->bay.floor ? mine - s->bay.floor : 0;
	return pool_excess(s->pool) ? 0 : pool_available(s->pool) + mine;
}

struct gmm_policy *space_policy(struct gmm_space *s)
{
	uint64_t limit = atomic_load(&s->pool->limit_pages);

	if (!s->policy &&
	    s->policy_ops->make(s->pages.n_pages,
				limit < s->pages.n_pages ? limit : s->pages.n_pages, &s->policy))
		s->policy = NULL;
	return s->policy;
}

void space_event(struct gmm_space *s, enum gmm_event_kind kind, page_no p, int error, int32_t tid)
{
	const struct region *r = p == PAGE_NONE ? NULL : layout_find_page(&s->layout, p);

	if (s->n_events >= SPACE_EVENTS - (kind != GMM_EVENT_DEAD))
		return; /* the callback is far behind; counters have the rest */
	s->events[s->n_events++] = (struct gmm_event){
		.kind = kind, .error = error, .gpa = {r ? region_gpa(r, p) : 0}, .tid = tid};
}

void space_changed(struct gmm_space *s)
{
	if (s->n_hold_waiters)
		pthread_cond_broadcast(&s->changed);
}

static int space_watch(struct gmm_space *s, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};

	return fd < 0 || epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &ev) == 0 ? 0 : -errno;
}

static const struct engine_ops *space_find_engine(const struct gmm_space *s, enum gmm_engine want)
{
	bool has_move = (s->uffd.features & engine_move.features) == engine_move.features;
	bool has_copy = (s->uffd.features & engine_copy.features) == engine_copy.features;

	if (want == GMM_ENGINE_COPY || (want == GMM_ENGINE_BEST && !has_move))
		return has_copy ? &engine_copy : NULL;
	return has_move ? &engine_move : NULL;
}

static int space_open_fds(struct gmm_space *s)
{
	int ret = uffd_open(&s->uffd, engine_move.features | engine_copy.features |
					      UFFD_FEATURE_POISON | UFFD_FEATURE_THREAD_ID);

	if (ret)
		return ret;
	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (s->epoll_fd < 0 || s->wake_fd < 0 || s->timer_fd < 0)
		return -errno;
	ret = space_watch(s, s->uffd.fd);
	ret = ret ? ret : space_watch(s, s->wake_fd);
	return ret ? ret : space_watch(s, s->timer_fd);
}

static int space_setup(struct gmm_space *s, const struct gmm_space_config *config)
{
	int ret = space_open_fds(s);

	if (ret)
		return ret;
	s->engine.ops = space_find_engine(s, config->engine);
	if (!s->engine.ops)
		return -EOPNOTSUPP;
	/* Address space only; less of it where the process may not have so much. */
	for (uint64_t n = SPACE_MAX_PAGES; n >= SPACE_MIN_PAGES; n /= 8) {
		ret = page_table_init(&s->pages, n);
		if (ret == 0)
			break;
	}
	if (ret)
		return ret;
	ret = huge_init(&s->huge, config->huge, s->pages.n_reserved);
	if (ret)
		return ret;
	pool_join(config->pool, &s->member, s->wake_fd);
	ret = bay_init(&s->bay, &s->member);
	if (ret)
		return ret;
	s->engine.uffd = &s->uffd;
	s->engine.bay = &s->bay;
	s->engine.pagemap = pagemap_open();
	ret = s->engine.ops->setup(&s->engine);
	if (ret)
		return ret;
	return config->store ? space_watch(s, config->store->ops->fd(config->store)) : 0;
}

static void space_init_locks(struct gmm_space *s)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->changed, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_init(&s->dispatching, NULL);
}

int gmm_space_new(const struct gmm_space_config *config, struct gmm_space **out)
{
	struct gmm_space *s;
	uint64_t limit;
	int ret;

	if (config->size < sizeof(*config) || !config->pool)
		return -EINVAL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->epoll_fd = s->wake_fd = s->timer_fd = s->uffd.fd = s->engine.pagemap = -1;
	s->staged_head = s->staged_tail = BAY_NONE;
	s->policy_ops = config->policy ? config->policy : gmm_policy_find(NULL);
	s->pool = config->pool;
	s->on_event = config->on_event;
	s->user = config->user;
	limit = atomic_load(&s->pool->limit_pages);
	s->stamp_unit = (uint32_t)(limit / 64 + 1);
	space_init_locks(s);
	transfers_init(&s->transfers);
	streams_init(&s->streams);
	stall_init(&s->stall, config->n_vcpus, now_ns());
	ret = space_setup(s, config);
	if (ret) {
		gmm_space_free(s);
		return ret;
	}
	s->store = config->store;
	*out = s;
	return 0;
}

static void space_drain(struct gmm_space *s)
{
	/* A store waits for what is under way before it is freed, and only then are the frames
	 * free of it. */
	for (unsigned i = 0; i < s->layout.n_regions; i++)
		gmm_store_free(s->layout.regions[i].backing);
	s->store = gmm_store_free(s->store);
}

static void space_unmap(struct gmm_space *s)
{
	for (unsigned i = 0; i < s->layout.n_regions; i++)
		munmap(s->layout.regions[i].hva, s->layout.regions[i].bytes);
	for (bay_slot i = 0; s->bay.base && i < BAY_ALL; i++)
		if (s->bay.entries[i].stage != BAY_FREE)
			bay_put_dirty(&s->bay, i);
	bay_fini(&s->bay);
}

void gmm_space_detach(struct gmm_space *s)
{
	pthread_mutex_lock(&s->lock);
	s->dead = true;
	for (unsigned i = 0; i < s->layout.n_regions; i++)
		uffd_unregister(&s->uffd, s->layout.regions[i].hva, s->layout.regions[i].bytes);
	pthread_mutex_unlock(&s->lock);
}

struct gmm_space *gmm_space_free(struct gmm_space *s)
{
	uint64_t left;

	if (!s)
		return NULL;
	space_drain(s);
	/* The mapping goes first: closing the userfaultfd under a running guest would turn absent
	 * pages into zeros. */
	space_unmap(s);
	if (s->member.pool) {
		left = atomic_load(
			&s->member.used_pages); /* the guest's frames went with the mapping */
		pool_uncharge(&s->member, left);
		pool_leave(&s->member);
	}
	uffd_close(&s->uffd);
	if (s->engine.pagemap >= 0)
		close(s->engine.pagemap);
	if (s->policy)
		s->policy_ops->free(s->policy);
	page_table_fini(&s->pages);
	huge_fini(&s->huge);
	taken_fini(&s->taken);
	for (int *fd = (int[]){s->timer_fd, s->wake_fd, s->epoll_fd, -2}; *fd != -2; fd++)
		if (*fd >= 0)
			close(*fd);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->dispatching);
	pthread_mutex_destroy(&s->lock);
	free(s);
	return NULL;
}

/* Maps `bytes` at an address that equals gpa modulo 1 GiB, so that huge pages line up on both
 * sides. */
static char *region_map(uint64_t gpa, uint64_t bytes)
{
	uint64_t slack = bytes + GIB;
	char *p = mmap(NULL, slack, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint64_t skip;

	if (p == MAP_FAILED)
		return NULL;
	skip = (gpa - (uintptr_t)p) & (GIB - 1);
	if (skip)
		munmap(p, skip);
	if (slack - skip - bytes)
		munmap(p + skip + bytes, slack - skip - bytes);
	/* A huge page would bring 512 frames for one charge; a child after fork() would share
	 * frames, and shared frames cannot be moved. */
	madvise(p + skip, bytes, MADV_NOHUGEPAGE);
	madvise(p + skip, bytes, MADV_DONTFORK);
	return p + skip;
}

static int space_add_region(struct gmm_space *s, struct region *r)
{
	uint64_t n = r->bytes >> GMM_PAGE_SHIFT;
	int ret = layout_check(&s->layout, r->gpa, r->bytes);

	if (ret)
		return ret;
	if (s->policy)
		return -EBUSY;
	if (n > s->pages.n_reserved - s->pages.n_pages)
		return -ENOMEM;
	r->hva = region_map(r->gpa, r->bytes);
	if (!r->hva)
		return -ENOMEM;
	ret = uffd_register(&s->uffd, r->hva, r->bytes,
			    UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP);
	if (ret) {
		munmap(r->hva, r->bytes);
		return ret;
	}
	r->first = (page_no)s->pages.n_pages;
	page_table_grow(&s->pages, n, r->kind == REGION_WINDOW ? GMM_PAGE_SWAPPED : GMM_PAGE_EMPTY);
	s->layout.regions[s->layout.n_regions++] = *r;
	return 0;
}

int gmm_space_add_ram(struct gmm_space *s, gmm_gpa start, uint64_t bytes, void **hva)
{
	struct region r = {.kind = REGION_RAM, .gpa = start.v, .bytes = bytes};
	int ret;

	pthread_mutex_lock(&s->lock);
	ret = space_add_region(s, &r);
	pthread_mutex_unlock(&s->lock);
	if (ret == 0)
		*hva = r.hva;
	return ret;
}

int gmm_space_add_file(struct gmm_space *s, gmm_gpa start, int fd, uint64_t bytes, void **hva)
{
	struct region r = {.kind = REGION_WINDOW, .gpa = start.v};
	int ret;

	if (bytes == 0 || bytes > UINT64_MAX - GMM_PAGE_BYTES)
		return -EINVAL;
	r.bytes = (bytes + GMM_PAGE_BYTES - 1) & ~(GMM_PAGE_BYTES - 1);
	ret = store_window_new(fd, bytes, &r.backing);
	if (ret)
		return ret;
	pthread_mutex_lock(&s->lock);
	ret = space_watch(s, r.backing->ops->fd(r.backing));
	ret = ret ? ret : space_add_region(s, &r);
	pthread_mutex_unlock(&s->lock);
	if (ret)
		gmm_store_free(r.backing);
	else
		*hva = r.hva;
	return ret;
}

int gmm_space_fd(const struct gmm_space *s)
{
	return s->epoll_fd;
}

/* ---- dispatch ---- */

static bool space_install_read(struct gmm_space *s, struct transfer *x)
{
	if (fault_read_ended(s, x))
		return true;
	x->next = s->transfers.ready;
	s->transfers.ready = x->index;
	return false;
}

/* What has ended: bits. */
enum { REAPED_READS = 1, REAPED_WRITES = 2 };

static unsigned space_reap_store(struct gmm_space *s, struct gmm_store *st)
{
	struct gmm_store_io *io = st->ops->reap(st), *next;
	unsigned reaped = 0;

	for (; io; io = next) {
		struct transfer *x = io->user;

		next = io->next;
		if (x->kind == TRANSFER_READ) {
			space_install_read(s, x);
			reaped |= REAPED_READS;
		} else {
			reclaim_write_ended(s, x);
			reaped |= REAPED_WRITES;
		}
	}
	return reaped;
}

/* Reads whose frame was still pinned when they ended. */
static void space_install_ready(struct gmm_space *s)
{
	uint16_t i = s->transfers.ready, next;

	s->transfers.ready = TRANSFER_NONE;
	for (; i != TRANSFER_NONE; i = next) {
		next = s->transfers.all[i].next;
		space_install_read(s, &s->transfers.all[i]);
	}
}

static unsigned space_reap(struct gmm_space *s)
{
	unsigned reaped = 0;

	space_install_ready(s);
	if (s->store)
		reaped |= space_reap_store(s, s->store);
	for (unsigned i = 0; i < s->layout.n_regions; i++)
		if (s->layout.regions[i].backing)
			reaped |= space_reap_store(s, s->layout.regions[i].backing);
	return reaped;
}

static void space_serve(struct gmm_space *s, const struct fault *f)
{
	enum fault_outcome outcome = fault_serve(s, f);

	if (outcome == FAULT_WAIT)
		s->waiting[s->n_waiting++] =
			(struct waiting){.page = f->page, .tid = f->tid, .since_ns = f->since_ns};
	if (outcome != FAULT_SERVED && f->tid)
		stall_change(&s->stall, f->since_ns, 1);
	if (outcome == FAULT_SERVED)
		space_changed(s);
}

/* Faults that found no frame or no transfer, in the order in which they came. */
static void space_serve_waiting(struct gmm_space *s)
{
	uint32_t n = s->n_waiting, kept = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct waiting w = s->waiting[i];
		struct fault f = {.page = w.page, .tid = w.tid, .since_ns = w.since_ns};
		enum fault_outcome outcome = fault_serve(s, &f);

		if (outcome == FAULT_WAIT) {
			s->waiting[kept++] = w;
		} else if (outcome == FAULT_SERVED) {
			if (w.tid)
				stall_change(&s->stall, now_ns(), -1);
			space_changed(s);
		}
	}
	s->n_waiting = kept;
	pool_starve(&s->member, kept != 0);
}

static int space_read_faults(struct gmm_space *s, unsigned *n_read)
{
	struct uffd_msg msgs[SPACE_EVENTS_READ];
	uint64_t now;
	int ret;

	*n_read = 0;
	if (s->n_waiting + SPACE_EVENTS_READ > SPACE_WAITING)
		return 0; /* they keep in the kernel */
	ret = uffd_read(&s->uffd, msgs, SPACE_EVENTS_READ, n_read);
	if (ret)
		return ret;
	now = now_ns();
	if (*n_read)
		s->served_ns = now;
	for (unsigned i = 0; i < *n_read; i++) {
		void *at = (void *)(uintptr_t)msgs[i].arg.pagefault.address; /* NOLINT */
		const struct region *r = layout_find_hva(&s->layout, at);
		struct fault f = {.tid = (int32_t)msgs[i].arg.pagefault.feat.ptid, .since_ns = now};

		if (msgs[i].event != UFFD_EVENT_PAGEFAULT || !r)
			continue;
		f.page = r->first + (page_no)(((char *)at - r->hva) >> GMM_PAGE_SHIFT);
		f.tid = f.tid ? f.tid : 1;
		space_serve(s, &f);
	}
	return 0;
}

/* Zeroed frames ahead of need. */
static void space_restock(struct gmm_space *s, uint32_t least)
{
	if (pool_excess(s->pool) || s->n_waiting || s->bay.n_zero >= least)
		return;
	bay_scrub(&s->bay, SPACE_SCRUB);
	if (s->bay.n_zero < SPACE_RESERVE / 2 && pool_available(s->pool) > 4 * SPACE_RESERVE &&
	    s->counters.demand_zero)
		bay_populate(&s->bay, SPACE_SCRUB);
}

/* What pays later, or is not urgent. */
static void space_idle(struct gmm_space *s)
{
	if (pool_excess(s->pool) || s->n_waiting)
		return;
	space_restock(s, SPACE_RESERVE);
	if (bay_n_free(&s->bay) > SPACE_RESERVE + s->bay.floor &&
	    now_ns() - s->served_ns > SPACE_DECAY_NS)
		bay_trim(&s->bay, SPACE_SCRUB);
	huge_gather(s);
	s->idle_due = s->store && s->store->ops->maintain(s->store) == -EAGAIN;
}

static void space_drain_fd(int fd)
{
	uint64_t n;

	if (read(fd, &n, sizeof(n)) < 0)
		return; /* nothing was there */
}

/* Work that no descriptor tells of needs a look again soon. A timer that is set already and ends no
 * later is left alone: it costs a system call, and dispatches are many. */
static void space_set_timer(struct gmm_space *s)
{
	uint64_t blocked = reclaim_blocked_until(s), now = now_ns(), in = 0;
	struct itimerspec t = {0};

	if (s->transfers.ready != TRANSFER_NONE)
		in = SPACE_SOON_NS;
	else if (blocked)
		in = blocked > now ? blocked - now : 1;
	else if (s->n_waiting || s->n_staged || pool_excess(s->pool) || s->idle_due ||
		 bay_n_free(&s->bay) > SPACE_RESERVE + s->bay.floor ||
		 s->transfers.n_free < SPACE_TRANSFERS || huge_wants_to_gather(s))
		in = SPACE_TICK_NS; /* transfers, too: io_uring may refuse to take them at first */
	if (in == 0 || (s->timer_ns && s->timer_ns <= now + in))
		return;
	t.it_value.tv_sec = (time_t)(in / 1000000000);
	t.it_value.tv_nsec = (long)(in % 1000000000);
	if (timerfd_settime(s->timer_fd, 0, &t, NULL) == 0)
		s->timer_ns = now + in;
}

/* What is free in the guest goes before anything is evicted. True: there is more of it, and that
 * is worth another call before reclaim's turn. */
static bool space_relieve(struct gmm_space *s)
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
	struct epoll_event events[SPACE_FDS_READ];
	int n = epoll_wait(s->epoll_fd, events, SPACE_FDS_READ, timeout_ms);
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
static unsigned space_settle(struct gmm_space *s)
{
	unsigned reaped = space_reap(s), more = reaped;

	if (s->n_waiting)
		space_serve_waiting(s);
	for (int i = 0; i < SPACE_SETTLE_TRIES && more && s->n_waiting; i++) {
		more = space_reap(s);
		reaped |= more;
		space_serve_waiting(s);
	}
	return reaped;
}

static int space_dispatch_locked(struct gmm_space *s, unsigned ready)
{
	unsigned n_read = 0, reaped, reaped_late;
	int ret = 0;
	bool more;

	if (s->dead)
		return -EIO;
	if (ready & SPACE_READY_WAKE)
		space_drain_fd(s->wake_fd);
	if (ready & SPACE_READY_TIMER) {
		space_drain_fd(s->timer_fd);
		s->timer_ns = 0;
	}
	reaped = space_reap(s);
	if (reaped)
		s->served_ns = now_ns();
	if (ready & SPACE_READY_FAULTS)
		ret = space_read_faults(s, &n_read);
	if (ret) { /* better a guest that hangs, and is told about, than one that reads zeros */
		s->dead = true;
		space_event(s, GMM_EVENT_DEAD, PAGE_NONE, ret, 0);
		return -EIO;
	}
	if (s->n_waiting)
		space_serve_waiting(s);
	clean_balance(s);
	more = space_relieve(s) || reclaim_balance(s);
	reaped_late = space_settle(s);
	if (reaped || reaped_late || n_read || more) {
		s->idle_due = true;
		space_restock(s, SPACE_RESERVE / 2);
	} else {
		space_idle(s);
	}
	stall_update(&s->stall, now_ns());
	space_set_timer(s);
	/* Writes that ended late leave room for others. */
	return more || reaped_late & REAPED_WRITES || n_read == SPACE_EVENTS_READ ? -EAGAIN : 0;
}

int space_dispatch(struct gmm_space *s, unsigned ready)
{
	struct gmm_event events[SPACE_EVENTS];
	uint32_t n;
	int ret;

	pthread_mutex_lock(&s->dispatching);
	pthread_mutex_lock(&s->lock);
	ret = space_dispatch_locked(s, ready);
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
