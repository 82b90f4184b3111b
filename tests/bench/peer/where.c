/* Where a machine's time goes while a command runs: peer_where OUT COMMAND [ARG...]
 *
 * All processors are sampled by the kernel's clock event, 97 times a second, which needs no
 * performance counters and so works on hosts that have none. OUT gets a line for each place, the
 * most frequent first: how often, the thread's name, the module, the address in it or the kernel's
 * symbol. What ran in a virtual machine is one place ("guest"). Addresses in programs are
 * for `nm`; an idle processor is a place too ("idle"). Exit status: the command's. Root only.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define HZ	   97
#define RING_PAGES 64u /* a power of two */
#define CPUS_MAX   64u
#define PLACES	   65536u /* a power of two */
#define MAPS_MAX   4096u
#define NAMES	   64u /* of threads, remembered */

struct sample {
	struct perf_event_header header;
	uint64_t ip;
	uint32_t pid, tid;
};

struct place {
	uint64_t address;
	char thread[16], module[32];
	uint64_t n;
};

struct map {
	uint32_t pid;
	uint64_t start, end, offset;
	char name[32];
};

struct symbol {
	uint64_t address;
	char name[48];
};

struct profile {
	struct perf_event_mmap_page *rings[CPUS_MAX];
	unsigned n_cpus;
	struct place *places;
	struct map *maps;
	unsigned n_maps;
	struct symbol *symbols;
	size_t n_symbols;
	struct {
		uint32_t tid;
		char name[16];
	} names[NAMES];
	uint64_t n_lost;
};

static void die(const char *what)
{
	fprintf(stderr, "peer_where: %s: %s\n", what, strerror(errno));
	exit(125);
}

/* ---- The kernel's symbols ---- */

static int by_address(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;

	return (x->address > y->address) - (x->address < y->address);
}

static void read_symbols(struct profile *p)
{
	FILE *f = fopen("/proc/kallsyms", "re");
	size_t room = 0;
	char line[512], type;

	if (!f)
		die("/proc/kallsyms");
	while (fgets(line, sizeof(line), f)) {
		struct symbol s;

		if (sscanf(line, "%" SCNx64 " %c %47s", &s.address, &type, s.name) != 3 ||
		    !strchr("tTwW", type))
			continue;
		if (p->n_symbols == room) {
			room = room ? 2 * room : 65536;
			p->symbols = realloc(p->symbols, room * sizeof(s));
			if (!p->symbols)
				die("memory");
		}
		p->symbols[p->n_symbols++] = s;
	}
	fclose(f);
	qsort(p->symbols, p->n_symbols, sizeof(*p->symbols), by_address);
}

static const struct symbol *find_symbol(const struct profile *p, uint64_t address)
{
	size_t low = 0, high = p->n_symbols;

	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (p->symbols[middle].address <= address)
			low = middle;
		else
			high = middle;
	}
	return high > low ? &p->symbols[low] : NULL;
}

/* ---- Programs' mappings, read when a process is first seen in a place that is not known ---- */

static void read_maps(struct profile *p, uint32_t pid)
{
	char path[64], line[512], name[256], rights[8];
	struct map m = {.pid = pid};
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%u/maps", pid);
	f = fopen(path, "re");
	if (!f)
		return;
	while (fgets(line, sizeof(line), f) && p->n_maps < MAPS_MAX) {
		const char *base;

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s %" SCNx64 " %*s %*s %255s", &m.start,
			   &m.end, rights, &m.offset, name) != 5 ||
		    rights[2] != 'x')
			continue;
		base = strrchr(name, '/');
		snprintf(m.name, sizeof(m.name), "%.31s", base ? base + 1 : name);
		p->maps[p->n_maps++] = m;
	}
	fclose(f);
}

static const struct map *find_map(const struct profile *p, uint32_t pid, uint64_t ip)
{
	for (unsigned i = 0; i < p->n_maps; i++)
		if (p->maps[i].pid == pid && ip >= p->maps[i].start && ip < p->maps[i].end)
			return &p->maps[i];
	return NULL;
}

/* ---- Samples ---- */

static void read_name(uint32_t pid, uint32_t tid, char name[16])
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%u/task/%u/comm", pid, tid);
	f = fopen(path, "re");
	if (!f || !fgets(name, 16, f))
		snprintf(name, 16, "(ended)");
	if (f)
		fclose(f);
	for (char *c = name; *c; c++)
		*c = *c == '\n' ? '\0' : *c == ' ' ? '_' : *c;
}

static void thread_name(struct profile *p, const struct sample *s, char name[16])
{
	unsigned i = s->tid % NAMES;

	if (p->names[i].tid != s->tid) {
		read_name(s->pid, s->tid, p->names[i].name);
		p->names[i].tid = s->tid;
	}
	memcpy(name, p->names[i].name, 16);
}

