/* rille backup: a copy of a checkpoint directory, while the job runs. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cmd.h"
#include "store/backup.h"

const char rl_cmd_backup_help[] =
  "usage: rille backup DIR TO\n"
  "\n"
  "Copies the checkpoint directory DIR of a job, which may be running, to the new or empty directory TO outside of it,\n"
  "and verifies the copy, whose state is compact. A job that is started on TO goes on from there, and a repair of DIR\n"
  "can take from it what DIR has lost (rille help inspect).\n"
  "\n"
  "  --help                 this text\n"
  "\n"
  "Exit status: 0 done, 1 it could not be done, and TO is as before; 2 wrong usage.\n";

int rl_cmd_backup(int argc, char **argv)
{
  for (int i = 0; i < argc; i++) {
    if (argv[i][0] != '-') continue;
    if (strcmp(argv[i], "--help") == 0) {
      fputs(rl_cmd_backup_help, stdout);
      return RL_EXIT_DONE;
    }
    fprintf(stderr, "rille: unknown option %s\nTry 'rille backup --help'.\n", argv[i]);
    return RL_EXIT_USAGE;
  }
  if (argc != 2) {
    fputs("rille: from where, and where to? Give the job's checkpoint directory and a new one\n"
          "Try 'rille backup --help'.\n", stderr);
    return RL_EXIT_USAGE;
  }
  rl_backup b;
  if (rl_backup_run(argv[0], argv[1], &b) != RL_OK) {
    fprintf(stderr, "rille: %s\n", rl_error_message());
    return RL_EXIT_FAILED;
  }
  char *bytes = rl_cmd_bytes(b.bytes);
  printf("%s: log: %llu segments, %llu records, %s; state: %llu operators, %llu entries\n", argv[1],
         (unsigned long long)b.segments, (unsigned long long)b.records, bytes, (unsigned long long)b.operators,
         (unsigned long long)b.entries);
  rl_free(bytes);
  return RL_EXIT_DONE;
}
