//! A picture of a screen, for those who read about it: the letters of a buffer with their colours, as an SVG.

use std::fmt::Write;

use ratatui::{
    buffer::{Buffer, Cell},
    style::{Color, Modifier},
};

/// A letter is so wide and so high, in pixels.
const LETTER: (f64, f64) = (8.0, 18.0);
/// Around all of it.
const MARGIN: f64 = 14.0;

const STYLE: &str = "\
text{font:13px ui-monospace,'Cascadia Mono','DejaVu Sans Mono',monospace;white-space:pre;fill:#d7dce2}\
.b{font-weight:700}.d{fill:#8b949e}.red{fill:#ff7a70}.green{fill:#57c97e}.yellow{fill:#e3ad45}.magenta{fill:#d79bf5}";

/// Draws a buffer.
pub fn svg(buffer: &Buffer) -> String {
    let area = buffer.area;
    let width = f64::from(area.width) * LETTER.0 + 2.0 * MARGIN;
    let height = f64::from(area.height) * LETTER.1 + 2.0 * MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         role=\"img\" aria-label=\"murphy observe on a terminal\">\n<style>{STYLE}</style>\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"#16191c\"/>\n"
    );
    for y in 0..area.height {
        let base = MARGIN + f64::from(y) * LETTER.1 + 13.0;
        let mut x = 0;
        while x < area.width {
            let class = class(&buffer[(x, y)]);
            let begin = x;
            let mut text = String::new();
            while x < area.width && self::class(&buffer[(x, y)]) == class {
                text.push_str(buffer[(x, y)].symbol());
                x += 1;
            }
            if text.trim().is_empty() {
                continue;
            }
            // What stands around the words needs no place of its own.
            let before = text.chars().take_while(|c| *c == ' ').count();
            let text = text.trim();
            let left = MARGIN + (f64::from(begin) + before as f64) * LETTER.0;
            let length = text.chars().count() as f64 * LETTER.0;
            let text = text.replace('&', "&amp;").replace('<', "&lt;");
            let _ = writeln!(
                svg,
                "<text class=\"{class}\" x=\"{left}\" y=\"{base}\" textLength=\"{length}\" lengthAdjust=\"spacingAndGlyphs\">{text}</text>"
            );
        }
    }
    svg + "</svg>\n"
}

fn class(cell: &Cell) -> String {
    let mut classes = Vec::new();
    if cell.modifier.contains(Modifier::BOLD) {
        classes.push("b");
    }
    classes.extend(match cell.fg {
        Color::Red => Some("red"),
        Color::Green => Some("green"),
        Color::Yellow => Some("yellow"),
        Color::Magenta => Some("magenta"),
        _ if cell.modifier.contains(Modifier::DIM) => Some("d"),
        _ => None,
    });
    classes.join(" ")
}
