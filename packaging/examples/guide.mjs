// The guide with the official JavaScript SDK of E2B.
//
//	npm install e2b
//	E2B_API_KEY=... node guide.mjs TEMPLATE
//
// TEMPLATE has the driver inside:  deeplake sandbox template build DIR --name T
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { homedir } from 'node:os'

// the tests keep their modules elsewhere
const require = createRequire(process.env.E2B_NODE_MODULES
  ? process.env.E2B_NODE_MODULES + '/' : import.meta.url)
const { Sandbox } = require('e2b')

const MOUNT = '/mnt/data'

// Credentials travel in the file API only, into a file that is private
// before the first secret byte is in it; commands and input are logged.
async function mount(sandbox, table) {
  const credentials =
    await readFile(homedir() + '/.deeplake/credentials.json', 'utf8')
  await sandbox.commands.run('install -d -m 700 ~/.deeplake && ' +
    'install -m 600 /dev/null ~/.deeplake/credentials.json')
  await sandbox.files.write('/home/user/.deeplake/credentials.json',
    credentials)
  await sandbox.commands.run(
    `chmod 666 /dev/fuse; mkdir -p ${MOUNT} && chown user ${MOUNT}; ` +
    'grep -qsx user_allow_other /etc/fuse.conf || ' +
    'echo user_allow_other >> /etc/fuse.conf', { user: 'root' })
  await sandbox.commands.run(
    `deeplake init --table ${table} --path ${MOUNT} ` +
    '-o allow_other </dev/null')
}

// Kill is sudden: what is not in the table by then is lost.
async function unmountAndKill(sandbox) {
  await sandbox.commands.run(`deeplake umount ${MOUNT}`,
    { timeoutMs: 120000 })
  await sandbox.kill()
}

const template = process.argv[2] ?? 'my-data-sandbox'

// 1. two sandboxes on one table
const [a, b] = await Promise.all([1, 2].map(
  () => Sandbox.create(template, { timeoutMs: 300000 })))
await mount(a, 'shared_workspace_js')
await mount(b, 'shared_workspace_js')
await a.commands.run(`echo 'written from sandbox A' > ${MOUNT}/hello.txt`)
for (let i = 0; !await b.files.exists(`${MOUNT}/hello.txt`); i++) {
  if (i > 100) throw new Error('B does not see the file of A')
  await new Promise((done) => setTimeout(done, 100))
}
console.log('B reads:', (await b.files.read(`${MOUNT}/hello.txt`)).trim())
await unmountAndKill(a)
await unmountAndKill(b)

// 2. an agent's script, its output and how it went
const began = Date.now()
const s = await Sandbox.create(template, { timeoutMs: 300000 })
await mount(s, 'task_js')
await s.files.write('/tmp/task.py', 'print(6 * 7)\n')
const r = await s.commands.run('python3 /tmp/task.py').catch((e) => e)
await s.files.write(`${MOUNT}/output.txt`, r.stdout)
await s.files.write(`${MOUNT}/meta.json`, JSON.stringify(
  { exit_code: r.exitCode, seconds: (Date.now() - began) / 1000 }))
await unmountAndKill(s)

// 3. the files survive the sandbox
const later = await Sandbox.create(template, { timeoutMs: 300000 })
await mount(later, 'task_js')
console.log('later:', (await later.files.read(`${MOUNT}/output.txt`)).trim(),
  await later.files.read(`${MOUNT}/meta.json`))
await unmountAndKill(later)
