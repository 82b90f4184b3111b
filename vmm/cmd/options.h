/* `guestmm run`'s options. */
#ifndef VMM_CMD_OPTIONS_H
#define VMM_CMD_OPTIONS_H

#include <guestmm/abi.h>
#include <guestmm/guestmm.h>

enum balloon_mode { BALLOON_OFF, BALLOON_AUTO, BALLOON_SIZE };
enum balloon_by { BALLOON_BY_SHARE, BALLOON_BY_LIST };

struct file_option {
	const char *host_path;
	char name[GMM_FILE_NAME_BYTES]; /* begins with '/' */
};

struct run_options {
	uint64_t memory_bytes, limit_bytes;
	unsigned n_cpus;
	const char *swap;
	bool swap_encrypt;
	enum balloon_mode balloon;
	uint64_t balloon_bytes;
	enum balloon_by balloon_by;
	enum gmm_engine engine;
	enum gmm_huge huge;
	enum gmm_working_set working_set;
	const struct gmm_policy_ops *policy; /* NULL: the default */
	unsigned n_files;
	struct file_option files[GMM_MAX_FILES];
	const char *stats, *trace, *control, *kernel, *initrd, *cmdline;
	bool quiet, summary;
	int placement, fault_cpu; /* see placement.h */
	unsigned n_args; /* program and its arguments */
	char **args;
};

/* Reads the command line. Returns 0, or CMD_EXIT_USAGE having said what is wrong. --help and
 * --usage end the process. Strings point into argv. */
int options_parse(int argc, char **argv, struct run_options *out);

#endif
