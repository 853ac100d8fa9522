-- Claims a Stripe customer for one Autumn customer. A claim that it holds already is extended to the full time.
--
-- Uses: wrong_types
-- KEYS: the claim
-- ARGV: customer, milliseconds the claim is held
-- Returns 1, or 0 if another customer holds it
local holder = renewing('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
