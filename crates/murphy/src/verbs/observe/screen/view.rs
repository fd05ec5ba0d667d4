//! A view is what a screen shows: the last snapshot, what is chosen, whether it stands still. It knows no terminal.

use std::fmt::Write;

use murphy_observe::{Edge, Finding, ServiceMap, Snapshot};
use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
    widgets::Paragraph,
};

use super::{
    Key, found,
    ink::Ink,
    map,
    plan::{Part, share},
    sparks, table,
};
use crate::{
    output::{grouped, plural},
    verbs::observe::injected::InForce,
};

/// From so many lines on there is a blank one between parts.
const AIRY_FROM: usize = 20;

/// What a screen shows.
pub struct View {
    names: Vec<String>,
    ink: Ink,
    /// What boottime has to be added to for the time of day, in nanoseconds.
    ahead_ns: u64,
    began_ns: Option<u64>,
    snapshot: Option<Snapshot>,
    findings: Vec<Finding>,
    injected: Vec<InForce>,
    chosen: Option<Edge>,
    is_paused: bool,
    is_helping: bool,
    note: Option<String>,
}

impl View {
    /// Of targets, before anything is known of them.
    pub fn new(names: &[String], ink: Ink, ahead_ns: u64) -> Self {
        Self {
            names: names.to_vec(),
            ink,
            ahead_ns,
            began_ns: None,
            snapshot: None,
            findings: Vec::new(),
            injected: Vec::new(),
            chosen: None,
            is_paused: false,
            is_helping: false,
            note: None,
        }
    }

    /// Whether it stands still.
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// What is observed now. Nobody has to choose: what is wrong is chosen, as long as nobody has.
    pub fn take(&mut self, snapshot: Snapshot, findings: &[Finding], injected: &[InForce]) {
        self.began_ns.get_or_insert(snapshot.at_ns);
        self.findings = findings.to_vec();
        self.injected = injected.to_vec();
        self.snapshot = Some(snapshot);
    }

    /// What stands where warnings do.
    pub fn note(&mut self, text: &str) {
        self.note = Some(text.to_owned());
    }

    /// The chosen edge, or else the first with which something is wrong, or else the first.
    fn chosen(&self) -> Option<&Edge> {
        let edges = &self.snapshot.as_ref()?.edges;
        let is_there = |edge: &&Edge| edges.iter().any(|now| now.edge == **edge);
        let wrong = edges.iter().find(|now| !now.findings.is_empty());
        let first = wrong.or(edges.first()).map(|now| &now.edge);
        self.chosen.as_ref().filter(is_there).or(first)
    }

    /// Somebody has pressed a key.
    pub fn press(&mut self, key: Key) {
        match key {
            Key::Up => self.choose(-1),
            Key::Down => self.choose(1),
            Key::Pause => self.is_paused = !self.is_paused,
            Key::Help => self.is_helping = !self.is_helping,
            Key::Escape => self.is_helping = false,
            Key::Quit => {}
        }
    }

    fn choose(&mut self, by: isize) {
        let Some(snapshot) = &self.snapshot else {
            return;
        };
        let chosen = self.chosen();
        let at = snapshot
            .edges
            .iter()
            .position(|now| Some(&now.edge) == chosen);
        let last = snapshot.edges.len().saturating_sub(1);
        let at = at.unwrap_or(0).saturating_add_signed(by).min(last);
        self.chosen = snapshot.edges.get(at).map(|now| now.edge.clone());
    }

    /// A time since boot as the time of day, in UTC.
    fn when(&self, at_ns: u64) -> String {
        let second = at_ns.saturating_add(self.ahead_ns) / 1_000_000_000 % 86_400;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        format!("{hour:02}:{minute:02}:{second:02}")
    }

    /// Draws it.
    pub fn draw(&self, frame: &mut Frame) {
        let area = frame.area();
        let (width, height) = (usize::from(area.width), usize::from(area.height));
        if height == 0 || width == 0 {
            return;
        }
        let lines = if self.is_helping {
            self.help(width)
        } else {
            self.lines(width, height)
        };
        // What is longer than the screen is cut by it.
        frame.render_widget(Paragraph::new(lines), area);
        if height > 1 {
            let last = Rect::new(area.x, area.y + area.height - 1, area.width, 1);
            frame.render_widget(Paragraph::new(self.footer(width)), last);
        }
    }

