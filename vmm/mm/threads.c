/* Threads: see threads.h. */
#include "threads.h"

#include <sys/syscall.h>
#include <unistd.h>

bool threads_has(struct threads *t, int32_t tid)
{
	unsigned at = (unsigned)tid % THREADS_N;

	if (tid <= 0)
		return false;
	if (t->seen[at].tid != tid) {
		t->seen[at].tid = tid;
		t->seen[at].is_own = syscall(SYS_tgkill, getpid(), tid, 0) == 0;
	}
	return t->seen[at].is_own;
}
