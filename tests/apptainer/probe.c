/* What a command does that wants out of its replica, or too much of the machine. Every part ends by itself, so that the
 * machine of the tests survives a container that holds nothing. Exit code 0: it got what it wanted. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { LIFE_S = 240 };

static int tcp(int port) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  return connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&to, sizeof to) != 0;
}

/* A socket that has a name but no file: a desktop's X server and D-Bus listen on such. */
static int nameless(const char *name) {
  struct sockaddr_un to = {.sun_family = AF_UNIX};
  memcpy(to.sun_path + 1, name, strlen(name));
  socklen_t size = offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name);
  return connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&to, size) != 0;
}

/* Fork as fast as possible, each in a session of its own, never more than `most` at once. */
static int bomb(int most) {
  atomic_int *alive = mmap(NULL, sizeof *alive, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  signal(SIGCHLD, SIG_IGN);
  atomic_store(alive, 1);
  for (;;) {
    if (atomic_fetch_add(alive, 1) >= most) {
      atomic_fetch_sub(alive, 1);
      pause();
    } else if (fork() == 0) {
      alarm(LIFE_S);
      setsid();
    }
  }
}

/* Write files of 4 MiB until there are `mib` of them or no room, then stay. */
static int fill(const char *folder, int mib) {
  static char block[1 << 20];
  char name[4096];
  for (int number = 0; number < mib / 4; number++) {
    snprintf(name, sizeof name, "%s/fill-%d", folder, number);
    int file = open(name, O_WRONLY | O_CREAT, 0600);
    for (int part = 0; part < 4; part++)
      if (write(file, block, sizeof block) < 0) break;
    close(file);
  }
  pause();
  return 0;
}

/* Leave a process behind that has forked twice, has a session of its own and hears no signal that it can refuse. */
static int stay(void) {
  for (int number = 0; number < 3; number++)
    if (fork() == 0) {
      setsid();
      if (fork() != 0) _exit(0);
      for (int one = 1; one < 32; one++) signal(one, SIG_IGN);
      for (int fd = 0; fd < 64; fd++) close(fd);
      signal(SIGALRM, SIG_DFL);
      alarm(LIFE_S);
      for (;;) pause();
    }
  return 0;
}

int main(int argc, char **argv) {
  const char *what = argc > 1 ? argv[1] : "";
  alarm(LIFE_S);
  if (!strcmp(what, "tcp")) return tcp(atoi(argv[2]));
  if (!strcmp(what, "nameless")) return nameless(argv[2]);
  if (!strcmp(what, "bomb")) return bomb(atoi(argv[2]));
  if (!strcmp(what, "fill")) return fill(argv[2], atoi(argv[3]));
  if (!strcmp(what, "stay")) return stay();
  return strcmp(what, "nothing") != 0;
}
