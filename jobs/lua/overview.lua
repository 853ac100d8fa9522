-- Where everything stands at one moment. Reads only, and hands out numbers alone: what waits may be large, and is personal.
--
-- Uses: wrong_types
-- KEYS: inbox, waiting, called, oldest, dead, last success, looks, outcomes, totals, line
-- Returns {now, events in the inbox, customers that wait, customers that were called, when the oldest change that waits
-- was sent, dead letters, when the newest of them was buried, when the last change was applied, keys of the wrong type};
-- times are in milliseconds since the epoch and never later than now, false if there is none
local inbox, waiting, called, oldest, dead, last_success, looks, outcomes, totals, line = unpack(KEYS)
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local wrong = {}

-- The answer of a command, or `instead` if the key has the wrong type.
local function ask(instead, command, key, ...)
  local answer = redis.pcall(command, key, ...)
  if is_wrong_type(answer) then
    wrong[#wrong + 1] = key
    return instead
  end
  if is_error(answer) then error(answer.err) end
  return answer
end

local function bounded(text)
  local ms = tonumber(text or '')
  return ms and math.max(0, math.min(ms, now_ms))
end

-- None for an id that somebody chose ahead of the clock: it does not say when the entry was sent.
local function sent_ms(entry)
  local ms = entry and tonumber(string.match(entry[1], '^%d+'))
  if ms and ms <= now_ms then return ms end
end

local in_inbox = ask(0, 'XLEN', inbox)
local next_ms = in_inbox > 0 and sent_ms(redis.call('XRANGE', inbox, '-', '+', 'COUNT', 1)[1]) or nil
-- What is in the inbox came after what is in the mailboxes, unless whoever sent it chose its id.
local oldest_ms = bounded(ask({}, 'ZRANGE', oldest, 0, 0, 'WITHSCORES')[2])
if oldest_ms and next_ms then oldest_ms = math.min(oldest_ms, next_ms) end

local letters = ask(0, 'XLEN', dead)
local newest = letters > 0 and redis.call('XREVRANGE', dead, '+', '-', 'COUNT', 1)[1]
local numbers = {
  now_ms,
  in_inbox,
  ask(0, 'ZCARD', waiting),
  ask(0, 'ZCARD', called),
  oldest_ms or next_ms or false,
  letters,
  newest and bounded(string.match(newest[1], '^%d+')) or false,
  bounded(ask('', 'GET', last_success)) or false,
  wrong,
}
ask(0, 'ZCARD', looks)
ask(0, 'XLEN', outcomes)
ask('', 'HGET', totals, 'received')
ask('', 'HGET', line, 'closed')
return numbers
