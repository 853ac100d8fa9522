-- Finds an event by its id: its outcome, or its entry in the inbox. One atomic step, so an event that moves on meanwhile is
-- not missed. Writes only the rate of the source that asks, and works without it if Redis takes no writes.
--
-- Uses: wrong_types
-- Uses: source_rate
-- Uses: event_outcomes
-- KEYS: inbox, rate of the reads of the source
-- ARGV: microseconds between two reads, size of a burst, key prefix, id of the event, entries of the inbox to search at most,
--       entries whose search costs as much as a read
-- Returns {microseconds to wait, outcome as JSON, id of the entry, customer, 1 if the inbox has more entries than were
-- searched}. If it has to wait, nothing was read. The outcome is '' if none is known, or if the event is dead and was sent
-- again. The next two are '' if the event is not in the inbox.
local inbox, prefix, id, at_most, for_a_read = KEYS[1], ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local AT_A_TIME, BYTES_AT_MOST, BYTES_OF_ENTRY = 16, 4 * 1024 * 1024, 4096

local wait, take = source_rate(KEYS[2], 1, tonumber(ARGV[1]), tonumber(ARGV[2]))
if wait > 0 then return {wait, '', '', '', 0} end

local now = redis.call('TIME')[1]
local function events_key(back) return outcomes_key(prefix, now, back) end

local function outcome()
  for back = 0, 2 do
    local found = redis.pcall('HGET', events_key(back), id)
    if type(found) == 'string' then return found end
  end
  return ''
end

local function is_dead(note)
  local is_json, found = pcall(cjson.decode, note)
  return is_json and type(found) == 'table' and found.status == 'dead'
end

local searched, bytes = 0, 0

-- Searches the newest entries first. Returns the entry and its customer, and whether all entries were searched.
local function search()
  local last = '+'
  repeat
    local entries = redis.pcall('XREVRANGE', inbox, last, '-', 'COUNT', AT_A_TIME)
    if is_error(entries) or #entries == 0 then return nil, nil, true end
    for _, entry in ipairs(entries) do
      local fields, event_id, customer = entry[2], entry[1], ''
      for i = 1, #fields, 2 do
        if fields[i] == 'event_id' then event_id = fields[i + 1] end
        if fields[i] == 'customer_id' then customer = fields[i + 1] end
        bytes = bytes + #fields[i] + #fields[i + 1]
      end
      if event_id == id then return entry[1], customer, true end
      last = '(' .. entry[1]
    end
    searched = searched + #entries
  until searched >= at_most or bytes > BYTES_AT_MOST
  return nil, nil, false
end

local note = outcome()
if note ~= '' and not is_dead(note) then
  take(1)
  return {0, note, '', '', 0}
end
local entry, customer, is_all = search()
take(1 + math.floor(math.max(searched, bytes / BYTES_OF_ENTRY) / for_a_read))
if entry then return {0, '', entry, customer, 0} end
return {0, note, '', '', is_all and 0 or 1}
