/* --swap SPEC: from its text to a store. */
#include "vmm/cmd/swap.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/cmd/size.h"
#include "vmm/say.h"

#define MIN_STORE_BYTES (UINT64_C(1) << 20)

static int read_capacity(const char *spec, const char *text, uint64_t *bytes)
{
	char error[SIZE_ERROR_BYTES];

	if (size_parse(text, bytes, error, sizeof(error))) {
		say("--swap %s: %s.", spec, error);
		return -EINVAL;
	}
	if (*bytes < MIN_STORE_BYTES || *bytes % GMM_PAGE_BYTES) {
		say("--swap %s: its size must be a multiple of 4K and at least 1M.", spec);
		return -EINVAL;
	}
	return 0;
}

static void say_file_error(const char *path, int err)
{
	const char *name = path ? path : "a private file in $TMPDIR (else /var/tmp)";

	switch (err) {
	case EEXIST:
		say("--swap: %s exists already: name a new file; it is removed at once and by "
		    "itself.",
		    name);
		break;
	case EISDIR:
		say("--swap: %s is a directory: name a file in it, file:%s/swap.", name, name);
		break;
	case EACCES:
	case EPERM:
	case EROFS:
		say("--swap: %s cannot be written: %s. Name another place by --swap file:PATH or "
		    "$TMPDIR; where io_uring is forbidden, set kernel.io_uring_disabled=0.",
		    name, strerror(err));
		break;
	case ENOSPC:
		say("--swap: no space for %s: free some, or name another place by --swap "
		    "file:PATH.",
		    name);
		break;
	case ENOSYS:
		say("--swap: this kernel has no io_uring; use --swap off.");
		break;
	default:
		say("--swap: cannot make %s: %s.", name, strerror(err));
		break;
	}
}

static int open_file(const char *spec, char *args, uint64_t memory_bytes, struct gmm_store **out)
{
	struct gmm_store_file_config config = {
		.size = sizeof(config),
		.capacity_bytes = memory_bytes < MIN_STORE_BYTES ? MIN_STORE_BYTES : memory_bytes,
	};
	char *size = args ? strstr(args, ",size=") : NULL;
	int rc;

	if (size) {
		*size = '\0';
		rc = read_capacity(spec, size + strlen(",size="), &config.capacity_bytes);
		if (rc)
			return rc;
	}
	if (args && *args)
		config.path = args;
	rc = gmm_store_file_new(&config, out);
	if (rc)
		say_file_error(config.path, -rc);
	return rc;
}

static int open_one(const char *spec, char *text, uint64_t memory_bytes, struct gmm_store **out)
{
	char *args = strchr(text, ':');

	if (args)
		*args++ = '\0';
	if (strcmp(text, "file") == 0)
		return open_file(spec, args, memory_bytes, out);
	say("--swap: '%s' is neither file:PATH[,size=SIZE] nor off.", spec);
	return -EINVAL;
}

int swap_open(const char *spec, uint64_t memory_bytes, struct gmm_store **out)
{
	char *text;
	int rc;

	if (!spec)
		return open_file("", NULL, memory_bytes, out);
	if (strcmp(spec, "off") == 0) {
		*out = NULL;
		return 0;
	}
	text = strdup(spec);
	if (!text)
		return -ENOMEM;
	rc = open_one(spec, text, memory_bytes, out);
	free(text);
	return rc;
}
