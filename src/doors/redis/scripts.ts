/**
 * What has to be one step in Redis. With `P` the prefix of all keys, the door of a queue is
 *
 *     P work:<queue>      stream   messages, with the consumer group `workers`
 *     P answers:<queue>   stream   what workers say beside XACK
 *     P doors             set      queues of which something may lie in such streams
 *     P door-keeper       string   token of who keeps the doors
 *
 * An entry that was delivered and is not pending any more is done: XACK is the acknowledgement.
 */

/** KEYS doors. ARGV prefix, who leads or '', token, 1 when a door is wanted in any case. Returns the queues that have one. */
export const begin = `
local P = ARGV[1]
if ARGV[2] ~= '' and redis.call('GET', P .. 'led') ~= ARGV[2] then return redis.error_reply('NODE_FENCED') end
local queues = redis.call('SMEMBERS', KEYS[1])
if #queues > 0 or ARGV[4] == '1' then redis.call('SET', P .. 'door-keeper', ARGV[3]) end
return queues
`

/**
 * KEYS doors. ARGV prefix, who leads or '', token, number of orders, then for each: queue, look, survey, close, answers after, mark,
 * workers, and four lists and the messages, each after its count: remove, answered, take back, overdue (id, ms), messages
 * (count of names and values, names and values). Returns for each order what `reportOf` reads.
 */
