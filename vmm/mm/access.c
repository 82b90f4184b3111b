/* Access: holding, copying, discarding, looking. See access.h and <guestmm/space.h>.
 *
 * Guest memory is only touched while its pages are held and no lock is: a touch can then not
 * fault, so that even a program with a single thread cannot wait for itself.
 */
#include "access.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include "fatal.h"
#include "fault.h"
#include "staging.h"

#define HOLD_MAX_BYTES (UINT64_C(64) << 10)
#define ACCESS_WAIT_NS 1000000 /* a wake-up that was missed costs no more */

/* The region that has all of [gpa, gpa + bytes), or NULL. */
static const struct region *access_region(const struct gmm_space *s, uint64_t gpa, uint64_t bytes)
{
	const struct region *r = layout_find_gpa(&s->layout, gpa);

	return r && bytes <= r->bytes - (gpa - r->gpa) ? r : NULL;
}

static page_no access_page(const struct region *r, uint64_t gpa)
{
	return r->first + (page_no)((gpa - r->gpa) >> GMM_PAGE_SHIFT);
}

/* Waits until page p may have changed; the lock is given up meanwhile. Where there is no worker
 * this thread dispatches itself. */
static void access_wait(struct gmm_space *s, page_no p)
{
	const page_word before = space_word(s, p);
	struct pollfd pfd = {.fd = s->epoll_fd, .events = POLLIN};
	struct timespec until;

	if (atomic_load(&s->n_workers) == 0) {
		pthread_mutex_unlock(&s->lock);
		if (gmm_space_dispatch(s) == 0 && space_word(s, p).v == before.v)
			poll(&pfd, 1, 1);
		pthread_mutex_lock(&s->lock);
		return;
	}
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += ACCESS_WAIT_NS;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	s->n_hold_waiters++;
	pthread_cond_timedwait(&s->changed, &s->lock, &until);
	s->n_hold_waiters--;
}

/* Whoever dispatches is asked to serve the page. */
static void access_enqueue(struct gmm_space *s, page_no p)
{
	for (uint32_t i = 0; i < s->n_waiting; i++)
		if (s->waiting[i].page == p && s->waiting[i].tid == 0)
			return; /* asked before */
	if (s->n_waiting < SPACE_WAITING)
		s->waiting[s->n_waiting++] = (struct waiting){.page = p, .since_ns = now_ns()};
	eventfd_write(s->wake_fd, 1);
}

/* A read is left to the worker: io_uring ends it in the thread that submitted it, which must not be
 * one that may sleep in a fault. */
static void access_ask(struct gmm_space *s, page_no p)
{
	struct fault f = {.page = p, .tid = 0, .since_ns = now_ns()};
	enum gmm_page_state state = page_state(space_word(s, p));

	if (state == GMM_PAGE_FILLING)
		return; /* on its way */
	if (state == GMM_PAGE_SWAPPED && atomic_load(&s->n_workers))
		access_enqueue(s, p);
	else if (fault_serve(s, &f) == FAULT_WAIT)
		access_enqueue(s, p);
}

/* Holds one page, under the lock: 0, -EIO, -EBUSY. */
static int access_hold_page(struct gmm_space *s, page_no p)
{
	if (s->ws.on)
		working_set_touch(s, p, now_ns());
	for (;;) {
		page_word w = space_word(s, p);

		if (page_state(w) == GMM_PAGE_POISONED)
			return -EIO;
		if (s->dead)
			return -EIO;
		if (page_state(w) == GMM_PAGE_RESIDENT && working_set_return(s, p)) {
			if (page_holds(w) == PAGE_HOLDS_MAX)
				return -EBUSY;
			if (page_holds(w)) /* counted already */
				atomic_fetch_sub(&s->pool->held_pages, 1);
			page_change(&s->pages, p, w, page_with_holds(w, page_holds(w) + 1));
			return 0;
		}
		access_ask(s, p);
		if (page_state(w) == GMM_PAGE_RESIDENT ||
		    page_state(space_word(s, p)) != GMM_PAGE_RESIDENT)
			access_wait(s, p);
	}
}

