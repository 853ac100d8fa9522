-- Moves dead letters into the inbox with their original fields. Each gets a new event id, because the old one was seen. This
-- is one atomic step, so an event is either still a dead letter or in the inbox, never both.
--
-- Uses: wrong_types
-- KEYS: dead, inbox, totals
-- ARGV: key prefix, then the ids of dead letters
-- Returns for each dead letter that existed, in the order of the inbox: {id, new event id, customer or '', 1 if the customer
-- has newer events}
local dead, inbox, totals = KEYS[1], KEYS[2], KEYS[3]
local prefix = ARGV[1]
local SENT = 'sent.'

-- tonumber() is exact here: a double holds both parts of an entry's id.
local function is_later(left, right)
  local left_ms, left_nth = string.match(left, '^(%d+)%-(%d+)$')
  local right_ms, right_nth = string.match(right, '^(%d+)%-(%d+)$')
  if left_ms ~= right_ms then return tonumber(left_ms) > tonumber(right_ms) end
  return tonumber(left_nth) > tonumber(right_nth)
end

local function open(id, parts)
  local letter = {id = id, event_id = 'replay-' .. id, entry = '0-0', customer = '', sent = {}}
  for i = 1, #parts, 2 do
    local name, value = parts[i], parts[i + 1]
    if name == 'entry' and string.find(value, '^%d+%-%d+$') then letter.entry = value end
    if name == 'customer' then letter.customer = value end
    if string.sub(name, 1, #SENT) == SENT and name ~= 'sent.event_id' then
      letter.sent[#letter.sent + 1] = string.sub(name, #SENT + 1)
      letter.sent[#letter.sent + 1] = value
    end
  end
  letter.sent[#letter.sent + 1] = 'event_id'
  letter.sent[#letter.sent + 1] = letter.event_id
  return letter
end

local function is_outdated(letter)
  if letter.customer == '' then return false end
  local applied = renewing('HGET', prefix .. ':customer:' .. letter.customer, 'last_applied')
  if applied and string.find(applied, '^%d+%-%d+$') and is_later(applied, letter.entry) then return true end
  local found = redis.pcall('XREVRANGE', prefix .. ':mailbox:' .. letter.customer, '+', '-', 'COUNT', 1)
  local newest = not is_error(found) and found[1] or nil
  return newest ~= nil and is_later(newest[1], letter.entry)
end

local letters, opened = {}, {}
for i = 2, #ARGV do
  local found = redis.call('XRANGE', dead, ARGV[i], ARGV[i])[1]
  if found and not opened[found[1]] then
    opened[found[1]] = true
    letters[#letters + 1] = open(found[1], found[2])
  end
end
-- Replay in the order in which the events were first sent, not in the order of the dead letters.
table.sort(letters, function(one, other)
  if one.entry ~= other.entry then return is_later(other.entry, one.entry) end
  return is_later(other.id, one.id)
end)

local replayed = {}
for _, letter in ipairs(letters) do
  replayed[#replayed + 1] = {letter.id, letter.event_id, letter.customer, is_outdated(letter) and 1 or 0}
  -- XADD comes first: if it fails, the script ends and the dead letter still exists.
  redis.call('XADD', inbox, '*', unpack(letter.sent))
  redis.call('XDEL', dead, letter.id)
  count(totals, 'replayed', 1)
end
return replayed
