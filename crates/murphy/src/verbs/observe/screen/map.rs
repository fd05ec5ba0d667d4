//! A service map in letters: whoever asks on the left, whoever is asked on the right, what is wrong on the lines between them;
//! where there is no room for that, a line for each link, the wrong ones first.

use murphy_observe::map::{Layout, Link, Role, ServiceMap, State};
use ratatui::{
    style::Style,
    text::{Line, Span},
};

use super::ink::Ink;

/// It has no more lines.
const LINES_MAX: usize = 12;
/// A name has no more letters.
const NAME_MAX: usize = 28;
/// There are at least so many letters between two layers, and no more than so many.
const GAP: (usize, usize) = (9, 34);

/// Draws a map on so many lines at most. `when` says a time as people read it.
pub fn lines(
    map: &ServiceMap,
    ink: Ink,
    width: usize,
    height: usize,
    when: &dyn Fn(u64) -> String,
) -> Vec<Line<'static>> {
    if height == 0 {
        return Vec::new();
    }
    match Canvas::of(map, ink, width, height) {
        Some(canvas) => canvas.lines(),
        None => list(map, ink, height, when),
    }
}

/// How many lines it has use for on a screen of so many columns.
pub fn most(map: &ServiceMap, width: usize) -> usize {
    let lines = match Canvas::of(map, Ink::new(false), width, usize::MAX) {
        Some(canvas) => canvas.rows.len(),
        None => map.links.len(),
    };
    lines.min(LINES_MAX)
}

fn style_of(state: State, ink: Ink) -> Style {
    match state {
        State::Wrong => ink.wrong(),
        State::WasWrong => ink.was(),
        State::Ok => Style::new(),
        State::Silent => ink.dim(),
    }
}

/// Each link in a line.
fn list(
    map: &ServiceMap,
    ink: Ink,
    height: usize,
    when: &dyn Fn(u64) -> String,
) -> Vec<Line<'static>> {
    let line = |link: &Link| {
        let (from, to) = (
            cut(&map.nodes[link.from].name),
            cut(&map.nodes[link.to].name),
        );
        let mut text = match link.wrongs.first().filter(|wrong| !wrong.is_over) {
            Some(wrong) => {
                let (way, since) = (map.way(link, wrong.way), when(wrong.since_ns));
                format!("✕ {from} ━━▶ {to}  {}, {way}, since {since}", wrong.title())
            }
            None => format!("  {from} ──▶ {to}"),
        };
        if link.state == State::Silent {
            text.push_str("  insufficient traffic");
        }
        Line::styled(text, style_of(link.state, ink))
    };
    let mut lines: Vec<Line> = map.links.iter().take(height).map(line).collect();
    let left = map.links.len().saturating_sub(height);
    if left > 0 && height > 1 {
        lines.pop();
        lines.push(Line::styled(format!("  and {} more", left + 1), ink.dim()));
    }
    lines
}

/// A name in so many letters as there is room for: its end tells more than its middle.
fn cut(name: &str) -> String {
    let count = name.chars().count();
    if count <= NAME_MAX {
        return name.to_owned();
    }
    let head: String = name.chars().take(NAME_MAX / 2 - 1).collect();
    let tail: String = name.chars().skip(count - NAME_MAX / 2).collect();
    format!("{head}…{tail}")
}

/// Where a line goes to from a letter.
const UP: u8 = 1;
const RIGHT: u8 = 2;
const DOWN: u8 = 4;
const LEFT: u8 = 8;

/// Letters, and where lines go through them.
struct Canvas {
    rows: Vec<Vec<Letter>>,
}

#[derive(Clone, Copy)]
struct Letter {
    ways: u8,
    text: char,
    style: Style,
    is_heavy: bool,
}

const BLANK: Letter = Letter {
    ways: 0,
    text: ' ',
    style: Style::new(),
    is_heavy: false,
};

