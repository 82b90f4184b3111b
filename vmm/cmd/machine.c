/* A machine, put together.
 *
 * Order: what is cheap to refuse comes first (files, KVM), then memory, then what is in it.
 * machine_free() takes it down in the other order; it may be given a machine that is half
 * made, so every part starts as NULL.
 */
#include "vmm/cmd/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <guestmm/abi.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "vmm/boot/elf.h"
#include "vmm/boot/entry.h"
#include "vmm/boot/linux.h"
#include "vmm/cmd/cmd.h"
#include "vmm/cmd/programs.h"
#include "vmm/kvm/vcpu.h"
#include "vmm/say.h"

/* For kernels whose command line is not given: console on the serial port, and a panic or a
 * reboot ends the guest instead of hanging it. */
#define DEFAULT_CMDLINE	  "console=ttyS0 reboot=k panic=-1"
#define FULL_QUIET_NS	  UINT64_C(10000000000)
#define DEFAULT_SWAP	  "file" /* unlinked, in $TMPDIR */
#define STORE_ERROR_BYTES 512
#define LOST_SAID_MAX	  4

uint64_t machine_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Exit statuses for errors that have been told already. */
static int status_of(int rc)
{
	return rc == 0 ? 0 : rc == -ENODEV ? CMD_EXIT_NO_KVM : CMD_EXIT_FAILED;
}

static int open_images(struct machine *m)
{
	const struct run_options *o = m->options;
	const char *program = o->args[0];

	m->kernel = image_bundled_kernel();
	if (o->kernel && image_open(o->kernel, &m->kernel))
		return CMD_EXIT_USAGE;
	if (programs_has(program) || (o->kernel && !strchr(program, '/')))
		return 0;
	if (!strchr(program, '/') && access(program, F_OK) != 0) {
		say("there is neither a bundled program '%s' (`guestmm programs' lists them) nor "
		    "such a "
		    "file.",
		    program);
		return CMD_EXIT_USAGE;
	}
	if (image_open(program, &m->program))
		return CMD_EXIT_USAGE;
	m->is_foreign = linux_kind(m->program.data, m->program.bytes) != LINUX_NONE;
	return 0;
}

/* Options that only one kind of guest knows. */
static int check_kind(struct machine *m)
{
	const struct run_options *o = m->options;

	if (!m->is_foreign) {
		if (!o->initrd && !o->cmdline)
			return 0;
		say("--initrd and --cmdline are for Linux kernels; %s is none.", o->args[0]);
		return CMD_EXIT_USAGE;
	}
	if (o->n_args > 1 || o->n_files || o->kernel || o->balloon != BALLOON_OFF) {
		say("%s is a kernel of its own: it takes no arguments (but --cmdline TEXT), no "
		    "--file, no "
		    "--kernel and no --balloon.",
		    o->args[0]);
		return CMD_EXIT_USAGE;
	}
	return o->initrd && image_open(o->initrd, &m->initrd) ? CMD_EXIT_USAGE : 0;
}

/* Does the kernel heed GMM_BOOT_IDLE? What is wrong with its file is told by who loads it. */
static bool kernel_idles(const struct machine *m)
{
	char error[ELF_ERROR_BYTES];
	struct elf_image image;

	return elf_parse(m->kernel.data, m->kernel.bytes, true, &image, error) == 0 &&
	       image.kernel_flags & GMM_KERNEL_IDLES;
}

/* A store on the edge fills up again and again: that is said once in a while. */
static void store_full(struct machine *m, int error)
{
	const uint64_t now = machine_now_ns();

	atomic_store(&m->is_full, true);
	if (m->full_said_ns && now - m->full_said_ns < FULL_QUIET_NS)
		return;
	m->full_said_ns = now;
	if (m->options->swap && strcmp(m->options->swap, "off") == 0) {
		say("the guest needs more than --limit allows, and swap is off: it waits. %s",
		    m->options->control
			    ? "Raise the limit or inflate the balloon: guestmm ctl SOCKET "
			      "limit|balloon SIZE."
			    : "It ends if it gets no memory for 30 seconds; give it a "
			      "higher --limit, or --swap.");
		return;
	}
	say("swap takes no more pages (%s); nothing is lost, but the guest waits where it needs "
	    "memory. "
	    "%s",
	    error == -E2BIG ? "they do not shrink, and `ram' keeps only what does"
			    : strerror(-error),
	    m->options->control ? "Raise the limit or inflate the balloon: guestmm ctl SOCKET "
				  "limit|balloon SIZE."
				: "It ends if it gets none for 30 seconds.");
}

static const char *read_error(int error)
{
	return error == -EBADMSG ? "what was read is not what was written" : strerror(-error);
}

