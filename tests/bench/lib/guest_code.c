/* Guest code: see guest_code.h. Compiled without what needs a C library or a kernel below it. */
#include "guest_code.h"

#define GUEST __attribute__((section("guest_text"), noinline, used))

extern const char __start_guest_text[], __stop_guest_text[];

__asm__(".pushsection guest_text, \"ax\", @progbits\n"
	".globl guest_entry\n"
	".hidden guest_entry\n"
	"guest_entry:\n"
	"	call *%rax\n"
	"	out %al, $0x10\n"
	"	ud2\n"
	".popsection\n");
_Static_assert(GUEST_PORT_END == 0x10, "the port of guest_entry");

static inline __attribute__((always_inline)) uint64_t access_page(const struct guest_args *args,
								  uint64_t page)
{
	volatile uint64_t *at = (volatile uint64_t *)(args->base + page * 4096); /* NOLINT */

	if (!args->write)
		return *at != (args->zero ? 0 : guest_tag(page));
	*at = args->zero ? 0 : guest_tag(page);
	return 0;
}

/* Waits for what came before it. */
static inline __attribute__((always_inline)) uint64_t cycles(void)
{
	uint32_t low, high;

	__asm__ volatile("lfence\n\trdtsc\n\tlfence" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

GUEST void guest_in_order(struct guest_args *args)
{
	const uint64_t n = args->n;
	uint64_t n_wrong = 0;

	for (uint64_t pass = 0; pass < args->repeat; pass++)
		for (uint64_t page = 0; page < n; page++)
			n_wrong += access_page(args, page);
	args->n_wrong = n_wrong;
}

GUEST void guest_by_list(struct guest_args *args)
{
	const uint32_t *list = (const uint32_t *)args->list;	 /* NOLINT */
	volatile uint32_t *log = (volatile uint32_t *)args->log; /* NOLINT */
	const uint64_t n = args->n;
	uint64_t n_wrong = 0, began;

	for (uint64_t pass = 0; pass < args->repeat; pass++)
		for (uint64_t i = 0; i < n; i++) {
			if (!log) {
				n_wrong += access_page(args, list[i]);
				continue;
			}
			began = cycles();
			n_wrong += access_page(args, list[i]);
			began = cycles() - began;
			log[i] = began > UINT32_MAX ? UINT32_MAX : (uint32_t)began;
		}
	args->n_wrong = n_wrong;
}

GUEST void guest_fill(struct guest_args *args)
{
	for (uint64_t page = 0; page < args->n; page++)
		guest_fill_page((volatile uint64_t *)(args->base + page * 4096), /* NOLINT */
				page, args->n_noise);
	args->n_wrong = 0;
}

const void *guest_code_start(size_t *bytes)
{
	*bytes = (size_t)(__stop_guest_text - __start_guest_text);
	return __start_guest_text;
}

uint64_t guest_code_at(const void *function, uint64_t to)
{
	return to + (uint64_t)((const char *)function - __start_guest_text);
}
