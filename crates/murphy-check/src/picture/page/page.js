"use strict";
// The whole history: read from columns, filtered, drawn on a canvas, and told in words where it is pointed at.
// Nothing the history says becomes markup: words go to the canvas, to textContent and to option values only.

const $ = (id) => document.getElementById(id), root = document.documentElement;

// ---- Theme: system, light, dark, in turn; remembered where storage is allowed.

const themes = ["system", "light", "dark"];
const remember = (name) => { try { localStorage.theme = name; } catch { /* a page from a file may not */ } };
function setTheme(name) {
  root.dataset.theme = name;
  $("theme").textContent = "◐ " + name;
  $("theme").ariaLabel = "Theme: " + name;
}
try { if (themes.includes(localStorage.theme)) setTheme(localStorage.theme); } catch { /* see above */ }
$("theme").hidden = false;
$("theme").onclick = () => {
  setTheme(themes[(themes.indexOf(root.dataset.theme || "system") + 1) % 3]);
  remember(root.dataset.theme);
  readColours();
  redraw();
};

// ---- The data. A bar is a number; each column has one entry for each bar.

const data = JSON.parse($("data").textContent), texts = data.texts, count = data.count;
const OK = 0, FAIL = 1, UNKNOWN = 2;

function numbers(name, into) {
  const bytes = atob(data.columns[name]);
  for (let i = 0, at = 0; i < into.length; i++) {
    let number = 0, scale = 1, byte;
    do { byte = bytes.charCodeAt(at++); number += (byte & 127) * scale; scale *= 128; } while (byte > 127);
    into[i] = number;
  }
  return into;
}
function sums(into) {
  for (let i = 1; i < into.length; i++) into[i] += into[i - 1];
  return into;
}
/** A step is twice as long as its way, and one less where it goes back. */
const way = (step) => step % 2 ? -(step + 1) / 2 : step / 2;
const small = (name) => numbers(name, new Uint32Array(count)), big = (name) => numbers(name, new Float64Array(count));

const call = sums(big("call").map(way)), took = big("took"), end = new Float64Array(count);
const line = sums(big("line").map(way)), endLine = big("end_line"), index = sums(big("index").map(way)), endIndex = big("end_index");
const clientOf = small("lane"), outcome = numbers("outcome", new Uint8Array(count)), f = small("f");
const label = small("label"), answer = small("answer"), node = small("node"), error = small("error");
const keyFrom = new Uint32Array(count + 1);
keyFrom.set(small("key_count"), 1);
const keys = numbers("key", new Uint32Array(sums(keyFrom)[count]));
for (let i = 0; i < count; i++) {
  end[i] = took[i] ? call[i] + took[i] - 1 : Infinity;
  endLine[i] = endLine[i] ? line[i] + way(endLine[i] - 1) : 0;
  endIndex[i] = index[i] + way(endIndex[i]);
}

const clientNames = data.lanes.map((id) => texts[id]);
const witness = new Map(data.witness), explanations = data.explanations;
let explanation = explanations[0], stepOf = new Map(), blocked = new Map();
const first = count ? call[0] : 0;
let last = first;
for (let i = 0; i < count; i++) last = Math.max(last, call[i], end[i] < Infinity ? end[i] : 0);
if (last === first) last = first + 1;

// ---- Figures as people read them.

const thousands = (number) => number.toLocaleString("en");
const counted = (number, noun) => (number ? thousands(number) : "no") + " " + noun + (number === 1 ? "" : "s");
function unitOf(moment) {
  if (!data.timed) return ["", 1];
  return moment < 1e4 ? ["ns", 1] : moment < 1e7 ? ["µs", 1e3] : moment < 1e9 ? ["ms", 1e6] : ["s", 1e9];
}
function moment(at, step = 1) {
  if (!data.timed) return "event " + thousands(at);
  const [unit, per] = unitOf(last), decimals = unit === "ns" ? 0 : Math.max(0, Math.min(9, Math.ceil(-Math.log10(step / per))));
  return (at / per).toFixed(decimals) + " " + unit;
}
function lasted(span) {
  if (span === Infinity) return "never";
  if (!data.timed) return counted(span, "event");
  const [unit, per] = unitOf(span * 9.99);
  return (span / per).toFixed(span / per < 10 && unit !== "ns" ? 1 : 0) + " " + unit;
}
const endWord = (bar) => outcome[bar] === UNKNOWN ? "given up" : outcome[bar] === FAIL ? "failed" : "answered";
const keysOf = (bar) => Array.from(keys.subarray(keyFrom[bar], keyFrom[bar + 1]), (key) => texts[key]);
const said = (bar) => texts[label[bar]] + (texts[answer[bar]] ? " → " + texts[answer[bar]] : "");

