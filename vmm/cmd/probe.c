/* What this host offers. A probe asks the kernel itself, by using the thing for a moment,
 * and never trusts a version number; what it opened it closes. */
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/kvm.h>
#include <lz4.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "kernel_new.h"
#include "size.h"

#define PAGE 4096u

__attribute__((format(printf, 2, 3))) static void found(struct probe_result *r, const char *fmt,
							...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(r->found, sizeof(r->found), fmt, args);
	va_end(args);
}

static void lacks(struct probe_result *r, enum probe_verdict verdict, const char *remedy)
{
	r->verdict = verdict;
	snprintf(r->remedy, sizeof(r->remedy), "%s", remedy);
}

/* Reads the first line of a small file of the kernel's; "" where it cannot. */
static void read_line(const char *path, char *line, size_t n)
{
	FILE *file = fopen(path, "re");

	line[0] = '\0';
	if (!file)
		return;
	if (!fgets(line, (int)n, file))
		line[0] = '\0';
	line[strcspn(line, "\n")] = '\0';
	fclose(file);
}

static void probe_kernel(struct probe_result *r)
{
	struct utsname name;
	unsigned major = 0, minor = 0;

	if (uname(&name) || sscanf(name.release, "%u.%u", &major, &minor) != 2) {
		found(r, "unknown");
		lacks(r, PROBE_LESS, "");
		return;
	}
	found(r, "Linux %.60s %.30s", name.release, name.machine);
	if (strcmp(name.machine, "x86_64"))
		lacks(r, PROBE_MISSING, "guestmm runs x86-64 guests on x86-64 hosts.");
	else if (major < 5 || (major == 5 && minor < 15))
		lacks(r, PROBE_MISSING,
		      "Linux 5.15 is the oldest that works; 6.8 and later work best.");
	else if (major < 6 || (major == 6 && minor < 8))
		lacks(r, PROBE_LESS,
		      "It works; Linux 6.8 and later move pages instead of copying them. On "
		      "Debian 12: linux-image-amd64 from bookworm-backports.");
}

/* Why /dev/kvm did not open. */
static void kvm_refused(struct probe_result *r, int err)
{
	found(r, "/dev/kvm: %s", strerror(err));
	if (err == EACCES || err == EPERM)
		lacks(r, PROBE_MISSING,
		      "Join the group kvm (sudo usermod -aG kvm $USER, then log in again), or run "
		      "as root; in a container: pass --device /dev/kvm.");
	else
		lacks(r, PROBE_MISSING,
		      "Load the module (sudo modprobe kvm_intel, or kvm_amd), switch "
		      "virtualisation on in the firmware, or, inside a virtual machine, have its "
		      "host allow nested virtualisation; in a container: pass --device /dev/kvm.");
}

static bool kvm_has(int kvm, unsigned long cap)
{
	return ioctl(kvm, KVM_CHECK_EXTENSION, cap) > 0;
}

/* The capabilities that guestmm does not work without. */
static const char *kvm_lacks(int kvm)
{
	static const struct {
		unsigned long cap;
		const char *name;
	} needed[] = {
		{KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
		{KVM_CAP_SYNC_MMU, "KVM_CAP_SYNC_MMU"},
		{KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP"},
		{KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
		{KVM_CAP_SET_TSS_ADDR, "KVM_CAP_SET_TSS_ADDR"},
		{KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID"},
	};

	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		if (!kvm_has(kvm, needed[i].cap))
			return needed[i].name;
	}
	return NULL;
}

static void probe_kvm_opened(struct probe_result *r, int kvm)
{
	int version = ioctl(kvm, KVM_GET_API_VERSION, 0), vm;
	const char *missing = kvm_lacks(kvm);

	if (version != KVM_API_VERSION) {
		found(r, "/dev/kvm speaks API %d, not %d", version, KVM_API_VERSION);
		lacks(r, PROBE_MISSING, "Use a kernel with the KVM of Linux itself.");
		return;
	}
	if (missing) {
		found(r, "/dev/kvm lacks %s", missing);
		lacks(r, PROBE_MISSING, "Use a kernel, or a nested host, whose KVM offers it.");
		return;
	}
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0) {
		found(r, "/dev/kvm opens, but makes no virtual machine: %s", strerror(errno));
		lacks(r, PROBE_MISSING,
		      "EBUSY: another hypervisor holds the CPU's extensions; ENOMEM: free memory, "
		      "or "
		      "raise the memory limit of this container.");
		return;
	}
	close(vm);
	found(r, "usable, API %d, up to %d vCPUs", version,
	      ioctl(kvm, KVM_CHECK_EXTENSION, (unsigned long)KVM_CAP_MAX_VCPUS));
}

static void probe_kvm(struct probe_result *r)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (kvm < 0) {
		kvm_refused(r, errno);
		return;
	}
	probe_kvm_opened(r, kvm);
	close(kvm);
}

/* Opens a userfaultfd that also gets faults from inside the kernel, which KVM's are. */
static int uffd_open(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK), err = errno, dev;

	if (fd >= 0 || err != EPERM)
		return fd >= 0 ? fd : -err;
	dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (dev < 0)
		return -err;
	fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		fd = -err;
	close(dev);
	return fd;
}

