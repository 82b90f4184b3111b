/* Working sets: see working_set.h. What is made of it is in working_set_stats.c. */
#include "working_set.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fatal.h"
#include "reserve.h"
#include "sampling.h"
#include "space.h"

#define WS_SAMPLE  1024u /* pages of the sample in use, at most */
#define WS_TABLE   8192u /* groups at first: a guest that uses little has a finer sample */
#define WS_NO_SLOT UINT16_MAX
#define WS_LOOKS   256u	 /* groups looked at by one tick */
#define WS_WAKE_NS 10000 /* what a tick costs beside what it does: at least, or half a move */
/* What a touch costs: two moves of its page, and as much as two for the wake-ups on both sides. A
 * move is measured, for it waits for other CPUs to flush their TLBs, and where this is itself a
 * guest, for their host to run them: 20 to 26 us of CPU time on 2 quiet CPUs of a virtual machine.
 */
#define WS_TOUCH_MOVES 4
#define WS_TOUCH_NS    60000 /* at least: a fault that finds its page */
#define WS_MOVE_NS_MAX 10000000
#define WS_NS_MAX      UINT64_C(1000000000000)

static const struct ws_pace ws_pace = {
	.permille = 6,
	.burst_ns = 5000000,
	.tick_ns = 40000000,
	.cool_ns = 200000000,
	.window_ns = 60000000000,
};

void working_set_init(struct gmm_space *s, bool on, uint64_t now_ns)
{
	s->ws = (struct working_set){
		.on = on, .filled_ns = now_ns, .pace = ws_pace, .dice = 88172645463325252u};
	curve_init(&s->ws.curve, now_ns);
}

/* Other threads of this process must not find these pages, nor a child after fork(). */
static char *ws_map(struct gmm_space *s, size_t bytes)
{
	char *at = reserve_aligned(bytes, GMM_HUGE_BYTES);

	if (!at)
		return NULL;
	madvise(at, bytes, MADV_NOHUGEPAGE);
	madvise(at, bytes, MADV_DONTFORK);
	if (s->engine.ops->prepare_aside && s->engine.ops->prepare_aside(&s->engine, at, bytes)) {
		reserve_unmap(at, bytes);
		return NULL;
	}
	return at;
}

/* At the first touch: all regions are there. */
static bool ws_begin(struct gmm_space *s)
{
	struct working_set *ws = &s->ws;

	while ((s->pages.n_pages - 1) >> ws->level >= WS_TABLE)
		ws->level++;
	ws->n = ws->n_reserved = (uint32_t)((s->pages.n_pages - 1) >> ws->level) + 1;
	ws->pages = reserve_map(ws->n * sizeof(ws->pages[0]));
	ws->free_slots = malloc(WS_SAMPLE * sizeof(ws->free_slots[0]));
	ws->aside = ws_map(s, (size_t)WS_SAMPLE << GMM_PAGE_SHIFT);
	if (!ws->pages || !ws->free_slots || !ws->aside) {
		working_set_fini(s);
		return false;
	}
	while (ws->n_free < WS_SAMPLE) {
		ws->free_slots[ws->n_free] = (uint16_t)(WS_SAMPLE - 1 - ws->n_free);
		ws->n_free++;
	}
	return true;
}

void working_set_fini(struct gmm_space *s)
{
	struct working_set *ws = &s->ws;

	/* Frames that are still aside go with the guest's: the space uncharges them together. */
	reserve_unmap(ws->pages, ws->n_reserved * sizeof(ws->pages[0]));
	reserve_unmap(ws->aside, (size_t)WS_SAMPLE << GMM_PAGE_SHIFT);
	reserve_unmap(ws->aside_blocks, ws->aside_blocks_bytes);
	free(ws->free_slots);
	*ws = (struct working_set){.on = false};
}

size_t working_set_bytes(const struct gmm_space *s)
{
	return s->ws.pages ? s->ws.n_reserved * sizeof(s->ws.pages[0]) +
				     WS_SAMPLE * sizeof(s->ws.free_slots[0])
			   : 0;
}

/* The page's entry; NULL where it is not in the sample. */
static struct ws_page *ws_find(struct working_set *ws, page_no p)
{
	return sampling_has(ws->level, p) ? &ws->pages[p >> ws->level] : NULL;
}