// ---- What is shown: the filter, and for each lane that has something to show its bars by time.

const shown = new Uint8Array(count);
let shownCount = 0, clients = 0, onlyWitness = false;
const laneFrom = new Uint32Array(clientNames.length + 1), rowOf = new Int32Array(clientNames.length);
let laneOf = clientOf, laneBars = new Uint32Array(0), rows = [];

function filter() {
  const word = $("find").value.toLowerCase(), key = $("by-key").value, lane = $("by-lane").value;
  const wantF = $("by-f").value, wantOutcome = $("by-outcome").value;
  const keyId = key === "" ? -1 : texts.indexOf(key), client = lane === "" ? -1 : clientNames.indexOf(lane);
  const hit = word && Uint8Array.from(texts, (text) => text.toLowerCase().includes(word) ? 1 : 0);
  shownCount = 0;
  for (let i = 0; i < count; i++) {
    let is = 1;
    if (client >= 0 ? clientOf[i] !== client : lane !== "") is = 0;
    else if (wantF !== "" && f[i] !== +wantF) is = 0;
    else if (wantOutcome !== "" && outcome[i] !== +wantOutcome) is = 0;
    else if (key !== "" && (keyId < 0 || !keys.subarray(keyFrom[i], keyFrom[i + 1]).includes(keyId))) is = 0;
    else if (hit && !(hit[label[i]] || hit[answer[i]] || (error[i] && hit[error[i] - 1]) || (node[i] && hit[node[i] - 1]) || hit[data.lanes[clientOf[i]]])) is = 0;
    else if (onlyWitness && !witness.has(i) && !stepOf.has(i) && !blocked.has(i)) is = 0;
    shown[i] = is;
    shownCount += is;
  }
  $("by-key").ariaInvalid = String(key !== "" && !keys.includes(keyId));
  $("by-lane").ariaInvalid = String(lane !== "" && client < 0);
  fileByLane();
  if (selected >= 0 && !shown[selected]) select(-1);
  redraw();
  clients = new Set(laneBars.map((bar) => clientOf[bar])).size;
  performance.mark("filtered");
}

function fileByLane() {
  laneFrom.fill(0);
  for (let i = 0; i < count; i++) if (shown[i]) laneFrom[laneOf[i] + 1]++;
  sums(laneFrom);
  laneBars = new Uint32Array(shownCount);
  const next = laneFrom.slice();
  for (let i = 0; i < count; i++) if (shown[i]) laneBars[next[laneOf[i]]++] = i;
  rows = [];
  rowOf.fill(-1);
  for (let lane = 0; lane < clientNames.length; lane++) if (laneFrom[lane + 1] > laneFrom[lane]) rowOf[lane] = rows.push(lane) - 1;
  strip = null;
}

/** After an unknown outcome a client goes on under a new name: those that follow each other can share a lane. */
function shareLanes() {
  const until = new Float64Array(clientNames.length).fill(-Infinity), lane = new Int32Array(clientNames.length).fill(-1), free = [];
  for (let i = 0; i < count; i++) until[clientOf[i]] = Math.max(until[clientOf[i]], end[i] < Infinity ? end[i] : last);
  return clientOf.map((client, i) => {
    if (lane[client] < 0) {
      const found = free.findIndex((end) => end < call[i]);
      lane[client] = found < 0 ? free.length : found;
      free[lane[client]] = until[client];
    }
    return lane[client];
  });
}
function fileAgain() {
  laneOf = $("share").checked ? shareLanes() : clientOf;
  fileByLane();
  redraw();
}

/** The place in `laneBars` of the first bar of a lane that is asked at `at` or later. */
function placeFrom(lane, at) {
  let low = laneFrom[lane], high = laneFrom[lane + 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (call[laneBars[middle]] < at) low = middle + 1; else high = middle;
  }
  return low;
}

// ---- The view: which stretch of time is on the chart.

const ROW = 24, BAR = 16, GUTTER = 104, AXIS = 24, STRIP = 56, TALLEST = 520;
const lanes = $("lanes"), chart = $("chart"), ctx = chart.getContext("2d");
let view = { from: first, to: last }, width = 0, height = 0, colours = {}, strip = null, waiting = false;
let selected = -1, pointed = -1;

