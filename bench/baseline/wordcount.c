/* The word count as one would write it by hand in C: one thread, one pass, open addressing, keys that point into the text.
 *
 *   bench_wordcount FILE
 *
 * Loads FILE, then counts it once for each line on standard input, each time from an empty table, and prints
 * "SECONDS DISTINCT CHECKSUM". Only the counting is timed. The checksum is that of bench/baseline/wordcount.lua. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BLOCK_SIZE ((size_t)1 << 22)
#define FIRST_CAPACITY 4096

typedef struct block {
  const char *text;
  size_t size;
} block;

typedef struct entry {
  const char *word; /* NULL: free */
  uint32_t size;
  uint32_t hash;
  uint64_t count;
} entry;

typedef struct table {
  entry *entries;
  size_t capacity; /* a power of two */
  size_t used;
} table;

static void die(const char *what)
{
  perror(what);
  exit(1);
}

static void *allocate(size_t n, size_t size)
{
  void *p = calloc(n, size);
  if (!p) {
    die("bench_wordcount: no memory");
  }
  return p;
}

static double now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void grow(table *t)
{
  table bigger = {allocate(t->capacity * 2, sizeof(entry)), t->capacity * 2, t->used};
  for (size_t i = 0; i < t->capacity; i++) {
    if (t->entries[i].word) {
      size_t at = t->entries[i].hash & (bigger.capacity - 1);
      while (bigger.entries[at].word) {
        at = (at + 1) & (bigger.capacity - 1);
      }
      bigger.entries[at] = t->entries[i];
    }
  }
  free(t->entries);
  *t = bigger;
}

static void count_word(table *t, const char *word, uint32_t size, uint32_t hash)
{
  size_t at = hash & (t->capacity - 1);
  for (;;) {
    entry *e = &t->entries[at];
    if (!e->word) {
      *e = (entry){word, size, hash, 1};
      if (++t->used * 2 > t->capacity) {
        grow(t);
      }
      return;
    }
    if (e->hash == hash && e->size == size && memcmp(e->word, word, size) == 0) {
      e->count++;
      return;
    }
    at = (at + 1) & (t->capacity - 1);
  }
}

/* What Lua's %s matches. */
static bool is_space(char c)
{
  return c == ' ' || (c >= '\t' && c <= '\r');
}

static void count_block(table *t, block b)
{
  const char *p = b.text, *end = b.text + b.size;
  for (;;) {
    while (p < end && is_space(*p)) {
      p++;
    }
    if (p == end) {
      return;
    }
    const char *word = p;
    uint32_t hash = 2166136261u; /* FNV-1a */
    while (p < end && !is_space(*p)) {
      hash = (hash ^ (unsigned char)*p++) * 16777619u;
    }
    count_word(t, word, (uint32_t)(p - word), hash ^ (hash >> 15));
  }
}

/* The sum over all words of count * hash, as an integer of 64 bits that wraps. */
static int64_t checksum(const table *t)
{
  uint64_t sum = 0;
  for (size_t i = 0; i < t->capacity; i++) {
    uint64_t hash = 0;
    for (uint32_t k = 0; k < t->entries[i].size; k++) {
      hash = hash * 31 + (unsigned char)t->entries[i].word[k];
    }
    sum += t->entries[i].count * hash;
  }
  return (int64_t)sum;
}

static void run(const block *blocks, size_t n)
{
  double start = now();
  table t = {allocate(FIRST_CAPACITY, sizeof(entry)), FIRST_CAPACITY, 0};
  for (size_t i = 0; i < n; i++) {
    count_block(&t, blocks[i]);
  }
  double seconds = now() - start;
  printf("%.6f %zu %" PRId64 "\n", seconds, t.used, checksum(&t));
  fflush(stdout);
  free(t.entries);
}

static block load(const char *path)
{
  FILE *f = fopen(path, "rb");
  if (!f || fseek(f, 0, SEEK_END) != 0) {
    die(path);
  }
  long size = ftell(f);
  if (size < 0 || fseek(f, 0, SEEK_SET) != 0) {
    die(path);
  }
  char *text = allocate((size_t)size + 1, 1);
  if (fread(text, 1, (size_t)size, f) != (size_t)size) {
    die(path);
  }
  fclose(f);
  return (block){text, (size_t)size};
}

/* Cuts the text at the first line end behind each BLOCK_SIZE bytes. */
static size_t cut(block whole, block *out, size_t max)
{
  size_t n = 0, at = 0;
  while (at < whole.size && n < max) {
    size_t left = whole.size - at, size = left;
    if (left > BLOCK_SIZE) {
      const char *newline = memchr(whole.text + at + BLOCK_SIZE, '\n', left - BLOCK_SIZE);
      size = newline ? (size_t)(newline - (whole.text + at)) + 1 : left;
    }
    out[n++] = (block){whole.text + at, size};
    at += size;
  }
  return n;
}

int main(int argc, char **argv)
{
  if (argc != 2) {
    fputs("usage: bench_wordcount FILE\n", stderr);
    return 2;
  }
  block text = load(argv[1]);
  size_t max = text.size / BLOCK_SIZE + 1;
  block *blocks = allocate(max, sizeof(block));
  size_t n = cut(text, blocks, max);
  char line[16];
  while (fgets(line, sizeof line, stdin)) {
    run(blocks, n);
  }
  free(blocks);
  free((void *)text.text);
  return 0;
}
