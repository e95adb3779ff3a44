/* Rille, the engine without Lua: everything a C program needs to build RDDs and DStreams, add sources and sinks, and run them. Link librille. */
#ifndef RILLE_H
#define RILLE_H

#include "base/version.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/status.h"
#include "data/block.h"
#include "data/chunk.h"
#include "data/codec.h"
#include "data/fn.h"
#include "data/native.h"
#include "data/value.h"
#include "plan/op.h"
#include "plan/rdd.h"
#include "run/conf.h"
#include "run/context.h"
#include "run/driver.h"
#include "run/listener.h"
#include "run/receiver.h"
#include "run/streaming.h"
#include "sink/files.h"
#include "sink/kafka.h"
#include "sink/lmdb.h"
#include "source/kafka.h"
#include "source/kafka_group.h"
#include "source/sources.h"
#include "store/journal.h"
#include "store/memory.h"
#include "store/replica.h"
#include "store/state.h"
#include "store/wal.h"

#endif
