-- Returns the state of the whole queue at one moment. Reads only, and returns numbers only: events are large and personal.
--
-- Uses: wrong_types
-- Uses: dead_letters
-- Uses: entry_times
-- KEYS: inbox, waiting, dispatched, oldest, dead, last success, rechecks, outcomes, totals, breaker, queue
-- Returns {now, events in the inbox, waiting customers, dispatched customers, when the oldest waiting event was sent, dead
-- letters (including those aside), when the newest of them was added, when the last event was applied, keys of the wrong
-- type, dead letters aside, 1 if the stream of dead letters has no id left}. Times are in milliseconds since the epoch and
-- never later than now, false if there is none
local inbox, waiting, dispatched, oldest, dead, last_success, rechecks, outcomes, totals, breaker, queue = unpack(KEYS)
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local wrong = {}
local LAST_ID = '18446744073709551615-18446744073709551615'

-- Returns the answer of a command, or `instead` if the key has the wrong type.
local function read(instead, command, key, ...)
  local answer = redis.pcall(command, key, ...)
  if is_wrong_type(answer) then
    wrong[#wrong + 1] = key
    return instead
  end
  return is_error(answer) and again(command, key, ...) or answer
end

local function bounded(text)
  local ms = tonumber(text or '')
  return ms and math.max(0, math.min(ms, now_ms))
end

local in_inbox = read(0, 'XLEN', inbox)
local first = in_inbox > 0 and redis.call('XRANGE', inbox, '-', '+', 'COUNT', 1)[1]
local next_ms = first and sent_at(first[1], now_ms) or nil
-- Entries of the inbox are newer than those of the mailboxes, unless an app chose its ids.
local oldest_ms = bounded(read({}, 'ZRANGE', oldest, 0, 0, 'WITHSCORES')[2])
if oldest_ms and next_ms then oldest_ms = math.min(oldest_ms, next_ms) end

-- Returns the number of dead letters in a stream, and the time of the newest one, 0 if there is none.
local function letters_in(stream)
  local newest = read({}, 'XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  return newest and redis.call('XLEN', stream) or 0, newest and bounded(string.match(newest[1], '^%d+')) or 0
end

local letters, newest_ms = letters_in(dead)
local letters_aside, newest_aside_ms = letters_in(aside_of(dead))

local numbers = {
  now_ms,
  in_inbox,
  read(0, 'ZCARD', waiting),
  read(0, 'ZCARD', dispatched),
  oldest_ms or next_ms or false,
  letters + letters_aside,
  letters + letters_aside > 0 and math.max(newest_ms, newest_aside_ms),
  bounded(read('', 'GET', last_success)) or false,
  wrong,
  letters_aside,
  last_id_of(dead) == LAST_ID and 1 or 0,
}
read(0, 'ZCARD', rechecks)
read(0, 'XLEN', outcomes)
read('', 'HGET', totals, 'received')
read('', 'HGET', breaker, 'opened')
read(0, 'ZCARD', queue)
return numbers
