/* bench_gen WORDS: the benchmarks' text on standard output, the same on every machine.
 *
 * WORDS words, ten a line, drawn from a vocabulary of 40,000 with frequencies by Zipf's law (the k-th word comes about
 * 1/k as often as the first), so that a few words are very frequent and most are rare, as in natural text. */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define VOCABULARY 40000
#define WORDS_PER_LINE 10
#define WORD_MAX 16

static char words[VOCABULARY][WORD_MAX];
static uint64_t cumulative[VOCABULARY]; /* of frequencies, in integers: no rounding that differs between machines */

/* splitmix64 */
static uint64_t next_random(void)
{
  static uint64_t state = 5;
  uint64_t z = (state += UINT64_C(0x9e3779b97f4a7c15));
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

/* Syllables spell the word's number, so no two are alike; frequent words are short. */
static void spell(unsigned number, char *out)
{
  static const char consonants[] = "bdfgklmnprstvz", vowels[] = "aeiou";
  unsigned n = number;
  do {
    *out++ = consonants[n % 14];
    *out++ = vowels[n / 14 % 5];
    n /= 70;
  } while (n > 0);
  if (number % 3 == 0) {
    *out++ = 's';
  }
  *out = '\0';
}

static void make_vocabulary(void)
{
  uint64_t sum = 0;
  for (unsigned i = 0; i < VOCABULARY; i++) {
    spell(i, words[i]);
    sum += UINT64_C(1000000000) / (i + 1);
    cumulative[i] = sum;
  }
}

static const char *draw(void)
{
  uint64_t at = next_random() % cumulative[VOCABULARY - 1];
  size_t low = 0, high = VOCABULARY - 1;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (cumulative[middle] > at) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return words[low];
}

int main(int argc, char **argv)
{
  uint64_t count = argc == 2 ? strtoumax(argv[1], NULL, 10) : 0;
  if (count == 0) {
    fputs("usage: bench_gen WORDS\n", stderr);
    return 2;
  }
  make_vocabulary();
  for (uint64_t i = 1; i <= count; i++) {
    fputs(draw(), stdout);
    putchar(i % WORDS_PER_LINE == 0 || i == count ? '\n' : ' ');
  }
  if (fflush(stdout) != 0 || ferror(stdout)) {
    perror("bench_gen: cannot write");
    return 1;
  }
  return 0;
}
