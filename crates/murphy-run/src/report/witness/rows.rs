//! The rows of a picture: the clients that set the scene, the members, the clients that found the clash.

use murphy_check::verdict::WitnessLine;

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The client or the member.
    pub name: String,
    /// Which of the two.
    pub kind: Kind,
}

/// What a row is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A client.
    Client,
    /// A member of the system.
    Member,
}

/// The rows from top to bottom, and where each line of the witness belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// The rows.
    pub all: Vec<Row>,
    /// The row of the client of each line.
    pub client_of: Vec<usize>,
    /// The row of the member of each line, where one is known.
    pub member_of: Vec<Option<usize>>,
}

/// More members than this are shown only when they have a part in it.
const ALL_MEMBERS: usize = 5;

/// Lays out the rows of `lines`, where `members` are the system's and `involved` those a witness speaks of
/// besides those asked.
pub fn lay_out(lines: &[WitnessLine], members: &[String], involved: &[String]) -> Rows {
    let clients = clients(lines);
    let (top, bottom) = split(&clients, lines);
    let members = member_rows(lines, members, involved, &top, &clients);

    let mut rows = Vec::new();
    let mut row_of_client = vec![0; clients.len()];
    for client in top {
        row_of_client[client] = rows.len();
        rows.push(Row::client(&clients[client], lines));
    }
    let first_member = rows.len();
    rows.extend(members.iter().map(|name| Row {
        name: name.clone(),
        kind: Kind::Member,
    }));
    for client in bottom {
        row_of_client[client] = rows.len();
        rows.push(Row::client(&clients[client], lines));
    }

    let client_of = (0..lines.len())
        .map(|line| clients.iter().position(|c| c.contains(&line)))
        .map(|client| client.map_or(0, |c| row_of_client[c]))
        .collect();
    let member_of = lines
        .iter()
        .map(|line| {
            let node = line.node.as_ref()?;
            let index = members.iter().position(|m| m == node)?;
            Some(first_member + index)
        })
        .collect();
    Rows {
        all: rows,
        client_of,
        member_of,
    }
}

impl Row {
    fn client(lines_of: &[usize], lines: &[WitnessLine]) -> Self {
        Self {
            name: lines[lines_of[0]].process.clone(),
            kind: Kind::Client,
        }
    }
}

/// Lines by row: those of one client share a row unless they overlap in time.
fn clients(lines: &[WitnessLine]) -> Vec<Vec<usize>> {
    let mut clients: Vec<Vec<usize>> = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let free = |row: &&mut Vec<usize>| {
            row.iter().all(|&other| {
                let other = &lines[other];
                other.process == line.process && !overlap(other, line)
            })
        };
        match clients.iter_mut().find(free) {
            Some(row) => row.push(index),
            None => clients.push(vec![index]),
        }
    }
    clients
}

fn overlap(a: &WitnessLine, b: &WitnessLine) -> bool {
    let end = |line: &WitnessLine| line.end_ns.unwrap_or(u64::MAX);
    a.start_ns < end(b) && b.start_ns < end(a)
}

/// Clients above and below the members. Who only sets the scene is above; when nobody does, the first is.
fn split(clients: &[Vec<usize>], lines: &[WitnessLine]) -> (Vec<usize>, Vec<usize>) {
    let sets_scene = |client: &usize| !lines[clients[*client][0]].clashes;
    let (mut top, mut bottom): (Vec<usize>, Vec<usize>) =
        (0..clients.len()).partition(|client| sets_scene(client));
    if bottom.is_empty() && top.len() > 1 {
        bottom = top.split_off(top.len().div_ceil(2));
    } else if top.is_empty() && bottom.len() > 1 {
        top = bottom.drain(..bottom.len() / 2).collect();
    }
    (top, bottom)
}

/// The members in the order of the system, those asked from above first, so that arrows are short.
fn member_rows(
    lines: &[WitnessLine],
    members: &[String],
    involved: &[String],
    top: &[usize],
    clients: &[Vec<usize>],
) -> Vec<String> {
    let mut asked: Vec<&String> = lines.iter().filter_map(|l| l.node.as_ref()).collect();
    asked.extend(involved);
    if asked.is_empty() {
        return Vec::new();
    }
    let mut shown: Vec<String> = members.to_vec();
    if members.len() > ALL_MEMBERS {
        shown.retain(|m| asked.contains(&m));
    }
    for name in asked {
        if !shown.contains(name) {
            shown.push(name.clone());
        }
    }
    let above: Vec<&String> = top
        .iter()
        .flat_map(|&client| &clients[client])
        .filter_map(|&line| lines[line].node.as_ref())
        .collect();
    shown.sort_by_key(|name| !above.contains(&name));
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(process: &str, node: Option<&str>, start_ns: u64, clashes: bool) -> WitnessLine {
        WitnessLine {
            index: 0,
            line: 1,
            node: node.map(Into::into),
            process: process.into(),
            start_ns,
            end_ns: Some(start_ns + 10),
            label: String::new(),
            answer: String::new(),
            text: String::new(),
            clashes,
        }
    }

    fn names(rows: &Rows) -> Vec<&str> {
        rows.all.iter().map(|l| l.name.as_str()).collect()
    }

    fn three() -> [String; 3] {
        ["n0", "n1", "n2"].map(Into::into)
    }

    #[test]
    fn who_sets_the_scene_is_above_and_who_clashes_below() {
        let lines = [
            line("c17", Some("n1"), 0, false),
            line("c03", Some("n0"), 20, true),
            line("c03", Some("n2"), 40, true),
        ];
        let rows = lay_out(&lines, &three(), &[]);
        assert_eq!(names(&rows), ["c17", "n1", "n0", "n2", "c03"]);
        assert_eq!(rows.client_of, [0, 4, 4]);
        assert_eq!(rows.member_of, [Some(1), Some(2), Some(3)]);
    }

    #[test]
    fn clients_that_all_clash_stand_on_both_sides() {
        let lines = [
            line("a", Some("n0"), 0, true),
            line("b", Some("n1"), 5, true),
        ];
        let rows = lay_out(&lines, &three(), &[]);
        assert_eq!(names(&rows), ["a", "n0", "n1", "n2", "b"]);
    }

    #[test]
    fn one_client_at_two_things_at_once_has_two_lanes() {
        let lines = [line("a", None, 0, true), line("a", None, 5, true)];
        let rows = lay_out(&lines, &three(), &[]);
        assert_eq!(names(&rows), ["a", "a"]);
        assert_eq!(rows.client_of, [0, 1]);
        assert_eq!(rows.member_of, [None, None]);
    }

    #[test]
    fn of_many_members_only_those_with_a_part_are_shown() {
        let members: Vec<String> = (0..9).map(|n| format!("n{n}")).collect();
        let lines = [
            line("a", Some("n7"), 0, true),
            line("a", Some("x"), 20, true),
        ];
        let rows = lay_out(&lines, &members, &["n2".into()]);
        assert_eq!(names(&rows), ["n2", "n7", "x", "a"]);
    }
}