const x = (at) => GUTTER + (at - view.from) / (view.to - view.from) * (width - GUTTER);
const timeAt = (px) => view.from + (px - GUTTER) / (width - GUTTER) * (view.to - view.from);

function look(from, to) {
  const margin = (last - first) * 0.01, least = data.timed ? 10 : 2;
  const span = Math.min(Math.max(to - from, least), last - first + 2 * margin);
  from = Math.min(Math.max(from, first - margin), last + margin - span);
  view = { from, to: from + span };
  redraw();
}
function zoom(factor, at = (view.from + view.to) / 2) {
  look(at - (at - view.from) * factor, at + (view.to - at) * factor);
}
function lookAll() { const margin = (last - first) * 0.01; look(first - margin, last + margin); }
function lookAt(bars) {
  let from = Infinity, to = -Infinity;
  for (const bar of bars) {
    from = Math.min(from, call[bar]);
    to = Math.max(to, end[bar] < Infinity ? end[bar] : call[bar]);
  }
  const margin = Math.max((to - from) * 0.3, 5);
  if (from <= to) look(from - margin, to + margin);
}
function showRow(bar) {
  const y = rowOf[laneOf[bar]] * ROW, room = height - AXIS - ROW;
  if (y < lanes.scrollTop || y > lanes.scrollTop + room) lanes.scrollTop = Math.max(0, y - room / 2);
}

// ---- Colours: what the style sheet says, as the canvas wants it.

const names = ["card", "ink", "dim", "rule", "accent", "held", "broken", "undecided", "fault-process", "fault-net", "fault-conn", "fault-time"];
function readColours() {
  const probe = document.createElement("span");
  root.append(probe);
  for (const name of names) {
    probe.style.color = "var(--" + name + ")";
    colours[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  const hues = ["accent", "fault-process", "fault-net", "fault-conn", "fault-time", "held"];
  colours.hues = hues.map((name) => colours[name]);
}
const hue = (id) => colours.hues[id % colours.hues.length];
function colourOf(bar) {
  switch ($("colour").value) {
    case "f": return hue(f[bar]);
    case "node": return node[bar] ? hue(node[bar]) : colours.dim;
    case "key": return keyFrom[bar + 1] > keyFrom[bar] ? hue(keys[keyFrom[bar]]) : colours.dim;
    default: return outcome[bar] === OK ? colours.accent : outcome[bar] === FAIL ? colours.dim : colours.undecided;
  }
}

// ---- Drawing.

function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); });
}
function sized(canvas, w, h) {
  const scale = devicePixelRatio || 1, context = canvas.getContext("2d");
  if (canvas.width !== Math.round(w * scale) || canvas.height !== Math.round(h * scale)) {
    canvas.width = Math.round(w * scale);
    canvas.height = Math.round(h * scale);
    canvas.style.width = w + "px";
    canvas.style.height = h + "px";
  }
  context.setTransform(scale, 0, 0, scale, 0, 0);
  return context;
}

function draw() {
  width = lanes.clientWidth;
  height = Math.min(Math.max(rows.length, 1) * ROW + AXIS + 8, TALLEST);
  lanes.style.height = height + 2 + "px";
  $("room").style.height = rows.length * ROW + AXIS + 8 + "px";
  sized(chart, width, height);
  ctx.clearRect(0, 0, width, height);
  ctx.font = "12px ui-monospace, 'DejaVu Sans Mono', monospace";
  ctx.textBaseline = "middle";
  const drawn = { bars: 0, merged: 0 };
  ctx.save();
  ctx.beginPath();
  ctx.rect(GUTTER, 0, width - GUTTER, height - AXIS);
  ctx.clip();
  drawBands();
  const top = lanes.scrollTop, from = Math.floor(top / ROW), to = Math.min(rows.length, Math.ceil((top + height) / ROW));
  for (let row = from; row < to; row++) drawLane(rows[row], row * ROW - top + 4, drawn);
  drawPath(top);
  ctx.restore();
  for (let row = from; row < to; row++) drawName(rows[row], row * ROW - top + 4 + BAR / 2);
  drawAxis();
  drawStrip();
  chart.dataset.bars = drawn.bars;
  chart.dataset.merged = drawn.merged;
  chart.dataset.from = view.from;
  chart.dataset.to = view.to;
  $("count").textContent = (shownCount === count ? counted(count, "invocation") : thousands(shownCount) + " of " + counted(count, "invocation"))
    + ", " + counted(clients, "client") + (drawn.merged ? " · narrow ones are drawn together: zoom in" : "");
  if ($("table").open) fillTable();
}