static bool ws_is_away(const struct ws_page *e)
{
	return e->used && e->slot != WS_NO_SLOT;
}

static void ws_use(struct working_set *ws, struct ws_page *e)
{
	if (!e->used)
		ws->n_used++;
	*e = e->used ? *e : (struct ws_page){.slot = WS_NO_SLOT, .used = true};
}

static void ws_touched(struct working_set *ws, struct ws_page *e, uint64_t now)
{
	ws_use(ws, e);
	if (e->touched_ns && e->armed_ns && now >= e->armed_ns)
		curve_cycle(&ws->curve, (double)(UINT64_C(1) << ws->level),
			    e->armed_ns - e->touched_ns, now - e->armed_ns);
	if (e->armed_ns)
		e->came_back = true;
	e->touched_ns = now;
	e->armed_ns = 0;
}

/* The pages of the sample in [p, p + n): for (i = 0; (e = ws_next(ws, p, n, &i)); ) */
static struct ws_page *ws_next(struct working_set *ws, page_no p, uint64_t n, uint32_t *i)
{
	while (*i <= (p + n - 1) >> ws->level) {
		uint32_t group = *i < p >> ws->level ? p >> ws->level : *i;
		page_no q = sampling_page(ws->level, group);

		*i = group + 1;
		if (q >= p && q < p + n)
			return &ws->pages[group];
	}
	return NULL;
}

bool working_set_touch(struct gmm_space *s, page_no p, uint64_t now)
{
	struct working_set *ws = &s->ws;
	page_no block = huge_away(s, p);
	struct ws_page *e;
	bool away = block != PAGE_NONE;

	if (!ws->on || (!ws->pages && !ws_begin(s)))
		return false;
	ws->n_to_look = ws->n;
	if (away) {
		for (uint32_t i = 0; (e = ws_next(ws, block, GMM_HUGE_PAGES, &i));)
			ws_touched(ws, e, now);
	} else if ((e = ws_find(ws, p))) {
		away = ws_is_away(e);
		ws_touched(ws, e, now);
	}
	ws->n_touches += away;
	return away;
}

static char *ws_aside(const struct working_set *ws, uint16_t slot)
{
	return ws->aside + ((size_t)slot << GMM_PAGE_SHIFT);
}

static char *ws_aside_block(const struct working_set *ws, page_no block)
{
	return ws->aside_blocks + ((size_t)(block / GMM_HUGE_PAGES) << GMM_HUGE_SHIFT);
}

/* A page or a block was moved, in `ns` of this thread's CPU time. */
static void ws_moved(struct working_set *ws, uint64_t ns)
{
	ws->move_ns = (7 * ws->move_ns + (ns < WS_MOVE_NS_MAX ? ns : WS_MOVE_NS_MAX)) / 8;
}

static bool ws_bring_back(struct gmm_space *s, page_no p, struct ws_page *e)
{
	struct working_set *ws = &s->ws;
	uint64_t begun = cpu_ns();

	if (s->engine.ops->bring_back(&s->engine, space_hva(s, p), ws_aside(ws, e->slot)))
		return false;
	ws_moved(ws, cpu_ns() - begun);
	ws->free_slots[ws->n_free++] = e->slot;
	e->slot = WS_NO_SLOT;
	ws->n_away--;
	return true;
}

static bool ws_bring_back_block(struct gmm_space *s, page_no block)
{
	uint64_t begun = cpu_ns();

	if (!huge_bring_back(s, block, ws_aside_block(&s->ws, block)))
		return false;
	ws_moved(&s->ws, cpu_ns() - begun);
	return true;
}

bool working_set_return(struct gmm_space *s, page_no p)
{
	page_no block = huge_away(s, p);
	struct ws_page *e;

	if (block != PAGE_NONE)
		return ws_bring_back_block(s, block);
	if (s->ws.n_away == 0)
		return true;
	e = ws_find(&s->ws, p);
	return !e || !ws_is_away(e) || ws_bring_back(s, p, e);
}

