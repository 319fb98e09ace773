'use strict'

// PouchDB over HTTP, and its replication in single runs.

const test = require('node:test')
const assert = require('node:assert/strict')
const crypto = require('node:crypto')
const { PouchDB, remote, local, settled, converged, state, md5, fails } = require('./support.js')

// ids are names that go wrong where a path or a query is escaped carelessly.
const ids = ['plain', 'with space', 'a/b/c', 'plus+plus', 'per%cent%2F', 'q?x=1&y=2#z', 'ünïcödé', '日本', '😀', '"quoted"', "it's", ':colon:', '...', '-dash']

function body (i) {
  return {
    n: i,
    half: i + 0.5,
    text: `document ${i} – äöü 😀 \u0000\u001f"\\`,
    list: [null, true, false, -i, 1e21, 1e-7, { deep: [[['er']]] }],
    empty: {},
    '': 'a member without a name'
  }
}

test('push, pull, and nothing left to do', async () => {
  const [a, b, node] = [local(), local(), remote()]
  const docs = Array.from({ length: 250 }, (_, i) => ({ _id: `doc-${i}`, ...body(i) }))
  docs.push(...ids.map((_id) => ({ _id, kind: 'odd id' })))
  docs.push({ _id: '_design/app', language: 'javascript', note: 'without functions' })
  await a.bulkDocs(docs)

  const pushed = await settled(a.replicate.to(node))
  assert.equal(pushed.docs_written, docs.length)
  await converged(a, node)

  const pulled = await settled(b.replicate.from(node, { batch_size: 40 }))
  assert.equal(pulled.docs_written, docs.length)
  await converged(b, node)

  // The checkpoints on both sides were found again.
  for (const run of [a.replicate.to(node), b.replicate.from(node)]) {
    const again = await settled(run)
    assert.equal(again.docs_read, 0)
    assert.equal(again.docs_written, 0)
  }
  const { results } = await a.changes({ since: pushed.last_seq })
  assert.deepEqual(results, [])
})

test('edits and deletions travel both ways', async () => {
  const [a, node] = [local(), remote()]
  await node.bulkDocs(ids.map((_id) => ({ _id, from: 'node' })))
  await settled(a.sync(node))

  for (const id of ids.slice(0, 5)) {
    await a.put({ ...await a.get(id), from: 'device' })
  }
  for (const id of ids.slice(5, 8)) {
    await a.remove(await a.get(id))
  }
  for (const id of ids.slice(8, 11)) {
    await node.put({ ...await node.get(id), from: 'node again' })
  }
  for (const id of ids.slice(11)) {
    const { _id, _rev } = await node.get(id)
    await node.put({ _id, _rev, _deleted: true, reason: 'a tombstone with a body' })
  }
  await settled(a.sync(node))
  const docs = await converged(a, node)
  assert.equal(docs[ids[6]].deleted, true)
  const tombstone = docs[ids[11]]
  assert.equal(tombstone.deleted, true)
  assert.equal(tombstone.leaves[tombstone.winner].reason, 'a tombstone with a body')

  // A deleted document can come back, on either side.
  await a.put({ _id: ids[11], from: 'device, once more' })
  await node.put({ _id: ids[6], from: 'node, once more' })
  await settled(a.sync(node))
  const revived = await converged(a, node)
  assert.equal(revived[ids[6]].deleted, false)
  assert.equal(revived[ids[11]].deleted, false)
  assert.equal((await node.info()).doc_count, ids.length - 4)
})

