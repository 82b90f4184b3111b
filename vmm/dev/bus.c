/* The bus: which device an access to a port or to memory without RAM belongs to.
 *
 * Ports: hostcalls, the serial port, the keyboard controller's reset line, and the exit
 * port that QEMU has. Everything else reads as all ones and ignores writes, as on a PC.
 */
#include <guestmm/abi.h>
#include <inttypes.h>
#include <string.h>

#include "vmm/dev/guest.h"
#include "vmm/kvm/vcpu.h"
#include "vmm/say.h"

#define KEYBOARD_COMMAND_PORT 0x64
#define KEYBOARD_RESET	      0xfe
#define HYPERVISOR_LOG_PORT   0xe9 /* a byte to standard error, as in Bochs and QEMU */

static uint8_t read_port(struct guest *g, uint16_t port)
{
	if (port >= SERIAL_BASE && port < SERIAL_BASE + SERIAL_PORTS)
		return serial_read(g->serial, port - SERIAL_BASE);
	if (port == KEYBOARD_COMMAND_PORT)
		return 0; /* ready for a command */
	if (port == HYPERVISOR_LOG_PORT)
		return HYPERVISOR_LOG_PORT; /* says that the port is there */
	return 0xff;
}

static void write_port(struct guest *g, uint16_t port, uint8_t value)
{
	if (port >= SERIAL_BASE && port < SERIAL_BASE + SERIAL_PORTS)
		serial_write(g->serial, port - SERIAL_BASE, value);
	else if (port == KEYBOARD_COMMAND_PORT && value == KEYBOARD_RESET)
		vm_end(g->vm, 0);
	else if (port == HYPERVISOR_LOG_PORT)
		console_write(g->console, 2, &value, 1);
	else if (port == GMM_QEMU_EXIT_PORT)
		vm_end(g->vm, (uint8_t)(value << 1 | 1));
}

static bool is_hostcall(const struct guest *g, const struct vm_io *io)
{
	return g->has_hostcalls && io->port == GMM_HOSTCALL_PORT && !io->in && io->size == 4 &&
	       io->count == 1;
}

static void bus_io(void *user, struct vcpu *vcpu, const struct vm_io *io)
{
	struct guest *g = user;
	uint32_t number;

	if (is_hostcall(g, io)) {
		memcpy(&number, io->data, sizeof(number));
		hostcall(g, vcpu, number);
		return;
	}
	for (uint32_t i = 0; i < io->count; i++) {
		uint8_t *item = io->data + (size_t)i * io->size;

		/* Wide accesses to byte devices reach the first one only. */
		if (io->in) {
			memset(item, 0xff, io->size);
			item[0] = read_port(g, io->port);
		} else {
			write_port(g, io->port, item[0]);
		}
	}
}

static bool is_window(const struct guest *g, uint64_t gpa)
{
	return gpa >= GMM_MMIO_HOLE_END && gpa < g->layout.next_window &&
	       !layout_is_ram(&g->layout, gpa, 1);
}

/* Where KVM emulates the instruction that touched lost memory, it takes that for memory that is not
 * there. The vCPU never gets to see an answer: it does not go on. */
static void mmio_poisoned(struct guest *g, struct vcpu *vcpu, const struct vm_mmio *mmio)
{
	char where[VCPU_TEXT_BYTES];

	if (!vm_has_ended(g->vm))
		say("the guest touched lost memory at guest-physical %#" PRIx64
		    "; it ends as by SIGBUS (%s)",
		    mmio->gpa, vcpu_describe(vcpu, where));
	vm_end(g->vm, VM_STATUS_BUS);
}

/* Reads give all ones and writes are lost, for that is how kernels probe. Our own guest
 * never does: there it is a bug, which ends it. */
static void bus_mmio(void *user, struct vcpu *vcpu, const struct vm_mmio *mmio)
{
	struct guest *g = user;
	char where[VCPU_TEXT_BYTES];

	if (layout_is_ram(&g->layout, mmio->gpa, 1)) {
		mmio_poisoned(g, vcpu, mmio);
		return;
	}
	if (!mmio->write)
		memset(mmio->data, 0xff, mmio->bytes);
	if (!g->has_hostcalls || vm_has_ended(g->vm))
		return;
	say("the guest %s guest-physical address %#" PRIx64 ", %s; it ends as by SIGBUS (%s)",
	    mmio->write ? "wrote to" : "read", mmio->gpa,
	    mmio->write && is_window(g, mmio->gpa) ? "which is read-only"
						   : "where there is no memory",
	    vcpu_describe(vcpu, where));
	vm_end(g->vm, VM_STATUS_BUS);
}

bool guest_is_poisoned(void *user)
{
	const struct guest *g = user;
	struct gmm_stats stats = {.size = sizeof(stats)};

	gmm_space_stats(g->space, &stats);
	return stats.faults.poison != 0;
}

const struct vm_handlers guest_handlers = {
	.io = bus_io,
	.mmio = bus_mmio,
	.is_poisoned = guest_is_poisoned,
};