/* A swap device that fails loses many: a few lines say it all, the statistics count the rest. */
static void page_lost(struct machine *m, const struct gmm_event *event)
{
	if (m->n_lost_said == LOST_SAID_MAX)
		return;
	say("the guest's page at %#" PRIx64 " is lost: it could not be read back from swap (%s).%s",
	    event->gpa.v, read_error(event->error),
	    ++m->n_lost_said < LOST_SAID_MAX ? "" : " Of others that are lost nothing is said.");
}

static void on_event(void *user, const struct gmm_event *event)
{
	struct machine *m = user;

	switch (event->kind) {
	case GMM_EVENT_POISONED:
		page_lost(m, event);
		break;
	case GMM_EVENT_POISON_TOUCHED:
		guest_complain(&m->guest,
			       "the guest touched its lost page at %#" PRIx64
			       "; it ends as by SIGBUS.",
			       event->gpa.v);
		vm_end(m->guest.vm, VM_STATUS_BUS);
		break;
	case GMM_EVENT_STORE_FULL:
		store_full(m, event->error);
		break;
	case GMM_EVENT_STORE_USABLE:
		atomic_store(&m->is_full, false);
		break;
	case GMM_EVENT_DEAD:
		say("userfaultfd failed (%s): the guest's memory cannot be served any more; it "
		    "ends.",
		    strerror(-event->error));
		vm_end(m->guest.vm, VM_STATUS_FAILED);
		break;
	}
}

static int say_space_error(int rc)
{
	switch (-rc) {
	case EPERM:
		say("userfaultfd is not permitted: set vm.unprivileged_userfaultfd=1 (sysctl -w), "
		    "give "
		    "access to /dev/userfaultfd, or run with CAP_SYS_PTRACE.");
		break;
	case ENOSYS:
		say("this kernel has no userfaultfd (CONFIG_USERFAULTFD).");
		break;
	case EOPNOTSUPP:
		say("--engine: this kernel does not offer that engine; move needs Linux 6.8, copy "
		    "5.15. "
		    "`guestmm check-host' says more.");
		break;
	default:
		say("cannot manage the guest's memory: %s.", strerror(-rc));
		break;
	}
	return CMD_EXIT_FAILED;
}

static int make_space(struct machine *m)
{
	const struct run_options *o = m->options;
	const struct gmm_pool_config pool = {.size = sizeof(pool), .limit_bytes = o->limit_bytes};
	struct gmm_space_config space = {
		.size = sizeof(space),
		.engine = o->engine,
		.policy = o->policy,
		.huge = o->huge,
		.working_set = o->working_set,
		.n_vcpus = o->n_cpus,
		.on_event = on_event,
		.user = m,
	};
	const struct gmm_store_parse_config swap = {
		.size = sizeof(swap), .encrypt = o->swap_encrypt, .default_bytes = o->memory_bytes};
	char error[STORE_ERROR_BYTES];
	int rc = gmm_pool_new(&pool, &m->pool);

	if (rc)
		return say_space_error(rc);
	if (o->trace && trace_file_open(o->trace, o->limit_bytes, &m->trace))
		return CMD_EXIT_FAILED;
	space.trace = trace_file_trace(m->trace);
	rc = gmm_store_parse_with(o->swap ? o->swap : DEFAULT_SWAP, &swap, &space.store, error,
				  sizeof(error));
	if (rc) {
		say("%s.", error);
		return rc == -EINVAL ? CMD_EXIT_USAGE : CMD_EXIT_FAILED;
	}
	space.pool = m->pool;
	rc = gmm_space_new(&space, &m->guest.space);
	if (rc) {
		gmm_store_free(space.store);
		return say_space_error(rc);
	}
	return 0;
}

static int add_region(struct machine *m, uint64_t start, uint64_t bytes, const char *name, int fd)
{
	const gmm_gpa gpa = {start};
	void *hva;
	int rc;

	if (fd < 0)
		rc = gmm_space_add_ram(m->guest.space, gpa, bytes, &hva);
	else
		rc = gmm_space_add_file(m->guest.space, gpa, fd, bytes, &hva);
	if (rc) {
		say("cannot set up %" PRIu64 " MiB of guest memory (%s): %s.", bytes >> 20, name,
		    strerror(-rc));
		return rc;
	}
	bytes = (bytes + GMM_PAGE_BYTES - 1) & ~(GMM_PAGE_BYTES - 1);
	m->regions[m->n_regions++] =
		(struct map_region){.start = gpa, .bytes = bytes, .name = name};
	return vm_add_slot(m->guest.vm, start, bytes, hva, fd >= 0);
}

static int lay_out(struct machine *m)
{
	const unsigned address_bits = m->guest.vm->phys_bits;

	if (layout_init(&m->guest.layout, m->options->memory_bytes, address_bits) == 0)
		return 0;
	say("--memory: %" PRIu64 " MiB are more than %u address bits can name.",
	    m->options->memory_bytes >> 20, address_bits);
	return CMD_EXIT_USAGE;
}