static void access_unhold_page(struct gmm_space *s, page_no p)
{
	page_word w = space_word(s, p);

	CHECK(page_state(w) == GMM_PAGE_RESIDENT && page_holds(w), "page %u is not held", p);
	page_change(&s->pages, p, w, page_with_holds(w, page_holds(w) - 1));
	if (page_holds(w) == 1)
		atomic_fetch_sub(&s->pool->held_pages, 1);
}

static int access_hold_pages(struct gmm_space *s, page_no first, page_no last)
{
	uint64_t n = last - first + 1, max = atomic_load(&s->pool->limit_pages) / 2;
	int ret = -ENOMEM;
	page_no p = first;

	/* The pages are counted before they are held: no two threads, of one space or of several
	 * on the pool, can have the same half of the limit. */
	if (atomic_fetch_add(&s->pool->held_pages, n) + n > max || !space_policy(s)) {
		atomic_fetch_sub(&s->pool->held_pages, n);
		return -ENOMEM;
	}
	for (; p <= last; p++) {
		ret = access_hold_page(s, p);
		if (ret)
			break;
	}
	if (ret == 0)
		return 0;
	atomic_fetch_sub(&s->pool->held_pages, last - p + 1);
	while (p-- > first)
		access_unhold_page(s, p);
	return ret;
}

int gmm_space_hold(struct gmm_space *s, gmm_gpa gpa, size_t bytes, bool write, void **hva)
{
	const struct region *r;
	int ret;

	if (bytes == 0 || bytes > HOLD_MAX_BYTES)
		return -EINVAL;
	r = access_region(s, gpa.v, bytes);
	if (!r)
		return -EFAULT;
	if (write && r->kind == REGION_WINDOW)
		return -EROFS;
	pthread_mutex_lock(&s->lock);
	ret = access_hold_pages(s, access_page(r, gpa.v), access_page(r, gpa.v + bytes - 1));
	pthread_mutex_unlock(&s->lock);
	if (ret == 0)
		*hva = r->hva + (gpa.v - r->gpa);
	return ret;
}

void gmm_space_release(struct gmm_space *s, gmm_gpa gpa, size_t bytes)
{
	const struct region *r = bytes ? access_region(s, gpa.v, bytes) : NULL;

	if (!r)
		return;
	pthread_mutex_lock(&s->lock);
	for (page_no p = access_page(r, gpa.v); p <= access_page(r, gpa.v + bytes - 1); p++)
		access_unhold_page(s, p);
	pthread_mutex_unlock(&s->lock);
}

/* Every byte of [gpa, gpa + bytes) lies in some region, writable if asked for. */
static int access_check(const struct gmm_space *s, uint64_t gpa, uint64_t bytes, bool write)
{
	while (bytes) {
		const struct region *r = layout_find_gpa(&s->layout, gpa);
		uint64_t here;

		if (!r || gpa + bytes < gpa)
			return -EFAULT;
		if (write && r->kind == REGION_WINDOW)
			return -EROFS;
		here = r->bytes - (gpa - r->gpa);
		here = here < bytes ? here : bytes;
		gpa += here;
		bytes -= here;
	}
	return 0;
}

static int access_copy(struct gmm_space *s, uint64_t gpa, char *buf, size_t bytes, bool write)
{
	int ret = access_check(s, gpa, bytes, write);

	while (ret == 0 && bytes) {
		/* A page at a time: no more is ever held than any limit allows. */
		size_t now = (size_t)(GMM_PAGE_BYTES - gpa % GMM_PAGE_BYTES);
		void *hva;

		now = now < bytes ? now : bytes;
		ret = gmm_space_hold(s, (gmm_gpa){gpa}, now, write, &hva);
		if (ret)
			break;
		if (write)
			memcpy(hva, buf, now);
		else
			memcpy(buf, hva, now);
		gmm_space_release(s, (gmm_gpa){gpa}, now);
		gpa += now;
		buf += now;
		bytes -= now;
	}
	return ret;
}

int gmm_space_read(struct gmm_space *s, gmm_gpa gpa, void *to, size_t bytes)
{
	return access_copy(s, gpa.v, to, bytes, false);
}

int gmm_space_write(struct gmm_space *s, gmm_gpa gpa, const void *from, size_t bytes)
{
	return access_copy(s, gpa.v, (char *)(uintptr_t)from, bytes, true);
}