export const exchange = `
local P, call = ARGV[1], redis.call
if ARGV[2] ~= '' and call('GET', P .. 'led') ~= ARGV[2] then return redis.error_reply('NODE_FENCED') end
if call('GET', P .. 'door-keeper') ~= ARGV[3] then return redis.error_reply('DOOR_STALE') end
local at = 5
local function arg()
  at = at + 1
  return ARGV[at - 1]
end
local function list(width)
  local out = {}
  for i = 1, tonumber(arg()) * width do out[i] = arg() end
  return out
end

local function group(key)
  local groups = redis.pcall('XINFO', 'GROUPS', key)
  if groups.err then
    if string.find(groups.err, 'no such key', 1, true) then return nil end
    error(groups)
  end
  for _, each in ipairs(groups) do
    local g = {}
    for i = 1, #each, 2 do g[each[i]] = each[i + 1] end
    if g.name == 'workers' then return g end
  end
  return nil
end

local function parts(id)
  local ms, n = string.match(id, '^(%d+)%-(%d+)$')
  return tonumber(ms), tonumber(n)
end
local function isAfter(a, b)
  local am, an = parts(a)
  local bm, bn = parts(b)
  return am > bm or (am == bm and an > bn)
end

local function each(ids, fn)
  for i = 1, #ids, 500 do fn(unpack(ids, i, math.min(i + 499, #ids))) end
end

-- Who has the entry, and for how long without a word; nil: nobody.
local function holder(key, id)
  local found = redis.pcall('XPENDING', key, 'workers', id, id, 1)
  if found.err or not found[1] then return nil end
  return found[1][2], found[1][3]
end

local function answersOf(key, answers, after, g)
  local out = {}
  -- What an earlier keeper took out of the group, and did not act on, must not look as if it were done.
  local most = after == '' and 100000 or 500
  for _, found in ipairs(call('XRANGE', answers, after == '' and '-' or '(' .. after, '+', 'COUNT', most)) do
    local f = {}
    for i = 1, #found[2], 2 do f[found[2][i]] = found[2][i + 1] end
    local id, says = f.id or '', f.answer
    local owner = holder(key, id)
    local valid = owner and (not f.consumer or f.consumer == owner)
    -- An earlier keeper may have heard it and taken it out of the group, and not have lived to act on it.
    if not owner and after == '' and parts(id) and not isAfter(id, g['last-delivered-id']) and says ~= 'ack' and says ~= 'extend' then
      valid = #call('XRANGE', key, id, id) > 0
    end
    local known = says == 'nack' or says == 'reject' or says == 'release' or says == 'extend'
    if valid and says == 'ack' then call('XACK', key, 'workers', id) end
    if not valid or not known then
      call('XDEL', answers, found[1])
    else
      if says == 'extend' then
        call('XCLAIM', key, 'workers', owner, 0, id, 'JUSTID')
        call('XDEL', answers, found[1])
      elseif owner then
        call('XACK', key, 'workers', id)
      end
      local ms = says == 'extend' and f.leaseMs or f.delayMs
      for _, value in ipairs({found[1], id, says, ms or '', f.reason or ''}) do out[#out + 1] = value end
    end
  end
  return out
end

local function serve(o, r)
  local key, answers = P .. 'work:' .. o.queue, P .. 'answers:' .. o.queue
  local g = group(key)
  if not g then
    if o.close and call('EXISTS', key) == 0 then
      call('DEL', answers)
      call('SREM', KEYS[1], o.queue)
      r.closed = 1
      return
    end
    -- The last id stays, so that none is given twice.
    call('XTRIM', key, 'MAXLEN', 0)
    call('XGROUP', 'CREATE', key, 'workers', '$', 'MKSTREAM')
    call('SADD', KEYS[1], o.queue)
    r.made = 1
    g = group(key)
  end
  each(o.remove, function(...)
    call('XACK', key, 'workers', ...)
    call('XDEL', key, ...)
  end)
  each(o.answered, function(...) call('XDEL', answers, ...) end)
  r.answers = answersOf(key, answers, o.after, g)
  for _, id in ipairs(o.back) do
    if isAfter(id, g['last-delivered-id']) then
      call('XDEL', key, id)
      r.back[#r.back + 1] = id
    end
  end
  for i = 1, #o.overdue, 2 do
    local id = o.overdue[i]
    local owner, idle = holder(key, id)
    if owner and idle >= tonumber(o.overdue[i + 1]) then
      call('XACK', key, 'workers', id)
      call('XDEL', key, id)
      r.overdue[#r.overdue + 1] = id
    end
  end
  if o.look then
    for _, c in ipairs(call('XINFO', 'CONSUMERS', key, 'workers')) do
      local f = {}
      for i = 1, #c, 2 do f[c[i]] = c[i + 1] end
      if f.pending == 0 and f.idle > 86400000 then
        call('XGROUP', 'DELCONSUMER', key, 'workers', f.name)
        r.forgotten[#r.forgotten + 1] = f.name
      elseif r.heard < 0 or f.idle < r.heard then r.heard = f.idle end
    end
  end
  if o.survey then
    for _, found in ipairs(call('XRANGE', key, '-', '+')) do
      local receipt = ''
      for i = 1, #found[2], 2 do if found[2][i] == 'receipt' then receipt = found[2][i + 1] end end
      r.lying[#r.lying + 1] = found[1]
      r.lying[#r.lying + 1] = receipt
    end
  end
  g = group(key)
  r.last = g['last-delivered-id']
  r.mark = r.last .. ' ' .. g.pending
  r.workers = g.consumers
  if g.consumers ~= o.workers then
    r.named = 1
    for _, c in ipairs(call('XINFO', 'CONSUMERS', key, 'workers')) do r.names[#r.names + 1] = c[2] end
  end
  if r.mark ~= o.since then
    r.told = 1
    for _, p in ipairs(call('XPENDING', key, 'workers', '-', '+', 100000)) do
      r.held[#r.held + 1] = p[1]
      r.held[#r.held + 1] = p[2]
      r.held[#r.held + 1] = p[3]
      r.held[#r.held + 1] = p[4]
    end
  end
  if o.close and call('XLEN', key) == 0 then
    call('DEL', key, answers)
    call('SREM', KEYS[1], o.queue)
    r.closed = 1
    return
  end
  -- Last: where there is no memory left, all else has been done.
  for i = 1, #o.messages do r.laid[#r.laid + 1] = call('XADD', key, '*', unpack(o.messages[i])) end
end

local reports = {}
for _ = 1, tonumber(ARGV[4]) do
  local o = {queue = arg(), look = arg() == '1', survey = arg() == '1', close = arg() == '1', after = arg(), since = arg(), workers = tonumber(arg())}
  o.remove, o.answered, o.back, o.overdue, o.messages = list(1), list(1), list(1), list(2), {}
  for i = 1, tonumber(arg()) do o.messages[i] = list(1) end
  local r = {laid = {}, back = {}, overdue = {}, answers = {}, held = {}, names = {}, lying = {}, forgotten = {}}
  r.made, r.closed, r.told, r.named, r.last, r.mark, r.workers, r.heard = 0, 0, 0, 0, '', '', 0, -1
  local done, failure = pcall(serve, o, r)
  local why = ''
  if not done then why = type(failure) == 'table' and failure.err or tostring(failure) end
  local length = redis.pcall('XLEN', P .. 'work:' .. o.queue)
  if type(length) == 'table' then length = 0 end
  reports[#reports + 1] = {
    why, r.made, r.closed, r.laid, r.back, r.overdue, r.answers, r.last, r.mark, r.told, r.held, length, r.workers, r.named,
    r.names, r.heard, r.lying, r.forgotten,
  }
end
return reports
`