function drawBands() {
  for (const band of data.bands) {
    const left = x(band.from), right = x(band.to ?? last);
    if (right < GUTTER || left > width) continue;
    ctx.fillStyle = colours["fault-" + band.family];
    ctx.globalAlpha = 0.13;
    ctx.fillRect(left, 0, Math.max(right - left, 1), height);
    ctx.globalAlpha = 1;
    ctx.fillRect(left, 0, 1.5, height);
    if (right - left > 40) ctx.fillText(band.name, Math.max(left, GUTTER) + 5, height - AXIS - 8, right - Math.max(left, GUTTER));
  }
}

/** Bars narrower than a pixel are drawn together, so that a frame costs no more than its pixels. */
function drawLane(lane, y, drawn) {
  ctx.fillStyle = colours.rule;
  ctx.fillRect(GUTTER, y + BAR / 2, width - GUTTER, 1);
  const stop = laneFrom[lane + 1];
  let place = Math.max(placeFrom(lane, view.from) - 1, laneFrom[lane]);
  while (place < stop) {
    const bar = laneBars[place], left = x(call[bar]);
    if (left > width) break;
    const right = x(Math.min(end[bar], last));
    let next = place + 1;
    if (right - left < 1.5 && next < stop && x(call[laneBars[next]]) < left + 1.5) {
      next = placeFrom(lane, timeAt(left + 1.5));
      if (next > place + 1) {
        drawMerged(place, next, left, y);
        drawn.merged += next - place;
        place = next;
        continue;
      }
    }
    if (right >= GUTTER || end[bar] === Infinity || outcome[bar] === UNKNOWN) {
      const until = next < stop ? x(call[laneBars[next]]) - 1 : width;
      drawBar(bar, left, Math.max(right, left + 1.5), y, until);
      drawn.bars++;
    }
    place = next;
  }
}
function drawMerged(from, to, left, y) {
  let worst = laneBars[from], marked = false;
  for (let place = from; place < to; place++) {
    const bar = laneBars[place];
    if (outcome[bar] > outcome[worst]) worst = bar;
    marked ||= witness.has(bar) || blocked.has(bar) || bar === selected;
  }
  ctx.fillStyle = marked ? colours.broken : colourOf(worst);
  ctx.globalAlpha = marked ? 1 : 0.7;
  ctx.fillRect(left, marked ? y - 3 : y, 1.5, marked ? BAR + 6 : BAR);
  ctx.globalAlpha = 1;
}
function drawBar(bar, left, right, y, until) {
  const colour = colourOf(bar), w = right - left;
  if (outcome[bar] === UNKNOWN && until > right) {
    const fade = ctx.createLinearGradient(right, 0, Math.min(until, right + 160), 0);
    fade.addColorStop(0, colours.undecided);
    fade.addColorStop(1, "transparent");
    ctx.globalAlpha = 0.4;
    ctx.fillStyle = fade;
    ctx.fillRect(right, y + 3, Math.min(until, right + 160) - right, BAR - 6);
    ctx.globalAlpha = 1;
  }
  ctx.fillStyle = colours.card;
  ctx.fillRect(left, y, w, BAR);
  ctx.fillStyle = colour;
  ctx.globalAlpha = outcome[bar] === FAIL ? 0.12 : w < 4 ? 0.9 : 0.26;
  ctx.fillRect(left, y, w, BAR);
  ctx.globalAlpha = 1;
  const clashes = witness.get(bar), isBlocked = blocked.has(bar);
  ctx.strokeStyle = bar === selected ? colours.ink : clashes || isBlocked ? colours.broken : witness.has(bar) ? colours.ink : colour;
  ctx.lineWidth = bar === selected || clashes || isBlocked ? 2.5 : 1;
  ctx.setLineDash(isBlocked ? [4, 3] : []);
  if (w >= 4 || ctx.lineWidth > 1) ctx.strokeRect(left + 0.5, y + 0.5, Math.max(w - 1, 1), BAR - 1);
  ctx.setLineDash([]);
  if (outcome[bar] === FAIL && w >= 4) ctx.fillRect(left, y + BAR / 2, w, 1);
  const inside = Math.max(left, GUTTER), room = Math.floor((right - inside - 8) / 7.3);
  if (room >= 3) {
    const sign = outcome[bar] === UNKNOWN ? "? " : isBlocked ? "✕ " : "", words = sign + said(bar);
    ctx.fillStyle = outcome[bar] === FAIL ? colours.dim : colours.ink;
    ctx.fillText(words.length > room ? words.slice(0, room - 1) + "…" : words, inside + 4, y + BAR / 2 + 1);
  }
}
/** The longest legal order as a path, each step at the earliest moment that lies in its bar. */
function drawPath(top) {
  if (!explanation || !explanation.steps.length) return;
  const points = [];
  let at = -Infinity;
  for (const [bar, number] of explanation.steps) {
    at = Math.min(Math.max(at, call[bar]), outcome[bar] === OK ? end[bar] : Infinity);
    if (shown[bar]) points.push([x(at), rowOf[laneOf[bar]] * ROW - top + 4 + BAR, number]);
  }
  ctx.strokeStyle = ctx.fillStyle = colours.accent;
  ctx.lineWidth = 1.5;
  ctx.beginPath();
  points.forEach(([px, py], i) => i ? ctx.lineTo(px, py) : ctx.moveTo(px, py));
  ctx.stroke();
  let lastNumber = -Infinity;
  ctx.textAlign = "center";
  for (const [px, py, number] of points) {
    ctx.fillStyle = colours.accent;
    ctx.beginPath();
    ctx.arc(px, py, 3, 0, 7);
    ctx.fill();
    if (px - lastNumber > 22) {
      ctx.fillText(number, px, py - BAR / 2 + 1);
      lastNumber = px;
    }
  }
  ctx.textAlign = "start";
}
function drawName(lane, y) {
  const name = clientNames[clientOf[laneBars[Math.max(placeFrom(lane, view.from + 1) - 1, laneFrom[lane])]]];
  ctx.fillStyle = colours.card;
  ctx.fillRect(0, y - ROW / 2, GUTTER - 1, ROW);
  ctx.fillStyle = colours.ink;
  ctx.fillText(name.length > 13 ? name.slice(0, 12) + "…" : name, 8, y);
}
function drawAxis() {
  ctx.fillStyle = colours.card;
  ctx.fillRect(0, height - AXIS, width, AXIS);
  ctx.fillStyle = colours.rule;
  ctx.fillRect(0, height - AXIS, width, 1);
  ctx.fillStyle = colours.dim;
  const about = (view.to - view.from) / Math.max(1, (width - GUTTER) / 130), power = 10 ** Math.floor(Math.log10(about));
  const step = Math.max(data.timed ? 1e-3 : 1, power * [1, 2, 5, 10].find((n) => n * power >= about));
  for (let at = Math.ceil(view.from / step) * step; at <= view.to; at += step) {
    const px = x(at);
    ctx.fillRect(px, height - AXIS, 1, 5);
    ctx.fillText(moment(at, step), px + 4, height - AXIS / 2 + 1);
  }
}

