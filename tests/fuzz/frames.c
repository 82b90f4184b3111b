/* Operations on an allocator whose block the other side writes to as it likes: the input is the
 * block's bytes at first, then operations, some of which overwrite a word of the block. Whatever it
 * holds, nothing outside of it is touched (the address sanitizer looks), no frame outside [0,
 * n_frames) comes out, no frame is named twice in a batch, every call ends (libFuzzer's timeout).
 */
#include <guestmm/frames.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void one_get(struct gmm_fr r, struct input *in)
{
	uint64_t frames[GMM_FRAMES_HUGE];
	unsigned caller = (unsigned)take(in, 1) - 1, n = (unsigned)take(in, 2) % 520;
	unsigned holder = caller / 64 % 5;

	if (gmm_fr_get_as(r, caller, holder, n, frames))
		return;
	must(holder < GMM_FRAMES_HOLDERS);
	for (unsigned i = 0; i < n; i++)
		must(frames[i] < r.n_frames && (i == 0 || frames[i] > frames[i - 1]));
}

static void one_put(struct gmm_fr r, struct input *in)
{
	uint64_t frames[GMM_FRAMES_HUGE], first = take(in, 2), stride = take(in, 1);
	unsigned caller = (unsigned)take(in, 1), n = (unsigned)take(in, 2) % 512 + 1;

	for (unsigned i = 0; i < n; i++)
		frames[i] = first + i * stride;
	if (take(in, 1) % 4)
		gmm_fr_put_as(r, caller, caller / 64 % 5, n, frames);
	else
		gmm_fr_pass(r, caller, caller / 64 % 5, caller % 5, n, frames);
}

static void ask(struct gmm_fr r, struct input *in)
{
	uint64_t frame = take(in, 8);
	int class = gmm_fr_class(r, frame);

	must(class < (int)GMM_FRAMES_HOLDERS);
	must((class == -GMM_FRAMES_ERANGE) == (frame >= r.n_frames));
	gmm_fr_is_free(r, frame);
	must(gmm_fr_n_free(r) <= r.n_frames);
	must(gmm_fr_n_free_huge(r) <= r.n_frames / GMM_FRAMES_HUGE);
	for (unsigned holder = 0; holder < 6; holder++)
		must(gmm_fr_n_held(r, holder) <= r.n_frames);
}

/* The same batch again and again: it is tied. */
static void repeat(struct gmm_fr r, struct input *in, size_t bytes)
{
	uint64_t frames[GMM_FRAMES_HUGE];
	unsigned caller = (unsigned)take(in, 1) % 3, n = (unsigned)take(in, 2) % 513;

	for (unsigned i = 0; i < 4; i++) {
		if (gmm_fr_get(r, caller, n, frames))
			return;
		for (unsigned k = 0; k < n; k++)
			must(frames[k] < r.n_frames && (k == 0 || frames[k] > frames[k - 1]));
		gmm_fr_put(r, caller, n, frames);
		if (take(in, 1) % 2) { /* somebody writes to the bundles */
			size_t at = (size_t)((char *)gmm_fr_bundles(r) - (char *)r.f) / 8;

			if (at + 300 < bytes / 8)
				((uint64_t *)(void *)r.f)[at + take(in, 2) % 300] = take(in, 8);
		}
	}
}

static void one_op(struct gmm_fr r, struct input *in, size_t bytes)
{
	uint64_t first;

	switch (take(in, 1) % 11) {
	case 0:
	case 1:
		one_get(r, in);
		break;
	case 2:
		one_put(r, in);
		break;
	case 3:
		if (!gmm_fr_get_huge_as(r, (unsigned)take(in, 1), (unsigned)take(in, 1) % 5,
					&first))
			must(first % GMM_FRAMES_HUGE == 0 && first < r.n_frames &&
			     r.n_frames - first >= GMM_FRAMES_HUGE);
		break;
	case 4:
		gmm_fr_put_huge_as(r, (unsigned)take(in, 1), (unsigned)take(in, 1) % 5,
				   take(in, 2) & ~UINT64_C(255));
		break;
	case 5:
		gmm_fr_claim_as(r, (unsigned)take(in, 1) % 5, take(in, 2), take(in, 2));
		break;
	case 6:
		ask(r, in);
		break;
	case 9:
		if (!gmm_fr_get_order_as(r, (unsigned)take(in, 1), (unsigned)take(in, 1) % 5,
					 (unsigned)take(in, 1) % 12, &first))
			must(first < r.n_frames);
		break;
	case 10:
		gmm_fr_put_run_as(r, (unsigned)take(in, 1), (unsigned)take(in, 1) % 5, take(in, 3),
				  take(in, 3));
		break;
	case 8:
		repeat(r, in, bytes);
		break;
	case 7:
		first = take(in, 3) % (bytes / 8);
		((uint64_t *)(void *)r.f)[first] = take(in, 8);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	uint64_t n_frames = take(&in, 2) % 5000 + 1, fill = take(&in, 1);
	size_t bytes;
	struct gmm_frames *f;
	struct gmm_fr r;

	if (fill & 4) /* enough for two bundles */
		n_frames += 64 * 512;
	bytes = gmm_frames_bytes(n_frames);
	f = malloc(bytes);
	r = (struct gmm_fr){f, n_frames};
	must(f != NULL);
	if (fill % 4 == 0)
		must(!gmm_frames_init(f, bytes, n_frames));
	else
		memset(f, (int)fill, bytes);
	f->n_frames = ~n_frames; /* what the block says of its size is not believed */
	while (in.left)
		one_op(r, &in, bytes);
	free(f);
	return 0;
}
