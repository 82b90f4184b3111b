/* The library's version. */
#include <guestmm/guestmm.h>

const char *gmm_version(void)
{
	return GMM_VERSION;
}
