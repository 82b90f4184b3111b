/* Standard input as a foreign kernel's keyboard. */
#ifndef VMM_CMD_TERMINAL_H
#define VMM_CMD_TERMINAL_H

#include <stdbool.h>

/* Where standard input is a terminal: keys arrive at once and unechoed; Ctrl-C still ends guestmm.
 */
void terminal_begin(void);

/* Puts it back as it was. May be called without the other. */
void terminal_end(void);

#endif