/* Asks for the feature bits. 0, or a negative errno. */
static int uffd_features(uint64_t *features)
{
	struct uffdio_api api = {.api = UFFD_API};
	int fd = uffd_open(), err = 0;

	*features = 0;
	if (fd < 0)
		return fd;
	if (ioctl(fd, UFFDIO_API, &api))
		err = -errno;
	else
		*features = api.features;
	close(fd);
	return err;
}

unsigned probe_engines(void)
{
	uint64_t features;

	if (uffd_features(&features))
		return 0;
	return (features & KERNEL_UFFD_MOVE ? 1u : 0) | (features & KERNEL_UFFD_WP ? 2u : 0);
}

static void probe_uffd(struct probe_result *r)
{
	uint64_t features;
	int err = uffd_features(&features);

	if (!err) {
		found(r, "allowed, for faults in the kernel too");
		return;
	}
	found(r, "%s", strerror(-err));
	if (err == -ENOSYS)
		lacks(r, PROBE_MISSING, "Use a kernel built with CONFIG_USERFAULTFD.");
	else
		lacks(r, PROBE_MISSING,
		      "One of: sudo sysctl vm.unprivileged_userfaultfd=1; access to "
		      "/dev/userfaultfd (sudo setfacl -m u:$USER:rw /dev/userfaultfd, Linux 6.1 "
		      "and later); CAP_SYS_PTRACE; run as root. In a container: a seccomp "
		      "profile that allows userfaultfd.");
}

static void probe_feature(struct probe_result *r, uint64_t bit, const char *what,
			  enum probe_verdict without, const char *remedy)
{
	uint64_t features;
	int err = uffd_features(&features);

	if (!err && features & bit) {
		found(r, "%s", what);
		return;
	}
	found(r, err ? "unknown: no userfaultfd" : "not offered by this kernel");
	lacks(r, without, err ? "" : remedy);
}

static void probe_move(struct probe_result *r)
{
	probe_feature(r, KERNEL_UFFD_MOVE, "UFFDIO_MOVE", PROBE_LESS,
		      "Linux 6.8 and later have it. Without it pages are copied (engine copy).");
}

static void probe_copy(struct probe_result *r)
{
	probe_feature(r, KERNEL_UFFD_WP, "UFFDIO_COPY with write protection", PROBE_LESS,
		      "Use a kernel built with CONFIG_HAVE_ARCH_USERFAULTFD_WP.");
}

static void probe_poison(struct probe_result *r)
{
	probe_feature(r, KERNEL_UFFD_POISON, "UFFDIO_POISON", PROBE_LESS,
		      "Linux 6.6 and later have it. Without it a touch of a page that an I/O error "
		      "lost raises SIGSEGV rather than SIGBUS; guests end alike.");
}

static void probe_wp_async(struct probe_result *r)
{
	probe_feature(r, KERNEL_UFFD_WP_ASYNC, "UFFD_FEATURE_WP_ASYNC", PROBE_LESS,
		      "Linux 6.7 and later have it. Nothing in guestmm needs it yet.");
}

static void probe_minor(struct probe_result *r)
{
	probe_feature(r, KERNEL_UFFD_MINOR_SHMEM, "minor faults on shared memory", PROBE_LESS,
		      "Linux 5.14 and later have it. Nothing in guestmm needs it yet.");
}

