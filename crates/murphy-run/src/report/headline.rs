//! The headline says the verdict in one sentence, when and how it came about, and the verdict on every
//! promise.

use murphy_check::verdict::Verdict;

use super::html::{escaped, sentence};
use super::words;
use crate::record::RunRecord;
use crate::timeline::{FaultSpan, Pin};
use crate::verdict::{Ending, Promise};

/// The verdict and what decides it, for the title of the page: `BROKEN members-agree`.
pub fn title(record: &RunRecord) -> String {
    let word = record.verdicts.verdict.word().to_uppercase();
    match record.verdicts.deciding().next() {
        Some((promise, _)) if record.verdicts.verdict != Verdict::Held => {
            format!("{word} {promise}")
        }
        _ => word,
    }
}

/// The line above everything: what ran, when, for how long.
pub fn masthead(record: &RunRecord) -> String {
    let what = escaped(&record.request.title());
    let when = escaped(&words::wall_clock(&record.request.started));
    let lasted = words::moment(record.verdicts.duration_ns, 1);
    format!(
        r#"<header class="masthead">
  <b>murphy</b>
  <span class="dim">{what} · {when} · {lasted}</span>
  <button type="button" id="theme" aria-label="Theme: system" hidden>◐ system</button>
</header>"#
    )
}

/// The verdict.
pub fn section(record: &RunRecord) -> String {
    let class = record.verdicts.verdict.word();
    let (strong, rest) = sentences(record);
    let (strong, rest) = (sentence(&strong), sentence(&rest));
    let lede = lede(record);
    let notices: String = notices(record).iter().map(|n| notice(n)).collect();
    let promises: String = record
        .verdicts
        .promises
        .iter()
        .map(|(name, promise)| card(name, promise, record.verdicts.is_selected(name)))
        .collect();
    let list = match record.verdicts.promises.len() {
        0 => String::new(),
        cards => format!(
            r#"  <ul class="promises" style="--columns:{}" aria-label="Promises">
{promises}  </ul>
"#,
            columns(cards)
        ),
    };
    format!(
        r#"<section class="verdict {class}" aria-label="Verdict">
  <h1><strong>{strong}</strong> {rest}</h1>
{lede}{notices}{list}</section>
"#
    )
}

/// So many cards in a row that the rows come out even.
fn columns(cards: usize) -> usize {
    match cards {
        0..=4 => cards.max(1),
        5 | 6 | 9 => 3,
        _ => 4,
    }
}

/// The verdict, and what it means.
pub(super) fn sentences(record: &RunRecord) -> (String, String) {
    let verdicts = &record.verdicts;
    match verdicts.verdict {
        Verdict::Held => held(record),
        Verdict::Broken => match verdicts.deciding().next() {
            Some((name, promise)) => {
                let rest = promise.sentence.as_ref().unwrap_or(&promise.reason);
                (format!("BROKEN: {}.", broken(name)), words::full_stop(rest))
            }
            None => ("BROKEN.".into(), String::new()),
        },
        Verdict::Undecided => undecided(record),
    }
}

fn held(record: &RunRecord) -> (String, String) {
    let promises: Vec<&str> = record.verdicts.deciding().map(|(name, _)| name).collect();
    let strong = match promises[..] {
        [] => "HELD.".into(),
        [one] => format!("HELD: {one}."),
        [one, two] => format!("HELD: {one} and {two}."),
        _ => format!("HELD: all {} promises.", words::number_word(promises.len())),
    };
    let vacuity = &record.verdicts.vacuity;
    let faults = words::counted(vacuity.faults, "fault");
    let rest = match vacuity.operations {
        0 => format!("But there were no operations and {faults}."),
        operations => format!(
            "{} and {faults}, nothing lost, nothing contradicted.",
            words::counted(operations, "operation")
        ),
    };
    (strong, rest)
}

fn undecided(record: &RunRecord) -> (String, String) {
    let mut promises: Vec<&str> = record.verdicts.deciding().map(|(name, _)| name).collect();
    if promises.is_empty() {
        promises = record
            .verdicts
            .selected
            .iter()
            .map(String::as_str)
            .collect();
    }
    let so = match promises[..] {
        [] => "so the run says nothing.".into(),
        _ => format!("so {} could not be judged.", words::and(&promises)),
    };
    let reason = match &record.verdicts.ending {
        Ending::Stopped { reason } => reason.clone(),
        _ => match record.verdicts.deciding().next() {
            Some((_, promise)) => promise.reason.clone(),
            None => "not everything was judged".into(),
        },
    };
    (format!("UNDECIDED: {},", reason.trim_end_matches('.')), so)
}