/* ---- discarding ---- */

static void discard_evicting(struct gmm_space *s, bay_slot slot)
{
	struct bay_entry *e = &s->bay.entries[slot];

	if (e->stage == BAY_WRITING) {
		s->transfers.all[e->transfer].discard = 1; /* its end frees slot and frame */
		return;
	}
	staging_remove(s, slot);
	bay_put_dirty(&s->bay, slot);
}

/* Resident pages whose frames cannot be given up just now, since they are part of a huge page that
 * is pinned: they stay, and read as zero. They are mapped, so that touching them here cannot fault.
 */
static bool discard_in_place(struct gmm_space *s, page_no p, uint64_t n)
{
	memset(space_hva(s, p), 0, n << GMM_PAGE_SHIFT);
	return false;
}

static bool discard_frames(struct gmm_space *s, page_no p, uint64_t n)
{
	if (huge_prepare_discard(s, p, n))
		return discard_in_place(s, p, n);
	return engine_discard(&s->engine, space_hva(s, p), n) == 0;
}

bool access_discard(struct gmm_space *s, page_no p, enum gmm_page_state to)
{
	page_word w = space_word(s, p);

	switch (page_state(w)) {
	case GMM_PAGE_EMPTY:
		if (to == GMM_PAGE_EMPTY)
			return true;
		break;
	case GMM_PAGE_BALLOONED:
		if (to == GMM_PAGE_BALLOONED)
			return false;
		break;
	case GMM_PAGE_FILLING:
		if (page_payload(w) != GMM_SLOT_NONE)
			s->transfers.all[page_payload(w)].discard = 1;
		return false;
	case GMM_PAGE_RESIDENT:
		if (page_holds(w) || !working_set_return(s, p) || !discard_frames(s, p, 1))
			return false;
		space_release_slot(s, page_payload(w));
		if (s->policy)
			s->policy_ops->remove(s->policy, p);
		break;
	case GMM_PAGE_EVICTING:
		discard_evicting(s, (bay_slot)page_payload(w));
		break;
	case GMM_PAGE_SWAPPED:
		space_release_slot(s, page_payload(w));
		break;
	case GMM_PAGE_POISONED:
		if (engine_unpoison(space_hva(s, p)))
			return false;
		break;
	case GMM_PAGE_N_STATES:
		return false;
	}
	page_change(&s->pages, p, w, page_make(to, 0));
	working_set_forget(s, p, 1);
	return true;
}

static bool word_is_free_to_go(page_word w)
{
	return page_state(w) == GMM_PAGE_RESIDENT && page_holds(w) == 0;
}

static bool discard_is_resident(struct gmm_space *s, page_no p)
{
	return word_is_free_to_go(space_word(s, p)) && working_set_return(s, p);
}

/* The first page from p on, up to end, that is not such a one. *n_slots: how many have slots. */
static page_no discard_resident_end(struct gmm_space *s, page_no p, uint64_t end, uint64_t *n_slots)
{
	page_no start = p;

	*n_slots = 0;
	p = page_run_end(&s->pages, p, end, page_make(GMM_PAGE_RESIDENT, GMM_SLOT_NONE),
			 PAGE_STATE_MASK | PAGE_HOLDS_MASK | PAGE_PAYLOAD_MASK);
	if (!working_set_return_run(s, start, p - start))
		p = start; /* one by one, as far as it goes */
	for (; p < end; p++) {
		page_word w = space_word(s, p);

		if (!word_is_free_to_go(w) || !working_set_return(s, p))
			break;
		*n_slots += page_payload(w) != GMM_SLOT_NONE;
	}
	return p;
}

/* n resident pages from p on, by one system call. */
static uint64_t discard_resident(struct gmm_space *s, page_no p, uint64_t n, uint64_t n_slots,
				 enum gmm_page_state to)
{
	if (!discard_frames(s, p, n))
		return 0;
	for (page_no q = p; n_slots && q < p + n; q++)
		space_release_slot(s, page_payload(space_word(s, q)));
	if (s->policy)
		gmm_policy_remove_run(s->policy, p, n);
	page_change_all(&s->pages, p, n, GMM_PAGE_RESIDENT, page_make(to, 0));
	working_set_forget(s, p, n);
	return n;
}

