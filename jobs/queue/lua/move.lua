-- Moves entries from the head of the inbox into the mailboxes of their customers, in the order of the stream. This is one
-- atomic step, so no entry is ever pending, claimed or seen twice.
--
-- Uses: wrong_types
-- Uses: dead_letters
-- Uses: entry_times
-- Uses: event_outcomes
-- KEYS: inbox, waiting, dispatched, oldest, totals, dead, outcomes
-- ARGV: key prefix, entries to move at most, customers that may wait, bytes a customer id and an event id may have,
--       outcomes kept, milliseconds an entry's id may be ahead of the clock
-- Returns {entries moved, 1 if it stopped because too many customers wait, keys of the wrong type that were deleted}
--
-- An invalid entry never stays in the inbox, so it blocks no entry behind it. It becomes a dead letter at once, even if the
-- stream of dead letters does not accept it (see dead_letters.lua). So it can never overtake a later event of its customer.
local inbox, waiting, dispatched, oldest, totals, dead, outcomes = unpack(KEYS)
local prefix, count_at_most, max_waiting = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local max_customer_id, max_event_id = tonumber(ARGV[4]), tonumber(ARGV[5])
local max_ahead_ms = tonumber(ARGV[7])
local FIELDS_KEPT = 64 -- of an invalid entry: unpack() of thousands of fields would fail
local FUTURE_ID = 'this id, or that of an entry before it, was chosen ahead of the clock of Redis: ' ..
                  'let every app add entries with * as their id, then replay'
local ENTRY_BYTES = 512 * 1024 -- twice the limit of the changes of an event
local AT_A_TIME, MOVED_BYTES = 16, 4 * 1024 * 1024

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local function events_key(back) return outcomes_key(prefix, time[1], back) end

local function note(event_id, outcome)
  renewing('HSET', events_key(0), event_id, cjson.encode(outcome))
  redis.call('EXPIRE', events_key(0), 3 * HALF_DAY)
end

-- Whether an event with this id was received before. A dead-lettered one may be sent again, because it may succeed now.
local function seen_before(event_id)
  for back = 0, 2 do
    local before = renewing('HGET', events_key(back), event_id)
    if before then
      local is_json, outcome = pcall(cjson.decode, before)
      if is_json and type(outcome) == 'table' and outcome.status then return outcome.status ~= 'dead' end
    end
  end
  return false
end