/// What it means that a promise is broken; its name where no better words are known.
fn broken(promise: &str) -> String {
    let words = match promise {
        "members-agree" => "members disagree",
        "linearizable" => "no order explains the answers",
        "durable" => "an acknowledged write is lost",
        "serializable-reads" => "a read saw what never was",
        "watch.filter" | "kubernetes.watch-prefix" => "a watch told of a key that nobody asked for",
        "watch.ordered" => "a watch went back in time",
        "watch.unique" => "a watch told an event twice",
        "watch.atomic" => "a watch tore a revision apart",
        "watch.bookmarkable" | "kubernetes.bookmark" => "a bookmark vouched for what had not come",
        "watch.resumable" => "a resumed watch left an event out",
        "watch.is-create" => "a watch took a change for a creation, or the reverse",
        "watch.reliable" | "kubernetes.watch-reliable" => "a watch left an event out",
        "watch.prev-kv" => "a watch told of a previous pair that never was",
        "watch.live" => "a watch fell silent",
        "watch.progress" => "a watch owes its bookmarks",
        "watch.cancel-reason" => "a watch and a compaction do not agree",
        "watch.future" => "a watch began before its start",
        "lease.expiry" => "a lease and its keys parted",
        "kubernetes.strict-serializability" => "no order explains the answers of one resource type",
        "kubernetes.resource-version" => "resource versions do not follow the changes",
        "kubernetes.optimistic-write" => "an optimistic write took the wrong branch",
        "kubernetes.exact-revision" => "a read of a revision saw another",
        "kubernetes.paged-list" => "the pages of a list do not fit",
        "kubernetes.list-watch" => "a watch does not go on where its list ended",
        "kubernetes.watch-order" => "a watch told events out of order",
        "kubernetes.watch-event" => "a watch told an event wrongly",
        "kubernetes.compaction" => "what was compacted was read",
        other => return format!("`{other}` does not hold"),
    };
    words.into()
}

/// When it was found, and how the run ended.
fn lede(record: &RunRecord) -> String {
    let mut text: Vec<String> = Vec::new();
    let verdicts = &record.verdicts;
    if verdicts.verdict == Verdict::Broken {
        text.extend(first_pin(record).map(|pin| found(record, pin)));
        match verdicts.ending {
            Ending::FirstBroken => text.push("The run ended with it.".into()),
            Ending::Completed => text.push("The run went on to its end.".into()),
            Ending::Interrupted | Ending::Stopped { .. } => {}
        }
        let others: Vec<String> = verdicts
            .deciding()
            .skip(1)
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        if !others.is_empty() {
            text.push(format!("Also broken: {}.", words::and(&others)));
        }
    }
    if text.is_empty() {
        return String::new();
    }
    format!("  <p>{}</p>\n", sentence(&text.join(" ")))
}

fn first_pin(record: &RunRecord) -> Option<&Pin> {
    let (name, _) = record.verdicts.deciding().next()?;
    let mut pins = record.timeline.pins.iter();
    pins.find(|pin| pin.promise == name && pin.verdict == Verdict::Broken)
}

fn found(record: &RunRecord, pin: &Pin) -> String {
    let at = words::moment(pin.at_ns, 1);
    let mut faults = record.timeline.faults.iter();
    match faults.rfind(|f| f.start_ns <= pin.at_ns) {
        Some(fault) => format!(
            "Found at {at}, {} after {}.",
            words::lasted(pin.at_ns - fault.start_ns),
            deed(fault)
        ),
        None => format!("Found at {at}."),
    }
}

/// What a fault did: `n2 was killed`; its title where no better word is known.
fn deed(fault: &FaultSpan) -> String {
    let verb = match fault.fault.as_str() {
        "kill" => "killed",
        "term" => "terminated",
        "pause" => "paused",
        "skew" => "skewed",
        _ => return fault.title(),
    };
    let was = if fault.targets.len() == 1 {
        "was"
    } else {
        "were"
    };
    format!("{} {was} {verb}", words::and(&fault.targets))
}

/// What a reader must not miss.
fn notices(record: &RunRecord) -> Vec<String> {
    let verdicts = &record.verdicts;
    let at = words::moment(verdicts.duration_ns, 1);
    let mut notices = Vec::new();
    match &verdicts.ending {
        Ending::Interrupted => notices.push(format!(
            "Interrupted at {at}: this report covers what was seen until then."
        )),
        Ending::Stopped { reason } => {
            notices.push(words::full_stop(&format!("Stopped at {at}: {reason}")));
        }
        Ending::Completed | Ending::FirstBroken => {}
    }
    if !verdicts.cleanup.is_complete() {
        notices.push(format!(
            "Clean-up is incomplete, {} of {} undone: `murphy recover --all` ends what is left.",
            verdicts.cleanup.undone,
            words::counted(verdicts.cleanup.injections, "injection")
        ));
    }
    notices
}

fn notice(text: &str) -> String {
    format!("  <p class=\"notice\">{}</p>\n", sentence(text))
}

fn card(name: &str, promise: &Promise, selected: bool) -> String {
    let word = promise.verdict.word();
    let aside = if selected {
        ""
    } else {
        " <span class=\"dim\">· does not decide</span>"
    };
    format!(
        r#"    <li class="{word}"><code>{}</code><span class="verdict-word">{word}</span>{aside} <span class="reason">{}</span></li>
"#,
        escaped(name),
        sentence(&promise.reason)
    )
}

#[cfg(test)]
mod tests {
    use super::broken;

    #[test]
    fn every_promise_of_etcd_has_words() {
        for promise in murphy_check::etcd::PROMISES {
            assert!(!broken(promise).contains('`'), "{promise}");
        }
    }
}
