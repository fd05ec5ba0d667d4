//! A map as a picture: one SVG that needs no script, no font and no other file, and can be read by light and in the dark.

use std::fmt::Write;

use super::{Layout, Link, Node, Role, ServiceMap, State, Wrong};

/// A node is so wide and so high, in pixels.
const NODE: (f64, f64) = (164.0, 42.0);
/// So far apart are rows, and layers between which nothing has to be said or something has.
const ROW: f64 = 62.0;
const GAP: f64 = 100.0;
const GAP_SAYING: f64 = 224.0;
/// A link goes by a node so far from it.
const LANE: f64 = 10.0;
/// Around all of it.
const MARGIN: f64 = 14.0;
/// Lines of a label are so high; beside them is so much room.
const LINE: f64 = 16.0;
const PAD: f64 = 8.0;
/// So wide is a letter, about, of a label and of a name.
const LETTER: f64 = 7.0;
const LETTER_SMALL: f64 = 6.1;
const LETTER_NAME: f64 = 7.5;
const LETTER_TARGET: f64 = 8.6;
/// No more is said of one link.
const WRONGS_MAX: usize = 3;

const STYLE: &str = "\
.service-map:root{color-scheme:light dark;background:#fff;background:light-dark(#fff,#16191c)}\
.service-map text{font:13px system-ui,sans-serif;fill:#1b1f24;fill:light-dark(#1b1f24,#e7e9eb)}\
.service-map .small{font-size:11px;fill:#57606a;fill:light-dark(#57606a,#9ca6b0)}\
.service-map rect{fill:#fff;fill:light-dark(#fff,#16191c);stroke:#a9b1ba;stroke:light-dark(#a9b1ba,#59636e)}\
.service-map .target rect{stroke:#2358c4;stroke:light-dark(#2358c4,#84adff);stroke-width:2}\
.service-map .target .name{font-weight:650}\
.service-map .others rect{stroke-dasharray:4 3}\
.service-map .link path{fill:none;stroke:#7d8791;stroke:light-dark(#7d8791,#8a949e);stroke-width:1.5}\
.service-map .link .head{fill:#7d8791;fill:light-dark(#7d8791,#8a949e);stroke:none}\
.service-map .silent path{stroke-dasharray:2 4}\
.service-map .wrong path{stroke:#bf211c;stroke:light-dark(#bf211c,#ff7a70);stroke-width:3}\
.service-map .wrong .head{fill:#bf211c;fill:light-dark(#bf211c,#ff7a70);stroke:none}\
.service-map .was-wrong path{stroke:#865700;stroke:light-dark(#865700,#e3ad45);stroke-dasharray:7 4}\
.service-map .was-wrong .head{fill:#865700;fill:light-dark(#865700,#e3ad45);stroke:none}\
.service-map .label rect{stroke:#bf211c;stroke:light-dark(#bf211c,#ff7a70)}\
.service-map .label .what{font-size:12px;font-weight:700;fill:#bf211c;fill:light-dark(#bf211c,#ff7a70)}\
.service-map .label.over rect{stroke:#865700;stroke:light-dark(#865700,#e3ad45)}\
.service-map .label.over .what{fill:#865700;fill:light-dark(#865700,#e3ad45)}";

/// Draws a map. `when` says a time, in nanoseconds since boot, as people are to read it: `since` stands before it.
pub fn svg(map: &ServiceMap, when: &dyn Fn(u64) -> String) -> String {
    if map.nodes.is_empty() {
        return nothing();
    }
    let layout = Layout::of(map);
    let plan = Plan::of(map, &layout);
    let mut taken: Vec<Area> = (0..map.nodes.len()).map(|node| plan.area(node)).collect();
    let mut labels = String::new();
    let mut links = String::new();
    let mut bottom = plan.height;
    // What is wrong is drawn over what is not.
    for link in map.links.iter().rev() {
        links.push_str(&drawn(map, &plan, link));
    }
    for link in &map.links {
        if link.wrongs.is_empty() {
            continue;
        }
        let label = Label::of(map, link, when);
        let area = label.place(&plan, map, link, &taken);
        bottom = bottom.max(area.y + area.height + MARGIN);
        labels.push_str(&label.drawn(area));
        taken.push(area);
    }
    // Links that go back hang below the nodes.
    if map.links.iter().any(|link| plan.hangs(link)) {
        bottom = bottom.max(plan.height + ROW);
    }
    let nodes: String = (0..map.nodes.len())
        .map(|node| boxed(&map.nodes[node], plan.area(node)))
        .collect();
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"service-map\" role=\"img\" aria-label=\"{}\" \
         width=\"{width:.0}\" height=\"{bottom:.0}\" viewBox=\"0 0 {width:.0} {bottom:.0}\">\n\
         <style>{STYLE}</style>\n{links}{nodes}{labels}</svg>\n",
        escaped(&spoken(map, when)),
        width = plan.width,
    )
}

