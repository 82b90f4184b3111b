/* Loads that are programs by themselves and parts of `all`. Each prints its line and returns
 * the exit status. */
#ifndef GUEST_LOADS_H
#define GUEST_LOADS_H

#include <stdint.h>

/* before_verify, where not NULL, is called when all is written and before every byte is
 * verified in random order. */
int malloc_load(uint64_t bytes, uint64_t n_ops, uint64_t seed, void (*before_verify)(void));
int touch_load(uint64_t bytes, uint64_t passes, const char *order, uint64_t write);
int zipf_load(uint64_t bytes, uint64_t n_ops, uint64_t theta_millionths, uint64_t writes_percent,
	      uint64_t seed);

#endif
