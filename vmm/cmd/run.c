/* `guestmm run`: puts a machine together, watches over it, and takes it down.
 *
 * The main thread sleeps until the guest ends, a signal arrives or a tick is due. Other
 * threads: the vCPUs, the memory's worker, the control socket's server. Signals that end
 * guestmm are blocked in all of them and read here.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "vmm/cmd/cmd.h"
#include "vmm/cmd/control.h"
#include "vmm/cmd/janitor.h"
#include "vmm/cmd/machine.h"
#include "vmm/cmd/placement.h"
#include "vmm/cmd/report.h"
#include "vmm/cmd/terminal.h"
#include "vmm/ctl/verdict.h"
#include "vmm/say.h"

#define TICK_MS	       200
#define TICKS_A_SECOND (1000 / TICK_MS)
#define END_TIMEOUT_MS 3000
#define STUCK_NS       UINT64_C(30000000000)
#define STUCK_PAGES    300u		     /* in that time: who gets so many gets on */
#define THRASH_SAY_NS  UINT64_C(60000000000) /* the verdict is not said again before */

struct run {
	struct run_options options;
	struct machine machine;
	struct ctl *ctl;
	int janitor, signal_fd, timer_fd;
	int stats_fd; /* --stats FILE: opened early, for a run costs more than a typing error */
	bool draws_progress;
	struct report report;
	uint64_t n_ticks;
	bool was_thrashing;
	uint64_t thrash_said_ns;
	uint64_t stuck_since_ns, stuck_work, stuck_stall_ns; /* while swap is full */
};

/* Since when this process runs, as CLOCK_MONOTONIC: what it has computed so far was spent in exec
 * and the dynamic linker. */
static uint64_t process_start_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return machine_now_ns() - ((uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec);
}

/* The signals that end the guest, and guestmm in good order. */
static sigset_t ending_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	return set;
}

static int prepare_signals(struct run *r)
{
	sigset_t set = ending_signals();

	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a write beyond `ulimit -f` fails, and that is told */
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	r->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return r->signal_fd < 0 ? -errno : 0;
}