/// The map in a sentence, for those who do not see it.
fn spoken(map: &ServiceMap, when: &dyn Fn(u64) -> String) -> String {
    let mut text = format!(
        "Service map of {} nodes and {} links.",
        map.nodes.len(),
        map.links.len()
    );
    for link in &map.links {
        for wrong in link.wrongs.iter().filter(|wrong| !wrong.is_over) {
            let (from, to) = (&map.nodes[link.from].name, &map.nodes[link.to].name);
            let (title, since) = (wrong.title(), when(wrong.since_ns));
            let _ = write!(text, " {from} → {to}: {title}, since {since}.");
        }
    }
    text
}

fn nothing() -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"service-map\" role=\"img\" aria-label=\"An empty service map\" \
         width=\"400\" height=\"48\" viewBox=\"0 0 400 48\">\n<style>{STYLE}</style>\n\
         <text class=\"small\" x=\"14\" y=\"28\">No connection was seen.</text></svg>\n"
    )
}

/// A piece of the picture, in pixels.
#[derive(Clone, Copy, Debug)]
struct Area {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

impl Area {
    fn meets(&self, other: &Self) -> bool {
        self.x < other.x + other.width
            && other.x < self.x + self.width
            && self.y < other.y + other.height
            && other.y < self.y + self.height
    }
}

/// Where what is drawn.
struct Plan<'a> {
    layout: &'a Layout,
    /// Where each layer begins.
    columns: Vec<f64>,
    width: f64,
    height: f64,
    links_in: Vec<usize>,
    links_out: Vec<usize>,
}

impl<'a> Plan<'a> {
    fn of(map: &ServiceMap, layout: &'a Layout) -> Self {
        let mut columns = vec![MARGIN];
        for layer in 1..layout.layers {
            let says = |link: &Link| {
                let [from, to] = [link.from, link.to].map(|node| layout.places[node].layer);
                !link.wrongs.is_empty() && from < layer && layer <= to
            };
            let gap = if map.links.iter().any(says) {
                GAP_SAYING
            } else {
                GAP
            };
            columns.push(columns[layer - 1] + NODE.0 + gap);
        }
        let mut links_in = vec![0; map.nodes.len()];
        let mut links_out = vec![0; map.nodes.len()];
        for link in &map.links {
            links_out[link.from] += 1;
            links_in[link.to] += 1;
        }
        Self {
            width: columns[columns.len() - 1] + NODE.0 + MARGIN,
            height: 2.0 * MARGIN + ROW * (layout.rows as f64 - 1.0) + NODE.1,
            columns,
            layout,
            links_in,
            links_out,
        }
    }

    fn area(&self, node: usize) -> Area {
        let place = self.layout.places[node];
        let above = (self.layout.rows - place.of) as f64 / 2.0;
        Area {
            x: self.columns[place.layer],
            y: MARGIN + ROW * (above + place.row as f64),
            width: NODE.0,
            height: NODE.1,
        }
    }

    /// Where a link goes through the layers between its ends: between the nodes there, as straight on as that is possible.
    fn lanes(&self, link: &Link, from: (f64, f64), to: (f64, f64)) -> Vec<(f64, f64)> {
        let [first, last] = [link.from, link.to].map(|node| self.layout.places[node].layer);
        let lane = |layer: usize| {
            let x = self.columns[layer];
            let straight = from.1 + (to.1 - from.1) * (x - from.0) / (to.0 - from.0);
            let all = self.layout.places.iter().enumerate();
            let there = all.filter(|(_, place)| place.layer == layer);
            let nodes: Vec<Area> = there.map(|(node, _)| self.area(node)).collect();
            let beside = nodes
                .iter()
                .flat_map(|area| [area.y - LANE, area.y + area.height + LANE]);
            let is_free = |y: &f64| {
                let hits = |area: &Area| *y > area.y - LANE && *y < area.y + area.height + LANE;
                !nodes.iter().any(hits)
            };
            let far = |y: &f64| (y - straight).abs();
            let free = beside.chain([straight]).filter(is_free);
            (
                x,
                free.min_by(|a, b| far(a).total_cmp(&far(b)))
                    .unwrap_or(straight),
            )
        };
        (first + 1..last).map(lane).collect()
    }

    /// Whether a link leads back, or to whom stands in the same layer.
    fn hangs(&self, link: &Link) -> bool {
        self.layout.places[link.to].layer <= self.layout.places[link.from].layer
    }
}

