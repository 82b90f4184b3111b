/* A serial port, 8250 with a 16550A's FIFO: a foreign kernel's console. */
#ifndef VMM_DEV_SERIAL_H
#define VMM_DEV_SERIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SERIAL_BASE  0x3f8
#define SERIAL_PORTS 8
#define SERIAL_IRQ   4

struct serial_config {
	/* Output. From the thread that accessed the port. */
	void (*output)(void *user, uint8_t byte);
	/* The interrupt line's level changed. */
	void (*interrupt)(void *user, bool high);
	void *user;
};

struct serial;

int serial_new(const struct serial_config *config, struct serial **out);
struct serial *serial_free(struct serial *serial);

/* The guest reads or writes register 0..7. Any thread. */
uint8_t serial_read(struct serial *serial, unsigned reg);
void serial_write(struct serial *serial, unsigned reg, uint8_t value);

/* Bytes for the guest: how many are welcome now, and handing over at most so many. */
size_t serial_room(struct serial *serial);
void serial_input(struct serial *serial, const void *data, size_t bytes);

#endif