    fn lines(&self, width: usize, height: usize) -> Vec<Line<'static>> {
        let mut lines = vec![self.header(width)];
        let Some(snapshot) = &self.snapshot else {
            return lines;
        };
        if snapshot.edges.is_empty() {
            lines.push(Line::default());
            let text = "no connection was seen yet: there is nothing to tell by";
            lines.push(Line::styled(text, self.ink.dim()));
            return lines;
        }
        let when = |at_ns: u64| self.when(at_ns);
        let chosen = self.chosen();
        let now = snapshot.edges.iter().find(|now| Some(&now.edge) == chosen);
        let map = ServiceMap::of(snapshot, &[]);
        let bands = now.map(|now| sparks::bands(now, &self.findings, &self.injected, self.ink));
        let bands = bands.unwrap_or_default();
        let airy = usize::from(height >= AIRY_FROM);
        let part = |least: usize, most: usize| Part {
            least: (least + airy).min(most + airy),
            most: most + airy,
        };
        let edges = snapshot.edges.len();
        let found = found::most(&self.findings, width);
        let parts = [
            part(1, map::most(&map, width).min(height / 3)),
            part(2, (1 + edges).min(height / 2)),
            part(2, 3 + bands.len()),
            if found == 0 {
                Part::default()
            } else {
                part(1, found)
            },
        ];
        // Edges and what is wrong with them first, then how that came to be, then who is who; what is known by which evidence
        // has the rest.
        let given = share(
            height.saturating_sub(2),
            &parts,
            &[1, 3, 2, 0],
            &[1, 0, 2, 3],
        );
        let ink = self.ink;
        let room = |part: usize| given[part].saturating_sub(airy);
        let drawn = [
            map::lines(&map, ink, width, room(0), &when),
            table::lines(&snapshot.edges, chosen, ink, width, room(1), &when),
            now.map(|now| sparks::lines(now, &bands, ink, width, room(2)))
                .unwrap_or_default(),
            found::lines(&self.findings, ink, width, room(3), &when),
        ];
        for (part, drawn) in drawn.into_iter().enumerate() {
            if room(part) == 0 {
                continue;
            }
            if airy > 0 {
                lines.push(Line::default());
            }
            lines.extend(drawn.into_iter().take(room(part)));
        }
        lines.truncate(height - 1);
        lines
    }

    /// What is happening: who is observed, how, and what time it is.
    fn header(&self, width: usize) -> Line<'static> {
        let mut names = self.names.first().cloned().unwrap_or_default();
        if self.names.len() > 1 {
            let _ = write!(names, " +{}", self.names.len() - 1);
        }
        let Some(snapshot) = &self.snapshot else {
            return Line::styled(names, self.ink.head());
        };
        let map = ServiceMap::of(snapshot, &[]);
        let asked: std::collections::BTreeSet<usize> = map
            .links
            .iter()
            .filter(|link| map.nodes[link.from].role == murphy_observe::map::Role::Target)
            .map(|link| link.to)
            .collect();
        let seconds = (snapshot.at_ns - self.began_ns.unwrap_or(snapshot.at_ns)) / 1_000_000_000;
        let mut said = format!(
            " → {} · {seconds} s · {}",
            plural(asked.len() as u64, "upstream"),
            snapshot.mode.text(),
        );
        let lost = format!(" · {} events lost", grouped(snapshot.lost));
        let clock = if self.is_paused {
            format!("PAUSED {}", self.when(snapshot.at_ns))
        } else {
            format!("{} UTC", self.when(snapshot.at_ns))
        };
        let count = |text: &str| text.chars().count();
        let mut left = width.saturating_sub(count(&names) + count(&clock) + 1);
        if count(&said) + count(&lost) <= left {
            said.push_str(&lost);
        } else {
            said = said.chars().take(left).collect();
        }
        if let Some(cost) = snapshot.overhead.brief() {
            let cost = format!(" · {cost}");
            if count(&said) + count(&cost) <= left {
                said.push_str(&cost);
            }
        }
        left -= count(&said).min(left);
        let style = if snapshot.lost > 0 {
            self.ink.was()
        } else {
            self.ink.dim()
        };
        Line::from(vec![
            Span::styled(names, self.ink.head()),
            Span::styled(said, style),
            Span::raw(" ".repeat(left + 1)),
            Span::styled(
                clock,
                if self.is_paused {
                    self.ink.chosen()
                } else {
                    self.ink.dim()
                },
            ),
        ])
    }

    fn footer(&self, width: usize) -> Line<'static> {
        let keys = if width >= 60 {
            "q quit   ↑↓ choose   p pause   ? help"
        } else {
            "q quit  ↑↓  p pause  ? help"
        };
        let mut spans = vec![Span::styled(keys, self.ink.dim())];
        if let Some(note) = &self.note {
            spans.push(Span::styled(format!("   {note}"), self.ink.was()));
        }
        Line::from(spans)
    }

    fn help(&self, width: usize) -> Vec<Line<'static>> {
        let mut lines = vec![self.header(width), Line::default()];
        for (key, text) in [
            ("q, Ctrl-C", "ends; the table and what was found stay"),
            (
                "↑ ↓, j k",
                "chooses the edge whose last half minute is shown",
            ),
            ("p", "stands still; it is observed all the same"),
            ("?", "shows this, or no more"),
            ("✕", "something is wrong there, which way and since when"),
            ("×", "pings were lost, and nothing said how long it takes"),
            ("━ ░", "something was found; something was injected here"),
        ] {
            lines.push(Line::from(vec![
                Span::styled(format!("  {key:11}"), self.ink.head()),
                Span::raw(text),
            ]));
        }
        lines
    }
}
