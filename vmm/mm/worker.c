/* Workers: see <guestmm/worker.h>. */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <guestmm/worker.h>

#include "space.h"

struct gmm_worker {
	struct gmm_space *space;
	pthread_t thread;
	atomic_bool stop;
	int stop_fd;
	uint32_t spin_us;
	cpu_set_t allowed; /* as inherited */
};

/* Waits for work, looking without sleeping for the first spin_us. Returns what is ready. */
static unsigned worker_wait(struct gmm_worker *w)
{
	uint64_t until = w->spin_us ? now_ns() + (uint64_t)w->spin_us * 1000 : 0;
	unsigned ready;

	while (until && now_ns() < until) {
		ready = space_wait(w->space, 0);
		if (ready || atomic_load_explicit(&w->stop, memory_order_relaxed))
			return ready;
	}
	return space_wait(w->space, -1);
}

static void *worker_run(void *arg)
{
	struct gmm_worker *w = arg;
	unsigned ready = space_wait(w->space, 0);
	int ret;

	while (!atomic_load(&w->stop)) {
		ret = space_dispatch(w->space, ready);
		if (ret == -EIO) { /* nothing is served any more; only stopping is left */
			poll(&(struct pollfd){.fd = w->stop_fd, .events = POLLIN}, 1, -1);
		} else if (ret == -EAGAIN) { /* who was served on this CPU goes first */
			sched_yield();
			ready = space_wait(w->space, 0);
		} else {
			ready = worker_wait(w);
		}
	}
	return NULL;
}

/* Signals are the program's business, not this thread's. */
static int worker_start(struct gmm_worker *w)
{
	sigset_t all, old;
	int ret;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = pthread_create(&w->thread, NULL, worker_run, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -ret;
}

int gmm_worker_set_cpu(struct gmm_worker *w, int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return -pthread_setaffinity_np(w->thread, sizeof(w->allowed), &w->allowed);
	if ((unsigned)cpu >= CPU_SETSIZE)
		return -EINVAL;
	CPU_ZERO(&set);
	CPU_SET((unsigned)cpu, &set);
	return -pthread_setaffinity_np(w->thread, sizeof(set), &set);
}

int gmm_worker_new(const struct gmm_worker_config *config, struct gmm_worker **out)
{
	struct gmm_worker *w;
	int ret;

	if (config->size < sizeof(*config) || !config->space)
		return -EINVAL;
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->space = config->space;
	w->spin_us = config->spin_us;
	w->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ret = w->stop_fd < 0 ? -errno : worker_start(w);
	if (ret) {
		if (w->stop_fd >= 0)
			close(w->stop_fd);
		free(w);
		return ret;
	}
	atomic_fetch_add(&w->space->n_workers, 1);
	ret = -pthread_getaffinity_np(w->thread, sizeof(w->allowed), &w->allowed);
	if (!ret)
		ret = gmm_worker_set_cpu(w, config->cpu);
	if (ret) {
		gmm_worker_free(w);
		return ret;
	}
	*out = w;
	return 0;
}

struct gmm_worker *gmm_worker_free(struct gmm_worker *w)
{
	if (!w)
		return NULL;
	atomic_store(&w->stop, true);
	eventfd_write(w->stop_fd, 1);
	eventfd_write(w->space->wake_fd, 1);
	pthread_join(w->thread, NULL);
	atomic_fetch_sub(&w->space->n_workers, 1);
	close(w->stop_fd);
	free(w);
	return NULL;
}