test('attachments', async () => {
  const [a, b, node] = [local(), local(), remote()]
  const small = Buffer.from([0, 1, 2, 253, 254, 255])
  const big = crypto.randomBytes(1 << 20)
  const text = Buffer.from('All work and no play makes Jack a dull boy. – äöü\n'.repeat(5000))
  const files = { 'small.bin': ['application/octet-stream', small], 'a folder/big.png': ['image/png', big], 'text.txt': ['text/plain', text], empty: ['text/plain', Buffer.alloc(0)] }
  const inline = {}
  for (const [file, [type, data]] of Object.entries(files)) {
    inline[file] = { content_type: type, data: data.toString('base64') }
  }
  await a.put({ _id: 'inline from the device', _attachments: inline })
  await node.put({ _id: 'inline from the node', _attachments: inline })
  for (const [side, db] of [['device', a], ['node', node]]) {
    let rev
    for (const [file, [type, data]] of Object.entries(files)) {
      ({ rev } = await db.putAttachment(`one by one from the ${side}`, file, rev, data, type))
    }
  }
  await settled(a.sync(node))
  await settled(b.replicate.from(node))
  await converged(a, node)
  const docs = await converged(b, node)
  assert.equal(Object.keys(docs).length, 4)

  for (const id of Object.keys(docs)) {
    const { _attachments: stubs } = await node.get(id)
    for (const [file, [type, data]] of Object.entries(files)) {
      assert.equal(stubs[file].stub, true)
      assert.equal(stubs[file].length, data.length)
      assert.equal(stubs[file].content_type, type)
      for (const db of [a, b, node]) {
        assert.deepEqual(Buffer.from(await db.getAttachment(id, file)), data)
      }
    }
    assert.equal(stubs['small.bin'].digest, md5(small))
    assert.equal(stubs['a folder/big.png'].digest, md5(big))
  }

  // An edit with stubs keeps files; a file is replaced, another removed.
  const doc = await a.get('inline from the node')
  doc.edited = true
  doc._attachments['small.bin'] = { content_type: 'text/plain', data: Buffer.from('now text').toString('base64') }
  await a.put(doc)
  const other = await node.get('inline from the device')
  await node.removeAttachment(other._id, 'a folder/big.png', other._rev)
  await settled(a.sync(node))
  await settled(b.sync(node))
  await converged(a, node)
  await converged(b, node)
  assert.equal(String(await node.getAttachment(doc._id, 'small.bin')), 'now text')
  assert.deepEqual(Buffer.from(await b.getAttachment(doc._id, 'a folder/big.png')), big)
  await fails(b.getAttachment(other._id, 'a folder/big.png'), 404)
  await fails(node.getAttachment(other._id, 'a folder/big.png'), 404)
})

test('conflicts of two devices', async () => {
  const [a, b, node] = [local(), local(), remote()]
  await node.bulkDocs(['edited', 'deleted here', 'deleted there', 'deleted by both', 'with files'].map((_id) => ({ _id, text: 'first' })))
  await settled(a.sync(node))
  await settled(b.sync(node))

  for (const [db, who] of [[a, 'a'], [b, 'b']]) {
    await db.put({ _id: 'created', by: who })
    for (let i = 0; i < (who === 'a' ? 1 : 3); i++) {
      await db.put({ ...await db.get('edited'), text: `${who} ${i}` })
    }
    await db.putAttachment('with files', `${who}.bin`, (await db.get('with files'))._rev, Buffer.from(who), 'application/octet-stream')
    await db.put({ _id: 'deleted by both', _rev: (await db.get('deleted by both'))._rev, _deleted: true, by: who })
  }
  await a.remove(await a.get('deleted here'))
  await b.put({ ...await b.get('deleted here'), text: 'kept' })
  await a.put({ ...await a.get('deleted there'), text: 'kept' })
  await b.remove(await b.get('deleted there'))

  await settled(a.sync(node))
  await settled(b.sync(node))
  await settled(a.sync(node))
  await converged(a, node)
  const docs = await converged(b, node)
  const leavesOf = (id) => Object.keys(docs[id].leaves).length
  for (const id of ['created', 'edited', 'with files']) {
    assert.equal(leavesOf(id), 2, id)
    assert.equal(docs[id].conflicts.length, 1, id)
  }
  assert.equal(docs.edited.leaves[docs.edited.winner].text, 'b 2')
  for (const id of ['deleted here', 'deleted there']) {
    assert.equal(docs[id].deleted, false, id)
    assert.equal(docs[id].leaves[docs[id].winner].text, 'kept', id)
    assert.deepEqual(docs[id].conflicts, [], id)
    assert.equal(leavesOf(id), 2, id)
  }
  assert.equal(docs['deleted by both'].deleted, true)
  assert.equal(leavesOf('deleted by both'), 2)

  // An application resolves on one device; all see it.
  const winner = await a.get('edited', { conflicts: true })
  const loser = await a.get('edited', { rev: winner._conflicts[0] })
  await a.put({ ...winner, _conflicts: undefined, text: `${winner.text} + ${loser.text}` })
  await a.remove(loser)
  await settled(a.sync(node))
  await settled(b.sync(node))
  await converged(a, node)
  const resolved = await converged(b, node)
  assert.deepEqual(resolved.edited.conflicts, [])
  assert.equal(resolved.edited.leaves[resolved.edited.winner].text, 'b 2 + a 0')
})

