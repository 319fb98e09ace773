'use strict'

// PouchDB's live feeds and live replication, also through a node that goes
// away and comes back.

const test = require('node:test')
const assert = require('node:assert/strict')
const { remote, local, settled, event, eventually, converged } = require('./support.js')

// order has the node stopped, killed or started.
async function order (name) {
  const { status } = await fetch(`${process.env.MANGROVE_CONTROL}/${name}`, { method: 'POST' })
  assert.equal(status, 204)
}

// live starts a sync that goes on until the test ends. It tries again soon.
function live (t, db, node) {
  const sync = db.sync(node, { live: true, retry: true, back_off_function: () => 100 })
  const failures = []
  sync.on('denied', (err) => failures.push(err))
  sync.on('error', (err) => failures.push(err))
  const end = new Promise((resolve) => sync.on('complete', resolve))
  t.after(() => sync.cancel())
  return {
    async stop () {
      sync.cancel()
      await end
      assert.deepEqual(failures, [])
    }
  }
}

// forgive lets connections that break pass unhandled, until the test ends:
// PouchDB 9 asks for its source's info() after each batch, only to report
// progress, and does not handle the failure.
function forgive (t) {
  const handlers = process.listeners('unhandledRejection')
  const restore = () => {
    process.removeAllListeners('unhandledRejection')
    handlers.forEach((h) => process.on('unhandledRejection', h))
  }
  process.removeAllListeners('unhandledRejection')
  process.on('unhandledRejection', (err, promise) => {
    if (err.name !== 'FetchError') {
      handlers.forEach((h) => h(err, promise))
    }
  })
  t.after(restore)
}

// has waits until a database holds a document with the given members.
function has (db, id, members) {
  return eventually(async () => {
    const doc = await db.get(id)
    for (const [key, value] of Object.entries(members)) {
      assert.deepEqual(doc[key], value)
    }
  })
}

test('a live feed with documents', async () => {
  const node = remote()
  const { rev } = await node.put({ _id: 'before', n: 0 })
  const heard = []
  const feed = node.changes({ live: true, since: 'now', include_docs: true, conflicts: true, attachments: true, heartbeat: 1000 })
  const complete = new Promise((resolve) => feed.on('complete', resolve))
  feed.on('change', (change) => heard.push(change))
  let knock // until the feed has begun
  await eventually(async () => {
    ({ id: knock } = await node.post({}))
    assert.notEqual(heard.length, 0)
  })
  await eventually(() => assert.equal(heard.at(-1).id, knock))
  const wait = (n) => eventually(() => assert.ok(heard.length >= n, `${heard.length} of ${n} changes`))
  const start = heard.length
  await node.put({ _id: 'before', _rev: rev, n: 1 })
  await wait(start + 1)
  const { id, doc } = heard[start]
  assert.equal(id, 'before')
  assert.equal(doc.n, 1)
  await node.putAttachment('file', 'f.txt', Buffer.from('hello'), 'text/plain')
  await wait(start + 2)
  assert.equal(Buffer.from(heard[start + 1].doc._attachments['f.txt'].data, 'base64').toString(), 'hello')
  await node.remove(doc)
  await wait(start + 3)
  assert.equal(heard[start + 2].deleted, true)
  assert.equal(heard[start + 2].doc._deleted, true)
  feed.cancel()
  await complete
  assert.equal(heard.length, start + 3)
  const numbers = heard.map((c) => parseInt(c.seq, 10))
  assert.deepEqual(numbers, [...numbers].sort((x, y) => x - y))

  // What was heard after a sequence is told again from it.
  const { results } = await node.changes({ since: heard[start].seq, include_docs: true })
  assert.deepEqual(results.map((r) => r.id), ['file', 'before'])
})

test('feeds of some documents', async () => {
  const node = remote()
  const heard = { ids: [], selector: [] }
  const feeds = [
    node.changes({ live: true, since: 0, doc_ids: ['one', 'two'] }).on('change', (c) => heard.ids.push(c.id)),
    node.changes({ live: true, since: 0, selector: { kind: 'b' }, include_docs: true }).on('change', (c) => heard.selector.push(c.doc.kind))
  ]
  const complete = feeds.map((f) => new Promise((resolve) => f.on('complete', resolve)))
  for (const _id of ['zero', 'one', 'three', 'two']) {
    await node.put({ _id, kind: _id === 'three' ? 'b' : 'a' })
  }
  await node.put({ _id: 'end', kind: 'b' })
  await eventually(() => assert.deepEqual(heard, { ids: ['one', 'two'], selector: ['b', 'b'] }))
  feeds.forEach((f) => f.cancel())
  await Promise.all(complete)
})