bool working_set_return_run(struct gmm_space *s, page_no p, uint64_t n)
{
	struct working_set *ws = &s->ws;
	page_no end = p + (page_no)n;
	struct ws_page *e;

	if (n == 0)
		return true;
	/* A page of each block: every 512th, and the last. */
	for (page_no q = p; s->huge.n_away && q < end;
	     q = q + GMM_HUGE_PAGES < end || q == end - 1 ? q + GMM_HUGE_PAGES : end - 1)
		if (!working_set_return(s, q))
			return false;
	for (uint32_t i = 0; ws->n_away && (e = ws_next(ws, p, n, &i));)
		if (ws_is_away(e) && !ws_bring_back(s, sampling_page(ws->level, i - 1), e))
			return false;
	return true;
}

void working_set_left(struct gmm_space *s, page_no p, uint64_t n)
{
	struct working_set *ws = &s->ws;
	struct ws_page *e;

	if (!ws->n_used)
		return;
	for (uint32_t i = 0; (e = ws_next(ws, p, n, &i));)
		if (e->used && !e->armed_ns)
			e->armed_ns = now_ns();
}

void working_set_forget(struct gmm_space *s, page_no p, uint64_t n)
{
	struct working_set *ws = &s->ws;
	struct ws_page *e;

	if (!ws->n_used)
		return;
	for (uint32_t i = 0; (e = ws_next(ws, p, n, &i));) {
		if (!e->used)
			continue;
		CHECK(!ws_is_away(e), "content of pages from %u on is dropped while it is aside",
		      p);
		e->used = false;
		ws->n_used--;
	}
}

/* Every other page leaves the sample. */
static void ws_thin(struct gmm_space *s)
{
	struct working_set *ws = &s->ws;
	uint32_t n = (ws->n + 1) / 2, i;

	for (i = 0; i < ws->n; i++)
		if ((i & 1) != sampling_half(ws->level, i >> 1) && ws_is_away(&ws->pages[i]) &&
		    !ws_bring_back(s, sampling_page(ws->level, i), &ws->pages[i]))
			return; /* later */
	for (i = 0; i < ws->n; i++) {
		bool stays = (i & 1) == sampling_half(ws->level, i >> 1);

		ws->n_used -= ws->pages[i].used && !stays;
		if (stays)
			ws->pages[i >> 1] = ws->pages[i];
		else if (i + 1 == ws->n && !(i & 1)) /* its other half is beyond the end */
			ws->pages[i >> 1].used = false;
	}
	memset(&ws->pages[n], 0, (ws->n - n) * sizeof(ws->pages[0]));
	ws->n = n;
	ws->level++;
	ws->hand = 0;
	ws->n_to_look = n;
}

/* ---- laying aside ---- */

static bool ws_has_blocks(struct gmm_space *s)
{
	struct working_set *ws = &s->ws;

	if (!ws->aside_blocks) {
		ws->aside_blocks_bytes = (s->pages.n_pages / GMM_HUGE_PAGES + 1) * GMM_HUGE_BYTES;
		ws->aside_blocks = ws_map(s, ws->aside_blocks_bytes);
	}
	return ws->aside_blocks;
}

static void ws_pay(struct working_set *ws, uint64_t ns)
{
	ws->budget_ns -= (int64_t)ns;
	ws->spent_ns += ns;
}

/* In advance: whether it comes is the guest's affair. */
static void ws_pay_touch(struct working_set *ws)
{
	uint64_t ns = WS_TOUCH_MOVES * ws->move_ns;

	ws_pay(ws, ns > WS_TOUCH_NS ? ns : WS_TOUCH_NS);
}

static void ws_arm_block(struct gmm_space *s, page_no block, uint64_t now)
{
	struct working_set *ws = &s->ws;
	struct ws_page *e;
	uint64_t begun;

	if (!ws_has_blocks(s))
		return;
	begun = cpu_ns();
	if (!huge_lay_aside(s, block, ws_aside_block(ws, block)))
		return;
	ws_moved(ws, cpu_ns() - begun);
	ws->n_armed++;
	ws_pay_touch(ws);
	for (uint32_t i = 0; (e = ws_next(ws, block, GMM_HUGE_PAGES, &i));) {
		ws_use(ws, e);
		e->armed_ns = now;
	}
}

