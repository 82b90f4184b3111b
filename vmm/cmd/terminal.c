/* Standard input as a foreign kernel's keyboard. The terminal is process-wide, so is its old state.
 */
#include "vmm/cmd/terminal.h"

#include <termios.h>
#include <unistd.h>

static struct termios before;
static bool changed;

void terminal_begin(void)
{
	struct termios t;

	if (changed || !isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &before) < 0)
		return;
	t = before;
	t.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	t.c_cc[VMIN] = 1;
	t.c_cc[VTIME] = 0;
	/* A background process may not: then the terminal is not ours to change. */
	changed = tcgetpgrp(STDIN_FILENO) == getpgrp() && tcsetattr(STDIN_FILENO, TCSANOW, &t) == 0;
}

void terminal_end(void)
{
	if (changed)
		tcsetattr(STDIN_FILENO, TCSANOW, &before);
	changed = false;
}
