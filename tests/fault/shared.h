/* A guest that shares its page-frame allocator, for tests: a struct vm and a block in memory of
 * this process. */
#ifndef TESTS_FAULT_SHARED_H
#define TESTS_FAULT_SHARED_H

#include <guestmm/frames.h>
#include <sys/mman.h>

#include "vm.h"

struct shared_vm {
	struct vm *vm;
	struct gmm_frames *block;
	size_t block_bytes;
};

static inline struct shared_vm shared_new(enum gmm_engine engine, uint64_t mem_mib,
					  uint64_t limit_mib, uint64_t swap_mib)
{
	struct shared_vm s = {.vm = vm_new(engine, NULL, mem_mib, limit_mib, swap_mib)};
	struct gmm_balloon_share share = {.size = sizeof(share), .n_frames = PAGES(mem_mib)};

	s.block_bytes = gmm_frames_bytes(PAGES(mem_mib));
	s.block = aligned_alloc(128, (s.block_bytes + 127) & ~127ul);
	ck_assert_int_eq(gmm_frames_init(s.block, s.block_bytes, PAGES(mem_mib)), 0);
	share.block = s.block;
	share.block_bytes = s.block_bytes;
	ck_assert_int_eq(gmm_balloon_share(s.vm->balloon, &share), 0);
	return s;
}

static inline void shared_free(struct shared_vm *s)
{
	vm_free(s->vm, true);
	free(s->block);
}

static inline uint64_t shared_taken(const struct shared_vm *s)
{
	return gmm_balloon_bytes(s->vm->balloon) / 4096;
}

#endif
