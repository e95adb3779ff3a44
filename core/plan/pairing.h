/* Operators that put records of several inputs into one. A record goes in as one value: plain, or a tuple where it has
 * several fields.
 *
 * zip: (record i of each input). Inputs of different length are an error that names the partition; with
 * `uneven` the records are (true, record i of each input), nil for an input that has ended.
 * cartesian: (left, right), for each record of `left` all of `right`, which is held meanwhile: in a spool, when it is more
 * than the task's quota.
 *
 * Inputs are taken over; `op` is for messages, and it and the task must outlive the operator. */
#ifndef RL_PLAN_PAIRING_H
#define RL_PLAN_PAIRING_H

#include "data/fn.h"
#include "plan/op.h"

rl_pull *rl_pull_zip(rl_pull *const *inputs, uint32_t n, bool uneven, const rl_op *op, uint32_t partition);
rl_pull *rl_pull_cartesian(rl_pull *left, rl_pull *right, const rl_op *op, const rl_task *task);

#endif
