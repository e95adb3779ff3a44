/* A bounded queue of pointers between threads (many producers, many consumers; one lock, two conditions).
 * What a full queue means is the caller's choice: rl_queue_push waits, rl_queue_try_push refuses. */
#ifndef RL_BASE_QUEUE_H
#define RL_BASE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct rl_queue rl_queue;

rl_queue *rl_queue_new(size_t capacity);
void rl_queue_delete(rl_queue *q); /* must be empty of meaning: items are not freed */
bool rl_queue_push(rl_queue *q, void *item);     /* waits for room; false when the queue is closed */
bool rl_queue_try_push(rl_queue *q, void *item); /* false when full or closed */
/* Next item, or NULL after timeout_ns (negative: wait for ever, 0: do not wait) or when the queue is closed and empty.
 */
void *rl_queue_pop(rl_queue *q, int64_t timeout_ns);
void rl_queue_close(rl_queue *q); /* pushes fail from now on, pops drain what is left */
size_t rl_queue_size(rl_queue *q);

#endif
