-- Shared by other scripts, and put before them: when an entry was sent, as its id tells it.
local OLDEST_AGE_MS = 30 * 86400 * 1000

-- Nil for an id that an app chose: one ahead of the clock, or far in the past, does not tell when the entry was sent.
local function sent_at(entry_id, now_ms)
  local ms = tonumber(string.match(entry_id, '^%d+'))
  if ms <= now_ms and ms > now_ms - OLDEST_AGE_MS then return ms end
end
