/**
 * What has to be one step in Redis, in Lua. Size: what the scripts share is one text, and `group` is one step. `group` is the commit: see `group-bytes.ts` for the bytes it reads.
 *
 * An entry of a lane is a stream entry `0-<seq>`; its field `m` begins with
 *
 *     u8 kind, u32 tag, u32 length of the extra (0xffffffff: none), extra, then
 *     kind 0: the body    kind 1: u32 length of the body, id of the shared body    kind 2: the body up to its payload,
 *                                                                                         which is the field `payload`
 */
const entry = `
local call = redis.call
local unpackBytes = struct.unpack
local function laneKey(name)
  if string.sub(name, 1, 2) == 'q/' then return P .. 'queue:' .. string.sub(name, 3) end
  return P .. 'lane:' .. name
end
-- Bytes of the body, the id of the shared body or '', and what of the body stands in a field of its own.
local function measure(fields)
  local value = fields[2]
  local kind, _, extra = unpackBytes('>I1I4I4', value)
  if extra == 4294967295 then extra = 0 end
  local rest = #value - 9 - extra
  if kind == 0 then return rest, '', '' end
  if kind == 1 then return unpackBytes('>I4', value, 10 + extra), string.sub(value, 14 + extra), '' end
  for i = #fields - 1, 3, -2 do if fields[i] == 'payload' then return rest + #fields[i + 1], '', fields[i + 1] end end
  return rest, '', ''
end
local function letGo(id)
  local key = P .. 'body:' .. id
  if call('HINCRBY', key, 'n', -1) <= 0 then call('UNLINK', key) end
end
local function settleOne(key, id, size, ref)
  if size == 4294967295 then
    local found = call('XRANGE', key, id, id)[1]
    if not found then return 0, 0 end
    size, ref = measure(found[2])
  end
  if call('XDEL', key, id) == 0 then return 0, 0 end
  if ref ~= '' then letGo(ref) end
  return 1, size
end
`

/**
 * KEYS writer. ARGV prefix, prefix of Aedes' keys, writer, node or '', incarnation, number, 1 when the group writes more than
 * settlements, changes kept, the group, connection. Returns for each lane: first seq, entries that wait, their bytes, 1 when another keeps the
 * lane; then the id of the newest change and how many lanes are doomed.
 */
