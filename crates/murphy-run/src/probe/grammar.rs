//! The grammar of probes is one text for each, the same on the command line and in files: `[NAME=]KIND:WHAT`.
//!
//! A text is read once, here, and everything behind knows a [`Probe`]. What cannot be read is said with its column and
//! with what could stand there. A probe is written back as it was read, but for passwords, which are never said again.

use std::{fmt, str::FromStr};

use murphy_observe::http::BadUrl;
use serde::{Deserialize, Serialize};

use super::{command::Command, http::Http, log::Log, prometheus::Prometheus, tcp::Tcp};

/// The most characters of a name.
const NAME_MAX: usize = 64;
/// The most bytes of a probe.
const TEXT_MAX: usize = 4096;
const FORMS: &str = "expected http://HOST:PORT/PATH, tcp:HOST:PORT, command:WORDS, sh:TEXT, log:FILE~PATTERN, \
                     log:FILE!~PATTERN or prometheus:URL EXPRESSION == NUMBER, with NAME= before it where it has a name";

/// What is expected of a system, and where to look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Probe {
    name: Option<String>,
    kind: Kind,
}

/// The kinds of probes.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A page is asked for.
    Http(Http),
    /// A port is connected to.
    Tcp(Tcp),
    /// A command is run.
    Command(Command),
    /// New lines of a log are searched.
    Log(Log),
    /// A Prometheus is asked for a figure.
    Prometheus(Prometheus),
}

/// A text that is no probe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadProbe {
    /// Something cannot stand where it stands.
    #[error("read the probe {text:?}, column {column}: {wrong}")]
    Form {
        /// All of it.
        text: String,
        /// The first character that is wrong, counted from 1.
        column: usize,
        /// What is wrong with it, and what could stand there.
        wrong: String,
    },
    /// What should be a URL is none that Murphy asks.
    #[error("read the probe {text:?}, column {column}: {source}")]
    Url {
        /// All of it.
        text: String,
        /// Where the URL begins, counted from 1.
        column: usize,
        /// What is wrong with it.
        source: BadUrl,
    },
}

impl Probe {
    /// What people call it: its name, or else what it looks at.
    pub fn name(&self) -> String {
        match &self.name {
            Some(name) => name.clone(),
            None => self.kind.to_string(),
        }
    }

    /// What it looks at.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }
}

impl FromStr for Probe {
    type Err = BadProbe;

    fn from_str(text: &str) -> Result<Self, BadProbe> {
        let text = text.trim_end();
        let read = plain(text).and_then(|()| read(text));
        read.map_err(|misread| misread.of(text))
    }
}

/// One line of a sensible length.
fn plain(text: &str) -> Result<(), Misread> {
    if text.len() > TEXT_MAX {
        let wrong = format!("{} bytes; at most {TEXT_MAX}", text.len());
        return Err(Misread::at(text, wrong));
    }
    match text.find(char::is_control) {
        Some(at) => Err(Misread::at(
            &text[at..],
            "a probe is one line, without control characters",
        )),
        None => Ok(()),
    }
}

fn read(text: &str) -> Result<Probe, Misread> {
    let (name, rest) = name_of(text.trim_start())?;
    let kind = if rest.starts_with("http://") || rest.starts_with("https://") {
        Kind::Http(Http::read(rest)?)
    } else {
        match rest.split_once(':') {
            Some(("tcp", rest)) => Kind::Tcp(Tcp::read(rest)?),
            Some(("command", rest)) => Kind::Command(Command::read_words(rest)?),
            Some(("sh", rest)) => Kind::Command(Command::read_shell(rest)?),
            Some(("log", rest)) => Kind::Log(Log::read(rest)?),
            Some(("prometheus", rest)) => Kind::Prometheus(Prometheus::read(rest)?),
            _ => return Err(Misread::at(rest, FORMS)),
        }
    };
    Ok(Probe { name, kind })
}

/// The name before the first `=`, if what stands there can be one, and what follows.
fn name_of(text: &str) -> Result<(Option<String>, &str), Misread> {
    let is_other = |c: char| !c.is_ascii_alphanumeric() && !"_.-".contains(c);
    let (name, rest) = text.split_at(text.find(is_other).unwrap_or(text.len()));
    match rest.strip_prefix('=') {
        Some(_) if name.is_empty() => Err(Misread::at(text, "expected a name before =")),
        Some(_) if name.len() > NAME_MAX => Err(Misread::at(
            text,
            format!("a name has at most {NAME_MAX} characters"),
        )),
        Some(rest) => Ok((Some(name.to_owned()), rest)),
        None => Ok((None, text)),
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{name}=")?;
        }
        self.kind.fmt(f)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(http) => http.fmt(f),
            Self::Tcp(tcp) => tcp.fmt(f),
            Self::Command(command) => command.fmt(f),
            Self::Log(log) => log.fmt(f),
            Self::Prometheus(prometheus) => prometheus.fmt(f),
        }
    }
}

impl TryFrom<String> for Probe {
    type Error = BadProbe;

    fn try_from(text: String) -> Result<Self, BadProbe> {
        text.parse()
    }
}

impl From<Probe> for String {
    fn from(probe: Probe) -> Self {
        probe.to_string()
    }
}

/// What is wrong in a text, told by how much of it is left from there: whoever reads a part knows no more.
#[derive(Debug)]
pub(super) struct Misread {
    left: usize,
    wrong: Wrong,
}

#[derive(Debug)]
enum Wrong {
    Form(String),
    Url(BadUrl),
}

impl Misread {
    /// At the beginning of the rest of a text.
    pub(super) fn at(rest: &str, wrong: impl Into<String>) -> Self {
        Self {
            left: rest.len(),
            wrong: Wrong::Form(wrong.into()),
        }
    }

    /// The URL that a rest begins with.
    pub(super) fn url(rest: &str, bad: BadUrl) -> Self {
        Self {
            left: rest.len(),
            wrong: Wrong::Url(bad),
        }
    }

    fn of(self, text: &str) -> BadProbe {
        let before = &text[..text.len() - self.left];
        let (text, column) = (text.to_owned(), before.chars().count() + 1);
        match self.wrong {
            Wrong::Form(wrong) => BadProbe::Form {
                text,
                column,
                wrong,
            },
            Wrong::Url(source) => BadProbe::Url {
                text,
                column,
                source,
            },
        }
    }
}

/// The first word of a text, and all behind it.
pub(super) fn word(text: &str) -> (&str, &str) {
    text.split_at(text.find(' ').unwrap_or(text.len()))
}