// ---- The strip: how much happened when, and which stretch is on the chart.

function drawStrip() {
  const canvas = $("strip"), w = $("strip-box").clientWidth, context = sized(canvas, w, STRIP);
  const at = (time) => (time - first) / (last - first) * w;
  if (!strip || strip.length !== w) {
    strip = new Float64Array(w);
    for (let i = 0; i < count; i++) if (shown[i]) strip[Math.min(w - 1, Math.floor(at(call[i])))]++;
  }
  context.clearRect(0, 0, w, STRIP);
  for (const band of data.bands) {
    context.fillStyle = colours["fault-" + band.family];
    context.globalAlpha = 0.2;
    context.fillRect(at(band.from), 0, Math.max(at(band.to ?? last) - at(band.from), 1), STRIP);
  }
  context.globalAlpha = 1;
  const most = Math.max(1, ...strip);
  context.fillStyle = colours.dim;
  for (let px = 0; px < w; px++) {
    const tall = strip[px] ? Math.max(2, strip[px] / most * (STRIP - 14)) : 0;
    context.fillRect(px, STRIP - tall, 1, tall);
  }
  context.fillStyle = colours.broken;
  for (const bar of witness.keys()) context.fillRect(at(call[bar]) - 1, 0, 3, 8);
  const left = at(view.from), right = at(view.to);
  context.fillStyle = colours.accent;
  context.globalAlpha = 0.14;
  context.fillRect(left, 0, right - left, STRIP);
  context.globalAlpha = 1;
  context.fillRect(left, 0, 2, STRIP);
  context.fillRect(right - 2, 0, 2, STRIP);
}
const stripTime = (e) => first + (e.clientX - $("strip-box").getBoundingClientRect().left) / $("strip-box").clientWidth * (last - first);
let brushed = null;
$("strip-box").onpointerdown = (e) => { brushed = stripTime(e); $("strip-box").setPointerCapture(e.pointerId); };
$("strip-box").onpointermove = (e) => { if (brushed !== null) brush(stripTime(e)); };
$("strip-box").onpointerup = (e) => {
  const at = stripTime(e), span = view.to - view.from;
  // A click moves the stretch; a drag marks a new one.
  if (Math.abs(at - brushed) < (last - first) / 200) look(at - span / 2, at + span / 2); else brush(at);
  brushed = null;
};
$("strip-box").onpointercancel = () => { brushed = null; };
function brush(to) { if (Math.abs(to - brushed) >= (last - first) / 200) look(Math.min(brushed, to), Math.max(brushed, to)); }

