/* Lost pages that several touch at once: each gets the same error, whenever it comes. */
#include "vm.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>

#define PAGE 100

static _Thread_local sigjmp_buf touched_poison;

static void on_poison(int sig)
{
	siglongjmp(touched_poison, sig);
}

struct toucher {
	struct vm *vm;
	int sig; /* that the touch raised; 0: it went through */
};

static void *touch(void *arg)
{
	struct toucher *t = arg;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGBUS);
	sigaddset(&set, SIGSEGV);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL); /* the worker, who begins one, has them blocked */
	switch (sigsetjmp(touched_poison, 1)) {
	case 0:
		(void)*vm_word(t->vm, PAGE);
		t->sig = 0;
		break;
	case SIGBUS:
		t->sig = SIGBUS;
		break;
	default:
		t->sig = SIGSEGV;
		break;
	}
	return NULL;
}

/* The first touch's read fails while the second touch waits in the kernel's queue, not seen yet. */
struct late {
	struct vm *vm;
	struct toucher second;
	pthread_t thread;
	bool begun;
};

static int fail_late(void *user, enum gmm_store_verb verb, uint64_t n_seen)
{
	struct late *late = user;

	(void)n_seen;
	if (verb == GMM_STORE_WRITE || !late->vm->fail_reads)
		return 0;
	if (!late->begun) {
		late->begun = true;
		pthread_create(&late->thread, NULL, touch, &late->second);
		sleep_ms(100);
	}
	return -EBADMSG; /* for which no read is tried again */
}

START_TEST(invariant_6_whoever_comes_late_to_a_lost_page_gets_its_error)
{
	struct sigaction sa = {.sa_handler = on_poison};
	struct late late = {.begun = false};
	struct toucher first;
	struct vm *vm = calloc(1, sizeof(*vm));

	vm_make(vm, engines[_i], NULL, 16, 16, vm_store(32 * MIB, fail_late, &late));
	late.vm = first.vm = late.second.vm = vm;
	sigaction(SIGBUS, &sa, NULL);
	sigaction(SIGSEGV, &sa, NULL);
	for (uint64_t p = 0; p < PAGES(2); p++)
		*vm_word(vm, p) = p + 1;
	vm_evict_all(vm);
	vm->fail_reads = EBADMSG;
	touch(&first);
	ck_assert(late.begun);
	pthread_join(late.thread, NULL);
	ck_assert_int_ne(first.sig, 0);
	ck_assert_int_eq(late.second.sig, first.sig);
	touch(&first);
	ck_assert_int_eq(late.second.sig, first.sig);
	vm_free(vm, true);
}
END_TEST

UNIT_MAIN_LOOP("poison", N_ENGINES, 60,
	       invariant_6_whoever_comes_late_to_a_lost_page_gets_its_error)