static void ws_arm(struct gmm_space *s, page_no p, struct ws_page *e, uint64_t now)
{
	struct working_set *ws = &s->ws;
	page_no block = huge_mapped(s, p);
	uint16_t slot;
	uint64_t begun;

	if (block != PAGE_NONE) {
		ws_arm_block(s, block, now);
		return;
	}
	if (ws->n_free == 0)
		return;
	slot = ws->free_slots[ws->n_free - 1];
	begun = cpu_ns();
	if (s->engine.ops->lay_aside(&s->engine, space_hva(s, p), ws_aside(ws, slot)))
		return;
	ws_moved(ws, cpu_ns() - begun);
	e->slot = slot;
	e->armed_ns = now;
	ws->n_free--;
	ws->n_away++;
	ws->n_armed++;
	ws_pay_touch(ws);
}

static uint64_t ws_dice(struct working_set *ws)
{
	ws->dice ^= ws->dice << 13;
	ws->dice ^= ws->dice >> 7;
	ws->dice ^= ws->dice << 17;
	return ws->dice;
}

/* False: there is something to do here, but not yet. */
static bool ws_look(struct gmm_space *s, uint32_t group, uint64_t now)
{
	struct working_set *ws = &s->ws;
	struct ws_page *e = &ws->pages[group];
	page_no p = sampling_page(ws->level, group);
	page_word w;

	if (p >= s->pages.n_pages || ws_is_away(e) || huge_away(s, p) != PAGE_NONE)
		return true;
	w = space_word(s, p);
	if (page_state(w) != GMM_PAGE_RESIDENT ||
	    (huge_mapped(s, p) != PAGE_NONE && !huge_may_lay_aside(s)))
		return true;
	ws_use(ws, e);	 /* it may have come unasked */
	e->armed_ns = 0; /* nor is it: it was to leave, and did not */
	if (page_holds(w) || ws->budget_ns <= 0 ||
	    (e->touched_ns &&
	     now - e->touched_ns < ws->pace.cool_ns / 2 + ws_dice(ws) % ws->pace.cool_ns))
		return false;
	ws_arm(s, p, e, now);
	return ws_is_away(e) || huge_away(s, p) != PAGE_NONE;
}

static void ws_fill_budget(struct working_set *ws, uint64_t now)
{
	uint64_t passed = now - ws->filled_ns;

	ws->filled_ns = now;
	passed = passed < WS_NS_MAX ? passed : WS_NS_MAX;
	ws->budget_ns += (int64_t)(passed * ws->pace.permille / 1000);
	if (ws->budget_ns > (int64_t)ws->pace.burst_ns)
		ws->budget_ns = (int64_t)ws->pace.burst_ns;
}

static uint64_t ws_wake_ns(const struct working_set *ws)
{
	return ws->move_ns / 2 > WS_WAKE_NS ? ws->move_ns / 2 : WS_WAKE_NS;
}

/* Not before there is something to spend: on a slow host to wake up is dear, too. */
static uint64_t ws_next_in_ns(const struct working_set *ws)
{
	uint64_t in = 0;

	if (ws->budget_ns < 0)
		in = (uint64_t)-ws->budget_ns * 1000 / ws->pace.permille;
	return in > ws->pace.tick_ns ? in : ws->pace.tick_ns;
}

void working_set_tick(struct gmm_space *s)
{
	struct working_set *ws = &s->ws;
	unsigned n_looks;
	uint64_t now, began;
	bool more;

	if (!ws->n_to_look || (now = now_ns()) < ws->tick_ns)
		return;
	began = cpu_ns();
	ws_fill_budget(ws, now);
	curve_advance(&ws->curve, now);
	if (ws->n_used > WS_SAMPLE)
		ws_thin(s);
	more = ws->budget_ns <= 0;
	n_looks = more ? 0 : WS_LOOKS;
	while (n_looks-- && ws->n_to_look) {
		ws->n_to_look--;
		more |= !ws_look(s, ws->hand, now);
		ws->hand = ws->hand + 1 < ws->n ? ws->hand + 1 : 0;
	}
	if (more)
		ws->n_to_look = ws->n;
	ws_pay(ws, cpu_ns() - began + ws_wake_ns(ws));
	ws->tick_ns = now + ws_next_in_ns(ws);
}

uint64_t working_set_next_ns(const struct gmm_space *s)
{
	return s->ws.n_to_look ? s->ws.tick_ns : 0;
}
