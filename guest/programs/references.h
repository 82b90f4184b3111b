/* Reference traces: instead of touching memory a program tells, on standard output, which pages it
 * would touch, in order. What a policy could do at best follows from that. */
#ifndef GUEST_REFERENCES_H
#define GUEST_REFERENCES_H

#include <stdbool.h>
#include <stdint.h>

/* One trace at a time. Pages are numbered from the beginning of the program's mapping. */
void references_begin(void);
void references_add(uint64_t page, bool is_write);

/* Returns an exit status: not 0 where not all could be written. */
int references_end(void);

#endif
