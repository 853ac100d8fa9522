-- Functions for the index of the watch, from a Stripe customer to its Autumn customer. Included in other scripts.

-- Adds or replaces an entry: 1 if receipts are on or else 0, a colon, and the Autumn customer. A full index takes no more.
local function add_link(links, totals, stripe_id, entry, most)
  local known = renewing('HGET', links, stripe_id)
  if known == entry then return end
  if not known and redis.call('HLEN', links) >= tonumber(most) then return count(totals, 'links_left_out', 1) end
  redis.call('HSET', links, stripe_id, entry)
end

-- Removes the entry of a Stripe customer, if it names this Autumn customer.
local function remove_link(links, stripe_id, customer)
  local known = renewing('HGET', links, stripe_id)
  if known and string.sub(known, 3) == customer then redis.call('HDEL', links, stripe_id) end
end
