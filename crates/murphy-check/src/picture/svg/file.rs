//! A drawing as a file of its own, and as a part of a page.

use super::drawing::Drawing;
use crate::picture::{figure::Figure, scene::Scene, text::escaped};

/// How figures look, in terms of the page's colours.
pub const CSS: &str = include_str!("figure.css");
/// The colours of a figure that stands alone.
const TOKENS: &str = include_str!("tokens.css");

/// The figure as a file of its own.
pub fn document(figure: &Figure<'_>, scene: &Scene) -> String {
    let drawing = Drawing::new(figure, scene, 0);
    let head = match figure.judgement {
        Some(judgement) => format!(
            r#"<text x="16" y="32" class="headline"><tspan class="{class}">{word}</tspan><tspan dx="10">{promise}</tspan></text>"#,
            class = judgement.verdict.word(),
            word = judgement.verdict.word().to_uppercase(),
            promise = escaped(&judgement.promise),
        ),
        None => String::new(),
    };
    let top = if head.is_empty() { 8.0 } else { 44.0 };
    let (width, height) = (drawing.width() + 32.0, drawing.height() + top + 8.0);
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0} {height:.0}" role="img" aria-label="{about}">
<style>
{TOKENS}{CSS}</style>
<rect class="card" x="0.5" y="0.5" width="{inner:.0}" height="{tall:.0}" rx="8"/>
{head}
<g class="figure" transform="translate(16 {top})">
{body}</g>
</svg>
"#,
        inner = width - 1.0,
        tall = height - 1.0,
        about = escaped(&drawing.about()),
        body = drawing.draw(false),
    )
}

/// The figure as a part of a page, of which it is the `number`th.
pub fn inline(figure: &Figure<'_>, scene: &Scene, number: usize) -> String {
    let drawing = Drawing::new(figure, scene, number);
    format!(
        r#"<svg class="figure" width="{width:.0}" height="{height:.0}" viewBox="0 0 {width:.0} {height:.0}" role="group" aria-label="{about}">
{body}</svg>
"#,
        width = drawing.width(),
        height = drawing.height(),
        about = escaped(&drawing.about()),
        body = drawing.draw(true),
    )
}
