/* The ELF reader and the kernel detection, on any bytes. What is accepted must be as promised. */
#include <stdint.h>
#include <stdlib.h>

#include "vmm/boot/elf.h"
#include "vmm/boot/linux.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check(const uint8_t *data, size_t bytes, int kernel)
{
	char error[ELF_ERROR_BYTES];
	struct elf_image image;

	if (elf_parse(data, bytes, kernel, &image, error))
		return;
	if (image.n_segments == 0 || image.n_segments > ELF_MAX_SEGMENTS)
		abort();
	for (unsigned i = 0; i < image.n_segments; i++) {
		const struct elf_segment *s = &image.segments[i];

		if (s->offset > bytes || s->file_bytes > bytes - s->offset ||
		    s->file_bytes > s->memory_bytes || s->vaddr + s->memory_bytes < s->vaddr ||
		    s->paddr + s->memory_bytes < s->paddr)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	check(data, bytes, 0);
	check(data, bytes, 1);
	linux_kind(data, bytes);
	return 0;
}
