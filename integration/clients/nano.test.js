'use strict'

// A day's work with nano.
//
// Left out, as the node does not have them yet: find, findAsStream,
// createIndex and the partitioned finds; view, show, atomic and lists (design
// functions); auth and session (cookies); replicate and replication (the node
// as replicator); search (an extension of CouchDB's).

const test = require('node:test')
const assert = require('node:assert/strict')
const crypto = require('node:crypto')
const { once } = require('node:events')
const { Readable } = require('node:stream')
const { pipeline } = require('node:stream/promises')
const { setTimeout: delay } = require('node:timers/promises')
const nano = require('nano')(process.env.MANGROVE_URL)

let databases = 0

// database makes a database that is deleted after the test.
async function database (t) {
  const name = `nano-${process.pid}-${++databases}`
  assert.deepEqual(await nano.db.create(name), { ok: true })
  t.after(() => nano.db.destroy(name))
  return nano.use(name)
}

// fails checks status and words of a refusal.
function fails (call, statusCode, error, reason) {
  return assert.rejects(call, (err) => {
    assert.equal(err.statusCode, statusCode)
    assert.equal(err.error, error)
    assert.equal(err.reason, reason)
    assert.equal(err.message, reason)
    assert.equal(err.scope, 'couch')
    return true
  })
}

