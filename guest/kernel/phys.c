/* Page frames.
 *
 * They come from a gmm_frames block that the VMM has laid and shares: it takes free frames out of
 * it, and gives them back, whenever it likes, and no code runs here for that. So no count of free
 * frames and no list of them is kept here, and whatever is asked for may be gone a moment
 * later. Without such a VMM the kernel lays the block itself, in RAM.
 *
 * One rule makes the rest simple: a frame that is free in gmm_frames reads as zero. RAM that
 * was never used does, and so does what was given back to the VMM. A frame that programs
 * used goes to the list of dirty runs first; when that is full or worth a hostcall it
 * is reported to the VMM as free (which drops its content, and host memory with it), or
 * zeroed where there is no VMM; only then gmm_frames has it. So no page is ever zeroed at
 * CPL 0 under guestmm, and trimming by a program reaches the host.
 * What will be overwritten anyway (copies on write) takes dirty frames first.
 *
 * Frames for programs are mostly claimed right behind the last ones: a quarter of what a search
 * costs. The kernel's lock guards all but the VMM's part; gmm_frames' callers are all number 0 for
 * that reason.
 */
#include "kernel.h"

#include <guestmm/frames.h>

#define BATCH	     64u
#define MAX_RUNS     256u
#define REPORT_WORTH 64u	/* dirty pages from which a report pays */
#define RESCUE	     HUGE_PAGES /* frames to ask the VMM for where there is none */

uint64_t phys_n_pages;
bool phys_is_shared;

static struct gmm_frames *frames;
static uint64_t next_at; /* right behind the last frames */
static uint64_t huge_at; /* where to look for a huge frame first */

static struct gmm_page_run runs[MAX_RUNS] __attribute__((aligned(4096)));
static unsigned n_runs;
static uint64_t n_dirty;

uint64_t kernel_gpa(const void *in_image)
{
	return (uint64_t)in_image - (uint64_t)kernel_start + boot.kernel.start;
}

static uint64_t ram_end(void)
{
	return boot.ranges[boot.n_ranges - 1].end;
}

/* Takes away what must never be given out. Overlaps are fine: claims are cut to pieces. */
static void claim(uint64_t start, uint64_t end)
{
	uint64_t from = start / PAGE_BYTES, to = (end + PAGE_BYTES - 1) / PAGE_BYTES;

	if (from >= to || gmm_frames_claim(frames, from, to - from) == 0)
		return;
	for (; from < to; from++)
		gmm_frames_claim(frames, from, 1);
}

/* Room for the allocator's own state: RAM that nobody uses. */
static uint64_t find_room(uint64_t bytes)
{
	for (unsigned i = 0; i < boot.n_ranges; i++) {
		uint64_t at = boot.ranges[i].start ? boot.ranges[i].start : PAGE_BYTES;

		if (at < boot.used.end && at + bytes > boot.used.start)
			at = boot.used.end;
		if (at < boot.kernel.end && at + bytes > boot.kernel.start)
			at = boot.kernel.end;
		if (at < boot.ranges[i].end && bytes <= boot.ranges[i].end - at)
			return at;
	}
	return 0;
}

