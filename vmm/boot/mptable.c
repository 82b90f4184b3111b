/* The MultiProcessor table, version 1.4 of Intel's specification: a floating pointer that kernels
 * look for in the last KiB of low memory, and behind it the processors (APIC id = index), the
 * ISA bus, one I/O APIC at its usual place, and its pins, one an ISA interrupt. */
#include "vmm/boot/mptable.h"

#include <string.h>

#define LOCAL_APIC   0xfee00000u
#define IO_APIC	     0xfec00000u
#define APIC_VERSION 0x14
#define N_ISA_IRQS   16
#define CPU_ENABLED  1
#define CPU_BOOT     2

enum { ENTRY_CPU = 0, ENTRY_BUS = 1, ENTRY_IO_APIC = 2, ENTRY_IO_IRQ = 3, ENTRY_LOCAL_IRQ = 4 };
enum { IRQ_INT = 0, IRQ_NMI = 1, IRQ_EXTINT = 3 };

struct __attribute__((packed)) floating {
	char signature[4];
	uint32_t table;
	uint8_t length, revision, checksum, features[5];
};
struct __attribute__((packed)) header {
	char signature[4];
	uint16_t bytes;
	uint8_t revision, checksum;
	char oem[8], product[12];
	uint32_t oem_table;
	uint16_t oem_bytes, n_entries;
	uint32_t local_apic;
	uint16_t extended_bytes;
	uint8_t extended_checksum, reserved;
};
struct __attribute__((packed)) cpu {
	uint8_t type, apic_id, apic_version, flags;
	uint32_t signature, features;
	uint64_t reserved;
};
struct __attribute__((packed)) bus {
	uint8_t type, id;
	char name[6];
};
struct __attribute__((packed)) io_apic {
	uint8_t type, id, version, flags;
	uint32_t address;
};
struct __attribute__((packed)) irq {
	uint8_t type, kind;
	uint16_t flags;
	uint8_t bus, bus_irq, apic, pin;
};

_Static_assert(sizeof(struct floating) == 16, "layout shared with guests");
_Static_assert(sizeof(struct header) == 44, "layout shared with guests");
_Static_assert(sizeof(struct cpu) == 20, "layout shared with guests");
_Static_assert(sizeof(struct floating) + sizeof(struct header) +
			       MPTABLE_MAX_CPUS * sizeof(struct cpu) + sizeof(struct bus) +
			       sizeof(struct io_apic) + (N_ISA_IRQS + 2) * sizeof(struct irq) <=
		       MPTABLE_MAX_BYTES,
	       "the table fits");

struct writer {
	uint8_t *to;
	size_t n;
	uint16_t n_entries;
};

static void put(struct writer *w, const void *entry, size_t bytes)
{
	memcpy(w->to + w->n, entry, bytes);
	w->n += bytes;
	w->n_entries++;
}

static uint8_t checksum(const void *data, size_t bytes)
{
	const uint8_t *p = data;
	uint8_t sum = 0;

	while (bytes--)
		sum = (uint8_t)(sum + *p++);
	return (uint8_t)-sum;
}

static void put_entries(struct writer *w, unsigned n_cpus)
{
	const uint8_t io_apic_id = (uint8_t)n_cpus;

	for (unsigned i = 0; i < n_cpus; i++) {
		const struct cpu cpu = {
			.type = ENTRY_CPU,
			.apic_id = (uint8_t)i,
			.apic_version = APIC_VERSION,
			.flags = i ? CPU_ENABLED : CPU_ENABLED | CPU_BOOT,
			.signature = 0x600,
			.features = 0x201, /* FPU, APIC */
		};

		put(w, &cpu, sizeof(cpu));
	}
	put(w, &(struct bus){ENTRY_BUS, 0, {'I', 'S', 'A', ' ', ' ', ' '}}, sizeof(struct bus));
	put(w, &(struct io_apic){ENTRY_IO_APIC, io_apic_id, 0x11, 1, IO_APIC},
	    sizeof(struct io_apic));
	for (uint8_t i = 0; i < N_ISA_IRQS; i++) /* the timer is at pin 2, where the cascade was */
		put(w, &(struct irq){ENTRY_IO_IRQ, IRQ_INT, 0, 0, i, io_apic_id, i == 0 ? 2 : i},
		    i == 2 ? 0 : sizeof(struct irq));
	w->n_entries--; /* pin 2's own entry was left out */
	put(w, &(struct irq){ENTRY_LOCAL_IRQ, IRQ_EXTINT, 0, 0, 0, 0, 0}, sizeof(struct irq));
	put(w, &(struct irq){ENTRY_LOCAL_IRQ, IRQ_NMI, 0, 0, 0, 0xff, 1}, sizeof(struct irq));
}

size_t mptable_make(uint64_t gpa, unsigned n_cpus, uint8_t to[MPTABLE_MAX_BYTES])
{
	struct floating f = {{'_', 'M', 'P', '_'}, (uint32_t)gpa + sizeof(f), 1, 4, 0, {0}};
	struct header h = {
		.signature = {'P', 'C', 'M', 'P'},
		.revision = 4,
		.oem = {'G', 'U', 'E', 'S', 'T', 'M', 'M', ' '},
		.product = {'G', 'U', 'E', 'S', 'T', ' ', ' ', ' ', ' ', ' ', ' ', ' '},
		.local_apic = LOCAL_APIC,
	};
	struct writer w = {.to = to, .n = sizeof(f) + sizeof(h)};

	put_entries(&w, n_cpus < MPTABLE_MAX_CPUS ? n_cpus : MPTABLE_MAX_CPUS);
	h.bytes = (uint16_t)(w.n - sizeof(f));
	h.n_entries = w.n_entries;
	memcpy(to + sizeof(f), &h, sizeof(h));
	h.checksum = checksum(to + sizeof(f), h.bytes);
	memcpy(to + sizeof(f), &h, sizeof(h));
	f.checksum = checksum(&f, sizeof(f));
	memcpy(to, &f, sizeof(f));
	return w.n;
}
