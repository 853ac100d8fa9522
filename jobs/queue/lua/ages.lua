-- Shared by other scripts, and put before them, after wrong_types: what the ids of a stream tell.
local OLDEST_AGE_MS = 30 * 86400 * 1000

-- Nil for an id that an app chose: one ahead of the clock, or far in the past, does not tell when the entry was sent.
local function sent_at(entry_id, now_ms)
  local ms = tonumber(string.match(entry_id, '^%d+'))
  if ms <= now_ms and ms > now_ms - OLDEST_AGE_MS then return ms end
end

-- The last id that a stream gave, also if its entry is gone; nil if there is no stream.
local function last_id_of(stream)
  local info = redis.pcall('XINFO', 'STREAM', stream)
  for i = 1, is_error(info) and 0 or #info, 2 do
    if info[i] == 'last-generated-id' then return info[i + 1] end
  end
end