/* Lays the block itself. */
static void init_own(void)
{
	uint64_t n = ram_end() / PAGE_BYTES, last = 0;
	uint64_t bytes = (gmm_frames_bytes(n) + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
	uint64_t room = find_room(bytes);

	frames = direct(room);
	if (!room || gmm_frames_init_zeroed(frames, bytes, n))
		panic("no room for the page-frame allocator: give the guest more memory", NULL);
	for (unsigned i = 0; i < boot.n_ranges; i++) {
		claim(last, boot.ranges[i].start);
		last = boot.ranges[i].end;
	}
	claim(0, PAGE_BYTES);
	claim(room, room + bytes);
	claim(boot.used.start, boot.used.end);
	if (boot.kernel.start < boot.used.start || boot.kernel.end > boot.used.end)
		claim(boot.kernel.start, boot.kernel.end);
	if (boot.shared_gpa &&
	    !(boot.shared_gpa >= boot.used.start && boot.shared_gpa < boot.used.end))
		claim(boot.shared_gpa, boot.shared_gpa + PAGE_BYTES);
}

void phys_init(void)
{
	for (unsigned i = 0; i < boot.n_ranges; i++)
		phys_n_pages += (boot.ranges[i].end - boot.ranges[i].start) / PAGE_BYTES;
	if (have_host() && boot.flags & GMM_BOOT_FRAMES) {
		frames = direct(boot.frames_gpa);
		phys_is_shared = hostcall(GMM_HC_SHARE, 0, 0, 0) == 0;
	} else {
		init_own();
	}
}

/* Up to n frames, fewer where there are not as many; how many. */
static unsigned get(unsigned n, uint64_t *gfns)
{
	/* Where the area ends the allocator chooses another. */
	if (n > 1 && next_at % HUGE_PAGES && next_at % HUGE_PAGES + n <= HUGE_PAGES &&
	    gmm_frames_claim(frames, next_at, n) == 0) {
		for (unsigned i = 0; i < n; i++)
			gfns[i] = next_at++;
		return n;
	}
	for (; n; n /= 4) {
		if (gmm_frames_get(frames, 0, n, gfns))
			continue;
		if (n > 1)
			next_at = gfns[n - 1] + 1;
		return n;
	}
	return 0;
}

/* None is free: dirty ones may be made so, and the VMM may have some. */
static unsigned get_after_all(unsigned n, uint64_t *gfns)
{
	unsigned got = 0;

	if (n_runs) {
		phys_flush();
		got = get(n, gfns);
	}
	if (!got && balloon_rescue(RESCUE))
		got = get(n, gfns);
	return got;
}

/* The same for a huge frame: what the VMM gives back is 2 MiB whole, where it took it so. */
static bool get_huge_after_all(uint64_t *gfn)
{
	if (n_runs) {
		phys_flush();
		if (phys_take_huge(gfn))
			return true;
	}
	return balloon_rescue(HUGE_PAGES) && phys_take_huge(gfn);
}

uint64_t phys_get(void)
{
	uint64_t gfn = 0;

	return get(1, &gfn) || get_after_all(1, &gfn) ? gfn : 0;
}

unsigned phys_get_some(unsigned n, uint64_t *gfns)
{
	unsigned got = get(n, gfns);

	return got ? got : get_after_all(n, gfns);
}

uint64_t phys_get_any(void)
{
	struct gmm_page_run *r;

	if (!n_runs)
		return phys_get();
	paging_settle();
	r = &runs[n_runs - 1];
	n_dirty--;
	if (--r->n_pages == 0)
		n_runs--;
	return r->gfn + r->n_pages;
}

uint64_t phys_get_huge(void)
{
	uint64_t gfn = 0, n_free = gmm_frames_n_free(frames);

	/* Out of memory: small pages would ask the VMM just so a moment later. */
	if (n_free < HUGE_PAGES)
		return get_huge_after_all(&gfn) ? gfn : 0;
	/* Page tables and small pages must not find everything taken by huge ones. */
	if (n_free < HUGE_PAGES + phys_n_pages / 16 || !phys_take_huge(&gfn))
		return 0;
	return gfn;
}

void phys_put(uint64_t gfn, unsigned n)
{
	n_dirty += n;
	if (n_runs && runs[n_runs - 1].gfn + runs[n_runs - 1].n_pages == gfn) {
		runs[n_runs - 1].n_pages += n;
		return;
	}
	if (n_runs == MAX_RUNS) {
		n_dirty -= n;
		phys_flush();
		n_dirty += n;
	}
	runs[n_runs++] = (struct gmm_page_run){gfn, n};
}

static void free_run(uint64_t gfn, uint64_t n)
{
	uint64_t list[BATCH];

	while (n) {
		unsigned k = 0;

		if (gfn % HUGE_PAGES == 0 && n >= HUGE_PAGES &&
		    gmm_frames_put_huge(frames, 0, gfn) == 0) {
			gfn += HUGE_PAGES;
			n -= HUGE_PAGES;
			continue;
		}
		while (k < BATCH && k < n && (k == 0 || gfn % BATCH)) {
			list[k++] = gfn++;
			n--;
		}
		gmm_frames_put(frames, 0, k, list);
	}
}

void phys_flush(void)
{
	unsigned n = n_runs;
	bool told;

	if (!n)
		return;
	paging_settle();
	told = have_host() && hostcall(GMM_HC_REPORT_FREE, 0, kernel_gpa(runs), n) == (long)n;
	n_runs = 0;
	n_dirty = 0;
	for (unsigned i = 0; i < n; i++) {
		if (!told)
			memset(direct(runs[i].gfn * PAGE_BYTES), 0, runs[i].n_pages * PAGE_BYTES);
		free_run(runs[i].gfn, runs[i].n_pages);
	}
}

void phys_discard(uint64_t gfn, uint64_t n)
{
	static struct gmm_page_run run __attribute__((aligned(16)));

	run = (struct gmm_page_run){gfn, n};
	if (!have_host() || hostcall(GMM_HC_REPORT_FREE, 0, kernel_gpa(&run), 1) != 1)
		memset(direct(gfn * PAGE_BYTES), 0, n * PAGE_BYTES);
}

void phys_settle(void)
{
	if (n_dirty >= REPORT_WORTH || (balloon_seen && phys_is_shared))
		phys_flush();
}

uint64_t phys_n_free(void)
{
	return gmm_frames_n_free(frames) + n_dirty;
}

bool phys_take_huge(uint64_t *gfn)
{
	/* Next to the last one, mostly: no search. */
	if (gmm_frames_claim(frames, huge_at, HUGE_PAGES)) {
		if (gmm_frames_get_huge(frames, 0, &huge_at))
			return false;
	}
	*gfn = huge_at;
	huge_at += HUGE_PAGES;
	return true;
}

unsigned phys_take(unsigned n, uint64_t *gfns)
{
	for (; n; n /= 2) {
		if (gmm_frames_get(frames, 0, n, gfns) == 0)
			return n;
	}
	return 0;
}

void phys_return(unsigned n, const uint64_t *gfns)
{
	if (n)
		gmm_frames_put(frames, 0, n, gfns);
}
