/* Errors, with Linux's numbers; one errno a thread. */
#ifndef GUEST_ERRNO_H
#define GUEST_ERRNO_H

#define EPERM	  1
#define ENOENT	  2
#define ESRCH	  3
#define EINTR	  4
#define EIO	  5
#define EBADF	  9
#define EAGAIN	  11
#define ENOMEM	  12
#define EACCES	  13
#define EFAULT	  14
#define EEXIST	  17
#define ENODEV	  19
#define EISDIR	  21
#define EINVAL	  22
#define ERANGE	  34
#define ENOSYS	  38
#define EOVERFLOW 75

extern _Thread_local int errno;

#endif