fn drawn(map: &ServiceMap, plan: &Plan, link: &Link) -> String {
    let (from, to) = (plan.area(link.from), plan.area(link.to));
    let class = match link.state {
        State::Wrong => "link wrong",
        State::WasWrong => "link was-wrong",
        State::Ok => "link",
        State::Silent => "link silent",
    };
    let (path, head) = if plan.hangs(link) {
        let (x, y) = (from.x + from.width / 2.0 + 20.0, from.y + from.height);
        let (to_x, to_y) = (to.x + to.width / 2.0 - 20.0, to.y + to.height);
        let low = y.max(to_y) + ROW * 0.7;
        let path = format!("M{x:.1} {y:.1}C{x:.1} {low:.1} {to_x:.1} {low:.1} {to_x:.1} {to_y:.1}");
        let head = format!("M{to_x:.1} {to_y:.1}l-5 10h10z");
        (path, head)
    } else {
        let (x, y) = (from.x + from.width, from.y + from.height / 2.0);
        let (to_x, to_y) = (to.x, to.y + to.height / 2.0);
        let mut path = format!("M{x:.1} {y:.1}");
        let mut at = (x, y);
        let mut bend = |to: (f64, f64)| {
            let half = f64::midpoint(at.0, to.0);
            let ((_, y), (to_x, to_y)) = (at, to);
            let _ = write!(
                path,
                "C{half:.1} {y:.1} {half:.1} {to_y:.1} {to_x:.1} {to_y:.1}"
            );
            at = to;
        };
        for (lane_x, lane_y) in plan.lanes(link, (x, y), (to_x, to_y)) {
            bend((lane_x, lane_y));
            bend((lane_x + NODE.0, lane_y));
        }
        bend((to_x - 6.0, to_y));
        (path, format!("M{to_x:.1} {to_y:.1}l-10 -5v10z"))
    };
    let title = escaped(&said(map, link));
    format!(
        "<g class=\"{class}\"><title>{title}</title><path d=\"{path}\"/><path class=\"head\" d=\"{head}\"/></g>\n"
    )
}

/// A link in words.
fn said(map: &ServiceMap, link: &Link) -> String {
    let ports: Vec<String> = link.ports.iter().map(|port| format!(":{port}")).collect();
    let state = match link.state {
        State::Wrong => "wrong",
        State::WasWrong => "was wrong",
        State::Ok => "ok",
        State::Silent => "insufficient traffic",
    };
    let (from, to) = (&map.nodes[link.from].name, &map.nodes[link.to].name);
    let actual: Vec<String> = link.actual.iter().map(ToString::to_string).collect();
    let really = if actual.is_empty() {
        String::new()
    } else {
        format!(" → {}", actual.join(", "))
    };
    format!("{from} → {to} {}{really}: {state}", ports.join(" "))
}

fn boxed(node: &Node, area: Area) -> String {
    let class = match node.role {
        Role::Target => "node target",
        Role::Peer => "node",
        Role::Others => "node others",
    };
    let Area {
        x,
        y,
        width,
        height,
    } = area;
    let ports: Vec<String> = node.ports.iter().map(|port| format!(":{port}")).collect();
    let ports = ports.join(" ");
    let text = x + 10.0;
    let room = width - 20.0;
    let name_y = if ports.is_empty() { y + 26.0 } else { y + 18.0 };
    let letter = match node.role {
        Role::Target => LETTER_TARGET,
        Role::Peer | Role::Others => LETTER_NAME,
    };
    let name = escaped(&cut(&node.name, room / letter));
    let mut addresses: Vec<String> = node.addresses.iter().map(ToString::to_string).collect();
    addresses.insert(0, node.name.clone());
    let mut drawn = format!(
        "<g class=\"{class}\"><title>{}</title><rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.0}\" height=\"{height:.0}\" rx=\"6\"/>\
         <text class=\"name\" x=\"{text:.1}\" y=\"{name_y:.1}\">{name}</text>",
        escaped(&addresses.join(" "))
    );
    if !ports.is_empty() {
        let ports = escaped(&cut(&ports, room / LETTER_SMALL));
        let _ = write!(
            drawn,
            "<text class=\"small\" x=\"{text:.1}\" y=\"{:.1}\">{ports}</text>",
            y + 34.0
        );
    }
    drawn + "</g>\n"
}

/// What stands beside a link with which something is wrong: by twos, what, and since when.
struct Label {
    lines: Vec<(String, String)>,
    more: usize,
    is_over: bool,
}