export const group = `
local P, A, me = ARGV[1], ARGV[2], ARGV[3]
${entry}
if ARGV[4] ~= '' then
  if call('HGET', P .. 'incarnations', ARGV[4]) ~= ARGV[5] then return redis.error_reply('NODE_FENCED') end
  if call('EXISTS', P .. 'passed:' .. ARGV[4]) == 1 then return redis.error_reply('NODE_PASSED_OVER') end
end
local writer, number = KEYS[1], tonumber(ARGV[6])
local known = call('HMGET', writer, 'n', 's')
if known[2] ~= ARGV[10] then return redis.error_reply('GROUP_STALE') end
if number ~= tonumber(known[1] or '0') + 1 then return redis.error_reply('GROUP_GAP') end
-- The first write decides whether there is memory for all: Redis refuses no later one.
if ARGV[7] == '1' then call('HSET', writer, 'n', number) end

local b, pos, count = ARGV[9], 1, 0
local out, wakes = {}, {}

count, pos = unpackBytes('>I4', b, pos)
for _ = 1, count do
  local id, refs, body
  id, refs, body, pos = unpackBytes('>I1c0I4I4c0', b, pos)
  call('HSET', P .. 'body:' .. id, 'n', refs, 'b', body)
end

local function drop(name, key, i)
  call('DEL', P .. 'marks:' .. name)
  call('HDEL', P .. 'lanes', name)
  call('HDEL', P .. 'keepers', name)
  local length = call('XLEN', key)
  if length == 0 then
    call('DEL', key)
  else
    local doomed = P .. 'doomed:' .. me .. ':' .. number .. ':' .. i
    call('RENAME', key, doomed)
    call('RPUSH', P .. 'doomed', doomed)
  end
end

-- Entries that follow each other. When nothing waits before them, the stream is cut behind them: less than a tenth of the work of XDEL.
local function settleRun(key, from, entries, marks)
  local start = string.format('%.0f', from)
  local cut = #call('XRANGE', key, '-', '(0-' .. start, 'COUNT', 1) == 0
  if cut and not marks then return call('XTRIM', key, 'MINID', '=', '0-' .. string.format('%.0f', from + entries)) end
  local n, seqs, ids = 0, {}, {}
  for i = 0, entries - 1 do
    local seq = string.format('%.0f', from + i)
    seqs[#seqs + 1] = seq
    ids[#ids + 1] = '0-' .. seq
    if #ids == 500 or i == entries - 1 then
      if marks then call('HDEL', marks, unpack(seqs)) end
      n = n + call('XDEL', key, unpack(ids))
      seqs, ids = {}, {}
    end
  end
  return n
end

count, pos = unpackBytes('>I4', b, pos)
for i = 1, count do
  local name, dropped, appends, bytes
  name, dropped, appends, bytes, pos = unpackBytes('>I4c0I1I4I4', b, pos)
  local key = laneKey(name)
  if dropped == 1 then drop(name, key, i) end
  local keeper = call('HGET', P .. 'keepers', name)
  local lost = keeper and keeper ~= me
  local first = '0'
  for a = 1, appends do
    local described, value, id
    described, value, pos = unpackBytes('>I1I4c0', b, pos)
    if described == 0 then
      id = call('XADD', key, '0-*', 'm', value)
    else
      local topic, client, qos, time, payload
      topic, client, qos, time, payload, pos = unpackBytes('>I4c0I4c0I4c0I4c0I4c0', b, pos)
      id = call('XADD', key, '0-*', 'm', value, 'topic', topic, 'clientId', client, 'qos', qos, 'time', time, 'payload', payload)
    end
    if a == 1 then first = string.sub(id, 3) end
  end
  if appends > 0 and lost then wakes[keeper] = (wakes[keeper] or '') .. struct.pack('>I4', #name) .. name end

  local marks, settles
  marks, pos = unpackBytes('>I4', b, pos)
  for _ = 1, marks do
    local seq, present, value
    seq, present, value, pos = unpackBytes('>I6I1I4c0', b, pos)
    local id = '0-' .. string.format('%.0f', seq)
    if not lost then
      if present == 0 then
        call('HDEL', P .. 'marks:' .. name, string.sub(id, 3))
      elseif #call('XRANGE', key, id, id) > 0 then
        call('HSET', P .. 'marks:' .. name, string.sub(id, 3), value)
      end
    end
  end

  local runs, gone, marked = 0, 0, nil
  runs, pos = unpackBytes('>I4', b, pos)
  for _ = 1, runs do
    local from, entries, freed
    from, entries, freed, pos = unpackBytes('>I6I4I4', b, pos)
    if not lost then
      if marked == nil then marked = call('EXISTS', P .. 'marks:' .. name) == 1 end
      local n = settleRun(key, from, entries, marked and P .. 'marks:' .. name)
      gone = gone + n
      bytes = bytes - (n == entries and freed or math.floor(freed * n / entries))
    end
  end
  settles, pos = unpackBytes('>I4', b, pos)
  local simple, simpleBytes = {}, 0
  local function takeOut()
    if #simple == 0 then return end
    local n = call('XDEL', key, unpack(simple))
    gone = gone + n
    bytes = bytes - (n == #simple and simpleBytes or math.floor(simpleBytes * n / #simple))
    simple, simpleBytes = {}, 0
  end
  for _ = 1, settles do
    local seq, size, ref
    seq, size, ref, pos = unpackBytes('>I6I4I1c0', b, pos)
    if not lost then
      local id = '0-' .. string.format('%.0f', seq)
      if marked == nil then marked = call('EXISTS', P .. 'marks:' .. name) == 1 end
      if marked then call('HDEL', P .. 'marks:' .. name, string.sub(id, 3)) end
      if size == 4294967295 or ref ~= '' then
        -- It may be one of those before: each counts once, with its own size.
        takeOut()
        local n, freed = settleOne(key, id, size, ref)
        gone = gone + n
        bytes = bytes - freed
      else
        simple[#simple + 1] = id
        simpleBytes = simpleBytes + size
        if #simple == 500 then takeOut() end
      end
    end
  end
  takeOut()
  local length, held = call('XLEN', key), 0
  if appends > 0 or gone > 0 then
    held = call('HINCRBY', P .. 'lanes', name, bytes)
    if (length == 0 and held ~= 0) or held < 0 then
      call('HSET', P .. 'lanes', name, 0)
      held = 0
    end
  else
    held = call('HGET', P .. 'lanes', name) or 0
  end
  out[#out + 1] = first
  out[#out + 1] = length
  out[#out + 1] = held
  out[#out + 1] = (lost and marks + runs + settles > 0) and 1 or 0
end

local changes = 0
local newest = '0-0'
local function changed(what, key, other)
  changes = changes + 1
  newest = call('XADD', P .. 'changes', 'MAXLEN', '~', ARGV[8], '0-*', 'is', what, 'key', key, 'of', other or '', 'by', me)
end
count, pos = unpackBytes('>I4', b, pos)
for _ = 1, count do
  local op, key, more, value, other
  op, key, more, value, other, pos = unpackBytes('>c1I4c0I4c0I4c0I4c0', b, pos)
  if op == 'S' then
    call('HSET', P .. 'sessions', key, value)
    changed('session', key)
  elseif op == 's' then
    call('HDEL', P .. 'sessions', key)
    call('DEL', P .. 'inbound:' .. key, A .. 'client:' .. more)
    call('SREM', A .. 'clients', key)
    changed('session', key)
  elseif op == 'U' then
    call('HSET', A .. 'client:' .. more, other, value)
    call('SADD', A .. 'clients', key)
    changed('subscription', key, other)
  elseif op == 'u' then
    call('HDEL', A .. 'client:' .. more, other)
    if call('EXISTS', A .. 'client:' .. more) == 0 then call('SREM', A .. 'clients', key) end
    changed('subscription', key, other)
  elseif op == 'I' then
    call('SADD', P .. 'inbound:' .. key, value)
  elseif op == 'i' then
    call('SREM', P .. 'inbound:' .. key, value)
  elseif op == 'R' then
    call('HSET', A .. 'retained', key, value)
    changed('retained', key)
  elseif op == 'r' then
    call('HDEL', A .. 'retained', key)
    changed('retained', key)
  elseif op == 'W' then
    call('HSET', P .. 'wills', key, value)
    changed('will', key)
  elseif op == 'w' then
    call('HDEL', P .. 'wills', key)
    changed('will', key)
  elseif op == 'M' then
    call('HSET', P .. 'meta', key, value)
    changed('meta', key)
  elseif op == 'm' then
    call('HDEL', P .. 'meta', key)
    changed('meta', key)
  elseif op == 'X' then
    call('UNLINK', key)
  elseif op == 'L' then
    call('LREM', key, 0, value)
  end
end
for keeper, names in pairs(wakes) do call('PUBLISH', P .. 'wake:' .. keeper, 'w' .. names) end
if changes > 0 then call('PUBLISH', P .. 'changed', changes) end
out[#out + 1] = string.sub(newest, 3)
out[#out + 1] = call('LLEN', P .. 'doomed')
local reply = table.concat(out, ' ')
call('HSET', writer, 'n', number, 'r' .. number % 2, reply)
call('PEXPIRE', writer, 86400000)
return reply
`

