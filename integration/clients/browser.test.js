'use strict'

// A page in a real browser that uses a node of another origin: what the page
// is let do, what it gets to see, and what the browser keeps from it.

const assert = require('node:assert/strict')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { after, before, test } = require('node:test')
const { chromium } = require('playwright-core')

const {
  MANGROVE_URL: admin, // with the administrator's name and password
  MANGROVE_TLS_URL: encrypted, // the same node by TLS
  MANGROVE_PAGE: allowed, // a page whose origin the node allows
  MANGROVE_OTHER_PAGE: forbidden, // a page whose origin it does not
  MANGROVE_DISTANT_PAGE: distant, // allowed, and of another site
  MANGROVE_CHROMIUM: program
} = process.env

const { username: name, password } = new URL(admin)
const node = new URL(admin).origin
const authorization = 'Basic ' + Buffer.from(`${name}:${password}`).toString('base64')

// Chromium's own sandbox does not work for root, whom containers run tests as.
const args = ['--no-sandbox']

let browser

before(async () => {
  browser = await chromium.launch({ executablePath: program, args })
  const made = await fetch(`${node}/browser`, { method: 'PUT', headers: { authorization } })
  assert.equal(made.status, 201)
})

after(() => browser?.close())

// at opens a page in a context of its own, without anybody's cookies.
async function at (address) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true })
  const page = await context.newPage()
  await page.goto(address)
  return page
}

// request is fetch in the page. It answers what the page gets to know, or with
// blocked: true if the browser keeps it all.
function request (page, address, options = {}) {
  return page.evaluate(async ([address, options]) => {
    try {
      const response = await fetch(address, options)
      return { status: response.status, headers: Object.fromEntries(response.headers), body: await response.json() }
    } catch (error) {
      return { blocked: error instanceof TypeError }
    }
  }, [address, options])
}

test('a page of an allowed origin reads and writes documents', async () => {
  const page = await at(allowed)
  const credentials = 'include'
  // The method, the type and the authorization each ask for a preflight.
  const put = await request(page, `${node}/browser/a`, {
    method: 'PUT', credentials, headers: { authorization, 'content-type': 'application/json' }, body: '{"x":1}'
  })
  assert.equal(put.status, 201)
  assert.equal(put.body.ok, true)

  const got = await request(page, `${node}/browser/a`, { credentials, headers: { authorization } })
  assert.deepEqual(got.body, { _id: 'a', _rev: put.body.rev, x: 1 })
  // What the node exposes, the page reads.
  assert.equal(got.headers.etag, `"${put.body.rev}"`)
  assert.match(got.headers['x-couch-request-id'], /^[0-9a-f]+$/)
  assert.match(got.headers.server, /CouchDB/)

  const missing = await request(page, `${node}/browser/none`, { credentials, headers: { authorization } })
  assert.equal(missing.status, 404)
  assert.equal(missing.body.reason, 'missing')
})

test('a page of an allowed origin sees why it is refused', async () => {
  const page = await at(allowed)
  const refused = await request(page, `${node}/browser/a`, { credentials: 'include' })
  assert.equal(refused.status, 401)
  assert.equal(refused.body.error, 'unauthorized')
})

test('a page of an allowed origin signs in, and the cookie speaks for it', async () => {
  const page = await at(allowed)
  await signIn(page, node)
})

// By TLS the cookie goes with requests of pages of other sites too: SameSite=None with Secure.
test('a page of another site signs in by TLS', async () => {
  // In a profile that lets pages use cookies of other sites, as Chrome's does and private windows do not.
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'mangrove-browser-'))
  fs.mkdirSync(path.join(profile, 'Default'))
  fs.writeFileSync(path.join(profile, 'Default', 'Preferences'), '{"profile":{"cookie_controls_mode":0,"block_third_party_cookies":false}}')
  const context = await chromium.launchPersistentContext(profile, { executablePath: program, args, ignoreHTTPSErrors: true })
  try {
    const page = await context.newPage()
    await page.goto(distant)
    await signIn(page, encrypted)
  } finally {
    await context.close()
    fs.rmSync(profile, { recursive: true, force: true })
  }
})

async function signIn (page, node) {
  const credentials = 'include'
  const session = await request(page, `${node}/_session`, {
    method: 'POST', credentials, headers: { 'content-type': 'application/json' }, body: JSON.stringify({ name, password })
  })
  assert.equal(session.status, 200)
  const got = await request(page, `${node}/_session`, { credentials })
  assert.equal(got.body.userCtx.name, name)
  const all = await request(page, `${node}/browser/_all_docs`, { credentials })
  assert.equal(all.status, 200)
  const without = await request(page, `${node}/_session`, { credentials: 'omit' })
  assert.equal(without.body.userCtx.name, null)
}

test('methods and headers that are not allowed are kept back by the browser', async () => {
  const page = await at(allowed)
  assert.deepEqual(await request(page, `${node}/browser/a`, { method: 'PATCH' }), { blocked: true })
  assert.deepEqual(await request(page, `${node}/browser/a`, { headers: { 'x-something': 'else' } }), { blocked: true })
})

test('a page of a forbidden origin gets nothing', async () => {
  const page = await at(forbidden)
  // Answered, but not shown to the page.
  assert.deepEqual(await request(page, `${node}/`), { blocked: true })
  assert.deepEqual(await request(page, `${node}/browser/a`, { credentials: 'include' }), { blocked: true })
  // Not even sent.
  const put = await request(page, `${node}/browser/b`, {
    method: 'PUT', credentials: 'include', headers: { authorization, 'content-type': 'application/json' }, body: '{}'
  })
  assert.deepEqual(put, { blocked: true })
  const there = await fetch(`${node}/browser/b`, { headers: { authorization } })
  assert.equal(there.status, 404)
})
