/* Pools: see pool.h (inside) and <guestmm/pool.h>. */
#include "pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "fatal.h"

int gmm_pool_new(const struct gmm_pool_config *config, struct gmm_pool **out)
{
	struct gmm_pool *pool;

	if (config->size < sizeof(*config) || config->limit_bytes % GMM_PAGE_BYTES ||
	    config->limit_bytes < GMM_POOL_MIN_BYTES)
		return -EINVAL;
	pool = calloc(1, sizeof(*pool));
	if (!pool)
		return -ENOMEM;
	pthread_mutex_init(&pool->lock, NULL);
	atomic_init(&pool->limit_pages, config->limit_bytes >> GMM_PAGE_SHIFT);
	*out = pool;
	return 0;
}

struct gmm_pool *gmm_pool_free(struct gmm_pool *pool)
{
	if (!pool)
		return NULL;
	CHECK(atomic_load(&pool->n_members) == 0, "a space still uses this pool");
	pthread_mutex_destroy(&pool->lock);
	free(pool);
	return NULL;
}

static void pool_wake_others(struct gmm_pool *pool, const struct pool_member *me)
{
	pthread_mutex_lock(&pool->lock);
	for (struct pool_member *m = pool->members; m; m = m->next)
		if (m != me)
			eventfd_write(m->wake_fd, 1);
	pthread_mutex_unlock(&pool->lock);
}

int gmm_pool_set_limit(struct gmm_pool *pool, uint64_t limit_bytes)
{
	if (limit_bytes % GMM_PAGE_BYTES || limit_bytes < GMM_POOL_MIN_BYTES)
		return -EINVAL;
	atomic_store(&pool->limit_pages, limit_bytes >> GMM_PAGE_SHIFT);
	pool_wake_others(pool, NULL);
	return 0;
}

void gmm_pool_stats(struct gmm_pool *pool, struct gmm_pool_stats *out)
{
	const struct gmm_pool_stats all = {
		.size = out->size,
		.limit_bytes = atomic_load(&pool->limit_pages) << GMM_PAGE_SHIFT,
		.used_bytes = atomic_load(&pool->used_pages) << GMM_PAGE_SHIFT,
		.used_peak_bytes = atomic_load(&pool->peak_pages) << GMM_PAGE_SHIFT,
		.reserve_bytes = atomic_load(&pool->reserve_pages) << GMM_PAGE_SHIFT,
	};

	memcpy(out, &all, out->size < sizeof(all) ? out->size : sizeof(all));
}

void pool_join(struct gmm_pool *pool, struct pool_member *m, int wake_fd)
{
	m->pool = pool;
	m->wake_fd = wake_fd;
	pthread_mutex_lock(&pool->lock);
	m->next = pool->members;
	pool->members = m;
	pthread_mutex_unlock(&pool->lock);
	atomic_fetch_add(&pool->n_members, 1);
}

void pool_leave(struct pool_member *m)
{
	struct gmm_pool *pool = m->pool;
	struct pool_member **at;

	if (!pool)
		return;
	pool_starve(m, false);
	CHECK(atomic_load(&m->used_pages) == 0, "%lu frames still charged",
	      (unsigned long)atomic_load(&m->used_pages));
	pthread_mutex_lock(&pool->lock);
	for (at = &pool->members; *at != m; at = &(*at)->next)
		;
	*at = m->next;
	pthread_mutex_unlock(&pool->lock);
	atomic_fetch_sub(&pool->n_members, 1);
	m->pool = NULL;
}

bool pool_charge(struct pool_member *m, uint64_t n)
{
	struct gmm_pool *pool = m->pool;
	uint64_t used = atomic_load(&pool->used_pages), peak;

	do {
		uint64_t limit = atomic_load(&pool->limit_pages);

		if (used > limit || n > limit - used)
			return false;
	} while (!atomic_compare_exchange_weak(&pool->used_pages, &used, used + n));
	atomic_fetch_add(&m->used_pages, n);
	peak = atomic_load(&pool->peak_pages);
	while (peak < used + n && !atomic_compare_exchange_weak(&pool->peak_pages, &peak, used + n))
		;
	return true;
}

void pool_uncharge(struct pool_member *m, uint64_t n)
{
	struct gmm_pool *pool = m->pool;

	CHECK(atomic_fetch_sub(&m->used_pages, n) >= n, "more frames freed than charged");
	atomic_fetch_sub(&pool->used_pages, n);
	if (atomic_load(&pool->n_starving) > (unsigned)atomic_load(&m->starving))
		pool_wake_others(pool, m);
}

void pool_starve(struct pool_member *m, bool starving)
{
	if (atomic_exchange(&m->starving, starving) == starving)
		return;
	if (!starving) {
		atomic_fetch_sub(&m->pool->n_starving, 1);
		return;
	}
	atomic_fetch_add(&m->pool->n_starving, 1);
	if (atomic_load(&m->pool->n_members) > 1)
		pool_wake_others(m->pool, m);
}

uint64_t pool_available(const struct gmm_pool *pool)
{
	uint64_t limit = atomic_load(&pool->limit_pages), used = atomic_load(&pool->used_pages);

	return used < limit ? limit - used : 0;
}

uint64_t pool_excess(const struct gmm_pool *pool)
{
	uint64_t limit = atomic_load(&pool->limit_pages), used = atomic_load(&pool->used_pages);

	return used > limit ? used - limit : 0;
}

uint64_t pool_share(const struct gmm_pool *pool)
{
	unsigned n = atomic_load(&pool->n_members);

	return atomic_load(&pool->limit_pages) / (n ? n : 1);
}
