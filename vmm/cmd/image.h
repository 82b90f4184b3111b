/* Files that are read whole: kernels, programs, RAM disks. */
#ifndef VMM_CMD_IMAGE_H
#define VMM_CMD_IMAGE_H

#include <stdbool.h>
#include <stddef.h>

struct image {
	const char *name;
	const void *data;
	size_t bytes;
	bool owned;
};

/* Reads a file. Has said why on failure; negative errno. */
int image_open(const char *path, struct image *out);
void image_close(struct image *image);

/* The guest kernel that guestmm carries, with the bundled programs inside. */
struct image image_bundled_kernel(void);

#endif
