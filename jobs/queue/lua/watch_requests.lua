-- Functions that request reconciles for the watch. Included in other scripts, after wrong_types.
local REQUEST_SECONDS = 86400

-- Whether the last reconcile that the watch requested has not begun: its entry is in the inbox or the mailbox. take.lua
-- deletes the key when a sync takes the entry, because that sync may fetch both sides before a later event. An entry that
-- got a new id does not count.
local function is_request_waiting(prefix, inbox, customer)
  local entry_id = renewing('GET', prefix .. ':watch:request:' .. customer)
  if not entry_id or not string.find(entry_id, '^%d+%-%d+$') then return false end
  if #redis.call('XRANGE', inbox, entry_id, entry_id) > 0 then return true end
  local kept = redis.pcall('XRANGE', prefix .. ':mailbox:' .. customer, entry_id, entry_id)
  return not is_error(kept) and #kept > 0
end

-- Whether few enough events and customers wait for another reconcile. The events of apps go first.
local function has_room(inbox, waiting, at_most)
  local customers = redis.pcall('ZCARD', waiting)
  return redis.call('XLEN', inbox) + (is_error(customers) and 0 or customers) < tonumber(at_most)
end

-- Adds a reconcile to the inbox, unless one waits that the watch requested. Returns whether it was added. Raises the error of
-- Redis if the inbox accepts no entry. The time makes the event id unique, because an event may be noted again.
local function request_reconcile(prefix, inbox, customer, event_id, now_ms)
  if is_request_waiting(prefix, inbox, customer) then return false end
  local entry_id = redis.call('XADD', inbox, '*', 'customer_id', customer, 'type', 'customer.reconcile',
                              'event_id', event_id .. '-' .. string.format('%.0f', now_ms))
  redis.call('SET', prefix .. ':watch:request:' .. customer, entry_id, 'EX', REQUEST_SECONDS)
  return true
end
