-- Moves entries from the head of the inbox into their customers' mailboxes, in the order of the stream, and deletes them
-- from the inbox: one atomic step, so nothing is pending, claimed or seen twice.
--
-- KEYS: inbox, waiting, called, oldest, totals, dead, outcomes
-- ARGV: key prefix, entries to move at most, customers that may wait, bytes a customer id and an event id may have,
--       outcomes kept
-- Returns {entries moved, 1 if it stopped because too many customers wait}
local inbox, waiting, called, oldest, totals, dead, outcomes = unpack(KEYS)
local prefix, count, max_waiting = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local max_customer_id, max_event_id = tonumber(ARGV[4]), tonumber(ARGV[5])
local FIELDS_KEPT = 64 -- of an entry that is no event: unpack() of thousands would fail
local HALF_DAY = 43200
local ENTRY_BYTES = 512 * 1024 -- twice what the changes of an event may have
local AT_A_TIME, MOVED_BYTES = 16, 4 * 1024 * 1024

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local bucket = math.floor(time[1] / HALF_DAY)
local function events_key(back) return prefix .. ':events:' .. (bucket - back) end

local function note(event_id, said)
  redis.call('HSET', events_key(0), event_id, cjson.encode(said))
  redis.call('EXPIRE', events_key(0), 3 * HALF_DAY)
end

-- An event that ended as a dead letter may be sent again: what was wrong may be right by now.
local function seen_before(event_id)
  for back = 0, 2 do
    local before = redis.call('HGET', events_key(back), event_id)
    if before then return cjson.decode(before).status ~= 'dead' end
  end
  return false
end

local function bury(entry_id, event_id, fields, message)
  local reason = 'invalid_event'
  -- What is no event must not make an event that was seen look dead.
  if not event_id or seen_before(event_id) then event_id = entry_id end
  note(event_id, {status = 'dead', customer = '', entry = entry_id, reason = reason, at = now_ms})
  redis.call('XADD', outcomes, 'MAXLEN', '~', ARGV[6], '*', 'customer', '', 'entry', entry_id, 'event', event_id,
             'status', 'dead', 'reason', reason)
  local letter = {'entry', entry_id, 'reason', reason, 'message', message, 'attempts', '0'}
  for i = 1, math.min(#fields, FIELDS_KEPT) do
    letter[#letter + 1] = (i % 2 == 1) and ('sent.' .. fields[i]) or fields[i]
  end
  redis.call('XADD', dead, '*', unpack(letter))
  redis.call('HINCRBY', totals, 'dead', 1)
  redis.call('HINCRBY', totals, 'dead:' .. reason, 1)
end

local function deliver(customer, entry_id, event_id, fields)
  local mailbox = prefix .. ':mailbox:' .. customer
  local added = redis.pcall('XADD', mailbox, entry_id, unpack(fields))
  if type(added) == 'table' and added.err then
    -- A new inbox whose clock is behind the one that Redis had before: the order of arrival still holds. The id that
    -- the app was given stays the one that the outcome is found under.
    if not event_id then
      fields[#fields + 1] = 'event_id'
      fields[#fields + 1] = entry_id
    end
    added = redis.call('XADD', mailbox, '*', unpack(fields))
  end
  redis.call('ZADD', oldest, 'NX', string.match(added, '^%d+'), customer)
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

local function unfit(customer, fields, bytes)
  if not customer then return 'customer_id: is missing' end
  if #customer > max_customer_id then
    return 'customer_id: has ' .. #customer .. ' bytes, ' .. max_customer_id .. ' are allowed'
  end
  if not string.find(customer, '^[%w_:%-]+$') then return 'customer_id: has to match ^[a-zA-Z0-9_:-]+$' end
  if #fields > FIELDS_KEPT then return 'the entry has too many fields' end
  if bytes > ENTRY_BYTES then return 'the entry has ' .. bytes .. ' bytes, ' .. ENTRY_BYTES .. ' are allowed' end
end

local room = max_waiting - redis.call('ZCARD', waiting) - redis.call('ZCARD', called)
local moved, full, moved_bytes = 0, 0, 0

-- Moves one entry; false if it has to stay because too many customers wait.
local function move(entry_id, fields)
  local customer, event_id = read(fields)
  local bytes = bytes_of(fields)
  local refusal = unfit(customer, fields, bytes)
  if refusal then
    bury(entry_id, event_id, fields, refusal)
  elseif event_id and seen_before(event_id) then
    redis.call('HINCRBY', totals, 'duplicates', 1)
  else
    if not (redis.call('ZSCORE', waiting, customer) or redis.call('ZSCORE', called, customer)) then
      if room <= 0 then return false end
      room = room - 1
      redis.call('ZADD', waiting, now_ms, customer)
    end
    deliver(customer, entry_id, event_id, fields)
    note(event_id or entry_id, {status = 'waiting', customer = customer, entry = entry_id})
  end
  redis.call('XDEL', inbox, entry_id)
  moved, moved_bytes = moved + 1, moved_bytes + bytes
  return true
end

-- A few at a time and a few megabytes at most, so that huge entries cannot fill Redis' memory from in here.
repeat
  local entries = redis.call('XRANGE', inbox, '-', '+', 'COUNT', math.min(count - moved, AT_A_TIME))
  for _, entry in ipairs(entries) do
    if not move(entry[1], entry[2]) then
      full = 1
      break
    end
  end
until full == 1 or #entries == 0 or moved >= count or moved_bytes > MOVED_BYTES
if moved > 0 then redis.call('HINCRBY', totals, 'received', moved) end
return {moved, full}
