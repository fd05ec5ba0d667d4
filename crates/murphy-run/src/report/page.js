const $ = (id) => document.getElementById(id), root = document.documentElement;

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
for (const id of ["theme", "copy"]) $(id).hidden = false;