/* From now on a second signal ends guestmm the hard way. */
static void restore_signals(void)
{
	sigset_t set = ending_signals();

	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static int prepare_timer(struct run *r)
{
	const struct timespec tick = {.tv_nsec = TICK_MS * 1000000l};
	const struct itimerspec every = {.it_interval = tick, .it_value = tick};

	r->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (r->timer_fd < 0 || timerfd_settime(r->timer_fd, 0, &every, NULL) < 0)
		return -errno;
	return 0;
}

static void handle_signal(struct run *r)
{
	struct signalfd_siginfo info;

	if (read(r->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	vm_end(r->machine.guest.vm, 128 + (int)info.ssi_signo);
	/* What a full pipe does not take now is lost: the user wants an end. */
	console_give_up(r->machine.guest.console, true);
}

static void draw_progress(struct run *r)
{
	struct run_stats stats;
	char line[REPORT_LINE_BYTES];

	if (machine_stats(&r->machine, &stats))
		return;
	say_progress(report_progress(&r->report, &stats, line));
	free((void *)(uintptr_t)stats.vcpus);
}

/* Swap is full: a guest that has waited for memory all the time for 30 seconds, but for a page now
 * and then that happened to be zero, and whom nobody can help from outside, is ended. */
static void watch_full_swap(struct run *r)
{
	struct gmm_stats s = {.size = sizeof(s)};
	uint64_t work;
	const uint64_t now = machine_now_ns();

	if (!atomic_load(&r->machine.is_full) || r->options.control) {
		r->stuck_since_ns = 0;
		return;
	}
	gmm_space_stats(r->machine.guest.space, &s);
	work = s.faults.demand_zero + s.faults.swap_in + s.faults.rescue;
	if (!r->stuck_since_ns || work - r->stuck_work >= STUCK_PAGES) {
		r->stuck_since_ns = now;
		r->stuck_work = work;
		r->stuck_stall_ns = s.stall_some_ns;
	} else if (now - r->stuck_since_ns > STUCK_NS &&
		   s.stall_some_ns - r->stuck_stall_ns > STUCK_NS / 2) {
		say("swap is full and the guest got next to no memory for 30 seconds: it ends. "
		    "Give it a "
		    "higher "
		    "--limit, more --swap, or --control to help it while it waits.");
		vm_end(r->machine.guest.vm, CMD_EXIT_FAILED);
	}
}

/* Says that the guest is thrashing when that begins, once in a while. */
static void watch_thrashing(struct run *r)
{
	struct gmm_stats s = {.size = sizeof(s)};
	const uint64_t now = machine_now_ns();
	char text[VERDICT_BYTES];
	bool begins;

	if (r->options.quiet)
		return;
	gmm_space_stats(r->machine.guest.space, &s);
	begins = s.thrash.on && !r->was_thrashing;
	r->was_thrashing = s.thrash.on;
	if (!begins || (r->thrash_said_ns && now - r->thrash_said_ns < THRASH_SAY_NS))
		return;
	r->thrash_said_ns = now;
	say("%s.", verdict_text(&s, text));
}

static void tick(struct run *r)
{
	uint64_t n;

	if (read(r->timer_fd, &n, sizeof(n)) < 0)
		return;
	console_flush_idle(r->machine.guest.console);
	if (r->draws_progress)
		draw_progress(r);
	if (r->n_ticks++ % TICKS_A_SECOND == 0) {
		gmm_balloon_tick(r->machine.guest.balloon);
		watch_full_swap(r);
		watch_thrashing(r);
		placement_tick(&r->machine.placement);
	}
}

/* Hands on to the serial port what it has room for; false at the end of the input. */
static bool feed_serial(struct run *r)
{
	struct serial *serial = r->machine.guest.serial;
	size_t room = serial_room(serial);
	char keys[64];
	ssize_t n;

	n = read(STDIN_FILENO, keys, room < sizeof(keys) ? room : sizeof(keys));
	if (n > 0)
		serial_input(serial, keys, (size_t)n);
	return n > 0 || (n < 0 && errno == EINTR);
}

static void watch(struct run *r)
{
	enum { END, SIGNAL, TIMER, INPUT, N };
	struct pollfd fds[N] = {
		[END] = {.fd = r->machine.guest.vm->end_fd, .events = POLLIN},
		[SIGNAL] = {.fd = r->signal_fd, .events = POLLIN},
		[TIMER] = {.fd = r->timer_fd, .events = POLLIN},
		[INPUT] = {.fd = -1, .events = POLLIN},
	};
	bool takes_input = r->machine.is_foreign;

	while (!vm_has_ended(r->machine.guest.vm)) {
		/* A serial port without room is looked at again at the next tick. */
		const bool room = takes_input && serial_room(r->machine.guest.serial);

		fds[INPUT].fd = room ? STDIN_FILENO : -1;
		if (poll(fds, N, -1) < 0)
			continue; /* interrupted */
		if (fds[SIGNAL].revents)
			handle_signal(r);
		if (fds[TIMER].revents)
			tick(r);
		if (fds[INPUT].revents && room)
			takes_input = feed_serial(r);
	}
}

/* What the file has stays there until there is something new to write. */
static int open_stats_file(struct run *r)
{
	const char *path = r->options.stats;

	if (!path || strcmp(path, "-") == 0)
		return 0;
	r->stats_fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	if (r->stats_fd >= 0)
		return 0;
	say("--stats: cannot open %s for writing: %s.", path, strerror(errno));
	return CMD_EXIT_FAILED;
}

static int write_stats_file(int fd, const struct run_stats *stats)
{
	FILE *f;
	int rc;

	if (ftruncate(fd, 0) < 0 && errno != EINVAL) /* a pipe or a device: nothing is there */
		return -errno;
	f = fdopen(fd, "w");
	if (!f)
		return -errno;
	rc = stats_write(f, stats);
	if (fclose(f) && !rc)
		rc = -errno;
	return rc;
}

static int write_reports(struct run *r)
{
	const char *path = r->options.stats;
	struct run_stats stats;
	int rc = machine_stats(&r->machine, &stats);

	if (rc) {
		say("no memory for the statistics.");
		return CMD_EXIT_FAILED;
	}
	if (r->options.summary || (!path && !r->options.quiet && isatty(STDERR_FILENO)))
		report_summary(stderr, &stats);
	if (path && strcmp(path, "-") == 0) {
		if (console_is_mid_line(r->machine.guest.console)) /* a line of their own */
			putchar('\n');
		rc = stats_write(stdout, &stats);
	} else if (path)
		rc = write_stats_file(r->stats_fd, &stats);
	if (rc)
		say("--stats: cannot write %s: %s; the guest itself ended with status %d.", path,
		    strerror(-rc), stats.exit_status);
	free((void *)(uintptr_t)stats.vcpus);
	return rc ? CMD_EXIT_FAILED : 0;
}

static int start_control(struct run *r)
{
	char error[CTL_ERROR_BYTES] = "";

	if (!r->options.control)
		return 0;
	if (ctl_new(r->options.control, &control_ops, &r->machine, &r->ctl, error, sizeof(error))) {
		say("--control: %s.", error);
		return CMD_EXIT_FAILED;
	}
	return 0;
}

/* What the guest said is lost if it cannot be written: then it did not end well. */
static int flush_console(struct run *r)
{
	const int rc = console_flush(r->machine.guest.console);

	if (!rc || rc == -EPIPE || rc == -EINTR ||
	    vm_status(r->machine.guest.vm) == VM_STATUS_FAILED)
		return 0;
	say("cannot write the guest's output: %s; some of it is lost.", strerror(-rc));
	return CMD_EXIT_FAILED;
}

/* The guest has ended: waits for its vCPUs, writes out what it said and what it did. */
static int finish(struct run *r)
{
	struct vm *vm = r->machine.guest.vm;
	int status, lost, rc;

	say_progress(NULL);
	terminal_end();
	restore_signals();
	rc = vm_join(vm, END_TIMEOUT_MS);
	if (rc) {
		console_give_up(r->machine.guest.console, true);
		rc = vm_join(vm, END_TIMEOUT_MS);
	}
	lost = flush_console(r);
	r->ctl = ctl_free(r->ctl);
	status = write_reports(r);
	if (!status)
		status = vm_status(vm);
	if (!status)
		status = lost;
	if (trace_file_end(r->machine.trace) && !status)
		status = CMD_EXIT_FAILED;
	janitor_dismiss(r->janitor);
	if (rc) /* a vCPU hangs in the kernel: only the process's end ends it */
		_exit(status);
	return status;
}

static int run(struct run *r)
{
	int status = open_stats_file(r);

	if (status)
		return status;
	if (r->options.control && r->options.control[0] != '@')
		r->janitor = janitor_start(r->options.control);
	if (prepare_signals(r) || prepare_timer(r)) {
		say("cannot set up signals and timers: %s.", strerror(errno));
		return CMD_EXIT_FAILED;
	}
	status = machine_init(&r->machine, &r->options);
	if (!status)
		status = start_control(r);
	if (status)
		return status;
	if (r->machine.is_foreign)
		terminal_begin();
	placement_choose(&r->machine.placement, r->options.placement, r->options.fault_cpu,
			 r->options.n_cpus);
	if (vm_start(r->machine.guest.vm) == 0) {
		placement_start(&r->machine.placement, r->machine.guest.vm, r->machine.worker);
		watch(r);
	}
	return finish(r);
}

int cmd_run(int argc, char **argv)
{
	const uint64_t start_ns = process_start_ns();
	struct run r = {.janitor = -1, .signal_fd = -1, .timer_fd = -1, .stats_fd = -1};
	int status = options_parse(argc, argv, &r.options);

	if (status)
		return status;
	r.machine.start_ns = start_ns;
	r.draws_progress = !r.options.quiet && say_can_progress();
	status = run(&r);
	r.ctl = ctl_free(r.ctl);
	machine_free(&r.machine);
	if (r.signal_fd >= 0)
		close(r.signal_fd);
	if (r.timer_fd >= 0)
		close(r.timer_fd);
	return status;
}
