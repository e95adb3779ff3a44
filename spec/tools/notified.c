/* notified PATH: a service manager's end of the notification protocol. Listens on the Unix datagram socket PATH; prints
 * "listening", and then each datagram as it is. Ends when nobody reads its standard output, or when it is killed. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

int main(int argc, char **argv)
{
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  if (argc != 2 || strlen(argv[1]) >= sizeof at.sun_path) return 2;
  memcpy(at.sun_path, argv[1], strlen(argv[1]) + 1);
  int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
  if (fd < 0 || bind(fd, (const struct sockaddr *)&at, sizeof at) != 0) {
    perror("notified");
    return 1;
  }
  puts("listening");
  char text[4096];
  ssize_t n = 0;
  while (fflush(stdout) == 0 && (n = recv(fd, text, sizeof text - 1, 0)) >= 0) printf("%.*s\n", (int)n, text);
  return n < 0;
}
