/* System calls on files and the process. Failures: -1 and errno. */
#ifndef GUEST_UNISTD_H
#define GUEST_UNISTD_H

#include <stddef.h>
#include <stdint.h>

typedef int64_t ssize_t;
typedef int64_t off_t;

ssize_t read(int fd, void *to, size_t n);
ssize_t write(int fd, const void *from, size_t n);
int close(int fd);
off_t lseek(int fd, off_t offset, int whence);
_Noreturn void _exit(int status);

#define SEEK_SET 0
#define SEEK_CUR 1
#define SEEK_END 2

#endif
