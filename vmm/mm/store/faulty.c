/* The faulty store: a wrapper for tests that makes chosen operations fail. An operation that is
 * chosen never reaches the store below. */
#include <errno.h>
#include <stdlib.h>

#include "store/ended.h"
#include "store/waker.h"

struct faulty {
	struct gmm_store base;
	struct gmm_store *under;
	gmm_store_fail_fn *fail;
	void *user;
	uint64_t n_seen, n_failed;
	struct ended ended; /* with an injected error */
	struct waker waker;
};

static struct faulty *faulty_of(struct gmm_store *st)
{
	return (struct faulty *)st;
}

static void end_failed(struct faulty *f, struct gmm_store_io *io)
{
	if (io->verb == GMM_STORE_WRITE)
		io->slot = GMM_SLOT_NONE;
	f->n_failed++;
	ended_add(&f->ended, io);
}

/* All or none are accepted, so the store below is asked before anything ends here. */
static int faulty_submit(struct gmm_store *st, struct gmm_store_io *const *ios, unsigned n)
{
	struct faulty *f = faulty_of(st);
	struct gmm_store_io **list = calloc(n ? n : 1, sizeof(*list));
	unsigned n_pass = 0, first_failed = n;
	int error = 0;

	if (!list)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++) {
		int result = f->fail(f->user, ios[i]->verb, f->n_seen + i);

		if (result) {
			ios[i]->result = result > 0 ? -result : result;
			list[--first_failed] = ios[i];
		} else {
			list[n_pass++] = ios[i];
		}
	}
	if (n_pass)
		error = f->under->ops->submit(f->under, list, n_pass);
	if (!error) {
		f->n_seen += n;
		while (n-- > first_failed)
			end_failed(f, list[n]);
		if (f->ended.head)
			waker_set(&f->waker);
	}
	free(list);
	return error;
}

static struct gmm_store_io *faulty_reap(struct gmm_store *st)
{
	struct faulty *f = faulty_of(st);

	waker_clear(&f->waker);
	*f->ended.tail = f->under->ops->reap(f->under);
	return ended_take(&f->ended);
}

static int faulty_fd(struct gmm_store *st)
{
	return faulty_of(st)->waker.epoll_fd;
}

static void faulty_release(struct gmm_store *st, const uint64_t *slots, unsigned n)
{
	struct gmm_store *under = faulty_of(st)->under;

	under->ops->release(under, slots, n);
}

static bool faulty_holds(struct gmm_store *st, uint64_t slot, const void *page)
{
	struct gmm_store *under = faulty_of(st)->under;

	return under->ops->holds && under->ops->holds(under, slot, page);
}

static int faulty_maintain(struct gmm_store *st)
{
	struct gmm_store *under = faulty_of(st)->under;

	return under->ops->maintain(under);
}

static void faulty_stats(struct gmm_store *st, struct gmm_store_stats *out)
{
	struct faulty *f = faulty_of(st);

	f->under->ops->stats(f->under, out);
	out->errors += f->n_failed;
}

static void faulty_free(struct gmm_store *st)
{
	struct faulty *f = faulty_of(st);

	waker_fini(&f->waker);
	gmm_store_free(f->under);
	free(f);
}

static const struct gmm_store_ops faulty_ops = {
	.size = sizeof(struct gmm_store_ops),
	.name = "faulty",
	.submit = faulty_submit,
	.reap = faulty_reap,
	.fd = faulty_fd,
	.release = faulty_release,
	.maintain = faulty_maintain,
	.holds = faulty_holds,
	.stats = faulty_stats,
	.free = faulty_free,
};

int gmm_store_faulty_new(struct gmm_store *under, gmm_store_fail_fn *fail, void *user,
			 struct gmm_store **out)
{
	struct faulty *f = calloc(1, sizeof(*f));
	int error;

	if (!f)
		return -ENOMEM;
	f->base.ops = &faulty_ops;
	f->under = under;
	f->fail = fail;
	f->user = user;
	ended_init(&f->ended);
	error = waker_init(&f->waker, &under, 1);
	if (error) {
		free(f);
		return error;
	}
	*out = &f->base;
	return 0;
}
