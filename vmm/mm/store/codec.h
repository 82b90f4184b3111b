/* Codecs: how the ram store makes a page smaller. */
#ifndef MM_STORE_CODEC_H
#define MM_STORE_CODEC_H

#include <guestmm/store.h>

struct codec {
	enum gmm_store_codec kind;
	void *packer, *unpacker; /* the libraries' own states, used again and again */
};

/* 0 or -ENOMEM. A codec that is all zero may be freed, too. */
int codec_init(struct codec *c, enum gmm_store_codec kind);
void codec_fini(struct codec *c);

/* Packs a page into at most `max` bytes. Returns how many, 0: it does not shrink that far. */
unsigned codec_pack(struct codec *c, const void *page, void *out, unsigned max);

/* False: these are not `bytes` bytes that a page was packed into. */
bool codec_unpack(struct codec *c, const void *packed, unsigned bytes, void *page);

/* Memory that the states take. */
uint64_t codec_bytes(const struct codec *c);

#endif
