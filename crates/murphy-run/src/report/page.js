const $ = (id) => document.getElementById(id), root = document.documentElement;

// What needs a script is shown by the script.
for (const id of ["theme", "copy", "tools"]) if ($(id)) $(id).hidden = false;

// Theme: system, light, dark, in turn; remembered where storage is allowed.
const themes = ["system", "light", "dark"];
const paint = (name) => { root.dataset.theme = name; $("theme").textContent = "◐ " + name; $("theme").ariaLabel = "Theme: " + name; try { localStorage.theme = name; } catch {} };
let stored; try { stored = localStorage.theme; } catch {}
if (themes.includes(stored)) paint(stored);
$("theme").onclick = () => paint(themes[(themes.indexOf(root.dataset.theme || "system") + 1) % 3]);

$("copy").onclick = async () => {
  try { await navigator.clipboard.writeText($("command").textContent); $("copy").textContent = "Copied"; }
  catch { getSelection().selectAllChildren($("command")); $("copy").textContent = "Selected"; }
  setTimeout(() => { $("copy").textContent = "Copy"; }, 2000);
};

// What is shown on the timeline.
for (const button of document.querySelectorAll("[data-show]")) button.onclick = () => {
  const on = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", on);
  for (const part of $("tracks").querySelectorAll("." + button.dataset.show)) part.hidden = !on;
};

// The reading line: pointer or arrow keys.
const { duration, step, rate, p99, faults } = JSON.parse($("series").textContent);
const tracks = $("tracks"), line = $("crosshair"), decimals = step < 0.1 ? 2 : 1;
let now = 0;
function read(at) {
  now = Math.min(duration, Math.max(0, at));
  const i = Math.min(rate.length - 1, Math.floor(now / step));
  const latency = p99[i] == null ? "no answers" : "p99 " + p99[i].toLocaleString("en") + " ms";
  const acting = faults.filter(([from, to]) => now >= from - step / 2 && now <= to + step / 2).map(([, , name]) => name);
  line.hidden = false;
  line.style.left = now / duration * 100 + "%";
  line.classList.toggle("left", now > 0.6 * duration);
  const figures = i < 0 ? [] : [rate[i].toLocaleString("en") + " ops/s, " + latency];
  $("reading").textContent = [now.toFixed(decimals) + " s", ...figures, ...acting].join("\n");
}
tracks.onpointermove = (e) => { const box = tracks.getBoundingClientRect(); if (e.clientX >= box.left) read((e.clientX - box.left) / box.width * duration); };
tracks.onpointerleave = () => { line.hidden = true; };
tracks.onblur = tracks.onpointerleave;
tracks.onkeydown = (e) => {
  const by = { ArrowLeft: -step, ArrowRight: step, Home: -duration, End: duration }[e.key];
  if (by) { e.preventDefault(); read(now + by); }
};
for (const pin of document.querySelectorAll(".pin")) pin.onfocus = () => {
  read(+pin.style.getPropertyValue("--at"));
  $("reading").textContent = pin.title;
};
