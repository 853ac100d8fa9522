-- Writes a page of the index of the watch as a scan listed it. The entry of a customer that was synced since the scan began
-- stays, because its sync knows better.
--
-- Uses: wrong_types
-- Uses: links
-- KEYS: links, totals
-- ARGV: key prefix, start of the scan in milliseconds, the most entries of the index, then pairs: a Stripe customer, and
--       its entry (empty: remove it)
-- Returns 1
local links, totals = KEYS[1], KEYS[2]
local prefix, since_ms, most = ARGV[1], tonumber(ARGV[2]), ARGV[3]

local function was_synced(entry)
  local customer = string.sub(entry, 3)
  local settled = redis.pcall('HGET', prefix .. ':customer:' .. customer, 'settled_ms')
  local settled_ms = not is_error(settled) and tonumber(settled or '')
  return settled_ms and settled_ms >= since_ms
end

for i = 4, #ARGV, 2 do
  local stripe_id, entry = ARGV[i], ARGV[i + 1]
  local known = renewing('HGET', links, stripe_id) or ''
  if known ~= entry and not was_synced(known) and not was_synced(entry) then
    if entry == '' then
      redis.call('HDEL', links, stripe_id)
    else
      add_link(links, totals, stripe_id, entry, most)
    end
  end
end
count_replaced(totals)
return 1
