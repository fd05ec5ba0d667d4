//! The section of the whole history, which the page's script fills.

use super::super::{
    scene::Scene,
    text::{count, counted},
};

/// The frame of it, for a page that holds so many bars.
pub fn section(scene: &Scene, bars: usize) -> String {
    if scene.bars.is_empty() {
        return "<section><h2>The whole history</h2><p>It has no invocations.</p></section>\n"
            .into();
    }
    let part = if bars < scene.bars.len() {
        format!(
            " This page holds {} of {} invocations, those around the witness.",
            count(bars as u64),
            count(scene.bars.len() as u64)
        )
    } else {
        String::new()
    };
    format!(
        r#"<section aria-labelledby="history" id="history-section">
  <h2 id="history">The whole history</h2>
  <p>Every client has a lane. Drag to move, or mark a stretch on the strip; click an invocation to see all of it.{part}</p>
  <noscript><p class="notice">To draw {operations}, the page needs its script. The verdict and the witness above do not.</p></noscript>
  <div class="card" id="browser" hidden>
{tools}    <div id="strip-box"><canvas id="strip" aria-hidden="true"></canvas></div>
    <div id="lanes" tabindex="0" role="application" aria-label="Timeline of the history" aria-describedby="keys"><div id="room"></div><canvas id="chart"></canvas></div>
    <div id="tip" hidden></div>
    <p class="dim" id="keys"><kbd>+</kbd> <kbd>−</kbd> zoom, also the wheel with <kbd>Ctrl</kbd> or after a click · <kbd>Shift</kbd> <kbd>←</kbd> <kbd>→</kbd> move · <kbd>←</kbd> <kbd>→</kbd> <kbd>↑</kbd> <kbd>↓</kbd> choose an invocation · <kbd>Enter</kbd> zoom to it · <kbd>Home</kbd> everything</p>
    <div id="details" aria-live="polite"></div>
    <details id="table"><summary>In view, as a table</summary><div class="scroll"><table>
      <thead><tr><th>line</th><th>client</th><th>asked</th><th>answered</th><th>at</th><th>took</th></tr></thead><tbody></tbody></table></div></details>
  </div>
</section>
"#,
        operations = counted(scene.bars.len() as u64, "invocation"),
        tools = TOOLS,
    )
}

const TOOLS: &str = r#"    <div class="tools" role="search" aria-label="Filter">
      <label>find <input type="search" id="find" placeholder="value, error, client" autocomplete="off"></label>
      <label>key <input type="search" id="by-key" list="all-keys" size="8" autocomplete="off"></label><datalist id="all-keys"></datalist>
      <label>client <input type="search" id="by-lane" list="all-lanes" size="8" autocomplete="off"></label><datalist id="all-lanes"></datalist>
      <label>f <select id="by-f"><option value="">all</option></select></label>
      <label>outcome <select id="by-outcome"><option value="">all</option><option value="0">ok</option><option value="1">failed</option><option value="2">unknown</option></select></label>
      <label>colour <select id="colour"><option value="outcome">by outcome</option><option value="f">by f</option><option value="node">by member</option><option value="key">by key</option></select></label>
      <button type="button" id="only" aria-pressed="false" hidden>only the witness</button>
      <button type="button" id="reset">clear</button>
    </div>
    <div class="tools">
      <button type="button" id="in" aria-label="Zoom in">+</button>
      <button type="button" id="out" aria-label="Zoom out">−</button>
      <button type="button" id="all">everything</button>
      <label><input type="checkbox" id="share"> clients that follow each other share a lane</label>
      <output id="count" aria-live="polite"></output>
    </div>
"#;