static void probe_pagemap_scan(struct probe_result *r)
{
	void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct kernel_pm_scan_arg scan = {.size = sizeof(scan),
					  .start = (uintptr_t)page,
					  .end = (uintptr_t)page + PAGE,
					  .category_mask = KERNEL_PAGE_IS_PRESENT,
					  .return_mask = KERNEL_PAGE_IS_PRESENT};
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (page != MAP_FAILED && fd >= 0 && ioctl(fd, KERNEL_PAGEMAP_SCAN, &scan) >= 0) {
		found(r, "PAGEMAP_SCAN");
	} else {
		found(r, "not offered by this kernel (%s)", strerror(errno));
		lacks(r, PROBE_LESS,
		      "Linux 6.7 and later have it. Without it guestmm does not see whether the "
		      "kernel keeps a huge page whole.");
	}
	if (fd >= 0)
		close(fd);
	if (page != MAP_FAILED)
		munmap(page, PAGE);
}

static void probe_huge(struct probe_result *r)
{
	static const char path[] = "/sys/kernel/mm/transparent_hugepage/enabled";
	char line[80];

	read_line(path, line, sizeof(line));
	found(r, "%s", line[0] ? line : "no transparent huge pages in this kernel");
	if (!line[0])
		lacks(r, PROBE_LESS, "Use a kernel built with CONFIG_TRANSPARENT_HUGEPAGE.");
	else if (strstr(line, "[never]"))
		lacks(r, PROBE_LESS,
		      "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled. "
		      "Without them guest memory is filled 4 KiB at a time.");
}

static void probe_io_uring(struct probe_result *r)
{
	struct io_uring_params params = {0};
	char disabled[16];
	int fd = (int)syscall(SYS_io_uring_setup, 2, &params), err = errno;

	if (fd >= 0) {
		found(r, "allowed");
		close(fd);
		return;
	}
	read_line("/proc/sys/kernel/io_uring_disabled", disabled, sizeof(disabled));
	found(r, "%s%s%s", strerror(err), disabled[0] ? ", kernel.io_uring_disabled=" : "",
	      disabled);
	lacks(r, PROBE_LESS,
	      err == ENOSYS
		      ? "Use a kernel built with CONFIG_IO_URING."
		      : "sudo sysctl kernel.io_uring_disabled=0; in a container: a seccomp "
			"profile that allows io_uring_setup. Without it swap files are read and "
			"written one request at a time.");
}

static void probe_lz4(struct probe_result *r)
{
	found(r, "%s", LZ4_versionString());
}

static void probe_swap_folder(struct probe_result *r)
{
	const char *folder = getenv("TMPDIR");
	struct statvfs fs;
	char text[SIZE_TEXT_BYTES];

	if (!folder || !folder[0])
		folder = "/var/tmp";
	if (access(folder, W_OK | X_OK) || statvfs(folder, &fs)) {
		found(r, "%.100s: %s", folder, strerror(errno));
		lacks(r, PROBE_LESS,
		      "Set TMPDIR to a folder you may write to, or say --swap file:PATH.");
		return;
	}
	found(r, "%.100s, %s free", folder, size_format(fs.f_bavail * fs.f_frsize, text));
	if (fs.f_bavail * fs.f_frsize < UINT64_C(1) << 30)
		lacks(r, PROBE_LESS,
		      "Set TMPDIR to a folder with more room, or say --swap file:PATH: evicted "
		      "pages are kept there.");
}

const struct probe probes[] = {
	{"kernel", probe_kernel},	    {"KVM", probe_kvm},
	{"userfaultfd", probe_uffd},	    {"engine move", probe_move},
	{"engine copy", probe_copy},	    {"poisoned pages", probe_poison},
	{"write tracking", probe_wp_async}, {"write scanning", probe_pagemap_scan},
	{"minor faults", probe_minor},	    {"huge pages", probe_huge},
	{"io_uring", probe_io_uring},	    {"lz4", probe_lz4},
	{"swap folder", probe_swap_folder},
};
const size_t n_probes = sizeof(probes) / sizeof(probes[0]);