/**
 * A new connection of the writer: groups that are still on their way on an older one are refused from here on.
 * KEYS writer. ARGV connection. Returns the number of the last group and the last two replies.
 */
export const sync = `
-- Removes nothing; but after a command that needs no memory Redis refuses no later one.
redis.call('HDEL', KEYS[1], 'none')
redis.call('HSET', KEYS[1], 's', ARGV[1])
redis.call('PEXPIRE', KEYS[1], 86400000)
return redis.call('HMGET', KEYS[1], 'n', 'r0', 'r1')
`

/**
 * KEYS lane. ARGV prefix, lane name, from seq, entries wanted at most, bytes after which to stop. Returns the last seq the lane ever
 * gave, then the numbers of entries as runs [first seq, how many, …], for each its m with its payload behind it, their marks
 * [seq, bytes, …], the shared bodies [id, bytes, …],
 * 1 when nothing waits beyond, and entries and bytes that wait in the whole lane.
 */
export const read = `
local P = ARGV[1]
${entry}
local key, from, wanted, bytesMax = KEYS[1], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
if call('EXISTS', key) == 0 then return {'0', {}, {}, {}, {}, 1, 0, '0'} end
local info = call('XINFO', 'STREAM', key)
local last = '0'
for i = 1, #info, 2 do if info[i] == 'last-generated-id' then last = string.sub(info[i + 1], 3) end end
local marksKey = P .. 'marks:' .. ARGV[2]
local runs, entries, marks, bodies, known, bytes, expected = {}, {}, {}, {}, {}, 0, -1
-- A lease has one mark for all it holds: mostly there are few, and asking for each entry would cost more than the entry.
local marked, markOf = call('HLEN', marksKey), nil
if marked > 0 and marked <= wanted then
  markOf = {}
  local all = call('HGETALL', marksKey)
  for i = 1, #all, 2 do markOf[all[i]] = all[i + 1] end
end
local start, page, complete = '0-' .. from, math.min(wanted, 16), 0
while #entries < wanted and bytes < bytesMax do
  local found = call('XRANGE', key, start, '+', 'COUNT', page)
  for _, each in ipairs(found) do
    local seq, fields = string.sub(each[1], 3), each[2]
    local size, ref, payload = measure(fields)
    if ref ~= '' and not known[ref] then
      known[ref] = true
      bodies[#bodies + 1] = ref
      bodies[#bodies + 1] = call('HGET', P .. 'body:' .. ref, 'b') or ''
    end
    local number = tonumber(seq)
    if number == expected then
      runs[#runs] = runs[#runs] + 1
    else
      runs[#runs + 1] = number
      runs[#runs + 1] = 1
    end
    expected = number + 1
    -- One string costs whoever reads it less than two.
    entries[#entries + 1] = payload == '' and fields[2] or fields[2] .. payload
    if marked > 0 then
      local mark = markOf and markOf[seq]
      if not markOf then mark = call('HGET', marksKey, seq) end
      if mark then
        marks[#marks + 1] = seq
        marks[#marks + 1] = mark
      end
    end
    bytes = bytes + size
    start = '(0-' .. seq
    if bytes >= bytesMax or #entries >= wanted then break end
  end
  if #found < page then
    if bytes < bytesMax and #entries < wanted then complete = 1 end
    break
  end
  page = bytes * 4 < bytesMax and math.min(256, page * 4) or 16
end
return {last, runs, entries, marks, bodies, complete, call('XLEN', key), call('HGET', P .. 'lanes', ARGV[2]) or '0'}
`