local function dead_letter(entry_id, event_id, fields, refusal)
  local letter = {'entry', entry_id, 'reason', refusal.reason, 'message', refusal.message, 'attempts', '0'}
  for i = 1, math.min(#fields, FIELDS_KEPT) do
    letter[#letter + 1] = (i % 2 == 1) and ('sent.' .. fields[i]) or fields[i]
  end
  add_letter(dead, letter)
  -- An invalid entry must not overwrite the outcome of a valid event with the same id.
  if not event_id or seen_before(event_id) then event_id = entry_id end
  note(event_id, {status = 'dead', customer = '', entry = entry_id, reason = refusal.reason, at = now_ms})
  redis.pcall('XADD', outcomes, 'MAXLEN', '~', ARGV[6], '*', 'customer', '', 'entry', entry_id, 'event', event_id,
              'status', 'dead', 'reason', refusal.reason)
  count(totals, 'dead', 1)
  count(totals, 'dead:' .. refusal.reason, 1)
end

-- Adds an entry to its mailbox. Returns nil, or the reason why the mailbox does not accept it.
local function deliver(customer, entry_id, event_id, fields)
  local mailbox = prefix .. ':mailbox:' .. customer
  local reason = 'mailbox_unusable'
  local added = redis.pcall('XADD', mailbox, entry_id, unpack(fields))
  if is_error(added) and not is_wrong_type(added) then
    -- The id is too small if the inbox is new and its clock is behind the previous one. A new id keeps the order of
    -- arrival. The outcome is still stored under the id that the app got.
    local parts = {unpack(fields)}
    if not event_id then
      parts[#parts + 1] = 'event_id'
      parts[#parts + 1] = entry_id
    end
    added = redis.pcall('XADD', mailbox, '*', unpack(parts))
  end
  if is_wrong_type(added) then
    return {reason = reason, message = mailbox .. ' is not a stream: delete this key, then replay'}
  elseif is_error(added) then
    return {reason = reason, message = mailbox .. ' has no id left for another entry: see docs/operations.md'}
  end
  redis.call('ZADD', oldest, 'NX', sent_at(added, now_ms) or now_ms, customer)
end

local function bytes_of(fields)
  local sum = 0
  for i = 1, #fields do sum = sum + #fields[i] end
  return sum
end

local function read(fields)
  local customer, event_id
  for i = 1, #fields, 2 do
    if fields[i] == 'customer_id' then customer = fields[i + 1] end
    if fields[i] == 'event_id' then event_id = fields[i + 1] end
  end
  local usable = event_id and event_id ~= '' and #event_id <= max_event_id
  return customer, usable and event_id or nil
end

local function invalid(message) return {reason = 'invalid_event', message = message} end

local function is_ahead(id) return tonumber(string.match(id, '^%d+')) > now_ms + max_ahead_ms end

-- An id in the future makes all later ids of the stream be in the future too, even after its entry is gone. So the inbox is
-- deleted once it is empty. This script may not see that entry, because an app can trim while it adds.
local function delete_if_ahead()
  local last_id = last_id_of(inbox)
  if last_id and is_ahead(last_id) and redis.call('XLEN', inbox) == 0 then redis.call('DEL', inbox) end
end

local function unfit(entry_id, customer, fields, bytes)
  if is_ahead(entry_id) then
    local reason = 'future_id'
    return {reason = reason, message = FUTURE_ID}
  end
  if not customer then return invalid('customer_id: is missing') end
  if #customer > max_customer_id then
    return invalid('customer_id: has ' .. #customer .. ' bytes, ' .. max_customer_id .. ' are allowed')
  end
  if not string.find(customer, '^[%w_:%-]+$') then return invalid('customer_id: has to match ^[a-zA-Z0-9_:-]+$') end
  if #fields > FIELDS_KEPT then return invalid('the entry has too many fields') end
  if bytes > ENTRY_BYTES then
    return invalid('the entry has ' .. bytes .. ' bytes, ' .. ENTRY_BYTES .. ' are allowed')
  end
end

-- Fails here if this key has the wrong type, before anything is moved: Redis does not roll a script back.
redis.call('ZCARD', oldest)
local room = max_waiting - redis.call('ZCARD', waiting) - redis.call('ZCARD', dispatched)
local moved, full, moved_bytes = 0, false, 0
local is_empty = false

-- Moves one entry. Returns whether it has to stay because too many customers wait.
local function move(entry_id, fields)
  local customer, event_id = read(fields)
  local bytes = bytes_of(fields)
  local refusal = unfit(entry_id, customer, fields, bytes)
  if not refusal and event_id and seen_before(event_id) then
    count(totals, 'duplicates', 1)
  elseif not refusal then
    local is_new = not (redis.call('ZSCORE', waiting, customer) or redis.call('ZSCORE', dispatched, customer))
    if is_new and room <= 0 then return true end
    refusal = deliver(customer, entry_id, event_id, fields)
    if not refusal then
      note(event_id or entry_id, {status = 'waiting', customer = customer, entry = entry_id})
      if is_new then
        room = room - 1
        redis.call('ZADD', waiting, now_ms, customer)
      end
    end
  end
  if refusal then dead_letter(entry_id, event_id, fields, refusal) end
  redis.call('XDEL', inbox, entry_id)
  moved, moved_bytes = moved + 1, moved_bytes + bytes
  return false
end

return_letters(dead)
-- Read a few entries at a time and a few megabytes at most, so that huge entries cannot fill the memory of Redis.
repeat
  local entries = redis.call('XRANGE', inbox, '-', '+', 'COUNT', math.min(count_at_most - moved, AT_A_TIME))
  is_empty = #entries == 0
  for _, entry in ipairs(entries) do
    full = move(entry[1], entry[2])
    if full then break end
  end
until full or is_empty or moved >= count_at_most or moved_bytes > MOVED_BYTES
if moved > 0 then count(totals, 'received', moved) end
if is_empty then delete_if_ahead() end
count_replaced(totals)
return {moved, full and 1 or 0, replaced}
