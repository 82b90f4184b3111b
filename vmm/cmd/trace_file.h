/* `guestmm run --trace FILE`: a thread that writes what the memory's trace has. */
#ifndef VMM_CMD_TRACE_FILE_H
#define VMM_CMD_TRACE_FILE_H

#include <guestmm/trace.h>

struct trace_file;

/* Opens the file and starts the thread. 0, or a negative errno having said why. */
int trace_file_open(const char *path, uint64_t limit_bytes, struct trace_file **out);

/* For the space. */
struct gmm_trace *trace_file_trace(const struct trace_file *f);

/* Writes what is left and ends the thread. 0, or a negative errno having said what went wrong.
 * Takes NULL, and may be called twice. */
int trace_file_end(struct trace_file *f);

/* When the space is gone. Takes NULL, returns NULL. */
struct trace_file *trace_file_free(struct trace_file *f);

#endif
