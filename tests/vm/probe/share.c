/* The probe shares its page frames with the VMM, as a good kernel does and as a bad one might. */
#include <guestmm/frames.h>

#include "probe.h"

#define HELD 256u

static struct gmm_frames *block;

static void share(void)
{
	CHECK(info->flags & GMM_BOOT_FRAMES);
	block = direct(info->frames_gpa);
	CHECK(hostcall(GMM_HC_SHARE, 0, 0, 0) == 0);
}

/* The VMM laid the block for all RAM: free is what it neither used nor what is none. */
void do_share(void)
{
	const uint64_t end_of_ram = info->ranges[info->n_ranges - 1].end / 4096;
	uint64_t n = 0, frames[64];

	if (!(info->flags & GMM_BOOT_FRAMES)) { /* an old VMM, or one that is told not to */
		CHECK(hostcall(GMM_HC_SHARE, 0, 0, 0) == -ENOSYS);
		end(3);
	}
	block = direct(info->frames_gpa);
	CHECK(info->frames_gpa >= info->ranges[info->n_ranges - 1].end);
	CHECK(block->n_frames == end_of_ram && gmm_frames_bytes(end_of_ram) <= info->frames_bytes);
	for (unsigned i = 0; i < info->n_ranges; i++)
		n += (info->ranges[i].end - info->ranges[i].start) / 4096;
	n -= 1 + (info->used.end - info->used.start) / 4096;
	CHECK(gmm_frames_n_free(block) == n);
	CHECK(!gmm_frames_is_free(block, 0) && gmm_frames_is_free(block, end_of_ram - 1));
	CHECK(!gmm_frames_is_free(block, info->used.start / 4096));
	CHECK(!gmm_frames_is_free(block, info->used.end / 4096 - 1));
	CHECK(gmm_frames_is_free(block, info->used.end / 4096));
	if (info->n_ranges == 2)
		CHECK(!gmm_frames_is_free(block, GMM_MMIO_HOLE_START / 4096) &&
		      !gmm_frames_is_free(block, GMM_MMIO_HOLE_END / 4096 - 1));
	share();
	CHECK(hostcall(GMM_HC_SHARE, 0, 0, 0) == -EEXIST);
	/* What the VMM was asked to take before the start it has taken by now, and asks nobody. */
	CHECK(gmm_frames_n_held(block, GMM_FRAMES_HOST) == number(argument(1)));
	CHECK(((struct gmm_shared *)direct(info->shared_gpa))->balloon_target_pages == 0);
	CHECK(gmm_frames_get(block, 0, 64, frames) == 0);
	for (unsigned i = 0; i < 64; i++)
		CHECK(*(uint64_t *)direct(frames[i] * 4096) == 0);
}

/* Shares, and does nothing more that needs the VMM, which asks it for nothing either. */
void do_share_stay(void)
{
	const volatile struct gmm_shared *shared = direct(info->shared_gpa);

	share();
	do_hello();
	while (shared->balloon_target_pages == 0)
		__asm__ volatile("pause");
	fail(__LINE__);
}

static uint64_t next(void)
{
	static uint64_t seed = 88172645463325252u;

	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static uint64_t *word(uint64_t frame)
{
	return (uint64_t *)direct(frame * 4096) + frame % 512;
}

/* Gets and frees without end, and looks whether what it holds stays as it is, and whether what is
 * free reads as zero, for as many rounds as it is told. */
void do_share_verify(void)
{
	static uint64_t held[HELD], frames[16];
	unsigned n_held = 0;

	share();
	do_hello();
	for (uint64_t left = number(argument(1)); left; left--) {
		const unsigned n = (unsigned)(next() % 16) + 1;

		if (n_held + n <= HELD && next() % 2) {
			if (gmm_frames_get(block, 0, n, frames)) {
				hostcall(GMM_HC_OOM, n, 0, 0);
				continue;
			}
			for (unsigned i = 0; i < n; i++) {
				CHECK(*word(frames[i]) == 0);
				*word(frames[i]) = ~frames[i];
				held[n_held++] = frames[i];
			}
		} else if (n_held >= n) {
			for (unsigned i = 0; i < n; i++) {
				const uint64_t at = next() % n_held, frame = held[at];

				CHECK(*word(frame) == ~frame);
				*word(frame) = 0;
				held[at] = held[--n_held];
				CHECK(gmm_frames_put(block, 0, 1, &frame) == 0);
			}
		}
	}
}

/* Uses and frees as many areas of 2 MiB as it is told, one after the other; what it keeps in the
 * last one stays. */
void do_share_free(void)
{
	const uint64_t n = number(argument(1)), last = info->ranges[0].end / 4096 - 512;

	share();
	CHECK(gmm_frames_claim(block, last, 512) == 0);
	for (uint64_t i = 0; i < 512; i++)
		*word(last + i) = ~i;
	for (uint64_t area = 8; area < 8 + n; area++) {
		CHECK(gmm_frames_claim(block, area * 512, 512) == 0);
		for (uint64_t i = 0; i < 512; i++)
			*word(area * 512 + i) = ~i;
		CHECK(gmm_frames_put_huge(block, 0, area * 512) == 0);
	}
	for (uint64_t i = 0; i < 512; i++)
		CHECK(*word(last + i) == ~i);
}

/* Writes whatever it likes to the block, and touches memory everywhere. With argument 0 it spares
 * the bits that say that it is in use itself, and lives on. */
void do_share_scribble(void)
{
	const uint64_t n_words = info->frames_bytes / 8, n_frames = info->ranges[0].end / 4096;
	const uint64_t mine = sizeof(*block) / 8, end = mine + info->used.end / 4096 / 64 + 1;
	const bool all = number(argument(1));

	share();
	do_hello();
	for (;;) {
		const uint64_t x = next(), at = next() % n_words;
		const uint64_t value = x % 3 == 0 ? 0 : x % 3 == 1 ? ~UINT64_C(0) : next();
		const uint64_t frame = next() % n_frames;

		if (all || at < mine || at >= end)
			((volatile uint64_t *)(void *)block)[at] = value;
		if (x % 8 == 0 && frame >= info->used.end / 4096)
			*word(frame) = x;
	}
}
