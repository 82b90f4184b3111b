/* The subcommands. Each gets its own name as argv[0] and returns the exit status. */
#ifndef VMM_CMD_CMD_H
#define VMM_CMD_CMD_H

#define CMD_EXIT_USAGE	64  /* wrong usage */
#define CMD_EXIT_NO_KVM 77  /* the host has no usable KVM */
#define CMD_EXIT_FAILED 125 /* guestmm itself failed */

int cmd_run(int argc, char **argv);
int cmd_programs(int argc, char **argv);
int cmd_top(int argc, char **argv);
int cmd_map(int argc, char **argv);
int cmd_ctl(int argc, char **argv);
int cmd_replay(int argc, char **argv);
int cmd_check_host(int argc, char **argv);

#endif
