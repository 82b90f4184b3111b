/* Opening files. */
#ifndef GUEST_FCNTL_H
#define GUEST_FCNTL_H

#define O_RDONLY 0

/* -1 and errno where it fails. */
int open(const char *path, int flags);

#endif
