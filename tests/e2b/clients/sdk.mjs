// The official JavaScript SDKs against the loopback server.
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'

const require = createRequire(process.env.E2B_NODE_MODULES + '/')
const { Sandbox, Template, CommandExitError, NotFoundError, TimeoutError } =
  require('e2b')
const { Sandbox: CodeSandbox } = require('@e2b/code-interpreter')

async function commands(sb) {
  const r = await sb.commands.run('echo hi; echo err >&2')
  assert.deepEqual([r.stdout, r.stderr, r.exitCode], ['hi\n', 'err\n', 0])
  await assert.rejects(
    sb.commands.run('exit 7', { user: 'root', cwd: '/tmp' }),
    (e) => e instanceof CommandExitError && e.exitCode === 7)
  const h = await sb.commands.run('cat', { background: true, stdin: true })
  await sb.commands.sendStdin(h.pid, 'abc\n')
  await sb.commands.closeStdin(h.pid)
  assert.equal((await h.wait()).stdout, 'abc\n')
  const s = await sb.commands.run('sleep 100', { background: true })
  assert.equal(await s.kill(), true)
  assert.equal(await sb.commands.kill(999999), false)
  await assert.rejects(sb.commands.run('sleep 20', { timeoutMs: 500 }),
    (e) => e instanceof TimeoutError)
  let tty = ''
  const p = await sb.pty.create({ cols: 70, rows: 20,
    onData: (d) => { tty += Buffer.from(d).toString() } })
  await sb.pty.sendInput(p.pid, Buffer.from('stty size; exit\n'))
  await p.wait().catch(() => {})
  assert.match(tty, /20 70/)
}

async function files(sb) {
  await sb.files.write('/tmp/t/a.txt', 'hello')
  assert.equal(await sb.files.read('/tmp/t/a.txt'), 'hello')
  await sb.files.write([{ path: '/tmp/t/1', data: '1' },
    { path: '/tmp/t/2', data: '2' }])
  assert.deepEqual((await sb.files.list('/tmp/t')).map((e) => e.name).sort(),
    ['1', '2', 'a.txt'])
  await assert.rejects(sb.files.read('/nope'), NotFoundError)
  assert.equal(await sb.files.makeDir('/tmp/new'), true)
  assert.equal(await sb.files.makeDir('/tmp/new'), false)
  assert.equal(await sb.files.exists('/tmp/none'), false)
  await sb.files.remove('/tmp/new')
}

async function life(sb) {
  await sb.setTimeout(120000)
  assert.equal(await sb.isRunning(), true)
  const list = Sandbox.list({ query: { metadata: { app: 'js', 'k&y': 'v 1' } } })
  assert.deepEqual((await list.nextItems()).map((s) => s.sandboxId),
    [sb.sandboxId])
  assert.equal(await sb.pause(), true)
  assert.equal(await sb.isRunning(), false)
  const again = await Sandbox.connect(sb.sandboxId)
  assert.equal((await again.commands.run('echo back')).stdout, 'back\n')
  assert.equal(await again.kill(), true)
  assert.equal(await Sandbox.kill(sb.sandboxId), false)
}

const sb = await Sandbox.create('base', { timeoutMs: 300000,
  metadata: { app: 'js', 'k&y': 'v 1' }, envs: { FOO: 'bar' } })
await commands(sb)
await files(sb)
await life(sb)
await assert.rejects(Sandbox.create('missing'))
await assert.rejects(Sandbox.create('base', { apiKey: 'e2b_bad0' }))

const t = Template().fromTemplate('base')
  .runCmd('echo built > /opt/js', { user: 'root' }).setEnvs({ T: '1' })
await Template.build(t, { alias: 'js-made', cpuCount: 1, memoryMB: 512 })
const made = await Sandbox.create('js-made')
assert.equal(await made.files.read('/opt/js'), 'built\n')
await made.kill()

const c = await CodeSandbox.create()
assert.equal((await c.runCode('hello')).logs.stdout.join(''), 'hello\n')
assert.equal((await c.runCode('raise')).error.name, 'ValueError')
assert.ok((await c.runCode('plot')).results[0].png)
await c.kill()
console.log('javascript SDK: all as expected')