test('the same history by any road', async () => {
  const [a, b, left, right] = [local(), local(), remote(), remote()]
  for (const [db, who] of [[a, 'a'], [b, 'b']]) {
    for (const id of ['x', 'y', 'z']) {
      for (let i = 0, rev; i < 5; i++) {
        ({ rev } = await db.put({ _id: id, _rev: rev, i, who }))
      }
    }
  }
  // Two nodes that never met get the branches in different order, one of them twice.
  await settled(a.replicate.to(left))
  await settled(b.replicate.to(left))
  await settled(b.replicate.to(right))
  await settled(a.replicate.to(right))
  await settled(a.replicate.to(right, { checkpoint: false, since: 0 }))
  await converged(left, right)
})

test('filtered replication', async () => {
  const [a, b, c, node, target] = [local(), local(), local(), remote(), remote()]
  await node.bulkDocs(Array.from({ length: 30 }, (_, i) => ({ _id: `d${i}`, i, odd: i % 2 === 1 })))
  await settled(a.replicate.from(node, { doc_ids: ['d3', 'd7', 'nothing'] }))
  assert.deepEqual(Object.keys(await state(a)).sort(), ['d3', 'd7'])
  await settled(b.replicate.from(node, { selector: { odd: true, i: { $gt: 20 } } }))
  assert.deepEqual(Object.keys(await state(b)).sort(), ['d21', 'd23', 'd25', 'd27', 'd29'])
  await settled(c.replicate.from(node, { since: (await node.changes({ limit: 25 })).last_seq }))
  assert.equal((await c.info()).doc_count, 5)
  await settled(node.replicate.to(target, { filter: (doc) => doc.i < 3 })) // node to node, PouchDB between
  assert.deepEqual(Object.keys(await state(target)).sort(), ['d0', 'd1', 'd2'])
})

test('documents over HTTP', async () => {
  const node = remote()
  const { id, rev } = await node.post({ made: 'by the node' })
  assert.equal((await node.get(id))._rev, rev)
  const second = await node.put({ _id: id, _rev: rev, made: 'again' })
  assert.match(second.rev, /^2-[0-9a-f]{32}$/)
  await fails(node.put({ _id: id, _rev: rev }), 409, { name: 'conflict' })
  await fails(node.put({ _id: id }), 409, { name: 'conflict' })
  await fails(node.get('nowhere'), 404, { name: 'not_found', reason: 'missing' })
  await fails(node.put({ _id: '_odd' }), 400)
  await fails(node.put({ _id: 'x', _odd: 1 }), 400, { name: 'doc_validation' })

  const full = await node.get(id, { revs: true, revs_info: true })
  assert.equal(full._revisions.start, 2)
  assert.deepEqual(full._revs_info.map((r) => r.status), ['available', 'available'])
  assert.equal((await node.get(id, { rev })).made, 'by the node')

  await node.bulkDocs([{ _id: id, _rev: '2-11111111111111111111111111111111', _revisions: { start: 2, ids: ['11111111111111111111111111111111', rev.slice(2)] }, made: 'elsewhere' }], { new_edits: false })
  const open = await node.get(id, { open_revs: 'all' })
  assert.equal(open.length, 2)
  assert.ok(open.every((r) => r.ok))
  const some = await node.get(id, { open_revs: [rev, '9-99999999999999999999999999999999'] })
  assert.deepEqual(some.map((r) => r.missing || r.ok._rev).sort(), [rev, '9-99999999999999999999999999999999'])
  const latest = await node.get(id, { open_revs: [rev], latest: true })
  assert.equal(latest.length, 2)

  const diff = await node.revsDiff({ [id]: [rev, '7-77777777777777777777777777777777'], other: ['1-00000000000000000000000000000000'] })
  assert.deepEqual(diff[id].missing, ['7-77777777777777777777777777777777'])
  assert.deepEqual(diff.other.missing, ['1-00000000000000000000000000000000'])

  const removed = await node.remove(id, second.rev)
  assert.match(removed.rev, /^3-/)
  assert.equal((await node.get(id)).made, 'elsewhere')

  const written = await node.bulkDocs([{ _id: 'fresh' }, { _id: id }, {}])
  assert.equal(written[0].ok, true)
  assert.equal(written[1].status, 409)
  assert.equal(written[2].ok, true)

  await node.put({ _id: '_local/place', at: 1 })
  const place = await node.get('_local/place')
  await node.put({ ...place, at: 2 })
  assert.equal((await node.get('_local/place')).at, 2)
  await node.remove(await node.get('_local/place'))
  await fails(node.get('_local/place'), 404)

  await node.compact()
  await fails(node.get(id, { rev }), 404)
  assert.equal((await node.info()).doc_count, 3)
})