test('paging through changes', async () => {
  const node = remote()
  await node.bulkDocs(Array.from({ length: 95 }, (_, i) => ({ _id: `d${i}` })))
  const seen = []
  for (let since = 0; ;) {
    const { results, last_seq: last } = await node.changes({ since, limit: 20 })
    if (results.length === 0) {
      break
    }
    seen.push(...results.map((r) => r.id))
    since = last
  }
  assert.equal(new Set(seen).size, 95)
  assert.equal(seen.length, 95)
  const all = await node.changes({ batch_size: 10 })
  assert.deepEqual(all.results.map((r) => r.id), seen)
  const backwards = await node.changes({ descending: true, limit: 3 })
  assert.deepEqual(backwards.results.map((r) => r.id), [...seen].reverse().slice(0, 3))
})

test('live sync both ways, of two devices', async (t) => {
  const [a, b, node] = [local(), local(), remote()]
  await a.put({ _id: 'old', from: 'a' })
  const syncs = [live(t, a, node), live(t, b, node)]
  await has(b, 'old', { from: 'a' })

  const writers = [a, b, node].map(async (db, w) => {
    for (let i = 0; i < 20; i++) {
      await db.put({ _id: `${w} ${i}`, i })
      if (i % 5 === 0) {
        await db.put({ _id: `of all ${i}`, w }).catch((err) => assert.equal(err.status, 409))
        await db.putAttachment(`file ${w} ${i}`, 'data', Buffer.alloc(1000, i), 'application/octet-stream')
      }
    }
    await db.remove(await db.get(`${w} 0`))
  })
  await Promise.all(writers)
  await eventually(async () => {
    await converged(a, node)
    const docs = await converged(b, node)
    assert.equal(Object.keys(docs).length, 1 + 60 + 4 + 12)
  })
  await Promise.all(syncs.map((s) => s.stop()))
})

for (const how of ['stop', 'kill']) {
  test(`live sync through a node's ${how} and start`, async (t) => {
    const [a, b, node] = [local(), local(), remote()]
    await node.put({ _id: 'shared', by: 'nobody' })
    await settled(a.sync(node))
    let writing = true
    t.after(async () => {
      writing = false
      await order('start')
    })
    forgive(t)
    const syncs = [live(t, a, node), live(t, b, node)]
    await has(b, 'shared', { by: 'nobody' })

    // The writers never stop for the node.
    const writers = [a, b].map(async (db, w) => {
      let i = 0
      for (; writing; i++) {
        await db.put({ _id: `${w} ${i}`, i, _attachments: { f: { content_type: 'image/png', data: Buffer.alloc(100 + i, w).toString('base64') } } })
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
      return i
    })
    await has(node, '0 10', { i: 10 })
    await has(node, '1 10', { i: 10 })
    for (let round = 0; round < 2; round++) {
      await order(how)
      await a.put({ _id: `while away ${round}`, by: 'a' })
      await b.put({ _id: `while away ${round}`, by: 'b' })
      await a.put({ ...await a.get('shared'), by: `a ${round}` })
      await assert.rejects(node.info())
      await order('start')
      await has(node, `while away ${round}`, {})
      await eventually(async () => {
        assert.match((await b.get('shared')).by, RegExp(`a ${round}`))
      })
    }
    writing = false
    const [first, second] = await Promise.all(writers)
    await eventually(async () => {
      await converged(a, node)
      const docs = await converged(b, node)
      assert.equal(Object.keys(docs).length, 1 + 2 + first + second)
    })
    await Promise.all(syncs.map((s) => s.stop()))

    // Sequences and checkpoints outlive the node: nothing is sent again.
    const { push, pull } = await settled(a.sync(node))
    assert.equal(push.docs_written + pull.docs_written, 0)
    for (const round of [0, 1]) {
      const { _conflicts: conflicts } = await node.get(`while away ${round}`, { conflicts: true })
      assert.equal(conflicts.length, 1)
    }
  })
}

test('a live pull hears of a database that is made anew', async () => {
  const node = remote()
  const a = local()
  await node.bulkDocs([{ _id: 'one' }, { _id: 'two' }, { _id: 'three' }])
  await settled(a.replicate.from(node))
  const { name } = node
  await node.destroy()
  const again = new node.constructor(name)
  await again.put({ _id: 'four' })
  const pull = a.replicate.from(again, { live: true, retry: true })
  const complete = new Promise((resolve) => pull.on('complete', resolve))
  await event(pull, 'change')
  await has(a, 'four', {})
  await again.put({ _id: 'five' })
  await has(a, 'five', {})
  pull.cancel()
  await complete
  assert.equal((await a.info()).doc_count, 5)
})
