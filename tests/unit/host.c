/* What is read of the host's processor. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "unit.h"
#include "vmm/kvm/host.h"

static char control[64], cpuinfo[64];

/* A file with this text, or none. */
static void put(char path[64], const char *text)
{
	int fd;

	snprintf(path, 64, "/tmp/guestmm-unit-XXXXXX");
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	if (text)
		ck_assert_int_eq(write(fd, text, strlen(text)), strlen(text));
	else
		unlink(path);
	close(fd);
}

static bool tells(const char *smt_control, const char *processor)
{
	bool has;

	put(control, smt_control);
	put(cpuinfo, processor);
	has = host_tells_smt_rsb(control, cpuinfo);
	unlink(control);
	unlink(cpuinfo);
	return has;
}

#define GOOD "processor\t: 0\nflags\t\t: fpu\nbugs\t\t: sysret_ss_attrs spectre_v1\n"
#define BAD  "processor\t: 0\nflags\t\t: fpu\nbugs\t\t: retbleed smt_rsb srso\n"

START_TEST(threads_share_predictions)
{
	ck_assert(tells("on\n", BAD));
	ck_assert(tells("off\n", BAD)); /* it can be switched on */
	ck_assert(tells("notimplemented\n", BAD));
	ck_assert(!tells("forceoff\n", BAD));
	ck_assert(!tells("notsupported\n", BAD));
	ck_assert(!tells("on\n", GOOD));
}
END_TEST

START_TEST(who_does_not_tell_is_not_trusted)
{
	ck_assert(tells(NULL, BAD));
	ck_assert(tells("on\n", NULL));
	ck_assert(tells("on\n", "processor\t: 0\n"));
	ck_assert(!tells(NULL, GOOD));
}
END_TEST

UNIT_MAIN("host", threads_share_predictions, who_does_not_tell_is_not_trusted)
