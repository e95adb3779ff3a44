/* Values: one field of a record, as C sees it.
 *
 * An rl_value is a view: bytes and encoded values point into memory that somebody else holds (a chunk, a buffer, a Lua
 * string).
 *
 * Keys compare as Lua's tables compare them: a float with an integer value is that integer, -0.0 is 0, composite values
 * compare by content (numbers inside normalised the same way); nil and NaN are no keys. Values keep 1 and 1.0 apart.
 *
 * Total order over mixed values (sorting): nil < rille.null < false < true < numbers (by value; an integer before an
 * equal float; NaN last of the numbers) < strings (bytewise) < tuples < tables (both: by their encoded form's fields in
 * order, element by element; a prefix comes first). */
#ifndef RL_DATA_VALUE_H
#define RL_DATA_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"

typedef enum rl_type {
  RL_T_NIL = 0,
  RL_T_NULL,  /* rille.null */
  RL_T_BOOL,
  RL_T_INT,
  RL_T_FLOAT,
  RL_T_BYTES, /* a Lua string */
  RL_T_TUPLE, /* rille.tuple(...): s holds the encoded value, tag byte included */
  RL_T_TABLE, /* a Lua table: likewise */
} rl_type;

typedef struct rl_value {
  rl_type type;
  union {
    bool b;
    int64_t i;
    double f;
    struct {
      const char *p;
      size_t n;
    } s;
  };
} rl_value;

static inline rl_value rl_nil(void) { return (rl_value){.type = RL_T_NIL}; }
static inline rl_value rl_null(void) { return (rl_value){.type = RL_T_NULL}; }
static inline rl_value rl_bool(bool b) { return (rl_value){.type = RL_T_BOOL, .b = b}; }
static inline rl_value rl_int(int64_t i) { return (rl_value){.type = RL_T_INT, .i = i}; }
static inline rl_value rl_float(double f) { return (rl_value){.type = RL_T_FLOAT, .f = f}; }
static inline rl_value rl_str(const char *p, size_t n) { return (rl_value){.type = RL_T_BYTES, .s = {p, n}}; }

bool rl_value_equal(rl_value a, rl_value b);     /* same type and content; NaN equals NaN; 1 is not 1.0 */
int rl_value_compare(rl_value a, rl_value b);    /* the total order above: <0, 0, >0 */

/* Checks and normalises a key in place: float with integer value -> int. A composite that needs changes inside is
 * encoded anew into `scratch` (cleared first) and *v then points there. RL_EINVAL for nil and NaN ("key is nil", "key
 * is NaN"). */
rl_status rl_key_normalise(rl_value *v, rl_buf *scratch);
/* The same for the key of a record: the message also says what the job can do about it. */
rl_status rl_key_read(rl_value *v, rl_buf *scratch);
uint64_t rl_key_hash(rl_value normalised);                 /* RL_HASH_SEED */
bool rl_key_equal(rl_value normalised_a, rl_value normalised_b);

/* Text as print and saveAsTextFile show it: strings raw, integers and floats as Lua's tostring (1e15 -> 1e+15, 1.0
 * -> 1.0), tuples (a,b), tables {1,2,x=3} (array part, then other keys in encoded order), nil "nil", null "null".
 * Appended to out. */
void rl_value_format(rl_value v, rl_buf *out);

#endif
