/* The sources that come with the engine. Each adds an input to a streaming context (driver thread, before start). */
#ifndef RL_SOURCE_SOURCES_H
#define RL_SOURCE_SOURCES_H

#include "run/receiver.h"
#include "run/streaming.h"

/* Text lines from a TCP server. Connects at start; when the connection cannot be made, breaks or ends, says so
 * (listener event and log) and tries again after rille.streaming.receiverRestartDelay. Line ends \n \r \r\n, bytes
 * untouched; a last line without end counts. Text goes from the socket into the block's buffer and is copied no more. */
rl_status rl_source_socket(rl_streaming *s, const char *host, int port, const char *site, rl_dstream **out);
/* Lines from a TCP server that keeps them until they are acknowledged: the engine says on connecting how many it has on
 * disk, and again after each group of its log; the server sends those behind (docs/ack-protocol.md). Lines end with \n
 * or \r\n; one that is not ended is dropped, and comes again. A line over rille.streaming.receiver.maxRecordBytes ends
 * the connection with an error. Start is RL_ESTATE when what is received is not logged. The stream needs a uid. */
rl_status rl_source_ack_socket(rl_streaming *s, const char *host, int port, const char *site, rl_dstream **out);
/* Frames: 4 bytes big-endian length, then that many bytes holding chunks as rl_chunk_encode writes them; each frame
 * becomes a block. A malformed frame ends the connection with an error (then as above). */
rl_status rl_source_raw_socket(rl_streaming *s, const char *host, int port, const char *site, rl_dstream **out);

/* Bytes of a TCP connection for a converter (socketStream): `bytes` is called on a thread of this source's own with
 * what came, and stores records itself. Each connection ends with one call with n == 0, also after a failure; a failure
 * ends the connection with that error. Takes over `user`, also on failure. */
typedef rl_status rl_socket_bytes_fn(void *user, rl_receiver *r, const char *p, size_t n);
rl_status rl_source_socket_bytes(rl_streaming *s, const char *host, int port, rl_socket_bytes_fn *bytes, void *user,
                                 void (*destroy)(void *), const char *site, rl_dstream **out);

/* Files that appear in directories matching a pattern (section 10.2 of the reference, and its section 24: regular files
 * only). */
typedef enum rl_file_format { RL_FILES_TEXT, RL_FILES_BINARY } rl_file_format;
typedef struct rl_file_stream {
  const char *path; /* a directory, a glob of directories, or dir/glob for the files in it (incoming/x*.log) */
  rl_file_format format;
  uint32_t record_length; /* BINARY: bytes a record; a file that is no multiple is an error of its task */
  bool new_files_only;    /* default true */
  /* Which files to take (full path); NULL: those whose base name does not start with a dot. Driver thread. A failure
   * fails the batch's generation. */
  rl_status (*filter)(void *user, const char *path, bool *take);
  void *user;
  void (*destroy)(void *user);
} rl_file_stream;
/* Takes over spec->user, also on failure. */
rl_status rl_source_files(rl_streaming *s, const rl_file_stream *spec, const char *site, rl_dstream **out);

/* RDDs from files ------------------------------------------------------------------------------------------------- */

/* Lines of a file, of a directory's files or of a glob, in sorted order of names; at least `partitions` (0: the
 * default of 2) where the size allows (split by byte ranges at line ends). RL_ENOTFOUND when nothing matches. */
rl_status rl_rdd_text_file(const char *path, uint32_t partitions, rl_rdd **out);
/* Fixed-length records. */
rl_status rl_rdd_binary_records(const char *path, uint32_t record_length, rl_rdd **out);
/* What rl_sink_objects wrote. */
rl_status rl_rdd_object_file(const char *path, rl_rdd **out);

#endif
