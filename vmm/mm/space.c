/* Spaces: lifecycle and what its parts share. The public face is <guestmm/space.h>. */
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

#include "pagemap.h"
#include "store/window.h"
#include "trace.h"

#define SPACE_MAX_PAGES (UINT64_C(1) << 31) /* 8 TiB of guest memory */
#define SPACE_MIN_PAGES (UINT64_C(1) << 22) /* 16 GiB */
#define GIB		(UINT64_C(1) << 30)

uint64_t space_free_frames(const struct gmm_space *s)
{
	uint64_t mine = bay_n_free(&s->bay);

	mine = mine > s->bay.floor ? mine - s->bay.floor : 0;
	return pool_excess(s->pool) ? 0 : pool_available(s->pool) + mine;
}

bool space_has_all(const struct gmm_space *s)
{
	return atomic_load(&s->pool->n_members) == 1 &&
	       s->pages.n_pages + s->bay.floor <= atomic_load(&s->pool->limit_pages);
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

/* A caller who was compiled with an older header has a shorter structure. */
static int space_read_config(const struct gmm_space_config *from, struct gmm_space_config *to)
{
	*to = (struct gmm_space_config){0};
	if (from->size < offsetof(struct gmm_space_config, huge))
		return -EINVAL;
	memcpy(to, from, from->size < sizeof(*to) ? from->size : sizeof(*to));
	return to->pool ? 0 : -EINVAL;
}

int gmm_space_new(const struct gmm_space_config *given, struct gmm_space **out)
{
	struct gmm_space_config copy, *config = &copy;
	struct gmm_space *s;
	uint64_t limit;
	int ret;

	if (space_read_config(given, config))
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
	prefetch_init(&s->prefetch);
	stall_init(&s->stall, config->n_vcpus, now_ns());
	thrash_init(&s->thrash, now_ns(), limit);
	working_set_init(s, config->working_set == GMM_WORKING_SET_ON, now_ns());
	ret = space_setup(s, config);
	if (ret) {
		gmm_space_free(s);
		return ret;
	}
	s->store = config->store;
	s->pages.trace = config->trace;
	if (config->trace)
		trace_begin(config->trace, &s->layout);
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
	working_set_fini(s);
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