static int make_ram(struct machine *m)
{
	const struct layout *l = &m->guest.layout;

	for (unsigned i = 0; i < l->n_ranges; i++)
		if (add_region(m, l->ranges[i].start, l->ranges[i].end - l->ranges[i].start, "ram",
			       -1))
			return CMD_EXIT_FAILED;
	return 0;
}

/* Files of /proc are made when they are read, and say that they are empty. */
static bool hides_its_size(int fd, const struct stat *st)
{
	char byte;

	return st->st_size == 0 && pread(fd, &byte, 1, 0) > 0;
}

static int add_file(struct machine *m, const struct file_option *option)
{
	struct gmm_boot_file *f = &m->files[m->n_files];
	int fd = open(option->host_path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	int rc = CMD_EXIT_USAGE;

	if (fd < 0 || fstat(fd, &st) < 0) {
		say("--file: cannot open %s: %s.", option->host_path, strerror(errno));
	} else if (!S_ISREG(st.st_mode)) {
		say("--file: %s is no regular file.", option->host_path);
	} else if (hides_its_size(fd, &st)) {
		say("--file: %s does not tell its size: copy it, and give the copy.",
		    option->host_path);
	} else {
		f->bytes = (uint64_t)st.st_size;
		memcpy(f->name, option->name, sizeof(f->name));
		rc = 0;
		if (layout_add_window(&m->guest.layout, f->bytes, &f->gpa)) {
			say("--file: no guest-physical addresses are left for %s.",
			    option->host_path);
			rc = CMD_EXIT_FAILED;
		} else if (f->bytes && add_region(m, f->gpa, f->bytes, f->name, fd)) {
			rc = CMD_EXIT_FAILED;
		} else {
			m->n_files++;
		}
	}
	if (fd >= 0)
		close(fd);
	return rc;
}

static void serial_out(void *user, uint8_t byte)
{
	struct guest *g = user;

	console_write(g->console, 1, &byte, 1);
}

static void serial_irq(void *user, bool high)
{
	struct guest *g = user;

	vm_set_irq(g->vm, SERIAL_IRQ, high);
}

static int make_devices(struct machine *m)
{
	struct guest *g = &m->guest;
	const struct serial_config serial = {serial_out, serial_irq, g};
	const struct gmm_balloon_config balloon = {
		.size = sizeof(balloon),
		.space = g->space,
		.notify = guest_notify_balloon,
		.missing = guest_notify_missing,
		.user = g,
	};
	const struct gmm_worker_config worker = {
		.size = sizeof(worker),
		.space = g->space,
		.cpu = -1,
		.spin_us = m->options->fault_cpu == PLACEMENT_FAULTS_SPIN ? UINT32_MAX : 0,
	};
	int rc = console_new(&g->console);

	if (!rc)
		rc = serial_new(&serial, &g->serial);
	if (!rc)
		rc = gmm_balloon_new(&balloon, &g->balloon);
	if (!rc)
		rc = gmm_worker_new(&worker, &m->worker);
	if (rc)
		say("cannot make the guest's devices: %s.", strerror(-rc));
	return rc;
}

static int load_foreign(struct machine *m)
{
	const struct linux_config config = {
		.space = m->guest.space,
		.vm = m->guest.vm,
		.layout = &m->guest.layout,
		.kernel = {m->program.name, m->program.data, m->program.bytes},
		.initrd = {m->initrd.name, m->initrd.data, m->initrd.bytes},
		.cmdline = m->options->cmdline ? m->options->cmdline : DEFAULT_CMDLINE,
	};

	return linux_load(&config);
}

/* What the guest's frames come from, and its free ones are taken out of. */
static int make_frames(struct machine *m)
{
	int rc = 0;

	if (!m->is_foreign && m->options->balloon_by != BALLOON_BY_LIST)
		rc = boot_frames_new(m->guest.vm, &m->guest.layout, &m->guest.frames);
	if (rc == -ENOMEM)
		say("no memory for the guest's page-frame allocator.");
	return rc;
}

static int load(struct machine *m)
{
	struct boot_config boot = {
		.space = m->guest.space,
		.vm = m->guest.vm,
		.layout = &m->guest.layout,
		.kernel = {m->kernel.name, m->kernel.data, m->kernel.bytes},
		.program = {m->program.name, m->program.data, m->program.bytes},
		.n_args = m->options->n_args,
		.args = (const char *const *)m->options->args,
		.n_files = m->n_files,
		.files = m->files,
		.frames = &m->guest.frames,
	};

	m->guest.has_hostcalls = true;
	return boot_load(&boot, &m->guest.shared_gpa);
}

static int set_balloon(struct machine *m)
{
	int rc = 0;

	if (m->options->balloon == BALLOON_AUTO)
		gmm_balloon_set_auto(m->guest.balloon, true);
	else if (m->options->balloon == BALLOON_SIZE)
		rc = gmm_balloon_set_target(m->guest.balloon, m->options->balloon_bytes);
	if (rc)
		say("--balloon: cannot ask the guest for that much: %s.", strerror(-rc));
	return rc ? CMD_EXIT_USAGE : 0;
}

int machine_init(struct machine *m, const struct run_options *options)
{
	struct vm_config vm = {
		.n_vcpus = options->n_cpus,
		.handlers = &guest_handlers,
		.user = &m->guest,
	};
	int status;

	m->options = options;
	status = open_images(m);
	if (!status)
		status = check_kind(m);
	vm.pc_timer = m->is_foreign;
	vm.guest_idles = !m->is_foreign && kernel_idles(m);
	if (!status)
		status = status_of(vm_new(&vm, &m->guest.vm));
	if (!status)
		status = lay_out(m);
	if (!status)
		status = make_space(m);
	if (!status)
		status = status_of(vm_outlive(m->guest.vm));
	if (!status)
		status = make_ram(m);
	for (unsigned i = 0; i < options->n_files && !status; i++)
		status = add_file(m, &options->files[i]);
	if (!status)
		status = status_of(make_frames(m));
	if (!status)
		status = status_of(make_devices(m));
	if (!status)
		status = status_of(m->is_foreign ? load_foreign(m) : load(m));
	image_close(&m->initrd);
	image_close(&m->program); /* it is in the guest now; here it would only take memory */
	if (!status)
		status = set_balloon(m);
	return status;
}

void machine_free(struct machine *m)
{
	struct guest *g = &m->guest;

	m->worker = gmm_worker_free(m->worker);
	g->balloon = gmm_balloon_free(g->balloon);
	if (g->space)
		gmm_space_detach(g->space); /* closing a vCPU waits for its asynchronous faults */
	g->vm = vm_free(g->vm);		    /* before the memory that it shows */
	boot_frames_free(&g->frames);
	g->space = gmm_space_free(g->space);
	m->trace = trace_file_free(m->trace);
	m->pool = gmm_pool_free(m->pool);
	g->serial = serial_free(g->serial);
	g->console = console_free(g->console);
	image_close(&m->initrd);
	image_close(&m->program);
	image_close(&m->kernel);
}

int machine_stats(struct machine *m, struct run_stats *out)
{
	struct guest *g = &m->guest;
	struct run_vcpu_stats *vcpus = calloc(g->vm->n_vcpus, sizeof(vcpus[0]));
	const uint64_t main_ns = atomic_load(&g->main_ns);

	if (!vcpus)
		return -ENOMEM;
	*out = (struct run_stats){
		.running = !vm_has_ended(g->vm),
		.exit_status = vm_status(g->vm),
		.paused = atomic_load(&m->is_paused),
		.async_faults = !g->vm->must_idle,
		.balloon_target_bytes = gmm_balloon_target(g->balloon),
		.n_vcpus = g->vm->n_vcpus,
		.vcpus = vcpus,
		.boot_ns = main_ns ? main_ns - m->start_ns : 0,
		.wall_ns = machine_now_ns() - m->start_ns,
	};
	out->mm.size = sizeof(out->mm);
	gmm_space_stats(g->space, &out->mm);
	if (!gmm_balloon_is_shared(g->balloon)) /* else the space counts it */
		out->mm.metadata_bytes += g->frames.bytes;
	out->fault_cpu.choice = placement_name(&m->placement);
	out->fault_cpu.cpu = atomic_load(&m->placement.cpu);
	out->fault_cpu.same_ns = m->placement.measured.ns[FAULT_CPU_SAME];
	out->fault_cpu.other_ns = m->placement.measured.ns[FAULT_CPU_OTHER];
	out->fault_cpu.spin_ns = m->placement.measured.ns[FAULT_CPU_SPIN];
	out->balloon_by = gmm_balloon_is_shared(g->balloon) ? "share" : "list";
	out->guest_free_bytes = gmm_balloon_guest_free(g->balloon);
	out->guest_faults.minor = atomic_load(&g->n_minor);
	out->guest_faults.major = atomic_load(&g->n_major);
	out->guest_faults.invalid = atomic_load(&g->n_invalid);
	stats_rss(&out->rss_bytes, &out->rss_peak_bytes);
	for (unsigned i = 0; i < g->vm->n_vcpus; i++) {
		vcpus[i].exits = atomic_load(&g->vm->vcpus[i].n_exits);
		vcpus[i].run_ns = vcpu_run_ns(&g->vm->vcpus[i]);
	}
	return 0;
}