test('allDocs and bulkGet', async () => {
  const node = remote()
  const names = Array.from({ length: 120 }, (_, i) => `page-${String(i).padStart(3, '0')}`)
  const written = await node.bulkDocs(names.map((_id, i) => ({ _id, i })))

  for (const descending of [false, true]) {
    const seen = []
    const options = { limit: 17, descending, include_docs: true }
    for (;;) {
      const { rows, total_rows: total } = await node.allDocs(options)
      assert.equal(total, names.length)
      if (rows.length === 0) {
        break
      }
      for (const row of rows) {
        assert.equal(row.doc._rev, row.value.rev)
        assert.equal(row.doc.i, names.indexOf(row.id))
        seen.push(row.id)
      }
      options.startkey = rows.at(-1).id
      options.skip = 1
    }
    assert.deepEqual(seen, descending ? [...names].reverse() : names)
  }
  const range = await node.allDocs({ startkey: 'page-010', endkey: 'page-02\ufff0', inclusive_end: false })
  assert.equal(range.rows.length, 20)
  assert.equal((await node.allDocs({ key: 'page-005' })).rows[0].id, 'page-005')

  await node.remove('page-001', written[1].rev)
  const keyed = await node.allDocs({ keys: ['page-002', 'page-001', 'none', 'page-000'], include_docs: true })
  assert.deepEqual(keyed.rows.map((r) => r.id || r.error), ['page-002', 'page-001', 'not_found', 'page-000'])
  assert.equal(keyed.rows[1].value.deleted, true)
  assert.equal(keyed.rows[1].doc, null)

  await node.putAttachment('page-003', 'f', written[3].rev, Buffer.from('file'), 'application/octet-stream')
  const { results } = await node.bulkGet({
    docs: [{ id: 'page-000', rev: written[0].rev }, { id: 'page-003' }, { id: 'none', rev: '1-00000000000000000000000000000000' }],
    revs: true,
    attachments: true
  })
  assert.equal(results[0].docs[0].ok.i, 0)
  assert.equal(results[0].docs[0].ok._revisions.start, 1)
  assert.equal(Buffer.from(results[1].docs[0].ok._attachments.f.data, 'base64').toString(), 'file')
  assert.equal(results[2].docs[0].error.error, 'not_found')
})

test('a database that is not there, a wrong password', async () => {
  const node = remote()
  await node.info()
  const absent = new PouchDB(`${node.name}-absent`, { skip_setup: true })
  await fails(absent.get('x'), 404)
  const stranger = new PouchDB(node.name.replace(/\/\/.*@/, '//admin:wrong@'), { skip_setup: true })
  await fails(stranger.get('x'), 401, { name: 'unauthorized' })
  await assert.rejects(local().replicate.from(stranger), (err) => err.status === 401 || err.name === 'unauthorized')
})