uint64_t access_discard_run(struct gmm_space *s, page_no p, uint64_t n, enum gmm_page_state to)
{
	uint64_t end = p + n, n_done = 0, n_slots;
	page_no q = p, start;

	while (q < end) {
		if (to == GMM_PAGE_EMPTY && page_state(space_word(s, q)) == to) {
			start = q;
			q = page_run_end(&s->pages, q, end, page_make(to, 0), PAGE_STATE_MASK);
			n_done += q - start;
			continue;
		}
		start = q;
		q = discard_resident_end(s, start, end, &n_slots);
		if (q > start)
			n_done += discard_resident(s, start, q - start, n_slots, to);
		else
			n_done += access_discard(s, q++, to);
	}
	return n_done;
}

/* A window's resident pages are dropped: they are read again when needed. */
static void discard_window(struct gmm_space *s, const struct region *r, page_no p, uint64_t n)
{
	for (page_no q = p; q < p + n; q++) {
		page_word w = space_word(s, q);
		char *hva = region_hva(r, q);

		if (page_state(w) == GMM_PAGE_POISONED ? engine_unpoison(hva)
		    : discard_is_resident(s, q)	       ? engine_discard(&s->engine, hva, 1)
						       : -EBUSY)
			continue;
		if (s->policy && page_state(w) == GMM_PAGE_RESIDENT)
			s->policy_ops->remove(s->policy, q);
		page_change(&s->pages, q, w, page_make(GMM_PAGE_SWAPPED, q - r->first));
	}
}

#define DISCARD_CHUNK 8192u /* pages under one hold of the lock: 32 MiB */

int gmm_space_discard(struct gmm_space *s, gmm_gfn gfn, uint64_t n_pages)
{
	uint64_t gpa = gfn.v << GMM_PAGE_SHIFT;

	if (gfn.v > UINT64_MAX >> GMM_PAGE_SHIFT || n_pages > UINT64_MAX >> GMM_PAGE_SHIFT ||
	    access_check(s, gpa, n_pages << GMM_PAGE_SHIFT, false))
		return -EFAULT;
	while (n_pages) {
		const struct region *r = layout_find_gpa(&s->layout, gpa);
		uint64_t now = (r->bytes - (gpa - r->gpa)) >> GMM_PAGE_SHIFT;

		now = now < n_pages ? now : n_pages;
		now = now < DISCARD_CHUNK ? now : DISCARD_CHUNK;
		pthread_mutex_lock(&s->lock);
		if (r->kind == REGION_WINDOW)
			discard_window(s, r, access_page(r, gpa), now);
		else
			access_discard_run(s, access_page(r, gpa), now, GMM_PAGE_EMPTY);
		pthread_mutex_unlock(&s->lock);
		gpa += now << GMM_PAGE_SHIFT;
		n_pages -= now;
	}
	return 0;
}

int gmm_space_reclaim(struct gmm_space *s, uint64_t pages)
{
	int ret = 0;

	pthread_mutex_lock(&s->lock);
	if (!s->store || s->block.blocked) {
		ret = -ENOSPC;
	} else {
		uint64_t used = atomic_load(&s->member.used_pages);

		s->reclaim_asked = pages < used ? pages : used; /* not what comes meanwhile */
		s->reclaim_flush = true;
		s->relief.asked = true;
	}
	pthread_mutex_unlock(&s->lock);
	eventfd_write(s->wake_fd, 1);
	return ret;
}

int gmm_space_states(struct gmm_space *s, gmm_gfn gfn, uint64_t n_pages, uint8_t *states)
{
	for (uint64_t i = 0; i < n_pages; i++) {
		const struct region *r =
			gfn.v + i > UINT64_MAX >> GMM_PAGE_SHIFT
				? NULL
				: layout_find_gpa(&s->layout, (gfn.v + i) << GMM_PAGE_SHIFT);

		if (!r)
			return -EFAULT;
		states[i] = (uint8_t)page_state(
			space_word(s, access_page(r, (gfn.v + i) << GMM_PAGE_SHIFT)));
		if (states[i] == GMM_PAGE_EMPTY && taken_has(&s->taken, gfn.v + i))
			states[i] = GMM_PAGE_BALLOONED;
	}
	return 0;
}
