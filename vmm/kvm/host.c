/* The host's KVM: opening it, and what it can do. Every refusal names its remedy. */
#include "vmm/kvm/host.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vmm/say.h"

#define KVM_DEVICE	  "/dev/kvm"
#define MAX_CPUID_ENTRIES 256

static const struct {
	int cap;
	const char *what;
} needed[] = {
	{KVM_CAP_USER_MEMORY, "user memory slots"},
	{KVM_CAP_READONLY_MEM, "read-only memory slots"},
	{KVM_CAP_SYNC_MMU, "an MMU that follows the host's page tables"},
	{KVM_CAP_IRQCHIP, "in-kernel interrupt chips"},
	{KVM_CAP_SIGNAL_MSI, "message-signalled interrupts"},
	{KVM_CAP_IMMEDIATE_EXIT, "immediate exit"},
	{KVM_CAP_EXT_CPUID, "CPUID settings"},
	{KVM_CAP_MP_STATE, "multiprocessing state"},
};

static int say_no_device(int err)
{
	switch (err) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		say("cannot use KVM: there is no " KVM_DEVICE
		    ". Load the module (modprobe kvm_intel "
		    "or kvm_amd), enable virtualization in the firmware, or, in a VM, nested "
		    "virtualization.");
		break;
	case EACCES:
	case EPERM:
		say("cannot use KVM: no permission to open " KVM_DEVICE
		    ". Add yourself to its group "
		    "(usermod -aG kvm $USER, then log in again), or run as root.");
		break;
	default:
		say("cannot use KVM: opening " KVM_DEVICE " failed: %s. Is another hypervisor in "
		    "charge of this machine?",
		    strerror(err));
		break;
	}
	return -ENODEV;
}

static int check_caps(int fd)
{
	int version = ioctl(fd, KVM_GET_API_VERSION, 0);

	if (version != KVM_API_VERSION) {
		say("cannot use KVM: " KVM_DEVICE " speaks API version %d, guestmm needs %d.",
		    version, KVM_API_VERSION);
		return -ENODEV;
	}
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		if (ioctl(fd, KVM_CHECK_EXTENSION, needed[i].cap) <= 0) {
			say("cannot use this host's KVM: it lacks %s (capability %d). Use a newer "
			    "kernel.",
			    needed[i].what, needed[i].cap);
			return -ENODEV;
		}
	}
	return 0;
}

int host_open(int *kvm_fd)
{
	int fd = open(KVM_DEVICE, O_RDWR | O_CLOEXEC);
	int rc;

	if (fd < 0)
		return say_no_device(errno);
	rc = check_caps(fd);
	if (rc) {
		close(fd);
		return rc;
	}
	*kvm_fd = fd;
	return 0;
}

/* The first line of a small file that begins with `key`, into line; false: there is none. */
static bool read_line(const char *path, const char *key, char *line, size_t bytes)
{
	FILE *file = fopen(path, "re");
	bool has = false;

	while (file && !has && fgets(line, (int)bytes, file))
		has = strncmp(line, key, strlen(key)) == 0;
	if (file)
		fclose(file);
	return has;
}

bool host_tells_smt_rsb(const char *smt_control, const char *cpuinfo)
{
	char line[4096];

	if (read_line(smt_control, "", line, sizeof(line)) &&
	    (strncmp(line, "forceoff", 8) == 0 || strncmp(line, "notsupported", 12) == 0))
		return false;
	return !read_line(cpuinfo, "bugs", line, sizeof(line)) || strstr(line, "smt_rsb");
}

bool host_has_smt_rsb(void)
{
	return host_tells_smt_rsb("/sys/devices/system/cpu/smt/control", "/proc/cpuinfo");
}

static const struct kvm_cpuid_entry2 *find_leaf(const struct kvm_cpuid2 *cpuid, uint32_t leaf)
{
	for (unsigned i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == leaf)
			return &cpuid->entries[i];
	return NULL;
}

int host_get_cpuid(struct vm *vm)
{
	const struct kvm_cpuid_entry2 *e;
	struct kvm_cpuid2 *cpuid;

	cpuid = calloc(1, sizeof(*cpuid) + MAX_CPUID_ENTRIES * sizeof(cpuid->entries[0]));
	if (!cpuid)
		return -ENOMEM;
	cpuid->nent = MAX_CPUID_ENTRIES;
	if (ioctl(vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid) < 0) {
		int err = errno;

		say("KVM does not tell which CPU features it supports: %s.", strerror(err));
		free(cpuid);
		return -err;
	}
	vm->cpuid = cpuid;
	e = find_leaf(cpuid, 0x80000008);
	vm->phys_bits = e ? e->eax & 0xff : 36;
	e = find_leaf(cpuid, 0x80000001);
	vm->has_1g_pages = e && (e->edx & (1u << 26));
	e = find_leaf(cpuid, 1);
	vm->has_x2apic = e && (e->ecx & (1u << 21));
	return 0;
}

static unsigned bits_for(unsigned n)
{
	unsigned bits = 0;

	while ((1u << bits) < n)
		bits++;
	return bits;
}

/* One thread a core, all cores in one package. */
static void fill_topology(struct kvm_cpuid_entry2 *e, unsigned n_vcpus)
{
	if (e->index == 0) {
		e->eax = 0;
		e->ebx = 1;
		e->ecx = 1u << 8;
	} else if (e->index == 1) {
		e->eax = bits_for(n_vcpus);
		e->ebx = n_vcpus;
		e->ecx = 2u << 8 | 1;
	} else {
		e->eax = e->ebx = 0;
		e->ecx = e->index;
	}
}

static void fill_leaf_1(const struct vm *vm, unsigned index, struct kvm_cpuid_entry2 *e)
{
	e->ebx = (e->ebx & 0xffff) | vm->n_vcpus << 16 | index << 24;
	e->ecx |= 1u << 31; /* a hypervisor */
	if (ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0)
		e->ecx |= 1u << 24;
	if (vm->n_vcpus > 1)
		e->edx |= 1u << 28;
}

struct kvm_cpuid2 *host_make_cpuid(const struct vm *vm, unsigned index)
{
	const size_t bytes = sizeof(*vm->cpuid) + vm->cpuid->nent * sizeof(vm->cpuid->entries[0]);
	struct kvm_cpuid2 *cpuid = malloc(bytes);

	if (!cpuid)
		return NULL;
	memcpy(cpuid, vm->cpuid, bytes);
	for (unsigned i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

		switch (e->function) {
		case 1:
			fill_leaf_1(vm, index, e);
			break;
		case 4: /* caches: not shared, so many cores */
			e->eax = (e->eax & 0x3fff) | (vm->n_vcpus - 1) << 26;
			break;
		case 0xb:
		case 0x1f:
			fill_topology(e, vm->n_vcpus);
			e->edx = index;
			break;
		case 0x80000008:
			e->ecx = (e->ecx & ~0xffu) | (vm->n_vcpus - 1);
			break;
		default:
			break;
		}
	}
	return cpuid;
}
