/* A helper process that removes the control socket should guestmm be killed. */
#ifndef VMM_CMD_JANITOR_H
#define VMM_CMD_JANITOR_H

/* Forks it. Before any thread is made. Its life ends with this process's, or with
 * janitor_dismiss(). Returns a descriptor for that, or a negative errno. */
int janitor_start(const char *socket_path);
void janitor_dismiss(int janitor);

#endif
