/* The serial port, as a driver sees it. */
#include <string.h>

#include "unit.h"
#include "vmm/dev/serial.h"

static char sent[64];
static size_t n_sent;
static bool line;
static unsigned n_edges;

static void on_output(void *user, uint8_t byte)
{
	(void)user;
	sent[n_sent++ % sizeof(sent)] = (char)byte;
}

static void on_interrupt(void *user, bool high)
{
	(void)user;
	line = high;
	n_edges++;
}

static struct serial *make(void)
{
	const struct serial_config config = {on_output, on_interrupt, NULL};
	struct serial *s;

	n_sent = n_edges = 0;
	line = false;
	ck_assert_int_eq(serial_new(&config, &s), 0);
	return s;
}

START_TEST(sends_what_is_written)
{
	struct serial *s = make();

	serial_write(s, 0, 'h');
	serial_write(s, 0, 'i');
	ck_assert_uint_eq(n_sent, 2);
	ck_assert_int_eq(memcmp(sent, "hi", 2), 0);
	ck_assert_uint_eq(serial_read(s, 5), 0x60); /* ready for more, nothing received */
	ck_assert_uint_eq(n_edges, 0);		    /* no interrupt was asked for */
	serial_free(s);
}
END_TEST

START_TEST(receives_in_order_until_full)
{
	struct serial *s = make();
	uint8_t many[300];
	const size_t room = serial_room(s);

	for (size_t i = 0; i < sizeof(many); i++)
		many[i] = (uint8_t)i;
	ck_assert_uint_ge(room, 16);
	ck_assert_uint_lt(room, sizeof(many));
	serial_input(s, many, sizeof(many)); /* more than there is room for: the rest is lost */
	ck_assert_uint_eq(serial_room(s), 0);
	for (size_t i = 0; i < room; i++) {
		ck_assert_uint_eq(serial_read(s, 5) & 1, 1);
		ck_assert_uint_eq(serial_read(s, 0), (uint8_t)i);
	}
	ck_assert_uint_eq(serial_read(s, 5) & 1, 0);
	ck_assert_uint_eq(serial_read(s, 0), 0);
	ck_assert_uint_eq(serial_room(s), room);
	serial_free(s);
}
END_TEST

START_TEST(interrupts_when_asked_to)
{
	struct serial *s = make();

	serial_input(s, "x", 1);
	ck_assert(!line);
	serial_write(s, 4, 8); /* OUT2: the line is connected */
	serial_write(s, 1, 1); /* received data */
	ck_assert(line);
	ck_assert_uint_eq(serial_read(s, 2) & 0xf, 4);
	ck_assert_uint_eq(serial_read(s, 0), 'x');
	ck_assert(!line);
	ck_assert_uint_eq(serial_read(s, 2) & 0xf, 1); /* none */
	serial_free(s);
}
END_TEST

START_TEST(says_at_once_that_the_transmitter_is_empty)
{
	struct serial *s = make();

	serial_write(s, 4, 8);
	serial_write(s, 1, 2);
	ck_assert(line);
	ck_assert_uint_eq(serial_read(s, 2) & 0xf, 2); /* reading it acknowledges */
	ck_assert(!line);
	serial_write(s, 0, 'a');
	ck_assert(line);
	serial_write(s, 1, 0);
	ck_assert(!line);
	serial_free(s);
}
END_TEST

START_TEST(divisor_hides_data)
{
	struct serial *s = make();

	serial_write(s, 3, 0x83);
	serial_write(s, 0, 0x34);
	serial_write(s, 1, 0x12);
	ck_assert_uint_eq(n_sent, 0);
	ck_assert_uint_eq(serial_read(s, 0), 0x34);
	ck_assert_uint_eq(serial_read(s, 1), 0x12);
	serial_write(s, 3, 0x03);
	ck_assert_uint_eq(serial_read(s, 1), 0);
	ck_assert_uint_eq(serial_read(s, 3), 0x03);
	serial_write(s, 7, 0x5a);
	ck_assert_uint_eq(serial_read(s, 7), 0x5a);
	serial_free(s);
}
END_TEST

START_TEST(loops_back_when_probed)
{
	struct serial *s = make();

	serial_write(s, 4, 0x10 | 0x0a); /* loop, OUT2, RTS: shows as DCD, CTS */
	ck_assert_uint_eq(serial_read(s, 6) & 0xf0, 0x90);
	serial_write(s, 0, 'q');
	ck_assert_uint_eq(n_sent, 0);
	ck_assert_uint_eq(serial_read(s, 0), 'q');
	serial_free(s);
}
END_TEST

START_TEST(fifo_is_a_16550a)
{
	struct serial *s = make();

	ck_assert_uint_eq(serial_read(s, 2) & 0xc0, 0);
	serial_write(s, 2, 1);
	ck_assert_uint_eq(serial_read(s, 2) & 0xc0, 0xc0);
	serial_input(s, "abc", 3);
	serial_write(s, 2, 3); /* clear what was received */
	ck_assert_uint_eq(serial_read(s, 5) & 1, 0);
	serial_free(s);
}
END_TEST

UNIT_MAIN("serial", sends_what_is_written, receives_in_order_until_full, interrupts_when_asked_to,
	  says_at_once_that_the_transmitter_is_empty, divisor_hides_data, loops_back_when_probed,
	  fifo_is_a_16550a)
