/* Booting guestmm's own guest kernel.
 *
 * The kernel's segments go where they want to be; what the VMM adds follows the image, each part
 * at a page boundary: boot_info, the shared page, arguments, program, stacks, tables.
 * abi.h describes the state in which the kernel is entered. Everything is written by
 * gmm_space_write(), for the guest's memory is the space's alone.
 */
#include "vmm/boot/entry.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>

#include "vmm/boot/elf.h"
#include "vmm/boot/tables.h"
#include "vmm/kvm/vcpu.h"
#include "vmm/say.h"

/* What a kernel needs beside what is laid down, to get anywhere at all. */
#define SPARE_BYTES (UINT64_C(1) << 20)

struct loader {
	const struct boot_config *config;
	struct elf_image kernel;
	struct gmm_boot_info info;
	uint64_t next, end; /* where the next part goes; the end of low RAM */
	uint64_t info_gpa, stacks_gpa;
};

static uint64_t page_up(uint64_t v)
{
	return (v + 4095) & ~UINT64_C(4095);
}

static int too_small(const struct loader *l, uint64_t need)
{
	say("-m: %" PRIu64
	    " KiB of memory are too little: the guest kernel and what is loaded with it "
	    "need %" PRIu64 " KiB.",
	    l->config->layout->memory_bytes / 1024, (need + SPARE_BYTES) / 1024);
	return -ENOSPC;
}

static int take(struct loader *l, uint64_t bytes, uint64_t *gpa)
{
	if (l->next > l->end || page_up(bytes) > l->end - l->next)
		return too_small(l, l->next + page_up(bytes));
	*gpa = l->next;
	l->next += page_up(bytes);
	return 0;
}

static int lay(struct loader *l, uint64_t gpa, const void *data, size_t bytes)
{
	int rc = gmm_space_write(l->config->space, (gmm_gpa){gpa}, data, bytes);

	if (rc)
		say("cannot write %zu bytes to guest memory at %#" PRIx64 ": %s.", bytes, gpa,
		    strerror(-rc));
	return rc;
}

static int load_kernel(struct loader *l)
{
	const struct boot_blob *blob = &l->config->kernel;
	char error[ELF_ERROR_BYTES];
	int rc = elf_parse(blob->data, blob->bytes, true, &l->kernel, error);

	if (rc) {
		say("cannot boot kernel %s: %s.", blob->name, error);
		return rc;
	}
	l->info.kernel.start = UINT64_MAX;
	for (unsigned i = 0; i < l->kernel.n_segments; i++) {
		const struct elf_segment *s = &l->kernel.segments[i];
		const uint64_t end = s->paddr + s->memory_bytes;

		if (!layout_is_ram(l->config->layout, s->paddr, s->memory_bytes)) {
			if (s->paddr < GMM_MMIO_HOLE_START && end < GMM_MMIO_HOLE_START)
				return too_small(l, end);
			say("cannot boot kernel %s: segment %u, at %#" PRIx64 " to %#" PRIx64
			    ", lies outside the guest's memory.",
			    blob->name, i, s->paddr, end);
			return -ENOEXEC;
		}
		rc = lay(l, s->paddr, (const uint8_t *)blob->data + s->offset, s->file_bytes);
		if (rc)
			return rc;
		if (s->paddr < l->info.kernel.start)
			l->info.kernel.start = s->paddr & ~UINT64_C(4095);
		if (page_up(end) > l->info.kernel.end)
			l->info.kernel.end = page_up(end);
	}
	l->next = l->info.kernel.end;
	return 0;
}

static int lay_args(struct loader *l)
{
	const struct boot_config *c = l->config;
	uint64_t bytes = 0, at = 0;
	int rc;

	for (unsigned i = 0; i < c->n_args; i++)
		bytes += strlen(c->args[i]) + 1;
	rc = take(l, bytes, &at);
	l->info.args_gpa = at;
	l->info.args_bytes = bytes;
	l->info.argc = c->n_args;
	for (unsigned i = 0; i < c->n_args && !rc; i++) {
		size_t n = strlen(c->args[i]) + 1;

		rc = lay(l, at, c->args[i], n);
		at += n;
	}
	return rc;
}

static int lay_program(struct loader *l)
{
	const struct boot_blob *blob = &l->config->program;
	char error[ELF_ERROR_BYTES];
	struct elf_image image;
	int rc;

	if (!blob->bytes)
		return 0;
	rc = elf_parse(blob->data, blob->bytes, false, &image, error);
	if (rc) {
		say("cannot run %s: %s.", blob->name, error);
		return rc;
	}
	for (unsigned i = 0; i < image.n_segments; i++)
		if (image.segments[i].memory_bytes > l->config->layout->memory_bytes) {
			say("cannot run %s: segment %u takes %" PRIu64
			    " bytes, more than the guest's memory.",
			    blob->name, i, image.segments[i].memory_bytes);
			return -ENOEXEC;
		}
	rc = take(l, blob->bytes, &l->info.program_gpa);
	l->info.program_bytes = blob->bytes;
	return rc ? rc : lay(l, l->info.program_gpa, blob->data, blob->bytes);
}