// ---- Pointing, choosing, moving.

function barAt(px, py) {
  const row = Math.floor((py + lanes.scrollTop - 2) / ROW);
  if (row < 0 || row >= rows.length || px < GUTTER || py > height - AXIS) return -1;
  const lane = rows[row], at = timeAt(px), slack = timeAt(px + 3) - at;
  let place = placeFrom(lane, at + slack) - 1;
  for (let tries = 0; place >= laneFrom[lane] && tries < 3; tries++, place--) {
    const bar = laneBars[place], reach = outcome[bar] === UNKNOWN ? Infinity : end[bar];
    if (reach + slack >= at) return bar;
  }
  return -1;
}
function told(bar) {
  const lines = [clientNames[clientOf[bar]] + ": " + said(bar)];
  lines.push(moment(call[bar], 1e3) + ", " + (end[bar] < Infinity ? endWord(bar) + " after " + lasted(end[bar] - call[bar]) : "never answered"));
  if (node[bar]) lines.push("member " + texts[node[bar] - 1]);
  if (error[bar]) lines.push("error: " + texts[error[bar] - 1]);
  if (stepOf.has(bar)) lines.push("step " + stepOf.get(bar)[0] + ", then " + stepOf.get(bar)[1]);
  if (blocked.has(bar)) lines.push("cannot come next: " + blocked.get(bar));
  lines.push("line " + line[bar] + (endLine[bar] ? " and " + endLine[bar] : "") + ", index " + index[bar]);
  return lines.join("\n");
}
function point(e) {
  const box = lanes.getBoundingClientRect(), frame = $("browser").getBoundingClientRect();
  pointed = barAt(e.clientX - box.left, e.clientY - box.top);
  $("tip").hidden = pointed < 0;
  if (pointed < 0) return;
  $("tip").textContent = told(pointed);
  const left = e.clientX - frame.left, isFar = left > frame.width * 0.6;
  $("tip").style.left = isFar ? "auto" : left + 14 + "px";
  $("tip").style.right = isFar ? frame.width - left + 14 + "px" : "auto";
  $("tip").style.top = e.clientY - frame.top + 18 + "px";
}
function select(bar) {
  selected = bar;
  const list = document.createElement("dl");
  const add = (name, value) => {
    const dt = document.createElement("dt"), dd = document.createElement("dd");
    dt.textContent = name;
    dd.textContent = value;
    list.append(dt, dd);
  };
  if (bar >= 0) {
    add("client", clientNames[clientOf[bar]]);
    add("asked", texts[label[bar]]);
    add(endWord(bar), end[bar] < Infinity ? texts[answer[bar]] : "never answered");
    add("time", moment(call[bar], 1e3) + (end[bar] < Infinity ? " to " + moment(end[bar], 1e3) + ", " + lasted(end[bar] - call[bar]) : ""));
    if (node[bar]) add("member", texts[node[bar] - 1]);
    if (keyFrom[bar + 1] > keyFrom[bar]) add("key", keysOf(bar).join(", "));
    if (error[bar]) add("error", texts[error[bar] - 1]);
    add("lines", "asked on line " + line[bar] + " (index " + index[bar] + ")" + (endLine[bar] ? ", " + endWord(bar) + " on line " + endLine[bar] + " (index " + endIndex[bar] + ")" : ""));
    if (witness.has(bar)) add("witness", witness.get(bar) ? "clashes" : "sets the scene");
    if (stepOf.has(bar)) add("step " + stepOf.get(bar)[0], "leaves " + stepOf.get(bar)[1]);
    if (blocked.has(bar)) add("not next", blocked.get(bar));
    try { history.replaceState(null, "", "#L" + line[bar]); } catch { /* a page from a file may not */ }
  }
  $("details").replaceChildren(...(bar >= 0 ? [list] : []));
  redraw();
}
/** Follows a link to a line of the history. */
function follow() {
  const number = +(/^#L(\d+)$/.exec(location.hash) || [])[1];
  if (!number) return;
  for (let bar = 0; bar < count; bar++) if (line[bar] === number || endLine[bar] === number) {
    if (!shown[bar]) clear();
    select(bar);
    lookAt([bar]);
    showRow(bar);
    $("history-section").scrollIntoView({ block: "start" });
    return;
  }
}

// The same link again changes no address.
document.addEventListener("click", (e) => { if (e.target.closest?.("a")?.getAttribute("href") === location.hash) follow(); });

let grabbed = null;
lanes.onpointerdown = (e) => { if (e.offsetX < width) grabbed = { x: e.clientX, view, moved: false }; };
lanes.onpointermove = (e) => {
  if (!grabbed) return point(e);
  const by = (grabbed.x - e.clientX) / (width - GUTTER) * (grabbed.view.to - grabbed.view.from);
  if (!grabbed.moved && Math.abs(grabbed.x - e.clientX) < 4) return;
  grabbed.moved = true;
  lanes.classList.add("dragging");
  lanes.setPointerCapture(e.pointerId);
  $("tip").hidden = true;
  look(grabbed.view.from + by, grabbed.view.to + by);
};
lanes.onpointerup = (e) => {
  if (grabbed && !grabbed.moved) { point(e); select(pointed); }
  grabbed = null;
  lanes.classList.remove("dragging");
};
lanes.onpointercancel = () => { grabbed = null; lanes.classList.remove("dragging"); };
lanes.onpointerleave = () => { $("tip").hidden = true; };
lanes.onscroll = redraw;
lanes.addEventListener("wheel", (e) => {
  const at = timeAt(e.clientX - lanes.getBoundingClientRect().left);
  // A pinch on a touchpad is a wheel with Ctrl.
  if (e.ctrlKey || e.metaKey || (document.activeElement === lanes && !e.shiftKey && Math.abs(e.deltaY) > Math.abs(e.deltaX))) zoom(Math.exp(e.deltaY * 0.002 * (e.ctrlKey ? 2 : 1)), at);
  else if (e.shiftKey || Math.abs(e.deltaX) > Math.abs(e.deltaY)) {
    const by = (e.deltaX || e.deltaY) / (width - GUTTER) * (view.to - view.from);
    look(view.from + by, view.to + by);
  } else return;
  e.preventDefault();
}, { passive: false });

// Two fingers on the chart.
let pinch = null;
const apart = (e) => Math.hypot(e.touches[0].clientX - e.touches[1].clientX, e.touches[0].clientY - e.touches[1].clientY);
lanes.addEventListener("touchstart", (e) => { if (e.touches.length === 2) { pinch = apart(e); grabbed = null; } }, { passive: true });
lanes.addEventListener("touchmove", (e) => {
  if (!pinch || e.touches.length !== 2) return;
  e.preventDefault();
  zoom(pinch / apart(e));
  pinch = apart(e);
}, { passive: false });
lanes.addEventListener("touchend", () => { pinch = null; });

/** The next bar by time, or the nearest of a neighbouring lane. */
function neighbour(by, rowsBy) {
  if (selected < 0) {
    const places = rows.map((lane) => placeFrom(lane, view.from) < laneFrom[lane + 1] ? laneBars[placeFrom(lane, view.from)] : Infinity);
    const bar = Math.min(...places);
    return bar < Infinity ? bar : -1;
  }
  if (rowsBy) {
    const lane = rows[rowOf[laneOf[selected]] + rowsBy];
    if (lane === undefined) return selected;
    return laneBars[Math.min(placeFrom(lane, call[selected]), laneFrom[lane + 1] - 1)];
  }
  for (let bar = selected + by; bar >= 0 && bar < count; bar += by) if (shown[bar]) return bar;
  return selected;
}
function step(by, rowsBy) {
  const bar = neighbour(by, rowsBy);
  if (bar < 0) return;
  select(bar);
  showRow(bar);
  if (call[bar] < view.from || call[bar] > view.to) { const half = (view.to - view.from) / 2; look(call[bar] - half, call[bar] + half); }
}
lanes.onkeydown = (e) => {
  const quarter = (view.to - view.from) / 4;
  const moves = {
    "+": () => zoom(0.5, selected >= 0 ? call[selected] : undefined), "=": () => zoom(0.5), "-": () => zoom(2), Home: lookAll,
    ArrowLeft: () => e.shiftKey ? look(view.from - quarter, view.to - quarter) : step(-1, 0),
    ArrowRight: () => e.shiftKey ? look(view.from + quarter, view.to + quarter) : step(1, 0),
    ArrowUp: () => step(0, -1), ArrowDown: () => step(0, 1),
    Enter: () => { if (selected >= 0) lookAt([selected]); }, Escape: () => select(-1),
  };
  if (!moves[e.key] || e.ctrlKey || e.altKey || e.metaKey) return;
  e.preventDefault();
  moves[e.key]();
};

// ---- The tools.

function clear() {
  for (const id of ["find", "by-key", "by-lane", "by-f", "by-outcome"]) $(id).value = "";
  press(false);
}
function press(on) {
  onlyWitness = on;
  $("only").setAttribute("aria-pressed", on);
  filter();
}
for (const id of ["find", "by-key", "by-lane", "by-f", "by-outcome"]) $(id).oninput = filter;
$("colour").oninput = redraw;
$("share").oninput = fileAgain;
$("reset").onclick = clear;
$("only").onclick = () => { press(!onlyWitness); if (onlyWitness) lookAt(marked()); };
$("in").onclick = () => zoom(0.5);
$("out").onclick = () => zoom(2);
$("all").onclick = lookAll;
$("table").ontoggle = redraw;

/** The bars that have a part in why it is broken; of a long order the last steps. */
const marked = () => [...witness.keys(), ...blocked.keys(), ...(explanation ? explanation.steps.slice(-12).map(([bar]) => bar) : [])];
function explain(which) {
  explanation = which;
  stepOf = new Map(which ? which.steps.map(([bar, number, state]) => [bar, [number, state]]) : []);
  blocked = new Map(which ? which.blocked : []);
}
for (const button of document.querySelectorAll(".show")) {
  button.hidden = marked().length === 0 && !explanations.length;
  button.onclick = () => {
    explain(explanations[button.dataset.explanation ?? -1]);
    clear();
    lookAt(marked());
    if (marked().length) showRow(marked()[0]);
    $("history-section").scrollIntoView({ block: "start" });
  };
}

function fillTable() {
  const body = $("table").querySelector("tbody"), found = [];
  for (let bar = 0; bar < count && found.length < 200 && call[bar] <= view.to; bar++) if (shown[bar] && end[bar] >= view.from) found.push(bar);
  body.replaceChildren(...found.map((bar) => {
    const row = document.createElement("tr"), link = document.createElement("a");
    link.href = "#L" + line[bar];
    link.textContent = line[bar];
    for (const cell of [link, clientNames[clientOf[bar]], texts[label[bar]], texts[answer[bar]], moment(call[bar], 1e3), lasted(end[bar] - call[bar])]) {
      const td = document.createElement("td");
      td.append(cell);
      row.append(td);
    }
    return row;
  }));
}
/** Words to choose from; of very many the first thousand, the others can be typed. */
function offer(list, words) {
  for (const word of words.slice(0, 1000)) list.append(new Option(word, word));
}

if (count) {
  $("browser").hidden = false;
  readColours();
  explain(explanation);
  $("share").checked = clientNames.length > 40;
  if ($("share").checked) laneOf = shareLanes();
  $("only").hidden = marked().length === 0;
  offer($("all-lanes"), clientNames);
  offer($("all-keys"), [...new Set(keys)].map((key) => texts[key]));
  for (const id of new Set(f)) $("by-f").append(new Option(texts[id], id));
  new ResizeObserver(redraw).observe(lanes);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColours(); redraw(); });
  addEventListener("hashchange", follow);
  // Paper is light.
  let theme;
  const drawFor = (name) => { root.dataset.theme = name; readColours(); draw(); };
  addEventListener("beforeprint", () => { theme = root.dataset.theme || "system"; drawFor("light"); });
  addEventListener("afterprint", () => drawFor(theme));
  filter();
  lookAll();
  if (location.hash) follow();
  requestAnimationFrame(() => requestAnimationFrame(() => performance.mark("interactive")));
}
