//! A format is how metrics are written down: `OpenMetrics` for who asks for it, Prometheus's own text for everybody else.

/// How metrics are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `OpenMetrics` 1.0: with units, and an end that says that all has come.
    OpenMetrics,
    /// Prometheus's text, 0.0.4.
    Text,
}

/// A range of media of an `Accept` header (RFC 9110, 12.5.1), with how much it is wanted.
struct Range<'a> {
    kind: &'a str,
    version: Option<&'a str>,
    weight: f32,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Self {
        let mut words = text.split(';').map(str::trim);
        let mut range = Self {
            kind: words.next().unwrap_or_default(),
            version: None,
            weight: 1.0,
        };
        for word in words {
            match word.split_once('=') {
                Some(("version", version)) => range.version = Some(version.trim_matches('"')),
                // What is no weight wants nothing.
                Some(("q", weight)) => range.weight = weight.parse().unwrap_or(0.0),
                _ => {}
            }
        }
        range
    }

    fn is(&self, kind: &str, version: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind) && self.version.is_none_or(|asked| asked == version)
    }
}

impl Format {
    /// The one that an `Accept` header wants most. Who wants neither gets the text, which everybody can read.
    pub fn wanted(accept: &str) -> Self {
        let weight = |kind: &str, version: &str| {
            let ranges = accept.split(',').map(|text| Range::parse(text.trim()));
            let meant = ranges.filter(|range| range.is(kind, version));
            meant.fold(0.0, |most: f32, range| most.max(range.weight))
        };
        let open = weight("application/openmetrics-text", "1.0.0");
        if open > 0.0 && open >= weight("text/plain", "0.0.4") {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// What it is called in a `Content-Type` header.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_openmetrics_gets_it_and_nobody_else() {
        for (accept, wanted) in [
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/plain", Format::Text),
            ("application/json", Format::Text),
            ("application/openmetrics-text", Format::OpenMetrics),
            (
                "application/openmetrics-text; version=1.0.0; q=0.5",
                Format::OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=\"1.0.0\"",
                Format::OpenMetrics,
            ),
            ("application/openmetrics-text;version=0.0.1", Format::Text),
            ("application/openmetrics-text;q=0", Format::Text),
            ("application/openmetrics-text;q=much", Format::Text),
            (
                "text/plain;version=0.0.4;q=0.9,application/openmetrics-text;q=0.5",
                Format::Text,
            ),
            // Prometheus 2.42.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            // Prometheus 3.
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
                 text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                Format::OpenMetrics,
            ),
        ] {
            assert_eq!(Format::wanted(accept), wanted, "{accept}");
        }
    }
}