impl Canvas {
    /// None where there is no room, or a link would go through a node.
    fn of(map: &ServiceMap, ink: Ink, width: usize, height: usize) -> Option<Self> {
        let layout = Layout::of(map);
        let layer = |node: usize| layout.places[node].layer;
        let is_next = |link: &Link| layer(link.to) == layer(link.from) + 1;
        if layout.layers < 2 || layout.rows > height || !map.links.iter().all(is_next) {
            return None;
        }
        let mut widths = vec![0; layout.layers];
        let names: Vec<String> = map.nodes.iter().map(|node| cut(&node.name)).collect();
        for (node, name) in names.iter().enumerate() {
            widths[layer(node)] = widths[layer(node)].max(name.chars().count());
        }
        let gaps = layout.layers - 1;
        let gap = (width.checked_sub(widths.iter().sum::<usize>())? / gaps).min(GAP.1);
        if gap < GAP.0 {
            return None;
        }
        let columns: Vec<usize> = (0..layout.layers)
            .map(|layer| widths[..layer].iter().sum::<usize>() + layer * gap)
            .collect();
        let row = |node: usize| {
            let place = layout.places[node];
            (layout.rows - place.of) / 2 + place.row
        };
        let mut canvas = Self {
            rows: vec![vec![BLANK; width]; layout.rows],
        };
        for link in map.links.iter().rev() {
            let from_x = columns[layer(link.from)] + names[link.from].chars().count() + 1;
            let to_x = columns[layer(link.to)] - 2;
            // Lines part where one asks many, and meet where many ask one: there is room for words on the other side.
            let parts = map.links.iter().filter(|one| one.from == link.from).count();
            let meets = map.links.iter().filter(|one| one.to == link.to).count();
            let begin = columns[layer(link.from)] + widths[layer(link.from)];
            let turn = if parts >= meets { begin + 2 } else { to_x - 2 };
            canvas.link(
                link,
                [from_x, turn, to_x],
                [row(link.from), row(link.to)],
                style_of(link.state, ink),
            );
        }
        for (node, name) in names.iter().enumerate() {
            let style = match map.nodes[node].role {
                Role::Target => ink.head(),
                Role::Peer => Style::new(),
                Role::Others => ink.dim(),
            };
            canvas.write(columns[layer(node)], row(node), name, style);
        }
        Some(canvas)
    }

    fn link(&mut self, link: &Link, x: [usize; 3], y: [usize; 2], style: Style) {
        let [from_x, turn, to_x] = x;
        let [from_y, to_y] = y;
        let is_heavy = link.state == State::Wrong;
        let mut go = |x: usize, y: usize, ways: u8| {
            if let Some(letter) = self.rows.get_mut(y).and_then(|row| row.get_mut(x)) {
                letter.ways |= ways;
                letter.style = style;
                letter.is_heavy = is_heavy;
            }
        };
        for x in from_x..turn {
            go(x, from_y, LEFT | RIGHT);
        }
        go(turn, from_y, LEFT);
        go(turn, to_y, RIGHT);
        let (top, bottom) = (from_y.min(to_y), from_y.max(to_y));
        for y in top..bottom {
            go(turn, y, DOWN);
            go(turn, y + 1, UP);
        }
        for x in turn + 1..to_x {
            go(x, to_y, LEFT | RIGHT);
        }
        self.write(to_x, to_y, "▶", style);
        let Some(wrong) = link.wrongs.first() else {
            return;
        };
        let (start, end, y) = if to_x - turn >= turn - from_x {
            (turn + 1, to_x, to_y)
        } else {
            (from_x, turn, from_y)
        };
        let words = match (wrong.is_over, link.wrongs.len()) {
            (true, _) => format!(" was {} ", wrong.title().to_lowercase()),
            (false, 1) => format!(" ✕ {} ", wrong.title()),
            (false, count) => format!(" ✕ {} +{} ", wrong.title(), count - 1),
        };
        let room = end.saturating_sub(start);
        let count = words.chars().count();
        if count + 2 <= room {
            self.write(start + (room - count) / 2, y, &words, style);
        } else if !wrong.is_over {
            self.write(start + room / 2, y, "✕", style);
        }
    }

    fn write(&mut self, x: usize, y: usize, text: &str, style: Style) {
        let Some(row) = self.rows.get_mut(y) else {
            return;
        };
        for (letter, text) in row.iter_mut().skip(x).zip(text.chars()) {
            *letter = Letter {
                text,
                style,
                ..BLANK
            };
        }
    }

    fn lines(self) -> Vec<Line<'static>> {
        let span = |letter: Letter| Span::styled(letter.glyph().to_string(), letter.style);
        let line = |row: Vec<Letter>| Line::from(row.into_iter().map(span).collect::<Vec<_>>());
        self.rows.into_iter().map(line).collect()
    }
}

impl Letter {
    fn glyph(self) -> char {
        const LIGHT: [char; 16] = [
            ' ', '╵', '╶', '└', '╷', '│', '┌', '├', '╴', '┘', '─', '┴', '┐', '┤', '┬', '┼',
        ];
        const HEAVY: [char; 16] = [
            ' ', '╹', '╺', '┗', '╻', '┃', '┏', '┣', '╸', '┛', '━', '┻', '┓', '┫', '┳', '╋',
        ];
        match self.ways {
            0 => self.text,
            ways if self.is_heavy => HEAVY[usize::from(ways & 15)],
            ways => LIGHT[usize::from(ways & 15)],
        }
    }
}
