/* A space without memory: what vmm/mm does with a policy's victims, in numbers alone.
 *
 * Modelled: watermarks, the staging queue with its rescues, zero pages and clean copies (as
 * vmm/mm/reclaim.c), and what the policy is told of (vmm/mm/fault.c, with stamps as coarse as they
 * are). Not modelled: time. A write ends at once here, so that a page cannot be rescued from it;
 * nothing is brought in ahead of need; and there are no frames of 2 MiB.
 */
#include <errno.h>
#include <guestmm/space.h>
#include <stdlib.h>

#include "replay.h"

#define BATCH  32u /* victims asked for at once */
#define STAMPS 4095u
#define NONE   UINT32_MAX

enum state { EMPTY, RESIDENT, STAGED, SWAPPED };

struct page {
	uint32_t next, prev; /* while STAGED */
	uint16_t stamp;
	uint8_t state; /* enum state */
	bool is_zero;  /* never written since it was EMPTY */
	bool is_clean; /* the store has its content */
};

struct model {
	struct gmm_policy *policy;
	struct gmm_watermarks marks;
	struct page *pages;
	uint64_t limit, n_resident, n_staged, n_evicted, stamp_unit;
	uint32_t staged_head, staged_tail;
	struct replay_result *result;
};

static uint64_t free_frames(const struct model *m)
{
	return m->limit - m->n_resident - m->n_staged;
}

static uint16_t stamp(const struct model *m)
{
	return (uint16_t)(1 + m->n_evicted / m->stamp_unit % STAMPS);
}

static uint64_t evictions_since(const struct model *m, uint16_t then)
{
	unsigned steps = (stamp(m) + STAMPS - then) % STAMPS;

	return steps * m->stamp_unit + (m->stamp_unit + 1) / 2;
}

static void stage(struct model *m, uint32_t page)
{
	struct page *p = &m->pages[page];

	p->state = STAGED;
	p->next = NONE;
	p->prev = m->staged_tail;
	if (p->prev != NONE)
		m->pages[p->prev].next = page;
	else
		m->staged_head = page;
	m->staged_tail = page;
	m->n_staged++;
}

static void unstage(struct model *m, uint32_t page)
{
	struct page *p = &m->pages[page];

	if (p->prev != NONE)
		m->pages[p->prev].next = p->next;
	else
		m->staged_head = p->next;
	if (p->next != NONE)
		m->pages[p->next].prev = p->prev;
	else
		m->staged_tail = p->prev;
	m->n_staged--;
}

static void extract(struct model *m, uint32_t page)
{
	struct page *p = &m->pages[page];

	m->n_resident--;
	p->stamp = stamp(m);
	m->n_evicted++;
	m->result->evictions++;
	if (p->is_zero) {
		p->state = EMPTY;
		m->result->zero++;
	} else if (p->is_clean) {
		p->state = SWAPPED;
		m->result->clean++;
	} else {
		stage(m, page);
	}
}

static int by_page(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void evict(struct model *m, uint64_t n)
{
	uint64_t victims[BATCH];
	unsigned picked = 1;

	for (; n && picked; n -= picked) {
		picked = m->policy->ops->pick(m->policy, victims, n < BATCH ? (unsigned)n : BATCH);
		qsort(victims, picked, sizeof(victims[0]), by_page);
		for (unsigned i = 0; i < picked; i++)
			extract(m, (uint32_t)victims[i]);
	}
}

static void write_staged(struct model *m, uint64_t n)
{
	for (; n && m->staged_head != NONE; n--) {
		struct page *p = &m->pages[m->staged_head];

		unstage(m, m->staged_head);
		p->state = SWAPPED;
		p->is_clean = true;
		m->result->written++;
	}
}

/* As reclaim_balance(), with all writes ended. */
static void balance(struct model *m)
{
	const struct gmm_watermarks *w = &m->marks;
	uint64_t have = free_frames(m) + m->n_staged, n = 0;

	if (have < w->low + w->staged)
		evict(m, w->high + w->staged - have);
	if (free_frames(m) < w->low)
		n = w->high - free_frames(m);
	if (m->n_staged > w->staged && m->n_staged - w->staged > n)
		n = m->n_staged - w->staged;
	write_staged(m, n);
}

/* A page that was away is back. */
static void come_back(struct model *m, uint32_t page, enum gmm_policy_why why)
{
	struct page *p = &m->pages[page];

	p->state = RESIDENT;
	m->n_resident++;
	gmm_policy_insert_back(m->policy, page, why, evictions_since(m, p->stamp));
}

static void touch(struct model *m, uint32_t page, bool is_write)
{
	struct page *p = &m->pages[page];

	switch ((enum state)p->state) {
	case RESIDENT:
		break;
	case EMPTY:
		p->state = RESIDENT;
		p->is_zero = true;
		p->is_clean = false;
		m->n_resident++;
		m->result->first_touches++;
		m->policy->ops->insert(m->policy, page, GMM_POLICY_FIRST_TOUCH);
		break;
	case STAGED:
		unstage(m, page);
		m->result->rescues++;
		come_back(m, page, GMM_POLICY_RESCUE);
		break;
	case SWAPPED:
		m->result->refaults++;
		come_back(m, page,
			  evictions_since(m, p->stamp) < m->limit ? GMM_POLICY_REFAULT
								  : GMM_POLICY_SWAP_IN);
		break;
	}
	if (is_write)
		p->is_zero = p->is_clean = false;
	balance(m);
}

static void discard(struct model *m, uint32_t page)
{
	struct page *p = &m->pages[page];

	if (p->state == RESIDENT) {
		m->policy->ops->remove(m->policy, page);
		m->n_resident--;
	} else if (p->state == STAGED) {
		unstage(m, page);
	}
	p->state = EMPTY;
}

int replay_policy(const struct replay_trace *trace, const struct gmm_policy_ops *ops,
		  uint64_t limit_pages, struct replay_result *out)
{
	struct model m = {.limit = limit_pages,
			  .stamp_unit = limit_pages / 64 + 1,
			  .staged_head = NONE,
			  .staged_tail = NONE,
			  .result = out};
	int rc = ops->make(trace->n_pages,
			   limit_pages < trace->n_pages ? limit_pages : trace->n_pages, &m.policy);

	if (rc)
		return rc;
	*out = (struct replay_result){0};
	gmm_space_watermarks(limit_pages, &m.marks);
	m.pages = calloc(trace->n_pages, sizeof(m.pages[0]));
	if (m.pages)
		for (uint64_t i = 0; i < trace->n_events; i++) {
			if (trace->events[i] == REPLAY_DISCARD)
				discard(&m, trace->pages[i]);
			else
				touch(&m, trace->pages[i], trace->events[i] == REPLAY_WRITE);
		}
	rc = m.pages ? 0 : -ENOMEM;
	free(m.pages);
	ops->free(m.policy);
	return rc;
}
