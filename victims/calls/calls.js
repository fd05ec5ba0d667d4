// Makes system calls as Node does, and counts what came of each: see calls.c.
//
//   calls.js DIRECTORY CALL...
//
// It cannot map a file, nor tell where its memory is: whoever reads the counts finds them behind a mark that it says.
'use strict'
const crypto = require('crypto')
const fs = require('fs')

const PLACES = 256
process.chdir(process.argv[2])
const names = process.argv.slice(3)
const MARK = 4
const memory = new BigUint64Array(MARK + PLACES * names.length)
const mark = crypto.randomFillSync(memory.subarray(0, MARK))
const counts = memory.subarray(MARK)
const file = fs.openSync('file', 'w+', 0o600)
fs.writeSync(file, 'murphy')
fs.symlinkSync('file', 'link')
const one = Buffer.from('x')
const buffer = Buffer.alloc(8)

// A call that fails in the way that is expected where nothing is done to it.
function made (make) {
  try {
    make()
  } catch (error) {
    if (error.code !== 'ENOTDIR') throw error
  }
}

const CALLS = {
  read: () => fs.readSync(file, buffer),
  write: () => fs.writeSync(file, one),
  fsync: () => fs.fsyncSync(file),
  fdatasync: () => fs.fdatasyncSync(file),
  ftruncate: () => fs.ftruncateSync(file, 64),
  statx: () => fs.statSync('file'),
  access: () => fs.accessSync('file'),
  mkdir: () => made(() => fs.mkdirSync('file/no')),
  unlink: () => made(() => fs.unlinkSync('file/no')),
  rename: () => made(() => fs.renameSync('file/no', 'no')),
  readlink: () => fs.readlinkSync('link'),
  getppid: () => process.ppid
}

console.log('ready', process.pid, [...mark].join(','))
for (let turn = 0; turn % 16 || !fs.readdirSync('.').includes('end'); turn++) {
  names.forEach((name, place) => {
    try {
      CALLS[name]()
    } catch (error) {
      counts[PLACES * place + Math.abs(error.errno || 1)]++
    }
    counts[PLACES * place]++
  })
}
