/* The ram store's insides: see ram.c. */
#ifndef MM_STORE_RAM_H
#define MM_STORE_RAM_H

#include "store/codec.h"
#include "store/ended.h"
#include "store/spans.h"

struct ram {
	struct gmm_store base;
	struct ended ended;
	struct spans spans;
	struct gmm_store_stats stats;
	struct codec codec;
	char buffer[SPAN_CONTENTS_MAX];
};

#endif
