//! The witness of a broken promise: a picture, the same in sentences, and what each member holds.

mod axis;
mod picture;
mod rows;
mod story;

use murphy_check::verdict::{MemberRow, Verdict};

use super::html::{escaped, sentence};
use super::words;
use crate::record::RunRecord;
use crate::verdict::Promise;
use story::Story;

/// One section for each broken promise that has a witness, those that decide the verdict first.
pub fn sections(record: &RunRecord) -> String {
    let verdicts = &record.verdicts;
    let mut broken: Vec<&(String, Promise)> = verdicts
        .promises
        .iter()
        .filter(|(_, p)| p.verdict == Verdict::Broken && !p.witness.is_empty())
        .collect();
    broken.sort_by_key(|(name, _)| !verdicts.is_selected(name));
    let alone = broken.len() == 1;
    broken
        .iter()
        .enumerate()
        .map(|(number, (name, promise))| {
            let heading = if alone {
                "Witness".into()
            } else {
                format!("Witness against <code>{}</code>", escaped(name))
            };
            section(record, promise, number + 1, &heading)
        })
        .collect()
}

fn section(record: &RunRecord, promise: &Promise, number: usize, heading: &str) -> String {
    let story = Story::of(promise, &record.timeline);
    let picture = picture::draw(&story, record, promise);
    let sentences = story.sentences();
    let cut = if picture.is_cut {
        "The axis keeps the order, not the scale; it is cut where nothing bears on the witness."
    } else {
        "The axis keeps the order, not the scale."
    };
    let table = members(&promise.members);
    format!(
        r#"<section aria-labelledby="witness-{number}">
  <h2 id="witness-{number}">{heading}</h2>
  <p>{lede}</p>
  <figure class="card">
{picture}    <ol class="sentences">
{sentences}    </ol>
    <p class="because dim">{cut}</p>
{table}  </figure>
</section>
"#,
        lede = lede(record, promise, &story),
        picture = picture.html,
    )
}

fn lede(record: &RunRecord, promise: &Promise, story: &Story<'_>) -> String {
    let lines = promise.witness.len();
    let operations = record.verdicts.vacuity.operations;
    let of_all = if operations > lines as u64 {
        format!("{lines} of {} operations", words::count(operations))
    } else {
        words::counted(lines as u64, "operation")
    };
    let faults = match story.faults() {
        0 => String::new(),
        faults => format!(" and {}", words::counted(faults, "fault")),
    };
    let confirmed = match promise.confirmed {
        Some(true) => ", confirmed by a second, independent checker",
        Some(false) => "; a second, independent checker did not confirm it",
        None => "",
    };
    sentence(&format!(
        "The smallest part of the history that cannot be true: {of_all}{faults}{confirmed}."
    ))
}

/// The table of what each member holds; nothing without rows.
fn members(rows: &[MemberRow]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in rows.iter().flat_map(|row| &row.cells) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    if names.is_empty() {
        return String::new();
    }
    let head: String = names.iter().map(|name| head_cell(name)).collect();
    let body: String = rows.iter().map(|row| member_row(row, &names)).collect();
    format!(
        r#"    <div class="scroll" tabindex="0" role="region" aria-label="Revisions, member by member">
    <table class="revisions">
      <thead><tr><th>revision</th>{head}</tr></thead>
      <tbody>
{body}      </tbody>
    </table></div>
"#
    )
}

fn head_cell(name: &str) -> String {
    format!("<th>{}</th>", escaped(name))
}

fn member_row(row: &MemberRow, names: &[&str]) -> String {
    let outliers = outliers(row);
    let cells: String = names
        .iter()
        .map(|name| {
            let cell = row.cells.iter().find(|(of, _)| of == name);
            match cell {
                Some((of, text)) if outliers.contains(&of.as_str()) => format!(
                    r#"<td class="differs"><code>{}</code><span class="hidden-text"> (differs)</span></td>"#,
                    escaped(text)
                ),
                Some((_, text)) => format!("<td><code>{}</code></td>", escaped(text)),
                None => "<td></td>".into(),
            }
        })
        .collect();
    format!("        <tr><th>{}</th>{cells}</tr>\n", escaped(&row.what))
}

/// The members that do not say what most say; all of them when there is no most.
fn outliers(row: &MemberRow) -> Vec<&str> {
    let votes = |text: &str| row.cells.iter().filter(|(_, t)| t == text).count();
    let most = row.cells.iter().map(|(_, t)| votes(t)).max().unwrap_or(0);
    let mut leaders: Vec<&str> = row
        .cells
        .iter()
        .filter(|(_, t)| votes(t) == most)
        .map(|(_, t)| t.as_str())
        .collect();
    leaders.dedup();
    let agreed = match leaders[..] {
        [one] => Some(one),
        _ => None,
    };
    row.cells
        .iter()
        .filter(|(_, t)| Some(t.as_str()) != agreed)
        .map(|(name, _)| name.as_str())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_that_differ_from_most_are_marked() {
        for (cells, marked) in [
            (vec!["a", "a", "b"], vec!["n2"]),
            (vec!["b", "a", "a"], vec!["n0"]),
            (vec!["a", "b", "a"], vec!["n1"]),
            (vec!["a", "a", "a"], vec![]),
            (vec!["a", "b"], vec!["n0", "n1"]),
            (vec!["a", "b", "a", "b"], vec!["n0", "n1", "n2", "n3"]),
            (vec!["a", "b", "c"], vec!["n0", "n1", "n2"]),
            (
                vec!["a", "a", "b", "b", "c"],
                vec!["n0", "n1", "n2", "n3", "n4"],
            ),
            (vec![], vec![]),
        ] {
            let cells = (0..).zip(&cells);
            let row = MemberRow {
                what: "4017".into(),
                cells: cells.map(|(n, t)| (format!("n{n}"), (*t).into())).collect(),
            };
            assert_eq!(outliers(&row), marked, "{row:?}");
        }
    }
}
