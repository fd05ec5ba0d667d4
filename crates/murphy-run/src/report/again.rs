//! What it takes to run it again: the command, the machine, the files.

use serde_json::Value;

use super::html::{escaped, link};
use super::words;
use crate::folder::RunFile;
use crate::record::RunRecord;

/// The command to repeat the run, the facts about it and the files of its folder.
pub fn section(record: &RunRecord) -> String {
    let command = escaped(&record.request.command_line());
    let seed = record.request.seed;
    let facts: String = facts(record).iter().map(fact).collect();
    let files = files(&record.files);
    format!(
        r#"<section aria-labelledby="again">
  <h2 id="again">Run it again</h2>
  <p>Everything random came from seed {seed}. The faults repeat exactly; the interleaving is the machine's.</p>
  <div class="card again"><pre id="command">{command}</pre>
    <button type="button" id="copy" hidden>Copy</button></div>
  <div class="two">
    <dl class="card facts">
{facts}    </dl>
    <ul class="card files" aria-label="Files of this run">
{files}    </ul>
  </div>
</section>
"#
    )
}

/// Who wrote the page, and how to judge the history again.
pub fn footer(record: &RunRecord) -> String {
    format!(
        "<footer>Written by <code>murphy {}</code>. This file needs nothing else to be read. To judge the \
         history again: <code>murphy check history.jsonl --model {}</code></footer>",
        escaped(&record.request.verb),
        escaped(&record.request.model)
    )
}

/// A name and what it is, the latter as HTML.
type Fact = (&'static str, String);

fn facts(record: &RunRecord) -> Vec<Fact> {
    let request = &record.request;
    let machine = &request.machine;
    let system = match &request.system_version {
        Some(version) => format!("{} {version}", request.system),
        None => request.system.clone(),
    };
    let nodes = words::counted(request.nodes.len() as u64, "node");
    let mut facts = vec![("system", escaped(&format!("{system}, {nodes}")))];
    let options: Vec<String> = request.options.iter().filter_map(option).collect();
    if !options.is_empty() {
        facts.push(("options", escaped(&options.join(" · "))));
    }
    let cores = words::counted(machine.cores, "core");
    let memory = words::memory(machine.memory_bytes);
    facts.extend([
        ("kernel", escaped(&machine.kernel)),
        ("machine", escaped(&format!("{cores}, {memory}"))),
        ("murphy", escaped(&machine.murphy)),
        ("seed", format!("<code>{}</code>", request.seed)),
        ("clean-up", cleanup(record)),
    ]);
    facts
}

/// An option in the fewest words; `None` for one that is off or empty.
fn option((name, value): (&String, &Value)) -> Option<String> {
    let text = match value {
        Value::Null | Value::Bool(false) => return None,
        Value::Object(values) if values.is_empty() => return None,
        Value::Bool(true) => return Some(name.clone()),
        Value::String(text) => text.clone(),
        Value::Array(values) => {
            let parts = values.iter().map(|v| match v {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            });
            parts.collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    };
    (!text.is_empty()).then(|| format!("{name} {text}"))
}

fn cleanup(record: &RunRecord) -> String {
    let cleanup = &record.verdicts.cleanup;
    let undone = format!(
        "{} of {} undone",
        cleanup.undone,
        words::counted(cleanup.injections, "injection")
    );
    if cleanup.is_complete() {
        let undone = match cleanup.injections {
            0 => "no injections".into(),
            _ => undone,
        };
        format!(r#"<span class="verdict-word held">complete</span>: {undone}, nothing left"#)
    } else {
        let left = match &cleanup.left[..] {
            [] => String::new(),
            left => format!(", left: {}", escaped(&left.join("; "))),
        };
        format!(r#"<span class="verdict-word broken">incomplete</span>: {undone}{left}"#)
    }
}

fn fact((name, value): &Fact) -> String {
    format!("      <dt>{name}</dt><dd>{value}</dd>\n")
}

fn files(files: &[RunFile]) -> String {
    let (logs, others): (Vec<&RunFile>, Vec<&RunFile>) =
        files.iter().partition(|f| f.name.starts_with("nodes/"));
    let mut html: String = others.iter().map(|f| file(f)).collect();
    if !logs.is_empty() {
        let bytes = logs.iter().map(|f| f.bytes).sum();
        let links: Vec<String> = logs.iter().map(|f| file_link(&f.name)).collect();
        html.push_str(&entry(&links.join(" "), "what the nodes said", bytes));
    }
    html
}

fn file(file: &RunFile) -> String {
    let what = match file.name.as_str() {
        "history.jsonl" => "every question and answer",
        "events.jsonl" => "faults, nodes, verdicts over time",
        "series.json" => "throughput and latency",
        "verdict.json" => "for machines",
        "run.json" => "what was asked for",
        _ => "",
    };
    entry(&file_link(&file.name), what, file.bytes)
}

fn file_link(name: &str) -> String {
    let short = name.rsplit('/').next().unwrap_or(name);
    format!(
        r#"<a href="{}"><code>{}</code></a>"#,
        escaped(&link(name)),
        escaped(short)
    )
}

fn entry(links: &str, what: &str, bytes: u64) -> String {
    format!(
        "      <li><span>{links}</span><span class=\"dim\">{what} · {}</span></li>\n",
        words::bytes(bytes)
    )
}
