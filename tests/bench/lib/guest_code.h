/* What the guest runs: loops at CPL 3, the same for the library and for its floors.
 *
 * The functions are position independent, call nothing and have no data of their own; a bare
 * virtual machine copies them, from guest_code_start on, into its low memory. There is no kernel
 * below them: they end with an `out`. Page numbers count from `base`.
 */
#ifndef BENCH_GUEST_CODE_H
#define BENCH_GUEST_CODE_H

#include <stddef.h>
#include <stdint.h>

#define GUEST_PORT_END 0x10

/* Addresses are guest-virtual. */
struct guest_args {
	uint64_t base;	  /* page 0 */
	uint64_t n;	  /* pages, or entries of the list */
	uint64_t list;	  /* uint32_t[n]: page numbers */
	uint64_t log;	  /* uint32_t[n]: cycles each access took; 0: not wanted */
	uint64_t write;	  /* store, rather than load and compare */
	uint64_t zero;	  /* what is stored, or expected, is 0 rather than the page's tag */
	uint64_t n_noise; /* of a page's 512 words, how many are noise when it is filled */
	uint64_t repeat;  /* passes over all of it, at least one */
	uint64_t n_wrong; /* out: loads that were not as expected */
};

/* Pages 0 to n - 1, in order. */
void guest_in_order(struct guest_args *args);

/* The list's pages, in the list's order; each access timed where a log is wanted. */
void guest_by_list(struct guest_args *args);

/* Fills pages 0 to n - 1: the tag, noise, the same word repeated. */
void guest_fill(struct guest_args *args);

/* Where the code begins and how long it is; where an address of this process is in a copy at `to`.
 */
const void *guest_code_start(size_t *bytes);
uint64_t guest_code_at(const void *function, uint64_t to);

/* Calls the function in rax with rdi, and ends. */
extern const char guest_entry[];

/* The first word of a page that was written. Page 0's, too, is not zero. */
static inline uint64_t guest_tag(uint64_t page)
{
	return (page + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

/* The words of a filled page: made here as the guest makes them, for floors that need them. */
static inline uint64_t guest_noise(uint64_t word)
{
	word ^= word << 13;
	word ^= word >> 7;
	word ^= word << 17;
	return word;
}

static inline void guest_fill_page(volatile uint64_t *at, uint64_t page, uint64_t n_noise)
{
	uint64_t word = guest_tag(page);

	for (unsigned i = 0; i < 512; i++) {
		at[i] = word;
		if (i < n_noise)
			word = guest_noise(word);
	}
}

#endif
