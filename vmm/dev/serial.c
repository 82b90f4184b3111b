/* A serial port, 8250 with a 16550A's FIFO.
 *
 * The transmitter is always empty: a byte is out as soon as it is written. What is received
 * waits in a ring. The interrupt is a level, computed anew after every change.
 * Lock: `lock` guards everything; output() and interrupt() are called with it held, so that
 * bytes and levels keep their order, and must not call back.
 */
#include "vmm/dev/serial.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define RING_BYTES 256u

enum { DATA = 0, IER = 1, IIR = 2, LCR = 3, MCR = 4, LSR = 5, MSR = 6, SCR = 7 };
enum { IER_RECEIVED = 1, IER_SENT = 2, IER_MASK = 0xf };
enum { IIR_NONE = 1, IIR_SENT = 2, IIR_RECEIVED = 4, IIR_FIFO = 0xc0 };
enum { LCR_DIVISOR = 0x80 };
enum { MCR_LOOP = 0x10, MCR_OUT2 = 8 };
enum { LSR_READY = 1, LSR_EMPTY = 0x60 };
enum { MSR_CONNECTED = 0xb0 };
enum { FCR_ENABLE = 1, FCR_CLEAR_RECEIVED = 2 };

struct serial {
	struct serial_config config;
	pthread_mutex_t lock;
	uint8_t ier, lcr, mcr, scr, fcr;
	uint16_t divisor;
	bool sent_pending, level;
	unsigned head, n; /* of the ring */
	uint8_t ring[RING_BYTES];
};

int serial_new(const struct serial_config *config, struct serial **out)
{
	struct serial *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->config = *config;
	s->divisor = 1;
	pthread_mutex_init(&s->lock, NULL);
	*out = s;
	return 0;
}

struct serial *serial_free(struct serial *s)
{
	if (s)
		pthread_mutex_destroy(&s->lock);
	free(s);
	return NULL;
}

static uint8_t cause(const struct serial *s)
{
	if (s->n && s->ier & IER_RECEIVED)
		return IIR_RECEIVED;
	if (s->sent_pending && s->ier & IER_SENT)
		return IIR_SENT;
	return IIR_NONE;
}

static void update_interrupt(struct serial *s)
{
	const bool level = cause(s) != IIR_NONE && s->mcr & MCR_OUT2;

	if (level != s->level) {
		s->level = level;
		s->config.interrupt(s->config.user, level);
	}
}

static void put(struct serial *s, uint8_t byte)
{
	if (s->n < RING_BYTES)
		s->ring[(s->head + s->n++) % RING_BYTES] = byte;
}

static uint8_t take(struct serial *s)
{
	uint8_t byte = 0;

	if (s->n) {
		byte = s->ring[s->head];
		s->head = (s->head + 1) % RING_BYTES;
		s->n--;
	}
	return byte;
}

static uint8_t read_iir(struct serial *s)
{
	const uint8_t why = cause(s);

	if (why == IIR_SENT)
		s->sent_pending = false;
	return why | (s->fcr & FCR_ENABLE ? IIR_FIFO : 0);
}

/* In loop mode the modem's inputs are its outputs: how drivers probe the chip. */
static uint8_t read_msr(const struct serial *s)
{
	const uint8_t m = s->mcr;

	if (!(m & MCR_LOOP))
		return MSR_CONNECTED;
	return (uint8_t)((m & 2) << 3 | (m & 1) << 5 | (m & 4) << 4 | (m & 8) << 4);
}

static uint8_t read_register(struct serial *s, unsigned reg)
{
	switch (reg) {
	case DATA:
		return s->lcr & LCR_DIVISOR ? (uint8_t)s->divisor : take(s);
	case IER:
		return s->lcr & LCR_DIVISOR ? (uint8_t)(s->divisor >> 8) : s->ier;
	case IIR:
		return read_iir(s);
	case LCR:
		return s->lcr;
	case MCR:
		return s->mcr;
	case LSR:
		return LSR_EMPTY | (s->n ? LSR_READY : 0);
	case MSR:
		return read_msr(s);
	case SCR:
		return s->scr;
	default:
		return 0xff;
	}
}

static void send(struct serial *s, uint8_t byte)
{
	if (s->mcr & MCR_LOOP)
		put(s, byte);
	else
		s->config.output(s->config.user, byte);
	s->sent_pending = true;
}

static void write_register(struct serial *s, unsigned reg, uint8_t v)
{
	switch (reg) {
	case DATA:
		if (s->lcr & LCR_DIVISOR)
			s->divisor = (uint16_t)((s->divisor & 0xff00) | v);
		else
			send(s, v);
		break;
	case IER:
		if (s->lcr & LCR_DIVISOR) {
			s->divisor = (uint16_t)((s->divisor & 0xff) | v << 8);
			break;
		}
		if (v & ~s->ier & IER_SENT)
			s->sent_pending = true; /* the transmitter is empty: it says so at once */
		s->ier = v & IER_MASK;
		break;
	case IIR: /* FCR when written */
		s->fcr = v;
		if (v & FCR_CLEAR_RECEIVED)
			s->n = 0;
		break;
	case LCR:
		s->lcr = v;
		break;
	case MCR:
		s->mcr = v & 0x1f;
		break;
	case SCR:
		s->scr = v;
		break;
	default:
		break;
	}
}

uint8_t serial_read(struct serial *s, unsigned reg)
{
	uint8_t value;

	pthread_mutex_lock(&s->lock);
	value = read_register(s, reg);
	update_interrupt(s);
	pthread_mutex_unlock(&s->lock);
	return value;
}

void serial_write(struct serial *s, unsigned reg, uint8_t value)
{
	pthread_mutex_lock(&s->lock);
	write_register(s, reg, value);
	update_interrupt(s);
	pthread_mutex_unlock(&s->lock);
}

size_t serial_room(struct serial *s)
{
	size_t room;

	pthread_mutex_lock(&s->lock);
	room = RING_BYTES - s->n;
	pthread_mutex_unlock(&s->lock);
	return room;
}

void serial_input(struct serial *s, const void *data, size_t bytes)
{
	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < bytes; i++)
		put(s, ((const uint8_t *)data)[i]);
	update_interrupt(s);
	pthread_mutex_unlock(&s->lock);
}
