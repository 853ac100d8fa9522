-- Finds an event by its id: its outcome, or its entry in the inbox. One atomic step, so an event that moves on meanwhile is
-- not missed. Reads only.
--
-- Uses: wrong_types
-- KEYS: inbox
-- ARGV: key prefix, id of the event, entries of the inbox to search at most
-- Returns {outcome as JSON, id of the entry, customer, 1 if the inbox has more entries than were searched}. The outcome is ''
-- if none is known, or if the event is dead and was sent again. The next two are '' if the event is not in the inbox.
local inbox, prefix, id, at_most = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local HALF_DAY = 43200
local AT_A_TIME, BYTES_AT_MOST = 16, 4 * 1024 * 1024

local bucket = math.floor(redis.call('TIME')[1] / HALF_DAY)
local function events_key(back) return prefix .. ':events:' .. (bucket - back) end

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

-- Searches the newest entries first. Returns the entry and its customer, and whether all entries were searched.
local function search()
  local last, searched, bytes = '+', 0, 0
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
if note ~= '' and not is_dead(note) then return {note, '', '', 0} end
local entry, customer, is_all = search()
if entry then return {'', entry, customer, 0} end
return {note, '', '', is_all and 0 or 1}