static int lay_tables(struct loader *l)
{
	const struct boot_config *c = l->config;
	const struct tables_config config = {
		.layout = c->layout,
		.kernel = &l->kernel,
		.n_files = c->n_files,
		.files = c->files,
		.frames = {c->frames->gpa, c->frames->gpa + c->frames->bytes},
		.n_cpus = c->vm->n_vcpus,
		.stacks_gpa = l->stacks_gpa,
		.has_1g_pages = c->vm->has_1g_pages,
		.tables_gpa = l->next,
		.limit_gpa = l->end,
	};
	struct tables tables;
	int rc = tables_build(&config, &tables);

	switch (-rc) {
	case 0:
		break;
	case ENOSPC:
		return too_small(l, l->end);
	case EINVAL:
		say("cannot boot kernel %s: its segments cannot be mapped: they share pages, are "
		    "not "
		    "aligned, or lie where the VMM maps memory.",
		    c->kernel.name);
		return -ENOEXEC;
	default:
		say("cannot build the guest's page tables: %s.", strerror(-rc));
		return rc;
	}
	rc = lay(l, l->next, tables.pages, tables.n_pages * 4096);
	l->next += tables.n_pages * 4096;
	l->info.page_tables = tables.root;
	tables_free(&tables);
	return rc;
}

static int fill_info(struct loader *l)
{
	const struct boot_config *c = l->config;
	struct gmm_boot_info *info = &l->info;

	info->magic = GMM_BOOT_MAGIC;
	info->bytes = sizeof(*info);
	info->flags = GMM_BOOT_HOSTCALLS | (c->vm->must_idle ? GMM_BOOT_IDLE : 0);
	info->n_cpus = c->vm->n_vcpus;
	info->n_ranges = c->layout->n_ranges;
	memcpy(info->ranges, c->layout->ranges, c->layout->n_ranges * sizeof(info->ranges[0]));
	info->n_files = c->n_files;
	if (c->n_files)
		memcpy(info->files, c->files, c->n_files * sizeof(info->files[0]));
	info->tsc_khz = c->vm->tsc_khz;
	info->used.start = info->kernel.start;
	info->used.end = l->next;
	if (c->frames->block) {
		info->flags |= GMM_BOOT_FRAMES;
		info->frames_gpa = c->frames->gpa;
		info->frames_bytes = c->frames->bytes;
		boot_frames_claim(c->frames, info->used);
	}
	if (getrandom(info->random_seed, sizeof(info->random_seed), 0) !=
	    sizeof(info->random_seed)) {
		say("the host gives no random bytes: %s.", strerror(errno));
		return -EIO;
	}
	return lay(l, l->info_gpa, info, sizeof(*info));
}

static struct kvm_segment flat(uint16_t selector, uint8_t type, bool code)
{
	return (struct kvm_segment){
		.selector = selector,
		.limit = 0xffffffff,
		.type = type,
		.present = 1,
		.s = 1,
		.l = code,
		.db = !code,
		.g = 1,
	};
}

static int set_sregs(struct vcpu *vcpu, uint64_t cr3)
{
	struct kvm_sregs s;

	if (ioctl(vcpu->fd, KVM_GET_SREGS, &s) < 0)
		return -errno;
	s.cs = flat(0x08, 0xb, true);
	s.ds = s.es = s.fs = s.gs = s.ss = flat(0x10, 0x3, false);
	s.tr = (struct kvm_segment){.limit = 0x67, .type = 0xb, .present = 1};
	s.ldt = (struct kvm_segment){.type = 2, .unusable = 1};
	s.gdt.limit = s.idt.limit = 0;
	s.cr0 = 0x80010033; /* PG WP NE ET MP PE */
	s.cr3 = cr3;
	s.cr4 = 1u << 5 | 1u << 9 | 1u << 10;		  /* PAE OSFXSR OSXMMEXCPT */
	s.efer = 1u << 0 | 1u << 8 | 1u << 10 | 1u << 11; /* SCE LME LMA NXE */
	if (vcpu->vm->has_x2apic)
		s.apic_base |= 1u << 11 | 1u << 10;
	return ioctl(vcpu->fd, KVM_SET_SREGS, &s) < 0 ? -errno : 0;
}

static int set_vcpu(struct loader *l, struct vcpu *vcpu)
{
	struct kvm_mp_state runnable = {.mp_state = KVM_MP_STATE_RUNNABLE};
	const struct kvm_regs regs = {
		.rip = l->kernel.entry,
		.rsp = GMM_STACKS + (vcpu->index + 1) * GMM_STACK_STRIDE,
		.rdi = GMM_DIRECT_MAP + l->info_gpa,
		.rsi = vcpu->index,
		.rflags = 2,
	};
	int rc = set_sregs(vcpu, l->info.page_tables);

	if (!rc && ioctl(vcpu->fd, KVM_SET_REGS, &regs) < 0)
		rc = -errno;
	if (!rc && ioctl(vcpu->fd, KVM_SET_MP_STATE, &runnable) < 0)
		rc = -errno;
	if (rc)
		say("KVM refuses vCPU %u's first state: %s.", vcpu->index, strerror(-rc));
	return rc;
}

int boot_load(const struct boot_config *config, uint64_t *shared_gpa)
{
	struct loader l = {.config = config, .end = config->layout->ranges[0].end};
	int rc = load_kernel(&l);

	if (!rc)
		rc = take(&l, sizeof(l.info), &l.info_gpa);
	if (!rc)
		rc = take(&l, sizeof(struct gmm_shared), &l.info.shared_gpa);
	if (!rc)
		rc = lay_args(&l);
	if (!rc)
		rc = lay_program(&l);
	if (!rc)
		rc = take(&l, config->vm->n_vcpus * TABLES_STACK_BYTES, &l.stacks_gpa);
	if (!rc)
		rc = lay_tables(&l);
	if (!rc && l.end - l.next < SPARE_BYTES)
		rc = too_small(&l, l.next);
	if (!rc)
		rc = fill_info(&l);
	for (unsigned i = 0; i < config->vm->n_vcpus && !rc; i++)
		rc = set_vcpu(&l, &config->vm->vcpus[i]);
	if (!rc)
		*shared_gpa = l.info.shared_gpa;
	return rc;
}