async function collect (stream) {
  const chunks = []
  for await (const chunk of stream) {
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

test('the server', async () => {
  const info = await nano.info()
  assert.equal(info.couchdb, 'Welcome')
  assert.equal(info.version, '3.5.0')
  const { uuids } = await nano.uuids(5)
  assert.equal(new Set(uuids).size, 5)
  assert.ok(uuids.every((u) => /^[0-9a-f]{32}$/.test(u)))
  assert.equal((await nano.request({ path: '_up' })).status, 'ok')
})

test('databases', async (t) => {
  const name = `nano/with+slash-${process.pid}`
  await nano.db.create(name)
  assert.ok((await nano.db.list()).includes(name))
  assert.ok(JSON.parse(await collect(nano.db.listAsStream())).includes(name))
  assert.equal((await nano.db.get(name)).db_name, name)
  await fails(nano.db.create(name), 412, 'file_exists', 'The database could not be created, the file already exists.')
  await fails(nano.db.create('Capital'), 400, 'illegal_database_name',
    "Name: 'Capital'. Only lowercase characters (a-z), digits (0-9), and any of the characters _, $, (, ), +, -, and / are allowed. Must begin with a letter.")
  const { results } = await nano.updates({ since: '0' })
  assert.ok(results.some((u) => u.db_name === name && u.type === 'created'))
  assert.deepEqual(await nano.db.destroy(name), { ok: true })
  await fails(nano.db.get(name), 404, 'not_found', 'Database does not exist.')
  await fails(nano.db.destroy(name), 404, 'not_found', 'Database does not exist.')
  await fails(nano.use(name).insert({ a: 1 }), 404, 'not_found', 'Database does not exist.')
  const stranger = require('nano')(process.env.MANGROVE_URL.replace(/\/\/.*@/, '//admin:wrong@'))
  await fails(stranger.db.list(), 401, 'unauthorized', 'Name or password is incorrect.')
})

test('documents', async (t) => {
  const db = await database(t)
  const first = await db.insert({ happy: true, text: 'äöü 😀' }, 'rabbit')
  assert.equal(first.ok, true)
  assert.equal(first.id, 'rabbit')
  assert.match(first.rev, /^1-[0-9a-f]{32}$/)
  await fails(db.insert({ happy: false }, 'rabbit'), 409, 'conflict', 'Document update conflict.')
  const second = await db.insert({ _rev: first.rev, happy: false }, { docName: 'rabbit' })
  assert.deepEqual(await db.get('rabbit'), { _id: 'rabbit', _rev: second.rev, happy: false })
  assert.equal((await db.get('rabbit', { rev: first.rev })).text, 'äöü 😀')
  const { _revisions: revisions } = await db.get('rabbit', { revs: true })
  assert.deepEqual(revisions, { start: 2, ids: [second.rev.slice(2), first.rev.slice(2)] })
  const headers = await db.head('rabbit')
  assert.equal(headers.etag, `"${second.rev}"`)
  await fails(db.get('hare'), 404, 'not_found', 'missing')
  await assert.rejects(db.head('hare'), { statusCode: 404 })

  const made = await db.insert({ made: 'by POST' })
  assert.match(made.id, /^[0-9a-f]{32}$/)
  const odd = 'a/b c+d%?é'
  await db.insert({ odd: true }, odd)
  assert.equal((await db.get(odd))._id, odd)
  await db.insert({ language: 'javascript', note: 'nothing' }, '_design/plain')
  assert.equal((await db.get('_design/plain')).note, 'nothing')
  await db.insert({ at: 1 }, '_local/place')
  assert.equal((await db.get('_local/place')).at, 1)

  const gone = await db.destroy('rabbit', second.rev)
  assert.match(gone.rev, /^3-/)
  await fails(db.get('rabbit'), 404, 'not_found', 'deleted')
  await fails(db.destroy(odd, '1-00000000000000000000000000000000'), 409, 'conflict', 'Document update conflict.')
  await fails(db.insert({ _odd: 1 }, 'x'), 400, 'doc_validation', 'Bad special document member: _odd')
  await fails(db.get(odd, { rev: 'nonsense' }), 400, 'bad_request', 'Invalid rev format')
})

test('bulk, list, fetch', async (t) => {
  const db = await database(t)
  const ids = Array.from({ length: 50 }, (_, i) => `id-${String(i).padStart(2, '0')}`)
  const written = await db.bulk({ docs: ids.map((_id, i) => ({ _id, i })) })
  assert.ok(written.every((w) => w.ok))
  const mixed = await db.bulk({ docs: [{ _id: ids[0], i: 'late' }, { _id: ids[1], _rev: written[1].rev, _deleted: true }, { i: 'new' }] })
  assert.equal(mixed[0].error, 'conflict')
  assert.equal(mixed[1].ok, true)
  assert.equal(mixed[2].ok, true)

  const list = await db.list({ startkey: 'id-10', endkey: 'id-19', include_docs: true, limit: 7, skip: 1 })
  assert.equal(list.total_rows, 50)
  assert.deepEqual(list.rows.map((r) => r.doc.i), [11, 12, 13, 14, 15, 16, 17])
  const back = await db.list({ descending: true, start_key: 'id-49', limit: 2 })
  assert.deepEqual(back.rows.map((r) => r.id), ['id-49', 'id-48'])
  assert.equal((await db.list({ key: 'id-05' })).rows.length, 1)
  assert.equal((await db.list({ keys: ['id-05', 'none'] })).rows[1].error, 'not_found')
  const streamed = JSON.parse(await collect(db.listAsStream({ include_docs: true })))
  assert.equal(streamed.rows.length, 50)

  const fetched = await db.fetch({ keys: ['id-03', 'id-01', 'none'] })
  assert.equal(fetched.rows[0].doc.i, 3)
  assert.equal(fetched.rows[1].value.deleted, true)
  assert.equal(fetched.rows[2].error, 'not_found')
  const revs = await db.fetchRevs({ keys: ['id-03'] })
  assert.equal(revs.rows[0].value.rev, written[3].rev)
  assert.equal(revs.rows[0].doc, undefined)
})

test('attachments', async (t) => {
  const db = await database(t)
  const picture = crypto.randomBytes(300000)
  const text = Buffer.from('plain text, compressible. '.repeat(20000))
  let { rev } = await db.attachment.insert('album', 'picture.png', picture, 'image/png')
  ;({ rev } = await db.attachment.insert('album', 'notes.txt', text, 'text/plain', { rev }))
  // Of unknown length, so sent in chunks.
  ;({ rev } = await db.attachment.insert('album', 'streamed', Readable.from([picture, text]), 'application/octet-stream', { rev }))

  assert.deepEqual(await db.attachment.get('album', 'picture.png'), picture)
  assert.equal(await db.attachment.get('album', 'notes.txt'), String(text)) // nano gives strings of text
  assert.deepEqual(await collect(db.attachment.getAsStream('album', 'streamed')), Buffer.concat([picture, text]))
  const { _attachments: stubs } = await db.get('album')
  assert.equal(stubs['picture.png'].digest, 'md5-' + crypto.createHash('md5').update(picture).digest('base64'))
  assert.equal(stubs['notes.txt'].length, text.length)
  assert.equal(stubs.streamed.revpos, 3)

  await db.attachment.destroy('album', 'notes.txt', { rev })
  await fails(db.attachment.get('album', 'notes.txt'), 404, 'not_found', 'Document is missing attachment')
  const missing = db.attachment.getAsStream('album', 'notes.txt')
  const [err] = await once(missing, 'error')
  assert.equal(err.statusCode, 404)
  await fails(db.attachment.insert('album', 'late', picture, 'image/png', { rev }), 409, 'conflict', 'Document update conflict.')

  // The length that nano gives of the JSON part counts characters, not bytes.
  await db.multipart.insert({ title: 'Größe 😀' }, [
    { name: 'a.txt', data: 'first', content_type: 'text/plain' },
    { name: 'b.bin', data: picture, content_type: 'application/octet-stream' }
  ], 'parts')
  const parts = await db.get('parts', { attachments: true })
  assert.equal(parts.title, 'Größe 😀')
  assert.equal(Buffer.from(parts._attachments['a.txt'].data, 'base64').toString(), 'first')
  assert.deepEqual(Buffer.from(parts._attachments['b.bin'].data, 'base64'), picture)
  const raw = await db.multipart.get('parts')
  assert.match(raw, /^--/)
  assert.ok(raw.includes('"title":"Größe 😀"'))
  assert.ok(raw.includes('Content-Disposition: attachment; filename="b.bin"'))
  const doc = await db.insert({ _attachments: { inline: { content_type: 'text/plain', data: 'aGVsbG8=' } } }, 'inline')
  assert.equal(await db.attachment.get('inline', 'inline', { rev: doc.rev }), 'hello')
})

test('changes', async (t) => {
  const db = await database(t)
  await db.bulk({ docs: Array.from({ length: 30 }, (_, i) => ({ _id: `c${i}`, even: i % 2 === 0 })) })
  const { results, last_seq: last, pending } = await db.changes({ limit: 10, include_docs: true })
  assert.equal(results.length, 10)
  assert.equal(results[0].doc._id, results[0].id)
  assert.equal(pending, 20)
  assert.equal((await db.changes({ since: last })).results.length, 20)
  assert.equal(JSON.parse(await collect(db.changesAsStream())).results.length, 30)

  // get ends when there is nothing more, start does not, spool is one request.
  const all = []
  const reader = db.changesReader.get({ since: '0', batchSize: 8, timeout: 300 })
  reader.on('batch', (batch) => all.push(...batch))
  const [end] = await once(reader, 'end')
  assert.equal(all.length, 30)
  assert.equal(parseInt(end, 10), 30)

  const spooled = []
  const spool = nano.use(db.config.db).changesReader.spool({ since: '0', batchSize: 7, includeDocs: true })
  spool.on('batch', (batch) => spooled.push(...batch))
  await once(spool, 'end')
  assert.equal(spooled.length, 30)
  assert.ok(spooled.every((c) => c.doc._id === c.id))

  const heard = []
  const live = nano.use(db.config.db).changesReader
  const feed = live.start({ since: end, selector: { even: true }, includeDocs: true })
  feed.on('change', (change) => heard.push(change.id))
  for (const n of [100, 101, 102]) {
    await db.insert({ even: n % 2 === 0 }, `c${n}`)
  }
  while (heard.length < 2) {
    await once(feed, 'change', { signal: AbortSignal.timeout(10000) })
  }
  assert.deepEqual(heard, ['c100', 'c102'])
  feed.on('error', () => {}) // stopping breaks the request off, which it tells
  const stopped = new Promise((resolve) => feed.on('end', resolve))
  live.stop()
  await stopped

  // Feeds that stay open, read as streams.
  const stream = db.changesAsStream({ feed: 'continuous', since: '0', timeout: 100 })
  const lines = []
  await pipeline(stream, async (source) => lines.push(...String(await collect(source)).trim().split('\n')))
  assert.equal(lines.length, 34)
  assert.ok(JSON.parse(lines.at(-1)).last_seq)
})

test('housekeeping', async (t) => {
  const db = await database(t)
  let rev
  for (let i = 0; i < 5; i++) {
    ({ rev } = await db.insert({ _rev: rev, i }, 'doc'))
  }
  const info = await db.info()
  assert.equal(info.doc_count, 1)
  assert.equal(parseInt(info.update_seq, 10), 5)
  assert.deepEqual(await db.compact(), { ok: true })
  while ((await db.info()).compact_running) {
    await delay(20)
  }
  assert.equal((await db.get('doc')).i, 4)
  assert.equal((await nano.request({ db: db.config.db, path: '_revs_limit' })), 1000)
  const path = '_security'
  const members = { admins: { names: ['a'], roles: [] }, members: { names: ['b'], roles: ['c'] } }
  await nano.request({ db: db.config.db, path, method: 'put', body: members })
  assert.deepEqual(await nano.request({ db: db.config.db, path }), members)
})
