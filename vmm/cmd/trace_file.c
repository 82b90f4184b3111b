/* A trace's file: see trace_file.h. The thread that serves the guest's faults only fills a buffer;
 * this one may wait for the disk. */
#include "vmm/cmd/trace_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vmm/say.h"

#define READ_RECORDS 4096u /* at a time: 64 KiB */
#define PAUSE_NS     20000000

struct trace_file {
	const char *path;
	int fd, error; /* error: of the thread, once it has ended */
	struct gmm_trace *trace;
	pthread_t thread;
	bool is_running;
	atomic_bool stop;
};

static int put(struct trace_file *f, const void *data, size_t bytes)
{
	const char *from = data;

	while (bytes) {
		ssize_t n = write(f->fd, from, bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		from += n;
		bytes -= (size_t)n;
	}
	return 0;
}

static void *run(void *arg)
{
	static const struct timespec pause = {.tv_nsec = PAUSE_NS};
	struct gmm_trace_record *records = malloc(READ_RECORDS * sizeof(*records));
	struct trace_file *f = arg;
	bool ending = false;
	uint32_t n;

	f->error = records ? 0 : -ENOMEM;
	while (!f->error) {
		n = gmm_trace_read(f->trace, records, READ_RECORDS);
		f->error = put(f, records, n * sizeof(*records));
		if (n)
			continue;
		if (ending)
			break;
		/* What came before the end was asked for is there when it has been seen. */
		ending = atomic_load(&f->stop);
		if (!ending)
			nanosleep(&pause, NULL);
	}
	free(records);
	if (f->error)
		say("--trace: cannot write %s: %s; the trace ends here.", f->path,
		    strerror(-f->error));
	return NULL;
}

static int start(struct trace_file *f, uint64_t limit_bytes)
{
	struct gmm_trace_header header = {
		.version = GMM_TRACE_VERSION,
		.record_bytes = sizeof(struct gmm_trace_record),
		.sort = GMM_TRACE_FAULTS,
		.limit_bytes = limit_bytes,
	};
	int rc;

	memcpy(header.magic, GMM_TRACE_MAGIC, sizeof(header.magic));
	f->fd = open(f->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (f->fd < 0)
		return -errno;
	rc = put(f, &header, sizeof(header));
	if (!rc)
		rc = gmm_trace_new(0, &f->trace);
	if (!rc)
		rc = -pthread_create(&f->thread, NULL, run, f);
	f->is_running = !rc;
	return rc;
}

int trace_file_open(const char *path, uint64_t limit_bytes, struct trace_file **out)
{
	struct trace_file *f = calloc(1, sizeof(*f));
	int rc;

	if (!f)
		return -ENOMEM;
	f->path = path;
	f->fd = -1;
	rc = start(f, limit_bytes);
	if (rc) {
		say("--trace: cannot write %s: %s.", path, strerror(-rc));
		trace_file_free(f);
		return rc;
	}
	*out = f;
	return 0;
}

struct gmm_trace *trace_file_trace(const struct trace_file *f)
{
	return f ? f->trace : NULL;
}

int trace_file_end(struct trace_file *f)
{
	uint64_t n_lost;

	if (!f || !f->is_running)
		return f ? f->error : 0;
	atomic_store(&f->stop, true);
	pthread_join(f->thread, NULL);
	f->is_running = false;
	if (close(f->fd) < 0 && !f->error) {
		f->error = -errno;
		say("--trace: cannot write %s: %s.", f->path, strerror(-f->error));
	}
	f->fd = -1;
	n_lost = gmm_trace_lost(f->trace);
	if (n_lost && !f->error)
		say("--trace: %" PRIu64 " records came faster than %s could be written, and are "
		    "missing there.",
		    n_lost, f->path);
	return f->error;
}

struct trace_file *trace_file_free(struct trace_file *f)
{
	if (!f)
		return NULL;
	trace_file_end(f);
	if (f->fd >= 0)
		close(f->fd);
	gmm_trace_free(f->trace);
	free(f);
	return NULL;
}