static void count(struct profile *p, const struct place *at)
{
	uint64_t hash = at->address * UINT64_C(0x9e3779b97f4a7c15);

	for (const char *c = at->thread; *c; c++)
		hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
	for (unsigned i = 0; i < PLACES; i++) {
		struct place *q = &p->places[(hash + i) & (PLACES - 1)];

		if (q->n && (q->address != at->address || strcmp(q->thread, at->thread) != 0 ||
			     strcmp(q->module, at->module) != 0))
			continue;
		if (!q->n)
			*q = *at;
		q->n++;
		return;
	}
	p->n_lost++;
}

static void take(struct profile *p, const struct sample *s)
{
	struct place at = {0};
	const struct map *m;

	unsigned mode = s->header.misc & PERF_RECORD_MISC_CPUMODE_MASK;

	if (!s->pid) {
		strcpy(at.thread, "idle");
		strcpy(at.module, "idle");
	} else {
		thread_name(p, s, at.thread);
	}
	if (mode == PERF_RECORD_MISC_GUEST_KERNEL || mode == PERF_RECORD_MISC_GUEST_USER) {
		strcpy(at.module, "guest");
	} else if (mode == PERF_RECORD_MISC_KERNEL) {
		const struct symbol *symbol = find_symbol(p, s->ip);

		at.address = symbol && s->pid ? symbol->address : 0;
		if (s->pid)
			strcpy(at.module, "kernel");
	} else {
		m = find_map(p, s->pid, s->ip);
		if (!m) {
			read_maps(p, s->pid);
			m = find_map(p, s->pid, s->ip);
		}
		at.address = m ? s->ip - m->start + m->offset : 0;
		strcpy(at.module, m ? m->name : "unknown");
	}
	count(p, &at);
}

static void drain(struct profile *p, struct perf_event_mmap_page *ring)
{
	const uint8_t *data = (const uint8_t *)ring + ring->data_offset;
	uint64_t head = __atomic_load_n(&ring->data_head, __ATOMIC_ACQUIRE);
	uint64_t tail = ring->data_tail, mask = ring->data_size - 1;

	while (tail < head) {
		struct sample s = {0};

		for (size_t i = 0; i < sizeof(s) && tail + i < head; i++)
			((uint8_t *)&s)[i] = data[(tail + i) & mask];
		if (s.header.type == PERF_RECORD_SAMPLE)
			take(p, &s);
		else
			p->n_lost += s.header.type == PERF_RECORD_LOST;
		tail += s.header.size;
	}
	__atomic_store_n(&ring->data_tail, tail, __ATOMIC_RELEASE);
}

static void start(struct profile *p)
{
	struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE,
				       .size = sizeof(attr),
				       .config = PERF_COUNT_SW_CPU_CLOCK,
				       .sample_freq = HZ,
				       .freq = 1,
				       .sample_type = PERF_SAMPLE_IP | PERF_SAMPLE_TID};
	size_t bytes = (RING_PAGES + 1) * (size_t)sysconf(_SC_PAGESIZE);

	p->n_cpus = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	if (p->n_cpus > CPUS_MAX)
		p->n_cpus = CPUS_MAX;
	for (unsigned i = 0; i < p->n_cpus; i++) {
		int fd = (int)syscall(SYS_perf_event_open, &attr, -1, i, -1, PERF_FLAG_FD_CLOEXEC);

		if (fd < 0)
			die("perf_event_open");
		p->rings[i] = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (p->rings[i] == MAP_FAILED)
			die("the samples' memory");
	}
}

/* ---- */

static int by_number(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	return (y->n > x->n) - (y->n < x->n);
}

static void print(struct profile *p, const char *path)
{
	FILE *f = fopen(path, "we");

	if (!f)
		die(path);
	qsort(p->places, PLACES, sizeof(*p->places), by_number);
	for (unsigned i = 0; i < PLACES && p->places[i].n; i++) {
		const struct place *q = &p->places[i];

		fprintf(f, "%" PRIu64 " %s %s ", q->n, q->thread, q->module);
		if (strcmp(q->module, "kernel") == 0 && q->address)
			fprintf(f, "%s\n", find_symbol(p, q->address)->name);
		else
			fprintf(f, "%" PRIx64 "\n", q->address);
	}
	if (p->n_lost)
		fprintf(f, "%" PRIu64 " lost lost 0\n", p->n_lost);
	if (fclose(f))
		die(path);
}

int main(int argc, char **argv)
{
	static struct profile p;
	int status;
	pid_t child;

	if (argc < 3) {
		fprintf(stderr, "usage: peer_where OUT COMMAND [ARG...]\n");
		return 64;
	}
	p.places = calloc(PLACES, sizeof(*p.places));
	p.maps = calloc(MAPS_MAX, sizeof(*p.maps));
	if (!p.places || !p.maps)
		die("memory");
	read_symbols(&p);
	start(&p);
	child = fork();
	if (child < 0)
		die("fork");
	if (child == 0) {
		execvp(argv[2], argv + 2);
		die(argv[2]);
	}
	while (waitpid(child, &status, WNOHANG) == 0) {
		nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
		for (unsigned i = 0; i < p.n_cpus; i++)
			drain(&p, p.rings[i]);
	}
	print(&p, argv[1]);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
