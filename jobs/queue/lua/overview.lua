-- Where everything stands at one moment. Reads only, and hands out numbers alone: what waits may be large, and is personal.
--
-- Uses: wrong_types
-- Uses: letters
-- Uses: ages
-- KEYS: inbox, waiting, dispatched, oldest, dead, last success, rechecks, outcomes, totals, breaker, queue
-- Returns {now, events in the inbox, customers that wait, customers that were dispatched, when the oldest change that waits
-- was sent, dead letters (those that are kept aside included), when the newest of them was buried, when the last change was
-- applied, keys of the wrong type, dead letters that are kept aside, 1 if the stream of the dead letters has no id left};
-- times are in milliseconds since the epoch and never later than now, false if there is none
local inbox, waiting, dispatched, oldest, dead, last_success, rechecks, outcomes, totals, breaker, queue = unpack(KEYS)
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local wrong = {}
local LAST_ID = '18446744073709551615-18446744073709551615'

-- The answer of a command, or `instead` if the key has the wrong type.
local function ask(instead, command, key, ...)
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

local in_inbox = ask(0, 'XLEN', inbox)
local first = in_inbox > 0 and redis.call('XRANGE', inbox, '-', '+', 'COUNT', 1)[1]
local next_ms = first and sent_at(first[1], now_ms) or nil
-- What is in the inbox came after what is in the mailboxes, unless whoever sent it chose its id.
local oldest_ms = bounded(ask({}, 'ZRANGE', oldest, 0, 0, 'WITHSCORES')[2])
if oldest_ms and next_ms then oldest_ms = math.min(oldest_ms, next_ms) end

-- The number of letters in a stream, and the time of the newest one, 0 if there is none.
local function letters_in(stream)
  local newest = ask({}, 'XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  return newest and redis.call('XLEN', stream) or 0, newest and bounded(string.match(newest[1], '^%d+')) or 0
end

local letters, newest_ms = letters_in(dead)
local letters_aside, newest_aside_ms = letters_in(aside_of(dead))

local numbers = {
  now_ms,
  in_inbox,
  ask(0, 'ZCARD', waiting),
  ask(0, 'ZCARD', dispatched),
  oldest_ms or next_ms or false,
  letters + letters_aside,
  letters + letters_aside > 0 and math.max(newest_ms, newest_aside_ms),
  bounded(ask('', 'GET', last_success)) or false,
  wrong,
  letters_aside,
  last_id_of(dead) == LAST_ID and 1 or 0,
}
ask(0, 'ZCARD', rechecks)
ask(0, 'XLEN', outcomes)
ask('', 'HGET', totals, 'received')
ask('', 'HGET', breaker, 'opened')
ask(0, 'ZCARD', queue)
return numbers
