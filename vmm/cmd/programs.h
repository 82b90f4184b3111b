/* The bundled guest programs. */
#ifndef VMM_CMD_PROGRAMS_H
#define VMM_CMD_PROGRAMS_H

#include <stdbool.h>

bool programs_has(const char *name);

#endif