impl Label {
    fn of(map: &ServiceMap, link: &Link, when: &dyn Fn(u64) -> String) -> Self {
        let say = |wrong: &Wrong| {
            let sign = if wrong.is_over { "was" } else { "✕" };
            let port = match link.ports.len() {
                0 | 1 => String::new(),
                _ => format!(":{}, ", wrong.port),
            };
            let (way, since) = (map.way(link, wrong.way), when(wrong.since_ns));
            let undecided = if wrong.is_undecided {
                ", undecided"
            } else {
                ""
            };
            (
                format!("{sign} {}", wrong.title()),
                format!("{port}{}, since {since}{undecided}", cut(&way, 24.0)),
            )
        };
        Self {
            lines: link.wrongs.iter().take(WRONGS_MAX).map(say).collect(),
            more: link.wrongs.len().saturating_sub(WRONGS_MAX),
            is_over: link.state == State::WasWrong,
        }
    }

    fn size(&self) -> (f64, f64) {
        let width = |(what, since): &(String, String)| {
            let [what, since] = [what, since].map(|text| text.chars().count() as f64);
            (what * (LETTER + 0.9)).max(since * LETTER_SMALL)
        };
        let width = self.lines.iter().map(width).fold(0.0, f64::max) + 2.0 * PAD;
        let lines = 2 * self.lines.len() + usize::from(self.more > 0);
        (width, LINE * lines as f64 + PAD)
    }

    /// Beside whichever end nobody else is linked to, if there is one, and where nothing stands yet.
    fn place(&self, plan: &Plan, map: &ServiceMap, link: &Link, taken: &[Area]) -> Area {
        let (width, height) = self.size();
        let (from, to) = (plan.area(link.from), plan.area(link.to));
        let middle = |area: Area| area.y + area.height / 2.0;
        let before = (to.x - 22.0 - width, middle(to) - height / 2.0);
        let behind = (from.x + NODE.0 + 22.0, middle(from) - height / 2.0);
        let candidates = if plan.hangs(link) {
            let x = (from.x + to.x + NODE.0 - width) / 2.0;
            [(x, from.y.max(to.y) + NODE.1 + 8.0), before, behind]
        } else if plan.links_in[link.to] > 1 && plan.links_out[link.from] == 1 {
            [behind, before, behind]
        } else {
            [before, behind, before]
        };
        let areas = candidates.map(|(x, y)| Area {
            x: x.max(MARGIN).min((plan.width - MARGIN - width).max(0.0)),
            y: y.max(2.0),
            width,
            height,
        });
        let is_free = |area: &Area| !taken.iter().any(|other| area.meets(other));
        if let Some(area) = areas.iter().copied().find(is_free) {
            return area;
        }
        let mut area = areas[0];
        // Below all of the others there is room.
        let tries = 8 * (map.nodes.len() + map.links.len());
        for _ in 0..tries {
            if is_free(&area) {
                break;
            }
            area.y += 10.0;
        }
        area
    }

    fn drawn(&self, area: Area) -> String {
        let Area {
            x,
            y,
            width,
            height,
        } = area;
        let class = if self.is_over { "label over" } else { "label" };
        let mut drawn = format!(
            "<g class=\"{class}\"><rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"4\"/>"
        );
        let left = x + PAD;
        let mut base = y + LINE;
        for (what, since) in &self.lines {
            let (what, since) = (escaped(what), escaped(since));
            let _ = write!(
                drawn,
                "<text class=\"what\" x=\"{left:.1}\" y=\"{base:.1}\">{what}</text>\
                 <text class=\"small\" x=\"{left:.1}\" y=\"{:.1}\">{since}</text>",
                base + LINE - 1.0
            );
            base += 2.0 * LINE;
        }
        if self.more > 0 {
            let more = self.more;
            let _ = write!(
                drawn,
                "<text class=\"small\" x=\"{left:.1}\" y=\"{base:.1}\">and {more} more</text>"
            );
        }
        drawn + "</g>\n"
    }
}

/// A text in so many letters: where it is longer, what stands in its middle is left out, since names and addresses differ at
/// their ends.
fn cut(text: &str, letters: f64) -> String {
    // A few hundred at most.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let most = letters.max(3.0) as usize;
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    let head = most / 2;
    let tail = most - head - 1;
    let first: String = text.chars().take(head).collect();
    let last: String = text.chars().skip(count - tail).collect();
    format!("{first}…{last}")
}

/// A text that somebody else wrote, as the content of an element or of an attribute.
fn escaped(text: &str) -> String {
    let mut svg = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => svg.push_str("&amp;"),
            '<' => svg.push_str("&lt;"),
            '>' => svg.push_str("&gt;"),
            '"' => svg.push_str("&quot;"),
            '\'' => svg.push_str("&#39;"),
            // No XML has these, and those that turn the direction of writing can make a name lie.
            c if c.is_control()
                || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}') =>
            {
                svg.push('\u{fffd}');
            }
            c => svg.push(c),
        }
    }
    svg
}
