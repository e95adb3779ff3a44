/* rille.time: points in time as whole milliseconds since 1970, in UTC. */
#include <lauxlib.h>
#include <math.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "capture.h"
#include "duration.h"
#include "json.h"
#include "values.h"

#define DAY_MS INT64_C(86400000)
#define FIRST_MS INT64_C(-62167219200000) /* 0000-01-01 */
#define END_MS INT64_C(253402300800000)   /* 10000-01-01 */

/* Dates ------------------------------------------------------------------------------------------------------------ */

typedef struct date {
  int year, month, day;
} date;

/* Years begin in March here, so that the leap day is their last; eras have 400 of them. */
static int64_t days_of(date d)
{
  int64_t y = d.month <= 2 ? d.year - 1 : d.year;
  int64_t era = (y >= 0 ? y : y - 399) / 400;
  int64_t of_era = y - era * 400;
  int64_t of_year = (153 * (d.month + (d.month > 2 ? -3 : 9)) + 2) / 5 + d.day - 1;
  return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static date date_of(int64_t days)
{
  days += 719468;
  int64_t era = (days >= 0 ? days : days - 146096) / 146097;
  int64_t day = days - era * 146097;
  int64_t of_era = (day - day / 1460 + day / 36524 - day / 146096) / 365;
  int64_t of_year = day - (365 * of_era + of_era / 4 - of_era / 100);
  int64_t month = (5 * of_year + 2) / 153;
  date d = {.day = (int)(of_year - (153 * month + 2) / 5 + 1), .month = (int)(month < 10 ? month + 3 : month - 9)};
  d.year = (int)(of_era + era * 400 + (d.month <= 2 ? 1 : 0));
  return d;
}

static int days_in_month(int year, int month)
{
  static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  return days[month - 1] + (leap && month == 2 ? 1 : 0);
}

/* Parsing ---------------------------------------------------------------------------------------------------------- */

/* Exactly n digits. */
static bool digits(const char **p, int n, int *out)
{
  *out = 0;
  for (; n > 0; n--, ++*p) {
    if (**p < '0' || **p > '9') return false;
    *out = *out * 10 + (**p - '0');
  }
  return true;
}

static bool skip(const char **p, const char *any)
{
  if (**p == '\0' || !strchr(any, **p)) return false;
  ++*p;
  return true;
}

static bool read_date(const char **p, int64_t *ms)
{
  date d;
  bool ok = digits(p, 4, &d.year) && skip(p, "-") && digits(p, 2, &d.month) && skip(p, "-") && digits(p, 2, &d.day);
  if (!ok) return false;
  if (d.month < 1 || d.month > 12 || d.day < 1 || d.day > days_in_month(d.year, d.month)) return false;
  *ms = days_of(d) * DAY_MS;
  return true;
}

/* What is finer than a millisecond is cut off. */
static bool read_fraction(const char **p, int64_t *ms)
{
  int scale = 100;
  if (**p < '0' || **p > '9') return false;
  for (; **p >= '0' && **p <= '9'; ++*p, scale /= 10) *ms += (int64_t)(**p - '0') * scale;
  return true;
}

static bool read_clock(const char **p, int64_t *ms)
{
  int hour, minute, second = 0;
  if (!digits(p, 2, &hour) || !skip(p, ":") || !digits(p, 2, &minute)) return false;
  if (skip(p, ":")) {
    if (!digits(p, 2, &second)) return false;
    if (skip(p, ".,") && !read_fraction(p, ms)) return false;
  }
  if (hour > 23 || minute > 59 || second > 60) return false;
  *ms += ((int64_t)(hour * 60 + minute) * 60 + second) * 1000;
  return true;
}

/* Z, +hh, +hhmm, +hh:mm; nothing is UTC. */
static bool read_zone(const char **p, int64_t *ms)
{
  if (**p == '\0' || skip(p, "Zz")) return true;
  int sign = **p == '-' ? 1 : -1, hours, minutes = 0;
  if (!skip(p, "+-") || !digits(p, 2, &hours)) return false;
  bool colon = skip(p, ":");
  if ((colon || **p) && !digits(p, 2, &minutes)) return false;
  if (hours > 23 || minutes > 59) return false;
  *ms += (int64_t)sign * (hours * 60 + minutes) * 60000;
  return true;
}

/* parse(text) -> ms */
static int parse(lua_State *L)
{
  size_t n;
  const char *text = luaL_checklstring(L, 1, &n), *p = text;
  int64_t ms = 0;
  bool ok = read_date(&p, &ms);
  if (ok && skip(&p, "Tt ")) ok = read_clock(&p, &ms) && read_zone(&p, &ms);
  if (!ok || p != text + n)
    return luaL_error(L, "rille.time.parse: '%s' is no time as 2024-05-17T08:30:00.250Z at byte %d", text,
                      (int)(p - text) + 1);
  lua_pushinteger(L, ms);
  return 1;
}

/* Formatting ------------------------------------------------------------------------------------------------------- */

static void put_part(lua_State *L, rl_buf *out, char part, int64_t ms)
{
  int64_t days = ms / DAY_MS - (ms % DAY_MS < 0 ? 1 : 0), of_day = ms - days * DAY_MS;
  date d = date_of(days);
  switch (part) {
    case 'Y': rl_buf_printf(out, "%04d", d.year); break;
    case 'm': rl_buf_printf(out, "%02d", d.month); break;
    case 'd': rl_buf_printf(out, "%02d", d.day); break;
    case 'H': rl_buf_printf(out, "%02d", (int)(of_day / 3600000)); break;
    case 'M': rl_buf_printf(out, "%02d", (int)(of_day / 60000 % 60)); break;
    case 'S': rl_buf_printf(out, "%02d", (int)(of_day / 1000 % 60)); break;
    case 'L': rl_buf_printf(out, "%03d", (int)(of_day % 1000)); break;
    case 'j': rl_buf_printf(out, "%03d", (int)(days - days_of((date){d.year, 1, 1})) + 1); break;
    case 'u': rl_buf_printf(out, "%d", (int)(((days + 3) % 7 + 7) % 7) + 1); break;
    case '%': rl_buf_putc(out, '%'); break;
    case '\0': luaL_error(L, "rille.time.format: the pattern ends in a single %%"); break;
    default:
      luaL_error(L, "rille.time.format: unknown part %%%c; there are Y m d H M S L (milliseconds) j (day of the year) "
                 "u (Monday is 1) and %%", part);
  }
}

/* format(ms[, pattern]) */
static int format(lua_State *L)
{
  int64_t ms = luaL_checkinteger(L, 1);
  luaL_argcheck(L, ms >= FIRST_MS && ms < END_MS, 1, "outside of the years 0000 to 9999");
  const char *p = luaL_optstring(L, 2, "%Y-%m-%dT%H:%M:%S.%LZ");
  rl_buf *out = rl_lua_push_buf(L);
  for (; *p; p++) {
    if (*p != '%')
      rl_buf_putc(out, *p);
    else
      put_part(L, out, *++p, ms);
    if (*p == '\0') break;
  }
  lua_pushlstring(L, out->n ? out->p : "", out->n);
  return 1;
}

/* The rest --------------------------------------------------------------------------------------------------------- */

static int now(lua_State *L)
{
  lua_pushinteger(L, rl_wall_ms());
  return 1;
}

/* floor(ms, seconds): the beginning of the window of that length which ms is in. */
static int floor_to(lua_State *L)
{
  int64_t ms = luaL_checkinteger(L, 1);
  double length = rl_lua_check_seconds(L, 2) * 1000;
  luaL_argcheck(L, length >= 1 && length < 9e15 && fabs(length - round(length)) < 1e-6 * length, 2,
                "seconds above 0, in whole milliseconds, expected");
  int64_t step = (int64_t)llround(length), rest = ms % step;
  if (rest < 0) rest += step;
  luaL_argcheck(L, ms >= INT64_MIN + rest, 1, "out of range");
  lua_pushinteger(L, ms - rest);
  return 1;
}

void rl_time_open(lua_State *L)
{
  static const luaL_Reg functions[] = {
      {"now", now}, {"parse", parse}, {"format", format}, {"floor", floor_to}, {NULL, NULL}};
  luaL_newlib(L, functions);
  rl_capture_register_library(L, "rille.time");
}