/** KEYS any. ARGV prefix, lane names … Returns last seq and entries that wait, for each. */
export const figures = `
local P = ARGV[1]
${entry}
local out = {}
for n = 2, #ARGV do
  local key = laneKey(ARGV[n])
  local last, length = '0', 0
  if call('EXISTS', key) == 1 then
    local info = call('XINFO', 'STREAM', key)
    for i = 1, #info, 2 do
      if info[i] == 'last-generated-id' then last = string.sub(info[i + 1], 3) end
      if info[i] == 'length' then length = info[i + 1] end
    end
  end
  out[#out + 1] = last
  out[#out + 1] = length
end
return out
`

/**
 * KEYS keepers. ARGV prefix, lane name, writer, node or '', incarnation. Returns last seq, entries that wait and their bytes; an error
 * NODE_FENCED where others declared the node dead.
 */
export const keep = `
local P = ARGV[1]
${entry}
if ARGV[4] ~= '' and call('HGET', P .. 'incarnations', ARGV[4]) ~= ARGV[5] then return redis.error_reply('NODE_FENCED') end
local before = call('HGET', KEYS[1], ARGV[2])
call('HSET', KEYS[1], ARGV[2], ARGV[3])
if before and before ~= ARGV[3] then
  call('PUBLISH', P .. 'wake:' .. before, 'l' .. struct.pack('>I4', #ARGV[2]) .. ARGV[2])
end
local key = laneKey(ARGV[2])
if call('EXISTS', key) == 0 then return {'0', 0, '0'} end
local info, last = call('XINFO', 'STREAM', key), '0'
for i = 1, #info, 2 do if info[i] == 'last-generated-id' then last = string.sub(info[i + 1], 3) end end
return {last, call('XLEN', key), call('HGET', P .. 'lanes', ARGV[2]) or '0'}
`

/** KEYS keepers. ARGV lane name, writer. */
export const release = `
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then return redis.call('HDEL', KEYS[1], ARGV[1]) end
return 0
`

/** KEYS doomed. ARGV prefix, entries at most. Removes a piece of the first dropped lane. Returns entries removed, lanes left, 1 when this one is gone. */
export const sweep = `
local P = ARGV[1]
${entry}
local key = call('LINDEX', KEYS[1], 0)
if not key then return {0, 0, 0} end
local found = call('XRANGE', key, '-', '+', 'COUNT', ARGV[2])
for _, each in ipairs(found) do
  local _, ref = measure(each[2])
  if ref ~= '' then letGo(ref) end
  call('XDEL', key, each[1])
end
local gone = 0
if call('XLEN', key) == 0 then
  call('DEL', key)
  call('LPOP', KEYS[1])
  gone = 1
end
return {#found, call('LLEN', KEYS[1]), gone}
`
