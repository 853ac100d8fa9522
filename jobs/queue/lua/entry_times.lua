-- Functions about the ids of a stream. Included in other scripts, after wrong_types.
local OLDEST_AGE_MS = 30 * 86400 * 1000

-- Returns when an entry was sent; nil if the id is in the future or far in the past, because then an app chose it.
local function sent_at(entry_id, now_ms)
  local ms = tonumber(string.match(entry_id, '^%d+'))
  if ms <= now_ms and ms > now_ms - OLDEST_AGE_MS then return ms end
end

-- Returns the last id of a stream, even if its entry is deleted; nil if there is no stream.
local function last_id_of(stream)
  local info = redis.pcall('XINFO', 'STREAM', stream)
  for i = 1, is_error(info) and 0 or #info, 2 do
    if info[i] == 'last-generated-id' then return info[i + 1] end
  end
end
