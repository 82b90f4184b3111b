/* LZ4 and Zstandard: see codec.h. */
#include "store/codec.h"

#include <errno.h>
#include <lz4.h>
#include <stdlib.h>
#include <zstd.h>

/* Of 1 to 22, on pages of programs' heaps: higher ones cost more time than they save room. */
#define ZSTD_LEVEL 1

static int zstd_init(struct codec *c)
{
	ZSTD_CCtx *packer = ZSTD_createCCtx();

	c->packer = packer;
	c->unpacker = ZSTD_createDCtx();
	if (!c->packer || !c->unpacker)
		return -ENOMEM;
	/* The size is always a page's, and the store has a checksum of its own. */
	if (ZSTD_isError(ZSTD_CCtx_setParameter(packer, ZSTD_c_compressionLevel, ZSTD_LEVEL)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(packer, ZSTD_c_contentSizeFlag, 0)))
		return -ENOMEM;
	return 0;
}

int codec_init(struct codec *c, enum gmm_store_codec kind)
{
	int error;

	*c = (struct codec){.kind = kind};
	if (kind == GMM_STORE_ZSTD) {
		error = zstd_init(c);
	} else {
		c->packer = malloc((size_t)LZ4_sizeofState());
		error = c->packer ? 0 : -ENOMEM;
	}
	if (error)
		codec_fini(c);
	return error;
}

void codec_fini(struct codec *c)
{
	if (c->kind == GMM_STORE_ZSTD) {
		ZSTD_freeCCtx(c->packer);
		ZSTD_freeDCtx(c->unpacker);
	} else {
		free(c->packer);
	}
	*c = (struct codec){0};
}

unsigned codec_pack(struct codec *c, const void *page, void *out, unsigned max)
{
	size_t n;
	int bytes;

	if (c->kind == GMM_STORE_ZSTD) {
		n = ZSTD_compress2(c->packer, out, max, page, GMM_PAGE_BYTES);
		return ZSTD_isError(n) ? 0 : (unsigned)n;
	}
	bytes = LZ4_compress_fast_extState(c->packer, page, out, (int)GMM_PAGE_BYTES, (int)max, 1);
	return bytes < 0 ? 0 : (unsigned)bytes;
}

bool codec_unpack(struct codec *c, const void *packed, unsigned bytes, void *page)
{
	if (c->kind == GMM_STORE_ZSTD)
		return ZSTD_decompressDCtx(c->unpacker, page, GMM_PAGE_BYTES, packed, bytes) ==
		       GMM_PAGE_BYTES;
	return LZ4_decompress_safe(packed, page, (int)bytes, (int)GMM_PAGE_BYTES) ==
	       (int)GMM_PAGE_BYTES;
}

uint64_t codec_bytes(const struct codec *c)
{
	if (c->kind == GMM_STORE_ZSTD)
		return ZSTD_sizeof_CCtx(c->packer) + ZSTD_sizeof_DCtx(c->unpacker);
	return (uint64_t)LZ4_sizeofState();
}
