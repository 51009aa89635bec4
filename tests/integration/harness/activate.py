"""Runs a program with listening sockets, as systemd passes them (sd_listen_fds(3)):

    activate.py FD,FD,... NAMES PROGRAM [ARGUMENT...]

The descriptors become 3, 4 and so on; NAMES goes to LISTEN_FDNAMES, "-" for none.
"""

import os
import sys


def main():
    given, names, *command = sys.argv[1:]
    high = [os.dup2(int(fd), 500 + i) for i, fd in enumerate(filter(None, given.split(",")))]
    for i, fd in enumerate(high):
        os.dup2(fd, 3 + i)
        os.close(fd)
    os.environ["LISTEN_PID"] = os.environ.get("FORGED_PID", str(os.getpid()))
    os.environ["LISTEN_FDS"] = os.environ.get("FORGED_FDS", str(len(high)))
    if names != "-":
        os.environ["LISTEN_FDNAMES"] = names
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
