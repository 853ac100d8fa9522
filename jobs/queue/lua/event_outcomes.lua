-- The keys of the outcomes of events: a hash from event id to outcome for each half day. Included in other scripts.
local HALF_DAY = 43200

-- Returns the key of so many half days back. `seconds` is the time on the clock of Redis.
local function outcomes_key(prefix, seconds, back) return prefix .. ':events:' .. (math.floor(seconds / HALF_DAY) - back) end
