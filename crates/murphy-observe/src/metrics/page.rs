//! The page `docs/metrics.md`, drawn from the table.

use std::fmt::Write;

use super::table::{Metric, Samples, TABLE};

/// What stands before the table.
const HEAD: &str = "\
# Metrics

`murphy observe -t TARGET --prometheus 127.0.0.1:9100` answers a Prometheus at `/metrics` ([observe](observe.md#for-prometheus)),
in OpenMetrics or in Prometheus's text, as it asks. This page is drawn from the table that the answers are written by.

- What [Coroot's agent](https://github.com/coroot/coroot-node-agent) has goes by its names and labels. Ours begin with `murphy_`.
- A ping that was lost is `NaN`. One that was never sent, or that this machine could not send, is no sample. In PromQL:
  `container_net_latency_seconds != container_net_latency_seconds` is there when a ping was lost,
  `absent(container_net_latency_seconds)` when there is none.
- What cannot be seen on this kernel is no sample, either: without eBPF those are absent that come from it.
- Counters grow as long as their series is there. An edge on which nothing happens for two minutes is forgotten, and its
  series vanish; when it is back they begin at 0, which PromQL takes for a restart.

Labels:

- `container_id`: whom is observed, by the name that the target has.
- `destination`, `actual_destination`: whom the target asks, `ADDRESS:PORT`, an address of IPv6 in brackets: as it was dialled,
  and as it is once addresses are translated (NAT), as far as [conntrack knows](observe.md#whom-an-edge-really-leads-to). Where nothing is translated
  both are the address of the peer. Where an edge leads to several (a service with several backends), `actual_destination` is
  `several`: figures are kept of what is dialled. An edge has one series at a time; when more is known of it its series goes
  on under another `actual_destination`, at most twice while it is there.
- `source`, `port`: who asks the target, and for which port of its own. Where a metric has `destination` and `source`, a
  series has the one or the other: `{destination!=\"\"}` are the connections that the target opens, `{source!=\"\"}` those that
  it accepts.
- `destination_ip`: a peer that is pinged, whoever of both asks.
- `call`, `errno`: a system call and why it has failed, by their names.
- The value `other` is all edges beyond the most that are kept.
";

/// The whole page.
pub fn page() -> String {
    let mut text = HEAD.to_owned();
    // A string takes all that is written to it.
    let _ = write!(
        text,
        "\n| metric | type | unit | labels | what | from |\n|---|---|---|---|---|---|\n"
    );
    for metric in TABLE {
        let labels: Vec<String> = metric
            .labels()
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} | {} |",
            metric.name,
            metric.kind.name(),
            metric.unit.map_or("", |unit| unit.name()),
            labels.join(", "),
            help(metric),
            metric.source.name(),
        );
    }
    text
}

/// What it means, with the values of the label that tells its parts apart.
fn help(metric: &Metric) -> String {
    match &metric.samples {
        Samples::Parts(label, parts) => {
            let values: Vec<String> = parts
                .iter()
                .map(|part| format!("`{}`", part.value))
                .collect();
            format!("{} (`{label}`: {})", metric.help, values.join(", "))
        }
        _ => metric.help.to_owned(),
    }
}
