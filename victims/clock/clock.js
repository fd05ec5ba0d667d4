// Reads its clocks every 20 ms and says `R <realtime ns> M <monotonic ns>`, until SIGTERM; then `BYE`, exit code 0.
//
// JavaScript's clock has whole milliseconds only. So R is read until it changes, which happens when a millisecond
// begins; M is the middle of the readings around that, if these are close to each other.
'use strict';

const fs = require('fs');

const PERIOD_MS = 20;
// Readings of M this close are good enough; else the best of so many tries is taken.
const CLOSE_NS = 100_000n;
const TRIES = 16;
// More readings than a millisecond has, on any machine.
const READINGS_MAX = 100_000;

function millisecondBegins() {
  const first = Date.now();
  let before = process.hrtime.bigint();
  for (let i = 0; i < READINGS_MAX; i++) {
    const now = Date.now();
    const after = process.hrtime.bigint();
    if (now !== first) {
      return { realtime: BigInt(now) * 1_000_000n, monotonic: (before + after) / 2n, width: after - before };
    }
    before = after;
  }
  throw new Error('the clock stands still');
}

function readClocks() {
  let best = millisecondBegins();
  for (let i = 1; i < TRIES && best.width > CLOSE_NS; i++) {
    const next = millisecondBegins();
    if (next.width < best.width) best = next;
  }
  return best;
}

function say(line) {
  fs.writeSync(1, line + '\n');
}

const timer = setInterval(() => {
  const { realtime, monotonic } = readClocks();
  say(`R ${realtime} M ${monotonic}`);
}, PERIOD_MS);

process.on('SIGTERM', () => {
  clearInterval(timer);
  say('BYE');
  process.exit(0);
});
