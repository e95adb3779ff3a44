/* For those who make chunks column by column (chunk.c, builder.c): allocate, fill the columns, seal. */
#ifndef RL_DATA_CHUNK_IMPL_H
#define RL_DATA_CHUNK_IMPL_H

#include "data/chunk.h"

/* n records of ncols columns, all RL_COL_NIL, one reference, not sealed. */
rl_chunk *rl_chunk_new(uint32_t n, uint32_t ncols);

/* Works out `bytes` and counts the chunk in rl_mem_used; from now on it is immutable. Returns it. */
rl_chunk *rl_chunk_seal(rl_chunk *c);

/* Frees a chunk that was not sealed. */
void rl_chunk_drop(rl_chunk *c);

size_t rl_column_width(rl_coltype type); /* bytes of one element of the column's array; 0 for RL_COL_NIL */

/* A column's array, whatever its type; and setting it. */
static inline void *rl_column_array(const rl_column *c) { return c->i; }
static inline void rl_column_set_array(rl_column *c, void *array) { c->i = array; }

/* A value out of its encoded form in a MIXED column, which was checked before it got there. */
rl_value rl_value_view(const char *p, size_t n);

#endif
