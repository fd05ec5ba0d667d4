//! Ink is how words look: a colour for what is wrong, one for what was, one for what is done on purpose; without colours
//! the same by weight alone.

use ratatui::style::{Color, Modifier, Style};

/// How words look.
#[derive(Clone, Copy, Debug)]
pub struct Ink {
    has_colours: bool,
}

#[allow(
    clippy::unused_self,
    reason = "all looks are asked for in one way, whether they have a colour or not"
)]
impl Ink {
    /// With colours, or without.
    pub fn new(has_colours: bool) -> Self {
        Self { has_colours }
    }

    fn colour(self, colour: Color) -> Style {
        if self.has_colours {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }

    /// What is wrong.
    pub fn wrong(self) -> Style {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// What was wrong, and what needs a look.
    pub fn was(self) -> Style {
        self.colour(Color::Yellow)
    }

    /// What is in order.
    pub fn ok(self) -> Style {
        self.colour(Color::Green)
    }

    /// What is done on purpose.
    pub fn injected(self) -> Style {
        self.colour(Color::Magenta)
    }

    /// What matters less.
    pub fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// Who is observed, and what stands above others.
    pub fn head(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// What is chosen.
    pub fn chosen(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }
}
