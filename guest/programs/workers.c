/* Work on all CPUs, and memory to work on. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <system.h>
#include <thread.h>

#include "program.h"

unsigned workers_count(void)
{
	unsigned n = system_n_cpus();

	return n < WORKERS_MAX ? n : WORKERS_MAX;
}

void workers_run(unsigned n, void (*run)(void *), void *args, size_t stride)
{
	static struct thread threads[WORKERS_MAX];
	bool started[WORKERS_MAX] = {false};

	for (unsigned i = 1; i < n; i++)
		started[i] = thread_start(&threads[i], run, (char *)args + i * stride) == 0;
	run(args);
	for (unsigned i = 1; i < n; i++) {
		if (started[i])
			thread_join(&threads[i]);
		else /* no CPU was idle: here, one after the other */
			run((char *)args + i * stride);
	}
}

void *pages_map(const char *who, uint64_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p != MAP_FAILED)
		return p;
	eprintf("%s: cannot map %lu bytes: %s. Ask for fewer, or give the guest more memory.\n",
		who, bytes, strerror(errno));
	return NULL;
}
