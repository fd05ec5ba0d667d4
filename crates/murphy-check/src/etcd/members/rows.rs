//! Rows show what each member holds around a contradiction.

use super::{Answer, Ask, MemberRow, Table, each_sighting, op_of};

impl Table<'_> {
    /// What each member holds in the revisions around `revision`.
    pub(super) fn rows(&self, revision: i64) -> Vec<MemberRow> {
        let words = self.words;
        let nodes = words.record.nodes.len();
        let first = revision.saturating_sub(1);
        let mut cells = vec![vec![Vec::new(); nodes]; 3];
        each_sighting(words.record, &mut |id, _, node| {
            let pair = words.pairs.get(id);
            let Ok(row) = usize::try_from(pair.mod_revision.saturating_sub(first)) else {
                return;
            };
            if let Some(cell) = cells
                .get_mut(row)
                .and_then(|row| row.get_mut(usize::from(node)))
            {
                let content = words.content(&pair);
                if !cell.contains(&content) {
                    cell.push(content);
                }
            }
        });
        for (row, cells) in cells.iter_mut().enumerate() {
            let at = first.saturating_add_unsigned(row as u64);
            self.add_acknowledged(at, cells);
        }
        let row = |(row, cells): (usize, Vec<Vec<String>>)| MemberRow {
            what: first.saturating_add_unsigned(row as u64).to_string(),
            cells: words
                .record
                .nodes
                .iter()
                .cloned()
                .zip(cells.iter().map(|contents| cell_text(contents)))
                .collect(),
        };
        let mut rows: Vec<MemberRow> = cells.into_iter().enumerate().map(row).collect();
        rows.retain(|row| row.cells.iter().any(|(_, text)| text != "–"));
        rows.extend(self.hash_row(revision));
        rows
    }

    fn add_acknowledged(&self, revision: i64, cells: &mut [Vec<String>]) {
        let words = self.words;
        for owner in self.truth.timeline.owners(revision) {
            let op = op_of(words.record, owner);
            if let (Some(cell), Ask::Put { key, value, .. }) =
                (cells.get_mut(usize::from(op.node)), words.record.ask(op))
            {
                let content = format!("{} = {}", words.key(key), words.value(value));
                if !cell.contains(&content) {
                    cell.push(content);
                }
            }
        }
    }

    /// The hashes of the members at the first revision from `revision` on at which two differ.
    fn hash_row(&self, revision: i64) -> Option<MemberRow> {
        let record = self.words.record;
        let mut rows: Vec<(i64, Vec<String>)> = Vec::new();
        for op in &record.ops {
            let (Ask::HashKv { revision: asked }, Some(Answer::HashKv { hash, .. })) =
                (record.ask(op), record.answer(op))
            else {
                continue;
            };
            let asked = if asked > 0 { asked } else { op.revision };
            let at = rows
                .iter()
                .position(|(known, _)| *known == asked)
                .unwrap_or_else(|| {
                    rows.push((asked, vec!["–".into(); record.nodes.len()]));
                    rows.len() - 1
                });
            if let Some(cell) = rows[at].1.get_mut(usize::from(op.node)) {
                *cell = format!("{hash:08x}");
            }
        }
        rows.sort_by_key(|(asked, _)| *asked);
        let (asked, cells) = rows.into_iter().find(|(asked, _)| *asked >= revision)?;
        Some(MemberRow {
            what: format!("hash at {asked}"),
            cells: record.nodes.iter().cloned().zip(cells).collect(),
        })
    }
}

fn cell_text(contents: &[String]) -> String {
    match contents.len() {
        0 => "–".into(),
        1..=3 => contents.join(", "),
        more => format!("{} and {} more", contents[..2].join(", "), more - 2),
    }
}
