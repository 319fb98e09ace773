'use strict'

// What the tests of PouchDB share: databases on both sides, waiting, and the
// comparison of two databases.

const assert = require('node:assert/strict')
const crypto = require('node:crypto')
const PouchDB = require('pouchdb-core')
  .plugin(require('pouchdb-adapter-memory'))
  .plugin(require('pouchdb-adapter-http'))
  .plugin(require('pouchdb-replication'))

// url is the node's address with its administrator, without a slash at the end.
const url = process.env.MANGROVE_URL
if (!url) {
  throw new Error('MANGROVE_URL is not set: the tests are run by go test')
}

let databases = 0

// name returns a database name of its own.
function name () {
  return `pouch-${process.pid}-${++databases}`
}

// remote opens a new database on the node. It goes with the node.
function remote () {
  return new PouchDB(`${url}/${name()}`)
}

// local opens a new database in memory.
function local () {
  return new PouchDB(name(), { adapter: 'memory' })
}

// settled waits for the end of a replication and checks that nothing failed.
async function settled (replication) {
  const result = await replication
  for (const r of result.push ? [result.push, result.pull] : [result]) {
    assert.deepEqual(r.errors, [])
    assert.equal(r.doc_write_failures, 0)
    assert.equal(r.ok, true)
  }
  return result
}

// event waits for an emitter's event; an error event fails.
function event (emitter, type) {
  return new Promise((resolve, reject) => {
    const done = (settle) => (value) => {
      emitter.removeListener(type, got)
      emitter.removeListener('error', failed)
      settle(value)
    }
    const got = done(resolve)
    const failed = done(reject)
    emitter.on(type, got)
    emitter.on('error', failed)
  })
}

// eventually repeats a check until it holds. The last failure is thrown.
async function eventually (check, limit = 30000) {
  const end = Date.now() + limit
  for (;;) {
    try {
      return await check()
    } catch (err) {
      if (Date.now() > end) {
        throw err
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

function md5 (data) {
  return 'md5-' + crypto.createHash('md5').update(data).digest('base64')
}

// compressed tells the content types that a node stores with gzip. Their
// digests are those of the stored bytes, PouchDB's those of the content.
function compressed (contentType) {
  return /^(text\/.*|application\/(json|javascript|xml))(;|$)/.test(contentType)
}

// leaf is one leaf revision as both sides must have it.
function leaf (doc) {
  const { _attachments: files = {}, ...rest } = doc
  const attachments = {}
  for (const [file, { content_type: type, data, digest }] of Object.entries(files)) {
    const content = Buffer.from(data, 'base64')
    attachments[file] = { type, content: md5(content) }
    if (!compressed(type)) {
      assert.equal(digest, md5(content), `digest of ${doc._id}/${file}`)
    }
  }
  return { ...rest, attachments }
}

// state is all that replication must make equal: of each document its winner,
// conflicts and deletion, and of each leaf its history, body and attachments.
async function state (db) {
  const [winners, leaves] = await Promise.all([db.changes(), db.changes({ style: 'all_docs' })])
  const revs = Object.fromEntries(leaves.results.map((r) => [r.id, r.changes.map((c) => c.rev).sort()]))
  const docs = {}
  for (const { id, changes: [{ rev }], deleted = false } of winners.results) {
    const winner = await db.get(id, deleted ? { rev } : { conflicts: true })
    assert.equal(winner._rev, rev, `winner of ${id}`)
    assert.equal(Boolean(winner._deleted), deleted, `deletion of ${id}`)
    docs[id] = { winner: rev, deleted, conflicts: (winner._conflicts || []).sort(), leaves: {} }
  }
  assert.deepEqual(Object.keys(docs).sort(), Object.keys(revs).sort())
  const wanted = Object.entries(revs).flatMap(([id, list]) => list.map((rev) => ({ id, rev })))
  const { results } = await db.bulkGet({ docs: wanted, revs: true, attachments: true })
  for (const { id, docs: read } of results) {
    for (const { ok, error } of read) {
      assert.ok(ok, `${id}: ${JSON.stringify(error)}`)
      docs[id].leaves[ok._rev] = leaf(ok)
    }
  }
  for (const [id, list] of Object.entries(revs)) {
    assert.deepEqual(Object.keys(docs[id].leaves).sort(), list, `leaves of ${id}`)
  }
  return docs
}

// converged checks that two databases hold the same, and returns it.
async function converged (a, b) {
  const [left, right] = await Promise.all([state(a), state(b)])
  assert.deepEqual(left, right)
  const [leftInfo, rightInfo] = await Promise.all([a.info(), b.info()])
  assert.equal(leftInfo.doc_count, rightInfo.doc_count)
  return left
}

// fails checks that a call is refused as CouchDB would refuse it.
async function fails (call, status, words = {}) {
  await assert.rejects(call, (err) => {
    assert.equal(err.status, status, String(err))
    for (const [key, value] of Object.entries(words)) {
      assert.equal(err[key], value)
    }
    return true
  })
}

module.exports = { PouchDB, remote, local, settled, event, eventually, converged, state, md5, fails }
